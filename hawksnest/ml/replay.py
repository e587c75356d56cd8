"""Stored events as they arrived: the journal read again, and entity states as they stood at each arrival."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.windows import EntityStates, Footprint, footprint
from hawksnest.ml.dataset import REPORT_EVERY, Dataset, LabelMap, Tell, check_rows, columns_of
from hawksnest.ml.spec import IngestedEvents, TrainingSpec
from hawksnest.ml.validation import Report
from hawksnest.store.records import (
    EventDeleted,
    EventKey,
    EventSent,
    Labelled,
    Predicted,
    Record,
    StoredEvent,
)

Journal = Callable[[], Iterable[tuple[int, Record]]]
"""Opens the journal from its beginning: (sequence, record) in order of arrival."""


class _Latest(NamedTuple):
    """The newest form of a stored event: where it is in the journal and its label."""

    seq: int
    label: str | None


class History:
    """The stored events of one event type, read from the journal as often as needed.

    Labels are as known at the end of the journal. An event sent again counts once, with its newest form, at
    the newest arrival; deleted events are gone.
    """

    def __init__(self, spec: TrainingSpec, source: IngestedEvents, journal: Journal) -> None:
        self._spec = spec
        self._source = source
        self._journal = journal
        self._latest: dict[str, _Latest] = {}
        self._repeated: set[str] = set()  # ids whose footprint must be taken back once
        self._end = 0
        self._survey()

    def dataset(self, report: Report, tell: Tell) -> Dataset:
        """The events inside the time window, in order of arrival."""
        source = self._source
        dataset = Dataset(columns_of(self._spec))
        label_of = LabelMap(self._spec)
        for _, event in self._rows():
            if not source.start_ms <= event.event_at_ms <= source.end_ms:
                continue
            dataset.add(event.event_at_ms, label_of(self._latest[event.key.event_id].label), event.given)
            dataset.entities.append(mark_of(event).entity_id)
            if len(dataset.times) % REPORT_EVERY == 0:
                tell(0.0, f"read {len(dataset.times):,} events")
                check_rows(dataset, report)
        if not dataset.times:
            raise report.stop(
                "No ingested events found for training, please check your training configuration.",
                f"No stored event of type {self._spec.event_type} lies inside the time window.",
            )
        return dataset

    def vectors(
        self, plan: FeaturePlan, dataset: Dataset, wanted: NDArray[np.bool_], tell: Tell
    ) -> NDArray[np.float64]:
        """Features of the dataset's `wanted` rows, aggregates as they stood when each event arrived.

        The states see every stored event of the type, inside the window or not, as the server's do.
        """
        made = np.full((int(wanted.sum()), len(plan.names)), np.nan)
        states = EntityStates()
        footprints: dict[str, Footprint] = {}
        source = self._source
        row = place = 0
        for count, (event_id, event, counted) in enumerate(self._arrivals()):
            previous = footprints.pop(event_id, None)
            if previous is not None:
                states.revert(previous)
            if event is None:
                continue
            mark = mark_of(event)
            if counted and source.start_ms <= event.event_at_ms <= source.end_ms:
                if wanted[row]:
                    made[place] = plan.vector(dataset.model_values(row), states.read(mark), event.event_at_ms)
                    place += 1
                row += 1
            states.fold(mark)
            if event_id in self._repeated:
                footprints[event_id] = mark
            if count % REPORT_EVERY == 0:
                tell(count / max(1, len(self._latest)), f"computed features of {row:,} events")
        assert row == len(dataset.times), "both readings of the journal see the same events"
        return made

    def _survey(self) -> None:
        """First reading: which records count, and the labels."""
        latest = self._latest
        for seq, record in self._journal():
            self._end = seq
            if isinstance(record, Labelled):
                if self._ours(record.key) and (known := latest.get(record.key.event_id)):
                    latest[record.key.event_id] = known._replace(label=record.label)
            elif isinstance(record, EventDeleted):
                if self._ours(record.key) and record.key.event_id in latest:
                    del latest[record.key.event_id]
                    self._repeated.add(record.key.event_id)
            elif (isinstance(record, EventSent) or record.stored) and self._ours(record.event.key):
                event_id = record.event.key.event_id
                if event_id in latest:
                    self._repeated.add(event_id)
                latest[event_id] = _Latest(seq, record.event.label)

    def _rows(self) -> Iterator[tuple[int, StoredEvent]]:
        """The newest form of each stored event."""
        for seq, record in self._bounded():
            if isinstance(record, EventSent | Predicted) and self._counts(seq, record.event.key):
                yield seq, record.event

    def _arrivals(self) -> Iterator[tuple[str, StoredEvent | None, bool]]:
        """Everything that changes the states: (event id, the event or None for a deletion, is it a row)."""
        for seq, record in self._bounded():
            if isinstance(record, EventDeleted):
                if self._ours(record.key):
                    yield record.key.event_id, None, False
            elif isinstance(record, EventSent) or (isinstance(record, Predicted) and record.stored):
                key = record.event.key
                if self._ours(key):
                    yield key.event_id, record.event, self._counts(seq, key)

    def _bounded(self) -> Iterator[tuple[int, Record]]:
        """The records of the first reading; the server goes on writing behind them."""
        for seq, record in self._journal():
            if seq > self._end:
                return
            yield seq, record

    def _counts(self, seq: int, key: EventKey) -> bool:
        known = self._latest.get(key.event_id) if self._ours(key) else None
        return known is not None and known.seq == seq

    def _ours(self, key: EventKey) -> bool:
        spec = self._spec
        return key.event_type == spec.event_type and key.account == spec.account and key.region == spec.region


def mark_of(event: StoredEvent) -> Footprint:
    """What a stored event leaves in the entity states."""
    key = event.key
    return footprint(
        key.tenant,
        key.event_type,
        event.entity_type,
        event.entity_id,
        event.event_at_ms,
        event.amount,
        event.identities,
    )
