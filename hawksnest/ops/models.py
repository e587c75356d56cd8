"""Models: one for an event type and a model type, with the variable that carries its score."""

from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import EventType, Model, Tenant, Variable
from hawksnest.errors import invalid
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import described, missing, require
from hawksnest.ops.paging import Pages
from hawksnest.ops.preview_members import model_members
from hawksnest.ops.references import in_use, model_user, score_user, score_variable, shares_score


def create_model(app: App, call: Call, request: Request) -> Response:
    """Create a model for an event type, and the variable that will carry its score."""
    model_type, model_id, tenant = request["modelType"], request["modelId"], call.tenant
    with change(app, call) as now_ms:
        if app.catalog.get(tenant, EventType, request["eventTypeName"]) is None:
            raise invalid(missing(EventType, request["eventTypeName"]))
        if app.catalog.get(tenant, Model, model_type, model_id) is not None:
            raise invalid(f"Model {model_type} {model_id} already exists.")
        new = Model(
            model_type=model_type,
            model_id=model_id,
            event_type=request["eventTypeName"],
            incarnation=app.catalog.next_number(tenant, f"model-incarnation/{model_type}/{model_id}"),
            description=request.get("description"),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, request)
        ensure_score_variable(app, call, model_id, now_ms)
    return {}


def ensure_score_variable(app: App, call: Call, model_id: str, now_ms: int) -> None:
    """Create the score variable, or adopt one that the caller made (older clients do)."""
    name = score_variable(model_id)
    known = app.catalog.get(call.tenant, Variable, name)
    if known is None:
        new = Variable(
            name=name,
            data_type="FLOAT",
            data_source="MODEL_SCORE",
            default_value="0.0",
            variable_type="NUMERIC",
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, {})
    elif (known.data_type, known.data_source) != ("FLOAT", "MODEL_SCORE"):
        raise invalid(
            f"Variable {name} is {known.data_type} with data source {known.data_source}; the model's score "
            "needs this name as FLOAT with data source MODEL_SCORE."
        )


def _model_view(tenant: Tenant, model: Model) -> dict[str, Any]:
    return described(
        tenant,
        model,
        modelId=model.model_id,
        modelType=model.model_type,
        eventTypeName=model.event_type or None,
        **model_members(model),
    )


_MODEL_PAGES = Pages("GetModels", 10)


def get_models(app: App, call: Call, request: Request) -> Response:
    """One model, all of a type, or all."""
    model_type, model_id = request.get("modelType"), request.get("modelId")
    if model_id is not None and model_type is None:
        raise invalid("modelId needs a modelType.")
    if model_type is not None and model_id is not None:
        return {"models": [_model_view(call.tenant, require(app, call.tenant, Model, model_type, model_id))]}
    models = app.catalog.list(call.tenant, Model, *((model_type,) if model_type is not None else ()))
    shown, more = _MODEL_PAGES.page(app, call, request, models, lambda model: model.key)
    return {"models": [_model_view(call.tenant, model) for model in shown], **more}


def the_model(app: App, call: Call, request: Request) -> Model:
    """Raises ResourceNotFoundException."""
    return require(app, call.tenant, Model, request["modelType"], request["modelId"])


def update_model(app: App, call: Call, request: Request) -> Response:
    """Change a model's description; an omitted one stays."""
    with change(app, call) as now_ms:
        known = the_model(app, call, request)
        update(app, call, known, now_ms, description=request.get("description", known.description))
    return {}


def delete_model(app: App, call: Call, request: Request) -> Response:
    """Delete a model without versions, and its score variable unless a rule names it."""
    tenant = call.tenant
    with change(app, call):
        known = app.catalog.get(tenant, Model, request["modelType"], request["modelId"])
        if known is not None:
            user = model_user(app, tenant, known) or score_user(app, tenant, known)
            if user is not None:
                raise in_use(known, user)
            score = app.catalog.get(tenant, Variable, score_variable(known.model_id))
            if score is not None and not shares_score(app, tenant, known):
                remove(app, call, score)
            remove(app, call, known)
    return {}


MODEL_OPERATIONS = [
    Operation("CreateModel", create_model),
    Operation("GetModels", get_models),
    Operation("UpdateModel", update_model),
    Operation("DeleteModel", delete_model),
]
