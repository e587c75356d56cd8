"""One suite for every store: a factory opens the store that lives at a place, again and again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from hawksnest.store.data_folder import DATABASE
from hawksnest.store.journal import Journal
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.ports import Catalog, Ledger
from hawksnest.store.sqlite import Database, SqliteCatalog


class Opened(Protocol):
    """A store in the hands of the one process that may write it."""

    catalog: Catalog
    ledger: Ledger

    def close(self) -> None: ...


class SqliteOpened:
    """SQLite beside a journal of small segments, the projections followed by a thread as in the server."""

    def __init__(self, place: Path) -> None:
        self._database = Database(place / DATABASE)
        self.catalog: Catalog = SqliteCatalog(self._database)
        self._ledger = JournalLedger(self._database, Journal(place / "journal", 256 << 10))
        self.ledger: Ledger = self._ledger
        self._ledger.follow()

    def close(self) -> None:
        self._ledger.close()
        self._database.close()


FACTORIES: list[Callable[[Path], Opened]] = [SqliteOpened]


class Place:
    """Where a store lives; opening it closes what was open there."""

    def __init__(self, factory: Callable[[Path], Opened], path: Path) -> None:
        self._factory = factory
        self._path = path
        self._opened: Opened | None = None

    def open(self) -> Opened:
        self.close()
        self._opened = self._factory(self._path)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = Place(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(place: Place) -> Opened:
    return place.open()


@pytest.fixture
def catalog(store: Opened) -> Catalog:
    return store.catalog


@pytest.fixture
def ledger(store: Opened) -> Ledger:
    return store.ledger
