"""Boosted trees: the only place that imports LightGBM's Python package."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawksnest.ml import openmp

openmp.provide()

import lightgbm  # noqa: E402  needs the OpenMP runtime that the line above provides

VERSION: str = lightgbm.__version__

ROUNDS_MAX = 400
CELLS_PER_THREAD = 1_000_000  # rows x features: with fewer, a second thread costs more than it brings
CODES_MAX = 32  # a coded feature with more values than this is split by rank of frequency, not by subsets
STOP_AFTER = 40  # rounds without a better loss on the newer events
STOP_GAIN = 0.0005  # what counts as better, as a share of the loss of a model that knows nothing
SEARCH_LEGIT_MAX = 20_000  # legitimate events a search trains on, or 20 for each fraud if that is more
ROUNDS_MIN = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """How the trees may grow; what a search chooses between."""

    leaves: int
    rate: float
    leaf_rows: int
    l2: float
    features: float
    rows: float


def candidates(rows: int, fraud: int) -> list[Shape]:
    """From simple to rich, scaled to how many events (and frauds) there are to learn from."""
    small = min(rows, 20 * fraud)  # frauds are what is scarce: 20 legitimate events each say all they can
    leaf = max(5, min(40, small // 300))
    if small < 2_000:
        return [
            Shape(leaves=4, rate=0.1, leaf_rows=leaf, l2=3.0, features=0.6, rows=0.8),
            Shape(leaves=8, rate=0.08, leaf_rows=leaf * 2, l2=3.0, features=0.5, rows=0.8),
            Shape(leaves=16, rate=0.06, leaf_rows=leaf * 3, l2=3.0, features=0.5, rows=0.8),
        ]
    return [
        Shape(leaves=6, rate=0.1, leaf_rows=leaf, l2=2.0, features=0.7, rows=0.8),
        Shape(leaves=16, rate=0.08, leaf_rows=leaf, l2=2.0, features=0.6, rows=0.8),
        Shape(leaves=40, rate=0.06, leaf_rows=leaf * 2, l2=2.0, features=0.5, rows=0.8),
    ]


@dataclass(frozen=True)
class Table:
    """What LightGBM learns from; `categorical` are places of features whose values are codes.

    Codes are ranks of frequency. With many of them, subsets of codes fit the noise of rare values (measured:
    AUC 0.88 instead of 0.99 on card payments), while the rank itself tells rare values from common ones.
    """

    vectors: Floats
    fraud: NDArray[np.bool_]
    weights: Floats
    names: Sequence[str]
    categorical: Sequence[int]

    def part(self, rows: Any) -> "Table":
        """Some of the rows."""
        return Table(self.vectors[rows], self.fraud[rows], self.weights[rows], self.names, self.categorical)

    def thinned(self, legit_max: int) -> "Table":
        """All frauds and every n-th legitimate event, which weighs n times as much."""
        legit = np.flatnonzero(~self.fraud)
        step = -(-len(legit) // legit_max)
        if step <= 1:
            return self
        thin = self.part(np.sort(np.concatenate([np.flatnonzero(self.fraud), legit[::step]])))
        weights = np.where(thin.fraud, thin.weights, thin.weights * step)
        return Table(thin.vectors, thin.fraud, weights, thin.names, thin.categorical)


def parameters(shape: Shape, seed: int, threads: int) -> dict[str, Any]:
    """Reproducible by seed, on the same number of threads."""
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": shape.leaves,
        "learning_rate": shape.rate,
        "min_data_in_leaf": shape.leaf_rows,
        "lambda_l2": shape.l2,
        "feature_fraction": shape.features,
        "bagging_fraction": shape.rows,
        "bagging_freq": 1,
        "min_data_per_group": 20,
        "cat_l2": 10.0,
        "cat_smooth": 10.0,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "num_threads": threads,
        "verbosity": -1,
    }


def search_rounds(older: Table, newer: Table, shape: Shape, seed: int, threads: int) -> tuple[int, Floats]:
    """The number of trees that does best on the newer events, and the raw scores these get."""
    older = older.thinned(max(SEARCH_LEGIT_MAX, 20 * int(older.fraud.sum())))
    train = _dataset(older)
    share = float(newer.fraud.mean())
    ignorance = -share * np.log(share) - (1 - share) * np.log(1 - share)
    booster = lightgbm.train(
        parameters(shape, seed, _threads(older, threads)),
        train,
        ROUNDS_MAX,
        valid_sets=[_dataset(newer, train)],
        callbacks=[lightgbm.early_stopping(STOP_AFTER, verbose=False, min_delta=STOP_GAIN * ignorance)],
    )
    rounds = max(booster.best_iteration, 1)
    return rounds, raw_scores(booster, newer.vectors, rounds)


def grow(table: Table, shape: Shape, rounds: int, seed: int, threads: int) -> lightgbm.Booster:
    """A model of exactly `rounds` trees."""
    return lightgbm.train(parameters(shape, seed, _threads(table, threads)), _dataset(table), rounds)


def raw_scores(booster: lightgbm.Booster, vectors: Floats, rounds: int | None = None) -> Floats:
    """Log-odds of each row."""
    return np.asarray(booster.predict(vectors, raw_score=True, num_iteration=rounds), dtype=np.float64)


def contributions(booster: lightgbm.Booster, vectors: Floats) -> Floats:
    """SHAP values in log-odds, a column for each feature."""
    return np.asarray(booster.predict(vectors, pred_contrib=True), dtype=np.float64)[:, :-1]


def text(booster: lightgbm.Booster) -> str:
    """LightGBM's own text format."""
    return str(booster.model_to_string())


def described(shape: Shape, rounds: int) -> dict[str, Any]:
    """For the model's card."""
    return {**asdict(shape), "trees": rounds}


def _threads(table: Table, threads: int) -> int:
    return max(1, min(threads, table.vectors.size // CELLS_PER_THREAD))


def _few_codes(codes: Floats) -> bool:
    known = codes[~np.isnan(codes)]
    return not known.size or float(known.max()) <= CODES_MAX


def _dataset(table: Table, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        table.vectors,
        table.fraud.astype(np.float64),
        weight=table.weights,
        feature_name=[f"f{place}" for place in range(len(table.names))],
        categorical_feature=[place for place in table.categorical if _few_codes(table.vectors[:, place])],
        reference=reference,
        params={"verbosity": -1},
        free_raw_data=False,
    )
