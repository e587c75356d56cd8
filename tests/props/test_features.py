"""Training and serving compute the same vectors, bit for bit."""

import json
from array import array
from random import Random

import pytest

from hawksnest.kernel.events import EventSchema, Resolved, VariableSpec
from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.windows import EntityStates, Footprint, Limits, footprint
from hawksnest.world import seeded

TENANT = ("000000000000", "us-east-1")
START = 1_700_000_000_000
HOUR = 3_600_000

SCHEMA = EventSchema(
    "payment",
    [
        VariableSpec("ip", "STRING", "", "IP_ADDRESS"),
        VariableSpec("email", "STRING", "", "EMAIL_ADDRESS"),
        VariableSpec("bin", "INTEGER", None, "CARD_BIN"),
        VariableSpec("device", "STRING", "", "FINGERPRINT"),
        VariableSpec("phone", "STRING", "", "BILLING_PHONE"),
        VariableSpec("agent", "STRING", "", "USERAGENT"),
        VariableSpec("amount", "FLOAT", 0.0, "PRICE"),
        VariableSpec("currency", "STRING", "", "CURRENCY_CODE"),
        VariableSpec("zip", "STRING", "", "BILLING_ZIP"),
        VariableSpec("items", "INTEGER", 0, "NUMERIC"),
        VariableSpec("member", "BOOLEAN", False, "CATEGORICAL"),
        VariableSpec("note", "STRING", "", "FREE_FORM_TEXT"),
        VariableSpec("since", "DATETIME", None, "NUMERIC"),
        VariableSpec("label", "STRING", "", "FRAUD_LABEL"),
    ],
)


def made_given(draw: Random) -> dict[str, str | None]:
    """Variables of one event: some absent, some null, some odd."""
    word = draw.choice(("a", "Żółw", "null", "x" * 300, "1 Main  Street"))
    given: dict[str, str | None] = {
        "ip": draw.choice(("192.0.2.1", "198.51.100.9", "2001:DB8::1", "82:24:61:42", "::ffff:192.0.2.1")),
        "email": draw.choice(("Ann+1@Example.com", "bob@example.org", "no-at-sign", "<unknown>")),
        "bin": draw.choice(("411111", "52345678", "4111111111111111", "12")),
        "device": f"device-{draw.randint(1, 4)}",
        "phone": draw.choice(("+1 555-0100", "0049 555", "none")),
        "agent": draw.choice(("Mozilla/5.0 (Windows NT 10.0) Chrome/120.0", "curl/8.1", word)),
        "amount": draw.choice(("0", "12.5", "99.99", "1e12", "-4")),
        "currency": draw.choice(("USD", "EUR", "usd")),
        "zip": draw.choice(("01234", "SW1A 1AA")),
        "items": str(draw.randint(-3, 2**40)),
        "member": draw.choice(("True", "false")),
        "note": word,
        "since": "2019-11-30T13:01:01Z",
        "label": "fraud",
    }
    for name in list(given):
        if draw.random() < 0.15:
            del given[name]
        elif draw.random() < 0.1:
            given[name] = None
    return given


def made_history(seed: int, length: int) -> list[tuple[Footprint, Resolved]]:
    """Events in order of arrival, some late, some at one instant."""
    draw = seeded(seed)
    now = START
    history = []
    for _ in range(length):
        now += draw.choice((0, 0, 1, HOUR, 30 * HOUR))
        at = now - draw.choice((0, 0, 0, 1, HOUR, 900 * HOUR))
        resolved = SCHEMA.resolve(made_given(draw))
        entity = draw.choice(("ann", "bob", "cid", "unknown"))
        history.append(
            (
                footprint(TENANT, "payment", "customer", entity, at, resolved.amount, resolved.identities),
                resolved,
            )
        )
    return history


def vectors_of(plan: FeaturePlan, history: list[tuple[Footprint, Resolved]], restart: bool) -> list[bytes]:
    """Vectors in arrival order, each read before its event is folded."""
    limits = Limits(entity_events=30, identity_events=20, tracked_events=8)
    states = EntityStates(limits)
    vectors = []
    for place, (mark, resolved) in enumerate(history):
        if restart and place % 17 == 16:
            states = EntityStates.restore(states.snapshot(), limits)
            plan = FeaturePlan.from_json(json.loads(json.dumps(plan.to_json())))
        vectors.append(
            array("d", plan.vector(resolved.model_values, states.read(mark), mark.event_at_ms)).tobytes()
        )
        states.fold(mark)
    return vectors


def check_training_equals_serving(seeds: range, length: int) -> None:
    for seed in seeds:
        history = made_history(seed, length)
        older = [resolved.model_values for _, resolved in history[: length // 2]]
        plan = FeaturePlan.fit(SCHEMA.specs, older, aggregates=True)
        served = vectors_of(plan, history, restart=True)
        again = FeaturePlan.fit(SCHEMA.specs, older, aggregates=True)
        assert json.dumps(again.to_json()) == json.dumps(plan.to_json()), f"seed {seed}"
        assert vectors_of(again, history, restart=False) == served, f"seed {seed}"


def test_training_features_equal_serving_features_bit_for_bit() -> None:
    check_training_equals_serving(range(10), 80)


@pytest.mark.full
def test_training_features_equal_serving_features_at_full_size() -> None:
    check_training_equals_serving(range(100, 200), 200)


def test_taking_an_event_out_and_back_in_changes_no_vector() -> None:
    history = made_history(3, 60)
    plan = FeaturePlan.fit(SCHEMA.specs, [resolved.model_values for _, resolved in history], aggregates=True)
    plain, stirred = EntityStates(), EntityStates()
    for place, (mark, resolved) in enumerate(history):
        first = plan.vector(resolved.model_values, plain.read(mark), mark.event_at_ms)
        second = plan.vector(resolved.model_values, stirred.read(mark), mark.event_at_ms)
        assert array("d", first).tobytes() == array("d", second).tobytes()
        plain.fold(mark)
        stirred.fold(mark)
        for old, _ in history[place % 5 : place + 1 : 5]:
            if old.event_at_ms > mark.event_at_ms - 500 * HOUR:
                stirred.revert(old)
                stirred.fold(old)
