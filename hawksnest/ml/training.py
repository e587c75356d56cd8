"""One training from spec to artefact: read, check, features, search, calibrate, measure.

The newest 15 % of the labelled events are held out: the model that is served has not seen them, and its
calibration, metrics and importance come from them.
"""

import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sklearn
from numpy.typing import NDArray

from hawksnest import __version__
from hawksnest.kernel.features import ENTITY_SOURCE, FeaturePlan
from hawksnest.ml import artefact, trees
from hawksnest.ml.calibration import Calibration
from hawksnest.ml.dataset import FRAUD, REPORT_EVERY, UNLABELED, Dataset, Tell, read_csv, weights_of
from hawksnest.ml.learning import learn
from hawksnest.ml.metrics import auc, metrics, ranking
from hawksnest.ml.replay import History
from hawksnest.ml.spec import (
    ARTEFACT,
    ExternalEvents,
    TrainingOutcome,
    TrainingSpec,
    failure,
    results,
)
from hawksnest.ml.validation import Report, Unusable, check_counts, check_entities, check_split, usable
from hawksnest.store.journal import JournalReader
from hawksnest.store.sealing import Box

HELD_OUT = 0.15  # of the labelled events, the newest
SEARCH_HELD_OUT = 0.2  # of the older ones, again the newest: chooses shape and number of trees
LEARN_FRAUDS_MIN = 300  # with fewer, rates of values tell chance (measured: AUC 0.90 without them, 0.81 with)
EXPLAINED_MAX = 600  # held-out events whose SHAP values make the importance

Floats = NDArray[np.float64]
K = TypeVar("K", str, tuple[str, ...])


@dataclass(frozen=True)
class _Split:
    """Rows of the dataset, each part in order of time."""

    train: NDArray[np.intp]
    held: NDArray[np.intp]
    fraud: NDArray[np.bool_]  # of every row
    weights: Floats  # of every row


def train(
    spec: TrainingSpec,
    report: Callable[[float, str], None],
    journal: JournalReader | None = None,
    box: Box | None = None,
) -> TrainingOutcome:
    """Train one model version; the artefact goes to `spec.folder`/artefact, sealed if there is a box.

    `report` gets the share done (0..1) and what is being done. `journal` is read for ingested events.
    Data that cannot train a model gives an outcome that says why; nothing is raised for it.
    """
    if spec.model_type == "ACCOUNT_TAKEOVER_INSIGHTS":
        title = "ACCOUNT_TAKEOVER_INSIGHTS is not available in this version of Hawksnest."
        content = "Use TRANSACTION_FRAUD_INSIGHTS with labelled logins until it is."
        return TrainingOutcome(ok=False, result=failure(spec.model_type, title, content), reason=title)
    messages = Report()
    try:
        return _train(spec, messages, report, journal, box)
    except Unusable as error:
        result = results(error.report.to_json(), spec.model_type)
        return TrainingOutcome(ok=False, result=result, reason=error.report.reason)


def _train(
    spec: TrainingSpec, messages: Report, tell: Tell, journal: JournalReader | None, box: Box | None
) -> TrainingOutcome:
    tell(0.0, "reading events")
    dataset, history = _read(spec, messages, _part(tell, 0.0, 0.15), journal)
    split = _checked(spec, dataset, messages)
    tell(0.15, f"computing features of {len(dataset.times):,} events")
    plan, vectors, trial_vectors = _features(spec, dataset, history, split, _part(tell, 0.15, 0.5))
    table = trees.Table(vectors, split.fraud, split.weights, plan.names, plan.categorical)
    trial = trees.Table(trial_vectors, split.fraud, split.weights, plan.names, plan.categorical)
    shape, rounds, trials = _search(spec, trial.part(split.train), _part(tell, 0.5, 0.85))
    tell(0.85, f"growing {rounds} trees on {len(split.train):,} events")
    booster = trees.grow(table.part(split.train), shape, rounds, spec.seed, spec.threads)
    tell(0.93, f"measuring on {len(split.held):,} newer events")
    raw = trees.raw_scores(booster, vectors[split.held])
    fraud = split.fraud[split.held]
    calibration = Calibration.fit(raw[~fraud].tolist())
    scores = np.array([calibration.score(each) for each in raw.tolist()])
    shown, uncertainty = metrics(fraud, scores, raw, spec.seed)
    importance, groups = _importance(dataset, plan, booster, vectors[split.held])
    card = {
        "model_type": spec.model_type,
        "model_id": spec.model_id,
        "version": spec.version,
        "data": _described(spec, dataset, split),
        "features": list(plan.names),
        "parameters": trees.described(shape, rounds),
        "trials": trials,
        "metrics": {"auc": shown["auc"], "uncertainty": uncertainty},
        "seed": spec.seed,
        "libraries": {
            "hawksnest": __version__,
            "lightgbm": trees.VERSION,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
    }
    artefact.save(Path(spec.folder) / ARTEFACT, trees.text(booster), plan, calibration, card, box)
    tell(1.0, "done")
    result = results(messages.to_json(), spec.model_type, shown, uncertainty, importance, groups)
    return TrainingOutcome(ok=True, result=result)


def _part(tell: Tell, start: float, end: float) -> Tell:
    """Progress of one step as a part of the whole."""
    return lambda share, text: tell(start + (end - start) * min(1.0, share), text)


def _read(
    spec: TrainingSpec, messages: Report, tell: Tell, journal: JournalReader | None
) -> tuple[Dataset, History | None]:
    if isinstance(spec.source, ExternalEvents):
        return read_csv(spec, spec.source, messages, tell), None
    assert journal is not None, "a training on ingested events needs the journal"
    history = History(spec, spec.source, journal)
    return history.dataset(messages, tell), history


def _checked(spec: TrainingSpec, dataset: Dataset, messages: Report) -> _Split:
    """Labels, variables and the split in time; raises Unusable with every message there is."""
    labels, weights = weights_of(np.array(dataset.labels, dtype=np.int8), spec.unlabeled)
    learned = np.flatnonzero(weights > 0)
    fraud = labels == FRAUD
    check_counts(int(fraud[learned].sum()), int((~fraud[learned]).sum()), messages)
    if spec.model_type == "TRANSACTION_FRAUD_INSIGHTS":
        entities = [dataset.entities[row] for row in learned.tolist()]
        groups = [
            {
                entity
                for entity, row in zip(entities, learned.tolist(), strict=True)
                if entity and fraud[row] == kind
            }
            for kind in (True, False)
        ]
        check_entities(len(groups[0]), len(groups[1]), len(groups[0] | groups[1]), messages)
    dataset.keep(usable(dataset.columns, messages))
    messages.check()
    split = _split(np.array(dataset.times), np.array(dataset.labels), fraud, weights, spec.unlabeled)
    older, newest = (
        (int(fraud[rows].sum()), int((~fraud[rows]).sum())) for rows in (split.train, split.held)
    )
    check_split(older, newest, messages)
    messages.check()
    return split


def _split(
    times: NDArray[np.int64],
    labels: NDArray[np.int8],
    fraud: NDArray[np.bool_],
    weights: Floats,
    treatment: str,
) -> _Split:
    """By time, ties by arrival. Under AUTO, unlabelled events teach but never measure."""
    order = np.argsort(times, kind="stable")
    order = order[weights[order] > 0]
    measures = np.ones(len(order), bool) if treatment != "AUTO" else labels[order] != UNLABELED
    held_count = round(HELD_OUT * int(measures.sum()))
    border = order.size - int(np.searchsorted(np.cumsum(measures[::-1]), held_count)) - 1
    newest = np.arange(order.size) >= border
    return _Split(order[~newest], order[newest & measures], fraud, weights)


def _features(
    spec: TrainingSpec, dataset: Dataset, history: History | None, split: _Split, tell: Tell
) -> tuple[FeaturePlan, Floats, Floats]:
    """The plan and the vectors of all rows (NaN for rows nobody uses), and those that the search uses.

    Each plan is fitted only on what it may know: values that are new in the newer events have to be new to
    the plan too, or the search would favour models that rely on having seen them.
    """
    aggregates = spec.model_type == "TRANSACTION_FRAUD_INSIGHTS"
    specs = dataset.specs()
    parts = (split.train, split.train[: _search_border(len(split.train))])
    teaches = specs if split.fraud[split.train].sum() >= LEARN_FRAUDS_MIN else []
    plans, taught = [], []
    for rows in parts:
        values = [dataset.model_values(row) for row in rows.tolist()]
        learned, numbers = learn(teaches, values, split.fraud[rows], split.weights[rows])
        plans.append(FeaturePlan.fit(specs, values, aggregates=aggregates, learned=learned))
        taught.append(numbers)
    used = np.zeros(len(dataset.times), bool)
    used[split.train] = used[split.held] = True
    made = [np.full((len(used), len(plan.names)), np.nan) for plan in plans]
    if aggregates and history is not None:
        found = history.vectors(plans, dataset, used, tell)
    else:
        found = _plain_vectors(plans, dataset, np.flatnonzero(used).tolist(), tell)
    for whole, part in zip(made, found, strict=True):
        whole[used] = part
    for plan, rows, numbers, whole in zip(plans, parts, taught, made, strict=True):
        for name, columns in numbers.items():
            whole[rows, plan.learned_places(name)] = columns
    return plans[0], made[0], made[1]


def _plain_vectors(
    plans: Sequence[FeaturePlan], dataset: Dataset, rows: list[int], tell: Tell
) -> list[Floats]:
    """Features without aggregates."""
    made = [np.empty((len(rows), len(plan.names))) for plan in plans]
    for place, row in enumerate(rows):
        values = dataset.model_values(row)
        for plan, vectors in zip(plans, made, strict=True):
            vectors[place] = plan.vector(values, None, dataset.times[row])
        if place % REPORT_EVERY == 0:
            tell(place / len(rows), f"computed features of {place:,} events")
    return made


def _search_border(rows: int) -> int:
    """How many of the older rows the search trains on; the others choose."""
    return rows - round(SEARCH_HELD_OUT * rows)


def _search(
    spec: TrainingSpec, table: trees.Table, tell: Tell
) -> tuple[trees.Shape, int, list[dict[str, Any]]]:
    """The shape that ranks the newer part of the training events best, and how many trees to grow on all."""
    total = len(table.fraud)
    border = _search_border(total)
    older, newer = table.part(slice(None, border)), table.part(slice(border, None))
    shapes = trees.candidates(total, int(table.fraud.sum()))
    if not 0 < newer.fraud.sum() < len(newer.fraud) or not 0 < older.fraud.sum() < border:
        return shapes[0], trees.ROUNDS_MIN * 3, []  # too few frauds to compare anything
    best: tuple[float, trees.Shape, int] | None = None
    trials = []
    for place, shape in enumerate(shapes):
        tell(place / len(shapes), f"trying model {place + 1} of {len(shapes)}")
        rounds, raw = trees.search_rounds(older, newer, shape, spec.seed, spec.threads)
        found = ranking(newer.fraud, raw)
        measured = {"auc": round(auc(newer.fraud, raw), 6), "ranking": round(found, 6)}
        trials.append({**trees.described(shape, rounds), **measured})
        if best is None or found > best[0]:
            best = found, shape, rounds
    assert best is not None
    _, shape, rounds = best
    # More events carry more trees.
    return shape, max(trees.ROUNDS_MIN, round(rounds * total / border)), trials


def _importance(
    dataset: Dataset, plan: FeaturePlan, booster: Any, vectors: Floats
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Mean absolute SHAP values in log-odds, largest first: by variable, and by group of aggregates.

    A feature made of several variables counts for each with its share. What the entity takes part in is also
    told by group, under the name that stands for the entity. The event's time belongs to no variable.
    """
    step = -(-len(vectors) // EXPLAINED_MAX)
    mean = np.abs(trees.contributions(booster, vectors[::step])).mean(axis=0)
    single = {column.variable.name: 0.0 for column in dataset.columns}
    groups: dict[tuple[str, ...], float] = defaultdict(float)
    for sources, value in zip(plan.sources, mean.tolist(), strict=True):
        variables = [name for name in sources if name != ENTITY_SOURCE]
        for name in variables:
            single[name] += value / len(variables)
        if ENTITY_SOURCE in sources:
            groups[tuple(sorted(sources))] += value
    kinds = {column.variable.name: column.variable.variable_type or "" for column in dataset.columns}
    return (
        [
            {"variableName": name, "variableType": kinds[name], "variableImportance": round(value, 6)}
            for name, value in _largest_first(single)
        ],
        [
            {"variableNames": list(names), "aggregatedVariablesImportance": round(value, 6)}
            for names, value in _largest_first(groups)
        ],
    )


def _largest_first(values: Mapping[K, float]) -> list[tuple[K, float]]:
    return sorted(values.items(), key=lambda item: (-item[1], item[0]))


def _described(spec: TrainingSpec, dataset: Dataset, split: _Split) -> dict[str, Any]:
    """The data of a training, for the card."""
    times = np.array(dataset.times)[np.concatenate([split.train, split.held])]
    source = spec.source
    return {
        "event_type": spec.event_type,
        "source": source.uri if isinstance(source, ExternalEvents) else "stored events",
        "window_ms": [int(times.min()), int(times.max())],
        "rows": len(times),
        "fraud": int(split.fraud[split.train].sum() + split.fraud[split.held].sum()),
        "held_out": len(split.held),
        "variables": [column.variable.name for column in dataset.columns],
    }
