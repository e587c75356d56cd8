"""FeaturePlan: from an event's values and what its keys did before to a named vector.

One object trains and serves: what training fitted (vocabularies) travels inside it as JSON, and the vector is
a pure function of the plan, the values, the reads and the instant. Missing is NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from math import cos, nan, pi, sin
from operator import itemgetter
from typing import Any, NamedTuple

from hawksnest.kernel.encoders import ENCODERS, Encoder, encoder_of
from hawksnest.kernel.events import Value, VariableSpec, numeric
from hawksnest.kernel.identity import IDENTITY_TYPES
from hawksnest.kernel.learned import LEARNED, Learned
from hawksnest.kernel.windows import COUNTERPARTS, ENTITY_READS, IDENTITY_READS, Reads

VERSION = 2
READABLE = (1, 2)  # 1: before there was anything learned about values
ENTITY_SOURCE = "user"  # the pseudo variable that stands for the entity
TIME_FEATURES = ("time_hour", "time_hour_sin", "time_hour_cos", "time_weekday_sin", "time_weekday_cos")
CACHE_LIMIT = 4_096  # values an encoder remembers; then it starts anew
CACHED_TEXT_LIMIT = 256  # longer values are not remembered

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MONEY_READS = ("sum_", "mean_", "amount_z")
_MEANS = tuple(ENTITY_READS.index(name) for name in ("mean_1d", "mean_30d"))
_SINCE_WITH = IDENTITY_READS.index("since_with_entity_s")


class Column(NamedTuple):
    """One variable that goes into the vector."""

    name: str
    encoder: Encoder
    learned: Learned | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its numbers: the encoder's, then those of what was learned."""
        return self.encoder.parts if self.learned is None else self.encoder.parts + self.learned.parts

    def encode(self) -> "Callable[[Value, int], _Numbers]":
        """The function that makes its numbers of a present value."""
        if self.learned is None:
            return self.encoder.encode
        encoded, learned = self.encoder.encode, self.learned.numbers
        return lambda value, event_at_ms: encoded(value, event_at_ms) + learned(value)


class _Identity(NamedTuple):
    """One identity type whose history goes into the vector."""

    variable_type: str
    variables: tuple[str, ...]


_Numbers = tuple[float, ...]
_Step = tuple[str, Callable[[Value, int], _Numbers], dict[Value, _Numbers] | None, _Numbers]


class FeaturePlan:
    """Which features there are and how to compute them; immutable but for its caches.

    `names`, `sources` (the variables each feature derives from; ENTITY_SOURCE for the entity, nothing for the
    event's time) and `categorical` (places of features whose numbers are codes) are in the vector's order.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        identities: Sequence[tuple[str, Sequence[str]]],
        aggregates: bool,
        price: str | None,
    ) -> None:
        self.columns = tuple(columns)
        self.aggregates = aggregates
        self.price = price  # the variable that is the event's amount
        self.identities = tuple(_Identity(kind, tuple(variables)) for kind, variables in identities)
        names: list[str] = list(TIME_FEATURES)
        sources: list[tuple[str, ...]] = [()] * len(TIME_FEATURES)
        categorical: list[int] = []
        for column in self.columns:
            name = column.name
            categorical.extend(len(names) + place for place in column.encoder.coded)
            names.extend(f"{name}_{part}" if part else name for part in column.parts)
            sources.extend([(name,)] * len(column.parts))
        self._steps: tuple[_Step, ...] = tuple(
            (column.name, column.encode(), {} if column.encoder.cached else None, (nan,) * len(column.parts))
            for column in self.columns
        )
        if aggregates:
            self._plan_aggregates(names, sources)
        self.names = tuple(names)
        self.sources = tuple(sources)
        self.categorical = tuple(categorical)

    def _plan_aggregates(self, names: list[str], sources: list[tuple[str, ...]]) -> None:
        types = {identity.variable_type: identity.variables for identity in self.identities}
        entity_places = []
        for place, read in enumerate(ENTITY_READS):
            source: tuple[str, ...] = (ENTITY_SOURCE,)
            kind = next((each for each in COUNTERPARTS if read.startswith(each.lower() + "_")), None)
            if kind is not None:
                if kind not in types:
                    continue
                source += types[kind]
            if read.startswith(_MONEY_READS):
                if self.price is None:
                    continue
                source += (self.price,)
            entity_places.append(place)
            names.append(f"{ENTITY_SOURCE}_{read}")
            sources.append(source)
        self._entity_reads = itemgetter(*entity_places)
        self._no_entity = (nan,) * len(entity_places)
        if self.price is not None:
            for window in ("1d", "30d"):
                names.append(f"{ENTITY_SOURCE}_amount_to_mean_{window}")
                sources.append((ENTITY_SOURCE, self.price))
        identity_places = [
            place
            for place, read in enumerate(IDENTITY_READS)
            if self.price is not None or not read.startswith(_MONEY_READS)
        ]
        self._identity_reads = itemgetter(*identity_places)
        self._no_identity = (nan,) * (len(identity_places) + 1)
        for kind, variables in self.identities:
            for place in identity_places:
                read = IDENTITY_READS[place]
                with_entity = "entit" in read
                names.append(f"{kind.lower()}_{read}")
                sources.append((*variables, ENTITY_SOURCE) if with_entity else variables)
            names.append(f"{kind.lower()}_new_with_entity")
            sources.append((*variables, ENTITY_SOURCE))

    @classmethod
    def fit(
        cls,
        specs: Sequence[VariableSpec],
        rows: Sequence[Mapping[str, Value]],
        *,
        aggregates: bool,
        identity_types: Sequence[str] | None = None,
        learned: Mapping[str, Learned] | None = None,
    ) -> "FeaturePlan":
        """A plan for these variables, with vocabularies of the training `rows` (model values).

        `identity_types` are those whose history is read (default: all that the variables have); without
        `aggregates` none is. `learned`: what labelled events taught about variables, by name.
        """
        known = learned or {}
        columns = []
        for spec in specs:
            encoder = encoder_of(spec)
            if encoder is not None:
                fitted = encoder.fit(row.get(spec.name) for row in rows)
                columns.append(Column(spec.name, fitted, known.get(spec.name)))
        wanted = IDENTITY_TYPES if identity_types is None else identity_types
        identities: dict[str, list[str]] = {}
        for spec in specs:
            kind = spec.variable_type
            if aggregates and kind is not None and kind in wanted:
                identities.setdefault(kind, []).append(spec.name)
        price = next((spec.name for spec in specs if spec.variable_type == "PRICE"), None)
        return cls(columns, list(identities.items()), aggregates, price)

    def learned_places(self, name: str) -> slice:
        """Where in the vector the numbers are that were learned about a variable."""
        start = len(TIME_FEATURES)
        for column in self.columns:
            end = start + len(column.parts)
            if column.name == name:
                return slice(start + len(column.encoder.parts), end)
            start = end
        raise KeyError(name)

    def vector(self, model_values: Mapping[str, Value], reads: Reads | None, event_at_ms: int) -> list[float]:
        """The features of one event. `reads` is not used, and may be None, in a plan without aggregates."""
        hour = event_at_ms % _DAY_MS / _HOUR_MS
        turn = hour * (pi / 12)
        # 1970-01-01 was a Thursday; the angle only has to be the same for the same weekday.
        week = event_at_ms // _DAY_MS % 7 * (2 * pi / 7)
        vector = [hour, sin(turn), cos(turn), sin(week), cos(week)]
        for name, encode, cache, missing in self._steps:
            value = model_values.get(name)
            if value is None:
                vector += missing
            elif cache is None:
                vector += encode(value, event_at_ms)
            else:
                numbers = cache.get(value)
                if numbers is None:
                    numbers = encode(value, event_at_ms)
                    if value.__class__ is not str or len(value) <= CACHED_TEXT_LIMIT:
                        if len(cache) >= CACHE_LIMIT:
                            cache.clear()
                        cache[value] = numbers
                vector += numbers
        if self.aggregates:
            self._add_aggregates(vector, model_values, reads)
        return vector

    def _add_aggregates(
        self, vector: list[float], model_values: Mapping[str, Value], reads: Reads | None
    ) -> None:
        assert reads is not None, "a plan with aggregates needs the reads"
        entity = reads.entity
        if entity is None:
            vector += self._no_entity
        else:
            vector += self._entity_reads(entity)
        if self.price is not None:
            amount = numeric(model_values.get(self.price))
            for place in _MEANS:
                mean = nan if entity is None else entity[place]
                vector.append(amount / mean if amount is not None and mean else nan)
        for variable_type, _ in self.identities:
            found = reads.identities.get(variable_type)
            if found is None:
                vector += self._no_identity
            else:
                vector += self._identity_reads(found)
                since = found[_SINCE_WITH]
                vector.append(nan if entity is None else 1.0 if since != since else 0.0)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; `from_json` makes an equal plan of it."""
        return {
            "version": VERSION,
            "aggregates": self.aggregates,
            "price": self.price,
            "identities": [[kind, list(variables)] for kind, variables in self.identities],
            "columns": [_column_json(column) for column in self.columns],
        }

    @classmethod
    def from_json(cls, plan: Mapping[str, Any]) -> "FeaturePlan":
        """The plan that `to_json` wrote. ValueError for another version or an unknown encoder."""
        if plan.get("version") not in READABLE:
            raise ValueError(f"feature plans of version {plan.get('version')} are not supported")
        columns = []
        for column in plan["columns"]:
            encoder = ENCODERS.get(column["encoder"])
            if encoder is None:
                raise ValueError(f"there is no encoder named {column['encoder']}")
            learned = column.get("learned")
            if learned is not None and learned["kind"] not in LEARNED:
                raise ValueError(f"nothing named {learned['kind']} can be learned about a value")
            form = None if learned is None else LEARNED[learned["kind"]](learned["content"])
            columns.append(Column(column["name"], encoder(column["vocabularies"]), form))
        return cls(columns, plan["identities"], plan["aggregates"], plan["price"])


def _column_json(column: Column) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": column.name,
        "encoder": column.encoder.kind,
        "vocabularies": [list(vocabulary.values) for vocabulary in column.encoder.vocabularies],
    }
    if column.learned is not None:
        written["learned"] = {"kind": column.learned.kind, "content": dict(column.learned.content)}
    return written
