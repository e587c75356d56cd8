"""Figures of the live page."""

import json

from hawksnest.console.rollup import JOINED_MAX, Names, Rollup, percentiles
from hawksnest.store.records import EventKey, Predicted, StoredEvent

NAMES = Names("currency", "state")


def decision(event_id="e1", amount=10.0, outcomes=("approve",), currency="usd", state="ny", at_ms=1_000_000):
    key = EventKey("000000000000", "us-east-1", "pay", event_id)
    event = StoredEvent(key, at_ms, "", "customer", "c1", {}, amount)
    return Predicted(
        event=event,
        stored=True,
        predicted_at_ms=at_ms,
        detector_id="d",
        detector_version="1",
        execution_mode="FIRST_MATCHED",
        values={"currency": currency, "state": state},
        scores=[],
        trace=[],
        results=[("rule", list(outcomes))] if outcomes else [],
        list_revisions={},
        revision=1,
    )


def test_money_is_kept_per_currency_whatever_its_letter_case():
    rollup = Rollup()
    rollup.fold_decision(decision("a", 10, currency="usd"), NAMES)
    rollup.fold_decision(decision("b", 5, currency="USD"), NAMES)
    rollup.fold_decision(decision("c", 7, ("block",), currency="eur"), NAMES)
    shown = rollup.shown(1_000_000)
    assert shown["money"] == {"EUR": {"revenue": 0.0, "blocked": 7}, "USD": {"revenue": 15, "blocked": 0.0}}
    assert shown["blocked_by_currency"] == {"EUR": 1}
    assert shown["blocked_by_state"] == {"NY": 1}


def test_a_decision_without_a_matching_rule_has_a_place_of_its_own():
    rollup = Rollup()
    rollup.fold_decision(decision(outcomes=()), NAMES)
    assert rollup.shown(1_000_000)["outcomes"] == {"no rule matched": 1}


def test_a_block_counts_wherever_it_stands_among_the_outcomes():
    rollup = Rollup()
    rollup.fold_decision(decision(outcomes=("review", "block")), NAMES)
    assert rollup.shown(1_000_000)["money"]["USD"]["blocked"] == 10


def test_truth_joins_decisions_in_either_order():
    rollup = Rollup()
    rollup.fold_decision(decision("caught", 100, ("block",)), NAMES)
    rollup.fold_truth("caught", True)
    rollup.fold_truth("missed", True)
    rollup.fold_decision(decision("missed", 300), NAMES)
    rollup.fold_truth("alarm", False)
    rollup.fold_decision(decision("alarm", 5, ("block",)), NAMES)
    rollup.fold_truth("undecided", True)
    truth = rollup.shown(1_000_000)["truth"]
    assert (truth["fraud"], truth["caught"], truth["missed"], truth["false_alarms"]) == (2, 1, 1, 1)
    assert truth["money_stopped_share"] == 0.25
    assert truth["legit_blocked_share"] == 1.0


def test_shares_of_money_are_averaged_over_currencies_by_payments():
    rollup = Rollup()
    for number in range(3):
        rollup.fold_decision(decision(f"u{number}", 10, ("block",), "usd"), NAMES)
        rollup.fold_truth(f"u{number}", True)
    rollup.fold_decision(decision("e", 1_000, ("approve",), "eur"), NAMES)
    rollup.fold_truth("e", True)
    assert rollup.money_stopped_share() == 0.75


def test_without_any_truth_none_is_shown():
    rollup = Rollup()
    rollup.fold_decision(decision(), NAMES)
    assert rollup.shown(1_000_000)["truth"] is None


def test_what_waits_for_the_truth_is_bounded():
    rollup = Rollup()
    record = decision()
    for number in range(JOINED_MAX + 10):
        rollup.fold_truth(f"t{number}", False)
    assert len(rollup._early_truth) == JOINED_MAX
    rollup.fold_decision(record, NAMES)


def test_a_mail_noted_twice_is_one_mail():
    rollup = Rollup()
    mail = {"mail": "m1", "at_ms": 1, "subject": "s", "about": "a"}
    rollup.fold_mail(mail)
    rollup.fold_mail(dict(mail))
    assert rollup.shown(1)["mail_count"] == 1


def test_percentiles_are_values_that_occurred():
    assert percentiles([]) == {"n": 0}
    assert percentiles(range(101)) == {"p50": 50, "p99": 99, "n": 101}


def test_amounts_near_the_largest_number_leave_sums_that_are_numbers():
    rollup = Rollup()
    for number in range(3):
        rollup.fold_decision(decision(f"e{number}", 1.7e308), NAMES)
    json.dumps(rollup.shown(1_000_000), allow_nan=False)
