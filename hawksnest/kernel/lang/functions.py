"""The functions of the rule language: one table for the checker, the compiler and the reference page."""

from typing import Final, NamedTuple

from hawksnest.kernel.lang.syntax import MATCH_HINT
from hawksnest.kernel.lang.tree import BOOLEAN, DATETIME, INTEGER, STRING

TEXT: Final = "text"
"""Parameter kind: a STRING or null."""

INSTANT: Final = "instant"
"""Parameter kind: a DATETIME, a string of the form 2024-01-31T08:00:00Z, or null."""

PATTERN: Final = "pattern"
"""Parameter kind: a regular expression in RE2 syntax; checked at once when it is a literal."""


class Function(NamedTuple):
    """Signature and one sentence of documentation."""

    name: str
    parameters: tuple[str, ...]
    result: str  # data type
    example: str
    about: str


FUNCTIONS: Final = {
    each.name: each
    for each in (
        Function(
            "regex_match",
            (PATTERN, TEXT),
            BOOLEAN,
            'regex_match(".*@example\\.com", $email)',
            "True when the whole value matches the RE2 pattern; false for null.",
        ),
        Function(
            "lowercase",
            (TEXT,),
            STRING,
            'lowercase($country) == "us"',
            "The text in lower case, whatever the locale; null for null.",
        ),
        Function(
            "uppercase",
            (TEXT,),
            STRING,
            'uppercase($country) == "US"',
            "The text in upper case, whatever the locale; null for null.",
        ),
        Function(
            "getcurrentdatetime",
            (),
            DATETIME,
            'isafter(getcurrentdatetime(), "2024-01-01T00:00:00Z")',
            "The instant of the decision, the same for all of its rules.",
        ),
        Function(
            "isbefore",
            (INSTANT, INSTANT),
            BOOLEAN,
            'isbefore($signup, "2024-01-01T00:00:00Z")',
            "True when the first instant is strictly before the second; false for null.",
        ),
        Function(
            "isafter",
            (INSTANT, INSTANT),
            BOOLEAN,
            'isafter($signup, "2024-01-01T00:00:00Z")',
            "True when the first instant is strictly after the second; false for null.",
        ),
        Function(
            "getepochmilliseconds",
            (INSTANT,),
            INTEGER,
            "getepochmilliseconds(getcurrentdatetime()) - getepochmilliseconds($signup) < 86400000",
            "Milliseconds since 1970-01-01T00:00:00Z; null for null.",
        ),
    )
}

_NULL_HINT: Final = "Test for a missing value with $variable == null or != null."
_ELSEWHERE: Final = {
    **dict.fromkeys(
        (
            *("endswith", "ends_with", "startswith", "starts_with", "contains", "includes", "matches"),
            *("match", "regex", "regexp", "regexp_like", "like", "ilike", "rlike", "find", "indexof"),
        ),
        MATCH_HINT,
    ),
    **dict.fromkeys(
        ("exists", "isnull", "is_null", "isset", "isempty", "defined", "coalesce", "ifnull"), _NULL_HINT
    ),
    **dict.fromkeys(("lower", "tolower", "to_lower", "lcase"), "Did you mean lowercase?"),
    **dict.fromkeys(("upper", "toupper", "to_upper", "ucase"), "Did you mean uppercase?"),
    **dict.fromkeys(
        ("now", "today", "sysdate", "current_timestamp", "currentdatetime", "getdate"),
        "Did you mean getcurrentdatetime?",
    ),
    **dict.fromkeys(("before",), "Did you mean isbefore?"),
    **dict.fromkeys(("after",), "Did you mean isafter?"),
    **dict.fromkeys(
        ("epoch", "timestamp", "unix_timestamp", "datediff"), "Did you mean getepochmilliseconds?"
    ),
    **dict.fromkeys(("not",), 'Negate with !, as in !($country == "US").'),
    **dict.fromkeys(("if", "iff", "iif"), "A rule is one expression that is true or false; there is no if."),
}


def unknown_function_hint(name: str) -> str:
    """What to use instead of a function of another language; "" when nothing is known."""
    return _ELSEWHERE.get(name.lower(), "")
