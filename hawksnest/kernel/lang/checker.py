"""Names and types of a rule: everything that can be wrong with it before there is an event."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final, NoReturn

from hawksnest.errors import RuleError
from hawksnest.kernel.lang.functions import FUNCTIONS, INSTANT, PATTERN, Function, unknown_function_hint
from hawksnest.kernel.lang.parser import parse
from hawksnest.kernel.lang.pattern import PatternError, matcher, pattern_hint, pattern_warning
from hawksnest.kernel.lang.tree import (
    BOOLEAN,
    DATETIME,
    FLOAT,
    INTEGER,
    NULL,
    NUMERIC,
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
from hawksnest.kernel.lang.value import instant_ms

MAX_LISTS: Final = 3
"""Different lists in one rule."""

_MIN_INTEGER: Final = -(2**63)
_MAX_INTEGER: Final = 2**63 - 1
_TRUTHS: Final = ("true", "false")
_BANG: Final = "! binds tighter than a comparison: write !($x == 5), not !$x == 5."


@dataclass(frozen=True)
class Scope:
    """Names that a rule may use: data type of each variable, variable type of each list."""

    variables: Mapping[str, str]
    lists: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CheckedRule:
    """A rule that can be evaluated. Variables and lists are named in order of appearance."""

    expression: str
    tree: Node
    variables: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check(expression: str, scope: Scope) -> CheckedRule:
    """Parse and check a rule. Raises `RuleError` with place and hint, and nothing else, for every text."""
    checker = _Checker(scope)
    tree = checker.typed(parse(expression))
    if tree.type != BOOLEAN:
        message = f"The expression yields {_a(tree.type)}, not true or false"
        _refuse(tree, message, "Compare it with something, as in $amount + 1 > 100.")
    return CheckedRule(
        expression, tree, tuple(checker.variables), tuple(checker.lists), tuple(checker.warnings)
    )


def _refuse(node: Node, message: str, hint: str = "") -> NoReturn:
    raise RuleError(message, node.place.line, node.place.column, hint)


def _a(data_type: str, article: str = "a") -> str:
    return "null" if data_type == NULL else f"{article}{'n' if data_type == INTEGER else ''} {data_type}"


def _near(name: str, candidates: Iterable[str], sigil: str = "") -> str:
    near = get_close_matches(name, list(candidates), n=1)
    return f"Did you mean {sigil}{near[0]}?" if near else ""


class _Checker:
    """Gives every node its type, from the leaves up; collects what the rule uses."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.variables: dict[str, None] = {}
        self.lists: dict[str, None] = {}
        self.warnings: dict[str, None] = {}
        self._typing: dict[type[Node], Callable[..., Node]] = {
            Literal: self._literal,
            Variable: self._variable,
            Call: self._call,
            Not: self._not,
            Negative: self._negative,
            Arithmetic: self._arithmetic,
            Compare: self._compare,
            Member: self._member,
            And: self._logical,
            Or: self._logical,
        }

    def typed(self, node: Node) -> Node:
        return self._typing[type(node)](node)

    def _warn(self, node: Node, text: str) -> None:
        place = node.place
        self.warnings[f"{text} (line {place.line}, column {place.column})"] = None

    def _literal(self, node: Literal) -> Literal:
        return replace(node, type=_literal_type(node))

    def _variable(self, node: Variable) -> Node:
        data_type = self._scope.variables.get(node.name)
        if data_type is None:
            hint = _near(node.name, self._scope.variables, "$")
            if not hint:
                hint = "Use a variable of the detector's event type or the score of a model."
            _refuse(node, f"There is no variable ${node.name}", hint)
        self.variables[node.name] = None
        return replace(node, type=data_type)

    def _call(self, node: Call) -> Node:
        function = FUNCTIONS.get(node.function)
        if function is None:
            hint = unknown_function_hint(node.function) or _near(node.function.lower(), FUNCTIONS)
            if not hint:
                hint = f"The functions are {', '.join(FUNCTIONS)}."
            _refuse(node, f"There is no function {node.function[:40]}", hint)
        if len(node.arguments) != len(function.parameters):
            wanted = {0: "no arguments", 1: "one argument", 2: "two arguments"}[len(function.parameters)]
            given = len(node.arguments)
            _refuse(node, f"{function.name} takes {wanted}, not {given}", f"Example: {function.example}.")
        arguments = tuple(self.typed(each) for each in node.arguments)
        for argument, kind in zip(arguments, function.parameters, strict=True):
            self._argument(function, argument, kind)
        return replace(node, arguments=arguments, type=function.result)

    def _argument(self, function: Function, node: Node, kind: str) -> None:
        if kind == INSTANT:
            if node.type not in (DATETIME, STRING, NULL):
                hint = "Give a DATETIME variable or a string such as 2024-01-31T08:00:00Z."
                _refuse(node, f"{function.name} takes an instant, not {_a(node.type)}", hint)
            _instant_literal(node)
            return
        if node.type not in (STRING, NULL):
            hint = f"Example: {function.example}."
            _refuse(node, f"{function.name} takes a STRING here, not {_a(node.type)}", hint)
        if kind == PATTERN and isinstance(node, Literal) and isinstance(node.value, str):
            self._pattern(node, node.value)

    def _pattern(self, node: Literal, pattern: str) -> None:
        try:
            matcher(pattern)
        except PatternError as error:
            _refuse(node, f"The pattern is not accepted: {error}", pattern_hint(pattern))
        warning = pattern_warning(pattern)
        if warning:
            self._warn(node, warning)

    def _not(self, node: Not) -> Node:
        operand = self.typed(node.operand)
        if operand.type != BOOLEAN:
            _refuse(node, f"! negates true and false, not {_a(operand.type)}", _BANG)
        return replace(node, operand=operand, type=BOOLEAN)

    def _negative(self, node: Negative) -> Node:
        operand = self.typed(node.operand)
        _numeric(operand, "-")
        return replace(node, operand=operand, type=operand.type)

    def _arithmetic(self, node: Arithmetic) -> Node:
        first = self.typed(node.first)
        rest = tuple((operator, self.typed(operand)) for operator, operand in node.rest)
        _numeric(first, rest[0][0])
        result = first.type
        for operator, operand in rest:
            _numeric(operand, operator)
            result = arithmetic_type(operator, result, operand.type)
        return replace(node, first=first, rest=rest, type=result)

    def _compare(self, node: Compare) -> Node:
        self._lint_bang(node.left)
        left, right = self.typed(node.left), self.typed(node.right)
        types = {left.type, right.type}
        ordering = node.operator not in ("==", "!=")
        if ordering and types & {STRING, BOOLEAN} and DATETIME not in types:
            _refuse(*_no_order(left, right))
        if NULL in types:
            if ordering:
                self._warn(node, f"{node.operator} with null is never true; test with == null or != null")
        elif DATETIME in types and types <= {DATETIME, STRING}:
            _instant_literal(left)
            _instant_literal(right)
        elif types == {BOOLEAN, STRING}:
            self._lint_truth(left)
            self._lint_truth(right)
        elif len(types) > 1 and not types <= NUMERIC:
            _mismatch(left, right)
        return replace(node, left=left, right=right, type=BOOLEAN)

    def _lint_bang(self, left: Node) -> None:
        if isinstance(left, Not) and not left.place.parenthesised:
            self._warn(left, f"This negates only what follows it directly. {_BANG}")

    def _lint_truth(self, node: Node) -> None:
        if isinstance(node, Literal) and str(node.value).lower() not in _TRUTHS:
            self._warn(node, 'A Boolean equals only "True" or "False"')

    def _member(self, node: Member) -> Node:
        self._lint_bang(node.value)
        value = self.typed(node.value)
        if isinstance(node.members, ListRef):
            members: ListRef | Inline = self._list_ref(node.members, value)
        else:
            members = self._inline(node.members, value)
        return replace(node, value=value, members=members, type=BOOLEAN)

    def _list_ref(self, members: ListRef, value: Node) -> ListRef:
        name = members.name
        variable_type = self._scope.lists.get(name)
        if variable_type is None:
            hint = (
                _near(name, self._scope.lists, "@") or "Create it with CreateList and give it entries first."
            )
            _refuse(members, f"There is no list @{name}", hint)
        self.lists[name] = None
        if len(self.lists) > MAX_LISTS:
            _refuse(members, f"@{name} is one list too many", f"A rule may use {MAX_LISTS}; write two rules.")
        if value.type not in (STRING, NULL):
            hint = "Entries of lists are strings; for numbers write $x in [5, 10]."
            _refuse(value, f"{_a(value.type, 'A')} cannot be in a list of strings", hint)
        return replace(members, variable_type=variable_type or "")

    def _inline(self, members: Inline, value: Node) -> Inline:
        elements = tuple(self._literal(each) for each in members.elements)
        first = elements[0]
        for each in elements[1:]:
            if each.type != first.type and not {each.type, first.type} <= NUMERIC:
                hint = "All elements of a list have one type."
                _refuse(each, f"The list holds {_a(first.type)} and {_a(each.type)}", hint)
        if value.type == DATETIME and first.type == STRING:
            for each in elements:
                _instant_literal(each)
        elif value.type == BOOLEAN and first.type == STRING:
            for each in elements:
                self._lint_truth(each)
        elif value.type not in (first.type, NULL) and not {value.type, first.type} <= NUMERIC:
            _mismatch(value, first)
        return replace(members, elements=elements, type=first.type)

    def _logical(self, node: And | Or) -> Node:
        operands = tuple(self.typed(each) for each in node.operands)
        for each in operands:
            if each.type != BOOLEAN:
                word = "and" if isinstance(node, And) else "or"
                _refuse(each, f"{word} joins true and false, not {_a(each.type)}", _bare(each))
        return replace(node, operands=operands, type=BOOLEAN)


def arithmetic_type(operator: str, left: str, right: str) -> str:
    """Data type of a result: a quotient is always exact, everything else stays INTEGER if it can."""
    return INTEGER if operator != "/" and left == right == INTEGER else FLOAT


def _literal_type(node: Literal) -> str:
    match node.value:
        case None:
            return NULL
        case bool():
            return BOOLEAN
        case str():
            return STRING
        case float():
            return FLOAT
        case value:
            if not _MIN_INTEGER <= value <= _MAX_INTEGER:
                _refuse(node, "The number does not fit into 64 bits", "Write it with a point: 1.0e19.")
            return INTEGER


def _numeric(node: Node, operator: str) -> None:
    if node.type in NUMERIC:
        return
    if node.type == NULL:
        _refuse(node, f"{operator} needs a number, not null", "Test with == null or != null.")
    if node.type == STRING:
        hint = "Texts are not joined or computed with; declare the variable as FLOAT or INTEGER."
    elif node.type == DATETIME:
        hint = "Compute with getepochmilliseconds(…)."
    else:
        hint = _BANG if isinstance(node, Not) else "Use and, or, ! for true and false."
    _refuse(node, f"{operator} needs a number, not {_a(node.type)}", hint)


def _instant_literal(node: Node) -> None:
    """A string that stands for an instant is refused now, not when the first event comes."""
    if not isinstance(node, Literal) or not isinstance(node.value, str):
        return
    try:
        instant_ms(node.value)
    except ValueError:
        hint = "Write it as 2024-01-31T08:00:00Z: UTC, whole seconds, no offset."
        _refuse(node, "The string is not an instant", hint)


def _no_order(left: Node, right: Node) -> tuple[Node, str, str]:
    wrong = left if left.type in (STRING, BOOLEAN) else right
    other = right if wrong is left else left
    if wrong.type == STRING and other.type in NUMERIC:
        return wrong, f"{_a(wrong.type, 'A')} is not compared with {_a(other.type)}", _unlike(left, right)
    hint = "Compare with == or !=; for instants use isbefore and isafter."
    return wrong, f"{_a(wrong.type, 'A')} has no order", hint


def _mismatch(left: Node, right: Node) -> NoReturn:
    message = f"{_a(left.type, 'A')} is not compared with {_a(right.type)}"
    _refuse(right, message, _unlike(left, right))


def _unlike(left: Node, right: Node) -> str:
    """How to make two operands comparable, for the common cases."""
    types = {left.type, right.type}
    literal = next((each for each in (right, left) if isinstance(each, Literal)), None)
    if STRING in types and types & NUMERIC and literal is not None:
        if literal.type in NUMERIC:
            return f'Write the number as text: "{literal.value}".'
        return (
            f"Write {literal.value} without quotes."
            if _is_number(literal.value)
            else "Compare with a number."
        )
    if BOOLEAN in types:
        return f'Compare a Boolean with true, false, "True" or "False". {_BANG}'
    return "Both sides need the same type."


def _is_number(value: object) -> bool:
    return (
        isinstance(value, str) and value.isascii() and value.removeprefix("-").replace(".", "", 1).isdigit()
    )


def _bare(node: Node) -> str:
    if isinstance(node, Variable):
        return f"Compare it, as in ${node.name} == …"
    return "Each side must be a comparison, a Boolean function or a BOOLEAN variable."
