"""What an external model is sent and what its answer means: templates filled in, outputs read. Pure text.

A template names variables as `{{variable}}`. In CSV a value is quoted where it must be; in JSON a value
becomes a literal, or escaped text where the template has it inside quotes.
"""

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hawksnest.kernel.events import DATA_TYPES, Value, convert

CSV_FORMAT, JSON_FORMAT, JSON_LINES_FORMAT = "TEXT_CSV", "APPLICATION_JSON", "APPLICATION_JSONLINES"
CONTENT_TYPES = {CSV_FORMAT: "text/csv", JSON_FORMAT: "application/json"}
NULL = "null"  # what a null is in CSV, and in JSON inside quotes
COLUMNS_MAX = 10_000  # of an answer in CSV

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}\s]*)\s*\}\}")
_SAMPLES: dict[str, Value] = {"INTEGER": 1, "FLOAT": 1.0, "BOOLEAN": True}


class OutputFault(ValueError):
    """The answer of an external model is not what its output configuration says. Holds no value of it."""


@dataclass(frozen=True)
class InputVariable:
    """What a template needs to know of a variable: its type, and the text that stands for its default."""

    data_type: str
    default: str | None  # None: the default is null


@dataclass(frozen=True)
class _Part:
    text: str  # a literal, or a variable's name
    variable: bool = False
    quoted: bool = False  # inside quotes of the template


class Template:
    """A template of one of the two input formats, taken apart once."""

    def __init__(self, text: str, form: str) -> None:
        assert form in CONTENT_TYPES, "unknown input format"
        self._json = form == JSON_FORMAT
        self.content_type = CONTENT_TYPES[form]
        parts: list[_Part] = []
        end, quoted = 0, False
        for match in _PLACEHOLDER.finditer(text):
            literal = text[end : match.start()]
            quoted = _quoted_after(literal, quoted, self._json)
            parts += [_Part(literal), _Part(match[1], True, quoted)]
            end = match.end()
        parts.append(_Part(text[end:]))
        self._parts = tuple(parts)
        self.names = tuple(dict.fromkeys(part.text for part in parts if part.variable))

    def fill(
        self,
        variables: Mapping[str, InputVariable],
        given: Mapping[str, str | None],
        values: Mapping[str, Value],
    ) -> tuple[str, dict[str, str]]:
        """The text to send, and what each variable was in it.

        `given`: the caller's texts; `values`: what rules see. An absent variable has its default, a null is
        null.
        """
        inputs = {name: _text(name, variables[name], given, values[name]) for name in self.names}
        made = []
        for part in self._parts:
            if not part.variable:
                made.append(part.text)
            elif self._json:
                made.append(_json(inputs[part.text], values[part.text], variables[part.text], part.quoted))
            else:
                made.append(_csv(inputs[part.text], part.quoted))
        return "".join(made), inputs

    def check(self, data_types: Mapping[str, str]) -> None:
        """Raises ValueError when a JSON template does not give JSON. `data_types` holds all its names."""
        if not self._json:
            return
        variables = {name: InputVariable(data_types[name], "x") for name in self.names}
        values = {name: _SAMPLES.get(data_types[name], "x") for name in self.names}
        text, _ = self.fill(variables, {}, values)
        json.loads(text)


def _quoted_after(literal: str, quoted: bool, escapes: bool) -> bool:
    """Is a place inside quotes, when the text before `literal` left it so or not?"""
    skip = False
    for character in literal:
        if skip:
            skip = False
        elif escapes and quoted and character == "\\":
            skip = True
        elif character == '"':
            quoted = not quoted
    return quoted


def _text(name: str, variable: InputVariable, given: Mapping[str, str | None], value: Value) -> str:
    if name in given:
        text = given[name]
    else:
        text = variable.default
    return NULL if text is None or value is None else text


def _json(text: str, value: Value, variable: InputVariable, quoted: bool) -> str:
    if quoted:
        return json.dumps(text)[1:-1]
    if value is None:
        return NULL
    if variable.data_type in ("STRING", "DATETIME"):
        return json.dumps(text)
    return json.dumps(value)


def _csv(text: str, quoted: bool) -> str:
    if quoted:
        return text.replace('"', '""')
    if any(character in text for character in ',"\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


@dataclass(frozen=True)
class OutputField:
    """One output: its column index or JSON key, and the variable that takes it."""

    place: str
    variable: str
    data_type: str


@dataclass(frozen=True)
class Output:
    """How the answer of an external model becomes values of variables."""

    form: str  # TEXT_CSV or APPLICATION_JSONLINES
    fields: tuple[OutputField, ...]

    def read(self, body: bytes) -> tuple[dict[str, str], dict[str, Value]]:
        """Raw texts and typed values by variable.

        Raises OutputFault when the answer lacks an output or holds one that is not of its variable's type.
        """
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise OutputFault("the answer is not UTF-8") from None
        found = _columns(text) if self.form == CSV_FORMAT else _members(text)
        raw: dict[str, str] = {}
        values: dict[str, Value] = {}
        for field in self.fields:
            if field.place not in found:
                raise OutputFault(f"the answer has no output {field.place!r} for variable {field.variable}")
            raw[field.variable] = found[field.place]
            values[field.variable] = _value(field, found[field.place])
        return raw, values


def _value(field: OutputField, text: str) -> Value:
    assert field.data_type in DATA_TYPES
    if field.data_type == "STRING":
        return text.rstrip("\r\n")
    try:
        return convert(text.strip(), field.data_type)
    except (ValueError, IndexError):
        raise OutputFault(
            f"output {field.place!r} is no {field.data_type} for variable {field.variable}"
        ) from None


def _columns(text: str) -> dict[str, str]:
    """The columns of the first row by index; the last one keeps the line end."""
    first = text.split("\n", 1)[0]
    line = first.rstrip("\r")
    try:
        row = next(csv.reader([line], strict=True), [])
    except csv.Error:
        raise OutputFault("the answer is no CSV") from None
    if not row or len(row) > COLUMNS_MAX:
        raise OutputFault("the answer has no columns, or too many")
    row[-1] += text[len(line) : len(first) + 1]
    return {str(index): column for index, column in enumerate(row)}


def _members(text: str) -> dict[str, str]:
    """The members of the object in the first line, as texts; numbers keep theirs."""
    lines = text.strip().splitlines()
    try:
        found: Any = json.loads(lines[0] if lines else "", parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise OutputFault("the first line of the answer is no JSON") from None
    if not isinstance(found, dict):
        raise OutputFault("the first line of the answer is no JSON object")
    return {key: _written(value) for key, value in found.items()}


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return NULL if value is None else json.dumps(value)
