"""What compiled rules call for the rare cases; the common ones are inline in the generated function."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from hawksnest.kernel.events import Value
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
from hawksnest.kernel.lang.pattern import PatternError, dynamic_matcher
from hawksnest.kernel.lang.value import instant_ms

CAUGHT: Final = (ArithmeticError, TypeError, ValueError, AttributeError)
"""What evaluating a rule can raise, whatever the values are."""


class _Failed(ValueError):
    """Evaluating failed for a reason that has its own words."""


def fault_of(error: Exception) -> Fault:
    """The words for an exception of the generated function."""
    if isinstance(error, ZeroDivisionError):
        return Fault(FAULT, ZERO_DIVISION)
    if isinstance(error, OverflowError):
        return Fault(FAULT, TOO_LARGE)
    if isinstance(error, _Failed):
        return Fault(FAULT, str(error))
    # On values of the declared types, only arithmetic with null is a TypeError.
    return Fault(FAULT, NULL_ARITHMETIC if isinstance(error, TypeError) else WRONG_TYPE)


def too_large() -> NoReturn:
    raise OverflowError


def remainder(dividend: int | float, divisor: int | float) -> int | float:
    """`%`: exact for integers, the sign of the dividend for all."""
    if dividend is None or divisor is None:
        raise TypeError
    if divisor == 0:
        raise ZeroDivisionError
    if isinstance(dividend, int) and isinstance(divisor, int):
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest
    try:
        return math.fmod(dividend, divisor)
    except ValueError:
        raise OverflowError from None


def instant(text: str | None) -> int | None:
    """Epoch milliseconds of a computed text."""
    if text is None:
        return None
    try:
        return instant_ms(text)
    except ValueError:
        raise _Failed(NOT_AN_INSTANT) from None


def same_truth(left: Value, right: Value) -> bool:
    """A Boolean and a computed text."""
    if left is None or right is None:
        return left is right
    return str(left).lower() == str(right).lower()


def match_computed(pattern: str | None, text: str | None) -> bool:
    """`regex_match` whose pattern is not a literal."""
    if pattern is None or text is None:
        return False
    try:
        matches = dynamic_matcher(pattern)
    except PatternError:
        raise _Failed(BAD_PATTERN) from None
    return matches(text)


def _ordering(compare: Callable[[int | float, int | float], bool]) -> Callable[[Value, Value], bool]:
    def ordered(left: Value, right: Value) -> bool:
        if left is None or right is None:
            return False
        return compare(left, right)  # type: ignore[arg-type]

    return ordered


ORDERINGS: Final[Mapping[str, Callable[[Value, Value], bool]]] = {
    "<": _ordering(operator.lt),
    "<=": _ordering(operator.le),
    ">": _ordering(operator.gt),
    ">=": _ordering(operator.ge),
}
