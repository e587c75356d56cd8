"""What training learned about values of a variable: rates of fraud by value and network, risk of a text.

The forms that serve, pure and made of JSON; `hawksnest.ml.learning` makes them from labelled events. A number
that such a form gives for an event that taught it would tell the event's own label, so training takes the
numbers of its events from forms that other events taught.
"""

from bisect import bisect_left
from collections.abc import Mapping
from math import log1p, nan
from typing import Any, ClassVar

from hawksnest.kernel.encoders import address_groups
from hawksnest.kernel.events import Value, VariableSpec

NETWORKS_V4 = (8, 12, 16, 20, 24)  # bits of the prefixes whose rates are told
NETWORKS_V6 = (16, 24, 32, 48, 56)
NEIGHBOURS = (1, 4, 16)  # the n-th nearest fraudulent address is how far away?
SEQUENCES = (3, 4)  # lengths of the character sequences of a text
TEXT_READ = 512  # characters of a text that are read
_V6 = 1 << 60  # keeps keys of IPv6, of at most 56 bits, apart from those of IPv4


class Learned:
    """Turns a present value into `len(parts)` numbers; made of JSON values and written as such."""

    kind: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    def numbers(self, value: Value) -> tuple[float, ...]:
        """The numbers of a present value."""
        raise NotImplementedError  # every form has its own


class ValueRates(Learned):
    """Log-odds of fraud of each known value beside those of all events; near them the rarer it is."""

    kind = "rates"
    parts = ("rate",)

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._unknown: float = content["unknown"]
        self._rates: dict[str, float] = dict(zip(content["values"], content["rates"], strict=True))

    def numbers(self, value: Value) -> tuple[float, ...]:
        text = value if isinstance(value, str) else str(value)
        return (self._rates.get(text, self._unknown),)


def network_keys(text: str) -> list[int] | None:
    """The keys of an address's networks, from wide to narrow, then the address; None when it is none."""
    groups, _, version = address_groups(text)
    if groups is None:
        return None
    first, second, third, fourth = groups
    if version == 4.0:
        number = first << 24 | second << 16 | third << 8 | fourth
        return [number >> (32 - bits) for bits in NETWORKS_V4] + [number]
    number = first << 48 | second << 32 | third << 16 | fourth
    return [number >> (64 - bits) | _V6 for bits in NETWORKS_V6] + [number >> 8 | _V6]


class NetworkRates(Learned):
    """Log-odds of fraud of an address's networks beside those of all events, each drawn to the wider one's.

    And how near frauds are.

    Distances are logarithms of the number of addresses between; of IPv4 only.
    """

    kind = "networks"
    parts = (
        *(f"rate_{bits}" for bits in NETWORKS_V4),
        *(f"fraud_distance_{rank}" for rank in NEIGHBOURS),
    )

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._unknown: float = content["unknown"]
        self._levels: list[dict[int, float]] = [
            dict(zip(level["keys"], level["rates"], strict=True)) for level in content["levels"]
        ]
        self._frauds: list[int] = content["frauds"]

    def numbers(self, value: Value) -> tuple[float, ...]:
        keys = network_keys(value if isinstance(value, str) else str(value))
        if keys is None:
            return (nan,) * len(self.parts)
        rate, found = self._unknown, []
        for level, key in zip(self._levels, keys, strict=False):
            rate = level.get(key, rate)
            found.append(rate)
        return (*found, *self._distances(keys[-1]))

    def _distances(self, number: int) -> tuple[float, ...]:
        frauds = self._frauds
        count = len(frauds)
        if number >= _V6 or count < NEIGHBOURS[-1]:
            return (nan,) * len(NEIGHBOURS)
        place = bisect_left(frauds, number)
        distances = []
        for rank in NEIGHBOURS:
            below = number - frauds[place - rank] if place >= rank else _V6
            above = frauds[place + rank - 1] - number if place + rank <= count else _V6
            distances.append(log1p(below if below < above else above))
        return tuple(distances)


def sequences(text: str) -> set[str]:
    """The different character sequences of a text, its ends marked."""
    marked = "\x02" + text[:TEXT_READ].lower() + "\x03"
    return {
        marked[place : place + length] for length in SEQUENCES for place in range(len(marked) - length + 1)
    }


class TextRisk(Learned):
    """Log-odds of fraud of a text: the sum of weights of its character sequences."""

    kind = "text"
    parts = ("risk",)

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._bias: float = content["bias"]
        self._weights: dict[str, float] = dict(zip(content["sequences"], content["weights"], strict=True))

    def numbers(self, value: Value) -> tuple[float, ...]:
        known = self._weights
        # Sorted: the sum must not depend on the order of a set, which changes from process to process.
        found = sorted(known[each] for each in sequences(_text(value)) if each in known)
        return (self._bias + sum(found),)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else str(value)


LEARNED: dict[str, type[Learned]] = {each.kind: each for each in (ValueRates, NetworkRates, TextRisk)}


def learned_of(spec: VariableSpec, encoder: str) -> str | None:
    """The kind of what is learned about a variable with an encoder of that kind, None for nothing."""
    if spec.variable_type == "FREE_FORM_TEXT" and encoder == "text":
        return TextRisk.kind
    if encoder == "ip":
        return NetworkRates.kind
    if encoder == "category" or spec.variable_type == "FINGERPRINT":
        return ValueRates.kind
    return None
