"""Appends and acknowledges until it is killed: `python store_child.py DATA FIRST [FAIL_POINT]`.

Its acknowledgements are lines on standard output: `sequence event_id predicted_at_ms` after the record is
durable. It behaves like the server: decide in the turn, fold, flush once for several records, then answer.
"""

import sys
from pathlib import Path

from hawksnest import faults
from hawksnest.catalog import Label, Tenant
from hawksnest.config import Settings
from hawksnest.store import states as checkpoints
from hawksnest.store.data_folder import open_store
from hawksnest.store.records import (
    EventDeleted,
    EventKey,
    EventSent,
    Labelled,
    Predicted,
    Record,
    StoredEvent,
)
from hawksnest.world import RealWorld, seeded

HERE = Tenant("000000000000", "us-east-1")
IDS = 1_000


def stored(key: EventKey, at_ms: int, number: int) -> StoredEvent:
    return StoredEvent(
        key=key,
        event_at_ms=at_ms,
        timestamp="2024-01-01T00:00:00Z",
        entity_type="customer",
        entity_id=f"c{number % 211}",
        given={"amt": str(number), "padding": "x" * (number % 400)},
        amount=float(number),
        identities=[("IP_ADDRESS", f"192.0.2.{number % 199}")],
    )


def decided(event: StoredEvent, stored_too: bool, predicted_at_ms: int) -> Predicted:
    return Predicted(
        event=event,
        stored=stored_too,
        predicted_at_ms=predicted_at_ms,
        detector_id="det",
        detector_version="1",
        execution_mode="FIRST_MATCHED",
        values={},
        scores=[],
        trace=[],
        results=[],
        list_revisions={},
        revision=1,
    )


def main(data: str, first: int, fail_point: str) -> None:
    store = open_store(Settings.of(data=Path(data), fail_point=fail_point), RealWorld())
    ledger, states = store.ledger, store.states
    store.checkpointer._every = 400
    random = seeded(first)
    waiting: list[str] = []
    for number in range(first, first + 1_000_000):
        key = EventKey(*HERE, "pay", f"e{random.randrange(IDS)}-{first if random.random() < 0.3 else 0}")
        with ledger.turn:
            known, old = ledger.known(key), ledger.event(key)
            at_ms = old.event_at_ms if old is not None else random.randrange(10**9)
            dice = random.random()
            predicted_at_ms = number if known is None else max(number, known.predicted_at_ms + 1)
            record: Record
            if dice < 0.7:
                record = decided(stored(key, at_ms, number), dice < 0.6, predicted_at_ms)
            elif dice < 0.9 or known is None:
                record = EventSent(stored(key, at_ms, number))
            elif dice < 0.95:
                record = Labelled(key, "fraud", "x", number)
            else:
                record = EventDeleted(key, dice < 0.97, number)
            seq = ledger.append(record)
            if old is not None and not isinstance(record, Labelled) and getattr(record, "stored", True):
                states.revert(checkpoints.footprint(old))
            if isinstance(record, EventSent) or (isinstance(record, Predicted) and record.stored):
                states.fold(checkpoints.footprint(record.event))
        waiting.append(f"{seq} {key.event_id} {predicted_at_ms if isinstance(record, Predicted) else 0}")
        if len(waiting) >= random.randrange(1, 12):
            ledger.commit(seq)
            if faults.armed:
                faults.point("between_sync_and_answer")
            sys.stdout.write("\n".join(waiting) + "\n")
            sys.stdout.flush()
            waiting.clear()
        if number % 200 == 0:
            with store.catalog.transaction():
                store.catalog.put(HERE, Label(name=f"l{number}", created_at_ms=number, updated_at_ms=number))
            sys.stdout.write(f"0 l{number} 0\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
