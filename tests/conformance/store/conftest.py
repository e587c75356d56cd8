"""One suite for every store: a factory opens the store that lives at a place, again and again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from hawksnest.store.data_folder import DATABASE
from hawksnest.store.journal import Journal
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.ports import Catalog, Ledger
from hawksnest.store.sealing import Box, DataKeyId, Keyring
from hawksnest.store.sqlite import Database, SqliteCatalog


class Opened(Protocol):
    """A store in the hands of the one process that may write it."""

    catalog: Catalog
    ledger: Ledger

    def close(self) -> None: ...


class SqliteOpened:
    """SQLite beside a journal of small segments, the projections followed by a thread as in the server."""

    def __init__(self, place: Path, keys: Keyring | None = None) -> None:
        self._database = Database(place / DATABASE)
        self.catalog: Catalog = SqliteCatalog(self._database)
        self._ledger = JournalLedger(self._database, Journal(place / "journal", 256 << 10, keys))
        self.ledger: Ledger = self._ledger
        self._ledger.follow()

    def close(self) -> None:
        self._ledger.close()
        self._database.close()


class SealedOpened(SqliteOpened):
    """The same, with the events of one of the tenants sealed."""

    def __init__(self, place: Path) -> None:
        keys = Keyring()
        box = Box(DataKeyId("000000000000", "us-east-1", 1), bytes(range(32)))
        keys.admit([box])
        keys.sealing[box.id.tenant] = box
        super().__init__(place, keys)


FACTORIES: list[Callable[[Path], Opened]] = [SqliteOpened, SealedOpened]


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
