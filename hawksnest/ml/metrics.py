"""How good a model is on the held-out events: AUC with its uncertainty, and what each threshold would do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hawksnest.ml.calibration import SCALE
from hawksnest.world import seeded

THRESHOLDS = range(0, 1001, 5)
RESAMPLES = 200
CONFIDENCE = 0.95
BLOCKED_RATE_MAX = 0.05  # nobody blocks more of the legitimate events than this
RATE_BINS = 6  # clients look for the lowest threshold in each 1 % bin of the false-positive rate up to here

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def auc(fraud: Flags, scores: Floats) -> float:
    """Area under the ROC curve; both classes must be there."""
    return float(roc_auc_score(fraud, scores))


def ranking(fraud: Flags, scores: Floats) -> float:
    """What a search maximises: AUC, and equally the AUC of the rates at which events are really blocked."""
    partial = float(roc_auc_score(fraud, scores, max_fpr=BLOCKED_RATE_MAX))
    return (auc(fraud, scores) + partial) / 2


def auc_range(fraud: Flags, scores: Floats, seed: int) -> tuple[float, float]:
    """The interval in which 95 % of resampled AUCs lie (bootstrap within each class)."""
    ranks = np.unique(scores, return_inverse=True)[1]
    groups = int(ranks.max()) + 1
    positive, negative = ranks[fraud], ranks[~fraud]
    dice = seeded(seed)
    found = []
    for _ in range(RESAMPLES):
        high = np.bincount(_drawn(positive, dice.randbytes(4 * len(positive))), minlength=groups)
        low = np.bincount(_drawn(negative, dice.randbytes(4 * len(negative))), minlength=groups)
        below = np.cumsum(low) - low / 2  # legitimate events below each group; ties count half
        found.append(float(high @ below) / (len(positive) * len(negative)))
    edge = (1 - CONFIDENCE) / 2
    low_edge, high_edge = np.quantile(found, [edge, 1 - edge])
    return float(low_edge), float(high_edge)


def _drawn(values: NDArray[np.intp], noise: bytes) -> NDArray[np.intp]:
    """As many values as there are, drawn with replacement; `noise`: four random bytes for each."""
    places: NDArray[np.intp] = np.frombuffer(noise, dtype="<u4").astype(np.intp) % len(values)
    return values[places]


def data_points(fraud: Flags, scores: Floats) -> list[dict[str, float]]:
    """fpr, tpr and precision for each threshold; an event is flagged when its score reaches the threshold.

    Where the held-out events are so few, or so alike, that some 1 % bin of the rate would stay empty, each
    threshold stands for the rate it is calibrated to, and tpr is read off the ROC curve there.
    """
    positives, negatives = int(fraud.sum()), int((~fraud).sum())
    thresholds = np.array(THRESHOLDS, dtype=float)
    high = np.sort(scores[fraud])
    low = np.sort(scores[~fraud])
    tpr = 1 - np.searchsorted(high, thresholds, side="left") / positives
    fpr = 1 - np.searchsorted(low, thresholds, side="left") / negatives
    if not _covers_bins(fpr):
        wanted = np.interp(thresholds, [score for _, score in SCALE[::-1]], [rate for rate, _ in SCALE[::-1]])
        curve = np.concatenate([[0.0], fpr[::-1]]), np.concatenate([[0.0], tpr[::-1]])
        tpr, fpr = np.interp(wanted, *curve), wanted
    flagged = tpr * positives + fpr * negatives
    # Nothing flagged: no false alarm either, so precision is 1 by convention.
    precision = np.where(flagged > 0, tpr * positives / np.where(flagged > 0, flagged, 1.0), 1.0)
    return [
        {
            "fpr": round(float(fpr[place]), 6),
            "precision": round(float(precision[place]), 6),
            "tpr": round(float(tpr[place]), 6),
            "threshold": float(threshold),
        }
        for place, threshold in enumerate(thresholds)
    ]


def _covers_bins(fpr: Floats) -> bool:
    """Is there a threshold in (0, 1 %], (1 %, 2 %] … up to 6 %?"""
    bins = np.ceil(np.round(fpr * 100, 9))
    return all(bool((bins == each).any()) for each in range(1, RATE_BINS + 1))


def metrics(
    fraud: Flags, scores: Floats, order: Floats, seed: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """`trainingMetrics` and the `uncertaintyRange`; `order` ranks finer than the whole-number `scores`."""
    low, high = auc_range(fraud, order, seed)
    found = auc(fraud, order)
    shown = {"auc": round(found, 6), "metricDataPoints": data_points(fraud, scores)}
    # The interval is of resampled sets; on very few events the measured value may lie just outside.
    return shown, {
        "lowerBoundValue": round(min(low, found), 6),
        "upperBoundValue": round(max(high, found), 6),
    }
