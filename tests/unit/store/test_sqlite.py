"""The database's own faults: locked, full, and what a failed write leaves behind."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawksnest.catalog import Label, Tenant
from hawksnest.errors import Transient
from hawksnest.store import sqlite
from hawksnest.store.sqlite import Database, SqliteCatalog

HERE = Tenant("000000000000", "us-east-1")


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteCatalog]:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    made = SqliteCatalog(Database(tmp_path / "hawksnest.sqlite"))
    yield made
    made.close()


def label(name: str, description: str | None = None) -> Label:
    return Label(name=name, description=description, created_at_ms=1, updated_at_ms=1)


def test_a_database_locked_by_another_process_is_a_fault_of_the_moment(
    catalog: SqliteCatalog, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "hawksnest.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="locked by another process"), catalog.transaction():
        catalog.put(HERE, label("a"))
    other.execute("ROLLBACK")
    other.close()
    with catalog.transaction():
        catalog.put(HERE, label("a"))
    assert catalog.get(HERE, Label, "a") == label("a")


def test_a_full_disk_rolls_the_transaction_back(catalog: SqliteCatalog) -> None:
    with catalog.transaction():
        catalog.put(HERE, label("before"))
    pages = catalog._writer.execute("PRAGMA page_count")[0][0]
    catalog._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Transient, match="no room is left"), catalog.transaction():
        catalog.put(HERE, label("small"))
        for number in range(100):
            catalog.put(HERE, label(f"big{number}", "x" * 100_000))
    assert [each.name for each in catalog.list(HERE, Label)] == ["before"]
    catalog._writer.execute(f"PRAGMA max_page_count = {2**30}")
    with catalog.transaction():
        catalog.put(HERE, label("after"))
    assert [each.name for each in catalog.list(HERE, Label)] == ["after", "before"]


def test_a_full_disk_inside_a_nested_transaction_is_told_as_it_is(catalog: SqliteCatalog) -> None:
    pages = catalog._writer.execute("PRAGMA page_count")[0][0]
    catalog._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Transient, match="no room is left"), catalog.transaction(), catalog.transaction():
        for number in range(100):
            catalog.put(HERE, label(f"big{number}", "x" * 100_000))
    assert catalog.list(HERE, Label) == []


def test_a_mistake_in_a_statement_is_ours(catalog: SqliteCatalog) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        catalog._database.query("SELECT * FROM absent")


def test_migrations_run_once_and_without_their_library_when_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Database(tmp_path / "a b%20ü.sqlite")
    first.close()
    monkeypatch.setitem(__import__("sys").modules, "yoyo", None)
    second = Database(tmp_path / "a b%20ü.sqlite")
    assert second.query("SELECT count(*) FROM resources") == [(0,)]
    second.close()


def test_writers_are_served_in_the_order_of_asking(tmp_path: Path) -> None:
    database = Database(tmp_path / "hawksnest.sqlite")
    busy, polite = database.writer(durable=False), database.writer(durable=False)
    stop = threading.Event()
    rounds = 0

    def hog() -> None:
        nonlocal rounds
        while not stop.is_set():
            with busy.transaction():
                busy.execute("SELECT 1")
            rounds += 1

    thread = threading.Thread(target=hog)
    thread.start()
    for _ in range(20):
        with polite.transaction():
            polite.execute("SELECT 1")
    stop.set()
    thread.join()
    assert rounds >= 1
    database.close()


def test_at_most_a_few_idle_connections_are_kept(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    database = Database(tmp_path / "hawksnest.sqlite")
    threads = [
        threading.Thread(target=lambda: [database.query("SELECT 1") for _ in range(20)]) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(database._idle) <= sqlite.READERS_MAX)
    database.close()
