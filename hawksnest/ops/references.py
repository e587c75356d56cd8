"""Who uses what: the deletion matrix. Each function names the first user of a resource, or gives None.

Those named `stored_…` ask the ledger, which may have to write first: call them before the transaction.
"""

from hawksnest.app import App
from hawksnest.catalog import (
    BatchImport,
    BatchJob,
    BatchPrediction,
    Detector,
    DetectorVersion,
    EventDeletion,
    EventType,
    ExternalModel,
    Model,
    ModelKey,
    ModelVersion,
    Resource,
    Rule,
    RuleKey,
    Tenant,
    Variable,
)
from hawksnest.errors import ServiceError, conflict
from hawksnest.ops.describe import noun

SCORE_SUFFIX = "_insightscore"


def score_variable(model_id: str) -> str:
    """Name of the variable that carries a model's score; one for all versions and types of the id."""
    return model_id + SCORE_SUFFIX


def in_use(resource: Resource, user: str) -> ServiceError:
    """ConflictException: the resource cannot go because of its user."""
    kind = noun(type(resource)).lower()
    return conflict(f"Cannot delete {kind} {' '.join(resource.key)}: it is used by {user}.")


def variable_user(app: App, tenant: Tenant, variable: Variable) -> str | None:
    """An event type, the model whose score it carries, or a rule."""
    for event_type in app.catalog.list(tenant, EventType):
        if variable.name in event_type.event_variables and not event_type.implicit:
            return f"event type {event_type.name}"
    if variable.data_source == "MODEL_SCORE":
        for model in app.catalog.list(tenant, Model):
            if score_variable(model.model_id) == variable.name:
                return f"model {model.model_id}, whose score it carries"
    if variable.data_source == "EXTERNAL_MODEL_SCORE":
        for external in app.catalog.list(tenant, ExternalModel):
            if variable.name in external.outputs.values():
                return f"external model {external.model_endpoint}, whose output it carries"
    return _named_by_rule(app, tenant, variable.name)


def external_model_user(app: App, tenant: Tenant, endpoint: str) -> str | None:
    """A detector version in any state."""
    for version in app.catalog.list(tenant, DetectorVersion):
        if endpoint in version.external_models:
            return _version(version)
    return None


def output_user(app: App, tenant: Tenant, variable: str) -> str | None:
    """A rule that names the variable, which would go with its external model."""
    return _named_by_rule(app, tenant, variable)


def score_user(app: App, tenant: Tenant, model: Model) -> str | None:
    """A rule that would lose the score variable if the model went."""
    if shares_score(app, tenant, model):
        return None
    return _named_by_rule(app, tenant, score_variable(model.model_id))


def shares_score(app: App, tenant: Tenant, model: Model) -> bool:
    """Does a model of another type have the same id, and so the same score variable?"""
    return any(
        other.model_id == model.model_id and other.key != model.key
        for other in app.catalog.list(tenant, Model)
    )


def label_user(app: App, tenant: Tenant, name: str) -> str | None:
    """An event type."""
    for event_type in app.catalog.list(tenant, EventType):
        if name in event_type.labels:
            return f"event type {event_type.name}"
    return None


def stored_label_user(app: App, tenant: Tenant, name: str) -> str | None:
    """A stored event that carries the label."""
    return "a stored event" if app.ledger.label_in_use(tenant, name) else None


def entity_type_user(app: App, tenant: Tenant, name: str) -> str | None:
    """An event type."""
    for event_type in app.catalog.list(tenant, EventType):
        if name in event_type.entity_types:
            return f"event type {event_type.name}"
    return None


def outcome_user(app: App, tenant: Tenant, name: str) -> str | None:
    """A rule version."""
    return next((_rule(rule) for rule in app.catalog.list(tenant, Rule) if name in rule.outcomes), None)


def list_user(app: App, tenant: Tenant, name: str) -> str | None:
    """A rule version."""
    return next((_rule(rule) for rule in app.catalog.list(tenant, Rule) if name in rule.lists), None)


def event_type_user(app: App, tenant: Tenant, name: str) -> str | None:
    """A detector, a model or a job."""
    for detector in app.catalog.list(tenant, Detector):
        if detector.event_type == name:
            return f"detector {detector.detector_id}"
    for model in app.catalog.list(tenant, Model):
        if model.event_type == name:
            return f"model {model.model_id}"
    return _job_of_event_type(app, tenant, name)


def _job_of_event_type(app: App, tenant: Tenant, name: str) -> str | None:
    """A job that has not ended: an import, a prediction, or the deletion of all events."""
    deletion = app.catalog.get(tenant, EventDeletion, name)
    if deletion is not None and deletion.running:
        return "the deletion of its events, which has not ended"
    for kind in (BatchImport, BatchPrediction):
        for job in app.catalog.list(tenant, kind):
            if job.running and job.event_type == name:
                return _job(job)
    return None


def detector_version_user(app: App, tenant: Tenant, version: DetectorVersion) -> str | None:
    """A batch prediction job that has not ended."""
    for job in app.catalog.list(tenant, BatchPrediction):
        if job.running and (job.detector_id, job.detector_version) == version.key:
            return _job(job)
    return None


def stored_event_type_user(app: App, tenant: Tenant, name: str) -> str | None:
    """Stored events of the type."""
    count = app.ledger.statistics(tenant, name).count
    return f"{count} stored event{'s' if count > 1 else ''}" if count else None


def rule_user(app: App, tenant: Tenant, rule: Rule) -> str | None:
    """An ACTIVE or INACTIVE detector version; a DRAFT does not protect its rules."""
    wanted = RuleKey(rule.rule_id, rule.rule_version)
    for version in app.catalog.list(tenant, DetectorVersion, rule.detector_id):
        if version.status != "DRAFT" and wanted in version.rules:
            return _version(version)
    return None


def detector_user(app: App, tenant: Tenant, detector_id: str) -> str | None:
    """A version or a rule of the detector."""
    for version in app.catalog.list(tenant, DetectorVersion, detector_id):
        return _version(version)
    for rule in app.catalog.list(tenant, Rule, detector_id):
        return _rule(rule)
    return None


def model_version_user(app: App, tenant: Tenant, key: ModelKey) -> str | None:
    """A detector version in any state."""
    for version in app.catalog.list(tenant, DetectorVersion):
        if key in version.models:
            return _version(version)
    return None


def model_user(app: App, tenant: Tenant, model: Model) -> str | None:
    """A version of the model; detector versions use models through these."""
    for version in app.catalog.list(tenant, ModelVersion, *model.key):
        return f"model version {version.version}"
    return None


def _named_by_rule(app: App, tenant: Tenant, variable: str) -> str | None:
    return next((_rule(rule) for rule in app.catalog.list(tenant, Rule) if variable in rule.variables), None)


def _job(job: BatchJob) -> str:
    return f"{noun(type(job)).lower()} job {job.job_id}, which is {job.status}"


def _rule(rule: Rule) -> str:
    return f"rule {rule.rule_id} version {rule.rule_version} of detector {rule.detector_id}"


def _version(version: DetectorVersion) -> str:
    return f"version {version.version} of detector {version.detector_id} ({version.status})"
