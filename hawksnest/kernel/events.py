"""Event, entity; typing, coercion and defaults of variables.

Instants are epoch milliseconds (int). A DATETIME value is an instant too; its static type tells it from an
INTEGER.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from hawksnest.kernel.identity import IDENTITY_TYPES, identity_value

Value = str | int | float | bool | None

DATA_TYPES = ("STRING", "INTEGER", "FLOAT", "BOOLEAN", "DATETIME")
NULL_DEFAULT = "<null>"  # as the default of a variable that is not a STRING it means null
SHOWN_VALUE_LIMIT = 32  # characters of a refused value that its message repeats
TIMESTAMP_LIMIT = 64  # longer texts are no timestamps; the regular expressions never see them

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_ONE_MS = timedelta(milliseconds=1)
_INT64 = range(-(2**63), 2**63)

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{0,9}))?)?(?: ?([Zz]|[+-]\d{2}(?::?\d{2})?))?)?",
    re.ASCII,
)
_CLOCK = r"(?: (\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp][Mm]))?)?"
_YEAR_FIRST = re.compile(r"(\d{4})([/-])(\d{1,2})\2(\d{1,2})" + _CLOCK, re.ASCII)
_MONTH_FIRST = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4}|\d{2})" + _CLOCK, re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


class VariableSpec(NamedTuple):
    """What evaluation needs to know of a variable."""

    name: str
    data_type: str  # STRING INTEGER FLOAT BOOLEAN DATETIME
    default: Value  # already converted; None where the default is the literal <null> of a non-STRING
    variable_type: str | None


class Event(NamedTuple):
    """One event as the caller sent it. `given` keeps absent (no key), null (None) and text apart."""

    event_type: str
    event_id: str
    entity_type: str
    entity_id: str
    event_at_ms: int
    timestamp: str  # the caller's text, echoed
    given: dict[str, str | None]


class EventFault(ValueError):
    """The caller's variables are not acceptable. The message is for the caller and never logged."""

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(message)
        self.variable = variable


class ValueFault(EventFault):
    """A value does not convert to its variable's data type. `value` is shortened."""

    def __init__(self, variable: str, text: str, data_type: str) -> None:
        self.value = text if len(text) <= SHOWN_VALUE_LIMIT else text[:SHOWN_VALUE_LIMIT] + "…"
        self.data_type = data_type
        super().__init__(
            variable, f'The value "{self.value}" of variable {variable} can\'t be converted to {data_type}.'
        )


class UnknownVariable(EventFault):
    """A variable that the event type does not declare."""

    def __init__(self, variable: str, event_type: str) -> None:
        shown = variable if len(variable) <= 100 else variable[:100] + "…"
        super().__init__(variable, f"Variable {shown} is not a variable of event type {event_type}.")


def parse_timestamp(text: str) -> int:
    """Epoch milliseconds of a timestamp as the API and the CSV files accept it.

    ISO 8601 (`T` or a blank, up to 9 fraction digits, `Z`, an offset or nothing for UTC, or the date alone)
    and the families `yyyy/mm/dd`, `mm/dd/yyyy`, `mm/dd/yy` with an optional time, AM/PM and `-` for `/`.
    Fractions are cut to milliseconds. Raises ValueError for everything else.
    """
    if len(text) == 20 and text[10] == "T" and text[19] == "Z" and text[7] == "-" and text[13] == ":":
        gone = datetime.fromisoformat(text) - _EPOCH
        return gone.days * _DAY_MS + gone.seconds * 1000
    if len(text) <= TIMESTAMP_LIMIT:
        if match := _ISO.fullmatch(text):
            return _iso_instant(match)
        if match := _YEAR_FIRST.fullmatch(text):
            year, _, month, day, *clock = match.groups()
            return _day_ms(int(year), int(month), int(day)) + _clock_ms(*clock)
        if match := _MONTH_FIRST.fullmatch(text):
            month, _, day, year, *clock = match.groups()
            full_year = int(year) if len(year) == 4 else 2000 + int(year)
            return _day_ms(full_year, int(month), int(day)) + _clock_ms(*clock)
    raise ValueError("not a timestamp; write it like 2019-11-30T13:01:01Z")


def _iso_instant(match: "re.Match[str]") -> int:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    at_ms = _day_ms(int(year), int(month), int(day)) + _clock_ms(hour, minute, second, None)
    if fraction:
        at_ms += int(fraction[:3].ljust(3, "0"))
    if zone and zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            raise ValueError("the offset of the timestamp is out of range")
        offset_ms = (hours * 60 + minutes) * 60_000
        at_ms += offset_ms if zone[0] == "-" else -offset_ms
    return at_ms


def _day_ms(year: int, month: int, day: int) -> int:
    return (date(year, month, day).toordinal() - _EPOCH_DAY) * _DAY_MS


def _clock_ms(hour: str | None, minute: str | None, second: str | None, half: str | None) -> int:
    """Milliseconds into the day; `half` is AM or PM for a 12-hour clock."""
    if hour is None:
        return 0
    hours, minutes, seconds = int(hour), int(minute or 0), int(second or 0)
    if half is not None:
        if not 1 <= hours <= 12:
            raise ValueError("the hour before AM or PM goes from 1 to 12")
        hours = hours % 12 + (12 if half in ("PM", "pm", "Pm", "pM") else 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError("the time of day is out of range")
    return ((hours * 60 + minutes) * 60 + seconds) * 1000


def parse_datetime_value(text: str) -> int:
    """Epoch milliseconds of a DATETIME value: exactly `yyyy-mm-ddThh:mm:ssZ`, else ValueError."""
    if len(text) == 20 and text[10] == "T" and text[19] == "Z" and text[7] == "-" and text[13] == ":":
        return (datetime.fromisoformat(text) - _EPOCH) // _ONE_MS
    raise ValueError("not a DATETIME; write it like 2019-11-30T13:01:01Z")


def _integer(text: str) -> int:
    if not (_INTEGER.fullmatch(text) and (number := int(text)) in _INT64):
        raise ValueError("not a 64-bit INTEGER")
    return number


def _float(text: str) -> float:
    number = float(text)
    # float() also takes blanks around, underscores between and other alphabets' digits.
    if number - number != 0.0 or "_" in text or not text.isascii() or text[0] <= " " or text[-1] <= " ":
        raise ValueError("not a finite FLOAT")
    return number


_BOOLEANS = {"true": True, "false": False, "True": True, "False": False}


def _boolean(text: str) -> bool:
    known = _BOOLEANS.get(text)
    if known is None:
        known = _BOOLEANS.get(text.lower()) if text.isascii() else None
        if known is None:
            raise ValueError("not a BOOLEAN")
    return known


def _string(text: str) -> str:
    return text


_CONVERTERS: dict[str, Callable[[str], Value]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": _boolean,
    "DATETIME": parse_datetime_value,
}


def convert(text: str, data_type: str) -> Value:
    """The text as a value of the data type; ValueError when it is none."""
    return _CONVERTERS[data_type](text)


def default_value(text: str, data_type: str) -> Value:
    """The declared default as a value, else as `convert`.

    `<null>` of anything but a STRING is null, and so is the empty default of a DATETIME.
    """
    if (text == NULL_DEFAULT and data_type != "STRING") or (text == "" and data_type == "DATETIME"):
        return None
    return convert(text, data_type)


class Resolved(NamedTuple):
    """What an event's variables are to rules, models and entity states."""

    rule_values: dict[str, Value]  # defaults filled in; an explicit null is None
    model_values: dict[str, Value]  # None for absent and null alike
    amount: float | None  # the first PRICE variable that was sent as a number
    identities: list[
        tuple[str, str]
    ]  # (variable type, normalised value), each once, in the order of the specs


class EventSchema:
    """The variables of an event type, compiled once; `resolve` types one event."""

    __slots__ = (
        "_converters",
        "_defaults",
        "_identity_sources",
        "_missing",
        "_prices",
        "event_type",
        "specs",
    )

    def __init__(self, event_type: str, specs: Sequence[VariableSpec]) -> None:
        self.event_type = event_type
        self.specs = tuple(specs)
        # None stands for "as is": no call for the most frequent type.
        self._converters: dict[str, Callable[[str], Value] | None] = {
            spec.name: None if spec.data_type == "STRING" else _CONVERTERS[spec.data_type] for spec in specs
        }
        self._defaults: dict[str, Value] = {spec.name: spec.default for spec in specs}
        self._missing: dict[str, Value] = dict.fromkeys(self._defaults)
        self._prices = tuple(spec.name for spec in specs if spec.variable_type == "PRICE")
        self._identity_sources = tuple(
            (spec.name, spec.variable_type) for spec in specs if spec.variable_type in IDENTITY_TYPES
        )

    def resolve(self, given: Mapping[str, str | None]) -> Resolved:
        """Values of all declared variables.

        Raises UnknownVariable for an undeclared name and ValueFault for a text that does not convert.
        """
        rule_values = self._defaults.copy()
        model_values = self._missing.copy()
        converters = self._converters
        for name, text in given.items():
            try:
                converter = converters[name]
            except KeyError:
                raise UnknownVariable(name, self.event_type) from None
            if text is None:
                rule_values[name] = None
            elif converter is None:
                rule_values[name] = model_values[name] = text
            else:
                try:
                    rule_values[name] = model_values[name] = converter(text)
                except ValueError:
                    raise ValueFault(name, text, self._data_type(name)) from None
        identities: list[tuple[str, str]] = []
        for name, variable_type in self._identity_sources:
            text = given.get(name)
            if text is not None:
                value = identity_value(variable_type, text)
                if value is not None and (variable_type, value) not in identities:
                    identities.append((variable_type, value))
        return Resolved(rule_values, model_values, self._amount(model_values), identities)

    def _data_type(self, name: str) -> str:
        return next(spec.data_type for spec in self.specs if spec.name == name)

    def _amount(self, model_values: Mapping[str, Value]) -> float | None:
        for name in self._prices:
            value = model_values[name]
            if value.__class__ is float:
                return value
            amount = numeric(value)
            if amount is not None:
                return amount
        return None


def numeric(value: Value) -> float | None:
    """The value as a finite number, whatever its data type; None when it is none."""
    if isinstance(value, str):
        try:
            return _float(value.strip())
        except (ValueError, IndexError):
            return None
    return None if value is None else float(value)
