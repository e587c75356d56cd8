"""From one value to numbers: an encoder per variable type, fitted on training values, pure afterwards.

The registry at the end says which encoder a variable type gets; a further one is a class and a line there.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from math import copysign, log1p, nan
from typing import ClassVar

from hawksnest.kernel.events import Value, VariableSpec, numeric
from hawksnest.kernel.identity import CANONICAL_IPV4

# Named here because the standard library's notion of "private" changes between its versions.
_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)

VOCABULARY_LIMIT = 1_000  # values with a code of their own; all others share one
TEXT_LIMIT = 8_192  # characters of a value that are looked at

_DAY_MS = 86_400_000
_DIGITS = b"0123456789"
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Vocabulary:
    """Codes 0, 1, 2 … for the most frequent values, one more for all others."""

    __slots__ = ("_codes", "_other", "values")

    def __init__(self, values: Iterable[str]) -> None:
        self.values = tuple(values)
        self._codes = {value: float(code) for code, value in enumerate(self.values)}
        self._other = float(len(self.values))

    @classmethod
    def of(cls, seen: Iterable[str]) -> "Vocabulary":
        """Most frequent first; equally frequent ones in plain string order."""
        ranked = sorted(Counter(seen).items(), key=lambda item: (-item[1], item[0]))
        return cls(value for value, _ in ranked[:VOCABULARY_LIMIT])

    def code(self, value: str) -> float:
        return self._codes.get(value, self._other)


def _shape(text: str) -> tuple[float, float]:
    """Length and share of digits."""
    length = len(text)
    if not length:
        return 0.0, 0.0
    if text.isascii():
        return float(length), (length - len(text.encode().translate(None, _DIGITS))) / length
    return float(length), sum(map(str.isdigit, text)) / length


def _upper(text: str) -> int:
    """Capital letters of an ASCII text."""
    return len(text) - len(text.encode().translate(None, _CAPITALS))


class Encoder:
    """Turns a present value into `len(parts)` numbers; a missing value is NaN in all of them.

    `parts` name the numbers ("" for the variable itself); `coded` are the places of those that are codes of
    vocabulary values. Vocabularies are fitted in order of `coded`.
    """

    kind: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    coded: ClassVar[tuple[int, ...]] = ()  # two at most
    cached: ClassVar[bool] = True  # worth remembering by value

    def __init__(self, vocabularies: Iterable[Iterable[str]] = ()) -> None:
        self.vocabularies = [Vocabulary(values) for values in vocabularies]
        assert len(self.vocabularies) == len(self.coded)

    @classmethod
    def fit(cls, values: Iterable[Value]) -> "Encoder":
        """The encoder with vocabularies of these training values."""
        if not cls.coded:
            return cls()
        seen: list[list[str]] = [[] for _ in cls.coded]
        for value in values:
            if value is not None:
                for column, word in zip(seen, cls.words(_text(value)), strict=True):
                    if word:
                        column.append(word)
        return cls(Vocabulary.of(column).values for column in seen)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        """The parts of a value that get codes; "" for one that is missing."""
        raise NotImplementedError  # an encoder without `coded` parts has none and is never asked

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        """The numbers of a present value."""
        raise NotImplementedError  # every encoder has its own

    def codes(self, words: tuple[str, ...]) -> tuple[float, ...]:
        if len(words) == 1:
            return (self.vocabularies[0].code(words[0]) if words[0] else nan,)
        first, second = words
        return (
            self.vocabularies[0].code(first) if first else nan,
            self.vocabularies[1].code(second) if second else nan,
        )


def _text(value: Value) -> str:
    return value[:TEXT_LIMIT] if isinstance(value, str) else str(value)


class NumberEncoder(Encoder):
    kind = "number"
    parts = ("",)
    cached = False

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        number = value if value.__class__ is float else numeric(value)
        return (nan if number is None else number,)


class PriceEncoder(Encoder):
    kind = "price"
    parts = ("", "log")
    cached = False

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        amount = numeric(value)
        return (nan, nan) if amount is None else (amount, copysign(log1p(abs(amount)), amount))


class InstantEncoder(Encoder):
    """A DATETIME: how long before the event."""

    kind = "instant"
    parts = ("days_before",)
    cached = False

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        return ((event_at_ms - value) / _DAY_MS if isinstance(value, int) else nan,)


class CategoryEncoder(Encoder):
    kind = "category"
    parts = ("code",)
    coded = (0,)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        return (text,)

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        return self.codes((_text(value),))


class ShapeEncoder(Encoder):
    """A reference number: what it looks like, not what it is."""

    kind = "shape"
    parts = ("length", "digit_share")

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        return _shape(_text(value))


class TextEncoder(Encoder):
    kind = "text"
    parts = ("length", "digit_share", "tokens", "upper_share")

    _token = re.compile(r"\w+", re.ASCII)

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        text = _text(value)
        upper = sum(map(str.isupper, text)) if not text.isascii() else _upper(text)
        return (*_shape(text), float(len(self._token.findall(text))), upper / (len(text) or 1))


class EmailEncoder(Encoder):
    kind = "email"
    parts = ("domain", "suffix", "local_length", "local_digit_share", "has_plus", "dots", "domain_length")
    coded = (0, 1)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        domain = text.rpartition("@")[2].strip().lower()
        return domain, domain.rpartition(".")[2]

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        text = _text(value).strip().lower()
        local, _, domain = text.rpartition("@")
        plus = 1.0 if "+" in local else 0.0
        shape = (*_shape(local), plus, float(local.count(".")), float(len(domain)))
        name = domain.strip()
        return (*self.codes((name, name.rpartition(".")[2])), *shape)


class IpEncoder(Encoder):
    kind = "ip"
    parts = ("net8", "net16", "octet_1", "octet_2", "octet_3", "octet_4", "valid", "private", "version")
    coded = (0, 1)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        octets = address_groups(text)[0]
        if octets is None:
            return "", ""
        return str(octets[0]), f"{octets[0]}.{octets[1]}"

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        text = _text(value)
        octets, private, version = address_groups(text)
        if octets is None:
            return (nan, nan, nan, nan, nan, nan, 0.0, nan, nan)
        return (*self.codes(self.words(text)), *map(float, octets), 1.0, private, version)


@lru_cache(maxsize=4_096)
def address_groups(text: str) -> tuple[tuple[int, int, int, int] | None, float, float]:
    """Leading four groups of an address (bytes of IPv4, 16 bits each of IPv6), is it private, version."""
    if len(text) > 100:
        return None, nan, nan
    if CANONICAL_IPV4(text):
        first, second, third, fourth = map(int, text.split("."))
        return (first, second, third, fourth), 1.0 if _is_private(first, second) else 0.0, 4.0
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None, nan, nan
    address = getattr(address, "ipv4_mapped", None) or address
    packed = address.packed
    if address.version == 4:
        groups = (packed[0], packed[1], packed[2], packed[3])
    else:
        first, second, third, fourth = (int.from_bytes(packed[at : at + 2], "big") for at in (0, 2, 4, 6))
        groups = (first, second, third, fourth)
    private = any(address in network for network in _PRIVATE)
    return groups, 1.0 if private else 0.0, float(address.version)


def _is_private(first: int, second: int) -> bool:
    """Does an IPv4 address that begins so lie in one of _PRIVATE?"""
    return (
        first in (10, 127)
        or (first == 192 and second == 168)
        or (first == 172 and 16 <= second < 32)
        or (first == 100 and 64 <= second < 128)
        or (first == 169 and second == 254)
    )


class PhoneEncoder(Encoder):
    kind = "phone"
    parts = ("prefix", "digits", "has_plus")
    coded = (0,)

    _not_digits = re.compile(r"[^0-9]+")

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        """Country code where there is one (its first digits after the plus), else the first digits."""
        digits = PhoneEncoder._not_digits.sub("", text)
        return (("+" if text.strip().startswith("+") else "") + digits[:3] if digits else "",)

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        text = _text(value)
        digits = len(self._not_digits.sub("", text))
        return (
            *self.codes(self.words(text)),
            float(digits),
            1.0 if text.strip().startswith("+") else 0.0,
        )


class CardBinEncoder(Encoder):
    kind = "card_bin"
    parts = ("code", "first_digit", "number")
    coded = (0,)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        return (PhoneEncoder._not_digits.sub("", text)[:8],)

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        words = self.words(_text(value))
        digits = words[0]
        if not digits:
            return (nan, nan, nan)
        return (*self.codes(words), float(digits[0]), float(digits[:6]))


class PostalEncoder(Encoder):
    kind = "postal"
    parts = ("code", "area", "length")
    coded = (0, 1)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        code = text.strip().upper()
        return code, code[:3]

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        text = _text(value)
        return (*self.codes(self.words(text)), float(len(text.strip())))


class UserAgentEncoder(Encoder):
    kind = "user_agent"
    parts = ("family", "system", "version", "mobile", "length")
    coded = (0, 1)

    # The first that is found: newer browsers name their ancestors, too.
    _families: ClassVar[tuple[str, ...]] = (
        "Edg",
        "OPR",
        "Opera",
        "SamsungBrowser",
        "Firefox",
        "FxiOS",
        "Chrome",
        "CriOS",
        "Trident",
        "MSIE",
        "Safari",
        "okhttp",
        "curl",
        "python",
        "Mozilla",
    )
    _systems: ClassVar[tuple[str, ...]] = (
        "Windows Phone",
        "Windows NT",
        "Windows",
        "Android",
        "iPhone",
        "iPad",
        "iPod",
        "CrOS",
        "Mac OS X",
        "Macintosh",
        "Linux",
        "BSD",
    )
    _robots: ClassVar[tuple[str, ...]] = ("bot", "spider", "crawl", "headless")
    _version = re.compile(r"[/ ](\d{1,4})", re.ASCII)

    @staticmethod
    def words(text: str) -> tuple[str, ...]:
        lower = text.lower()
        family = system = "other"
        for name in UserAgentEncoder._robots:
            if name in lower:
                family = "robot"
                break
        else:
            for name in UserAgentEncoder._families:
                if name in text:
                    family = name
                    break
        for name in UserAgentEncoder._systems:
            if name in text:
                system = name
                break
        return family, system

    def encode(self, value: Value, event_at_ms: int) -> tuple[float, ...]:
        text = _text(value)
        words = self.words(text)
        place = text.find(words[0])
        version = self._version.match(text, place + len(words[0])) if place >= 0 else None
        mobile = 1.0 if "Mobi" in text or "Android" in text else 0.0
        return (*self.codes(words), float(version[1]) if version else nan, mobile, float(len(text)))


ENCODERS: dict[str, type[Encoder]] = {
    encoder.kind: encoder
    for encoder in (
        NumberEncoder,
        PriceEncoder,
        InstantEncoder,
        CategoryEncoder,
        ShapeEncoder,
        TextEncoder,
        EmailEncoder,
        IpEncoder,
        PhoneEncoder,
        CardBinEncoder,
        PostalEncoder,
        UserAgentEncoder,
    )
}

# Variable types that are not here are categories when they are text and numbers otherwise.
BY_VARIABLE_TYPE: dict[str, type[Encoder] | None] = {
    "IP_ADDRESS": IpEncoder,
    "USERAGENT": UserAgentEncoder,
    "FINGERPRINT": ShapeEncoder,
    "SESSION_ID": ShapeEncoder,
    "ORDER_ID": ShapeEncoder,
    "EMAIL_ADDRESS": EmailEncoder,
    "PHONE_NUMBER": PhoneEncoder,
    "BILLING_PHONE": PhoneEncoder,
    "SHIPPING_PHONE": PhoneEncoder,
    "BILLING_NAME": TextEncoder,
    "SHIPPING_NAME": TextEncoder,
    "BILLING_ADDRESS_L1": TextEncoder,
    "BILLING_ADDRESS_L2": TextEncoder,
    "SHIPPING_ADDRESS_L1": TextEncoder,
    "SHIPPING_ADDRESS_L2": TextEncoder,
    "BILLING_ZIP": PostalEncoder,
    "SHIPPING_ZIP": PostalEncoder,
    "CARD_BIN": CardBinEncoder,
    "PRICE": PriceEncoder,
    "NUMERIC": NumberEncoder,
    "CATEGORICAL": CategoryEncoder,
    "FREE_FORM_TEXT": TextEncoder,
    "FRAUD_LABEL": None,  # what is to be predicted, never an input
}


def encoder_of(spec: VariableSpec) -> type[Encoder] | None:
    """The encoder of a variable, None when it is no input of a model."""
    if spec.data_type == "DATETIME":
        return InstantEncoder
    by_data_type = CategoryEncoder if spec.data_type == "STRING" else NumberEncoder
    chosen = BY_VARIABLE_TYPE.get(spec.variable_type or "", by_data_type)
    # A Boolean or a text that is typed as a category keeps its codes; a Boolean elsewhere is a number.
    return NumberEncoder if chosen is CategoryEncoder and spec.data_type == "BOOLEAN" else chosen
