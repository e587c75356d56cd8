"""The oracle: evaluates a tree in the plainest way, operator by operator, to hold the compiler to its word.

Written independently of the compiler; the two share the tree and nothing that computes. What a rule means:

- null: `==` and `!=` compare with it, every other test on it is false (`not in` is true), a function of it is
  null, arithmetic on it fails, and where true or false is wanted it counts as false.
- `and` and `or` stop at the first operand that decides; all other operators evaluate both operands.
- Integers are exact. Anything with a FLOAT, and every quotient, is a double; one that is not finite fails.
- `%` has the sign of the dividend. Dividing by zero fails.
- A failure makes the rule a `Fault`; it never leaves this module as an exception.
"""

import math
import re
from calendar import timegm
from collections.abc import Callable, Mapping
from fractions import Fraction
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

import re2

from hawksnest.kernel.events import Value
from hawksnest.kernel.lang.checker import CheckedRule
from hawksnest.kernel.lang.fault import (
    BAD_PATTERN,
    FAULT,
    NOT_AN_INSTANT,
    NULL_ARITHMETIC,
    TOO_LARGE,
    WRONG_TYPE,
    ZERO_DIVISION,
    Fault,
)
from hawksnest.kernel.lang.pattern import MAX_DYNAMIC_LENGTH, MAX_DYNAMIC_PROGRAM
from hawksnest.kernel.lang.tree import (
    BOOLEAN,
    DATETIME,
    STRING,
    And,
    Arithmetic,
    Call,
    Compare,
    Inline,
    ListRef,
    Literal,
    Member,
    Negative,
    Node,
    Not,
    Or,
    Variable,
)


class _Failed(Exception):
    """The rule cannot be evaluated with these values."""


def interpret(
    rule: CheckedRule, values: Mapping[str, Value], lists: Mapping[str, frozenset[str]], now_ms: int
) -> bool | Fault:
    """Whether the rule matches. A name without value is null; lists are what `normalise_elements` gives."""
    try:
        return _Evaluation(values, lists, now_ms).truth(rule.tree)
    except _Failed as failed:
        return Fault(FAULT, str(failed))


class _Evaluation:
    """One rule, one event."""

    def __init__(self, values: Mapping[str, Value], lists: Mapping[str, frozenset[str]], now_ms: int) -> None:
        self._values = values
        self._lists = lists
        self._now_ms = now_ms

    def truth(self, node: Node) -> bool:
        return self.value(node) is True

    def value(self, node: Node) -> Value:
        match node:
            case Literal(value=value):
                return value
            case Variable(name=name):
                return self._values.get(name)
            case And(operands=operands):
                return all(self.truth(each) for each in operands)
            case Or(operands=operands):
                return any(self.truth(each) for each in operands)
            case Not(operand=operand):
                return not self.truth(operand)
            case Compare():
                return self._compare(node)
            case Member():
                return self._member(node)
            case Negative(operand=operand):
                return -_number(self.value(operand))
            case Arithmetic():
                return self._arithmetic(node)
            case Call():
                return self._call(node)
        raise AssertionError(f"cannot evaluate {type(node).__name__}")

    def _arithmetic(self, node: Arithmetic) -> Value:
        result = self.value(node.first)
        for operator, operand in node.rest:
            right = self.value(operand)
            result = _computed(operator, _number(result), _number(right))
        return result

    def _compare(self, node: Compare) -> bool:
        left, right = self.value(node.left), self.value(node.right)
        types = {node.left.type, node.right.type}
        if types == {DATETIME, STRING}:
            left, right = _as_instant(left), _as_instant(right)
        elif types == {BOOLEAN, STRING}:
            left, right = _as_truth_text(left), _as_truth_text(right)
        if node.operator == "==":
            return _same(left, right)
        if node.operator == "!=":
            return not _same(left, right)
        if left is None or right is None:
            return False
        return _ORDERINGS[node.operator](_number(left), _number(right))

    def _member(self, node: Member) -> bool:
        value = self.value(node.value)
        if isinstance(node.members, Inline):
            found = any(self._equals(node.value.type, value, element) for element in node.members.elements)
        else:
            found = self._listed(node.members, value)
        return found is not node.negated

    def _equals(self, data_type: str, value: Value, element: Literal) -> bool:
        wanted: Value = element.value
        if value is None:
            return False
        if data_type == DATETIME:
            wanted = _as_instant(wanted)
        elif data_type == BOOLEAN:
            value, wanted = _as_truth_text(value), _as_truth_text(wanted)
        return _same(value, wanted)

    def _listed(self, members: ListRef, value: Value) -> bool:
        entries = self._lists.get(members.name, frozenset())
        if value is None:
            return False
        if members.variable_type != "IP_ADDRESS":
            return any(value == entry for entry in entries)
        return any(_address(str(value)) == _address(entry) for entry in entries)

    def _call(self, node: Call) -> Value:
        arguments = [self.value(each) for each in node.arguments]
        computed = not all(isinstance(each, Literal) for each in node.arguments[:1])
        if node.function == "regex_match" and computed and None not in arguments:
            _refuse_large(_text(arguments[0]))
        return _FUNCTIONS[node.function](self._now_ms, *arguments)


def _number(value: Value) -> int | float:
    if value is None:
        raise _Failed(NULL_ARITHMETIC)
    if isinstance(value, str):
        raise _Failed(WRONG_TYPE)
    return value


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise _Failed(WRONG_TYPE)
    return value


def _computed(operator: str, left: int | float, right: int | float) -> int | float:
    if operator in "/%" and right == 0:
        raise _Failed(ZERO_DIVISION)
    if isinstance(left, int) and isinstance(right, int) and operator != "/":
        return _exact(operator, left, right)
    try:
        result = _OPERATORS[operator](left, right)
    except (OverflowError, ValueError):
        raise _Failed(TOO_LARGE) from None
    if not math.isfinite(result):
        raise _Failed(TOO_LARGE)
    return result


def _exact(operator: str, left: int, right: int) -> int:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    remainder = abs(left) % abs(right)
    return remainder if left >= 0 else -remainder


def _quotient(left: int | float, right: int | float) -> float:
    if isinstance(left, int) and isinstance(right, int):
        return float(Fraction(left, right))  # one rounding, not three
    return float(left) / float(right)


_OPERATORS: Final[Mapping[str, Callable[[int | float, int | float], float]]] = {
    "+": lambda left, right: float(left) + float(right),
    "-": lambda left, right: float(left) - float(right),
    "*": lambda left, right: float(left) * float(right),
    "/": _quotient,
    "%": lambda left, right: math.fmod(float(left), float(right)),
}


def _same(left: Value, right: Value) -> bool:
    if left is None or right is None:
        return left is right
    return left == right


_ORDERINGS: Final[Mapping[str, Callable[[int | float, int | float], bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_FORM: Final = re.compile(r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _as_instant(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    if not _FORM.fullmatch(value):
        raise _Failed(NOT_AN_INSTANT)
    year, month, day = int(value[:4]), int(value[5:7]), int(value[8:10])
    hour, minute, second = int(value[11:13]), int(value[14:16]), int(value[17:19])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (year > 0 and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60):
        raise _Failed(NOT_AN_INSTANT)
    if not 1 <= day <= _DAYS[month - 1] + (leap and month == 2):
        raise _Failed(NOT_AN_INSTANT)
    return timegm((year, month, day, hour, minute, second)) * 1000


def _as_truth_text(value: Value) -> Value:
    if value is None:
        return None
    return str(value).lower()


def _address(text: str) -> object:
    try:
        address = ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


_SURROGATES: Final = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True  # capturing would count into the size of the program
    try:
        return re2.compile(pattern.translate(_SURROGATES), options)
    except re2.error:
        raise _Failed(BAD_PATTERN) from None


def _refuse_large(pattern: str) -> None:
    if len(pattern) > MAX_DYNAMIC_LENGTH or _compiled(pattern).programsize > MAX_DYNAMIC_PROGRAM:
        raise _Failed(BAD_PATTERN)


def _regex_match(_: int, pattern: Value, text: Value) -> bool:
    if pattern is None or text is None:
        return False
    return _compiled(_text(pattern)).fullmatch(_text(text).translate(_SURROGATES)) is not None


def _case(change: Callable[[str], str]) -> Callable[..., Value]:
    def changed(_: int, text: Value) -> Value:
        if text is None:
            return None
        return change(_text(text))

    return changed


def _precedes(first: Value, second: Value) -> bool:
    earlier, later = _as_instant(first), _as_instant(second)
    if earlier is None or later is None:
        return False
    return _number(earlier) < _number(later)


_FUNCTIONS: Final[Mapping[str, Callable[..., Value]]] = {
    "regex_match": _regex_match,
    "lowercase": _case(str.lower),
    "uppercase": _case(str.upper),
    "getcurrentdatetime": lambda now_ms: now_ms,
    "isbefore": lambda _, first, second: _precedes(first, second),
    "isafter": lambda _, first, second: _precedes(second, first),
    "getepochmilliseconds": lambda _, instant: _as_instant(instant),
}
