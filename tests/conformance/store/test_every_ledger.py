"""What every ledger does: order, durability, exact knowledge of event ids, queries over what was appended."""

import random
import threading
from typing import Any

import pytest

from hawksnest.catalog import Tenant
from hawksnest.errors import ServiceError
from hawksnest.store.ports import EventStatistics, Known, Ledger, LookAgain, PredictionQuery
from hawksnest.store.records import (
    EventDeleted,
    EventKey,
    EventSent,
    Labelled,
    ModelScore,
    Predicted,
    Record,
    RuleTrace,
    StoredEvent,
)
from hawksnest.world import seeded

HERE = Tenant("000000000000", "us-east-1")
OTHER = Tenant("111111111111", "us-east-1")


def key(event_id: str, event_type: str = "pay", tenant: Tenant = HERE) -> EventKey:
    return EventKey(*tenant, event_type, event_id)


def event(of: EventKey, at_ms: int = 1_000, **other: Any) -> StoredEvent:
    given: dict[str, Any] = {
        "key": of,
        "event_at_ms": at_ms,
        "timestamp": "2024-01-01T00:00:00Z",
        "entity_type": "customer",
        "entity_id": "c1",
        "given": {"amt": "950", "email": None},
        "amount": 950.0,
        "identities": [("IP_ADDRESS", "192.0.2.1")],
        "seen_at_ms": 5_000,
    }
    return StoredEvent(**(given | other))


def predicted(of: EventKey, predicted_at_ms: int, at_ms: int = 1_000, **other: Any) -> Predicted:
    given: dict[str, Any] = {
        "event": event(of, at_ms),
        "stored": True,
        "predicted_at_ms": predicted_at_ms,
        "detector_id": "det",
        "detector_version": "1",
        "execution_mode": "FIRST_MATCHED",
        "values": {"amt": 950.0, "vip": False, "n": 3, "email": None, "m_insightscore": 24},
        "scores": [ModelScore("TRANSACTION_FRAUD_INSIGHTS", "m", "1.0", 24.0, b"\0" * 16)],
        "trace": [RuleTrace("big", "1", 2), RuleTrace("mid", "1", 0), RuleTrace("odd", "1", 3, "no number")],
        "results": [("big", ["block"])],
        "list_revisions": {"bad_ips": 4},
        "revision": 7,
    }
    return Predicted(**(given | other))


def body(record: Record | None) -> Record | None:
    """The record without what the ledger adds."""
    if record is None or isinstance(record, Labelled):
        return record
    members = {name: getattr(record, name) for name in record.__struct_fields__}
    return type(record)(**(members | {"replaces": 0}))


def append(ledger: Ledger, *records: Record) -> list[int]:
    with ledger.turn:
        return [ledger.append(record) for record in records]


def everything(
    ledger: Ledger, query: PredictionQuery, page: int = 3, tenant: Tenant = HERE
) -> list[Predicted]:
    """All pages of a query."""
    found: list[Predicted] = []
    mark = ""
    for _ in range(1_000):
        records, mark = ledger.predictions(tenant, query, page, mark)
        assert len(records) <= page
        found += records
        if not mark:
            return found
    raise AssertionError("the pages have no end")


def test_an_empty_ledger_knows_nothing(ledger: Ledger) -> None:
    assert ledger.known(key("e")) is None
    assert ledger.event(key("e")) is None
    assert ledger.prediction(key("e"), 1) is None
    assert ledger.predictions(HERE, PredictionQuery(), 10) == ([], "")
    assert ledger.statistics(HERE, "pay") == EventStatistics(0, 0, None, None)
    assert not ledger.label_in_use(HERE, "fraud")
    assert list(ledger.replay()) == []


def test_sequence_numbers_count_from_one_and_replay_gives_the_records_back(
    ledger: Ledger, place: Any
) -> None:
    records: list[Record] = [
        EventSent(event(key("a"))),
        predicted(key("b"), 10),
        Labelled(key("a"), "fraud", "2024-01-02", 6_000),
        EventDeleted(key("b"), False, 7_000),
    ]
    assert append(ledger, *records) == [1, 2, 3, 4]
    assert list(ledger.replay()) == []  # nothing is durable yet
    ledger.commit(4)
    assert [(seq, body(record)) for seq, record in ledger.replay()] == list(enumerate(records, 1))
    again = place.open().ledger
    assert [(seq, body(record)) for seq, record in again.replay(2)] == list(enumerate(records, 1))[2:]


def test_flush_makes_durable_what_was_appended(ledger: Ledger) -> None:
    append(ledger, EventSent(event(key("a"))), EventSent(event(key("b"))))
    assert ledger.flush() == 2
    assert [seq for seq, _ in ledger.replay(1)] == [2]


def test_what_is_known_follows_every_record_at_once(ledger: Ledger) -> None:
    e = key("e")
    append(ledger, predicted(e, 10, stored=False))
    assert ledger.known(e) == Known(1_000, False, 1, 10, 1)
    append(ledger, EventSent(event(e, 2_000)))
    assert ledger.known(e) == Known(2_000, True, 1, 10, 2)
    append(ledger, predicted(e, 11, at_ms=2_000))
    assert ledger.known(e) == Known(2_000, True, 3, 11, 3)
    append(ledger, predicted(e, 12, at_ms=3_000, stored=False))
    assert ledger.known(e) == Known(2_000, True, 4, 12, 4)
    append(ledger, Labelled(e, "fraud", "x", 1))
    assert ledger.known(e) == Known(2_000, True, 4, 12, 5)
    append(ledger, EventDeleted(e, False, 1))
    assert ledger.known(e) == Known(2_000, False, 4, 12, 6)
    append(ledger, EventDeleted(e, True, 1))
    assert ledger.known(e) is None
    assert ledger.known(key("e", "other")) is None
    assert ledger.known(key("e", tenant=OTHER)) is None


def test_the_stored_form_is_the_newest_with_the_current_label(ledger: Ledger, place: Any) -> None:
    e = key("e")
    append(ledger, EventSent(event(e)))
    assert ledger.event(e) == event(e)
    append(ledger, Labelled(e, "fraud", "2024-02-02", 1))
    assert ledger.event(e) == event(e, label="fraud", labelled_at="2024-02-02")
    append(ledger, predicted(e, 10, event=event(e, given={"amt": "1"})))  # the label stays
    newest = event(e, given={"amt": "1"}, label="fraud", labelled_at="2024-02-02")
    assert ledger.event(e) == newest
    append(ledger, predicted(e, 11, stored=False))
    ledger.commit(4)
    assert ledger.event(e) == newest
    ledger = place.open().ledger
    assert ledger.event(e) == newest
    append(ledger, EventDeleted(e, False, 1))
    assert ledger.event(e) is None
    append(ledger, EventSent(event(e, 9)))
    assert ledger.event(e) == event(e, 9)


def test_an_event_that_was_only_predicted_has_no_stored_form(ledger: Ledger) -> None:
    append(ledger, predicted(key("e"), 10, stored=False))
    assert ledger.event(key("e")) is None


def test_a_prediction_is_found_by_its_exact_instant(ledger: Ledger) -> None:
    e = key("e")
    made = [predicted(e, at, detector_version=str(at)) for at in (10, 11, 15)]
    append(ledger, *made)
    for record in made:
        assert body(ledger.prediction(e, record.predicted_at_ms)) == record
    assert ledger.prediction(e, 12) is None
    assert ledger.prediction(key("f"), 10) is None


def test_predictions_are_listed_newest_first_in_pages(ledger: Ledger) -> None:
    made = [predicted(key(f"e{number}"), 100 + number // 3) for number in range(20)]
    append(ledger, *made)
    expected = made[::-1]
    for page in (1, 3, 7, 19, 20, 21):
        assert [body(record) for record in everything(ledger, PredictionQuery(), page)] == expected
    records, mark = ledger.predictions(HERE, PredictionQuery(), 20)
    assert (len(records), mark) == (20, "")
    assert everything(ledger, PredictionQuery(), tenant=OTHER) == []


def test_pages_stay_in_place_while_predictions_arrive(ledger: Ledger) -> None:
    append(ledger, *(predicted(key(f"e{number}"), number) for number in range(1, 7)))
    first, mark = ledger.predictions(HERE, PredictionQuery(), 3)
    append(ledger, predicted(key("late"), 100))
    second, _ = ledger.predictions(HERE, PredictionQuery(), 3, mark)
    assert [record.predicted_at_ms for record in (*first, *second)] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("mark", ["x", "1", "1.2.3", "g.1", "é.1", "."])
def test_a_foreign_page_mark_is_the_callers_fault(ledger: Ledger, mark: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        ledger.predictions(HERE, PredictionQuery(), 10, mark)
    assert refusal.value.code == "ValidationException"


def test_every_combination_of_filters_equals_a_scan(ledger: Ledger) -> None:
    random = seeded(3)
    made = [
        predicted(
            key(f"e{random.randrange(8)}", random.choice(["pay", "login"])),
            number + 100,
            detector_id=random.choice(["d1", "d2", "d3"]),
            detector_version=random.choice(["1", "2"]),
            stored=random.random() < 0.5,
        )
        for number in range(120)
    ]
    append(ledger, *made, predicted(key("e1", tenant=OTHER), 100))
    for _ in range(150):
        query = PredictionQuery(
            event_id=random.choice([None, None, "e1", "e7", "never"]),
            event_type=random.choice([None, None, "pay", "login", "never"]),
            detector_id=random.choice([None, None, "d1", "d2", "never"]),
            detector_version=random.choice([None, None, "1", "2", "9"]),
            from_ms=random.choice([None, None, 100, 160, 500]),
            to_ms=random.choice([None, None, 100, 170, 50]),
        )
        expected = [record for record in reversed(made) if matches(query, record)]
        assert [body(record) for record in everything(ledger, query, 50)] == expected, query


def matches(query: PredictionQuery, record: Predicted) -> bool:
    pairs = (
        (query.event_id, record.event.key.event_id),
        (query.event_type, record.event.key.event_type),
        (query.detector_id, record.detector_id),
        (query.detector_version, record.detector_version),
    )
    at_ms = record.predicted_at_ms
    return (
        all(wanted in (None, found) for wanted, found in pairs)
        and (query.from_ms is None or at_ms >= query.from_ms)
        and (query.to_ms is None or at_ms <= query.to_ms)
    )


def test_deleting_an_event_keeps_its_predictions_unless_the_history_goes_too(ledger: Ledger) -> None:
    e, f = key("e"), key("f")
    append(ledger, predicted(e, 10), predicted(e, 11), predicted(f, 12), EventDeleted(e, False, 1))
    assert [record.predicted_at_ms for record in everything(ledger, PredictionQuery())] == [12, 11, 10]
    assert ledger.statistics(HERE, "pay").count == 1
    append(ledger, predicted(e, 13), EventDeleted(e, True, 1))
    assert [record.predicted_at_ms for record in everything(ledger, PredictionQuery())] == [12]
    assert everything(ledger, PredictionQuery(event_id="e")) == []
    assert ledger.prediction(e, 13) is None and ledger.prediction(e, 10) is None
    append(ledger, predicted(e, 14))
    assert [record.predicted_at_ms for record in everything(ledger, PredictionQuery(event_id="e"))] == [14]


def test_statistics_count_each_stored_event_once(ledger: Ledger) -> None:
    append(ledger, EventSent(event(key("a"), 500)), EventSent(event(key("b"), 900)))
    both = ledger.statistics(HERE, "pay")
    assert (both.count, both.first_ms, both.last_ms) == (2, 500, 900)
    assert both.size_bytes > 0 and both.size_bytes % 2 == 0
    append(ledger, predicted(key("a"), 10, at_ms=500), predicted(key("c"), 11, at_ms=5, stored=False))
    assert ledger.statistics(HERE, "pay") == both
    append(ledger, EventDeleted(key("a"), False, 1))
    assert ledger.statistics(HERE, "pay") == EventStatistics(1, both.size_bytes // 2, 900, 900)
    append(ledger, EventDeleted(key("b"), True, 1))
    assert ledger.statistics(HERE, "pay") == EventStatistics(0, 0, None, None)


def test_a_label_is_in_use_while_a_stored_event_carries_it(ledger: Ledger) -> None:
    append(ledger, EventSent(event(key("a"), label="fraud", labelled_at="x")), EventSent(event(key("b"))))
    assert ledger.label_in_use(HERE, "fraud")
    assert not ledger.label_in_use(HERE, "legit") and not ledger.label_in_use(OTHER, "fraud")
    append(ledger, Labelled(key("b"), "fraud", "x", 1), Labelled(key("a"), "legit", "x", 1))
    assert ledger.label_in_use(HERE, "fraud") and ledger.label_in_use(HERE, "legit")
    append(ledger, EventDeleted(key("b"), False, 1))
    assert not ledger.label_in_use(HERE, "fraud")


def test_ids_of_stored_events_come_in_pages(ledger: Ledger) -> None:
    append(ledger, *(EventSent(event(key(name))) for name in "dacb"))
    append(ledger, predicted(key("e"), 10), EventSent(event(key("f", "other"))))
    append(ledger, EventSent(event(key("g", tenant=OTHER))), EventDeleted(key("c"), False, 1))
    append(ledger, predicted(key("h"), 11, stored=False))
    whole = ["a", "b", "d", "e"]
    assert list(ledger.stored_event_ids(HERE, "pay", "", 10)) == whole
    assert list(ledger.stored_event_ids(HERE, "pay", "", 2)) == ["a", "b"]
    assert list(ledger.stored_event_ids(HERE, "pay", "b", 2)) == whole[2:4]
    assert list(ledger.stored_event_ids(HERE, "nothing", "", 10)) == []


def test_reads_see_what_was_appended_before_them_from_any_thread(ledger: Ledger) -> None:
    faults: list[object] = []

    def work(worker: int) -> None:
        for number in range(1, 40):
            e = key(f"w{worker}", f"type{worker}")
            append(ledger, predicted(e, number, at_ms=number))
            known = ledger.known(e)
            listed, _ = ledger.predictions(HERE, PredictionQuery(event_type=f"type{worker}"), 100)
            if known is None or known.predicted_at_ms != number or len(listed) != number:
                faults.append((worker, number, known, len(listed)))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def settled(ledger: Ledger, of: EventKey, look: Any = None) -> Any:
    with ledger.turn:
        return ledger.settled(of, look)


def test_with_the_turn_held_a_new_id_is_known_to_be_new_from_memory(ledger: Ledger) -> None:
    assert settled(ledger, key("e")) == (None, None)
    append(ledger, predicted(key("e"), 10, stored=False))
    assert settled(ledger, key("e")) == (Known(1_000, False, 1, 10, 1), None)


@pytest.mark.parametrize("indexed", [False, True])
def test_with_the_turn_held_a_stored_form_comes_from_a_look_that_nothing_has_overtaken(
    ledger: Ledger, indexed: bool
) -> None:
    e = key("e")
    append(ledger, EventSent(event(e)))
    if indexed:
        ledger.statistics(HERE, "pay")  # which needs everything indexed
    with pytest.raises(LookAgain):
        settled(ledger, e)
    look = ledger.look(e)
    assert (look.known, look.event) == (Known(1_000, True, 0, 0, 1), event(e))
    assert settled(ledger, e, look) == (look.known, look.event)
    append(ledger, Labelled(e, "fraud", "then", 1))
    if indexed:
        ledger.statistics(HERE, "pay")
    with pytest.raises(LookAgain):
        settled(ledger, e, look)
    assert settled(ledger, e, ledger.look(e))[1] == event(e, label="fraud", labelled_at="then")


@pytest.mark.parametrize("indexed", [False, True])
def test_what_was_deleted_after_a_look_is_not_settled_by_it(ledger: Ledger, indexed: bool) -> None:
    e = key("e")
    append(ledger, EventSent(event(e)))
    look = ledger.look(e)
    append(ledger, EventDeleted(e, True, 1))
    if indexed:
        ledger.statistics(HERE, "pay")
        with pytest.raises(LookAgain):
            settled(ledger, e, look)
    assert settled(ledger, e, ledger.look(e)) == (None, None)


class Recount:
    """The plainest possible ledger: dictionaries."""

    def __init__(self) -> None:
        self.events: dict[EventKey, StoredEvent] = {}
        self.predictions: list[Predicted] = []

    def append(self, record: Record) -> None:
        if isinstance(record, Labelled):
            old = self.events.get(record.key)
            if old is not None:
                self.events[record.key] = relabelled(old, record.label, record.labelled_at)
            return
        if isinstance(record, EventDeleted):
            self.events.pop(record.key, None)
            if record.history:
                self.predictions = [each for each in self.predictions if each.event.key != record.key]
            return
        if isinstance(record, Predicted):
            self.predictions.append(record)
        if isinstance(record, EventSent) or record.stored:
            old = self.events.get(record.event.key)
            new = record.event
            if new.label is None and old is not None:
                new = relabelled(new, old.label, old.labelled_at)
            self.events[new.key] = new


def relabelled(of: StoredEvent, label: str | None, labelled_at: str | None) -> StoredEvent:
    members = {name: getattr(of, name) for name in of.__struct_fields__}
    return StoredEvent(**(members | {"label": label, "labelled_at": labelled_at}))


def anything(random: random.Random, number: int) -> Record:
    """A record about one of few event ids, so that they meet in every order."""
    e = key(f"e{random.randrange(12)}", random.choice(["pay", "login"]))
    label = random.choice([None, None, "fraud", "legit"])
    chosen = event(e, random.randrange(5), label=label, given={"n": "x" * random.randrange(30)})
    kind = random.randrange(10)
    if kind < 3:
        return EventSent(chosen)
    if kind < 7:
        return predicted(e, number, event=chosen, stored=random.random() < 0.7)
    if kind < 8:
        return Labelled(e, random.choice(["fraud", "legit"]), "then", number)
    return EventDeleted(e, random.random() < 0.5, number)


@pytest.mark.parametrize("seed", range(6))
def test_any_history_equals_a_recount_also_after_reopening(place: Any, seed: int) -> None:
    random = seeded(seed)
    recount = Recount()
    store = place.open()
    for number in range(1, 301):
        record = anything(random, number)
        append(store.ledger, record)
        recount.append(record)
        if random.random() < 0.1:
            store.ledger.flush()
        if number % 50 == 0:
            agree(store.ledger, recount)
        if number % 100 == 0:
            store = place.open()
            agree(store.ledger, recount)


def agree(ledger: Ledger, recount: Recount) -> None:
    keys = [key(f"e{number}", event_type) for number in range(12) for event_type in ("pay", "login")]
    for e in keys:
        stored = recount.events.get(e)
        own = [each for each in recount.predictions if each.event.key == e]
        assert ledger.event(e) == stored
        known = ledger.known(e)
        assert (known is not None) == (stored is not None or bool(own)), e
        if known is not None:
            assert known.stored == (stored is not None)
            assert known.predicted_at_ms == (own[-1].predicted_at_ms if own else 0)
            assert stored is None or known.event_at_ms == stored.event_at_ms
        for each in own:
            assert body(ledger.prediction(e, each.predicted_at_ms)) == each
    listed = everything(ledger, PredictionQuery(), 40)
    assert [body(record) for record in listed] == recount.predictions[::-1]
    for event_type in ("pay", "login"):
        times = [each.event_at_ms for each in recount.events.values() if each.key.event_type == event_type]
        found = ledger.statistics(HERE, event_type)
        assert (found.count, found.first_ms, found.last_ms) == (
            len(times),
            min(times, default=None),
            max(times, default=None),
        )
    for label in ("fraud", "legit"):
        assert ledger.label_in_use(HERE, label) == any(
            each.label == label for each in recount.events.values()
        )
