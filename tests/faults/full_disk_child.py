"""A store on a disk that fills up and is freed again: `python full_disk_child.py DATA`.

The limit on the size of this process's files plays the full disk: allocating a segment fails as it would
there, and so does SQLite's write. Ends with 0 when everything held.
"""

import resource
import sys
from pathlib import Path

from hawksnest.catalog import Label, Tenant
from hawksnest.errors import StorageFull, Transient
from hawksnest.store.journal import Journal
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.ports import PredictionQuery
from hawksnest.store.records import EventKey, Predicted, StoredEvent
from hawksnest.store.sqlite import Database, SqliteCatalog

HERE = Tenant("000000000000", "us-east-1")
SEGMENT_BYTES = 1 << 20


def room(limit: int) -> None:
    """Set how large a file may grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def prediction(number: int) -> Predicted:
    event = StoredEvent(
        EventKey(*HERE, "pay", f"e{number}"), number, "t", "customer", "c", {"v": "x" * 3_000}
    )
    return Predicted(event, True, number, "det", "1", "FIRST_MATCHED", {}, [], [], [], {}, 1)


def main(data: Path) -> None:
    database = Database(data / "hawksnest.sqlite")
    catalog = SqliteCatalog(database)
    Journal(data / "journal", SEGMENT_BYTES).close()  # its first segment still fits, the next will not
    ledger = JournalLedger(database, Journal(data / "journal", 2 * SEGMENT_BYTES))
    ledger.follow()
    label = Label(name="before", created_at_ms=1, updated_at_ms=1)
    with catalog.transaction():
        catalog.put(HERE, label)
    room(SEGMENT_BYTES)
    answered = 0
    for number in range(1, 2 * SEGMENT_BYTES // 3_000):
        try:
            with ledger.turn:
                seq = ledger.append(prediction(number))
        except StorageFull:
            break
        ledger.commit(seq)
        answered = seq
    else:
        raise AssertionError("the disk never filled up")
    for _ in range(3):
        try:
            with ledger.turn:
                ledger.append(prediction(10_000))
        except StorageFull:
            continue
        raise AssertionError("a record was taken without room for it")
    assert ledger.durable_seq == answered == ledger.last_seq > 100
    assert ledger.known(EventKey(*HERE, "pay", "e10000")) is None
    try:
        with catalog.transaction():
            catalog.put(
                HERE,
                Label(name="full", description="x" * 2 * SEGMENT_BYTES, created_at_ms=1, updated_at_ms=1),
            )
        raise AssertionError("a resource was taken without room for it")
    except Transient as error:
        assert "full" in str(error) or "room" in str(error)
    assert catalog.get(HERE, Label, "full") is None and catalog.get(HERE, Label, "before") == label
    room(resource.RLIM_INFINITY)
    with ledger.turn:
        seq = ledger.append(prediction(10_001))
    ledger.commit(seq)
    listed, _ = ledger.predictions(HERE, PredictionQuery(), 10_000)
    assert [each.predicted_at_ms for each in listed] == [10_001, *range(answered, 0, -1)]
    ledger.close()
    again = JournalLedger(database, Journal(data / "journal", 2 * SEGMENT_BYTES))
    assert len(again.predictions(HERE, PredictionQuery(), 10_000)[0]) == answered + 1
    again.close()
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
