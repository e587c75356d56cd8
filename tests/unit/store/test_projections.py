"""Projections follow the journal, survive being thrown away, and keep the filter with the cursor."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_examples import HERE, append, key, predicted, sent

from hawksnest.errors import Transient
from hawksnest.store import projections
from hawksnest.store.event_index import fingerprint
from hawksnest.store.ports import PredictionQuery
from hawksnest.store.records import EventDeleted, Predicted


def history(ledger: Any) -> None:
    append(
        ledger,
        *(predicted(f"e{number}", number) for number in range(600)),
        sent("e5", label="fraud", labelled_at="x"),
        EventDeleted(key("e6"), True, 1),
    )


def answers(ledger: Any) -> tuple[object, ...]:
    listed, mark = ledger.predictions(HERE, PredictionQuery(), 100)
    return (
        [record.predicted_at_ms for record in listed],
        mark,
        ledger.statistics(HERE, "pay"),
        ledger.label_in_use(HERE, "fraud"),
        [ledger.known(key(f"e{number}")) for number in range(601)],
    )


def everything(folder: Path, table: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "hawksnest.sqlite")
    try:
        return sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
    finally:
        connection.close()


def outside(folder: Path, *statements: str) -> None:
    """Change the database behind the ledger's back."""
    connection = sqlite3.connect(folder / "hawksnest.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_new_predictions_are_projected_from_memory_as_from_the_journal(reopen: Callable[[], Any]) -> None:
    parts = reopen()
    ledger = parts.ledger

    def new(*records: Predicted) -> None:
        with ledger.turn:
            ledger.append_new(records)

    new(*(predicted(f"e{number}", number, stored=number % 3 > 0, label="fraud") for number in range(200)))
    append(ledger, EventDeleted(key("e5"), True, 1), predicted("e7", 900), sent("s1"))
    new(predicted("e5", 901), predicted("e200", 902))
    new(*(predicted(f"e{number}", number) for number in range(201, 600)))
    found = answers(ledger)
    tables = [everything(parts.folder, name) for name in projections._TABLES if name != "filter_slices"]
    ledger.projections.rebuild()
    assert answers(ledger) == found
    assert tables == [
        everything(parts.folder, name) for name in projections._TABLES if name != "filter_slices"
    ]
    assert len(tables[2]) == 601


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE events",
        "DROP TABLE predictions",
        "DROP INDEX events_by_time",
        "DELETE FROM projection",
        "UPDATE projection SET version = version + 1",
        "UPDATE projection SET seq = 1000000",
    ],
)
def test_a_projection_thrown_away_is_built_again(reopen: Callable[[], Any], statement: str) -> None:
    parts = reopen()
    history(parts.ledger)
    expected = answers(parts.ledger)
    parts.close()
    outside(parts.folder, statement)
    again = type(parts)(parts.folder)
    try:
        assert answers(again.ledger) == expected
    finally:
        again.close()


def test_rebuild_gives_the_same_answers(parts: Any) -> None:
    history(parts.ledger)
    expected = answers(parts.ledger)
    parts.ledger.projections.rebuild()
    assert answers(parts.ledger) == expected


def test_a_start_without_a_clean_end_knows_every_event_id(
    reopen: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections.Projections, "close", lambda self: None)  # the filter is not written
    parts = reopen()
    history(parts.ledger)
    parts.ledger.catch_up()
    again = reopen()
    assert all(again.ledger.known(key(f"e{number}")) for number in range(600) if number != 6)
    assert again.ledger.known(key("e6")) is None


def test_the_filter_is_written_now_and_then_and_loaded(
    reopen: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "FILTER_EVERY", 300)
    parts = reopen()
    for start in range(0, 1_000, 100):
        append(parts.ledger, *(sent(f"e{number}") for number in range(start, start + 100)))
        parts.ledger.catch_up()
    rows = parts.database.query("SELECT seq, filter_seq FROM projection")
    assert rows[0][0] == 1_000 and 600 <= rows[0][1] < 1_000
    again = reopen().ledger.projections.index.filter
    assert all(again.perhaps(fingerprint(key(f"e{number}"))) for number in range(1_000))


def test_a_new_event_id_is_known_without_asking_the_database(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    history(parts.ledger)
    parts.ledger.catch_up()
    asked: list[str] = []
    monkeypatch.setattr(parts.database, "query", lambda sql, *_: asked.append(sql) or [])
    assert all(parts.ledger.known(key(f"new{number}")) is None for number in range(300))
    assert len(asked) <= 6


def test_a_projection_that_fails_is_taken_up_again(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parts.ledger.projections._writer.execute

    def failing(sql: str, *values: object) -> Any:
        if sql.startswith("UPDATE projection"):
            raise Transient("the disk is full")
        return real(sql, *values)

    with monkeypatch.context() as disk:
        disk.setattr(parts.ledger.projections._writer, "execute", failing)
        append(parts.ledger, predicted("e", 5))
        with pytest.raises(Transient):
            parts.ledger.statistics(HERE, "pay")
        assert parts.ledger.known(key("e")).predicted_at_ms == 5
    assert parts.ledger.statistics(HERE, "pay").count == 1
    assert len(parts.ledger.predictions(HERE, PredictionQuery(), 10)[0]) == 1


def test_the_thread_keeps_up_on_its_own(parts: Any, eventually: Callable[..., None]) -> None:
    ticks: list[int] = []
    parts.ledger.follow(lambda: ticks.append(1))
    append(parts.ledger, *(predicted(f"e{number}", number) for number in range(1_000)))
    eventually(lambda: parts.ledger.projections.seq == 1_000 and bool(ticks))
    eventually(lambda: len(parts.ledger.projections.index) == 0)


def test_too_long_a_queue_of_records_refuses_more(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hawksnest.store.ledger.LAG_MAX", 2)
    append(parts.ledger, sent("a"), sent("b"), sent("c"))
    with pytest.raises(Transient, match="wait to be indexed"):
        append(parts.ledger, sent("d"))
    parts.ledger.catch_up()
    assert append(parts.ledger, sent("d")) == 4
