"""Detectors and their versions: content, state machine, deletes."""

from dataclasses import dataclass

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import (
    DETECTOR_VERSION_TRANSITIONS,
    Detector,
    DetectorVersion,
    EventType,
    ExternalModel,
    Model,
    ModelKey,
    ModelVersion,
    Rule,
    RuleKey,
    Tenant,
    Variable,
)
from hawksnest.errors import conflict, invalid
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import Listing, described, missing, require
from hawksnest.ops.external_models import template_of
from hawksnest.ops.implicit import drop_implicit
from hawksnest.ops.limits import LISTS_PER_DETECTOR_VERSION, MODELS_PER_DETECTOR_VERSION, VERSION_NUMBER
from hawksnest.ops.paging import Pages
from hawksnest.ops.references import detector_user, detector_version_user, in_use, score_variable
from hawksnest.ops.versions import model_version_number


def put_detector(app: App, call: Call, request: Request) -> Response:
    """Create or update a detector; its event type is fixed once and for all."""
    detector_id, event_type, tenant = request["detectorId"], request["eventTypeName"], call.tenant
    with change(app, call) as now_ms:
        if app.catalog.get(tenant, EventType, event_type) is None:
            raise invalid(missing(EventType, event_type))
        known = app.catalog.get(tenant, Detector, detector_id)
        if known is None:
            new = Detector(
                detector_id=detector_id,
                event_type=event_type,
                incarnation=app.catalog.next_number(tenant, f"detector-incarnation/{detector_id}"),
                description=request.get("description"),
                created_at_ms=now_ms,
                updated_at_ms=now_ms,
            )
            create(app, call, new, request)
        elif known.event_type != event_type:
            raise invalid(
                f"Detector {detector_id} has event type {known.event_type}, which cannot be changed."
            )
        else:
            update(app, call, known, now_ms, description=request.get("description"))
    return {}


def _view(app: App, tenant: Tenant, detector: Detector) -> Response:
    return described(tenant, detector, detectorId=detector.detector_id, eventTypeName=detector.event_type)


_LISTING = Listing("GetDetectors", Detector, "detectorId", "detectors", 10, _view)


def get_detectors(app: App, call: Call, request: Request) -> Response:
    """One detector or all, by id."""
    return _LISTING.answer(app, call, request)


def delete_detector(app: App, call: Call, request: Request) -> Response:
    """Delete a detector that has neither versions nor rules."""
    with change(app, call):
        known = app.catalog.get(call.tenant, Detector, request["detectorId"])
        if known is not None:
            user = detector_user(app, call.tenant, known.detector_id)
            if user is not None:
                raise in_use(known, user)
            remove(app, call, known)
            drop_implicit(app, call, known.event_type)
    return {}


@dataclass(frozen=True)
class _Content:
    """What a detector version is made of; every reference exists."""

    rules: tuple[Rule, ...]
    models: tuple[ModelVersion, ...]
    externals: tuple[ExternalModel, ...]
    execution_mode: str

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(external.model_endpoint for external in self.externals)

    @property
    def rule_keys(self) -> tuple[RuleKey, ...]:
        return tuple(RuleKey(rule.rule_id, rule.rule_version) for rule in self.rules)

    @property
    def model_keys(self) -> tuple[ModelKey, ...]:
        return tuple(ModelKey(*model.key) for model in self.models)


def _content(app: App, tenant: Tenant, detector: Detector, request: Request) -> _Content:
    """The content that a request asks for. Raises ResourceNotFoundException or ValidationException."""
    rules = []
    for given in request["rules"]:
        if given["detectorId"] != detector.detector_id:
            raise invalid(
                f"Rule {given['ruleId']} belongs to detector {given['detectorId']}, not to "
                f"{detector.detector_id}."
            )
        rules.append(require(app, tenant, Rule, detector.detector_id, given["ruleId"], given["ruleVersion"]))
    models = [
        require(
            app,
            tenant,
            ModelVersion,
            given["modelType"],
            given["modelId"],
            model_version_number(given["modelVersionNumber"]),
        )
        for given in request.get("modelVersions", ())
    ]
    externals = [
        require(app, tenant, ExternalModel, endpoint)
        for endpoint in request.get("externalModelEndpoints", ())
    ]
    mode = request.get("ruleExecutionMode", "FIRST_MATCHED")
    content = _Content(tuple(rules), tuple(models), tuple(externals), mode)
    _check_rules(content)
    _check_models(app, tenant, detector, content.models)
    _check_externals(app, tenant, detector, content)
    _check_scores(app, tenant, content)
    return content


def _check_rules(content: _Content) -> None:
    if not content.rules:
        raise invalid("rules is empty; a detector version has at least one rule.")
    seen = set()
    for rule in content.rules:
        if rule.rule_id in seen:
            raise invalid(f"Rule {rule.rule_id} is named twice; a version takes each rule once.")
        seen.add(rule.rule_id)
    lists = {name for rule in content.rules for name in rule.lists}
    if len(lists) > LISTS_PER_DETECTOR_VERSION:
        raise invalid(f"The rules use {len(lists)} lists; at most {LISTS_PER_DETECTOR_VERSION} are accepted.")


def _check_models(app: App, tenant: Tenant, detector: Detector, models: tuple[ModelVersion, ...]) -> None:
    if len(models) > MODELS_PER_DETECTOR_VERSION:
        raise invalid(f"{len(models)} models given; at most {MODELS_PER_DETECTOR_VERSION} are accepted.")
    seen = set()
    for version in models:
        if version.model_id in seen:
            raise invalid(f"Model {version.model_id} is named twice; a version takes each model once.")
        seen.add(version.model_id)
        model = require(app, tenant, Model, version.model_type, version.model_id)
        if model.preview is not None:
            own = require(app, tenant, EventType, detector.event_type).event_variables
            lacking = [name for name in version.schema["modelVariables"] if name not in own]
            if lacking:
                raise invalid(
                    f"Model {model.model_id} needs {lacking[0]}, which {detector.event_type} lacks."
                )
        elif model.event_type != detector.event_type:
            raise invalid(
                f"Model {model.model_id} belongs to event type {model.event_type}, the detector to "
                f"{detector.event_type}."
            )
        _check_deployed(version)


def _check_deployed(version: ModelVersion) -> None:
    if version.status != "ACTIVE":
        raise invalid(
            f"Model version {version.model_id} {version.version} is {version.status}; deploy it (status "
            "ACTIVE) first."
        )


def _check_externals(app: App, tenant: Tenant, detector: Detector, content: _Content) -> None:
    """Raises ValidationException unless the event can fill every input, and each output has one source."""
    count = len(content.models) + len(content.externals)
    if count > MODELS_PER_DETECTOR_VERSION:
        raise invalid(f"{count} models given; at most {MODELS_PER_DETECTOR_VERSION} are accepted.")
    filled: dict[str, str] = {}
    for external in content.externals:
        endpoint = external.model_endpoint
        _check_associated(external)
        event_type = external.input_configuration.get("eventTypeName", detector.event_type)
        if event_type != detector.event_type:
            raise invalid(
                f"External model {endpoint} takes events of type {event_type}, the detector decides "
                f"{detector.event_type}."
            )
        template = template_of(external)
        own = require(app, tenant, EventType, detector.event_type).event_variables
        for name in template.names if template is not None else ():
            if name not in own:
                raise invalid(
                    f"The template of external model {endpoint} needs {name}, which {event_type} lacks."
                )
        for name in external.outputs.values():
            if name in filled:
                raise invalid(f"External models {filled[name]} and {endpoint} both fill variable {name}.")
            filled[name] = endpoint


def _check_associated(external: ExternalModel) -> None:
    if external.status != "ASSOCIATED":
        raise invalid(f"External model {external.model_endpoint} is {external.status}; associate it first.")


def _check_scores(app: App, tenant: Tenant, content: _Content) -> None:
    """A rule may name a score only where something in the version produces it."""
    produced = {score_variable(version.model_id) for version in content.models}
    produced |= {name for external in content.externals for name in external.outputs.values()}
    for rule in content.rules:
        for name in rule.variables:
            variable = app.catalog.get(tenant, Variable, name)
            if variable is not None and variable.data_source != "EVENT" and name not in produced:
                raise invalid(
                    f"Rule {rule.rule_id} uses ${name}, but no model of this detector version produces it."
                )


def create_detector_version(app: App, call: Call, request: Request) -> Response:
    """Make a DRAFT of rules and models."""
    detector_id, tenant = request["detectorId"], call.tenant
    with change(app, call) as now_ms:
        detector = require(app, tenant, Detector, detector_id)
        content = _content(app, tenant, detector, request)
        _check_drafts(app, tenant, detector_id)
        counter = f"detector-version/{detector_id}/{detector.incarnation}"
        number = app.catalog.next_number(tenant, counter)
        if number > VERSION_NUMBER:
            raise invalid(f"Detector {detector_id} has used all its {VERSION_NUMBER} versions.")
        new = DetectorVersion(
            detector_id=detector_id,
            version=str(number),
            status="DRAFT",
            rules=content.rule_keys,
            models=content.model_keys,
            external_models=content.endpoints,
            execution_mode=content.execution_mode,
            description=request.get("description"),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, request, limit=None)
    return {"detectorId": detector_id, "detectorVersionId": new.version, "status": new.status}


def _check_drafts(app: App, tenant: Tenant, detector_id: str) -> None:
    limit = app.quotas.table.drafts_per_detector
    if limit is not None:
        versions = app.catalog.list(tenant, DetectorVersion, detector_id)
        if sum(version.status == "DRAFT" for version in versions) >= limit:
            raise invalid(f"Detector {detector_id} has {limit} DRAFT versions; no more are accepted.")


def get_detector_version(app: App, call: Call, request: Request) -> Response:
    """The content and status of one version."""
    version = _version(app, call, request)
    return described(
        call.tenant,
        version,
        detectorId=version.detector_id,
        detectorVersionId=version.version,
        status=version.status,
        rules=[
            {"detectorId": version.detector_id, "ruleId": key.rule_id, "ruleVersion": key.rule_version}
            for key in version.rules
        ],
        modelVersions=[
            {"modelId": key.model_id, "modelType": key.model_type, "modelVersionNumber": key.version}
            for key in version.models
        ],
        externalModelEndpoints=list(version.external_models),
        ruleExecutionMode=version.execution_mode,
    )


def _version(app: App, call: Call, request: Request) -> DetectorVersion:
    """Raises ResourceNotFoundException."""
    detector = require(app, call.tenant, Detector, request["detectorId"])
    return require(app, call.tenant, DetectorVersion, detector.detector_id, request["detectorVersionId"])


_PAGES = Pages("DescribeDetector", 1000)


def describe_detector(app: App, call: Call, request: Request) -> Response:
    """All versions of a detector, by number."""
    detector = require(app, call.tenant, Detector, request["detectorId"])
    versions = sorted(app.catalog.list(call.tenant, DetectorVersion, detector.detector_id), key=_mark)
    shown, more = _PAGES.page(app, call, request, versions, _mark)
    summaries = []
    for version in shown:
        summary = described(call.tenant, version, detectorVersionId=version.version, status=version.status)
        del summary["createdTime"], summary["arn"]
        summaries.append(summary)
    return {
        "detectorId": detector.detector_id,
        "detectorVersionSummaries": summaries,
        "arn": detector.arn(call.tenant),
        **more,
    }


def _mark(version: DetectorVersion) -> tuple[int]:
    return (int(version.version),)


def update_detector_version(app: App, call: Call, request: Request) -> Response:
    """Replace the content of a DRAFT; an omitted description stays."""
    with change(app, call) as now_ms:
        known = _version(app, call, request)
        detector = require(app, call.tenant, Detector, known.detector_id)
        content = _content(app, call.tenant, detector, request)
        if known.status != "DRAFT":
            raise invalid(
                f"Version {known.version} of detector {known.detector_id} is {known.status}; only a DRAFT "
                "can be changed."
            )
        update(
            app,
            call,
            known,
            now_ms,
            rules=content.rule_keys,
            models=content.model_keys,
            external_models=content.endpoints,
            execution_mode=content.execution_mode,
            description=request.get("description", known.description),
        )
    return {}


def update_detector_version_metadata(app: App, call: Call, request: Request) -> Response:
    """Change the description of a version in any status."""
    detector_id, version = request["detectorId"], request["detectorVersionId"]
    with change(app, call) as now_ms:
        known = app.catalog.get(call.tenant, DetectorVersion, detector_id, version)
        if known is None:
            raise invalid(missing(DetectorVersion, detector_id, version))
        update(app, call, known, now_ms, description=request["description"])
    return {}


def update_detector_version_status(app: App, call: Call, request: Request) -> Response:
    """Publish or retire a version; publishing one retires the ACTIVE one in the same step."""
    status = request["status"]
    with change(app, call) as now_ms:
        known = _version(app, call, request)
        if status == "DRAFT":
            raise invalid("status DRAFT cannot be asked for; use ACTIVE or INACTIVE.")
        if known.status == status:
            return {}
        if (known.status, status) not in DETECTOR_VERSION_TRANSITIONS:
            raise invalid(
                f"Version {known.version} of detector {known.detector_id} is {known.status} and cannot "
                f"become {status}."
            )
        if status == "ACTIVE":
            _check_usable(app, call.tenant, known)
            for other in app.catalog.list(call.tenant, DetectorVersion, known.detector_id):
                if other.status == "ACTIVE":
                    update(app, call, other, now_ms, status="INACTIVE")
        update(app, call, known, now_ms, status=status)
    return {}


def _check_usable(app: App, tenant: Tenant, version: DetectorVersion) -> None:
    """Raises ValidationException when a rule or model of the version went or is not deployed any more."""
    for rule in version.rules:
        if app.catalog.get(tenant, Rule, version.detector_id, *rule) is None:
            raise invalid(f"Rule {rule.rule_id} version {rule.rule_version} was deleted.")
    for key in version.models:
        model_version = app.catalog.get(tenant, ModelVersion, *key)
        if model_version is None:
            raise invalid(missing(ModelVersion, *key))
        _check_deployed(model_version)
    for endpoint in version.external_models:
        external = app.catalog.get(tenant, ExternalModel, endpoint)
        if external is None:
            raise invalid(missing(ExternalModel, endpoint))
        _check_associated(external)


def delete_detector_version(app: App, call: Call, request: Request) -> Response:
    """Delete a DRAFT or INACTIVE version; past predictions stay."""
    with change(app, call):
        known = _version(app, call, request)
        if known.status == "ACTIVE":
            raise conflict(
                f"Cannot delete version {known.version} of detector {known.detector_id}: it is ACTIVE."
            )
        user = detector_version_user(app, call.tenant, known)
        if user is not None:
            raise in_use(known, user)
        remove(app, call, known)
    return {}


DETECTOR_OPERATIONS = [
    Operation("PutDetector", put_detector),
    Operation("GetDetectors", get_detectors),
    Operation("DeleteDetector", delete_detector),
    Operation("CreateDetectorVersion", create_detector_version),
    Operation("GetDetectorVersion", get_detector_version),
    Operation("DescribeDetector", describe_detector),
    Operation("UpdateDetectorVersion", update_detector_version),
    Operation("UpdateDetectorVersionMetadata", update_detector_version_metadata),
    Operation("UpdateDetectorVersionStatus", update_detector_version_status),
    Operation("DeleteDetectorVersion", delete_detector_version),
]
