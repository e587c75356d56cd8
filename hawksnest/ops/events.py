"""Stored events: SendEvent, GetEvent, UpdateEventLabel, DeleteEvent."""

from hawksnest.app import App, Call, Defer, Operation, Request, Response
from hawksnest.errors import ServiceError, conflict, invalid, not_found
from hawksnest.ops.requests import instant, is_not_found, known_label, label_pair, the_event
from hawksnest.predict import FUTURE_MAX_MS, in_turn, send
from hawksnest.snapshot import EventTypeSnapshot
from hawksnest.store.ports import Known
from hawksnest.store.records import EventDeleted, EventKey, Labelled, StoredEvent
from hawksnest.store.states import footprint


def _event_type(app: App, call: Call, name: str) -> EventTypeSnapshot:
    found = app.snapshots.peek_event_type(call.tenant, name)
    if found is None:
        if not call.may_block:
            raise Defer
        found = app.snapshots.event_type(call.tenant, name)
    return found


def _key(call: Call, request: Request) -> EventKey:
    return EventKey(call.tenant.account, call.tenant.region, request["eventTypeName"], request["eventId"])


def _not_stored(key: EventKey) -> ServiceError:
    return not_found(f"Event {key.event_id[:64]} of type {key.event_type[:64]} is not stored.")


def send_event(app: App, call: Call, request: Request) -> Response:
    """Store one event, with or without its label, without deciding it."""
    event_type = _event_type(app, call, request["eventTypeName"])
    if event_type.deleting:
        raise conflict(f"The events of type {event_type.name} are being deleted; send new ones after that.")
    if not event_type.ingestion:
        raise invalid(
            f"Event type {event_type.name} does not store events; put it with eventIngestion ENABLED first."
        )
    event, resolved = the_event(event_type, request)
    now_ms = app.world.now_ms()
    if event.event_at_ms > now_ms + FUTURE_MAX_MS:
        raise invalid(f"eventTimestamp {event.timestamp} is more than 24 hours in the future.")
    if not app.quotas.keeps(event.event_at_ms, now_ms):
        raise invalid(f"eventTimestamp {event.timestamp} is older than 18 months.")
    send(app, call, event_type, event, resolved, label_pair(event_type, request))
    return {}


def get_event(app: App, call: Call, request: Request) -> Response:
    """The newest stored form of an event, without defaults and predictions."""
    _event_type(app, call, request["eventTypeName"])
    key = _key(call, request)
    event = app.ledger.event(key)
    if event is None:
        raise _not_stored(key)
    shown: Response = {
        "eventId": event.key.event_id,
        "eventTypeName": event.key.event_type,
        "eventTimestamp": event.timestamp,
        "eventVariables": {name: text for name, text in event.given.items() if text is not None},
        "entities": [{"entityType": event.entity_type, "entityId": event.entity_id}],
    }
    if event.label is not None:
        shown["currentLabel"] = event.label
        shown["labelTimestamp"] = event.labelled_at
    return {"event": shown}


def update_event_label(app: App, call: Call, request: Request) -> Response:
    """Set the label of a stored event; the last write wins."""
    event_type = _event_type(app, call, request["eventTypeName"])
    key = _key(call, request)

    def label(known: Known | None, _: StoredEvent | None) -> None:
        if known is None or not known.stored:
            raise _not_stored(key)
        known_label(event_type, request["assignedLabel"])
        instant(request["labelTimestamp"], "labelTimestamp")
        record = Labelled(key, request["assignedLabel"], request["labelTimestamp"], app.world.now_ms())
        call.seq = max(call.seq, app.ledger.append(record))

    in_turn(app, call, key, label)
    return {}


def delete_event(app: App, call: Call, request: Request) -> Response:
    """Forget a stored event and, with deleteAuditHistory, its predictions too."""
    try:
        _event_type(app, call, request["eventTypeName"])
    except ServiceError as fault:
        if is_not_found(fault):
            return {}
        raise
    key = _key(call, request)
    history = request.get("deleteAuditHistory", False)

    def delete(known: Known | None, previous: StoredEvent | None) -> None:
        if known is not None and (known.stored or (history and known.decision_seq)):
            record = EventDeleted(key, history, app.world.now_ms())
            call.seq = max(call.seq, app.ledger.append(record))
            if previous is not None:
                app.states.revert(footprint(previous))

    in_turn(app, call, key, delete)
    return {}


EVENT_OPERATIONS = [
    Operation("SendEvent", send_event, inline=True),
    Operation("GetEvent", get_event),
    Operation("UpdateEventLabel", update_event_label),  # of an event that is there: its form is read
    Operation("DeleteEvent", delete_event),
]
