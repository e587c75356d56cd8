"""How evaluating a rule can fail, and in which words."""

from typing import Final, NamedTuple

FAULT: Final = 3
"""State of a rule in a trace: 0 not evaluated, 1 not matched, 2 matched, 3 failed."""

NULL_ARITHMETIC: Final = "arithmetic with null"
ZERO_DIVISION: Final = "division by zero"
TOO_LARGE: Final = "the result is too large"
NOT_AN_INSTANT: Final = "a text is not an instant of the form 2024-01-31T08:00:00Z"
BAD_PATTERN: Final = "a computed pattern does not compile or is too large"
WRONG_TYPE: Final = "a value does not have the type of its variable"


class Fault(NamedTuple):
    """Evaluating failed: the rule counts as not matched. `text` never holds a value of the event."""

    state: int
    text: str
