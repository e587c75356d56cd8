"""Requests against their shapes: compiled once per operation, every violation found in one pass.

Two halves that agree (a test holds them to it). `_fits` builds closures that say in a few microseconds that
a request is faultless and needs no cleaning, which nearly all are. Whatever they refuse goes through
`_Examination`, which drops unknown members and nulls, decodes blobs, and names what is wrong.
"""

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import orjson
import re2

from hawksnest.errors import ServiceError, invalid
from hawksnest.wire.model import Shape, fraud_detector

NULL_VALUES = frozenset({"EventVariableMap"})  # here a null is a value of its own
FAULTS_MAX = 500  # violations listed in one message
EXAMINED_MAX = 1_000  # elements of a list that is too long anyway
VALUE_MAX = 1_024  # characters of a value echoed in a message

Request = dict[str, Any]
_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_WANTED = {
    "structure": "an object",
    "map": "an object",
    "list": "a list",
    "string": "a string",
    "blob": "a base64 string",
    "boolean": "true or false",
    "integer": "an integer",
    "long": "an integer",
    "float": "a number",
}
_BITS = {"integer": 31, "long": 63}
# One class of characters, repeated: linear in any engine, and `re` is 15 times faster to call than RE2.
_ONE_CLASS = re.compile(r"\^\[(?:[^\]\\\[]|\\[-.:/])+\](?:[+*]|\{\d+,\d+\})\$")


@cache
def parser(operation: str) -> Callable[[bytes], Request]:
    """A function from the body of a request to its clean members.

    Raises ServiceError: SerializationException for what is not JSON of the right types,
    ValidationException for values that break constraints of the model.
    """
    shape = fraud_detector().operations[operation].input
    fits = _fits(shape)

    def parse(body: bytes) -> Request:
        request = read_json(body)
        if fits(request):
            return request  # type: ignore[no-any-return]
        return examined(shape, request)

    return parse


def read_json(body: bytes) -> Any:
    """The body as JSON. Raises ServiceError (SerializationException)."""
    if not body:
        body = b"{}"  # some clients send nothing for an operation without input
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise _unreadable(f"The body is not JSON (line {fault.lineno}, column {fault.colno}).") from None


def fitting(shape: Shape) -> Callable[[Any], bool]:
    """A test that is true only for a faultless value that needs no cleaning."""
    return _fits(shape)


@cache
def validator(operation: str) -> Callable[[Request], list[str]]:
    """A function that lists every violation of the model in a request, in the grammar of the API."""
    shape = fraud_detector().operations[operation].input

    def violations(request: Request) -> list[str]:
        examination = _Examination()
        examination.value(shape, request, "", hidden=False)
        return examination.faults

    return violations


def validation_error(faults: list[str]) -> ServiceError:
    """The one ValidationException for all violations of a request."""
    plural = "" if len(faults) == 1 else "s"
    return invalid(f"{len(faults)} validation error{plural} detected: {'; '.join(faults)}")


def examined(shape: Shape, request: Any) -> Request:
    """The clean members of a request. Raises ServiceError that names every violation of the shape."""
    examination = _Examination()
    clean: Request = examination.value(shape, request, "", hidden=False)
    if examination.faults:
        raise validation_error(examination.faults)
    return clean


def _unreadable(message: str) -> ServiceError:
    return ServiceError("SerializationException", message)


# --- the fast half -------------------------------------------------------------------------------------

Test = Callable[[Any], bool]


def _fits(shape: Shape) -> Test:
    """A test that is true only for a faultless value that needs no cleaning."""
    build = {"structure": _fits_structure, "list": _fits_list, "map": _fits_map, "string": _fits_string}
    if shape.kind in build:
        return build[shape.kind](shape)
    if shape.kind == "boolean":
        return lambda value: value is True or value is False
    if shape.kind in _BITS:
        low, high = _number_bounds(shape)
        return lambda value: type(value) is int and low <= value <= high
    return lambda value: False  # blobs are decoded and numbers made floats by the slow half


def _fits_structure(shape: Shape) -> Test:
    tests = {name: _fits(member) for name, member in shape.members.items()}
    required = frozenset(shape.required)

    def test(value: Any) -> bool:
        if type(value) is not dict or not value.keys() >= required:
            return False
        try:
            for name, member in value.items():
                if not tests[name](member):
                    return False
        except KeyError:
            return False
        return True

    return test


def _fits_list(shape: Shape) -> Test:
    assert shape.element is not None
    element = _fits(shape.element)
    low, high = _length_bounds(shape)

    def test(value: Any) -> bool:
        return type(value) is list and low <= len(value) <= high and all(map(element, value))

    return test


def _fits_map(shape: Shape) -> Test:
    key_shape, value_shape = shape.key, shape.element
    assert key_shape is not None and value_shape is not None
    low, high = _length_bounds(shape)
    if shape.name in NULL_VALUES:
        return _fits_null_values(key_shape, value_shape, low, high)
    key, element = _fits(key_shape), _fits(value_shape)

    def test(value: Any) -> bool:
        return (
            type(value) is dict
            and low <= len(value) <= high
            and all(map(key, value))
            and all(map(element, value.values()))
        )

    return test


def _fits_null_values(key: Shape, element: Shape, low: int, high: int) -> Test:
    """The variables of an event: strings or nulls with bounded lengths, tested without a call per value."""
    assert key.kind == element.kind == "string"
    assert not (key.pattern or key.enum or element.pattern or element.enum)
    key_low, key_high = _length_bounds(key)
    value_low, value_high = _length_bounds(element)

    def test(value: Any) -> bool:
        if type(value) is not dict or not low <= len(value) <= high:
            return False
        for name, text in value.items():
            if not key_low <= len(name) <= key_high:
                return False
            if type(text) is str:
                if not value_low <= len(text) <= value_high:
                    return False
            elif text is not None:
                return False
        return True

    return test


def _fits_string(shape: Shape) -> Test:
    low, high = _length_bounds(shape)
    if shape.enum:
        members = frozenset(shape.enum)
        return lambda value: type(value) is str and value in members
    if shape.pattern:
        matches = _matcher(shape.pattern)
        return lambda value: type(value) is str and low <= len(value) <= high and matches(value)
    if shape.low is None and shape.high is None:
        return lambda value: type(value) is str
    return lambda value: type(value) is str and low <= len(value) <= high


_ENDLESS = 1 << 62


def _length_bounds(shape: Shape) -> tuple[int, int]:
    return shape.low or 0, _ENDLESS if shape.high is None else shape.high


def _number_bounds(shape: Shape) -> tuple[int, int]:
    limit = 1 << _BITS[shape.kind]
    return (
        -limit if shape.low is None else shape.low,
        limit - 1 if shape.high is None else shape.high,
    )


@cache
def _matcher(pattern: str) -> Callable[[str], bool]:
    """Does the pattern occur in a text? The model's anchors stand: `$` is the very end, never a line's."""
    if pattern == ".*":
        return lambda text: True
    if _ONE_CLASS.fullmatch(pattern):
        search = re.compile(pattern[:-1] + r"\Z").search
        return lambda text: search(text) is not None
    compiled = re2.compile(pattern)
    return lru_cache(1_024)(lambda text: compiled.search(text) is not None)


# --- the slow half -------------------------------------------------------------------------------------


class _Examination:
    """Walks one request; `faults` holds what it found, in the wording of the API."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def value(self, shape: Shape, value: Any, path: str, hidden: bool) -> Any:
        """The clean value; notes its violations. Raises SerializationException for a wrong JSON type."""
        hidden = hidden or shape.sensitive
        if shape.kind == "structure":
            return self._structure(shape, value, path, hidden)
        if shape.kind == "list":
            return self._list(shape, value, path, hidden)
        if shape.kind == "map":
            return self._map(shape, value, path, hidden)
        clean = _typed(shape, value, path)
        for constraint in broken(shape, clean):
            self._note(value, path, constraint, hidden)
        return clean

    def _structure(self, shape: Shape, value: Any, path: str, hidden: bool) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong_type(shape, value, path)
        before = f"{path}." if path else ""
        clean: dict[str, Any] = {}
        for name, member in shape.members.items():
            given = value.get(name)
            if given is not None:
                clean[name] = self.value(member, given, before + name, hidden)
            elif name in shape.required:
                self._note(None, before + name, "Member must not be null", hidden)
        return clean

    def _list(self, shape: Shape, value: Any, path: str, hidden: bool) -> list[Any]:
        element = shape.element
        assert element is not None
        if type(value) is not list:
            raise _wrong_type(shape, value, path)
        for constraint in _broken_length(shape, len(value)):
            self._note(value, path, constraint, hidden or element.sensitive)
        if shape.high is not None and len(value) > max(shape.high, EXAMINED_MAX):
            return []  # refused already: millions of elements are not worth a look
        if element.simple:
            return self._elements(element, value, path, hidden)
        clean = []
        for number, item in enumerate(value, 1):
            where = f"{path}.{number}.member"
            if item is None:
                self._note(None, where, "Member must not be null", hidden)
            else:
                clean.append(self.value(element, item, where, hidden))
        return clean

    def _elements(self, element: Shape, value: list[Any], path: str, hidden: bool) -> list[Any]:
        """Simple elements: one fault for the whole list."""
        clean = [
            None if item is None else _typed(element, item, f"{path}.{number}.member")
            for number, item in enumerate(value, 1)
        ]
        if None in clean:
            self._note(
                value,
                path,
                "Member must satisfy constraint: [Member must not be null]",
                hidden or element.sensitive,
            )
        if any(item is not None and broken(element, item) for item in clean):
            constraint = f"Member must satisfy constraint: [{', '.join(_constraints(element))}]"
            self._note(value, path, constraint, hidden or element.sensitive)
        return clean

    def _map(self, shape: Shape, value: Any, path: str, hidden: bool) -> dict[str, Any]:
        key, element = shape.key, shape.element
        assert key is not None and element is not None
        if type(value) is not dict:
            raise _wrong_type(shape, value, path)
        hidden = hidden or key.sensitive or element.sensitive
        keeps_nulls = shape.name in NULL_VALUES
        given = {name: item for name, item in value.items() if keeps_nulls or item is not None}
        for constraint in _broken_length(shape, len(given)):
            self._note(value, path, constraint, hidden)
        if any(broken(key, name) for name in given):
            self._note(
                value, path, f"Map keys must satisfy constraint: [{', '.join(_constraints(key))}]", hidden
            )
        if not element.simple:
            return {
                name: self.value(element, item, f"{path}.{name[:VALUE_MAX]}.member", hidden)
                for name, item in given.items()
            }
        clean = {
            name: None if item is None else _typed(element, item, f"{path}.{name[:VALUE_MAX]}.member")
            for name, item in given.items()
        }
        if any(item is not None and broken(element, item) for item in clean.values()):
            constraint = f"Map value must satisfy constraint: [{', '.join(_constraints(element))}]"
            self._note(value, path, constraint, hidden)
        return clean

    def _note(self, value: Any, path: str, constraint: str, hidden: bool) -> None:
        if len(self.faults) >= FAULTS_MAX:
            return
        shown = "Value null" if value is None else "Value" if hidden else f"Value '{_printed(value)}'"
        self.faults.append(f"{shown} at '{path}' failed to satisfy constraint: {constraint}")


def broken(shape: Shape, value: Any) -> list[str]:
    """Texts of the constraints that a simple value of the right type breaks."""
    if shape.kind in _BITS:
        low, high = shape.low, shape.high
        texts = []
        if low is not None and value < low:
            texts.append(f"Member must have value greater than or equal to {low}")
        if high is not None and value > high:
            texts.append(f"Member must have value less than or equal to {high}")
        return texts
    if shape.kind != "string":
        return []
    texts = _broken_length(shape, len(value))
    if shape.pattern and not _matcher(shape.pattern)(value):
        texts.append(_pattern_text(shape))
    if shape.enum and value not in shape.enum:
        texts.append(_enum_text(shape))
    return texts


def _broken_length(shape: Shape, length: int) -> list[str]:
    texts = []
    if shape.low is not None and length < shape.low:
        texts.append(f"Member must have length greater than or equal to {shape.low}")
    if shape.high is not None and length > shape.high:
        texts.append(f"Member must have length less than or equal to {shape.high}")
    return texts


def _constraints(shape: Shape) -> list[str]:
    """Texts of all constraints of a simple shape, as a list or map names them."""
    texts = []
    if shape.high is not None:
        texts.append(f"Member must have length less than or equal to {shape.high}")
    if shape.low is not None:
        texts.append(f"Member must have length greater than or equal to {shape.low}")
    if shape.pattern:
        texts.append(_pattern_text(shape))
    if shape.enum:
        texts.append(_enum_text(shape))
    return texts


def _pattern_text(shape: Shape) -> str:
    return f"Member must satisfy regular expression pattern: {shape.pattern}"


def _enum_text(shape: Shape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _typed(shape: Shape, value: Any, path: str) -> Any:
    """A simple value in its Python type. Raises SerializationException."""
    kind = shape.kind
    if kind == "string" and type(value) is str:
        return value
    if kind == "boolean" and type(value) is bool:
        return value
    if kind in _BITS and type(value) is int and -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]:
        return value
    if kind == "float" and type(value) in (int, float):
        return float(value)
    if kind == "blob" and type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise _unreadable(f"{path} must be a base64 string.") from None
    raise _wrong_type(shape, value, path)


def _wrong_type(shape: Shape, value: Any, path: str) -> ServiceError:
    found = _JSON_NAMES[type(value)]
    wanted = _WANTED[shape.kind]
    if shape.kind in _BITS and type(value) in (int, float):
        found = "a number with a fraction or out of range"
    return _unreadable(f"{path or 'The body'} must be {wanted}, not {found}.")


def _printed(value: Any) -> str:
    """A value as messages show it, shortened."""
    if type(value) is list:
        text = f"[{', '.join(_printed(item) for item in value[:VALUE_MAX])}]"
    elif type(value) is dict:
        text = (
            f"{{{', '.join(f'{name}={_printed(item)}' for name, item in list(value.items())[:VALUE_MAX])}}}"
        )
    elif type(value) is bool:
        text = "true" if value else "false"
    else:
        text = "null" if value is None else str(value)
    return text if len(text) <= VALUE_MAX else text[:VALUE_MAX] + "…"
