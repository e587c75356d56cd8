"""What the rest of Hawksnest asks of a store. SQLite is the first adapter, PostgreSQL the second."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from hawksnest.catalog import Resource, Tenant
from hawksnest.store.records import EventKey, Outline, Predicted, Record, StoredEvent

R = TypeVar("R", bound=Resource)


class Catalog(Protocol):
    """The resources: ordinary rows, strongly consistent. Safe to call from several threads."""

    def transaction(self) -> AbstractContextManager[None]:
        """Writers are serial; everything inside is written whole or not at all. Re-entrant."""

    def get(self, tenant: Tenant, kind: type[R], *key: str) -> R | None: ...

    def put(self, tenant: Tenant, resource: Resource) -> None:
        """Insert or replace; only inside `transaction()`."""

    def delete(self, tenant: Tenant, kind: type[Resource], *key: str) -> bool:
        """True when it was there; only inside `transaction()`."""

    def list(self, tenant: Tenant, kind: type[R], *prefix: str) -> Sequence[R]:
        """All resources whose key starts with `prefix`, in key order (plain string order per part)."""

    def next_number(self, tenant: Tenant, counter: str) -> int:
        """1, 2, 3 …, never the same twice for one counter; only inside `transaction()`."""

    def revision(self, tenant: Tenant) -> int:
        """Grows with every committed change of the tenant's resources; cheap (memory)."""

    def tenants(self) -> Sequence[Tenant]:
        """Everybody who has or had resources."""


class Known(NamedTuple):
    """The newest that is known of an event id."""

    event_at_ms: int
    stored: bool  # False: only predicted
    decision_seq: int  # journal sequence of its newest prediction, 0 if none
    predicted_at_ms: int  # of the newest prediction, 0 if none
    seq: int  # journal sequence of the newest record of this id, of any kind: changes whenever anything did


class Look(NamedTuple):
    """What `Ledger.look` read of an event id: true until a record about it is appended after `last_seq`."""

    last_seq: int
    known: Known | None
    event: StoredEvent | None
    memo: object  # the ledger's own


class LookAgain(Exception):
    """Memory and what was read before do not tell what is known of an event id: `look`, without the turn."""


@dataclass(frozen=True)
class PredictionQuery:
    """Filters of ListEventPredictions, ANDed. Times are inclusive epoch milliseconds."""

    event_id: str | None = None
    event_type: str | None = None
    detector_id: str | None = None
    detector_version: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class EventStatistics(NamedTuple):
    """`size_bytes` is the size of the variables as stored."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    size_bytes: int
    first_ms: int | None
    last_ms: int | None


class Ledger(Protocol):
    """Journal and its projections behind one door. Reads see everything appended before them.

    `append` is called with `turn` held (see below) and never blocks on the disk; the record is durable after
    `commit(seq)` returns or, in the server, when the turn's flush has carried it.
    """

    @property
    def turn(self) -> AbstractContextManager[object]:
        """The lock that makes read-decide-append atomic; re-entrant; never held over a sync or a query."""

    @property
    def durable_seq(self) -> int:
        """Everything up to this sequence survives a crash."""

    def append(self, record: Record) -> int:
        """Sequence number (1, 2, …) of the record. Raises StorageFull, then nothing was written.

        Raises ServiceError when the record has to be sealed with a data key that cannot be had.
        """

    def append_new(self, records: Sequence[Predicted]) -> Sequence[int | Exception]:
        """`append` of records of different event ids that `settled`, in this turn, knew nothing of.

        For each its sequence, or what `append` raises.
        """

    def flush(self) -> int:
        """Write and sync everything appended so far (one system call); returns the durable sequence."""

    def commit(self, seq: int) -> None:
        """Return once `seq` is durable; flushes itself unless a committer does (`committer`)."""

    def known(self, key: EventKey) -> Known | None:
        """Exact, includes what is not durable yet. Memory for new ids; may touch disk for repeated ones."""

    def look(self, key: EventKey) -> Look:
        """What is known of an event id and its stored form, read from disk; never with the turn held."""

    def settled(self, key: EventKey, look: Look | None) -> tuple[Known | None, StoredEvent | None]:
        """With the turn held: the newest that is known of an event id, and its stored form if it has one.

        From memory and `look` alone. Raises LookAgain when these do not tell.
        """

    def event(self, key: EventKey) -> StoredEvent | None:
        """The newest stored form with its current label; None when only predicted or deleted.

        Raises ServiceError when it is sealed with a data key that cannot be had; so does `prediction`.
        """

    def prediction(self, key: EventKey, predicted_at_ms: int) -> Predicted | None: ...

    def predictions(
        self, tenant: Tenant, query: PredictionQuery, limit: int, before: str = ""
    ) -> tuple[Sequence[Predicted], str]:
        """Newest first; the second value is an opaque mark for the next page, "" on the last.

        Those that are sealed and cannot be opened have ids, times and the detector, nothing else.
        """

    def statistics(self, tenant: Tenant, event_type: str) -> EventStatistics: ...

    def stored_event_ids(self, tenant: Tenant, event_type: str, after: str, limit: int) -> Sequence[str]:
        """At most `limit` ids of stored events of a type, ascending, above `after`."""

    def label_in_use(self, tenant: Tenant, label: str) -> bool:
        """Does any stored event carry the label?"""

    def replay(self, after: int = 0) -> Iterator[tuple[int, Record | Outline]]:
        """Every durable record with a sequence above `after`, in order; of one that cannot be opened, its
        outline."""
