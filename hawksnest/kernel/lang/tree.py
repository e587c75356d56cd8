"""Syntax tree of a rule and its canonical text.

The parser builds the tree, the checker fills in the types; compiler and interpreter read it. Two trees are
equal when they mean the same: places in the text do not count.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

STRING: Final = "STRING"
INTEGER: Final = "INTEGER"
FLOAT: Final = "FLOAT"
BOOLEAN: Final = "BOOLEAN"
DATETIME: Final = "DATETIME"
NULL: Final = "NULL"
"""Type of the literal `null`, which fits wherever a variable could be null."""

NUMERIC: Final = frozenset({INTEGER, FLOAT})


class Place(NamedTuple):
    """Where an expression begins (counted from 1), and whether parentheses enclose it."""

    line: int = 1
    column: int = 1
    parenthesised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What all expressions share. `type` is empty until the checker has seen the node."""

    type: str = ""
    place: Place = field(default=Place(), compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant; strings are as the regex engine gets them (only `\\"` has been replaced)."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """`$name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`function(arguments)`."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """`!operand`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """`-operand`; a negative literal is a `Literal`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """`first op operand op operand …` from left to right, all of one precedence."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`left operator right` with one of `== != < <= > >=`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class ListRef(Node):
    """`@name`; `variable_type` says how its entries compare (IP_ADDRESS: as addresses)."""

    name: str
    variable_type: str = ""


@dataclass(frozen=True, slots=True)
class Inline(Node):
    """`[element, …]`."""

    elements: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`value in members` or `value not in members`."""

    value: Node
    members: ListRef | Inline
    negated: bool = False


@dataclass(frozen=True, slots=True)
class And(Node):
    """`operand and operand …`, left to right until one is false."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """`operand or operand …`, left to right until one is true."""

    operands: tuple[Node, ...]


def print_rule(tree: Node) -> str:
    """Canonical text: single spaces, only the parentheses that are needed or that prevent a misreading.

    Parsing it gives an equal tree, and printing that gives the same text.
    """
    return _text(tree, 0)


_OR, _AND, _COMPARE, _SUM, _PRODUCT, _UNARY, _PRIMARY = 1, 2, 3, 4, 5, 6, 7


def _text(node: Node, at_least: int) -> str:
    """Text of `node`, in parentheses unless it binds at least that tightly."""
    text, binding = _bound_text(node)
    return text if binding >= at_least else f"({text})"


def _bound_text(node: Node) -> tuple[str, int]:
    match node:
        case Or(operands=operands):
            return " or ".join(_text(each, _AND) for each in operands), _OR
        case And(operands=operands):
            return " and ".join(_text(each, _COMPARE) for each in operands), _AND
        case Compare(operator=operator, left=left, right=right):
            return f"{_operand(left)} {operator} {_operand(right)}", _COMPARE
        case Member(value=value, members=members, negated=negated):
            word = "not in" if negated else "in"
            return f"{_operand(value)} {word} {_text(members, 0)}", _COMPARE
        case Arithmetic(first=first, rest=rest):
            binding = _SUM if rest[0][0] in "+-" else _PRODUCT
            text = _text(first, binding + 1)
            return text + "".join(f" {op} {_text(each, binding + 1)}" for op, each in rest), binding
        case Not(operand=operand):
            return f"!{_text(operand, _UNARY)}", _UNARY
        case Negative(operand=operand):
            return f"-{_text(operand, _UNARY)}", _UNARY
        case _:
            return _primary_text(node), _PRIMARY


def _operand(node: Node) -> str:
    """An operand of a comparison: a negation gets parentheses, so that nobody reads it the other way."""
    return _text(node, _PRIMARY if isinstance(node, Not) else _SUM)


def _primary_text(node: Node) -> str:
    match node:
        case Variable(name=name):
            return f"${name}"
        case ListRef(name=name):
            return f"@{name}"
        case Inline(elements=elements):
            return "[" + ", ".join(literal_text(each.value) for each in elements) + "]"
        case Literal(value=value):
            return literal_text(value)
        case Call(function=function, arguments=arguments):
            return f"{function}({', '.join(_text(each, 0) for each in arguments)})"
    raise AssertionError(f"no text for {type(node).__name__}")


def literal_text(value: str | int | float | bool | None) -> str:
    """A value as the rule language writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = value.replace('"', '\\"')
        return f'"{quoted}"'
    return repr(value)
