"""A ledger on a small journal, opened again at will."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawksnest.store.journal import Journal
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.sqlite import Database


class Parts:
    """A database and a ledger in it, without a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "hawksnest.sqlite")
        self.ledger = JournalLedger(self.database, Journal(folder / "journal", 256 << 10))

    def close(self) -> None:
        self.ledger.close()
        self.database.close()


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Parts]]:
    """Opens the parts; those opened before are closed first."""
    opened: list[Parts] = []

    def opener() -> Parts:
        while opened:
            opened.pop().close()
        opened.append(Parts(tmp_path))
        return opened[-1]

    yield opener
    while opened:
        opened.pop().close()


@pytest.fixture
def parts(reopen: Callable[[], Parts]) -> Parts:
    return reopen()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, ten seconds at most."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within ten seconds"
            time.sleep(0.005)

    return wait
