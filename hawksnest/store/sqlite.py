"""SQLite: connections, transactions and errors of one database file, and the catalogue in it.

The only place that knows sqlite3. One writer at a time (a process-wide queue in front of SQLite's own lock),
any number of readers, write-ahead log. Catalogue commits are synced; projections, which the journal can
rebuild, leave the syncing to SQLite's checkpoints.
"""

import re
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from hawksnest.catalog import RESOURCES, Resource, Tenant
from hawksnest.errors import Transient, UsageError

R = TypeVar("R", bound=Resource)
Row = tuple[Any, ...]

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 5_000
READERS_MAX = 8
CACHED_MAX = 50_000
CACHE_KIB = 4_096  # of each connection
ROWS_TOGETHER = 64  # inserted by one run of a statement
_VALUES = re.compile(r"VALUES (\([?, ]+\))")
_CHECKPOINT_PAGES = 10_000  # a catalogue commit does one itself only when nobody else has for long
_SEPARATOR = "\x01"
_AFTER_SEPARATOR = "\x02"

_WORLDS_FAULT = {
    sqlite3.SQLITE_FULL: "no room is left on the disk",
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked by another process",
    sqlite3.SQLITE_IOERR: "the disk reports an error or is full",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_NOMEM: "no memory is left",
}


class Database:
    """One SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or create, and bring the schema up to date. Raises UsageError when that cannot be."""
        self.path = path
        self._gate = threading.Lock()  # a writer waiting for its turn holds it: writers are served in order
        self._turn = threading.Lock()
        self._idle: deque[sqlite3.Connection] = deque()
        self._writers: list[Writer] = []
        try:
            _migrate(path)
        except sqlite3.Error as error:
            raise UsageError(f"The database {path} cannot be used: {error}.") from error

    def connect(self, durable: bool) -> sqlite3.Connection:
        """A connection in autocommit mode. `durable`: its commits survive a power failure."""
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        for pragma in (
            "journal_mode=WAL",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"synchronous={'FULL' if durable else 'NORMAL'}",
            f"wal_autocheckpoint={_CHECKPOINT_PAGES if durable else 0}",
            f"cache_size=-{CACHE_KIB}",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def query(self, sql: str, *values: object) -> list[Row]:
        """All rows of a statement that only reads, from what is committed. Raises Transient."""
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self.connect(durable=False)
            try:
                return connection.execute(sql, values).fetchall()
            finally:
                if len(self._idle) < READERS_MAX:
                    self._idle.append(connection)
                else:
                    connection.close()
        except sqlite3.Error as error:
            raise self.translated(error) from error

    def writer(self, durable: bool) -> "Writer":
        """Another connection that may write; transactions of all of them take turns."""
        writer = Writer(self, self.connect(durable))
        self._writers.append(writer)
        return writer

    def checkpoint(self) -> None:
        """Move what was committed from the write-ahead log into the file, beside readers and writers."""
        self.query("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close every connection; nobody may be using them."""
        for writer in self._writers:
            writer.connection.close()
        self._writers.clear()
        while self._idle:
            self._idle.pop().close()

    def translated(self, error: sqlite3.Error) -> Exception:
        """The world's faults as Transient; anything else is ours and stays as it is."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _WORLDS_FAULT:
            return Transient(f"The database {self.path.name} is not available: {_WORLDS_FAULT[code]}.")
        return error

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to write, in order of asking."""
        with self._gate:
            self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()


class Writer:
    """One connection that may write, used by one thread at a time."""

    def __init__(self, database: Database, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._database = database
        self._owner = 0
        self._depth = 0

    @property
    def mine(self) -> bool:
        """Is the calling thread inside a transaction of this writer?"""
        return self._owner == threading.get_ident()

    @contextmanager
    def transaction(self) -> Iterator[bool]:
        """All or nothing; nested ones too (True: the outermost). Raises Transient, everything rolled back."""
        if self.mine:
            with self._savepoint():
                yield False
            return
        with self._database.turn():
            self.execute("BEGIN IMMEDIATE")
            self._owner = threading.get_ident()
            try:
                yield True
                self.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                self._owner = 0

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        self._depth += 1
        name = f"level_{self._depth}"
        try:
            self.execute(f"SAVEPOINT {name}")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back everything already
                    self.connection.execute(f"ROLLBACK TO {name}")
                    self.connection.execute(f"RELEASE {name}")
                raise
            self.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1

    def execute(self, sql: str, *values: object) -> list[Row]:
        """Run one statement; its rows. Raises Transient."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._database.translated(error) from error

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of values. Raises Transient.

        Rows of an INSERT go together: each run of a statement gives up the interpreter lock, and under load
        getting it back costs more than the row does.
        """
        one = _VALUES.search(sql)
        try:
            if one is not None and len(rows) >= ROWS_TOGETHER:
                group = f"VALUES {', '.join([one[1]] * ROWS_TOGETHER)}"
                together = sql[: one.start()] + group + sql[one.end() :]
                whole = len(rows) // ROWS_TOGETHER * ROWS_TOGETHER
                for start in range(0, whole, ROWS_TOGETHER):
                    values = chain.from_iterable(rows[start : start + ROWS_TOGETHER])
                    self.connection.execute(together, tuple(values))
                rows = rows[whole:]
            self.connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise self._database.translated(error) from error


def _migrate(path: Path) -> None:
    """Apply the numbered migrations that the file has not seen. Loads the library only when there are any."""
    wanted = {migration.stem for migration in MIGRATIONS.glob("*.sql")}
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        applied = {row[0] for row in connection.execute("SELECT migration_id FROM _yoyo_migration")}
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        applied = set()
    finally:
        connection.close()
    if wanted <= applied:
        return
    from urllib.parse import quote

    from yoyo import get_backend, read_migrations

    backend = get_backend(f"sqlite:///{quote(str(path.absolute()))}")
    try:
        with backend.lock():
            backend.apply_migrations(backend.to_apply(read_migrations(str(MIGRATIONS))))
    finally:
        backend.connection.close()


_INSERT = """
INSERT INTO resources (account, region, kind, key, revision, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account, region, kind, key) DO UPDATE SET revision = excluded.revision, body = excluded.body
"""
_DELETE = "DELETE FROM resources WHERE account = ? AND region = ? AND kind = ? AND key = ? RETURNING key"
_GET = "SELECT body FROM resources WHERE account = ? AND region = ? AND kind = ? AND key = ?"
_LIST = "SELECT body FROM resources WHERE account = ? AND region = ? AND kind = ? ORDER BY key"
_LIST_BELOW = """
SELECT body FROM resources
WHERE account = ? AND region = ? AND kind = ? AND (key = ? OR (key > ? AND key < ?)) ORDER BY key
"""
_COUNT = """
INSERT INTO counters (account, region, counter, value) VALUES (?, ?, ?, 1)
ON CONFLICT (account, region, counter) DO UPDATE SET value = counters.value + 1 RETURNING value
"""
_REVISE = """
INSERT INTO revisions (account, region, revision) VALUES (?, ?, 1)
ON CONFLICT (account, region) DO UPDATE SET revision = revisions.revision + 1 RETURNING revision
"""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decoders: dict[type[Resource], Callable[[str], Resource]] = {
    kind: msgspec.json.Decoder(kind).decode for kind in RESOURCES
}

Identity = tuple[Tenant, type[Resource], tuple[str, ...]]


class SqliteCatalog:
    """The resources, implementing `ports.Catalog`. What was read is kept in memory until it changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = database.writer(durable=True)
        self._cache: dict[Identity, Resource] = {}
        self._cache_lock = threading.Lock()
        self._generation = 0  # of the cache: a read that a commit has overtaken is not kept
        self._changed: dict[Tenant, set[Identity]] = {}  # by the transaction under way
        self._revisions: dict[Tenant, int] = {}
        self.refresh()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `ports.Catalog`. Raises Transient (full disk, locked database), then nothing was written."""
        with self._writer.transaction() as outermost:
            if outermost:
                self._changed = {}
            yield
            changed = self._changed
            if outermost:
                revisions = {tenant: self._writer.execute(_REVISE, *tenant)[0][0] for tenant in changed}
        if outermost:
            with self._cache_lock:
                self._generation += 1
                for tenant, revision in revisions.items():
                    if revision != self.revision(tenant) + 1:  # another process has written too
                        self._cache.clear()
                    self._revisions[tenant] = revision
                    for identity in changed[tenant]:
                        self._cache.pop(identity, None)

    def get(self, tenant: Tenant, kind: type[R], *key: str) -> R | None:
        """The resource, None when it is missing."""
        if self._writer.mine:
            return self._read(self._writer.execute, tenant, kind, key)
        identity = (tenant, kind, key)
        found = self._cache.get(identity)
        if found is None:
            generation = self._generation
            found = self._read(self._database.query, tenant, kind, key)
            if found is None:
                return None
            with self._cache_lock:
                if self._generation == generation:
                    if len(self._cache) >= CACHED_MAX:
                        self._cache.clear()
                    self._cache[identity] = found
        return cast(R, found)

    def put(self, tenant: Tenant, resource: Resource) -> None:
        """Insert or replace."""
        assert self._writer.mine, "only inside transaction()"
        assert not any(_SEPARATOR in part for part in resource.key), "a key holds no control characters"
        kind = type(resource)
        self._change(tenant, (tenant, kind, resource.key))
        revision = self.revision(tenant) + 1
        body = _encode(resource).decode()
        self._writer.execute(_INSERT, *tenant, kind.kind, _SEPARATOR.join(resource.key), revision, body)

    def delete(self, tenant: Tenant, kind: type[Resource], *key: str) -> bool:
        """True when it was there."""
        assert self._writer.mine, "only inside transaction()"
        if not _possible(key):
            return False
        if not self._writer.execute(_DELETE, *tenant, kind.kind, _SEPARATOR.join(key)):
            return False
        self._change(tenant, (tenant, kind, key))
        return True

    def list(self, tenant: Tenant, kind: type[R], *prefix: str) -> Sequence[R]:
        """All resources whose key starts with `prefix`, in key order."""
        if not _possible(prefix):
            return []
        query = self._writer.execute if self._writer.mine else self._database.query
        if prefix:
            exact = _SEPARATOR.join(prefix)
            rows = query(_LIST_BELOW, *tenant, kind.kind, exact, exact + _SEPARATOR, exact + _AFTER_SEPARATOR)
        else:
            rows = query(_LIST, *tenant, kind.kind)
        decode = _decoders[kind]
        return [cast(R, decode(row[0])) for row in rows]

    def next_number(self, tenant: Tenant, counter: str) -> int:
        """1, 2, 3 …"""
        assert self._writer.mine, "only inside transaction()"
        return cast(int, self._writer.execute(_COUNT, *tenant, counter)[0][0])

    def revision(self, tenant: Tenant) -> int:
        """Grows with every committed change of the tenant's resources."""
        return self._revisions.get(tenant, 0)

    def tenants(self) -> Sequence[Tenant]:
        """Everybody who has or had resources."""
        return sorted(self._revisions)

    def refresh(self) -> None:
        """Notice what another process, a command beside the server, has committed; cheap."""
        rows = self._database.query("SELECT account, region, revision FROM revisions")
        found = {Tenant(row[0], row[1]): row[2] for row in rows}
        with self._cache_lock:
            if any(revision > self._revisions.get(tenant, 0) for tenant, revision in found.items()):
                self._generation += 1
                self._cache.clear()
                self._revisions.update(found)

    def close(self) -> None:
        """Close the database, which other users of it share."""
        self._database.close()

    def _change(self, tenant: Tenant, identity: Identity) -> None:
        self._changed.setdefault(tenant, set()).add(identity)

    @staticmethod
    def _read(
        query: Callable[..., Sequence[Row]], tenant: Tenant, kind: type[R], key: tuple[str, ...]
    ) -> R | None:
        if not _possible(key):
            return None
        rows = query(_GET, *tenant, kind.kind, _SEPARATOR.join(key))
        return cast(R, _decoders[kind](rows[0][0])) if rows else None


def _possible(key: tuple[str, ...]) -> bool:
    """Can a resource have this key? Callers ask for whatever they were sent."""
    try:
        return not any(_SEPARATOR in part or "\0" in part or not part.encode() for part in key)
    except UnicodeEncodeError:  # half a surrogate pair
        return False
