"""Scores mean false-positive rates."""

import pytest

from hawksnest.ml.calibration import SCALE, Calibration, scale
from hawksnest.world import seeded


def normal(count: int, seed: int) -> list[float]:
    dice = seeded(seed)
    return [dice.gauss(-4, 1.5) for _ in range(count)]


def rate(calibration: Calibration, raws: list[float], threshold: float) -> float:
    return sum(calibration.score(raw) >= threshold for raw in raws) / len(raws)


def test_scale_goes_through_the_documented_points_in_straight_lines() -> None:
    documented = {0.005: 975, 0.01: 950, 0.02: 900, 0.03: 860, 0.05: 775, 0.07: 700, 0.10: 600}
    assert {at: scale(at) for at in documented} == documented
    assert (scale(0.0), scale(1.0)) == (1000, 0)
    assert scale(0.04) == pytest.approx(817.5)
    assert scale(0.55) == pytest.approx(300)


def test_rates_of_the_held_out_events_are_exactly_those_of_the_scale() -> None:
    raws = normal(20_000, 1)
    calibration = Calibration.fit(raws)
    for wanted, score in SCALE[1:]:
        assert rate(calibration, raws, score) == pytest.approx(wanted, abs=1 / 20_000)


def test_rates_of_other_events_of_the_same_kind_are_close() -> None:
    calibration = Calibration.fit(normal(20_000, 1))
    others = normal(20_000, 2)
    for wanted, score in SCALE[1:-1]:
        assert rate(calibration, others, score) == pytest.approx(wanted, rel=0.3)


def test_no_threshold_in_steps_of_five_flags_more_than_its_rate() -> None:
    raws = normal(2_000, 3)
    calibration = Calibration.fit(raws)
    for share in (step / 500 for step in range(1, 100)):
        threshold = -(-scale(share) // 5) * 5
        assert rate(calibration, raws, threshold) <= share + 1e-12


def test_scores_are_whole_numbers_from_0_to_1000_and_never_fall_when_the_raw_score_rises() -> None:
    calibration = Calibration.fit(normal(300, 4))
    scores = [calibration.score(raw / 100) for raw in range(-3_000, 3_000)]
    assert scores == sorted(scores)
    assert all(score == int(score) for score in scores)
    assert (scores[0], scores[-1]) == (0.0, 1000.0)


def test_equal_raw_scores_share_the_rate_of_their_group() -> None:
    calibration = Calibration.fit([-1.0] * 900 + [1.0] * 100)
    assert calibration.score(1.0) == 600  # a tenth of the legitimate events lies here
    assert calibration.score(-1.0) == 0


@pytest.mark.parametrize("raws", [[0.0], [2.5, 2.5, 2.5], normal(20, 5)])
def test_few_events_still_give_a_scale_that_reaches_both_ends(raws: list[float]) -> None:
    calibration = Calibration.fit(raws)
    assert calibration.score(min(raws) - 100) == 0
    assert calibration.score(max(raws) + 100) == 1000


def test_curve_survives_json() -> None:
    calibration = Calibration.fit(normal(500, 6))
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize(
    "data",
    [
        {"raws": [0.0, 0.0], "scores": [1.0, 2.0]},
        {"raws": [0.0, 1.0], "scores": [2.0, 1.0]},
        {"raws": [], "scores": []},
        {"raws": [0.0], "scores": []},
    ],
)
def test_curve_that_is_not_monotone_is_refused(data: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="not monotone"):
        Calibration.from_json(data)
