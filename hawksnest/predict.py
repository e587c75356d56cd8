"""THE HOT PATH: from an event to a recorded decision, read top to bottom in `predict`.

event → typed values → one read of the entity states → features → scores → rules → one append. The turn is
held from "what is known of this event id" to the fold, so decisions are serial and see each other.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from hawksnest.app import App, Call, Defer
from hawksnest.errors import conflict
from hawksnest.kernel.events import Event, Resolved, Value
from hawksnest.kernel.windows import Reads
from hawksnest.snapshot import DetectorSnapshot, EventTypeSnapshot
from hawksnest.store.ports import Known, Look, LookAgain
from hawksnest.store.records import (
    EventKey,
    EventSent,
    ExternalOutput,
    ModelScore,
    Predicted,
    StoredEvent,
)
from hawksnest.store.states import footprint

FUTURE_MAX_MS = 24 * 3_600_000  # naive local clocks run ahead by up to a day; later than that is not stored
RETRIES_MAX = 100

T = TypeVar("T")
Label = tuple[str, str]  # the label, and the caller's label timestamp


class Ready(NamedTuple):
    """An event as it is decided."""

    snapshot: DetectorSnapshot
    entry: StoredEvent
    stored: bool
    resolved: Resolved
    reads: Reads  # what its entity and identities did before
    now_ms: int
    known: Known | None


def in_turn(
    app: App,
    call: Call,
    key: EventKey,
    act: Callable[[Known | None, StoredEvent | None], T],
    look: Look | None = None,
) -> T:
    """`act` with the turn held, given what is known of the event id and its stored form, if it has one.

    A new id, the usual case, costs a look into memory. A repeated one needs the disk, which is read without
    the turn and checked again with it; on the event loop that raises Defer. `look`: it was read already.
    Raises ConflictException when other calls change the event again and again.
    """
    ledger = app.ledger
    for _ in range(RETRIES_MAX):
        try:
            with ledger.turn:
                return act(*ledger.settled(key, look))
        except LookAgain:
            if not call.may_block:
                raise Defer from None
            look = ledger.look(key)
    raise conflict(f"Event {key.event_id} is being changed by too many calls at once; try again.")


def predict(
    app: App,
    call: Call,
    snapshot: DetectorSnapshot,
    event: Event,
    resolved: Resolved,
    externals: list[ExternalOutput] | None = None,
) -> Predicted:
    """Decide one event and append the decision; durable once `call.seq` is.

    A repeated event id with the same instant replaces the event and is counted once. With `call.idempotent`
    the recorded decision is returned instead and nothing changes.
    `externals`: what the snapshot's external models answered, whose values `resolved` has; they were asked
    before, because the turn is not held while others think.
    Raises ConflictException for a stored event with another instant, StorageFull, and Defer.
    """
    key = EventKey(call.tenant.account, call.tenant.region, event.event_type, event.event_id)
    now_ms = app.world.now_ms()
    states, stores = app.states, snapshot.event_type.ingestion

    def decide(known: Known | None, previous: StoredEvent | None) -> Predicted | Known:
        if known is not None:
            if known.event_at_ms != event.event_at_ms and (call.idempotent or (known.stored and stores)):
                raise _other_instant(key)
            if call.idempotent and known.decision_seq:
                return known
        if snapshot.externals and externals is None:
            raise conflict(f"The recorded decision of event {key.event_id} has just gone; try again.")
        stored = is_stored(app, snapshot, event, now_ms)
        entry = entry_of(key, event, resolved, now_ms, previous, None)
        mark = footprint(entry)
        if previous is not None:  # an event does not see itself
            states.revert(footprint(previous))
        appended = False
        try:
            record = decided([Ready(snapshot, entry, stored, resolved, states.read(mark), now_ms, known)])[0]
            if externals:
                record = msgspec.structs.replace(record, externals=externals)
            if call.run:
                record = msgspec.structs.replace(record, run=call.run, row=call.row)
            call.seq = max(call.seq, app.ledger.append(record))
            appended = True
        finally:
            if appended and stored:
                states.fold(mark)
            elif previous is not None:
                states.fold(footprint(previous))
        return record

    made = in_turn(app, call, key, decide)
    return _recorded(app, call, key, made) if isinstance(made, Known) else made


def send(
    app: App, call: Call, event_type: EventTypeSnapshot, event: Event, resolved: Resolved, label: Label | None
) -> None:
    """Store one event without deciding it.

    Raises ConflictException for a stored event with another instant, StorageFull, and Defer.
    """
    key = EventKey(call.tenant.account, call.tenant.region, event_type.name, event.event_id)

    def store(known: Known | None, previous: StoredEvent | None) -> None:
        if previous is not None and previous.event_at_ms != event.event_at_ms:
            raise _other_instant(key)
        entry = entry_of(key, event, resolved, app.world.now_ms(), previous, label)
        call.seq = max(call.seq, app.ledger.append(EventSent(entry, 0, call.run, call.row)))
        if previous is not None:
            app.states.revert(footprint(previous))
        app.states.fold(footprint(entry))

    in_turn(app, call, key, store)


def is_stored(app: App, snapshot: DetectorSnapshot, event: Event, now_ms: int) -> bool:
    """Does the event also count as a stored one?"""
    return (
        snapshot.event_type.ingestion
        and event.event_at_ms <= now_ms + FUTURE_MAX_MS
        and app.quotas.keeps(event.event_at_ms, now_ms)
    )


def _other_instant(key: EventKey) -> Exception:
    return conflict(f"Event {key.event_id} of type {key.event_type} is known with another timestamp.")


def entry_of(
    key: EventKey,
    event: Event,
    resolved: Resolved,
    seen_at_ms: int,
    previous: StoredEvent | None,
    label: Label | None,
) -> StoredEvent:
    """The form in which an event is journalled; a label given earlier stays until there is another."""
    name, labelled_at = label or ((previous.label, previous.labelled_at) if previous else (None, None))
    return StoredEvent(
        key,
        event.event_at_ms,
        event.timestamp,
        event.entity_type,
        event.entity_id,
        event.given,
        resolved.amount,
        resolved.identities,
        name,
        labelled_at,
        seen_at_ms,
    )


def decided(ready: Sequence[Ready]) -> list[Predicted]:
    """Scores, then rules, stage by stage: pure but for the model library."""
    vectors = [
        [
            scoring.model.plan.vector(each.resolved.model_values, each.reads, each.entry.event_at_ms)
            for scoring in each.snapshot.models
        ]
        for each in ready
    ]
    scored = [_scored(each, found) for each, found in zip(ready, vectors, strict=True)]
    decisions = [
        each.snapshot.decider.decide(values, each.snapshot.lists, each.now_ms)
        for each, (values, _) in zip(ready, scored, strict=True)
    ]
    return [
        Predicted(
            event=entry,
            stored=stored,
            predicted_at_ms=now_ms if known is None else max(now_ms, known.predicted_at_ms + 1),
            detector_id=snapshot.detector_id,
            detector_version=snapshot.version,
            execution_mode=snapshot.execution_mode,
            values=values,
            scores=scores,
            trace=decision.trace,
            results=decision.results,
            list_revisions=snapshot.list_revisions,
            revision=snapshot.revision,
        )
        for (snapshot, entry, stored, _, _, now_ms, known), (values, scores), decision in zip(
            ready, scored, decisions, strict=True
        )
    ]


def _scored(ready: Ready, vectors: list[list[float]]) -> tuple[dict[str, Value], list[ModelScore]]:
    """What the rules see, and the models' scores."""
    snapshot, values = ready.snapshot, ready.resolved.rule_values
    if not snapshot.score_defaults:
        return values, []
    values, scores = {**values, **snapshot.score_defaults}, []
    for scoring, vector in zip(snapshot.models, vectors, strict=True):
        row = scoring.model.packed(vector)
        score = values[scoring.score_name] = scoring.model.score(row)
        scores.append(ModelScore(*scoring.key, score, row))
    return values, scores


def _recorded(app: App, call: Call, key: EventKey, known: Known) -> Predicted:
    """The newest recorded decision of an event id; its answer waits until that record is durable."""
    if not call.may_block:
        raise Defer
    record = app.ledger.prediction(key, known.predicted_at_ms)
    if record is None:
        raise conflict(f"Event {key.event_id} was deleted by another call; try again.")
    call.seq = max(call.seq, known.decision_seq)
    return record
