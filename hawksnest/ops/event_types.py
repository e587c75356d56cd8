"""Event types: PutEventType, GetEventTypes, DeleteEventType."""

from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import EntityType, EventDeletion, EventType, Label, Resource, Tenant, Variable
from hawksnest.errors import invalid
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import Listing, described, missing
from hawksnest.ops.references import event_type_user, in_use, stored_event_type_user
from hawksnest.world import iso_ms, iso_s


def _names(app: App, tenant: Tenant, kind: type[Resource], given: list[str]) -> tuple[str, ...]:
    """Each name once, in the order given. Raises ValidationException for one that does not exist."""
    names = tuple(dict.fromkeys(given))
    for name in names:
        if app.catalog.get(tenant, kind, name) is None:
            raise invalid(missing(kind, name))
    return names


def _variables(app: App, tenant: Tenant, given: list[str]) -> tuple[str, ...]:
    names = _names(app, tenant, Variable, given)
    for name in names:
        variable = app.catalog.get(tenant, Variable, name)
        if variable is not None and variable.data_source != "EVENT":
            raise invalid(
                f"Variable {name} has data source {variable.data_source}; an event type takes only EVENT."
            )
    return names


def put_event_type(app: App, call: Call, request: Request) -> Response:
    """Create an event type or replace its definition; variables can be added but not removed."""
    name, tenant = request["name"], call.tenant
    with change(app, call) as now_ms:
        known = app.catalog.get(tenant, EventType, name)
        definition: dict[str, Any] = {
            "event_variables": _variables(app, tenant, request["eventVariables"]),
            "entity_types": _names(app, tenant, EntityType, request["entityTypes"]),
            "labels": _names(app, tenant, Label, request.get("labels", [])),
            "description": request.get("description"),
        }
        if "eventIngestion" in request:
            definition["event_ingestion"] = request["eventIngestion"]
        if "eventOrchestration" in request:
            definition["event_bridge_enabled"] = request["eventOrchestration"]["eventBridgeEnabled"]
        if known is None:
            new = EventType(name=name, created_at_ms=now_ms, updated_at_ms=now_ms, **definition)
            create(app, call, new, request)
        else:
            removed = sorted(set(known.event_variables) - set(request["eventVariables"]))
            if removed:
                raise invalid(
                    f"Variables cannot be removed from event type {name}; eventVariables lacks "
                    f"{', '.join(removed)}."
                )
            update(app, call, known, now_ms, implicit=False, **definition)
    return {}


def _view(app: App, tenant: Tenant, event_type: EventType) -> Response:
    shown = described(
        tenant,
        event_type,
        name=event_type.name,
        eventVariables=list(event_type.event_variables),
        labels=list(event_type.labels),
        entityTypes=list(event_type.entity_types),
        eventIngestion=event_type.event_ingestion,
        eventOrchestration={"eventBridgeEnabled": event_type.event_bridge_enabled},
    )
    statistics = app.ledger.statistics(tenant, event_type.name)
    if statistics.count and statistics.first_ms is not None and statistics.last_ms is not None:
        shown["ingestedEventStatistics"] = {
            "numberOfEvents": statistics.count,
            "eventDataSizeInBytes": statistics.size_bytes,
            "leastRecentEvent": iso_s(statistics.first_ms),
            "mostRecentEvent": iso_s(statistics.last_ms),
            "lastUpdatedTime": iso_ms(app.world.now_ms()),
        }
    return shown


_LISTING = Listing("GetEventTypes", EventType, "name", "eventTypes", 10, _view)


def get_event_types(app: App, call: Call, request: Request) -> Response:
    """One event type or all, by name, with live statistics of their stored events."""
    return _LISTING.answer(app, call, request)


def delete_event_type(app: App, call: Call, request: Request) -> Response:
    """Delete an event type that no detector or model uses and that has no stored events."""
    stored = stored_event_type_user(app, call.tenant, request["name"])
    with change(app, call):
        known = app.catalog.get(call.tenant, EventType, request["name"])
        if known is not None:
            user = event_type_user(app, call.tenant, known.name) or stored
            if user is not None:
                raise in_use(known, user)
            app.catalog.delete(call.tenant, EventDeletion, known.name)
            remove(app, call, known)
    return {}


EVENT_TYPE_OPERATIONS = [
    Operation("PutEventType", put_event_type),
    Operation("GetEventTypes", get_event_types),
    Operation("DeleteEventType", delete_event_type),
]
