"""Every file of `rules/` is one case: the expectation, a line `---`, and the expression up to the end."""

from pathlib import Path

import pytest

from hawksnest.errors import RuleError
from hawksnest.kernel.lang import (
    CheckedRule,
    Fault,
    Scope,
    check,
    compile_rules,
    interpret,
    normalise_elements,
    print_rule,
)

CASES = sorted((Path(__file__).parent / "rules").glob("*.rule"))
SCOPE = Scope(
    {
        "amount": "FLOAT",
        "qty": "INTEGER",
        "zero": "INTEGER",
        "neg": "INTEGER",
        "country": "STRING",
        "email": "STRING",
        "phone": "STRING",
        "flag": "BOOLEAN",
        "ts": "DATETIME",
        "gone": "STRING",
        "nul": "STRING",
        "nnum": "FLOAT",
        "m_insightscore": "FLOAT",
        "ip": "STRING",
        "city": "STRING",
        "zip": "STRING",
    },
    {"bad_ips": "IP_ADDRESS", "words": "FREE_FORM_TEXT"},
)
VALUES = {
    "amount": 120.5,
    "qty": 7,
    "zero": 0,
    "neg": -7,
    "country": "US",
    "email": "Joe@Gmail.com",
    "phone": "+15550100",
    "flag": True,
    "ts": 1_685_923_200_000,
    "gone": "<unknown>",  # absent: the default has been filled in
    "nul": None,
    "nnum": None,
    "m_insightscore": 905.0,
    "ip": "192.0.2.1",
    "city": "new york",
    "zip": "12345",
}
LISTS = {
    "bad_ips": normalise_elements(["192.0.2.1", "192.0.2.2"], "IP_ADDRESS"),
    "words": normalise_elements(["new york", "la"], "FREE_FORM_TEXT"),
}
NOW_MS = 1_704_067_200_000


def verdict(rule: CheckedRule) -> str:
    """By the oracle and by both modes of the compiler, which have to say the same."""
    expected = interpret(rule, VALUES, LISTS, NOW_MS)
    for first_matched in (True, False):
        (state,) = compile_rules([rule], first_matched).evaluate(VALUES, LISTS, NOW_MS)
        assert state == (expected if isinstance(expected, Fault) else 1 + expected)
    if isinstance(expected, Fault):
        return f"fails: {expected.text}"
    return "matches" if expected else "does not match"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_rule(path: Path) -> None:
    expected, expression = path.read_text(encoding="utf-8").split("\n---\n", 1)
    try:
        rule = check(expression, SCOPE)
    except RuleError as error:
        assert f"refused: {error.line}:{error.column} {error.message}" == expected
        return
    assert verdict(rule) == expected
    canonical = print_rule(rule.tree)
    again = check(canonical, SCOPE)
    assert again.tree == rule.tree
    assert print_rule(again.tree) == canonical
    assert verdict(again) == expected


def test_all_cases_are_found() -> None:
    assert len(CASES) >= 107
