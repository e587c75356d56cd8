"""Members that several event operations share: checked here once, turned into kernel values."""

import re
from typing import Any

from hawksnest.app import Request
from hawksnest.errors import ServiceError, invalid
from hawksnest.kernel.events import Event, EventSchema, Resolved, UnknownVariable, ValueFault, parse_timestamp
from hawksnest.snapshot import EventTypeSnapshot

_EVENT_ID = re.compile(r"[0-9a-z_-]{1,64}\Z")
INPUTS_MAX = 5_000


def instant(text: str, member: str) -> int:
    """Epoch milliseconds of a timestamp member. Raises ValidationException that names it."""
    try:
        return parse_timestamp(text)
    except ValueError:
        raise invalid(
            f"{member} '{text[:40]}' is not a timestamp; use ISO 8601 in UTC like 2019-11-30T13:01:01Z."
        ) from None


def resolve(schema: EventSchema, given: dict[str, Any]) -> Resolved:
    """Typed values of the event. Raises ValidationException that names the variable, value and type."""
    if len(given) > INPUTS_MAX:
        raise invalid(f"eventVariables holds {len(given)} variables; at most {INPUTS_MAX} are accepted.")
    try:
        return schema.resolve(given)
    except (ValueFault, UnknownVariable) as fault:
        raise invalid(str(fault)) from None


def the_entity(event_type: EventTypeSnapshot, entities: list[dict[str, str]]) -> tuple[str, str]:
    """(entity type, entity id) of the one entity an event has. Raises ValidationException."""
    if len(entities) != 1:
        raise invalid(f"entities holds {len(entities)} entities; an event has exactly one.")
    entity_type = entities[0]["entityType"]
    if entity_type not in event_type.entity_types:
        raise invalid(
            f"Entity type {entity_type[:64]} does not belong to event type {event_type.name}, "
            f"which has {', '.join(sorted(event_type.entity_types))}."
        )
    return entity_type, entities[0]["entityId"]


def the_event(event_type: EventTypeSnapshot, request: Request) -> tuple[Event, Resolved]:
    """Event and typed values of a request that carries one. Raises ValidationException."""
    event_id = request["eventId"]
    if not _EVENT_ID.match(event_id):
        raise invalid(f"eventId '{event_id[:64]}' must have 1 to 64 characters out of 0-9, a-z, _ and -.")
    entity_type, entity_id = the_entity(event_type, request["entities"])
    timestamp = request["eventTimestamp"]
    event_at_ms = instant(timestamp, "eventTimestamp")
    given = request["eventVariables"]
    resolved = resolve(event_type.schema, given)
    event = Event(event_type.name, event_id, entity_type, entity_id, event_at_ms, timestamp, given)
    return event, resolved


def label_pair(event_type: EventTypeSnapshot, request: Request) -> tuple[str, str] | None:
    """(label, label timestamp) of the request, None without either. Raises ValidationException."""
    label, timestamp = request.get("assignedLabel"), request.get("labelTimestamp")
    if label is None and timestamp is None:
        return None
    if label is None or timestamp is None:
        lacking = "assignedLabel" if label is None else "labelTimestamp"
        raise invalid(f"{lacking} is missing: assignedLabel and labelTimestamp are given together.")
    known_label(event_type, label)
    instant(timestamp, "labelTimestamp")
    return label, timestamp


def known_label(event_type: EventTypeSnapshot, label: str) -> None:
    """Raises ValidationException when the event type does not have the label."""
    if label not in event_type.labels:
        has = ", ".join(sorted(event_type.labels)) or "no labels"
        raise invalid(f"Label {label} does not belong to event type {event_type.name}, which has {has}.")


def is_not_found(fault: ServiceError) -> bool:
    """Does this fault say that a resource is missing?"""
    return fault.code == "ResourceNotFoundException"
