"""The preview API of April 2020, as far as it differs from today's; requests of either kind arrive here.

What is shared stays shared: variables, outcomes, rules, versions and models are the same resources for both.
"""

import dataclasses
import re
from typing import Any

from hawksnest.app import App, Call, Defer, Operation, Request, Response
from hawksnest.catalog import Detector, EventType, Model, ModelKey, ModelVersion, Rule, Tenant, Variable
from hawksnest.errors import invalid, not_found
from hawksnest.kernel.events import Event, Resolved
from hawksnest.ops import detectors, events, model_versions, models, rules
from hawksnest.ops.changes import change, create, update
from hawksnest.ops.consult import decide
from hawksnest.ops.describe import missing, require
from hawksnest.ops.generation import means_preview, not_of_the_preview
from hawksnest.ops.implicit import drop_implicit, ensure_implicit
from hawksnest.ops.predictions import admit, shown_score
from hawksnest.ops.requests import instant, resolve
from hawksnest.ops.versions import model_version_number
from hawksnest.snapshot import DetectorSnapshot
from hawksnest.world import iso_ms

NO_MATCH = "NO_MATCH"
EVENT_ID = 1_024  # characters; the preview took any text
UNKNOWN = "unknown"
_STORABLE_ID = re.compile(r"[0-9a-z_-]{1,64}\Z")
_NOT_INPUTS = ("EVENT_TIMESTAMP", "FRAUD_LABEL")  # variable types


def get_prediction(app: App, call: Call, request: Request) -> Response:
    """Decide the attributes of an event that has no type, entity or time; never stored as an event."""
    admit(app, call)
    detector_id, version = request["detectorId"], request.get("detectorVersionId")
    snapshot = app.snapshots.peek(call.tenant, detector_id, version)
    if snapshot is None:
        if not call.may_block:
            raise Defer
        snapshot = app.snapshots.detector(call.tenant, detector_id, version)
    event, resolved = _event(app, call.tenant, snapshot, request)
    bare = dataclasses.replace(snapshot, event_type=dataclasses.replace(snapshot.event_type, ingestion=False))
    blobs = request.get("externalModelEndpointDataBlobs", {})
    record = decide(app, call, bare, event, resolved, blobs)
    outcomes = list(dict.fromkeys(name for _, given in record.results for name in given))
    return {
        "outcomes": outcomes or [NO_MATCH],
        "modelScores": [shown_score(score) for score in record.scores],
        "ruleResults": [{"ruleId": rule_id, "outcomes": given} for rule_id, given in record.results],
    }


def _event(app: App, tenant: Tenant, snapshot: DetectorSnapshot, request: Request) -> tuple[Event, Resolved]:
    """Raises ValidationException for attributes that the detector does not take."""
    given: dict[str, str | None] = request.get("eventAttributes", {})
    event_id = request["eventId"]
    if not 1 <= len(event_id) <= EVENT_ID:
        raise invalid(f"eventId must have 1 to {EVENT_ID} characters.")
    resolved = resolve(snapshot.event_type.schema, given)
    timestamp = iso_ms(app.world.now_ms())
    for spec in snapshot.event_type.specs:
        text = given.get(spec.name)
        if spec.variable_type == "EVENT_TIMESTAMP" and text is not None:
            timestamp = text
            break
    at_ms = instant(timestamp, "The attribute with the event's time")
    event_type = app.catalog.get(tenant, EventType, snapshot.event_type.name)
    entity_types = event_type.entity_types if event_type is not None else ()
    entity_type = entity_types[0] if entity_types else UNKNOWN
    return Event(snapshot.event_type.name, event_id, entity_type, UNKNOWN, at_ms, timestamp, given), resolved


def delete_rule_version(app: App, call: Call, request: Request) -> Response:
    """Delete a rule version that no ACTIVE or INACTIVE detector version uses."""
    return rules.delete_rule(app, call, {"rule": request})


def delete_event(app: App, call: Call, request: Request) -> Response:
    """Forget the event id under its event type or, for the preview, under every one; predictions stay."""
    if not means_preview("DeleteEvent", request):
        return events.delete_event(app, call, request)
    event_id = request["eventId"]
    if _STORABLE_ID.match(event_id):
        for event_type in app.catalog.list(call.tenant, EventType):
            events.delete_event(app, call, {"eventId": event_id, "eventTypeName": event_type.name})
    return {}


def put_detector(app: App, call: Call, request: Request) -> Response:
    """Create or update a detector; without an event type it decides all variables of the account."""
    if not means_preview("PutDetector", request):
        with app.catalog.transaction():
            _adopt(app, call, request)
            return detectors.put_detector(app, call, request)
    detector_id = request["detectorId"]
    with change(app, call) as now_ms:
        known = app.catalog.get(call.tenant, Detector, detector_id)
        if known is None:
            event_type = ensure_implicit(app, call, detector_id, now_ms)
            detectors.put_detector(app, call, {**request, "eventTypeName": event_type})
        else:
            update(app, call, known, now_ms, description=request.get("description"))
    return {}


def _adopt(app: App, call: Call, request: Request) -> None:
    """Give a detector of the preview a real event type, if that has all variables of its rules.

    Raises ValidationException when it lacks one.
    """
    tenant, name = call.tenant, request["eventTypeName"]
    detector = app.catalog.get(tenant, Detector, request["detectorId"])
    if detector is None or detector.event_type == name:
        return
    old, new = (app.catalog.get(tenant, EventType, each) for each in (detector.event_type, name))
    if old is None or not old.implicit or new is None:
        return
    for rule in app.catalog.list(tenant, Rule, detector.detector_id):
        lacking = sorted(set(rule.variables) & set(old.event_variables) - set(new.event_variables))
        if lacking:
            raise invalid(f"Rule {rule.rule_id} uses {lacking[0]}, which event type {name} lacks.")
    with change(app, call) as now_ms:
        update(app, call, detector, now_ms, event_type=name)
        drop_implicit(app, call, old.name)


def put_model(app: App, call: Call, request: Request) -> Response:
    """Create or change a model: where its training data lie, its variables and its labels."""
    tenant, key = call.tenant, (request["modelType"], request["modelId"])
    kept = {name: request[name] for name in ("trainingDataSource", "modelVariables", "labelSchema")}
    with change(app, call) as now_ms:
        _check_model(app, tenant, request)
        known = app.catalog.get(tenant, Model, *key)
        if known is not None and known.preview is None:
            raise not_of_the_preview(f"Model {request['modelId']}")
        if known is not None:
            update(app, call, known, now_ms, preview=kept, description=request.get("description"))
            return {}
        new = Model(
            model_type=request["modelType"],
            model_id=request["modelId"],
            event_type="",
            incarnation=app.catalog.next_number(tenant, f"model-incarnation/{'/'.join(key)}"),
            preview=kept,
            description=request.get("description"),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, request)
        models.ensure_score_variable(app, call, request["modelId"], now_ms)
    return {}


def _check_model(app: App, tenant: Tenant, request: Request) -> None:
    """Raises ValidationException for variables or labels that a training could not use."""
    names = [each["name"] for each in request["modelVariables"]]
    if not names or len(set(names)) != len(names):
        raise invalid("modelVariables must name variables, each once.")
    for name in names:
        variable = app.catalog.get(tenant, Variable, name)
        if variable is None:
            raise invalid(missing(Variable, name[:100]))
        if variable.data_source != "EVENT":
            raise invalid(f"Variable {name} has data source {variable.data_source}; models take only EVENT.")
    model_versions.check_mapper(request["labelSchema"]["labelMapper"])


def create_model_version(app: App, call: Call, request: Request) -> Response:
    """Start the training of a new major version, for the preview with what PutModel was given."""
    model = require(app, call.tenant, Model, request["modelType"], request["modelId"])
    if not means_preview("CreateModelVersion", request):
        if model.preview is not None:
            raise invalid(f"Model {model.model_id} was made by PutModel and trains with what that was given.")
        return model_versions.create_model_version(app, call, request)
    if model.preview is not None:
        model_versions.check_size(app, model.preview["trainingDataSource"])
    with change(app, call) as now_ms:
        model = require(app, call.tenant, Model, *model.key)
        if model.preview is None:
            raise invalid("trainingDataSource and trainingDataSchema are missing; this model needs them.")
        new = model_versions.new_version(
            app, call, model, request, now_ms, **_training(app, call.tenant, model)
        )
    return model_versions.started(app, call, new)


def _training(app: App, tenant: Tenant, model: Model) -> dict[str, Any]:
    """Members of a model version that trains as PutModel said."""
    kept = model.preview
    assert kept is not None
    found = [app.catalog.get(tenant, Variable, each["name"]) for each in kept["modelVariables"]]
    inputs = [each.name for each in found if each is not None and each.variable_type not in _NOT_INPUTS]
    if not inputs:
        raise invalid(f"Model {model.model_id} has no variables to train on.")
    return {
        "training_source": "EXTERNAL_EVENTS",
        "schema": {
            "modelVariables": inputs,
            "labelSchema": {"labelMapper": kept["labelSchema"]["labelMapper"]},
        },
        "source_detail": kept["trainingDataSource"],
        "preview": kept,
    }


def update_model_version(app: App, call: Call, request: Request) -> Response:
    """Retrain a major version; for the preview: change a version's description, deploy or undeploy it."""
    if not means_preview("UpdateModelVersion", request):
        return model_versions.update_model_version(app, call, request)
    key = ModelKey(
        request["modelType"], request["modelId"], model_version_number(request["modelVersionNumber"])
    )
    known = app.catalog.get(call.tenant, ModelVersion, *key)
    if known is None:
        raise not_found(missing(ModelVersion, *key))
    wanted = request["status"]
    if wanted not in ("ACTIVE", "TRAINING_COMPLETE"):
        raise invalid(f"status {wanted} cannot be asked for; use ACTIVE or TRAINING_COMPLETE.")
    if wanted != known.status:
        todays = {"ACTIVE": "ACTIVE", "TRAINING_COMPLETE": "INACTIVE"}[wanted]
        model_versions.update_model_version_status(
            app,
            call,
            {
                "modelType": key.model_type,
                "modelId": key.model_id,
                "modelVersionNumber": key.version,
                "status": todays,
            },
        )
    with change(app, call) as now_ms:
        known = require(app, call.tenant, ModelVersion, *key)
        update(app, call, known, now_ms, description=request["description"])
    return {}


PREVIEW_OPERATIONS = [
    Operation("GetPrediction", get_prediction, inline=True),
    Operation("DeleteRuleVersion", delete_rule_version),
    Operation("DeleteEvent", delete_event),
    Operation("PutDetector", put_detector),
    Operation("PutModel", put_model),
    Operation("CreateModelVersion", create_model_version),
    Operation("UpdateModelVersion", update_model_version),
]
