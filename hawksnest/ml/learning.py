"""What can be learned about single values from labelled events: the fit of `hawksnest.kernel.learned`.

Numbers of the events that teach come from forms that other stretches of time taught (`FOLDS` of them), so
no event sees its own label, nor those of a burst that it is part of. All numbers are log-odds relative to
those of the events that taught: the plain ones would tell which stretch had more frauds, and that
backwards, because the others then have the fewer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from hawksnest.kernel.encoders import encoder_of
from hawksnest.kernel.events import Value, VariableSpec
from hawksnest.kernel.learned import (
    LEARNED,
    NETWORKS_V4,
    TEXT_READ,
    Learned,
    NetworkRates,
    TextRisk,
    ValueRates,
    learned_of,
    network_keys,
    sequences,
)

FOLDS = 4
VALUES_MAX = 20_000  # values, or networks of one length, whose rate is kept
FRAUD_ADDRESSES_MAX = 50_000
CHARACTERS_MAX = 2_500_000  # of all texts of a variable that teach it; of more, every n-th text does
SEQUENCES_MAX = 12_000
SEQUENCE_ROWS_MIN = 4  # texts that a sequence must be in
VALUE_SHRINKAGE = 20.0  # events with the rate of all that each value is taken to have had besides its own
NETWORK_SHRINKAGE = 3.0

Floats = NDArray[np.float64]


def learn(
    specs: Sequence[VariableSpec],
    rows: Sequence[Mapping[str, Value]],
    fraud: NDArray[np.bool_],
    weights: Floats,
) -> tuple[dict[str, Learned], dict[str, Floats]]:
    """What is learned about each variable, and the numbers to train with: a row for each of `rows`.

    `rows` are in order of time. Both kinds of label must occur.
    """
    learned: dict[str, Learned] = {}
    numbers: dict[str, Floats] = {}
    for spec in specs:
        encoder = encoder_of(spec)
        kind = None if encoder is None else learned_of(spec, encoder.kind)
        if kind is not None:
            values = [row.get(spec.name) for row in rows]
            learned[spec.name], numbers[spec.name] = _learn(kind, values, fraud, weights)
    return learned, numbers


def _learn(
    kind: str, values: Sequence[Value], fraud: NDArray[np.bool_], weights: Floats
) -> tuple[Learned, Floats]:
    teacher = _TEACHERS[kind](values)
    present = np.array([value is not None for value in values])
    numbers = np.full((len(values), len(LEARNED[kind].parts)), np.nan)
    for block in np.array_split(np.arange(len(values)), FOLDS):
        others = present.copy()
        others[block] = False
        form = teacher.fit(others, fraud, weights)
        for row in block[present[block]].tolist():
            numbers[row] = form.numbers(values[row])
    return teacher.fit(present, fraud, weights), numbers


def _overall(fraud: Floats, total: Floats) -> float:
    """The share of fraud in all, never 0 or 1."""
    return float((fraud.sum() + 0.5) / (total.sum() + 1.0))


def _logit(share: Any) -> Any:
    return np.log(share / (1.0 - share))


class _Values:
    def __init__(self, values: Sequence[Value]) -> None:
        texts = [
            None if value is None else value if isinstance(value, str) else str(value) for value in values
        ]
        self._names = list(dict.fromkeys(text for text in texts if text is not None))
        places = {name: place for place, name in enumerate(self._names)}
        self._codes = np.array([-1 if text is None else places[text] for text in texts], dtype=np.intp)

    def fit(self, wanted: NDArray[np.bool_], fraud: NDArray[np.bool_], weights: Floats) -> Learned:
        weighted = weights[wanted]
        codes, bad = self._codes[wanted], weighted * fraud[wanted]
        count = len(self._names)
        total, frauds = np.bincount(codes, weighted, count), np.bincount(codes, bad, count)
        base = _overall(bad, weighted)
        share = (frauds + VALUE_SHRINKAGE * base) / (total + VALUE_SHRINKAGE)
        kept = np.argsort(-total, kind="stable")[:VALUES_MAX]
        kept = kept[total[kept] > 0]
        return ValueRates(
            {
                "unknown": 0.0,
                "values": [self._names[place] for place in kept.tolist()],
                "rates": (_logit(share[kept]) - _logit(base)).tolist(),
            }
        )


class _Networks:
    def __init__(self, values: Sequence[Value]) -> None:
        keys = [None if value is None else network_keys(str(value)) for value in values]
        self._valid = np.array([each is not None for each in keys])
        nothing = [0] * (len(NETWORKS_V4) + 1)
        self._keys = np.array([each or nothing for each in keys], dtype=np.uint64)

    def fit(self, wanted: NDArray[np.bool_], fraud: NDArray[np.bool_], weights: Floats) -> Learned:
        wanted = wanted & self._valid
        weighted = weights[wanted]
        bad = weighted * fraud[wanted]
        share: Any = _overall(bad, weighted)
        base, levels = _logit(share), []
        for place in range(len(NETWORKS_V4)):
            keys, first, inverse = np.unique(
                self._keys[wanted, place], return_index=True, return_inverse=True
            )
            total, frauds = np.bincount(inverse, weighted), np.bincount(inverse, bad)
            wider = share if place == 0 else share[first]
            own = (frauds + NETWORK_SHRINKAGE * wider) / (total + NETWORK_SHRINKAGE)
            # What is worth keeping: networks with frauds, then those of many events.
            kept = np.sort(np.lexsort((-total, -frauds))[:VALUES_MAX])
            known = np.zeros(len(keys), bool)
            known[kept] = True
            rates = np.where(known, own, wider)
            levels.append({"keys": keys[kept].tolist(), "rates": (_logit(own[kept]) - base).tolist()})
            share = rates[inverse]
        addresses = np.unique(self._keys[wanted, -1][fraud[wanted]])
        addresses = addresses[addresses < np.uint64(1 << 32)]
        step = -(-len(addresses) // FRAUD_ADDRESSES_MAX) or 1
        return NetworkRates({"unknown": 0.0, "levels": levels, "frauds": addresses[::step].tolist()})


class _Texts:
    def __init__(self, values: Sequence[Value]) -> None:
        texts = [None if value is None else str(value)[:TEXT_READ] for value in values]
        characters = sum(len(text) for text in texts if text is not None)
        step = -(-characters // CHARACTERS_MAX) or 1
        self._taught = np.zeros(len(texts), bool)
        self._taught[::step] = True
        found: list[list[str]] = [
            list(sequences(text)) if text is not None and taught else []
            for text, taught in zip(texts, self._taught.tolist(), strict=True)
        ]
        counted = Counter(each for row in found for each in row)
        ranked = sorted(
            (each for each, count in counted.items() if count >= SEQUENCE_ROWS_MIN),
            key=lambda each: (-counted[each], each),
        )
        self._names = ranked[:SEQUENCES_MAX]
        places = {name: place for place, name in enumerate(self._names)}
        columns = [[places[each] for each in row if each in places] for row in found]
        starts = np.cumsum([0, *map(len, columns)])
        flat = np.fromiter((place for row in columns for place in row), dtype=np.int32, count=int(starts[-1]))
        self._matrix = csr_matrix(
            (np.ones(len(flat)), flat, starts), shape=(len(texts), max(1, len(self._names)))
        )

    def fit(self, wanted: NDArray[np.bool_], fraud: NDArray[np.bool_], weights: Floats) -> Learned:
        wanted = wanted & self._taught
        if not self._names or len(np.unique(fraud[wanted])) < 2:
            return TextRisk({"bias": 0.0, "sequences": [], "weights": []})
        model = LogisticRegression(C=0.5, solver="liblinear", tol=0.01)
        model.fit(self._matrix[wanted], fraud[wanted], weights[wanted])
        found = np.round(model.coef_[0], 5)
        kept = np.flatnonzero(found)
        return TextRisk(
            {
                "bias": 0.0,
                "sequences": [self._names[place] for place in kept.tolist()],
                "weights": found[kept].tolist(),
            }
        )


_TEACHERS: dict[str, type[_Values] | type[_Networks] | type[_Texts]] = {
    ValueRates.kind: _Values,
    NetworkRates.kind: _Networks,
    TextRisk.kind: _Texts,
}
