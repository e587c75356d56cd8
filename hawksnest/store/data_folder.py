"""The data folder: layout, version, lock; and opening the store that lives in it."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from hawksnest import faults
from hawksnest.catalog import Tenant
from hawksnest.config import Settings
from hawksnest.errors import StorageFull, Transient, UsageError
from hawksnest.kernel.windows import EntityStates
from hawksnest.log import sync_folder
from hawksnest.store.encryption import Encryption, Install, KeySource, NoKeys, Reopen
from hawksnest.store.journal import Journal, JournalReader
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.sealing import Box
from hawksnest.store.sqlite import Database, SqliteCatalog
from hawksnest.store.states import Checkpointer, apply, change, load_states, rebuilt, replay_states
from hawksnest.world import World, iso_s

FORMAT = 2  # the newest that is understood
FIRST_FORMAT = 1  # of a new folder
SEALED_FORMAT = 2  # from the first encryption key on: older versions cannot read what is sealed
FOLDERS = ("journal", "states", "models", "jobs", "buckets", "stream")
DATABASE = "hawksnest.sqlite"
CATCH_UP_RECORDS = 200  # that are folded with the turn held: a few milliseconds


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
            _write_format(mark, FIRST_FORMAT, iso_s(world.now_ms()))
        os.close(os.open(path / DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for name in FOLDERS:
            (path / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The data folder {path} cannot be written: {error.strerror}.") from error


def _write_format(mark: Path, version: int, created_at: str) -> None:
    temporary = mark.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write(json.dumps({"format": version, "created_at": created_at}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(mark)
    sync_folder(mark.parent)


def mark_sealed(path: Path) -> None:
    """From now on the folder may hold what is sealed. Raises Transient when the mark cannot be written."""
    mark = path / "format.json"
    try:
        known = json.loads(mark.read_text())
        if known["format"] < SEALED_FORMAT:
            _write_format(mark, SEALED_FORMAT, known["created_at"])
    except OSError as error:
        raise Transient(f"{mark} cannot be written: {error.strerror}.") from error


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
    encryption: Encryption
    lock: int

    def close(self) -> None:
        """Everything on disk, threads ended, files closed, lock given back. No calls may be under way."""
        try:
            self.encryption.close()
            self.ledger.close()
            self.checkpointer.close(self.ledger.durable_seq)
            self.catalog.close()
        finally:
            os.close(self.lock)


def open_store(settings: Settings, world: World, source: KeySource | None = None) -> Store:
    """Open or create the store in `settings.data`, recovered up to its last durable record.

    `source`: who has the encryption keys of those who chose one. Whose key cannot be had is locked out.
    Raises UsageError: no access, a newer format, another server on it, no room, or damage.
    """
    faults.arm(settings.fail_point)
    create_folder(settings.data, world)
    lock = lock_folder(settings.data)
    database = journal = None
    try:
        database = Database(settings.data / DATABASE)
        catalog = SqliteCatalog(database)
        encryption = Encryption(catalog, source or NoKeys(), world, lambda: mark_sealed(settings.data))
        encryption.fetch()
        journal = Journal(settings.data / "journal", keys=encryption.keys)
        ledger = JournalLedger(database, journal)
        states, checkpoint_seq = load_states(settings.data / "states", journal, ledger.durable_seq)
        checkpointer = Checkpointer(settings.data, checkpoint_seq, keys=encryption.keys)

        def tick() -> None:
            catalog.refresh()
            checkpointer.tick(ledger.durable_seq)

        ledger.follow(tick)
        encryption.start(_reopener(settings.data / "states", ledger, states, encryption))
        return Store(catalog, ledger, states, checkpointer, encryption, lock)
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


def _reopener(folder: Path, ledger: JournalLedger, states: EntityStates, encryption: Encryption) -> Reopen:
    """Makes a tenant's states anew, beside everybody's calls, once more of its events can be read."""

    def reopen(tenant: Tenant, boxes: list[Box], install: Install) -> None:
        def mine(who: tuple[str, str]) -> bool:
            encryption.check()
            return who == tenant

        keys = ledger.journal.keys.copy()
        keys.admit(boxes)
        journal = JournalReader(ledger.journal.log, keys)
        seq = ledger.durable_seq
        fresh = rebuilt(folder, journal, tenant, seq, mine)
        while ledger.durable_seq - seq > CATCH_UP_RECORDS:
            seq = replay_states(journal, fresh, seq, of=mine)
        with ledger.turn:
            for each in range(seq + 1, ledger.last_seq + 1):
                apply(fresh, change(journal, each, journal.head(each, opened=True)), mine)
            states.adopt(fresh, *tenant)
            install()

    return reopen
