"""What a training is told and what it answers: the JSON files between server and child process.

Imports neither numpy nor LightGBM, so the server can use it without paying for them.
"""

from pathlib import Path
from typing import Any

import msgspec

TYPES = {
    "ONLINE_FRAUD_INSIGHTS": "ofi",
    "TRANSACTION_FRAUD_INSIGHTS": "tfi",
    "ACCOUNT_TAKEOVER_INSIGHTS": "ati",
}
"""Model types, with the member of `trainingMetricsV2` that holds their metrics."""


class TrainingVariable(msgspec.Struct, frozen=True):
    """A variable of the event type. Models do not use its default: what is missing is missing to them."""

    name: str
    data_type: str
    variable_type: str | None


class ExternalEvents(msgspec.Struct, frozen=True, tag="EXTERNAL_EVENTS"):
    """A CSV file: `s3://bucket/key` of the S3 endpoint or, when that is empty, of the folder `buckets`."""

    uri: str
    buckets: str
    s3_endpoint: str
    region: str
    time_column: str = "EVENT_TIMESTAMP"
    label_column: str = "EVENT_LABEL"


class IngestedEvents(msgspec.Struct, frozen=True, tag="INGESTED_EVENTS"):
    """Stored events with `start_ms <= event_at_ms <= end_ms`, from the journal of this data folder."""

    data: str
    start_ms: int
    end_ms: int


class TrainingSpec(msgspec.Struct, frozen=True):
    """One training of one model version, complete: the same spec on the same data gives the same model."""

    account: str
    region: str
    model_type: str
    model_id: str
    version: str
    event_type: str
    variables: list[TrainingVariable]  # every variable of the event type
    model_variables: list[str]
    fraud_labels: list[str]
    legit_labels: list[str]
    source: ExternalEvents | IngestedEvents
    folder: str  # where the artefact goes (`artefact/`)
    unlabeled: str = "IGNORE"  # IGNORE FRAUD LEGIT AUTO: stored events without a label
    seed: int = 7
    threads: int = 2
    created_at_ms: int = 0  # of the model version: tells this training from an earlier one of the same name


class TrainingOutcome(msgspec.Struct, frozen=True):
    """`result`: `trainingResult` and `trainingResultV2` in wire shape. `reason`: why there is no model."""

    ok: bool
    result: dict[str, Any]
    reason: str = ""


class Progress(msgspec.Struct, frozen=True):
    share: float  # 0..1
    text: str


SPEC, PROGRESS, RESULT, ARTEFACT = "spec.json", "progress.json", "result.json", "artefact"
"""Names inside a training's folder."""


def write(path: Path, content: msgspec.Struct) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never a part."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_bytes(msgspec.json.encode(content))
    scratch.replace(path)


def failure(model_type: str, title: str, content: str) -> dict[str, Any]:
    """A result that says only why there is no model."""
    message = {"title": title, "content": content, "type": "ERROR"}
    return results({"fileLevelMessages": [message], "fieldLevelMessages": []}, model_type)


def results(
    validation: dict[str, Any],
    model_type: str,
    metrics: dict[str, Any] | None = None,
    uncertainty: dict[str, float] | None = None,
    importance: list[dict[str, Any]] | None = None,
    aggregated: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """`trainingResult` and `trainingResultV2`. `metrics`: auc and metricDataPoints."""
    first: dict[str, Any] = {"dataValidationMetrics": validation}
    second: dict[str, Any] = {"dataValidationMetrics": validation}
    if metrics is not None:
        first["trainingMetrics"] = metrics
        performance = {"auc": metrics["auc"], "uncertaintyRange": uncertainty}
        points = {"metricDataPoints": metrics["metricDataPoints"], "modelPerformance": performance}
        second["trainingMetricsV2"] = {TYPES[model_type]: points}
    if importance is not None:
        first["variableImportanceMetrics"] = {"logOddsMetrics": importance}
        second["variableImportanceMetrics"] = {"logOddsMetrics": importance}
    if aggregated:
        second["aggregatedVariablesImportanceMetrics"] = {"logOddsMetrics": aggregated}
    return {"trainingResult": first, "trainingResultV2": second}
