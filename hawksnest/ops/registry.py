"""All operations of the API by name; a test holds it equal to botocore's service model."""

from dataclasses import replace

from hawksnest.app import Operation
from hawksnest.errors import UsageError
from hawksnest.ops.batch_jobs import BATCH_OPERATIONS
from hawksnest.ops.detectors import DETECTOR_OPERATIONS
from hawksnest.ops.encryption_key import ENCRYPTION_KEY_OPERATIONS
from hawksnest.ops.event_deletion import EVENT_DELETION_OPERATIONS
from hawksnest.ops.event_types import EVENT_TYPE_OPERATIONS
from hawksnest.ops.events import EVENT_OPERATIONS
from hawksnest.ops.external_models import EXTERNAL_MODEL_OPERATIONS
from hawksnest.ops.labels_and_types import LABEL_AND_TYPE_OPERATIONS
from hawksnest.ops.lists import LIST_OPERATIONS
from hawksnest.ops.model_versions import MODEL_VERSION_OPERATIONS
from hawksnest.ops.models import MODEL_OPERATIONS
from hawksnest.ops.predictions import PREDICTION_OPERATIONS
from hawksnest.ops.preview import PREVIEW_OPERATIONS
from hawksnest.ops.rules import RULE_OPERATIONS
from hawksnest.ops.tags import TAG_OPERATIONS
from hawksnest.ops.variables import VARIABLE_OPERATIONS

# Name in the documentation → its operations
FAMILIES: dict[str, list[Operation]] = {
    "Predictions": PREDICTION_OPERATIONS,
    "Events": EVENT_OPERATIONS + EVENT_DELETION_OPERATIONS,
    "Batch jobs": BATCH_OPERATIONS,
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
}


def served(preview_api: str = "on") -> dict[str, Operation]:
    """What a server answers: today's operations and, unless the setting is `off`, those of the preview.

    Raises UsageError for a setting that is neither `on` nor `off`.
    """
    if preview_api not in ("on", "off"):
        raise UsageError(f"preview-api is {preview_api!r}; it takes on or off.")
    if preview_api == "off":
        return OPERATIONS
    both = OPERATIONS | {operation.name: operation for operation in PREVIEW_OPERATIONS}
    return {name: replace(operation, both=True) for name, operation in both.items()}


OPERATIONS: dict[str, Operation] = {
    operation.name: operation for family in FAMILIES.values() for operation in family
}
