"""Raw model scores to the fixed 0–1000 scale, on which a threshold means a false-positive rate.

The scale is the same for every customer: of the legitimate events of the held-out data, 1 % score 950 or
more, 5 % score 775 or more, and so on (`SCALE`).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# (false-positive rate, score), from the rarest down. Straight lines in between.
SCALE: tuple[tuple[float, float], ...] = (
    (0.0, 1000.0),
    (0.005, 975.0),
    (0.01, 950.0),
    (0.02, 900.0),
    (0.03, 860.0),
    (0.05, 775.0),
    (0.07, 700.0),
    (0.10, 600.0),
    (1.0, 0.0),
)

_STEP = 2.5  # score points between two knots of the curve; divides every score of the scale
_TAIL_SHARE = 0.1  # the highest raw scores of legitimate events, from which the tail's slope is estimated
_TAIL_HALVINGS = 12  # beyond the highest legitimate event, the curve goes on until the rate is 1/4096 of its


def scale(rate: float) -> float:
    """The score (0–1000, not rounded) that stands for a false-positive rate (0–1)."""
    for (low_rate, high_score), (high_rate, low_score) in pairwise(SCALE):
        if rate <= high_rate:
            share = (rate - low_rate) / (high_rate - low_rate)
            return high_score + share * (low_score - high_score)
    return 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone, piecewise linear map from raw score to 0–1000; `raws` strictly ascending."""

    raws: tuple[float, ...]
    scores: tuple[float, ...]

    def score(self, raw: float) -> float:
        """A whole number 0–1000, rounded down so that a threshold never flags more than its rate."""
        raws = self.raws
        place = bisect_right(raws, raw)
        if place == 0:
            return 0.0
        if place == len(raws):
            return float(int(self.scores[-1]))
        low, high = raws[place - 1], raws[place]
        below, above = self.scores[place - 1], self.scores[place]
        # The tiny lift keeps a knot that lies on a whole number from being rounded to the one below.
        return float(int(below + (above - below) * (raw - low) / (high - low) + 1e-9))

    @classmethod
    def fit(cls, legit: Sequence[float]) -> "Calibration":
        """From the raw scores of held-out legitimate events (at least one).

        Equal raw scores share the rate of their whole group. Above the highest one the rate is carried on
        along an exponential tail, so that scores near 1000 exist even where few events were held out.
        """
        ordered = sorted(legit)
        count = len(ordered)
        rates: list[tuple[float, float]] = []  # (raw, share of events at or above it), ascending by raw
        for place, raw in enumerate(ordered):
            if not rates or raw > rates[-1][0]:
                rates.append((raw, (count - place) / count))
        knots = _thinned([(raw, scale(rate)) for raw, rate in rates])
        step = math.log(2) / _tail_slope(ordered)
        top, top_rate = rates[-1]
        for halving in range(1, _TAIL_HALVINGS + 1):
            knots.append((top + halving * step, scale(top_rate / 2**halving)))
        knots.append((knots[-1][0] + step, 1000.0))
        knots.insert(0, (knots[0][0] - step, 0.0))
        return cls(tuple(raw for raw, _ in knots), tuple(score for _, score in knots))

    def to_json(self) -> dict[str, list[float]]:
        return {"raws": list(self.raws), "scores": list(self.scores)}

    @classmethod
    def from_json(cls, data: dict[str, list[float]]) -> "Calibration":
        """Raises ValueError when the curve is not monotone."""
        raws, scores = tuple(data["raws"]), tuple(data["scores"])
        rising = all(low < high for low, high in pairwise(raws))
        if len(raws) != len(scores) or not raws or not rising or list(scores) != sorted(scores):
            raise ValueError("The calibration curve is not monotone.")
        return cls(raws, scores)


def _thinned(knots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most one knot for each `_STEP` of the score, every multiple of it kept exact.

    The knot that first reaches a multiple gets that very score, so the line that leads up to it stays below.
    """
    if len(knots) <= 1000 / _STEP:
        return knots
    chosen: list[tuple[float, float]] = []
    wanted = 0.0
    for raw, score in knots:
        if score >= wanted:
            reached = score // _STEP * _STEP
            chosen.append((raw, reached))
            wanted = reached + _STEP
    return chosen


def _tail_slope(ordered: list[float]) -> float:
    """How fast the rate falls with the raw score above the highest ones (per unit of raw score)."""
    above = ordered[-max(2, round(len(ordered) * _TAIL_SHARE)) :]
    excess = sum(raw - above[0] for raw in above) / len(above)
    spread = ordered[-1] - ordered[0]
    return 1 / max(excess, spread / 100, 1e-6)
