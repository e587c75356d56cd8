"""Values that have several spellings: instants and addresses."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from hawksnest.kernel.identity import CANONICAL_IPV4

IP_ADDRESS: Final = "IP_ADDRESS"
"""Variable type of lists whose entries compare as addresses."""

_INSTANT: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LONGEST_ADDRESS: Final = 64


def instant_ms(text: str) -> int:
    """Epoch milliseconds of `yyyy-mm-ddThh:mm:ssZ`, the only form rules know. Raises ValueError.

    >>> instant_ms("2019-11-30T01:01:01Z")
    1575075661000
    """
    parts = _INSTANT.fullmatch(text)
    if parts is None:
        raise ValueError("not an instant of the form 2024-01-31T08:00:00Z")
    year, month, day, hour, minute, second = map(int, parts.groups())
    return (datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH) // _MILLISECOND


def instant_text(at_ms: int) -> str:
    """The instant as a rule writes it; milliseconds only where there are some.

    >>> instant_text(1575075661000), instant_text(-1)
    ('2019-11-30T01:01:01Z', '1969-12-31T23:59:59.999Z')
    """
    seconds, milliseconds = divmod(at_ms, 1000)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{milliseconds:03d}Z" if milliseconds else f"{text}Z"


def normalised_address(text: str) -> str:
    """One spelling per IP address; an IPv4 address mapped into IPv6 is that IPv4 address. Other text stays.

    >>> normalised_address("::ffff:192.0.2.1"), normalised_address("2001:DB8:0::1"), normalised_address("n/a")
    ('192.0.2.1', '2001:db8::1', 'n/a')
    """
    if len(text) > _LONGEST_ADDRESS or CANONICAL_IPV4(text):
        return text
    return _normalised_address(text)


@lru_cache(maxsize=16_384)
def _normalised_address(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def normalise_elements(elements: Iterable[str], variable_type: str | None) -> frozenset[str]:
    """Entries of a list as evaluation wants them: exact text, or one spelling per address for IP_ADDRESS."""
    if variable_type == IP_ADDRESS:
        return frozenset(map(normalised_address, elements))
    return frozenset(elements)
