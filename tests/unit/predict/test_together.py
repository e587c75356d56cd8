"""Calls of one turn that are decided together leave and answer what one after the other would."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from event_calls import START_MS, TENANT, TYPES, Api, decision, recounted, served

from hawksnest.app import Call, Defer
from hawksnest.catalog import ModelKey
from hawksnest.kernel.features import FeaturePlan
from hawksnest.ml import trees
from hawksnest.ml.artefact import load, save
from hawksnest.ml.calibration import Calibration
from hawksnest.ops.registry import OPERATIONS
from hawksnest.ops.requests import the_event
from hawksnest.predict import predict
from hawksnest.snapshot import DetectorSnapshot, ScoringModel
from hawksnest.store.records import Predicted, Record
from hawksnest.together import Asked, predict_all
from hawksnest.world import ManualWorld, seeded

PREDICT = OPERATIONS["GetEventPrediction"]
HOUR_MS = 3_600_000


def asked(random: Random, number: int) -> dict[str, Any]:
    """One of few entities and identities, now and then a repeated id, a wrong value or another type."""
    return decision(
        f"e{number if random.random() < 0.8 else random.randrange(number + 1)}",
        random.choice(TYPES),
        at_ms=START_MS + number * 1_000 + (random.random() < 0.05) * 48 * HOUR_MS,
        entity=random.choice(("c1", "c2", "c3", "unknown")),
        eventVariables={
            "amt": random.choice(("1", "950", "no number")) if random.random() < 0.3 else "2.5",
            "email": random.choice((None, "a@a.example", "b@b.example", "c@c.example")),
            "ip": random.choice((None, "192.0.2.1", "192.0.2.2")),
        },
    )


def each_alone(api: Api, calls: list[Call], requests: list[dict[str, Any]]) -> list[Any]:
    made: list[Any] = []
    for call, request in zip(calls, requests, strict=True):
        try:
            made.append(PREDICT.function(api.app, call, request))
        except Exception as fault:  # noqa: BLE001  compared below
            made.append(fault)
    return made


def all_together(api: Api, calls: list[Call], requests: list[dict[str, Any]]) -> list[Any]:
    assert PREDICT.together is not None
    return PREDICT.together(api.app, calls, requests)


def told(api: Api, request: dict[str, Any], made: Any, idempotent: bool) -> Any:
    """What the caller is told in the end; what would have blocked is called again where it may."""
    if isinstance(made, Defer):
        try:
            return PREDICT.function(api.app, Call(TENANT, idempotent=idempotent), request)
        except Exception as fault:  # noqa: BLE001  compared below
            made = fault
    return (type(made), str(made)) if isinstance(made, Exception) else made


def history(folder: Path, seed: int, decide: Any) -> tuple[list[Any], list[Record], dict[Any, Any]]:
    """Answers, journal and states after turns of calls."""
    random, world = seeded(seed), ManualWorld(START_MS)
    answers: list[Any] = []
    with served(folder, world) as api:
        api.set_up()
        number = 0
        for _ in range(25):
            world.advance(0.5)
            size = random.randrange(2, 12)
            idempotent = [random.random() < 0.2 for _ in range(size)]
            requests = [asked(random, number + place) for place in range(size)]
            number += size
            calls = [Call(TENANT, may_block=False, may_wait=False, idempotent=each) for each in idempotent]
            made = decide(api, calls, requests)
            answers += map(told, [api] * size, requests, made, idempotent)
        api.app.ledger.catch_up()
        records = [record for _, record in api.app.ledger.replay()]
        states = api.app.states.contents()
        assert states == recounted(api.app)
    return answers, records, states


@pytest.mark.parametrize("seed", range(4))
def test_together_gives_what_one_after_the_other_gives(tmp_path: Path, seed: int) -> None:
    alone = history(tmp_path / "alone", seed, each_alone)
    together = history(tmp_path / "together", seed, all_together)

    def plain(records: list[Record]) -> list[str]:
        return sorted(repr(record) for record in records)

    assert together[0] == alone[0]
    assert plain(together[1]) == plain(alone[1])
    assert together[2] == alone[2]
    kinds = {type(answer).__name__ for answer in alone[0]}
    assert kinds == {"dict", "tuple"}, "nothing was refused"


def with_model(api: Api, folder: Path) -> DetectorSnapshot:
    """The detector with a transaction model, so that records hold what was read of the states."""
    snapshot = api.app.snapshots.detector(TENANT, "det_pay", None)
    plan = FeaturePlan.fit(snapshot.event_type.specs, [], aggregates=True)
    dice, width = seeded(3), len(plan.names)
    vectors = np.array([[dice.gauss(0, 1) for _ in range(width)] for _ in range(400)])
    table = trees.Table(vectors, vectors[:, 0] > 0, np.ones(400), list(plan.names), ())
    text = trees.text(trees.grow(table, trees.candidates(400, 200)[-1], 5, seed=7, threads=1))
    card = {"model_type": "TRANSACTION_FRAUD_INSIGHTS", "model_id": "m", "version": "1.0"}
    save(folder, text, plan, Calibration.fit([0.0, 1.0]), card)
    model = ScoringModel(load(folder), ModelKey("m", "TRANSACTION_FRAUD_INSIGHTS", "1.0"), "m_insightscore")
    return replace(snapshot, models=(model,), score_defaults={"m_insightscore": 0.0})


@pytest.mark.parametrize("seed", range(3))
def test_each_event_reads_what_those_before_it_left(tmp_path: Path, seed: int) -> None:
    features: list[list[tuple[str, list[bytes]]]] = []
    for together in (False, True):
        random = seeded(seed)
        with served(tmp_path / str(together)) as api:
            api.set_up()
            snapshot = with_model(api, tmp_path / f"model{together}")
            asks = []
            for number in range(60):
                given = {"amt": "2.5", "ip": f"192.0.2.{random.randrange(12)}"}
                entity = f"c{random.randrange(12)}"
                request = decision(f"e{number}", entity=entity, eventVariables=given)
                call = Call(TENANT, may_block=False, may_wait=False)
                asks.append(Asked(call, snapshot, *the_event(snapshot.event_type, request)))
            if together:
                made = predict_all(api.app, asks)
            else:
                made = [predict(api.app, *each) for each in asks]
            assert all(each.call.seq for each in asks)
            records = [record for record in made if isinstance(record, Predicted)]
            features.append(
                [(each.event.key.event_id, [score.features for score in each.scores]) for each in records]
            )
    assert features[0] == features[1]
    assert len({score for _, (score,) in features[0]}) > 30, "the states play no part in it"


def test_a_failing_append_is_told_to_its_caller_alone(tmp_path: Path) -> None:
    with served(tmp_path) as api:
        api.set_up()
        api("GetEventPrediction", **decision("first"))
        huge = {"amt": "1", "ip": "x" * 100}
        requests = [decision(f"e{number}", entity=f"c{number}") for number in range(3)]
        requests[1] = decision("e1", entity="c1", eventVariables=huge | {"email": "y" * (40 << 20)})
        calls = [Call(TENANT, may_block=False, may_wait=False) for _ in requests]
        made = all_together(api, calls, requests)
        assert [isinstance(answer, dict) for answer in made] == [True, False, True]
        assert calls[0].seq and calls[2].seq and not calls[1].seq
        assert api.app.states.contents() == recounted(api.app)
