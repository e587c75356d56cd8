"""All rules of a detector version as one generated function.

The function is built as a tree of `ast` nodes, never as source text. Every name in it is made here; names of
variables and lists, and all literals, are constants. `_verify` holds the tree to a short list of node types
before it is compiled. For three rules under FIRST_MATCHED it reads like

    def evaluate(values, lists, now):
        get = values.get
        v0 = get("amount")
        listed = lists.get
        m0 = listed("denied", nothing)
        trace = [1] * 3
        try:
            if v0 is not None and v0 > 900:
                trace[0] = 2
                trace[1:] = (0, 0)
                return trace
        except caught as error:
            trace[0] = fault_of(error)
        …
        return trace
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from sys import float_info
from typing import Any, Final

from hawksnest.kernel.events import Value
from hawksnest.kernel.lang.checker import CheckedRule, arithmetic_type
from hawksnest.kernel.lang.fault import Fault
from hawksnest.kernel.lang.pattern import Plain, matcher, plain
from hawksnest.kernel.lang.runtime import (
    CAUGHT,
    ORDERINGS,
    fault_of,
    instant,
    match_computed,
    remainder,
    same_truth,
    too_large,
)
from hawksnest.kernel.lang.tree import (
    BOOLEAN,
    DATETIME,
    FLOAT,
    NULL,
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
from hawksnest.kernel.lang.value import IP_ADDRESS, instant_ms, normalised_address

Trace = list[int | Fault]
Evaluate = Callable[[Mapping[str, Value], Mapping[str, frozenset[str]], int], Trace]

_EQUALITY: Final[Mapping[str, type[ast.cmpop]]] = {"==": ast.Eq, "!=": ast.NotEq}
_ORDER: Final[Mapping[str, type[ast.cmpop]]] = {"<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE}
_OPERATORS: Final[Mapping[str, type[ast.operator]]] = {
    "+": ast.Add,
    "-": ast.Sub,
    "*": ast.Mult,
    "/": ast.Div,
}


class RuleSet:
    """Compiled rules in their order; immutable and safe to share between threads."""

    __slots__ = ("_function", "size")

    def __init__(self, function: Evaluate, size: int) -> None:
        self._function = function
        self.size = size

    def evaluate(
        self, values: Mapping[str, Value], lists: Mapping[str, frozenset[str]], now_ms: int
    ) -> Trace:
        """One entry a rule: 0 not evaluated, 1 not matched, 2 matched, or a `Fault` (state 3 and its text).

        `values` holds typed values, a name without value is null. `lists` holds what `normalise_elements`
        gave; a list that is missing is empty. Never raises.
        """
        return self._function(values, lists, now_ms)


def compile_rules(rules: Sequence[CheckedRule], first_matched: bool) -> RuleSet:
    """Fuse the rules; with `first_matched`, evaluation ends at the first rule that matches."""
    function = _Function(rules, first_matched)
    module = function.module()
    _verify(module, function)
    for node in ast.walk(module):
        if isinstance(node, ast.expr | ast.stmt | ast.excepthandler | ast.arg):
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    namespace: dict[str, Any] = {"__builtins__": {}, **function.namespace}
    exec(compile(module, "<rules>", "exec"), namespace)  # noqa: S102 - our own verified tree
    return RuleSet(namespace["evaluate"], len(rules))


@dataclass(slots=True)
class _Code:
    """An expression of the function, whether its value can be None and whether computing it can raise."""

    ast: ast.expr
    nullable: bool = False
    faulty: bool = False


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _constant(value: Any) -> ast.Constant:
    """Tuples and frozensets of constants are constants too, only not in the stubs."""
    return ast.Constant(value)


def _stored(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_name(function), list(arguments), [])


def _method(value: ast.expr, method: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(value, method, ast.Load()), list(arguments), [])


def _compared(left: ast.expr, operator: type[ast.cmpop], right: ast.expr) -> ast.Compare:
    return ast.Compare(left, [operator()], [right])


def _all(tests: Sequence[ast.expr]) -> ast.expr:
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), list(tests))


def _present(name: ast.expr) -> ast.expr:
    return _compared(name, ast.IsNot, ast.Constant(None))


class _Function:
    """Builds the tree of the function and the namespace it runs in."""

    def __init__(self, rules: Sequence[CheckedRule], first_matched: bool) -> None:
        self._rules = rules
        self._first_matched = first_matched
        self._variables = {
            name: f"v{number}"
            for number, name in enumerate(dict.fromkeys(n for rule in rules for n in rule.variables))
        }
        self._lists = {
            name: f"m{number}"
            for number, name in enumerate(dict.fromkeys(n for rule in rules for n in rule.lists))
        }
        self._patterns: dict[str, str] = {}
        self._temporaries = 0
        self.locals = {"values", "lists", "now", "get", "listed", "trace", "error", "evaluate"}
        self.locals.update(self._variables.values(), self._lists.values())
        self.namespace: dict[str, Any] = {
            "nothing": frozenset(),
            "caught": CAUGHT,
            "fault_of": fault_of,
            "too_large": too_large,
            "remainder": remainder,
            "instant": instant,
            "same_truth": same_truth,
            "match_computed": match_computed,
            "address": normalised_address,
            **{f"ordered_{_ORDER[operator].__name__}": compare for operator, compare in ORDERINGS.items()},
        }
        self._value_of: dict[type[Node], Callable[..., _Code]] = {
            Literal: lambda node: _Code(ast.Constant(node.value), nullable=node.value is None),
            Variable: lambda node: _Code(_name(self._variables[node.name]), nullable=True),
            Negative: self._negative,
            Arithmetic: self._arithmetic,
            Compare: self._compare,
            Member: self._member,
            Not: self._not,
            And: self._logical,
            Or: self._logical,
            Call: self._call,
        }

    def module(self) -> ast.Module:
        parameters = [ast.arg("values"), ast.arg("lists"), ast.arg("now")]
        size = ast.Constant(len(self._rules))
        body: list[ast.stmt] = [
            *self._loads("get", "values", self._variables),
            *self._loads("listed", "lists", self._lists, _name("nothing")),
            ast.Assign([_stored("trace")], ast.BinOp(_list(ast.Constant(1)), ast.Mult(), size)),
            *(self._rule(number, rule) for number, rule in enumerate(self._rules)),
            ast.Return(_name("trace")),
        ]
        arguments = ast.arguments([], parameters, None, [], [], None, [])
        return ast.Module([ast.FunctionDef("evaluate", arguments, body, [])], [])

    def _loads(
        self, getter: str, mapping: str, names: Mapping[str, str], *default: ast.expr
    ) -> list[ast.stmt]:
        """`v0 = get("amount")` for each name that any rule uses."""
        if not names:
            return []
        get = ast.Attribute(_name(mapping), "get", ast.Load())
        loads: list[ast.stmt] = [ast.Assign([_stored(getter)], get)]
        for name, local in names.items():
            loads.append(ast.Assign([_stored(local)], _call(getter, ast.Constant(name), *default)))
        return loads

    def _rule(self, number: int, rule: CheckedRule) -> ast.stmt:
        """One rule under its own `try`: what fails in it ends it and nothing else."""
        self._temporaries = 0
        entry = ast.Subscript(_name("trace"), ast.Constant(number), ast.Store())
        matched: list[ast.stmt] = [ast.Assign([entry], ast.Constant(2))]
        left_over = len(self._rules) - number - 1
        if self._first_matched:
            if left_over:
                after = ast.Slice(ast.Constant(number + 1), None, None)
                target = ast.Subscript(_name("trace"), after, ast.Store())
                matched.append(ast.Assign([target], _constant((0,) * left_over)))
            matched.append(ast.Return(_name("trace")))
        failed = ast.Subscript(_name("trace"), ast.Constant(number), ast.Store())
        handler = ast.ExceptHandler(
            _name("caught"), "error", [ast.Assign([failed], _call("fault_of", _name("error")))]
        )
        return ast.Try([ast.If(self._value(rule.tree).ast, matched, [])], [handler], [], [])

    def _value(self, node: Node) -> _Code:
        return self._value_of[type(node)](node)

    def _named(self, code: _Code) -> tuple[ast.expr, ast.expr]:
        """How to write a value at its first use and at later ones: it is computed once."""
        if isinstance(code.ast, ast.Name | ast.Constant):
            return code.ast, code.ast
        name = f"t{self._temporaries}"
        self._temporaries += 1
        self.locals.add(name)
        return ast.NamedExpr(_stored(name), code.ast), _name(name)

    def _not(self, node: Not) -> _Code:
        operand = self._value(node.operand)
        return _Code(ast.UnaryOp(ast.Not(), operand.ast), faulty=operand.faulty)

    def _logical(self, node: And | Or) -> _Code:
        operands = [self._value(each) for each in node.operands]
        operator = ast.And() if isinstance(node, And) else ast.Or()
        code: ast.expr = ast.BoolOp(operator, [each.ast for each in operands])
        if any(each.nullable for each in operands):
            code = ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), code))  # null counts as false
        return _Code(code, faulty=any(each.faulty for each in operands))

    def _negative(self, node: Negative) -> _Code:
        operand = self._value(node.operand)
        return _Code(ast.UnaryOp(ast.USub(), operand.ast), faulty=operand.faulty or operand.nullable)

    def _arithmetic(self, node: Arithmetic) -> _Code:
        """Null makes Python raise TypeError by itself; a double that is not finite has to be looked for."""
        code, result = self._value(node.first).ast, node.first.type
        for operator, operand in node.rest:
            right = self._value(operand).ast
            if operator == "%":
                code = _call("remainder", code, right)
            else:
                code = ast.BinOp(code, _OPERATORS[operator](), right)
                if FLOAT in (result, operand.type):
                    code = self._finite(code)
            result = arithmetic_type(operator, result, operand.type)
        return _Code(code, faulty=True)

    def _finite(self, code: ast.expr) -> ast.expr:
        first, again = self._named(_Code(code))
        bounds = [ast.Constant(-float_info.max), first, ast.Constant(float_info.max)]
        test = ast.Compare(bounds[0], [ast.LtE(), ast.LtE()], bounds[1:])
        return ast.IfExp(test, again, _call("too_large"))

    def _compare(self, node: Compare) -> _Code:
        types = {node.left.type, node.right.type}
        if types == {DATETIME, STRING}:
            left, right = self._instant(node.left), self._instant(node.right)
        elif types == {BOOLEAN, STRING}:
            return self._truth_compare(node)
        else:
            left, right = self._value(node.left), self._value(node.right)
        if node.operator in _ORDER:
            return self._ordered(left, node.operator, right)
        operator = _EQUALITY[node.operator]
        if NULL in types and isinstance(left.ast, ast.Name):
            # Not for other operands: Python warns of `is` with a literal.
            operator = ast.Is if operator is ast.Eq else ast.IsNot
        return _Code(_compared(left.ast, operator, right.ast), faulty=left.faulty or right.faulty)

    def _ordered(self, left: _Code, operator: str, right: _Code) -> _Code:
        """`<` and its like: false when an operand is null, but both operands are computed all the same."""
        compare = _ORDER[operator]
        nullable = left.nullable or right.nullable
        faulty = left.faulty or right.faulty
        if not nullable:
            return _Code(_compared(left.ast, compare, right.ast), faulty=faulty)
        if faulty or any(_is_null(each) for each in (left, right)):
            return _Code(_call(f"ordered_{compare.__name__}", left.ast, right.ast), faulty=faulty)
        tests: list[ast.expr] = []
        operands: list[ast.expr] = []
        for each in (left, right):
            first, again = self._named(each) if each.nullable else (each.ast, each.ast)
            if each.nullable:
                tests.append(_present(first))
            operands.append(again)
        return _Code(_all([*tests, _compared(operands[0], compare, operands[1])]))

    def _truth_compare(self, node: Compare) -> _Code:
        truth, text = (node.left, node.right) if node.left.type == BOOLEAN else (node.right, node.left)
        value = self._value(truth)
        if isinstance(text, Literal):
            wanted = ast.Constant(_truth(text.value))
            return _Code(_compared(value.ast, _EQUALITY[node.operator], wanted), faulty=value.faulty)
        same: ast.expr = _call("same_truth", value.ast, self._value(text).ast)
        if node.operator == "!=":
            same = ast.UnaryOp(ast.Not(), same)
        return _Code(same, faulty=value.faulty)

    def _instant(self, node: Node) -> _Code:
        if node.type != STRING:
            return self._value(node)
        if isinstance(node, Literal):
            return _Code(ast.Constant(instant_ms(str(node.value))))
        return _Code(_call("instant", self._value(node).ast), nullable=True, faulty=True)

    def _member(self, node: Member) -> _Code:
        value = self._value(node.value)
        operator = ast.NotIn if node.negated else ast.In
        if isinstance(node.members, Inline):
            members = _constant(frozenset(_elements(node.value.type, node.members)))
            return _Code(_compared(value.ast, operator, members), faulty=value.faulty)
        return self._listed(node, node.members, value, operator)

    def _listed(self, node: Member, members: ListRef, value: _Code, operator: type[ast.cmpop]) -> _Code:
        entries = _name(self._lists[members.name])
        if members.variable_type != IP_ADDRESS or _is_null(value):
            return _Code(_compared(value.ast, operator, entries))
        first, again = self._named(value)
        test = _compared(_call("address", again if value.nullable else first), operator, entries)
        if not value.nullable:
            return _Code(test)
        if node.negated:
            missing = _compared(first, ast.Is, ast.Constant(None))
            return _Code(ast.BoolOp(ast.Or(), [missing, test]))
        return _Code(_all([_present(first), test]))

    def _call(self, node: Call) -> _Code:
        match node.function, node.arguments:
            case "regex_match", (pattern, text):
                return self._regex_match(pattern, text)
            case "lowercase" | "uppercase", (text,):
                return self._changed_case("lower" if node.function == "lowercase" else "upper", text)
            case "getcurrentdatetime", ():
                return _Code(_name("now"))
            case "isbefore", (first, second):
                return self._ordered(self._instant(first), "<", self._instant(second))
            case "isafter", (first, second):
                return self._ordered(self._instant(first), ">", self._instant(second))
            case "getepochmilliseconds", (moment,):
                return self._instant(moment)
        raise AssertionError(f"{node.function} is in the table of functions but not compiled")

    def _changed_case(self, method: str, text: Node) -> _Code:
        value = self._value(text)
        if _is_null(value):
            return value
        first, again = self._named(value)
        if not value.nullable:
            return _Code(_method(value.ast, method))
        return _Code(ast.IfExp(_present(first), _method(again, method), ast.Constant(None)), nullable=True)

    def _regex_match(self, pattern: Node, text: Node) -> _Code:
        value = self._value(text)
        if _is_null(value):
            return _Code(ast.Constant(False), faulty=value.faulty)
        if not isinstance(pattern, Literal):
            code = _call("match_computed", self._value(pattern).ast, value.ast)
            return _Code(code, faulty=True)
        if pattern.value is None:
            return _Code(ast.Constant(False))
        first, again = self._named(value)
        tests = [_present(first)] if value.nullable else []
        return _Code(_all([*tests, *self._match_tests(str(pattern.value), again if tests else first, again)]))

    def _match_tests(self, pattern: str, first: ast.expr, again: ast.expr) -> list[ast.expr]:
        simple = plain(pattern)
        if simple is None:
            return [_call(self._pattern(pattern), first)]
        return _plain_tests(simple, first, again)

    def _pattern(self, pattern: str) -> str:
        name = self._patterns.setdefault(pattern, f"p{len(self._patterns)}")
        if name not in self.namespace:
            self.namespace[name] = matcher(pattern)
        return name


def _list(*elements: ast.expr) -> ast.List:
    return ast.List(list(elements), ast.Load())


def _is_null(code: _Code) -> bool:
    return isinstance(code.ast, ast.Constant) and code.ast.value is None


def _plain_tests(simple: Plain, first: ast.expr, again: ast.expr) -> list[ast.expr]:
    """String operations with the meaning of the pattern; `.*` does not run over line breaks."""
    texts = simple.texts
    one_line = _compared(ast.Constant("\n"), ast.NotIn, again)
    if simple.anything_before and simple.anything_after:
        return [_compared(ast.Constant(texts[0]), ast.In, first), one_line]
    wanted = _constant(texts[0] if len(texts) == 1 else texts)
    if simple.anything_before:
        return [_method(first, "endswith", wanted), one_line]
    if simple.anything_after:
        return [_method(first, "startswith", wanted), one_line]
    if len(texts) == 1:
        return [_compared(first, ast.Eq, wanted)]
    return [_compared(first, ast.In, _constant(frozenset(texts)))]


def _truth(text: object) -> bool | str:
    """A literal that a Boolean is compared with; text other than "True" and "False" equals no Boolean."""
    return {"true": True, "false": False}.get(str(text).lower(), str(text))


def _elements(data_type: str, members: Inline) -> list[Any]:
    values = [each.value for each in members.elements]
    if data_type == DATETIME:
        return [instant_ms(str(value)) for value in values]
    if data_type == BOOLEAN:
        return [_truth(value) for value in values]
    return values


_ALLOWED: Final = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.If, ast.Try),
    *(ast.ExceptHandler, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.NamedExpr, ast.Compare),
    *(ast.Call, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.Name, ast.List),
    *(ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)
_METHODS: Final = frozenset({"get", "lower", "upper", "startswith", "endswith"})


def _verify(module: ast.Module, function: _Function) -> None:
    """Hold the tree to what the compiler may write: its own names, a few methods, no other node types."""
    names = function.locals | function.namespace.keys()
    for node in ast.walk(module):
        assert isinstance(node, _ALLOWED), f"{type(node).__name__} in a rule"
        if isinstance(node, ast.Name):
            assert node.id in names, "a name that was not generated"
        elif isinstance(node, ast.Attribute):
            assert node.attr in _METHODS, "a method that no rule needs"
