"""What a store must say, recounted from its records in plain dictionaries."""

from hawksnest.catalog import Tenant
from hawksnest.kernel.windows import EntityStates
from hawksnest.store.data_folder import Store
from hawksnest.store.ports import PredictionQuery
from hawksnest.store.records import EventDeleted, EventKey, Labelled, Predicted, Record, StoredEvent
from hawksnest.store.states import footprint

HERE = Tenant("000000000000", "us-east-1")


def key_of(record: Record) -> EventKey:
    return record.key if isinstance(record, Labelled | EventDeleted) else record.event.key


def check_recount(store: Store, records: list[Record]) -> None:
    """Queries, what is known and the entity states equal a recount of the records."""
    events: dict[EventKey, StoredEvent] = {}
    decided: dict[EventKey, dict[int, Predicted]] = {}
    for record in records:
        key = key_of(record)
        if isinstance(record, EventDeleted):
            events.pop(key, None)
            if record.history:
                decided.pop(key, None)
        elif not isinstance(record, Labelled):
            if isinstance(record, Predicted):
                of_key = decided.setdefault(key, {})
                assert record.predicted_at_ms not in of_key, "a decision twice"
                of_key[record.predicted_at_ms] = record
            if not isinstance(record, Predicted) or record.stored:
                events[key] = record.event
    statistics = store.ledger.statistics(HERE, "pay")
    times = [event.event_at_ms for event in events.values()]
    assert (statistics.count, statistics.first_ms, statistics.last_ms) == (
        len(times),
        min(times, default=None),
        max(times, default=None),
    )
    listed: list[Predicted] = []
    mark = ""
    while True:
        page, mark = store.ledger.predictions(HERE, PredictionQuery(), 500, mark)
        listed += page
        if not mark:
            break
    predictions = {(key, at_ms): each for key, made in decided.items() for at_ms, each in made.items()}
    assert len(listed) == len(predictions)
    assert {(each.event.key, each.predicted_at_ms): each for each in listed} == predictions
    for key in {key_of(record) for record in records}:
        known = store.ledger.known(key)
        assert (known is not None and known.stored) == (key in events)
    states = EntityStates()
    for event in events.values():
        states.fold(footprint(event))
    assert store.states.contents() == states.contents()
