"""Model versions: trainings, deployment, results, deletes."""

import shutil
from collections.abc import Iterable
from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.buckets import Buckets
from hawksnest.catalog import (
    MODEL_VERSION_REQUESTS,
    EventType,
    Model,
    ModelKey,
    ModelVersion,
    Tenant,
    Variable,
)
from hawksnest.errors import ServiceError, Transient, conflict, invalid, not_found, unavailable
from hawksnest.kernel.events import parse_timestamp
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import described, require
from hawksnest.ops.limits import (
    DEPLOYED_MODELS,
    MODEL_VARIABLES_MAX,
    MODEL_VARIABLES_MIN,
    TRAININGS_PER_TENANT,
)
from hawksnest.ops.models import the_model
from hawksnest.ops.paging import Pages
from hawksnest.ops.preview_members import metric_maps, version_members
from hawksnest.ops.references import in_use, model_version_user
from hawksnest.ops.versions import major_version, minor_version, model_version_number, model_version_parts

TRAINING = "TRAINING_IN_PROGRESS"
DEPLOYING = ("ACTIVATE_REQUESTED", "ACTIVATE_IN_PROGRESS")
_DEPLOYED = ("ACTIVE", *DEPLOYING)
_DELETABLE = ("TRAINING_COMPLETE", "ERROR", "TRAINING_CANCELLED", "INACTIVE")
_DETAILS = {"EXTERNAL_EVENTS": "externalEventsDetail", "INGESTED_EVENTS": "ingestedEventsDetail"}


def create_model_version(app: App, call: Call, request: Request) -> Response:
    """Start the training of a new major version."""
    source = request["trainingDataSource"]
    check_size(app, request.get("externalEventsDetail"))
    with change(app, call) as now_ms:
        model = the_model(app, call, request)
        if model.model_type == "ACCOUNT_TAKEOVER_INSIGHTS":
            raise unavailable("CreateModelVersion of an ACCOUNT_TAKEOVER_INSIGHTS model")
        _check_variables(app, call.tenant, model, request["trainingDataSchema"]["modelVariables"])
        if source != "INGESTED_EVENTS" and model.model_type != "ONLINE_FRAUD_INSIGHTS":
            raise invalid(f"A model of type {model.model_type} trains only from INGESTED_EVENTS.")
        detail = _source_detail(source, request)
        _check_labels(app, call.tenant, model, request["trainingDataSchema"].get("labelSchema"))
        schema = request["trainingDataSchema"]
        new = new_version(
            app, call, model, request, now_ms, training_source=source, schema=schema, source_detail=detail
        )
    return started(app, call, new)


def new_version(
    app: App, call: Call, model: Model, request: Request, now_ms: int, **members: Any
) -> ModelVersion:
    """Store the next major version of a model, in training; inside a change. Raises ValidationException."""
    versions = app.catalog.list(call.tenant, ModelVersion, *model.key)
    _check_idle(app, call.tenant, versions)
    _check_versions(app, call.tenant, model)
    major = app.catalog.next_number(call.tenant, f"model-version/{'/'.join(model.key)}/{model.incarnation}")
    new = ModelVersion(
        model_type=model.model_type,
        model_id=model.model_id,
        version=major_version(major),
        status=TRAINING,
        description=request.get("description"),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        **members,
    )
    create(app, call, new, request, limit=None)
    return new


def started(app: App, call: Call, version: ModelVersion) -> Response:
    """Start the training of a stored version; the operation's answer."""
    app.trainings.start(call.tenant, ModelKey(*version.key))
    return {
        "modelId": version.model_id,
        "modelType": version.model_type,
        "modelVersionNumber": version.version,
        "status": version.status,
    }


def _check_variables(app: App, tenant: Tenant, model: Model, names: list[str]) -> None:
    """Raises ResourceNotFoundException or ValidationException for variables that cannot be trained on."""
    found = {name: app.catalog.get(tenant, Variable, name) for name in names}
    unknown = [name for name, variable in found.items() if variable is None]
    if unknown:
        raise not_found(f"VariableIds: [{', '.join(name[:100] for name in unknown)}] do not exist.")
    event_type = require(app, tenant, EventType, model.event_type)
    for name, variable in found.items():
        if name not in event_type.event_variables:
            raise invalid(f"Variable {name} does not belong to event type {event_type.name}.")
        if variable is not None and variable.variable_type is None:
            raise invalid(f"Variable {name} has no variable type; only typed variables can be trained on.")
    if len(found) != len(names):
        raise invalid("modelVariables names a variable twice.")
    if not MODEL_VARIABLES_MIN <= len(names) <= MODEL_VARIABLES_MAX:
        raise invalid(
            f"modelVariables holds {len(names)} variables; a model takes {MODEL_VARIABLES_MIN} to "
            f"{MODEL_VARIABLES_MAX}."
        )


def check_size(app: App, detail: dict[str, str] | None) -> None:
    """Raises ValidationException for training data beyond the quota; what cannot be read fails it later."""
    limit = app.quotas.table.training_bytes
    if limit is None or detail is None:
        return
    settings = app.settings
    buckets = Buckets(settings.data / "buckets", settings.s3_endpoint, settings.region)
    try:
        size = buckets.size(detail["dataLocation"])
    except (ServiceError, Transient):
        return
    if size > limit:
        raise invalid(f"The training data have {size} bytes; at most {limit} are accepted.")


def _source_detail(source: str, request: Request) -> dict[str, Any]:
    """The detail of the training's source. Raises ValidationException when it does not fit."""
    wanted = _DETAILS[source]
    for other in _DETAILS.values():
        if other != wanted and other in request:
            raise invalid(f"{other} does not belong to training data source {source}.")
    if wanted not in request:
        raise invalid(f"{wanted} is missing; training data source {source} needs it.")
    detail: dict[str, Any] = request[wanted]
    if source == "INGESTED_EVENTS":
        window = detail["ingestedEventsTimeWindow"]
        if _window_end(window, "startTime") >= _window_end(window, "endTime"):
            raise invalid(
                f"startTime {window['startTime']} of the time window is not before its endTime "
                f"{window['endTime']}."
            )
    return detail


def _window_end(window: dict[str, str], member: str) -> int:
    try:
        return parse_timestamp(window[member])
    except ValueError:
        raise invalid(
            f"{member} '{window[member]}' is not a timestamp; use ISO 8601 in UTC like 2019-11-30T13:01:01Z."
        ) from None


def _check_labels(app: App, tenant: Tenant, model: Model, schema: dict[str, Any] | None) -> None:
    """FRAUD and LEGIT, each with labels of the event type, none under both. Raises ValidationException."""
    mapper: dict[str, list[str]] = (schema or {}).get("labelMapper", {})
    check_mapper(mapper)
    event_type = require(app, tenant, EventType, model.event_type)
    for label in (*mapper["FRAUD"], *mapper["LEGIT"]):
        if label not in event_type.labels:
            raise invalid(f"Label {label[:64]} does not belong to event type {event_type.name}.")


def check_mapper(mapper: dict[str, list[str]]) -> None:
    """FRAUD and LEGIT, each with labels, none under both. Raises ValidationException."""
    for side in ("FRAUD", "LEGIT"):
        if not mapper.get(side):
            raise invalid(
                f"labelSchema.labelMapper has no labels for {side}; FRAUD and LEGIT both need some."
            )
    for side in mapper:
        if side not in ("FRAUD", "LEGIT"):
            raise invalid(
                f"labelSchema.labelMapper has the key '{side[:64]}'; only FRAUD and LEGIT are known."
            )
    both = sorted(set(mapper["FRAUD"]) & set(mapper["LEGIT"]))
    if both:
        raise invalid(f"Label {both[0][:64]} is mapped to both FRAUD and LEGIT.")


def _check_idle(app: App, tenant: Tenant, versions: Iterable[ModelVersion]) -> None:
    """Raises ValidationException while one of the versions, or too many of the tenant, are in training."""
    if any(version.status == TRAINING for version in versions):
        raise invalid("Simultaneous training for the same major version not allowed")
    running = sum(version.status == TRAINING for version in app.catalog.list(tenant, ModelVersion))
    if running >= TRAININGS_PER_TENANT:
        raise invalid(f"{running} trainings are in progress; at most {TRAININGS_PER_TENANT} run at once.")


def update_model_version(app: App, call: Call, request: Request) -> Response:
    """Start the training of a new minor version: same schema, other data."""
    major, tenant = int(request["majorVersionNumber"]), call.tenant
    check_size(app, request.get("externalEventsDetail"))
    with change(app, call) as now_ms:
        model = the_model(app, call, request)
        family = [
            version
            for version in app.catalog.list(tenant, ModelVersion, *model.key)
            if model_version_parts(version.version)[0] == major
        ]
        if not family:
            raise not_found(f"Model {model.model_id} has no major version {major}.")
        base = max(family, key=lambda version: model_version_parts(version.version))
        detail = _source_detail(base.training_source, request)
        _check_idle(app, tenant, family)
        _check_versions(app, tenant, model)
        counter = f"model-version/{'/'.join(model.key)}/{model.incarnation}/{major}"
        new = ModelVersion(
            model_type=model.model_type,
            model_id=model.model_id,
            version=minor_version(major, app.catalog.next_number(tenant, counter)),
            status=TRAINING,
            training_source=base.training_source,
            schema=base.schema,
            source_detail=detail,
            preview=base.preview,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, request, limit=None)
    return started(app, call, new)


def _key(request: Request) -> ModelKey:
    return ModelKey(
        request["modelType"], request["modelId"], model_version_number(request["modelVersionNumber"])
    )


def _version_members(version: ModelVersion) -> dict[str, Any]:
    return {
        "modelId": version.model_id,
        "modelType": version.model_type,
        "modelVersionNumber": version.version,
        "status": version.status,
        "trainingDataSource": version.training_source,
        "trainingDataSchema": version.schema,
        _DETAILS[version.training_source]: version.source_detail,
    }


def get_model_version(app: App, call: Call, request: Request) -> Response:
    """Configuration and status of one version, without its results."""
    version = require(app, call.tenant, ModelVersion, *_key(request))
    shown = {**_version_members(version), "arn": version.arn(call.tenant)}
    if version.preview is not None and version.description is not None:
        shown["description"] = version.description
    return shown


_VERSION_PAGES = Pages("DescribeModelVersions", 10)


def describe_model_versions(app: App, call: Call, request: Request) -> Response:
    """Versions with their training results: all, of a type, of a model, or one."""
    model_type, model_id = request.get("modelType"), request.get("modelId")
    if model_id is not None and model_type is None:
        raise invalid("modelId needs a modelType.")
    if "modelVersionNumber" in request and model_id is None:
        raise invalid("modelVersionNumber needs a modelId.")
    if "modelVersionNumber" in request:
        versions = [require(app, call.tenant, ModelVersion, *_key(request))]
    else:
        if model_id is not None:
            the_model(app, call, request)
        prefix = [part for part in (model_type, model_id) if part is not None]
        versions = sorted(app.catalog.list(call.tenant, ModelVersion, *prefix), key=_mark)
    shown, more = _VERSION_PAGES.page(app, call, request, versions, _mark)
    details = [
        described(
            call.tenant,
            version,
            **(_version_members(version) | version_members(version)),
            **(version.result or {}),
            **metric_maps(version),
        )
        for version in shown
    ]
    return {"modelVersionDetails": details, **more}


def _mark(version: ModelVersion) -> tuple[str, str, int, int]:
    return version.model_type, version.model_id, *model_version_parts(version.version)


def update_model_version_status(app: App, call: Call, request: Request) -> Response:
    """Cancel a training, deploy a trained version, or take a deployed one back."""
    key, status = _key(request), request["status"]
    if status == "ACTIVE":
        _deploy(app, call, key)
    elif status == "INACTIVE":
        _undeploy(app, call, key)
    else:
        with change(app, call) as now_ms:
            known = require(app, call.tenant, ModelVersion, *key)
            _check_request(known, status)
            update(app, call, known, now_ms, status=status)
        app.trainings.cancel(call.tenant, key)
    return {}


def _check_request(version: ModelVersion, status: str) -> None:
    """Raises ValidationException for a transition that cannot be asked for."""
    if (version.status, status) not in MODEL_VERSION_REQUESTS:
        raise invalid(
            f"Model version {version.model_id} {version.version} is {version.status} and cannot become "
            f"{status}."
        )


def _deploy(app: App, call: Call, key: ModelKey) -> None:
    """Load the artefact, then let predictions use it; asked again while under way or done: no harm."""
    with change(app, call) as now_ms:
        known = require(app, call.tenant, ModelVersion, *key)
        if known.status == "ACTIVE":
            return
        if known.status not in DEPLOYING:
            _check_request(known, "ACTIVE")
            _check_room(app, call.tenant)
            known = update(app, call, known, now_ms, status="ACTIVATE_REQUESTED")
        update(app, call, known, now_ms, status="ACTIVATE_IN_PROGRESS")
    finish_deployment(app, call, key)


def _check_room(app: App, tenant: Tenant) -> None:
    deployed = sum(version.status in _DEPLOYED for version in app.catalog.list(tenant, ModelVersion))
    quota = app.quotas.table.deployed_models
    limit = DEPLOYED_MODELS if quota is None else quota
    if deployed >= limit:
        raise invalid(f"{deployed} model versions are deployed; at most {limit} are accepted.")


def _check_versions(app: App, tenant: Tenant, model: Model) -> None:
    limit = app.quotas.table.versions_per_model
    if limit is not None and len(app.catalog.list(tenant, ModelVersion, *model.key)) >= limit:
        raise invalid(f"Model {model.model_id} has {limit} versions; no more are accepted.")


def finish_deployment(app: App, call: Call, key: ModelKey) -> None:
    """Carry a version from ACTIVATE_IN_PROGRESS to ACTIVE.

    When its artefact cannot be loaded it is TRAINING_COMPLETE again, and the fault goes on to the caller.
    """
    status = "TRAINING_COMPLETE"
    try:
        app.snapshots.load_model(call.tenant, key)
        status = "ACTIVE"
    finally:
        with change(app, call) as now_ms:
            known = app.catalog.get(call.tenant, ModelVersion, *key)
            if known is not None and known.status in DEPLOYING:
                update(app, call, known, now_ms, status=status)


def resume_deployments(app: App) -> list[ModelKey]:
    """At server start: finish what was being deployed when the last server ended; returns what failed."""
    failed = []
    for folder in sorted((app.settings.data / "models").glob("*/*")):  # whoever has artefacts
        tenant = Tenant(folder.parent.name, folder.name)
        for version in app.catalog.list(tenant, ModelVersion):
            if version.status in DEPLOYING:
                key = ModelKey(*version.key)
                try:
                    finish_deployment(app, Call(tenant), key)
                except (ServiceError, ValueError, OSError):
                    failed.append(key)
    return failed


def _undeploy(app: App, call: Call, key: ModelKey) -> None:
    """Ends in TRAINING_COMPLETE, ready to be deployed again."""
    with change(app, call) as now_ms:
        known = require(app, call.tenant, ModelVersion, *key)
        _check_request(known, "INACTIVE")
        user = model_version_user(app, call.tenant, key)
        if user is not None:
            raise conflict(
                f"Cannot undeploy model version {known.model_id} {known.version}: it is used by {user}."
            )
        update(app, call, known, now_ms, status="TRAINING_COMPLETE")


def delete_model_version(app: App, call: Call, request: Request) -> Response:
    """Delete a version that is neither deployed nor in training nor part of a detector version."""
    key = _key(request)
    with change(app, call):
        known = app.catalog.get(call.tenant, ModelVersion, *key)
        if known is None:
            return {}
        user = model_version_user(app, call.tenant, key)
        if user is not None:
            raise in_use(known, user)
        if known.status not in _DELETABLE:
            raise conflict(
                f"Cannot delete model version {known.model_id} {known.version}: it is {known.status}."
            )
        remove(app, call, known)
    if known.artefact is not None:
        shutil.rmtree(app.settings.data / "models" / known.artefact, ignore_errors=True)
    return {}


MODEL_VERSION_OPERATIONS = [
    Operation("CreateModelVersion", create_model_version),
    Operation("UpdateModelVersion", update_model_version),
    Operation("GetModelVersion", get_model_version),
    Operation("DescribeModelVersions", describe_model_versions),
    Operation("UpdateModelVersionStatus", update_model_version_status),
    Operation("DeleteModelVersion", delete_model_version),
]
