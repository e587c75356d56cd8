"""Answers: from an operation's response to the bytes on the wire, and what a response must look like."""

import base64
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from hawksnest.wire.model import Shape, fraud_detector, preview_fraud_detector

Response = dict[str, Any]


@cache
def serialiser(operation: str) -> Callable[[Response], bytes]:
    """A function from a response to compact JSON: floats keep their point, members without a value are left
    out, blobs are base64."""
    shape = _outputs(operation)[0]
    has_integers, shaped = _has_integers(shape), _floats(shape)

    def serialise(response: Response) -> bytes:
        if has_integers is not None and shaped is not None and has_integers(response):
            response = shaped(response)
        body = orjson.dumps(response, default=_blob)
        if b"null" in body:  # a cheap suspicion; only then a walk
            body = orjson.dumps(_without_nulls(response), default=_blob)
        return body

    return serialise


def _blob(value: Any) -> str:
    assert isinstance(value, bytes), f"{type(value).__name__} has no place in a response"
    return base64.b64encode(value).decode()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _has_integers(shape: Shape) -> Callable[[Any], bool] | None:
    """A test for integers in float members, which costs less than writing them anew; None as in `_floats`."""
    if shape.kind == "float":
        return lambda value: type(value) is int
    if shape.kind in ("list", "map"):
        assert shape.element is not None
        element = _has_integers(shape.element)
        if element is None:
            return None
        if shape.kind == "list":
            return lambda value: any(map(element, value))
        return lambda value: any(map(element, value.values()))
    parts = [(name, part) for name, member in shape.members.items() if (part := _has_integers(member))]
    if not parts:
        return None

    def structure(value: Any) -> bool:
        for name, part in parts:
            member = value.get(name)
            if member and part(member):
                return True
        return False

    return structure


def _floats(shape: Shape) -> Callable[[Any], Any] | None:
    """A function that writes integers in float members as floats; None where the shape has no floats."""
    if shape.kind == "float":
        return lambda value: float(value) if type(value) is int else value
    if shape.kind in ("list", "map"):
        assert shape.element is not None
        element = _floats(shape.element)
        if element is None:
            return None
        if shape.kind == "list":
            return lambda value: value and [element(item) for item in value]
        return lambda value: value and {key: element(item) for key, item in value.items()}
    parts = [(name, part) for name, member in shape.members.items() if (part := _floats(member))]
    if not parts:
        return None

    def structure(value: Any) -> Any:
        if value is None:
            return None
        changed = {name: part(value[name]) for name, part in parts if value.get(name) is not None}
        return {**value, **changed} if changed else value

    return structure


def misfits(operation: str, response: Any) -> list[str]:
    """Where a response does not fit the model's output shape: unknown or lacking members, wrong types,
    values outside an enum, nulls. The lengths and patterns that the model also gives for answers are not
    checked: stored values may exceed them (an event variable of 8,192 characters against 256)."""
    shape, *also = _outputs(operation)
    found: list[str] = []
    _compare(shape, response, "", found, also[0] if also else None)
    return found


def _outputs(operation: str) -> list[Shape]:
    """The answer's shape, and that of the preview API, whose members it may have too."""
    models = (fraud_detector(), preview_fraud_detector())
    return [model.operations[operation].output for model in models if operation in model.operations]


_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "blob": (bytes,),
}


def _compare(shape: Shape, value: Any, path: str, found: list[str], also: Shape | None = None) -> None:
    if also is not None and also.kind != shape.kind:
        if type(value) in _TYPES[also.kind]:
            shape = also
        also = None
    if type(value) not in _TYPES[shape.kind]:
        found.append(f"{path or 'response'} is {type(value).__name__}, not {shape.kind}")
        return
    if shape.kind == "structure":
        more = also.members if also is not None else {}
        known = shape.members.keys() | more.keys()
        found.extend(f"{path}.{name} is not in the model" for name in value.keys() - known)
        found.extend(f"{path}.{name} is required" for name in shape.required if value.get(name) is None)
        for name in value.keys() & known:
            member = shape.members.get(name) or more[name]
            _compare(member, value[name], f"{path}.{name}", found, more.get(name))
    elif shape.kind == "list":
        assert shape.element is not None
        for number, item in enumerate(value, 1):
            _compare(shape.element, item, f"{path}.{number}", found, also.element if also else None)
    elif shape.kind == "map":
        assert shape.element is not None and shape.key is not None
        for key, item in value.items():
            _compare(shape.key, key, f"{path}.{key}", found)
            _compare(shape.element, item, f"{path}.{key}", found)
    elif shape.enum and value not in shape.enum:
        found.append(f"{path} is none of {', '.join(shape.enum)}")
    elif shape.kind == "float" and value != value:
        found.append(f"{path} is not a number")
