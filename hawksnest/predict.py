"""THE HOT PATH: from an event to a recorded decision, one function, read top to bottom.

event → typed values → one read of the entity states → features → scores → rules → one append. The turn is
held from "what is known of this event id" to the fold, so decisions are serial and see each other.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from hawksnest.app import App, Call, Defer
from hawksnest.errors import conflict
from hawksnest.kernel.events import Event, Resolved
from hawksnest.kernel.windows import Footprint, Reads
from hawksnest.snapshot import DetectorSnapshot, EventTypeSnapshot
from hawksnest.store.ports import Known
from hawksnest.store.records import (
    EventKey,
    EventSent,
    ModelScore,
    Predicted,
    RuleTrace,
    StoredEvent,
)

FUTURE_MAX_MS = 24 * 3_600_000  # naive local clocks run ahead by up to a day; later than that is not stored
RETRIES_MAX = 100


def stored_event(
    key: EventKey, event: Event, resolved: Resolved, seen_at_ms: int, previous: StoredEvent | None
) -> StoredEvent:
    """The form in which an event is journalled; a label given earlier stays."""
    return StoredEvent(
        key=key,
        event_at_ms=event.event_at_ms,
        timestamp=event.timestamp,
        entity_type=event.entity_type,
        entity_id=event.entity_id,
        given=dict(event.given),
        amount=resolved.amount,
        identities=resolved.identities,
        label=previous.label if previous else None,
        labelled_at=previous.labelled_at if previous else None,
        seen_at_ms=seen_at_ms,
    )


def footprint(event: StoredEvent) -> Footprint:
    """What a stored event leaves in the entity states."""
    return Footprint(
        account=event.key.account,
        region=event.key.region,
        event_type=event.key.event_type,
        entity_type=event.entity_type,
        entity_id=None if event.entity_id.lower() == "unknown" else event.entity_id,
        event_at_ms=event.event_at_ms,
        amount=event.amount,
        identities=tuple(event.identities),
    )


@contextmanager
def settled(app: App, call: Call, key: EventKey) -> Iterator[tuple[Known | None, StoredEvent | None]]:
    """Hold the turn with what is known of the event id and its stored form.

    A new id, the usual case, costs a look into memory. A repeated one needs the disk, which is read outside
    the turn and checked again inside it; on the event loop that raises Defer.
    """
    ledger = app.ledger
    previous: StoredEvent | None = None
    expected: Known | None = None
    for _ in range(RETRIES_MAX):
        with ledger.turn:
            known = ledger.known(key)
            if known is None or known == expected or not known.stored:
                yield known, previous if known is not None and known.stored else None
                return
        if not call.may_block:
            raise Defer
        expected, previous = known, ledger.event(key)
    raise conflict(f"Event {key.event_id} is being changed by too many calls at once; try again.")


def predict(app: App, call: Call, snapshot: DetectorSnapshot, event: Event, resolved: Resolved) -> Predicted:
    """Decide one event and append the decision; durable once `call.seq` is.

    A repeated event id with the same instant replaces the event and is counted once. With `call.idempotent`
    the recorded decision is returned instead and nothing changes.
    Raises ConflictException for a stored event with another instant, StorageFull, and Defer.
    """
    key = EventKey(call.tenant.account, call.tenant.region, event.event_type, event.event_id)
    now_ms = app.world.now_ms()
    with settled(app, call, key) as (known, previous):
        if known is not None:
            if known.event_at_ms != event.event_at_ms and (
                call.idempotent or (known.stored and snapshot.event_type.ingestion)
            ):
                raise conflict(
                    f"Event {event.event_id} of type {event.event_type} is known with another timestamp."
                )
            if call.idempotent and known.decision_seq:
                return _recorded(app, call, key, known)
        stored = snapshot.event_type.ingestion and event.event_at_ms <= now_ms + FUTURE_MAX_MS
        entry = stored_event(key, event, resolved, now_ms, previous)
        mark = footprint(entry)
        if previous is not None:
            app.states.revert(footprint(previous))
        appended = False
        try:
            record = _decide(snapshot, entry, stored, resolved, app.states.read(mark), now_ms, known)
            call.seq = max(call.seq, app.ledger.append(record))
            appended = True
        finally:
            if appended and stored:
                app.states.fold(mark)
            elif previous is not None:
                app.states.fold(footprint(previous))
    return record


def _decide(
    snapshot: DetectorSnapshot,
    entry: StoredEvent,
    stored: bool,
    resolved: Resolved,
    reads: Reads,
    now_ms: int,
    known: Known | None,
) -> Predicted:
    """Scores, then rules: pure but for the model library."""
    values = resolved.rule_values
    if snapshot.score_defaults:
        values = {**snapshot.score_defaults, **values}
    scores = []
    for each in snapshot.models:
        vector = each.model.plan.vector(resolved.model_values, reads, entry.event_at_ms)
        score = each.model.score(vector)
        values[each.score_name] = score
        scores.append(ModelScore(*each.key, score, array("d", vector).tobytes()))
    decision = snapshot.decider.decide(values, snapshot.lists, now_ms)
    return Predicted(
        event=entry,
        stored=stored,
        predicted_at_ms=now_ms if known is None else max(now_ms, known.predicted_at_ms + 1),
        detector_id=snapshot.detector_id,
        detector_version=snapshot.version,
        execution_mode=snapshot.execution_mode,
        values=values,
        scores=scores,
        trace=[RuleTrace(*line) for line in decision.trace],
        results=decision.results,
        list_revisions=snapshot.list_revisions,
        revision=snapshot.revision,
    )


def _recorded(app: App, call: Call, key: EventKey, known: Known) -> Predicted:
    """The newest recorded decision of an event id; its answer waits until that record is durable."""
    if not call.may_block:
        raise Defer
    record = app.ledger.prediction(key, known.predicted_at_ms)
    assert record is not None, "a known decision has a record"
    call.seq = max(call.seq, known.decision_seq)
    return record


def send(
    app: App,
    call: Call,
    event_type: EventTypeSnapshot,
    event: Event,
    resolved: Resolved,
    label: tuple[str, str] | None,
) -> None:
    """Store one event without deciding it; `label` is (name, the caller's label timestamp).

    Raises ConflictException for a stored event with another instant, StorageFull, and Defer.
    """
    key = EventKey(call.tenant.account, call.tenant.region, event_type.name, event.event_id)
    with settled(app, call, key) as (known, previous):
        if known is not None and known.stored and known.event_at_ms != event.event_at_ms:
            raise conflict(
                f"Event {event.event_id} of type {event_type.name} is already stored with another timestamp."
            )
        entry = stored_event(key, event, resolved, app.world.now_ms(), previous)
        if label is not None:
            entry = StoredEvent(
                entry.key,
                entry.event_at_ms,
                entry.timestamp,
                entry.entity_type,
                entry.entity_id,
                entry.given,
                entry.amount,
                entry.identities,
                label[0],
                label[1],
                entry.seen_at_ms,
            )
        call.seq = max(call.seq, app.ledger.append(EventSent(entry)))
        if previous is not None:
            app.states.revert(footprint(previous))
        app.states.fold(footprint(entry))
