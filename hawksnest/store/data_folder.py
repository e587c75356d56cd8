"""The data folder: layout, version, lock; and opening the store that lives in it."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from hawksnest import faults
from hawksnest.config import Settings
from hawksnest.errors import StorageFull, UsageError
from hawksnest.kernel.windows import EntityStates
from hawksnest.log import sync_folder
from hawksnest.store.journal import Journal
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.sqlite import Database, SqliteCatalog
from hawksnest.store.states import Checkpointer, load_states
from hawksnest.world import World, iso_s

FORMAT = 1
FOLDERS = ("journal", "states", "models", "jobs", "buckets", "stream")
DATABASE = "hawksnest.sqlite"


def create_folder(path: Path, world: World) -> None:
    """Make the data folder, or check that this version can use the one that is there. Raises UsageError.

    It holds secrets and people's data: what is made here is for the owner alone. A folder that somebody else
    has made keeps its mode.
    """
    mark = path / "format.json"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if mark.exists():
            _check_format(path, mark)
        else:
            _write_format(mark, world)
        os.close(os.open(path / DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for name in FOLDERS:
            (path / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The data folder {path} cannot be written: {error.strerror}.") from error


def _write_format(mark: Path, world: World) -> None:
    temporary = mark.with_suffix(".tmp")
    temporary.write_text(json.dumps({"format": FORMAT, "created_at": iso_s(world.now_ms())}) + "\n")
    temporary.rename(mark)
    sync_folder(mark.parent)


def _check_format(path: Path, mark: Path) -> None:
    try:
        version = json.loads(mark.read_text())["format"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{mark} is damaged; restore the data folder from a backup.") from None
    if not isinstance(version, int) or version > FORMAT:
        raise UsageError(
            f"The data folder {path} has format {version}, written by a newer Hawksnest; "
            f"this one reads {FORMAT}."
        )


def lock_folder(path: Path) -> int:
    """Become the one server process of the folder; closing the descriptor gives the lock back.

    Raises UsageError when another process holds it.
    """
    try:
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"The data folder {path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise UsageError(f"Another Hawksnest server is using the data folder {path}.") from None
    return fd


def open_catalog(path: Path, world: World) -> SqliteCatalog:
    """The catalogue alone, for a command that may run beside the server; close it after use."""
    create_folder(path, world)
    return SqliteCatalog(Database(path / DATABASE))


@dataclass(frozen=True)
class Store:
    """What a server keeps, open."""

    catalog: SqliteCatalog
    ledger: JournalLedger
    states: EntityStates
    checkpointer: Checkpointer
    lock: int

    def close(self) -> None:
        """Everything on disk, threads ended, files closed, lock given back. No calls may be under way."""
        try:
            self.ledger.close()
            self.checkpointer.close(self.ledger.durable_seq)
            self.catalog.close()
        finally:
            os.close(self.lock)


def open_store(settings: Settings, world: World) -> Store:
    """Open or create the store in `settings.data`, recovered up to its last durable record.

    Raises UsageError: no access, a newer format, another server on it, no room, or damage.
    """
    faults.arm(settings.fail_point)
    create_folder(settings.data, world)
    lock = lock_folder(settings.data)
    database = journal = None
    try:
        database = Database(settings.data / DATABASE)
        journal = Journal(settings.data / "journal")
        ledger = JournalLedger(database, journal)
        states, checkpoint_seq = load_states(settings.data / "states", journal, ledger.durable_seq)
        catalog = SqliteCatalog(database)
        checkpointer = Checkpointer(settings.data, checkpoint_seq)

        def tick() -> None:
            catalog.refresh()
            checkpointer.tick(ledger.durable_seq)

        ledger.follow(tick)
        return Store(catalog, ledger, states, checkpointer, lock)
    except BaseException as error:
        if journal is not None:
            journal.close()
        if database is not None:
            database.close()
        os.close(lock)
        if isinstance(error, StorageFull):
            raise UsageError(f"The data folder {settings.data} cannot be opened: {error}") from error
        if isinstance(error, OSError):
            raise UsageError(
                f"The data folder {settings.data} cannot be opened: {error.strerror}."
            ) from error
        raise
