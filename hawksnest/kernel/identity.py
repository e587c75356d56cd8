"""Identities: values that several events, entities and accounts may share, in one canonical spelling.

Two spellings of the same address, number or card must land on the same entity state; a placeholder must land
on none.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address

IDENTITY_LIMIT = 256  # characters of an identity; a longer one keeps its head and a digest of the whole
BIN_MIN_DIGITS = 6
BIN_MAX_DIGITS = 8
PLACEHOLDERS = frozenset({"", "unknown", "<unknown>", "<null>"})
_CACHE_SIZE = 16_384  # values whose canonical form is remembered

CANONICAL_IPV4 = re.compile(
    r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}"
).fullmatch
_NOT_DIGITS = re.compile(r"[^0-9]+")


def _ip(text: str) -> str:
    if CANONICAL_IPV4(text):
        return text  # nearly always, and many times faster than to parse it
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text.lower()
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _phone(text: str) -> str:
    digits = _NOT_DIGITS.sub("", text)
    return "+" + digits if digits and text[0] == "+" else digits


def _card_bin(text: str) -> str:
    digits = _NOT_DIGITS.sub("", text)
    return digits[:BIN_MAX_DIGITS] if len(digits) >= BIN_MIN_DIGITS else ""


def _address(text: str) -> str:
    return " ".join(text.casefold().split())


def _as_is(text: str) -> str:
    return text


IDENTITY_TYPES: dict[str, Callable[[str], str]] = {
    "IP_ADDRESS": _ip,
    "EMAIL_ADDRESS": str.lower,
    "PHONE_NUMBER": _phone,
    "BILLING_PHONE": _phone,
    "SHIPPING_PHONE": _phone,
    "CARD_BIN": _card_bin,
    "FINGERPRINT": _as_is,
    "BILLING_ADDRESS_L1": _address,
    "SHIPPING_ADDRESS_L1": _address,
}


def identity_value(variable_type: str, text: str) -> str | None:
    """The canonical form of an identity, None when the text is a placeholder or holds nothing usable.

    IP addresses in canonical text (what is no IP address is kept in lower case), e-mail addresses in lower
    case, phone numbers as digits with their leading plus, card BINs as their first 6 to 8 digits, addresses
    case-folded with single blanks, fingerprints as they are. `variable_type` is one of IDENTITY_TYPES.
    """
    if len(text) > IDENTITY_LIMIT:  # the cache holds short texts only, so that its memory is bounded
        return _identity_value(variable_type, text)
    return _remembered(variable_type, text)


def _identity_value(variable_type: str, text: str) -> str | None:
    text = text.strip()
    if text.lower() in PLACEHOLDERS:
        return None
    value = IDENTITY_TYPES[variable_type](text)
    if len(value) > IDENTITY_LIMIT:
        digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        value = value[: IDENTITY_LIMIT - 33] + "#" + digest
    return value or None


_remembered = lru_cache(maxsize=_CACHE_SIZE)(_identity_value)
