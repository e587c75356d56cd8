"""Decisions: order, modes, outcomes and the trace."""

import pytest

from hawksnest.kernel.decide import Decider, DecisionRule
from hawksnest.kernel.lang import Scope, check

SCOPE = Scope({"amt": "FLOAT", "email": "STRING"}, {"deny": "EMAIL_ADDRESS"})


def rule(rule_id: str, expression: str, *outcomes: str) -> DecisionRule:
    return DecisionRule(rule_id, "1", outcomes, check(expression, SCOPE))


RULES = (
    rule("div", "10 / $amt > 1000", "review"),
    rule("big", "$amt > 900", "block"),
    rule("mid", "$amt > 100", "review", "ok"),
    rule("dl", "$email in @deny", "block"),
)


def test_first_matched_gives_one_result_and_leaves_the_rest_unevaluated() -> None:
    decision = Decider(RULES, "FIRST_MATCHED").decide({"amt": 950.0, "email": "x"}, {}, 0)
    assert decision.results == [("big", ["block"])]
    assert decision.trace == [
        ("div", "1", 1, ""),
        ("big", "1", 2, ""),
        ("mid", "1", 0, ""),
        ("dl", "1", 0, ""),
    ]


def test_all_matched_gives_every_match_in_order_with_outcomes_in_order() -> None:
    decision = Decider(RULES, "ALL_MATCHED").decide({"amt": 950.0, "email": "x"}, {"deny": frozenset("x")}, 0)
    assert decision.results == [("big", ["block"]), ("mid", ["review", "ok"]), ("dl", ["block"])]


def test_no_match_is_an_empty_result() -> None:
    assert Decider(RULES, "FIRST_MATCHED").decide({"amt": 50.0, "email": "x"}, {}, 0).results == []
    assert Decider((), "FIRST_MATCHED").decide({}, {}, 0) == ([], [])


def test_fault_is_not_a_match_and_is_told() -> None:
    decision = Decider(RULES, "FIRST_MATCHED").decide({"amt": 0.0, "email": "x"}, {}, 0)
    assert decision.results == []
    assert decision.trace[0] == ("div", "1", 3, "division by zero")
    assert decision.trace[1] == ("big", "1", 1, "")


def test_change_of_a_list_shows_at_the_next_decision() -> None:
    decider = Decider(RULES, "FIRST_MATCHED")
    values = {"amt": 1.0, "email": "z@z.z"}
    assert decider.decide(values, {"deny": frozenset({"a@b.c"})}, 0).results == []
    assert decider.decide(values, {"deny": frozenset({"a@b.c", "z@z.z"})}, 0).results == [("dl", ["block"])]


def test_equal_decisions_are_made_once_in_the_callers_form() -> None:
    decider = Decider(RULES, "FIRST_MATCHED", line=lambda *line: list(line))
    first = decider.decide({"amt": 950.0}, {}, 0)
    assert decider.decide({"amt": 951.0}, {}, 0) is first
    assert first.trace[0] == ["div", "1", 1, ""]
    assert decider.decide({"amt": 5.0}, {}, 0) is not first


def test_unknown_mode_is_our_own_fault() -> None:
    with pytest.raises(AssertionError):
        Decider(RULES, "SOMETIMES")
