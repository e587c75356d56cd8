"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from hawksnest.ml.metrics import RATE_BINS, auc, auc_range, data_points, metrics
from hawksnest.world import seeded

FRAUD = np.array([False, False, False, False, True, True])
SCORES = np.array([100.0, 200.0, 300.0, 950.0, 300.0, 1000.0])


def test_auc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    # pairs of the fraud at 300: above 100 and 200, equal to 300; of the fraud at 1000: above all four
    assert auc(FRAUD, SCORES) == pytest.approx((2.5 + 4) / 8)


def test_points_count_what_reaches_the_threshold() -> None:
    dice = seeded(1)
    legit = np.array([float(dice.randrange(1000)) for _ in range(2_000)])
    fraud = np.array([500.0, 800.0, 995.0])
    flags = np.array([False] * 2_000 + [True] * 3)
    points = {point["threshold"]: point for point in data_points(flags, np.concatenate([legit, fraud]))}
    assert list(points) == [float(threshold) for threshold in range(0, 1001, 5)]
    assert points[0.0] == {"fpr": 1.0, "precision": round(3 / 2003, 6), "tpr": 1.0, "threshold": 0.0}
    flagged = int((legit >= 800).sum())
    assert points[800.0]["fpr"] == pytest.approx(flagged / 2_000)
    assert points[800.0]["tpr"] == pytest.approx(2 / 3, abs=1e-6)
    assert points[800.0]["precision"] == pytest.approx(2 / (2 + flagged), abs=1e-6)
    assert points[1000.0] == {"fpr": 0.0, "precision": 1.0, "tpr": 0.0, "threshold": 1000.0}


def test_every_percent_of_the_rate_has_a_threshold_even_with_few_events() -> None:
    points = data_points(FRAUD, SCORES)
    for bin_ in range(RATE_BINS):
        assert any(bin_ / 100 < point["fpr"] <= (bin_ + 1) / 100 for point in points)
    assert [point["fpr"] for point in points] == sorted((point["fpr"] for point in points), reverse=True)
    assert all(np.isfinite(list(point.values())).all() for point in points)


def test_uncertainty_holds_the_auc_and_narrows_with_more_events() -> None:
    def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
        dice = seeded(count)
        flags = np.arange(count) % 5 == 0
        return flags, np.array([dice.gauss(1.0 if flag else 0.0, 1.0) for flag in flags])

    widths = []
    for count in (100, 10_000):
        flags, raws = sample(count)
        low, high = auc_range(flags, raws, seed=7)
        assert low < auc(flags, raws) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_same_seed_gives_the_same_interval() -> None:
    assert metrics(FRAUD, SCORES, SCORES, 3) == metrics(FRAUD, SCORES, SCORES, 3)


def test_shapes_are_those_of_the_wire() -> None:
    shown, uncertainty = metrics(FRAUD, SCORES, SCORES, 3)
    assert set(shown) == {"auc", "metricDataPoints"}
    assert set(uncertainty) == {"lowerBoundValue", "upperBoundValue"}
    assert uncertainty["lowerBoundValue"] <= shown["auc"] <= uncertainty["upperBoundValue"]
