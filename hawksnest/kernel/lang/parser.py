"""Text of a rule to syntax tree, within limits: length, depth and size of numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Final, TypeVar

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, VisitError

from hawksnest.errors import RuleError
from hawksnest.kernel.lang.syntax import syntax_error
from hawksnest.kernel.lang.tree import (
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
    Place,
    Variable,
)

MAX_LENGTH: Final = 4096
"""Characters of an expression (the service model's bound)."""

MAX_DEPTH: Final = 100
"""Levels of nesting, parentheses included; each `+` or `*` of a chain counts as one."""

_MAX_DIGITS: Final = 400
_N = TypeVar("_N", bound=Node)


def parse(expression: str) -> Node:
    """The syntax tree, without types. Raises `RuleError`, nothing else, whatever the text is."""
    if not expression:
        raise RuleError("The expression is empty", hint="Write a comparison such as $amount > 100.")
    if len(expression) > MAX_LENGTH:
        raise RuleError(
            f"The expression has {len(expression)} characters",
            hint=f"At most {MAX_LENGTH} are allowed; split it into several rules.",
        )
    _refuse_surrogates(expression)
    try:
        tree = _parser().parse(expression)
    except UnexpectedInput as error:
        raise syntax_error(error, expression) from None
    except VisitError as error:
        if isinstance(error.orig_exc, RuleError):
            raise error.orig_exc from None
        raise
    assert isinstance(tree, Node)
    return tree


def _refuse_surrogates(expression: str) -> None:
    """Halves of surrogate pairs are not Unicode text: neither the regex engine nor a reply can hold them."""
    try:
        expression.encode()
    except UnicodeEncodeError as error:
        before = expression[: error.start]
        line = before.count("\n") + 1
        column = error.start - before.rfind("\n")
        raise RuleError("The expression is not valid Unicode text", line, column) from None


@cache
def _parser() -> Lark:
    return Lark.open_from_package(
        __package__ or "",
        "grammar.lark",
        parser="lalr",
        lexer="contextual",
        transformer=_Builder(),
        maybe_placeholders=True,
    )


def _place(token: Token) -> Place:
    return Place(token.line or 1, token.column or 1)


def _within_depth(node: _N) -> _N:
    if node.depth > MAX_DEPTH:
        place = node.place
        hint = f"At most {MAX_DEPTH} levels are allowed."
        raise RuleError("The expression is nested too deeply", place.line, place.column, hint)
    return node


def _above(nodes: Iterable[Node], levels: int = 1) -> int:
    return levels + max((node.depth for node in nodes), default=0)


class _Builder(Transformer[Token, Node]):
    """Bottom up, called by the parser at each reduction: nothing here recurses. Has no state."""

    def or_expr(self, operands: list[Node]) -> Node:
        return _within_depth(Or(tuple(operands), place=operands[0].place, depth=_above(operands)))

    def and_expr(self, operands: list[Node]) -> Node:
        return _within_depth(And(tuple(operands), place=operands[0].place, depth=_above(operands)))

    def compare(self, parts: Sequence[Node | Token]) -> Node:
        left, operator, right = parts
        assert isinstance(left, Node) and isinstance(right, Node)
        compare = Compare(str(operator), left, right, place=left.place, depth=_above((left, right)))
        return _within_depth(compare)

    def member(self, parts: Sequence[Node | Token], negated: bool = False) -> Node:
        value, members = parts[0], parts[-1]
        assert isinstance(value, Node) and isinstance(members, ListRef | Inline)
        return _within_depth(Member(value, members, negated, place=value.place, depth=_above((value,))))

    def not_member(self, parts: Sequence[Node | Token]) -> Node:
        return self.member(parts, negated=True)

    def inline(self, elements: list[Literal]) -> Node:
        return Inline(tuple(elements), place=elements[0].place)

    def list_ref(self, tokens: list[Token]) -> Node:
        return ListRef(tokens[0][1:], place=_place(tokens[0]))

    def number_element(self, tokens: list[Token | None]) -> Node:
        sign, digits = tokens
        assert digits is not None
        return self.number([digits]) if sign is None else self.minus([sign, self.number([digits])])

    def additive(self, parts: Sequence[Node | Token]) -> Node:
        first, operators, operands = parts[0], parts[1::2], parts[2::2]
        assert isinstance(first, Node)
        rest = tuple(
            (str(operator), operand)
            for operator, operand in zip(operators, operands, strict=True)
            if isinstance(operand, Node)
        )
        depth = _above((first, *(operand for _, operand in rest)), len(rest))
        return _within_depth(Arithmetic(first, rest, place=first.place, depth=depth))

    multiplicative = additive

    def negation(self, parts: Sequence[Node | Token]) -> Node:
        bang, operand = parts
        assert isinstance(bang, Token) and isinstance(operand, Node)
        return _within_depth(Not(operand, place=_place(bang), depth=_above((operand,))))

    def minus(self, parts: Sequence[Node | Token]) -> Node:
        sign, operand = parts
        assert isinstance(sign, Token) and isinstance(operand, Node)
        place = _place(sign)
        if isinstance(operand, Literal) and isinstance(operand.value, int | float):
            return _negated(operand, place)
        return _within_depth(Negative(operand, place=place, depth=_above((operand,))))

    def parenthesised(self, nodes: list[Node]) -> Node:
        (inner,) = nodes
        place = inner.place._replace(parenthesised=True)
        return _within_depth(replace(inner, place=place, depth=inner.depth + 1))

    def call(self, parts: Sequence[Node | Token | None]) -> Node:
        name = parts[0]
        assert isinstance(name, Token)
        arguments = tuple(each for each in parts[1:] if isinstance(each, Node))
        return _within_depth(Call(str(name), arguments, place=_place(name), depth=_above(arguments)))

    def variable(self, tokens: list[Token]) -> Node:
        return Variable(tokens[0][1:], place=_place(tokens[0]))

    def number(self, tokens: list[Token]) -> Node:
        (digits,) = tokens
        place = _place(digits)
        if len(digits) > _MAX_DIGITS:
            raise RuleError(f"A number of {len(digits)} characters", place.line, place.column, "Shorten it.")
        if digits.isdigit():
            return Literal(int(digits), place=place)
        value = float(digits)
        if value == float("inf"):
            raise RuleError("The number is too large", place.line, place.column)
        return Literal(value, place=place)

    def null(self, tokens: list[Token]) -> Node:
        return Literal(None, place=_place(tokens[0]))

    def boolean(self, tokens: list[Token]) -> Node:
        return Literal(tokens[0] == "true", place=_place(tokens[0]))

    def string(self, tokens: list[Token]) -> Node:
        return Literal(_unquoted(tokens[0]), place=_place(tokens[0]))


def _negated(literal: Literal, place: Place) -> Node:
    """`-5` is a literal: its type and range are those of the whole."""
    value = literal.value
    if isinstance(value, bool):
        return Negative(literal, place=place, depth=literal.depth + 1)
    assert isinstance(value, int | float)
    return replace(literal, value=-value, place=place)


def _unquoted(text: str) -> str:
    """Contents of a string: `\\"` is a quote, every other backslash reaches the regex engine as it stands."""
    inner = text[1:-1]
    if '\\"' not in inner:
        return inner
    parts: list[str] = []
    position = 0
    while position < len(inner):
        if inner[position] == "\\":
            pair = inner[position : position + 2]
            parts.append('"' if pair == '\\"' else pair)
            position += 2
        else:
            parts.append(inner[position])
            position += 1
    return "".join(parts)
