"""DeleteEventsByEventType and its status: all stored events of a type, removed in slices."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.background import Stop
from hawksnest.catalog import BatchImport, EventDeletion, EventType, Tenant
from hawksnest.errors import conflict, not_found
from hawksnest.ops import job_runs
from hawksnest.ops.changes import change
from hawksnest.ops.describe import require
from hawksnest.ops.job_runs import Progress
from hawksnest.ops.pace import Pace
from hawksnest.predict import in_turn
from hawksnest.store.ports import Known, Look
from hawksnest.store.records import EventDeleted, EventKey, StoredEvent
from hawksnest.store.states import footprint

PAGE = 500  # event ids read at once
LOOKS = 50  # events read at once
_SETTLE_S = 0.02  # between two looks for events of calls that were under way when the deletion began


class _Found(NamedTuple):
    """A stored event, and what was read of it."""

    key: EventKey
    look: Look


def delete_events_by_event_type(app: App, call: Call, request: Request) -> Response:
    """Start deleting all stored events of a type; until it is done no new ones are stored."""
    name, tenant = request["eventTypeName"], call.tenant
    with change(app, call) as now_ms:
        require(app, tenant, EventType, name)
        known = app.catalog.get(tenant, EventDeletion, name)
        if known is not None and known.running:
            raise conflict(f"The events of type {name} are being deleted already.")
        for job in app.catalog.list(tenant, BatchImport):
            if job.running and job.event_type == name:
                raise conflict(f"Batch import job {job.job_id} is storing events of type {name}.")
        deletion = EventDeletion(
            event_type=name,
            status=job_runs.INITIALIZING,
            run=app.catalog.next_number(tenant, "job-run"),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        app.catalog.put(tenant, deletion)
    job_runs.start(app, tenant, deletion, delete_events)
    return {"eventTypeName": name, "eventsDeletionStatus": deletion.status}


def get_delete_events_by_event_type_status(app: App, call: Call, request: Request) -> Response:
    """Status of the newest deletion of a type's events."""
    name = request["eventTypeName"]
    require(app, call.tenant, EventType, name)
    deletion = app.catalog.get(call.tenant, EventDeletion, name)
    if deletion is None:
        raise not_found(f"The deletion of the events of type {name} was never asked for.")
    return {"eventTypeName": name, "eventsDeletionStatus": deletion.status}


def delete_events(app: App, tenant: Tenant, deletion: EventDeletion, folder: Path, stop: Stop) -> None:
    """Delete what is stored, one record an event, until a look finds nothing more. Begins anew after a crash:
    what is gone is not found again."""
    job_runs.advance(app, tenant, deletion)
    pace, gone = Pace(app, tenant, stop), 0

    def tell(_: _Found) -> None:
        stop.report = Progress(gone, 0, None, app.world.now_ms())

    def delete(found: _Found) -> None:
        nonlocal gone
        pace.call(0, partial(_delete, app, found))
        gone += 1

    while True:
        after, before = "", gone
        while ids := app.ledger.stored_event_ids(tenant, deletion.event_type, after, PAGE):
            keys = [EventKey(*tenant, deletion.event_type, event_id) for event_id in ids]
            for start in range(0, len(keys), LOOKS):
                # Read from disk here, so that the slices only need to check it.
                looks = [_Found(key, app.ledger.look(key)) for key in keys[start : start + LOOKS]]
                pace.through(looks, delete, tell)
            after = ids[-1]
        pace.sync()
        stop.report = Progress(gone, 0, gone, app.world.now_ms())
        if gone == before:
            return
        stop.pause(_SETTLE_S)


def _delete(app: App, found: _Found, call: Call) -> None:
    key = found.key

    def delete(known: Known | None, previous: StoredEvent | None) -> None:
        if known is not None and known.stored:
            call.seq = max(call.seq, app.ledger.append(EventDeleted(key, False, app.world.now_ms())))
            if previous is not None:
                app.states.revert(footprint(previous))

    in_turn(app, call, key, delete, found.look)


EVENT_DELETION_OPERATIONS = [
    Operation("DeleteEventsByEventType", delete_events_by_event_type),
    Operation("GetDeleteEventsByEventTypeStatus", get_delete_events_by_event_type_status),
]
