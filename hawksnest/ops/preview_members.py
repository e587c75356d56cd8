"""Members that answers about models made by the preview API have beside today's."""

from typing import Any

from hawksnest.catalog import Model, ModelVersion

_METRICS = {"thresholds": "threshold", "fpr": "fpr", "tpr": "tpr", "precision": "precision"}


def model_members(model: Model) -> dict[str, Any]:
    """What PutModel was given; nothing for a model of today's API."""
    return dict(model.preview or {})


def version_members(version: ModelVersion) -> dict[str, Any]:
    """Training data, whose source is a structure here; nothing for today's versions."""
    return dict(version.preview or {})


def metric_maps(version: ModelVersion) -> dict[str, Any]:
    """`trainingMetrics` as texts that clients evaluate: a number, and lists of equal length."""
    if version.preview is None:
        return {}
    found: dict[str, Any] = ((version.result or {}).get("trainingResult") or {}).get("trainingMetrics") or {}
    texts: dict[str, str] = {}
    if found:
        texts["auc"] = str(found["auc"])
        points = sorted(found["metricDataPoints"], key=lambda point: point["threshold"], reverse=True)
        for name, member in _METRICS.items():
            texts[name] = str([float(point[member]) for point in points])
    return {"trainingMetrics": texts, "validationMetrics": {}}
