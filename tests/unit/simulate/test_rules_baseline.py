"""Rules tuned on a history: within budget, better than nothing, and the same in DETECTORPL."""

import pytest
from simulated_run import NOW_MS, Run

from hawksnest.kernel.lang import Scope, check, interpret
from hawksnest.simulate.rules_baseline import Rule, RuleSet, tune

SCOPE = Scope(
    {
        "order_price": "FLOAT",
        "payment_currency": "STRING",
        "product_category": "STRING",
        "customer_email": "STRING",
        "card_bin": "STRING",
        "ip_address": "STRING",
        "billing_street": "STRING",
        "phone": "STRING",
    },
    {},
)
RENAMED = {
    "transaction_amt": "order_price",
    "transaction_currency": "payment_currency",
    "email_address": "customer_email",
}


@pytest.fixture(scope="module")
def tuned(run: Run) -> RuleSet:
    return tune([payment for payment in run.history if payment.labelled_at_ms <= NOW_MS], 0.01)


def test_rules_stay_near_the_share_of_legit_blocks_they_were_given(run: Run, tuned: RuleSet) -> None:
    assert tuned.score(run.history).legit_blocked_share < 0.013
    assert tuned.score(run.live).legit_blocked_share < 0.02


def test_rules_stop_some_of_the_money(run: Run, tuned: RuleSet) -> None:
    assert tuned.score(run.history).money_stopped_share > 0.15


def test_tuning_is_reproducible(run: Run, tuned: RuleSet) -> None:
    known = [payment for payment in run.history if payment.labelled_at_ms <= NOW_MS]
    assert tune(known, 0.01) == tuned


EXAMPLES = RuleSet(
    (
        Rule("all", above=700),
        Rule("category", category="travel", currency="eur", above=300),
        Rule("risky", domains=("freebox.example", "nomad.example"), above=200),
        Rule("not_risky", domains=("freebox.example",), domains_wanted=False, above=900),
        Rule("list", member="card_bin", values=("012345", "000001")),
    )
)


def test_expressions_say_what_the_rules_do(run: Run, tuned: RuleSet) -> None:
    for rule in (*EXAMPLES.rules, *tuned.rules):
        assert len(rule.expression) <= 4096
        checked = check(rule.expression, SCOPE)
        for payment in run.live[::7]:
            values = {RENAMED.get(name, name): value for name, value in payment.record.items()}
            values["order_price"] = float(values["order_price"])
            assert interpret(checked, values, {}, NOW_MS) is rule.matches(payment.record)


def test_history_without_fraud_gives_no_rules(run: Run) -> None:
    assert tune([payment for payment in run.history[:3_000] if not payment.fraud], 0.01).rules == ()
