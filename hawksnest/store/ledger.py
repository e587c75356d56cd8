"""Journal, event index and projections behind one door: `ports.Ledger` on files."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import msgspec

from hawksnest.catalog import Tenant
from hawksnest.errors import Transient, invalid
from hawksnest.log import LogFailed
from hawksnest.store.event_index import Entry, advance, first_entry, key_of
from hawksnest.store.journal import ClosedEvent, Journal, PredictedHead, SentHead, given_bytes
from hawksnest.store.ports import EventStatistics, Known, Look, LookAgain, PredictionQuery
from hawksnest.store.projections import Decided, Projections
from hawksnest.store.records import EventKey, EventSent, Labelled, Outline, Predicted, Record, StoredEvent
from hawksnest.store.sqlite import Database

COMMIT_TIMEOUT_S = 5.0
LAG_MAX = 1_000_000  # records between journal and projections; beyond that appending waits for them
TICK_S = 0.2
LINGER_S = 0.5  # a batch of projections gathers this long; readers never wait for it
RETRY_S = 1.0

_log = logging.getLogger(__name__)


class JournalLedger:
    """One journal with what follows it. Safe to call from several threads; see `ports.Ledger`."""

    def __init__(self, database: Database, journal: Journal) -> None:
        """Open, and bring the projections up to date. Raises Transient."""
        self.journal = journal
        self.projections = Projections(database, journal)
        self._index = self.projections.index
        self._turn = threading.RLock()
        self._last: tuple[int, EventKey | None, Entry | None] = (0, None, None)  # what `settled` saw last
        self._durable = threading.Condition()
        self._waiting = 0
        self._committer: Callable[[], None] | None = None
        self._committer_thread = 0
        self._follower: threading.Thread | None = None
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._idle = False
        self.projections.catch_up(journal.log.durable_seq)

    @property
    def turn(self) -> AbstractContextManager[object]:
        """The lock that makes read-decide-append atomic; re-entrant."""
        return self._turn

    @property
    def last_seq(self) -> int:
        """Sequence of the newest appended record, 0 if none."""
        return self.journal.log.last_seq

    @property
    def durable_seq(self) -> int:
        """Everything up to here is on disk."""
        return self.journal.log.durable_seq

    def append(self, record: Record) -> int:
        """Sequence number of the record.

        Raises StorageFull, and Transient when the projections are LAG_MAX records behind; then nothing was
        appended.
        """
        self._admit()
        key = key_of(record)
        with self._turn:  # held already by callers that have read what they decide on
            seq, looked_up, entry = self._last
            last_seq = self.journal.log.last_seq
            old = entry if seq == last_seq and looked_up == key else self._index.entry(key)
            stays = isinstance(record, Labelled) or (isinstance(record, Predicted) and not record.stored)
            if old is not None and old.stored_seq and not stays:
                record = msgspec.structs.replace(record, replaces=old.stored_seq)
            seq = self.journal.append(record)
            self._index.appended([(key, (seq, advance(old, seq, record)))])
            return seq

    def append_new(self, records: Sequence[Predicted]) -> list[int | Exception]:
        """`append` of records of different event ids that `settled` knew nothing of in this turn.

        For each its sequence, or what `append` raises.
        """
        with self._turn:
            try:
                self._admit()
                first = self.journal.append_together(records)
            except (Transient, LogFailed) as fault:
                return [fault] * len(records)
            if first is None or not records:
                return [self._appended(record) for record in records]
            decided = [
                Decided(
                    record.event.key,
                    first_entry(seq, record, given_bytes(record.event)),
                    record.detector_id,
                    record.detector_version,
                )
                for seq, record in enumerate(records, first)
            ]
            self._index.appended((each.key, (each.entry.seq, each.entry)) for each in decided)
            self.projections.offer(first, decided)
            return [each.entry.seq for each in decided]

    def _appended(self, record: Predicted) -> int | Exception:
        try:
            return self.append(record)
        except Exception as fault:  # noqa: BLE001  it belongs to the one whose record this is
            return fault

    def _admit(self) -> None:
        if self.journal.log.last_seq - self.projections.seq > LAG_MAX:
            raise Transient(f"More than {LAG_MAX:,} records wait to be indexed; try again.")

    def flush(self) -> int:
        """Write and sync everything appended so far; returns the durable sequence. Raises LogFailed."""
        try:
            durable = self.journal.log.flush()
        finally:
            if self._waiting:
                with self._durable:
                    self._durable.notify_all()
        if self._idle:
            self._news.set()
        return durable

    def set_committer(self, wake: Callable[[], None] | None) -> None:
        """From now on the calling thread flushes for everybody; `wake`, callable from any thread, asks it to.

        None: everybody flushes alone again.
        """
        self._committer_thread = threading.get_ident()
        self._committer = wake

    def commit(self, seq: int) -> None:
        """Return once `seq` is durable. Raises Transient after COMMIT_TIMEOUT_S, LogFailed when it fails."""
        log = self.journal.log
        if log.durable_seq >= seq:
            return
        wake = self._committer
        if wake is None or self._committer_thread == threading.get_ident():
            self.flush()
            return
        with self._durable:
            self._waiting += 1
            try:
                wake()
                self._durable.wait_for(lambda: log.durable_seq >= seq or log.failed, COMMIT_TIMEOUT_S)
            finally:
                self._waiting -= 1
        if log.durable_seq < seq:
            if log.failed:
                raise LogFailed("the journal could not be written")
            raise Transient(f"The journal was not synced within {COMMIT_TIMEOUT_S:.0f} s.")

    def known(self, key: EventKey) -> Known | None:
        """The newest that is known of an event id, durable or not."""
        entry = self._index.entry(key)
        return entry.known() if entry is not None else None

    def look(self, key: EventKey) -> Look:
        """What is known of an event id and its stored form, read from disk; not with the turn held."""
        last_seq = self.journal.log.last_seq
        entry = self._index.entry(key)
        known = entry.known() if entry is not None else None
        return Look(last_seq, known, self._stored(entry) if self._folded(entry) else None, entry)

    def settled(self, key: EventKey, look: Look | None) -> tuple[Known | None, StoredEvent | None]:
        """With the turn held: the newest that is known of an event id, and its stored form if it has one.

        Raises LookAgain when memory and `look` do not tell.
        """
        seen, entry = self._index.remembered(key)
        known = entry.known() if entry is not None else None
        event: StoredEvent | None = None
        if not seen:
            # Whatever was appended about it since the look would be remembered, or is projected by now.
            if look is None or self.projections.seq > look.last_seq:
                raise LookAgain
            assert look.memo is None or isinstance(look.memo, Entry)
            known, event, entry = look.known, look.event, look.memo
        elif known is not None and known.stored:
            if look is None or known != look.known:
                raise LookAgain
            event = look.event
        self._last = (self.journal.log.last_seq, key, entry)  # `append` usually follows
        return known, event

    def event(self, key: EventKey) -> StoredEvent | None:
        """The newest stored form with its current label. Raises ServiceError when it cannot be opened."""
        return self._stored(self._index.entry(key))

    def _folded(self, entry: Entry | None) -> bool:
        """Is the stored form in the entity states? Not when its data key, or its tenant's, cannot be had."""
        keys = self.journal.keys
        if entry is None or not entry.stored_seq or not keys.closed:
            return True
        head = self.journal.head(entry.stored_seq, opened=True)
        assert isinstance(head, SentHead | PredictedHead)
        return not (isinstance(head.event, ClosedEvent) or keys.locked(head.event.key.tenant))

    def _stored(self, entry: Entry | None) -> StoredEvent | None:
        if entry is None or not entry.stored_seq:
            return None
        record = self.journal.get(entry.stored_seq)
        assert isinstance(record, EventSent | Predicted)
        return msgspec.structs.replace(record.event, label=entry.label, labelled_at=entry.labelled_at)

    def prediction(self, key: EventKey, predicted_at_ms: int) -> Predicted | None:
        """The prediction of an event id made at that instant."""
        entry = self._index.entry(key)
        if entry is None or not entry.decision_seq:
            return None
        seq = entry.decision_seq
        if entry.predicted_at_ms != predicted_at_ms:
            self.catch_up()
            seq = self.projections.prediction(seq, predicted_at_ms)
        return self._predicted(self.journal.get(seq)) if seq else None

    def predictions(
        self, tenant: Tenant, query: PredictionQuery, limit: int, before: str = ""
    ) -> tuple[Sequence[Predicted], str]:
        """Newest first; the second value is an opaque mark for the next page, "" on the last.

        Raises ValidationException for a mark that this ledger has not given.
        """
        mark = _mark(before) if before else None
        self.catch_up()
        found = self.projections.predictions(tenant, query, limit + 1, mark)
        following = f"{found[limit - 1][0]:x}.{found[limit - 1][1]:x}" if len(found) > limit > 0 else ""
        return [self._predicted(self.journal.listed(seq)) for _, seq in found[:limit]], following

    def statistics(self, tenant: Tenant, event_type: str) -> EventStatistics:
        """Of the stored events of a type."""
        self.catch_up()
        return self.projections.statistics(tenant, event_type)

    def stored_event_ids(self, tenant: Tenant, event_type: str, after: str, limit: int) -> Sequence[str]:
        """At most `limit` ids of stored events of a type, ascending, above `after`."""
        self.catch_up()
        return self.projections.stored_event_ids(tenant, event_type, after, limit)

    def label_in_use(self, tenant: Tenant, label: str) -> bool:
        """Does any stored event carry the label?"""
        self.catch_up()
        return self.projections.label_in_use(tenant, label)

    def replay(self, after: int = 0) -> Iterator[tuple[int, Record | Outline]]:
        """Every durable record with a sequence above `after`, in order; see `JournalReader.read`."""
        return self.journal.read(after)

    def catch_up(self) -> None:
        """Make everything appended so far durable and projected. Raises Transient and LogFailed."""
        seq = self.journal.log.last_seq
        self.commit(seq)
        self.projections.catch_up(seq)

    def follow(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Keep the projections up to date from a thread of our own; it calls `on_tick` now and then."""
        assert self._follower is None
        self._follower = threading.Thread(
            target=self._follow, args=(on_tick,), name="hawksnest-projections", daemon=True
        )
        self._follower.start()

    def close(self) -> None:
        """Flush, project, stop the thread and release the files (not the database)."""
        self._stopping.set()
        self._news.set()
        if self._follower is not None:
            self._follower.join()
        try:
            if not self.journal.log.failed:
                self.projections.catch_up(self.flush())
                self.projections.close()
        except Transient as error:  # the next start catches up
            _log.warning("projections were left behind: %s", error)
        finally:
            self.journal.close()

    @staticmethod
    def _predicted(record: Record) -> Predicted:
        assert isinstance(record, Predicted)
        return record

    def _follow(self, on_tick: Callable[[], None]) -> None:
        failing = False
        while not self._stopping.is_set():
            self._idle = True
            if self.durable_seq <= self.projections.seq:
                self._news.wait(TICK_S)
            self._idle = False
            self._news.clear()
            self._stopping.wait(LINGER_S)
            try:
                self.projections.catch_up(self.durable_seq)
                self.journal.log.prepare()
                on_tick()
                failing = False
            except Transient as error:
                if not failing:
                    _log.warning("projections wait: %s", error)
                failing = True
                self._stopping.wait(RETRY_S)


def _mark(text: str) -> tuple[int, int]:
    """The place that a page's mark stands for."""
    try:
        at_ms, seq = (int(part, 16) for part in text.split("."))
    except ValueError:
        raise invalid("The page token is not valid.") from None
    if not (0 <= at_ms < 1 << 63 and 0 <= seq < 1 << 63):
        raise invalid("The page token is not valid.")
    return at_ms, seq
