"""The stages of a GetEventPrediction, each timed alone in process on a real data folder."""

import gc
from collections.abc import Callable, Iterable
from pathlib import Path
from time import process_time
from typing import Any

import msgspec
import orjson

from hawksnest.app import App, Call
from hawksnest.catalog import AccessKey, Tenant
from hawksnest.client import SERVICE, TARGET_PREFIX
from hawksnest.config import Settings
from hawksnest.kernel.events import Event, Resolved
from hawksnest.kernel.windows import Footprint, footprint
from hawksnest.main import open_app
from hawksnest.ops.model_versions import resume_deployments
from hawksnest.ops.predictions import get_event_prediction
from hawksnest.ops.requests import the_event
from hawksnest.predict import in_turn
from hawksnest.signing import Credentials, sign
from hawksnest.store.records import Predicted
from hawksnest.wire.door import header_map
from hawksnest.wire.render import serialiser
from hawksnest.wire.shapes import parser
from hawksnest.wire.sigv4 import Verifier
from hawksnest.world import RealWorld

OPERATION = "GetEventPrediction"
TURN = 32  # records a flush carries under load


def cost_us(act: Callable[[Any], object], items: Iterable[Any]) -> float:
    """CPU µs of one call, over all items once: they are new each time, as in life."""
    given = list(items)
    gc.collect()
    gc.freeze()  # as the server does once it is loaded
    start_s = process_time()
    for item in given:
        act(item)
    return (process_time() - start_s) / len(given) * 1e6


def stage_costs(data: Path, bodies: list[bytes], key: list[str]) -> list[tuple[str, float]]:
    """(stage, µs), in order; the last line is the whole operation without the wire."""
    world = RealWorld()
    with open_app(Settings.of(data=data, port=0), world) as app:
        app.trainings.close()
        resume_deployments(app)
        gc.set_threshold(50_000, 20, 20)
        return [*_wire(bodies, key, world), *_decision(app, bodies)]


def _wire(bodies: list[bytes], key: list[str], world: RealWorld) -> list[tuple[str, float]]:
    credentials, now_ms = Credentials(*key), world.now_ms()
    common = {
        "content-type": "application/x-amz-json-1.1",
        "host": "127.0.0.1:8420",
        "x-amz-target": TARGET_PREFIX + OPERATION,
    }
    sent = []
    for body in bodies:
        headers = common | sign(credentials, SERVICE, common, body, now_ms)
        headers |= {"user-agent": "Boto3/1.44.8", "accept-encoding": "identity", "content-length": "900"}
        sent.append([(name.encode(), value.encode()) for name, value in headers.items()])
    known = AccessKey(created_at_ms=0, updated_at_ms=0, access_key_id=key[0], secret=key[1], account="0" * 12)
    verifier = Verifier(lambda _: known, SERVICE)
    pairs = list(zip(sent, bodies, strict=True))
    return [
        ("signature", cost_us(lambda each: verifier.verify(header_map(each[0]), each[1], now_ms), pairs)),
        ("parse and validate", cost_us(parser(OPERATION), bodies)),
    ]


def _decision(app: App, bodies: list[bytes]) -> list[tuple[str, float]]:
    tenant = Tenant(app.settings.account, app.settings.region)
    requests = [orjson.loads(body) for body in bodies]
    snapshot = app.snapshots.detector(tenant, requests[0]["detectorId"], None)
    model, rules = snapshot.models[0].model, snapshot.decider
    events = [the_event(snapshot.event_type, request) for request in requests]
    marks = [_footprint(tenant, event, resolved) for event, resolved in events]
    reads = [app.states.read(mark) for mark in marks]
    rows = [
        (resolved.model_values, read, event.event_at_ms)
        for (event, resolved), read in zip(events, reads, strict=True)
    ]
    vectors = [model.plan.vector(*row) for row in rows]
    score_name = snapshot.models[0].score_name
    values = [
        {**resolved.rule_values, score_name: model.score(model.packed(v))}
        for (_, resolved), v in zip(events, vectors, strict=True)
    ]
    now_ms = app.world.now_ms()
    stages = [
        ("event typing", cost_us(lambda each: the_event(snapshot.event_type, each), requests)),
        ("read states", cost_us(app.states.read, marks)),
        ("features", cost_us(lambda row: model.plan.vector(*row), rows)),
        ("score", cost_us(lambda v: model.score(model.packed(v)), vectors)),
        ("rules", cost_us(lambda each: rules.decide(each, snapshot.lists, now_ms), values)),
    ]
    half = len(requests) // 2
    answers: list[Any] = []

    def whole(request: dict[str, Any]) -> None:
        call = Call(tenant, may_block=False)
        answers.append(get_event_prediction(app, call, request))

    whole_us = cost_us(whole, requests[:half])
    app.ledger.flush()
    records = _records(app, snapshot.detector_id, half)
    keys = [record.event.key for record in records]
    stages += [
        (
            "what is known of the id, in the turn",
            cost_us(lambda k: in_turn(app, Call(tenant), k, _nothing), keys),
        ),
        ("append", cost_us(lambda record: _append(app, record), records)),
        ("fold", cost_us(app.states.fold, marks[half:])),
        (f"flush, {TURN} at a time", _flush_us(app, _renamed(records, "g"))),
        ("reply", cost_us(serialiser(OPERATION), answers)),
        ("the operation whole, without wire and flush", whole_us),
    ]
    return stages


def _footprint(tenant: Tenant, event: Event, resolved: Resolved) -> Footprint:
    return footprint(
        tenant,
        event.event_type,
        event.entity_type,
        event.entity_id,
        event.event_at_ms,
        resolved.amount,
        resolved.identities,
    )


def _records(app: App, detector_id: str, count: int) -> list[Predicted]:
    """Decisions as they were journalled, under event ids that are new."""
    found = [
        record
        for _, record in app.ledger.replay()
        if isinstance(record, Predicted) and record.detector_id == detector_id
    ]
    return _renamed(found[-count:], "f")


def _renamed(records: list[Predicted], prefix: str) -> list[Predicted]:
    replace = msgspec.structs.replace
    return [
        replace(each, event=replace(each.event, key=replace(each.event.key, event_id=f"{prefix}{number}")))
        for number, each in enumerate(records)
    ]


def _nothing(known: object, previous: object) -> None:
    pass


def _append(app: App, record: Predicted) -> None:
    with app.ledger.turn:
        app.ledger.append(record)


def _flush_us(app: App, records: list[Predicted]) -> float:
    """A record's share of a flush that carries TURN of them."""
    app.ledger.flush()
    spent_s = 0.0
    for start in range(0, len(records) - TURN, TURN):
        for record in records[start : start + TURN]:
            _append(app, record)
        before_s = process_time()
        app.ledger.flush()
        spent_s += process_time() - before_s
    return spent_s / (len(records) // TURN * TURN) * 1e6
