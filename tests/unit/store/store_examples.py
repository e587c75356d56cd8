"""Records for the tests of this folder."""

from typing import Any

from hawksnest.catalog import Tenant
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.records import EventKey, EventSent, Predicted, Record, StoredEvent

HERE = Tenant("000000000000", "us-east-1")


def key(event_id: str) -> EventKey:
    return EventKey(*HERE, "pay", event_id)


def event(event_id: str, at_ms: int = 1_000, **other: Any) -> StoredEvent:
    given: dict[str, Any] = {
        "key": key(event_id),
        "event_at_ms": at_ms,
        "timestamp": "2024-01-01T00:00:00Z",
        "entity_type": "customer",
        "entity_id": "c1",
        "given": {"amt": "9.50"},
        "amount": 9.5,
        "identities": [("IP_ADDRESS", "192.0.2.1")],
    }
    return StoredEvent(**(given | other))


def sent(event_id: str, at_ms: int = 1_000, **other: Any) -> EventSent:
    return EventSent(event(event_id, at_ms, **other))


def predicted(event_id: str, predicted_at_ms: int, stored: bool = True, **other: Any) -> Predicted:
    return Predicted(
        event=event(event_id, **other),
        stored=stored,
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


def append(ledger: JournalLedger, *records: Record) -> int:
    """Append and make durable; the last sequence."""
    with ledger.turn:
        seqs = [ledger.append(record) for record in records]
    ledger.commit(seqs[-1])
    return seqs[-1]
