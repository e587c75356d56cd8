"""Decisions against the truth."""

import pytest

from hawksnest.simulate.scoreboard import Scoreboard, Verdict


def test_money_is_never_added_across_currencies() -> None:
    board = Scoreboard(
        [
            Verdict("usd", 100, True, True),
            Verdict("usd", 100, False, False),
            Verdict("usd", 100, False, False),
            Verdict("egp", 1900, True, False),
        ]
    )
    # All of the dollars (three payments), none of the pounds (one payment).
    assert board.money_stopped_share == pytest.approx(0.75)


def test_currency_without_fraud_has_no_say() -> None:
    board = Scoreboard([Verdict("usd", 10, True, True), *[Verdict("eur", 10, False, False)] * 9])
    assert board.money_stopped_share == 1.0


def test_letter_case_of_a_currency_does_not_matter() -> None:
    board = Scoreboard([Verdict("USD", 10, True, True), Verdict("usd", 30, True, False)])
    assert board.money_stopped_share == pytest.approx(0.25)


def test_summary_counts_caught_missed_and_false_alarms() -> None:
    board = Scoreboard(
        [
            Verdict("usd", 10, True, True),
            Verdict("usd", 10, True, False),
            Verdict("usd", 10, False, True),
            Verdict("usd", 10, False, False),
        ]
    )
    assert board.summary() == {
        "caught": 1,
        "missed": 1,
        "false_alarms": 1,
        "money_stopped_share": 0.5,
        "legit_blocked_share": 0.5,
    }


def test_nothing_seen_is_nothing_stopped() -> None:
    assert Scoreboard().money_stopped_share == 0.0
    assert Scoreboard().legit_blocked_share == 0.0
