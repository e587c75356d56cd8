"""All operations of the API by name; a test holds it equal to botocore's service model."""

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.errors import unavailable
from hawksnest.ops.detectors import DETECTOR_OPERATIONS
from hawksnest.ops.encryption_key import ENCRYPTION_KEY_OPERATIONS
from hawksnest.ops.event_types import EVENT_TYPE_OPERATIONS
from hawksnest.ops.events import EVENT_OPERATIONS
from hawksnest.ops.external_models import EXTERNAL_MODEL_OPERATIONS
from hawksnest.ops.labels_and_types import LABEL_AND_TYPE_OPERATIONS
from hawksnest.ops.lists import LIST_OPERATIONS
from hawksnest.ops.model_versions import MODEL_VERSION_OPERATIONS
from hawksnest.ops.models import MODEL_OPERATIONS
from hawksnest.ops.predictions import PREDICTION_OPERATIONS
from hawksnest.ops.rules import RULE_OPERATIONS
from hawksnest.ops.tags import TAG_OPERATIONS
from hawksnest.ops.variables import VARIABLE_OPERATIONS


def _missing(name: str) -> Operation:
    def function(app: App, call: Call, request: Request) -> Response:
        raise unavailable(name)

    return Operation(name, function, missing=True)


MISSING_OPERATIONS = [
    _missing(name)
    for name in (
        "CreateBatchImportJob",
        "GetBatchImportJobs",
        "CancelBatchImportJob",
        "DeleteBatchImportJob",
        "CreateBatchPredictionJob",
        "GetBatchPredictionJobs",
        "CancelBatchPredictionJob",
        "DeleteBatchPredictionJob",
        "DeleteEventsByEventType",
        "GetDeleteEventsByEventTypeStatus",
    )
]

# Name in the documentation → its operations
FAMILIES: dict[str, list[Operation]] = {
    "Predictions": PREDICTION_OPERATIONS,
    "Events": EVENT_OPERATIONS,
    "Event types": EVENT_TYPE_OPERATIONS,
    "Variables": VARIABLE_OPERATIONS,
    "Labels, entity types, outcomes": LABEL_AND_TYPE_OPERATIONS,
    "Lists": LIST_OPERATIONS,
    "Rules": RULE_OPERATIONS,
    "Detectors": DETECTOR_OPERATIONS,
    "Models": MODEL_OPERATIONS + MODEL_VERSION_OPERATIONS,
    "External models": EXTERNAL_MODEL_OPERATIONS,
    "Encryption key": ENCRYPTION_KEY_OPERATIONS,
    "Tags": TAG_OPERATIONS,
    "Not yet": MISSING_OPERATIONS,
}

OPERATIONS: dict[str, Operation] = {
    operation.name: operation for family in FAMILIES.values() for operation in family
}
