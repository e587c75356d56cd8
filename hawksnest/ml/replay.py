"""Stored events as they arrived: the journal read again, and entity states as they stood at each arrival."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.windows import EntityStates, Footprint
from hawksnest.ml.dataset import REPORT_EVERY, Dataset, LabelMap, Tell, check_rows, columns_of
from hawksnest.ml.spec import IngestedEvents, TrainingSpec
from hawksnest.ml.validation import Report
from hawksnest.store.journal import ClosedEvent, EventHead, Head, JournalReader, PredictedHead, SentHead
from hawksnest.store.records import EventDeleted, EventKey, EventSent, Labelled, Predicted, StoredEvent
from hawksnest.store.states import footprint


class _Latest(NamedTuple):
    """The newest form of a stored event: where it is in the journal and its label."""

    seq: int
    label: str | None


class History:
    """The stored events of one event type, read from the journal as often as needed.

    Labels are as known at the end of the journal. An event sent again counts once, with its newest form, at
    the newest arrival; deleted events are gone, and so are sealed ones that cannot be opened.
    """

    def __init__(self, spec: TrainingSpec, source: IngestedEvents, journal: JournalReader) -> None:
        self._spec = spec
        self._source = source
        self._journal = journal
        self._latest: dict[str, _Latest] = {}
        self._replaced: set[str] = set()  # ids whose footprint must be taken back at some time
        self._end = 0
        self._closed: set[str] = set()  # ids of stored events that cannot be opened
        self._survey()

    def dataset(self, report: Report, tell: Tell) -> Dataset:
        """The events inside the time window, in order of arrival. Raises Unusable when there is none."""
        if self._closed:
            report.file_level(
                "INFO",
                "Some stored events cannot be read.",
                f"{len(self._closed)} stored events of type {self._spec.event_type} are sealed with an "
                "encryption key that cannot be used now; the model is trained without them.",
            )
        dataset = Dataset(columns_of(self._spec))
        label_of = LabelMap(self._spec)
        for event in self._rows():
            dataset.add(event.event_at_ms, label_of(self._latest[event.key.event_id].label), event.given)
            dataset.entities.append(footprint(event).entity_id)
            if len(dataset.times) % REPORT_EVERY == 0:
                tell(len(dataset.times) / len(self._latest), f"read {len(dataset.times):,} events")
                check_rows(dataset, report)
        if not dataset.times:
            raise report.stop(
                "No ingested events found for training, please check your training configuration.",
                f"No stored event of type {self._spec.event_type} lies inside the time window.",
            )
        return dataset

    def vectors(
        self, plans: Sequence[FeaturePlan], dataset: Dataset, wanted: NDArray[np.bool_], tell: Tell
    ) -> list[NDArray[np.float64]]:
        """Features of the dataset's `wanted` rows by each plan, aggregates as they stood at each arrival.

        The states see every stored event of the type, inside the window or not, as the server's do.
        """
        made = [np.empty((int(wanted.sum()), len(plan.names))) for plan in plans]
        states = EntityStates()
        folded: dict[str, Footprint] = {}
        row = place = 0
        for event_id, event, is_row in self._arrivals():
            previous = folded.pop(event_id, None)
            if previous is not None:
                states.revert(previous)
            if event is None:
                continue
            mark = footprint(event)
            if is_row:
                if wanted[row]:
                    values, reads = dataset.model_values(row), states.read(mark)
                    for plan, vectors in zip(plans, made, strict=True):
                        vectors[place] = plan.vector(values, reads, event.event_at_ms)
                    place += 1
                row += 1
                if row % REPORT_EVERY == 0:
                    tell(row / len(dataset.times), f"computed features of {row:,} events")
            states.fold(mark)
            if event_id in self._replaced:
                folded[event_id] = mark
        assert row == len(dataset.times), "both readings of the journal see the same events"
        return made

    def _survey(self) -> None:
        """First reading: which records count, and the labels."""
        latest = self._latest
        for seq, head in self._journal.heads(opened=True):
            self._end = seq
            key = head.event.key if isinstance(head, SentHead | PredictedHead) else head.key
            if not self._ours(key):
                continue
            known = latest.get(key.event_id)
            if isinstance(head, Labelled):
                if known is not None:
                    latest[key.event_id] = known._replace(label=head.label)
                continue
            event = _stored(head)
            if event is None and not isinstance(head, EventDeleted):
                continue
            self._closed.discard(key.event_id)
            if known is not None:
                self._replaced.add(key.event_id)
                del latest[key.event_id]
            if isinstance(event, ClosedEvent):
                self._closed.add(key.event_id)
            elif event is not None:
                latest[key.event_id] = _Latest(seq, event.label)

    def _rows(self) -> Iterator[StoredEvent]:
        """The newest form of each stored event inside the window."""
        for seq, record in self._journal.read():
            if seq > self._end:
                return
            if isinstance(record, EventSent | Predicted) and self._is_row(seq, record.event):
                yield record.event

    def _arrivals(self) -> Iterator[tuple[str, EventHead | None, bool]]:
        """Everything that changes the states: (event id, the event or None for a deletion, is it a row)."""
        for seq, head in self._journal.heads(opened=True):
            if seq > self._end:  # the server goes on writing
                return
            if isinstance(head, EventDeleted):
                if self._ours(head.key):
                    yield head.key.event_id, None, False
            elif (event := _stored(head)) is not None and self._ours(event.key):
                if isinstance(event, ClosedEvent):
                    yield event.key.event_id, None, False
                else:
                    yield event.key.event_id, event, self._is_row(seq, event)

    def _is_row(self, seq: int, event: StoredEvent | EventHead) -> bool:
        """Is this record the newest form of one of our events, and inside the window?"""
        if not self._ours(event.key):
            return False
        known = self._latest.get(event.key.event_id)
        inside = self._source.start_ms <= event.event_at_ms <= self._source.end_ms
        return inside and known is not None and known.seq == seq

    def _ours(self, key: EventKey) -> bool:
        spec = self._spec
        return key.event_type == spec.event_type and key.account == spec.account and key.region == spec.region


def _stored(head: Head) -> EventHead | None:
    """The event that a record stores, if it stores one."""
    if isinstance(head, SentHead) or (isinstance(head, PredictedHead) and head.stored):
        return head.event
    return None
