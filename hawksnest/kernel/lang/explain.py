"""A rule with the values of one event written into it, for the explanation of a prediction."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Final

from hawksnest.kernel.events import Value
from hawksnest.kernel.lang.checker import CheckedRule
from hawksnest.kernel.lang.tree import DATETIME, Node, Variable, literal_text
from hawksnest.kernel.lang.value import instant_text

_PARTS: Final = re.compile(
    r'(?P<kept>"(?:[^"\\]|\\[\s\S])*"|#[^\n]*)|\$(?P<name>[a-z_][a-z0-9_]{0,99})(?![A-Za-z0-9_])'
)


def expression_with_values(
    rule: CheckedRule | str, values: Mapping[str, Value], instants: Collection[str] = ()
) -> str:
    """The expression with each `$name` replaced by its value: strings in double quotes, null as `null`.

    Everything else stays as the author wrote it, strings and comments included. A name without value stays.
    A DATETIME appears as text. A checked rule knows which variables those are; for a bare expression,
    `instants` names them.

    >>> expression_with_values('$amount > 100 and $country == "US"', {"amount": 120.5, "country": None})
    '120.5 > 100 and null == "US"'
    """
    if isinstance(rule, CheckedRule):
        text = rule.expression
        instants = {node.name for node in _variables(rule.tree) if node.type == DATETIME}
    else:
        text = rule

    def replaced(part: re.Match[str]) -> str:
        name = part["name"]
        if name is None or name not in values:
            return part.group()
        value = values[name]
        if name in instants and isinstance(value, int):
            return literal_text(instant_text(value))
        return literal_text(value)

    return _PARTS.sub(replaced, text)


def _variables(tree: Node) -> Iterator[Variable]:
    waiting: list[object] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Variable):
            yield item
        elif isinstance(item, Node):
            waiting += [getattr(item, field.name) for field in fields(item)]
        elif isinstance(item, tuple):
            waiting += item
