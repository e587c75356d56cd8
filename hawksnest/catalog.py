"""Resources as frozen dataclasses, their keys and ARNs, and status transitions as tables.

Every resource belongs to a tenant (account and region) and has a key inside it: a tuple of strings. Times
are epoch milliseconds. Values are kept as the caller wrote them; `ops/` turns them into wire shapes.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple


class Tenant(NamedTuple):
    """Whose resources: part of every resource's identity; two tenants never see each other."""

    account: str
    region: str


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What all resources share. `kind` names the table of the store and, with dashes, the ARN type."""

    kind: ClassVar[str] = ""

    created_at_ms: int
    updated_at_ms: int
    description: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Identity inside the tenant."""
        return (self.name,)  # type: ignore[attr-defined]

    def arn(self, tenant: Tenant) -> str:
        """`arn:aws:frauddetector:<region>:<account>:<type>/<key…>`."""
        return f"arn:aws:frauddetector:{tenant.region}:{tenant.account}:{self.kind}/{'/'.join(self.key)}"


@dataclass(frozen=True, kw_only=True)
class Variable(Resource):
    kind: ClassVar[str] = "variable"
    name: str
    data_type: str  # STRING INTEGER FLOAT BOOLEAN DATETIME
    data_source: str  # EVENT MODEL_SCORE EXTERNAL_MODEL_SCORE
    default_value: str
    variable_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Label(Resource):
    kind: ClassVar[str] = "label"
    name: str


@dataclass(frozen=True, kw_only=True)
class EntityType(Resource):
    kind: ClassVar[str] = "entity-type"
    name: str


@dataclass(frozen=True, kw_only=True)
class Outcome(Resource):
    kind: ClassVar[str] = "outcome"
    name: str


@dataclass(frozen=True, kw_only=True)
class EventType(Resource):
    kind: ClassVar[str] = "event-type"
    name: str
    event_variables: tuple[str, ...]
    entity_types: tuple[str, ...]
    labels: tuple[str, ...] = ()
    event_ingestion: str = "DISABLED"  # or ENABLED
    event_bridge_enabled: bool = False
    implicit: bool = False  # of a detector of the preview API: has all EVENT variables of the account


@dataclass(frozen=True, kw_only=True)
class ValueList(Resource):
    """Metadata of an allow or deny list; its entries are `ListContent`."""

    kind: ClassVar[str] = "list"
    name: str
    variable_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class ListContent(Resource):
    """Entries of a list in insertion order, unique. `revision` grows with every change."""

    kind: ClassVar[str] = "list-content"
    name: str
    revision: int
    elements: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Detector(Resource):
    kind: ClassVar[str] = "detector"
    detector_id: str
    event_type: str
    incarnation: int = 1  # the how many-th detector of this id: its version numbers start anew

    @property
    def key(self) -> tuple[str, ...]:
        return (self.detector_id,)


@dataclass(frozen=True, kw_only=True)
class Rule(Resource):
    """One rule version; expression, language and outcomes never change."""

    kind: ClassVar[str] = "rule"
    detector_id: str
    rule_id: str
    rule_version: str
    expression: str
    outcomes: tuple[str, ...]
    variables: tuple[str, ...] = ()  # `$names` the expression uses
    lists: tuple[str, ...] = ()  # `@names` the expression uses
    incarnation: int = 1  # the how many-th rule of this id: its version numbers start anew

    @property
    def key(self) -> tuple[str, ...]:
        return (self.detector_id, self.rule_id, self.rule_version)


class RuleKey(NamedTuple):
    rule_id: str
    rule_version: str


class ModelKey(NamedTuple):
    model_type: str
    model_id: str
    version: str  # normalised: "1.0", "1.01"


@dataclass(frozen=True, kw_only=True)
class DetectorVersion(Resource):
    kind: ClassVar[str] = "detector-version"
    detector_id: str
    version: str
    status: str  # DRAFT ACTIVE INACTIVE
    rules: tuple[RuleKey, ...]
    models: tuple[ModelKey, ...] = ()
    external_models: tuple[str, ...] = ()
    execution_mode: str = "FIRST_MATCHED"  # or ALL_MATCHED

    @property
    def key(self) -> tuple[str, ...]:
        return (self.detector_id, self.version)


@dataclass(frozen=True, kw_only=True)
class Model(Resource):
    kind: ClassVar[str] = "model"
    model_type: str  # ONLINE_FRAUD_INSIGHTS TRANSACTION_FRAUD_INSIGHTS ACCOUNT_TAKEOVER_INSIGHTS
    model_id: str
    event_type: str  # "" for a model of the preview API, which had none
    incarnation: int = 1  # the how many-th model of this id: its version numbers start anew
    preview: dict[str, Any] | None = None  # what PutModel of the preview API was given

    @property
    def key(self) -> tuple[str, ...]:
        return (self.model_type, self.model_id)


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Resource):
    """One training and what came of it. `schema` and `source_detail` are echoed as submitted."""

    kind: ClassVar[str] = "model-version"
    model_type: str
    model_id: str
    version: str
    status: str
    training_source: str  # EXTERNAL_EVENTS INGESTED_EVENTS
    schema: dict[str, Any]
    source_detail: dict[str, Any]
    result: dict[str, Any] | None = None  # trainingResult and trainingResultV2, wire shapes
    artefact: str | None = None  # folder below DATA/models
    preview: dict[str, Any] | None = None  # of its model, where that was made by the preview API

    @property
    def key(self) -> tuple[str, ...]:
        return (self.model_type, self.model_id, self.version)


@dataclass(frozen=True, kw_only=True)
class ExternalModel(Resource):
    """An endpoint outside with its mappings, in wire shapes as submitted. The role is kept, never used."""

    kind: ClassVar[str] = "external-model"
    model_endpoint: str
    model_source: str  # SAGEMAKER
    role_arn: str
    status: str  # ASSOCIATED DISSOCIATED
    input_configuration: dict[str, Any]
    output_configuration: dict[str, Any]
    role_name: str | None = None  # only with the preview API

    @property
    def key(self) -> tuple[str, ...]:
        return (self.model_endpoint,)

    @property
    def outputs(self) -> dict[str, str]:
        """Variable by column index or JSON key."""
        configuration = self.output_configuration
        member = "csvIndexToVariableMap" if configuration["format"] == "TEXT_CSV" else "jsonKeyToVariableMap"
        found: dict[str, str] = configuration.get(member) or {}
        return found


@dataclass(frozen=True, kw_only=True)
class Job(Resource):
    """Work in the background. Counts are those of a finished job; a running one is asked for its own."""

    status: str  # AsyncJobStatus: IN_PROGRESS_INITIALIZING IN_PROGRESS CANCEL_IN_PROGRESS CANCELED …
    run: int  # tells this run from every other one of the tenant, whatever its id
    first_seq: int = 0  # what it writes into the journal comes after this sequence
    failure: str | None = None
    finished_at_ms: int | None = None

    @property
    def running(self) -> bool:
        """Is it still going to change?"""
        return "IN_PROGRESS" in self.status


@dataclass(frozen=True, kw_only=True)
class BatchJob(Job):
    """A job from one file to another. The role is kept, never used."""

    job_id: str
    input_path: str
    output_path: str
    event_type: str
    role_arn: str
    processed: int = 0
    failed: int = 0
    total: int | None = None  # None: the file was not read to its end

    @property
    def key(self) -> tuple[str, ...]:
        return (self.job_id,)


@dataclass(frozen=True, kw_only=True)
class BatchImport(BatchJob):
    kind: ClassVar[str] = "batch-import"


@dataclass(frozen=True, kw_only=True)
class BatchPrediction(BatchJob):
    kind: ClassVar[str] = "batch-prediction"
    detector_id: str
    detector_version: str


@dataclass(frozen=True, kw_only=True)
class EventDeletion(Job):
    """The newest deletion of all stored events of a type."""

    kind: ClassVar[str] = "event-deletion"
    event_type: str

    @property
    def key(self) -> tuple[str, ...]:
        return (self.event_type,)


@dataclass(frozen=True, kw_only=True)
class TagSet(Resource):
    """Tags of the resource with this ARN; dies with the resource."""

    kind: ClassVar[str] = "tags"
    resource_arn: str
    tags: dict[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        return (self.resource_arn,)


@dataclass(frozen=True, kw_only=True)
class AccessKey(Resource):
    """A key pair of an account; kept under the tenant ("", "") because the caller is not known yet."""

    kind: ClassVar[str] = "access-key"
    access_key_id: str
    secret: str
    account: str

    @property
    def key(self) -> tuple[str, ...]:
        return (self.access_key_id,)


@dataclass(frozen=True, kw_only=True)
class EncryptionKey(Resource):
    """What the tenant's new events are sealed with. There is one at most; without it, and with the data key
    0, they are not sealed."""

    kind: ClassVar[str] = "encryption-key"
    kms_key: str  # ARN, or DEFAULT
    data_key: int  # number of the `DataKey`

    @property
    def key(self) -> tuple[str, ...]:
        return ("current",)


@dataclass(frozen=True, kw_only=True)
class DataKey(Resource):
    """A key that seals events, as the tenant's own key has wrapped it. Kept for as long as the journal is."""

    kind: ClassVar[str] = "data-key"
    number: int
    kms_key: str  # ARN of the key that wraps it
    wrapped: str  # base64

    @property
    def key(self) -> tuple[str, ...]:
        return (str(self.number),)


RESOURCES: tuple[type[Resource], ...] = (
    Variable,
    Label,
    EntityType,
    Outcome,
    EventType,
    ValueList,
    ListContent,
    Detector,
    Rule,
    DetectorVersion,
    Model,
    ModelVersion,
    ExternalModel,
    BatchImport,
    BatchPrediction,
    EventDeletion,
    TagSet,
    AccessKey,
    EncryptionKey,
    DataKey,
)

DETECTOR_VERSION_TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {("DRAFT", "ACTIVE"), ("ACTIVE", "INACTIVE"), ("INACTIVE", "ACTIVE")}
)

MODEL_VERSION_REQUESTS: frozenset[tuple[str, str]] = frozenset(
    {
        ("TRAINING_IN_PROGRESS", "TRAINING_CANCELLED"),
        ("TRAINING_COMPLETE", "ACTIVE"),
        ("ACTIVE", "INACTIVE"),
    }
)
