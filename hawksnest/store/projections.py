"""What the journal says, as tables to ask: events, predictions, statistics.

A projection follows the journal by its cursor, which moves in the same transaction as the tables. It holds
sequences, not bodies: those are read from the journal. It is never migrated; one of another version, or with
a table missing, is thrown away and built again.
"""

import heapq
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from hawksnest import faults
from hawksnest.catalog import Tenant
from hawksnest.store.event_index import Entry, EventIndex, Filter, Slice, advance, fingerprint, key_of
from hawksnest.store.journal import Head, Journal, PredictedHead, SentHead
from hawksnest.store.ports import EventStatistics, PredictionQuery
from hawksnest.store.records import EventDeleted, EventKey
from hawksnest.store.sqlite import Database, Row

VERSION = 3
BATCH_RECORDS = 2_048
CHECKPOINT_BATCHES = 50
FILTER_EVERY = 100_000  # records between two writings of the filter
OFFERED_MAX = 16_384  # records kept in memory until they are projected; the others are read again
_AT_MAX = 2**62

_TABLES = {
    "projection": "(version BIGINT NOT NULL, seq BIGINT NOT NULL, filter_seq BIGINT NOT NULL)",
    "filter_slices": "(slice INTEGER PRIMARY KEY, capacity BIGINT NOT NULL, keys BIGINT NOT NULL, "
    "words BLOB NOT NULL)",
    "names": "(id INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL, "
    "name TEXT NOT NULL, detail TEXT NOT NULL)",
    "events": "(scope BIGINT NOT NULL, event_id TEXT NOT NULL, event_at_ms BIGINT NOT NULL, "
    "stored_seq BIGINT NOT NULL, decision_seq BIGINT NOT NULL, predicted_at_ms BIGINT NOT NULL, "
    "seq BIGINT NOT NULL, label TEXT, labelled_at TEXT, size_bytes BIGINT NOT NULL, "
    "PRIMARY KEY (scope, event_id)) WITHOUT ROWID",
    "predictions": "(seq INTEGER PRIMARY KEY, previous BIGINT NOT NULL, "
    "scope BIGINT NOT NULL, decider BIGINT NOT NULL, predicted_at_ms BIGINT NOT NULL)",
    "statistics": "(scope INTEGER PRIMARY KEY, events BIGINT NOT NULL, size_bytes BIGINT NOT NULL)",
    "labels": "(tenant BIGINT NOT NULL, label TEXT NOT NULL, events BIGINT NOT NULL, "
    "PRIMARY KEY (tenant, label))",
}
_INDEXES = {
    "events_by_time": "events (scope, event_at_ms) WHERE stored_seq > 0",
    "predictions_by_scope": "predictions (scope, predicted_at_ms)",
    "predictions_by_decider": "predictions (decider, predicted_at_ms)",
}

_EVENT = """
SELECT event_at_ms, stored_seq, decision_seq, predicted_at_ms, seq, label, labelled_at, size_bytes
FROM events WHERE scope = ? AND event_id = ?
"""
_PUT_EVENT = """
INSERT INTO events (scope, event_id, event_at_ms, stored_seq, decision_seq, predicted_at_ms, seq, label,
    labelled_at, size_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, event_id) DO UPDATE SET event_at_ms = excluded.event_at_ms,
    stored_seq = excluded.stored_seq, decision_seq = excluded.decision_seq,
    predicted_at_ms = excluded.predicted_at_ms, seq = excluded.seq, label = excluded.label,
    labelled_at = excluded.labelled_at, size_bytes = excluded.size_bytes
"""
_PUT_PREDICTION = """
INSERT INTO predictions (seq, previous, scope, decider, predicted_at_ms) VALUES (?, ?, ?, ?, ?)
"""
_ADD_STATISTICS = """
INSERT INTO statistics (scope, events, size_bytes) VALUES (?, ?, ?) ON CONFLICT (scope) DO UPDATE
SET events = statistics.events + excluded.events, size_bytes = statistics.size_bytes + excluded.size_bytes
"""
_ADD_LABELS = """
INSERT INTO labels (tenant, label, events) VALUES (?, ?, ?) ON CONFLICT (tenant, label) DO UPDATE
SET events = labels.events + excluded.events
"""
_CHAIN = """
WITH RECURSIVE chain (seq, previous, scope, decider, predicted_at_ms) AS (
    SELECT seq, previous, scope, decider, predicted_at_ms FROM predictions WHERE seq = ?
    UNION ALL
    SELECT older.seq, older.previous, older.scope, older.decider, older.predicted_at_ms
    FROM predictions AS older JOIN chain ON older.seq = chain.previous
)
SELECT predicted_at_ms, seq, decider FROM chain
WHERE predicted_at_ms BETWEEN ? AND ? AND (predicted_at_ms, seq) < (?, ?)
"""

Name = tuple[str, str, str, str, str]  # account, region, kind, name, detail


class _Place(NamedTuple):
    """Where an event id belongs."""

    scope: int
    tenant: int
    fingerprint: int


class Decided(NamedTuple):
    """What projections need of a prediction of an event id of which nothing was known."""

    key: EventKey
    entry: Entry
    detector_id: str
    detector_version: str


@dataclass
class _Batch:
    """What a run of records changes, gathered before the first statement."""

    places: dict[EventKey, _Place] = field(default_factory=dict)
    entries: dict[EventKey, Entry | None] = field(default_factory=dict)
    predictions: dict[int, Row] = field(default_factory=dict)  # by sequence
    dropped: list[Row] = field(default_factory=list)
    statistics: dict[int, list[int]] = field(default_factory=dict)  # scope → events, bytes
    labels: dict[tuple[int, str], int] = field(default_factory=dict)


class Projections:
    """The tables and the event index that goes with them. Safe to call from several threads."""

    def __init__(self, database: Database, journal: Journal) -> None:
        """Open what is there; `catch_up` brings it up to date."""
        self._database = database
        self._journal = journal
        self._writer = database.writer(durable=False)
        self._lock = threading.Lock()  # one batch at a time
        self._names: dict[Name, int] = {}
        self._numbers: dict[tuple[str, str, str], tuple[int, int]] = {}  # scope and tenant of an event type
        self.index = EventIndex(self._look_up)
        self.seq = 0
        self._filter_seq = 0
        self._batches = 0  # since the last checkpoint of the database
        self._offered: deque[tuple[int, Sequence[Decided]]] = deque()  # runs, with their first sequence
        self._held: deque[tuple[int, Sequence[Decided]]] = deque()  # the same, in the hands of `_apply`
        self._open()

    def offer(self, first: int, decided: Sequence[Decided]) -> None:
        """These predictions of new event ids were appended from sequence `first` on.

        That saves reading them again. Calls are serial and in order.
        """
        if first + len(decided) - self.seq <= OFFERED_MAX:
            self._offered.append((first, decided))

    def catch_up(self, upto: int) -> None:
        """Return once every record up to `upto`, which must be durable, is projected. Raises Transient."""
        while self.seq < upto:
            with self._lock:
                if self.seq < upto:
                    self._apply()
                    self._batches += 1
            if self._batches >= CHECKPOINT_BATCHES:
                self._batches = 0
                self._database.checkpoint()

    def rebuild(self) -> None:
        """Throw the tables away and build them again from the whole journal."""
        with self._lock:
            self._create()
        self.catch_up(self._journal.log.durable_seq)

    def close(self) -> None:
        """Keep the filter, so that the next start need not build it again."""
        if self._filter_seq < self.seq:
            with self._lock, self._writer.transaction():
                self._save_filter(self.seq)

    # reading ------------------------------------------------------------------------------------------

    def predictions(
        self, tenant: Tenant, query: PredictionQuery, limit: int, mark: tuple[int, int] | None
    ) -> list[tuple[int, int]]:
        """(predicted_at_ms, sequence) of at most `limit` predictions below `mark`, newest first."""
        below = mark or (_AT_MAX, _AT_MAX)
        newest_ms = below[0] if query.to_ms is None else min(query.to_ms, below[0])
        times = (query.from_ms or 0, newest_ms)  # the index finds where a page begins by its time alone
        deciders = self._deciders(tenant, query)
        scope = None
        if query.event_type is not None:
            scope = self._names.get((*tenant, "scope", query.event_type, ""))
            if scope is None:
                return []
        if query.event_id is not None:
            return self._of_event(tenant, query.event_id, scope, deciders, (*times, *below))[:limit]
        if deciders is not None:
            column, ids = "decider", sorted(deciders)
        elif scope is not None:
            column, ids, scope = "scope", [scope], None
        else:
            column, ids = "scope", self._scopes(tenant)
        extra, values = ("", ()) if scope is None else (" AND scope = ?", (scope,))
        sql = (
            f"SELECT predicted_at_ms, seq FROM predictions WHERE {column} = ?{extra} "
            "AND predicted_at_ms BETWEEN ? AND ? AND (predicted_at_ms, seq) < (?, ?) "
            "ORDER BY predicted_at_ms DESC, seq DESC LIMIT ?"
        )
        found = [self._database.query(sql, each, *values, *times, *below, limit) for each in ids]
        return [(row[0], row[1]) for row in islice(heapq.merge(*found, reverse=True), limit)]

    def prediction(self, decision_seq: int, predicted_at_ms: int) -> int:
        """Sequence of the prediction made then, at or before `decision_seq` of its event id; 0 if none."""
        rows = self._database.query(_CHAIN, decision_seq, predicted_at_ms, predicted_at_ms, _AT_MAX, _AT_MAX)
        return int(rows[0][1]) if rows else 0

    def statistics(self, tenant: Tenant, event_type: str) -> EventStatistics:
        """Count, size and span of the stored events of a type."""
        scope = self._names.get((*tenant, "scope", event_type, ""))
        if scope is None:
            return EventStatistics(0, 0, None, None)
        rows = self._database.query("SELECT events, size_bytes FROM statistics WHERE scope = ?", scope)
        edge = "SELECT event_at_ms FROM events WHERE scope = ? AND stored_seq > 0 ORDER BY event_at_ms"
        first = self._database.query(f"{edge} LIMIT 1", scope)
        last = self._database.query(f"{edge} DESC LIMIT 1", scope)
        count, size = rows[0] if rows else (0, 0)
        return EventStatistics(count, size, first[0][0] if first else None, last[0][0] if last else None)

    def stored_event_ids(self, tenant: Tenant, event_type: str, after: str, limit: int) -> list[str]:
        """At most `limit` ids of stored events of a type, ascending, above `after`."""
        scope = self._names.get((*tenant, "scope", event_type, ""))
        if scope is None:
            return []
        sql = (
            "SELECT event_id FROM events WHERE scope = ? AND stored_seq > 0 AND event_id > ? "
            "ORDER BY event_id LIMIT ?"
        )
        return [row[0] for row in self._database.query(sql, scope, after, limit)]

    def label_in_use(self, tenant: Tenant, label: str) -> bool:
        """Does a stored event carry the label?"""
        number = self._names.get((*tenant, "tenant", "", ""), 0)
        rows = self._database.query("SELECT events FROM labels WHERE tenant = ? AND label = ?", number, label)
        return bool(rows) and rows[0][0] > 0

    def _deciders(self, tenant: Tenant, query: PredictionQuery) -> set[int] | None:
        """Numbers of the detector versions asked for; None: any."""
        if query.detector_id is None and query.detector_version is None:
            return None
        return {
            number
            for (account, region, kind, name, detail), number in list(self._names.items())
            if kind == "decider"
            and (account, region) == tenant
            and query.detector_id in (None, name)
            and query.detector_version in (None, detail)
        }

    def _of_event(
        self,
        tenant: Tenant,
        event_id: str,
        scope: int | None,
        deciders: set[int] | None,
        bounds: tuple[int, int, int, int],
    ) -> list[tuple[int, int]]:
        """The same for one event id, in one event type or in all."""
        scopes = [scope] if scope is not None else self._scopes(tenant)
        found: list[tuple[int, int]] = []
        for each in scopes:
            for row in self._database.query(_EVENT, each, event_id):
                found += [
                    (at_ms, seq)
                    for at_ms, seq, decider in self._database.query(_CHAIN, row[2], *bounds)
                    if deciders is None or decider in deciders
                ]
        return sorted(found, reverse=True)

    def _scopes(self, tenant: Tenant) -> list[int]:
        return [
            number
            for (account, region, kind, _, _), number in list(self._names.items())
            if kind == "scope" and (account, region) == tenant
        ]

    def _look_up(self, key: EventKey) -> Entry | None:
        scope = self._names.get((key.account, key.region, "scope", key.event_type, ""))
        if scope is None:
            return None
        rows = self._database.query(_EVENT, scope, key.event_id)
        return Entry(*rows[0]) if rows else None

    # writing ------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """Project the next batch of durable records."""
        heads = self._offers() or self._read()
        if not heads:
            return
        upto = heads[-1][0]
        try:
            with self._writer.transaction():
                batch = _Batch()
                for seq, head in heads:
                    self._fold(batch, seq, head)
                self._write(batch)
                self._writer.execute("UPDATE projection SET seq = ?", upto)
                if upto - self._filter_seq >= FILTER_EVERY:
                    self._save_filter(self.seq)
                if faults.armed:
                    faults.point("in_projection")
        except BaseException:
            self._load_names()  # those given in the transaction are gone with it
            for each in self.index.filter.slices:
                each.dirty = True
            raise
        self.seq = upto
        self.index.projected(((key, place.fingerprint) for key, place in batch.places.items()), upto)

    def _offers(self) -> list[tuple[int, Head | Decided]]:
        """The next durable records, if they are still in memory."""
        held = self._held
        while self._offered:
            held.append(self._offered.popleft())
        while held and held[0][0] <= self.seq:  # projected by now
            held.popleft()
        found: list[tuple[int, Head | Decided]] = []
        following, durable = self.seq + 1, self._journal.log.durable_seq
        for first, records in held:
            after = first + len(records)
            if first != following or after - 1 > durable or len(found) >= BATCH_RECORDS:
                break
            found += zip(range(first, after), records, strict=True)
            following = after
        return found

    def _read(self) -> list[tuple[int, Head | Decided]]:
        """The next durable records from the journal, up to those in memory."""
        count = BATCH_RECORDS
        if self._held:
            count = min(count, self._held[0][0] - self.seq - 1)
        return list(islice(self._journal.heads(self.seq), count))

    def _fold(self, batch: _Batch, seq: int, head: Head | Decided) -> None:
        """Add one record to the batch."""
        if isinstance(head, Decided):
            self._fold_new(batch, seq, head)
            return
        key = key_of(head)
        place = batch.places.get(key)
        if place is None:
            place = batch.places[key] = self._place(key)
            old = None
            if self.index.filter.perhaps(place.fingerprint):
                rows = self._writer.execute(_EVENT, place.scope, key.event_id)
                old = Entry(*rows[0]) if rows else None
        else:
            old = batch.entries[key]
        scope, tenant, _ = place
        size = len(memoryview(head.event.given)) if isinstance(head, (SentHead, PredictedHead)) else 0
        new = batch.entries[key] = advance(old, seq, head, size)
        _count(batch, scope, tenant, old, -1)
        _count(batch, scope, tenant, new, 1)
        if isinstance(head, PredictedHead):
            decider = self._name(key.account, key.region, "decider", head.detector_id, head.detector_version)
            previous = old.decision_seq if old is not None else 0
            batch.predictions[seq] = (seq, previous, scope, decider, head.predicted_at_ms)
        elif isinstance(head, EventDeleted) and head.history and old is not None:
            self._drop_predictions(batch, old.decision_seq)

    def _fold_new(self, batch: _Batch, seq: int, decided: Decided) -> None:
        """The same for a prediction that was the first record of its event id."""
        key, entry, detector_id, version = decided
        place = batch.places[key] = self._place(key)
        batch.entries[key] = entry
        _count(batch, place.scope, place.tenant, entry, 1)
        decider = self._name(key.account, key.region, "decider", detector_id, version)
        batch.predictions[seq] = (seq, 0, place.scope, decider, entry.predicted_at_ms)

    def _drop_predictions(self, batch: _Batch, seq: int) -> None:
        """Remove an event id's predictions, from the newest back to the oldest."""
        while seq:
            written = batch.predictions.pop(seq, None)
            if written is not None:
                seq = written[1]
                continue
            batch.dropped.append((seq,))
            rows = self._writer.execute("SELECT previous FROM predictions WHERE seq = ?", seq)
            seq = rows[0][0] if rows else 0

    def _write(self, batch: _Batch) -> None:
        kept: list[Row] = []
        gone: list[Row] = []
        for key, entry in batch.entries.items():
            scope = batch.places[key].scope
            if entry is None:
                gone.append((scope, key.event_id))
            else:
                kept.append((scope, key.event_id, *entry))
        self._writer.many(_PUT_EVENT, kept)
        self._writer.many("DELETE FROM events WHERE scope = ? AND event_id = ?", gone)
        self._writer.many("DELETE FROM predictions WHERE seq = ?", batch.dropped)
        self._writer.many(_PUT_PREDICTION, list(batch.predictions.values()))
        self._writer.many(
            _ADD_STATISTICS, [(scope, *sums) for scope, sums in batch.statistics.items() if any(sums)]
        )
        self._writer.many(_ADD_LABELS, [(*place, change) for place, change in batch.labels.items() if change])

    def _place(self, key: EventKey) -> _Place:
        known = (key.account, key.region, key.event_type)
        numbers = self._numbers.get(known)
        if numbers is None:
            scope = self._name(key.account, key.region, "scope", key.event_type)
            numbers = self._numbers[known] = scope, self._name(key.account, key.region, "tenant")
        return _Place(*numbers, fingerprint(key))

    def _name(self, account: str, region: str, kind: str, name: str = "", detail: str = "") -> int:
        """The number that stands for a tenant, an event type or a detector version in the tables."""
        full = (account, region, kind, name, detail)
        number = self._names.get(full)
        if number is None:
            rows = self._writer.execute(
                "INSERT INTO names (account, region, kind, name, detail) VALUES (?, ?, ?, ?, ?) RETURNING id",
                *full,
            )
            number = self._names[full] = rows[0][0]
        return number

    def _open(self) -> None:
        """Take up where the tables are; start over when they are not usable."""
        names = [*_TABLES, *_INDEXES]
        marks = ", ".join("?" * len(names))
        there = self._database.query(f"SELECT count(*) FROM sqlite_master WHERE name IN ({marks})", *names)
        rows = (
            self._database.query("SELECT version, seq, filter_seq FROM projection")
            if there[0][0] == len(names)
            else []
        )
        if len(rows) != 1 or rows[0][0] != VERSION or rows[0][1] > self._journal.log.durable_seq:
            self._create()
            return
        _, self.seq, self._filter_seq = rows[0]
        self._load_names()
        slices = self._database.query("SELECT capacity, keys, words FROM filter_slices ORDER BY slice")
        self.index.filter = Filter([Slice(*row) for row in slices])
        for seq, head in self._journal.heads(self._filter_seq):
            if seq > self.seq:
                break
            self.index.filter.add(fingerprint(key_of(head)))

    def _create(self) -> None:
        """Empty tables, the cursor before the first record."""
        with self._writer.transaction():
            for name, columns in _TABLES.items():
                self._writer.execute(f"DROP TABLE IF EXISTS {name}")
                self._writer.execute(f"CREATE TABLE {name} {columns}")
            for name, columns in _INDEXES.items():
                self._writer.execute(f"CREATE INDEX {name} ON {columns}")
            self._writer.execute("INSERT INTO projection VALUES (?, 0, 0)", VERSION)
        self.seq = self._filter_seq = 0
        self._names = {}
        self._numbers = {}
        self.index.forget()

    def _load_names(self) -> None:
        rows = self._database.query("SELECT account, region, kind, name, detail, id FROM names")
        self._names = {(row[0], row[1], row[2], row[3], row[4]): row[5] for row in rows}
        self._numbers = {}

    def _save_filter(self, upto: int) -> None:
        """Write the slices that changed; they hold every key up to that record."""
        for number, each in enumerate(self.index.filter.slices):
            if each.dirty:
                self._writer.execute("DELETE FROM filter_slices WHERE slice = ?", number)
                self._writer.execute(
                    "INSERT INTO filter_slices (slice, capacity, keys, words) VALUES (?, ?, ?, ?)",
                    number,
                    each.capacity,
                    each.count,
                    memoryview(each.words).cast("B"),
                )
                each.dirty = False
        self._writer.execute("UPDATE projection SET filter_seq = ?", upto)
        self._filter_seq = upto


def _count(batch: _Batch, scope: int, tenant: int, entry: Entry | None, sign: int) -> None:
    """Take a stored event into the statistics, or (sign −1) out of them."""
    if entry is None or not entry.stored_seq:
        return
    sums = batch.statistics.setdefault(scope, [0, 0])
    sums[0] += sign
    sums[1] += sign * entry.size_bytes
    if entry.label is not None:
        place = (tenant, entry.label)
        batch.labels[place] = batch.labels.get(place, 0) + sign
