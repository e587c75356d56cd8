"""Implicit event types: what detectors of the preview API decide, which knew no event types.

Such a type is named after its detector and always has all EVENT variables of the account. It has no entity
types and no labels, so that no event of it can be sent or stored.
"""

from hawksnest.app import App, Call
from hawksnest.catalog import Detector, EventType, Model, Tenant, Variable
from hawksnest.ops.changes import create, remove, update

SUFFIX = "_event"


def ensure_implicit(app: App, call: Call, detector_id: str, now_ms: int) -> str:
    """The name of the detector's event type, made when there is none of that name."""
    name = detector_id + SUFFIX
    if app.catalog.get(call.tenant, EventType, name) is None:
        variables = [
            each.name for each in app.catalog.list(call.tenant, Variable) if each.data_source == "EVENT"
        ]
        new = EventType(
            name=name,
            event_variables=tuple(variables),
            entity_types=(),
            implicit=True,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, {})
    return name


def drop_implicit(app: App, call: Call, name: str) -> None:
    """Forget an implicit event type that nothing uses any more; others stay."""
    known = app.catalog.get(call.tenant, EventType, name)
    if known is None or not known.implicit:
        return
    used = {each.event_type for each in app.catalog.list(call.tenant, Detector)}
    used |= {each.event_type for each in app.catalog.list(call.tenant, Model)}
    if name not in used:
        remove(app, call, known)


def variable_made(app: App, call: Call, variable: Variable, now_ms: int) -> None:
    """Add a new variable to every implicit event type."""
    if variable.data_source == "EVENT":
        for event_type in _implicit(app, call.tenant):
            names = (*event_type.event_variables, variable.name)
            update(app, call, event_type, now_ms, event_variables=names)


def variable_gone(app: App, call: Call, variable: Variable, now_ms: int) -> None:
    """Take a variable out of every implicit event type."""
    for event_type in _implicit(app, call.tenant):
        if variable.name in event_type.event_variables:
            names = tuple(name for name in event_type.event_variables if name != variable.name)
            update(app, call, event_type, now_ms, event_variables=names)


def _implicit(app: App, tenant: Tenant) -> list[EventType]:
    return [each for each in app.catalog.list(tenant, EventType) if each.implicit]
