"""Requests and answers generated from botocore's own model, which the server never reads."""

import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import botocore.session
from botocore.model import ServiceModel, Shape

_SESSION = botocore.session.get_session()
MODEL: ServiceModel = _SESSION.get_service_model("frauddetector", "2019-11-15")
OPERATIONS: list[str] = list(MODEL.operation_names)

# pattern of the model → (a text that matches, one that does not)
SAMPLES = {
    r"^[0-9a-z_-]+$": ("a-b_1", "BAD NAME"),
    r"^[0-9a-z_]+$": ("a_1", "a-b"),
    r"^[0-9A-Za-z_-]+$": ("A-b_1", "a b"),
    r"^[0-9A-Za-z_.@+-]+$": ("a.B@c+d-1", "a b"),
    r"^([1-9][0-9]*)$": ("12", "01"),
    r"^[1-9][0-9]{0,3}\.[0-9]{1,2}$": ("1.0", "0.10"),
    r"^[A-Z_]{1,64}$": ("CARD_BIN", "card"),
    r"^\S+( +\S+)*$": ("two words", " blank first"),
    r"^s3:\/\/(.+)$": ("s3://bucket/key.csv", "http://bucket/key"),
    r"^arn\:aws[a-z-]{0,15}\:iam\:\:[0-9]{12}\:role\/[^\s]{2,64}$": (
        "arn:aws:iam::123456789012:role/afd",
        "arn:aws:iam::12:role/afd",
    ),
    r"^arn\:aws[a-z-]{0,15}\:frauddetector\:[a-z0-9-]{3,20}\:[0-9]{12}\:[^\s]{2,128}$": (
        "arn:aws:frauddetector:us-east-1:123456789012:label/fraud",
        "arn:aws:frauddetector:us-east-1:123456789012:label/fr aud",
    ),
    r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$": ("Straße 5 +é", "semi;colon"),
    r"^DEFAULT|arn:[a-zA-Z0-9-]+:kms:[a-zA-Z0-9-]+:\d{12}:key\/\w{8}-\w{4}-\w{4}-\w{4}-\w{12}$": (
        "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
        "nonsense",
    ),
    r".*": ("token", ""),
}


class Case(NamedTuple):
    """A request with something broken, and the items that the answer must have, in any order.

    An item is (value as shown or None for "do not look", path, constraint); constraints of elements are
    compared as sets.
    """

    operation: str
    request: dict[str, Any]
    items: list[tuple[str | None, str, str]]


def sample(shape: Shape, seed: random.Random | None = None) -> Any:
    """A valid value. With a seed optional members come and go, lists and maps vary in length."""
    meta = shape.metadata
    if shape.type_name == "structure":
        required = shape.required_members
        return {
            name: sample(member, seed)
            for name, member in shape.members.items()
            if name in required or seed is None or seed.random() < 0.6
        }
    if shape.type_name == "list":
        low = max(1 if seed is None else 0, meta.get("min", 0))
        count = low if seed is None else min(low + seed.randrange(3), meta.get("max", 3))
        return [sample(shape.member, seed) for _ in range(count)]
    if shape.type_name == "map":
        count = 1 if seed is None else max(1, meta.get("min", 0)) + seed.randrange(2)
        key = sample(shape.key, seed)
        return {f"{key}{number or ''}": sample(shape.value, seed) for number in range(count)}
    if shape.type_name in ("integer", "long"):
        return meta.get("min", 5)
    if shape.type_name == "float":
        return 24.0 if seed is None else seed.uniform(-1e3, 1e3)
    if shape.type_name == "boolean":
        return seed is None or seed.random() < 0.5
    if shape.type_name == "blob":
        return b"\x00\xffblob"
    return _text(shape, seed)


def _text(shape: Any, seed: random.Random | None) -> str:
    if shape.enum:
        return str(shape.enum[0] if seed is None else seed.choice(shape.enum))
    if shape.metadata.get("pattern"):
        return SAMPLES[shape.metadata["pattern"]][0]
    return "2024-01-02T03:04:05Z" if shape.metadata.get("min", 0) > 1 else "text"


def broken(operation: str) -> Iterator[Case]:
    """Every required member left out, every bound broken by one, each pattern and enum, one at a time."""
    shape = MODEL.operation_model(operation).input_shape
    if shape is not None:
        for keys, new, items in _breaks(shape, (), "", False):
            yield Case(operation, _changed(sample(shape), keys, new), items)


_GONE = object()


def _changed(value: Any, keys: tuple[Any, ...], new: Any) -> Any:
    if not keys:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if new is _GONE and len(keys) == 1:
        del copy[keys[0]]
    else:
        copy[keys[0]] = _changed(copy[keys[0]], keys[1:], new)
    return copy


def _breaks(shape: Any, keys: tuple[Any, ...], path: str, hidden: bool) -> Iterator[tuple[Any, Any, Any]]:
    meta = shape.metadata
    hidden = hidden or meta.get("sensitive", False)
    if shape.type_name == "structure":
        for name in shape.required_members:
            where = f"{path}.{name}" if path else name
            yield (*keys, name), _GONE, [("null", where, "Member must not be null")]
            yield (*keys, name), None, [("null", where, "Member must not be null")]
        for name, member in shape.members.items():
            yield from _breaks(member, (*keys, name), f"{path}.{name}" if path else name, hidden)
    elif shape.type_name == "list":
        for size, text in _sizes(meta):
            yield keys, [sample(shape.member)] * size, [(None, path, text)]
        if shape.member.type_name in ("structure", "list", "map"):
            yield from _breaks(shape.member, (*keys, 0), f"{path}.1.member", hidden)
        elif limits := _limits(shape.member):
            hide = hidden or shape.member.metadata.get("sensitive", False)
            for bad, _ in _bad_texts(shape.member):
                shown = "hidden" if hide else f"[{bad}]"
                yield keys, [bad], [(shown, path, f"Member must satisfy constraint: [{limits}]")]
    elif shape.type_name == "map":
        yield from _map_breaks(shape, keys, path, hidden)
    elif shape.type_name in ("integer", "long"):
        if "min" in meta:
            text = f"Member must have value greater than or equal to {meta['min']}"
            yield keys, meta["min"] - 1, [(str(meta["min"] - 1), path, text)]
        if "max" in meta:
            text = f"Member must have value less than or equal to {meta['max']}"
            yield keys, meta["max"] + 1, [(str(meta["max"] + 1), path, text)]
    elif shape.type_name == "string":
        for bad, texts in _bad_texts(shape):
            shown = "hidden" if hidden else bad
            yield keys, bad, [(shown if len(bad) < 1000 else None, path, text) for text in texts]


def _map_breaks(shape: Any, keys: tuple[Any, ...], path: str, hidden: bool) -> Iterator[tuple[Any, Any, Any]]:
    for size, text in _sizes(shape.metadata):
        yield keys, {str(number): sample(shape.value) for number in range(size)}, [(None, path, text)]
    if limits := _limits(shape.key):
        for bad, _ in _bad_texts(shape.key):
            item = (None, path, f"Map keys must satisfy constraint: [{limits}]")
            yield keys, {bad: sample(shape.value)}, [item]
    key = sample(shape.key)
    if shape.value.type_name in ("structure", "list", "map"):
        yield from _breaks(shape.value, (*keys, key), f"{path}.{key}.member", hidden)
    elif limits := _limits(shape.value):
        for bad, _ in _bad_texts(shape.value):
            hide = hidden or shape.value.metadata.get("sensitive", False)
            item = ("hidden" if hide else None, path, f"Map value must satisfy constraint: [{limits}]")
            yield keys, {key: bad}, [item]


def _sizes(meta: dict[str, Any]) -> Iterator[tuple[int, str]]:
    if meta.get("min", 0) > 0:
        yield meta["min"] - 1, f"Member must have length greater than or equal to {meta['min']}"
    if "max" in meta:
        yield meta["max"] + 1, f"Member must have length less than or equal to {meta['max']}"


def _bad_texts(shape: Any) -> Iterator[tuple[str, list[str]]]:
    """Texts that break a constraint of a string shape, with all the items that they must cause."""
    meta, enum = shape.metadata, getattr(shape, "enum", [])
    if enum:
        yield "NO_SUCH_VALUE", [f"Member must satisfy enum value set: [{', '.join(enum)}]"]
    candidates = []
    if meta.get("min", 0) > 0:
        candidates.append((sample(shape) * 4)[: meta["min"] - 1])
    if "max" in meta:
        good = sample(shape)
        candidates.append((good + "a" * meta["max"])[: meta["max"] + 1])
        candidates.append(("é" * meta["max"]) + "e")
    if meta.get("pattern") and meta["pattern"] != ".*":
        good, bad = SAMPLES[meta["pattern"]]
        candidates += [bad, f"{good}\n"]
    for candidate in candidates:
        yield candidate, list(_texts(meta, candidate))


def _texts(meta: dict[str, Any], text: str) -> Iterator[str]:
    if len(text) < meta.get("min", 0):
        yield f"Member must have length greater than or equal to {meta['min']}"
    if len(text) > meta.get("max", len(text)):
        yield f"Member must have length less than or equal to {meta['max']}"
    pattern = meta.get("pattern", "")
    if pattern and not re.search(_python_pattern(pattern), text, re.ASCII if "\\p" not in pattern else 0):
        yield f"Member must satisfy regular expression pattern: {pattern}"


def _python_pattern(pattern: str) -> str:
    end = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    return end.replace(r"\p{L}\p{Z}\p{N}", r"\w ")


def _limits(shape: Any) -> str:
    """The bracketed list of all constraints of an element, sorted."""
    meta, texts = shape.metadata, []
    if "max" in meta:
        texts.append(f"Member must have length less than or equal to {meta['max']}")
    if "min" in meta:
        texts.append(f"Member must have length greater than or equal to {meta['min']}")
    if meta.get("pattern"):
        texts.append(f"Member must satisfy regular expression pattern: {meta['pattern']}")
    if getattr(shape, "enum", []):
        texts.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    return "; ".join(sorted(texts))


def items_of(message: str) -> list[tuple[str, str, str]]:
    """(value as shown, path, constraint) of each item of a message, its count and grammar checked."""
    head, _, rest = message.partition(" detected: ")
    count, _, noun = head.partition(" validation error")
    items = rest.split("; Value")
    assert int(count) == len(items)
    assert noun == ("" if len(items) == 1 else "s")
    found = []
    for item in items:
        match = re.fullmatch(
            r"(?:Value)?(?: (null|'.*?'))? at '([^']*)' failed to satisfy constraint: (.*)", item, re.DOTALL
        )
        assert match, item
        shown = "hidden" if match[1] is None else match[1].strip("'") if match[1] != "null" else "null"
        found.append((shown, match[2], _sorted_limits(match[3])))
    return found


def _sorted_limits(constraint: str) -> str:
    """`…constraint: [a, b]` in the canonical order of `_limits`."""
    match = re.fullmatch(r"((?:Member|Map keys|Map value) must satisfy constraint: )\[(.*)\]", constraint)
    if not match:
        return constraint
    return f"{match[1]}[{'; '.join(sorted(re.split(r', (?=Member must)', match[2])))}]"
