"""Requests that break the service model in one place, made from valid ones; botocore's model says where."""

import json
import re
from random import Random
from typing import Any

import botocore.session

MODEL = botocore.session.get_session().get_service_model("frauddetector", "2019-11-15")
OPERATIONS = list(MODEL.operation_names)
ODD = (
    "\u202e\u200b",
    "\U0001f4b8" * 9,
    "\u0000",
    "A\u030a\u0327",
    "\ud800",
    "\uffff\ufffe",
    "ﷺ" * 99,
    "' OR 1=1 --",
)
BODIES = (b"", b"[]", b"5", b'"text"', b"{", b"{]", b"nul", b'{"a":1,}', b"\xff\xfe{}", b"{}{}", b"[" * 5_000)


def _wrong_types(type_name: str) -> list[Any]:
    every: dict[str, list[Any]] = {
        "string": ["text"],
        "integer": [5],
        "float": [5.5],
        "list": [["text"], [[[]]]],
        "structure": [{"a": {"b": None}}],
    }
    same = {"map": "structure", "blob": "string", "long": "integer", "double": "float"}.get(
        type_name, type_name
    )
    return [value for name, values in every.items() if name != same for value in values]


def _bad_texts(shape: Any, random: Random) -> list[str]:
    meta = shape.metadata
    candidates = [
        *ODD,
        "BAD NAME",
        "",
        "x" * random.choice((65, 129, 257, 5_000, 100_000)),
        random.choice(ODD) * 700,
    ]
    candidates += ["NO_SUCH_VALUE"] if shape.enum else []
    return [each for each in candidates if _breaks(shape, meta, each)]


def _breaks(shape: Any, meta: dict[str, Any], text: str) -> bool:
    if len(text) < meta.get("min", 0) or len(text) > meta.get("max", len(text)):
        return True
    if shape.enum:
        return text not in shape.enum
    pattern = meta.get("pattern", "")
    return "\\p" not in pattern and bool(pattern) and not re.search(pattern, text, re.ASCII)


def _places(
    shape: Any, value: Any, keys: tuple[Any, ...], needed: bool
) -> list[tuple[tuple[Any, ...], Any, bool]]:
    """(path, shape, required?) of everything in the value."""
    found = [(keys, shape, needed)] if keys else []
    if shape.type_name == "structure":
        for name, each in value.items():
            needs = name in shape.required_members
            found += _places(shape.members[name], each, (*keys, name), needs)
    elif shape.type_name == "list":
        for number, each in enumerate(value):
            found += _places(shape.member, each, (*keys, number), False)
    elif shape.type_name == "map":
        for key, each in value.items():
            found += _places(shape.value, each, (*keys, key), False)
    return found


def _bad_values(shape: Any, needed: bool, random: Random) -> list[Any]:
    bad: list[Any] = [random.choice(_wrong_types(shape.type_name))]
    meta = shape.metadata
    if needed:
        bad.append(None)
    if shape.type_name == "string" and (texts := _bad_texts(shape, random)):
        bad += [random.choice(texts), random.choice(texts)]
    elif shape.type_name in ("integer", "long"):
        bad += [10**30, -(2**63)]
        bad += [meta["min"] - 1] if "min" in meta else []
        bad += [meta["max"] + 1] if "max" in meta else []
    elif shape.type_name == "list" and meta.get("max", 10**9) < 10_000:
        bad.append(["text"] * (meta["max"] + 1))
    return bad


def broken_body(operation: str, valid: dict[str, Any], random: Random) -> bytes:
    """A body that must be refused, whatever the account holds."""
    shape = MODEL.operation_model(operation).input_shape
    places = _places(shape, valid, (), False) if shape is not None else []
    if not places or random.random() < 0.05:
        return random.choice(BODIES[1:])
    request = json.loads(json.dumps(valid))
    keys, where, needed = random.choice(places)
    holder = request
    for key in keys[:-1]:
        holder = holder[key]
    if needed and random.random() < 0.1:
        del holder[keys[-1]]
    else:
        holder[keys[-1]] = random.choice(_bad_values(where, needed, random))
    if random.random() < 0.3:
        request[random.choice(ODD)] = random.choice((None, 5, {"a": []}, "x" * 999))
    return json.dumps(request).encode()
