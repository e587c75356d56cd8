"""Labels, entity types and outcomes: names with a description, three operations each."""

from collections.abc import Callable
from dataclasses import dataclass

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import EntityType, Label, Outcome, Tenant
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import Listing, described
from hawksnest.ops.references import entity_type_user, in_use, label_user, outcome_user, stored_label_user

Named = Label | EntityType | Outcome


def _view(app: App, tenant: Tenant, resource: Named) -> Response:
    return described(tenant, resource, name=resource.name)


@dataclass(frozen=True)
class _Family:
    kind: type[Named]
    user: Callable[[App, Tenant, str], str | None]
    listing: Listing[Named]


_LABEL = _Family(Label, label_user, Listing("GetLabels", Label, "name", "labels", 50, _view))
_ENTITY_TYPE = _Family(
    EntityType, entity_type_user, Listing("GetEntityTypes", EntityType, "name", "entityTypes", 10, _view)
)
_OUTCOME = _Family(Outcome, outcome_user, Listing("GetOutcomes", Outcome, "name", "outcomes", 100, _view))


def _put(family: _Family, app: App, call: Call, request: Request) -> Response:
    name, description = request["name"], request.get("description")
    with change(app, call) as now_ms:
        known = app.catalog.get(call.tenant, family.kind, name)
        if known is not None:
            update(app, call, known, now_ms, description=description)
        else:
            new = family.kind(name=name, description=description, created_at_ms=now_ms, updated_at_ms=now_ms)
            create(app, call, new, request)
    return {}


def _delete(family: _Family, app: App, call: Call, request: Request, stored: str | None = None) -> Response:
    with change(app, call):
        known = app.catalog.get(call.tenant, family.kind, request["name"])
        if known is not None:
            user = family.user(app, call.tenant, known.name) or stored
            if user is not None:
                raise in_use(known, user)
            remove(app, call, known)
    return {}


def put_label(app: App, call: Call, request: Request) -> Response:
    """Create or update a label."""
    return _put(_LABEL, app, call, request)


def get_labels(app: App, call: Call, request: Request) -> Response:
    """One label or all, by name."""
    return _LABEL.listing.answer(app, call, request)


def delete_label(app: App, call: Call, request: Request) -> Response:
    """Delete a label that no event type has and no stored event carries."""
    stored = stored_label_user(app, call.tenant, request["name"])
    return _delete(_LABEL, app, call, request, stored)


def put_entity_type(app: App, call: Call, request: Request) -> Response:
    """Create or update an entity type."""
    return _put(_ENTITY_TYPE, app, call, request)


def get_entity_types(app: App, call: Call, request: Request) -> Response:
    """One entity type or all, by name."""
    return _ENTITY_TYPE.listing.answer(app, call, request)


def delete_entity_type(app: App, call: Call, request: Request) -> Response:
    """Delete an entity type that no event type has."""
    return _delete(_ENTITY_TYPE, app, call, request)


def put_outcome(app: App, call: Call, request: Request) -> Response:
    """Create or update an outcome."""
    return _put(_OUTCOME, app, call, request)


def get_outcomes(app: App, call: Call, request: Request) -> Response:
    """One outcome or all, by name."""
    return _OUTCOME.listing.answer(app, call, request)


def delete_outcome(app: App, call: Call, request: Request) -> Response:
    """Delete an outcome that no rule version names."""
    return _delete(_OUTCOME, app, call, request)


LABEL_AND_TYPE_OPERATIONS = [
    Operation("PutLabel", put_label),
    Operation("GetLabels", get_labels),
    Operation("DeleteLabel", delete_label),
    Operation("PutEntityType", put_entity_type),
    Operation("GetEntityTypes", get_entity_types),
    Operation("DeleteEntityType", delete_entity_type),
    Operation("PutOutcome", put_outcome),
    Operation("GetOutcomes", get_outcomes),
    Operation("DeleteOutcome", delete_outcome),
]
