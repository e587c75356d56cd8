"""The encryption keys of a server's tenants: chosen, fetched at start, and tried again while they are closed.

The catalogue says which key a tenant has chosen and keeps its data keys, wrapped. One that cannot be
unwrapped when the server starts (the KMS is down, the key was deleted) stays closed, with the reason. A
tenant whose current data key is closed is locked out; everybody else is served. A thread tries closed ones
again.
"""

import base64
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from hawksnest.catalog import DataKey, EncryptionKey, Tenant
from hawksnest.errors import ServiceError, Transient, invalid
from hawksnest.store.ports import Catalog
from hawksnest.store.sealing import Box, DataKeyId, Keyring, Reason
from hawksnest.world import World

DEFAULT = "DEFAULT"
DATA_KEYS_MAX = (
    100  # of a tenant: one for each key it ever chose, and one more whenever an old one was closed
)
RETRY_S, RETRY_MAX_S = 1.0, 60.0
TRIED_MAX = 20  # closed data keys of a tenant looked at in one round

_log = logging.getLogger(__name__)


class NewDataKey(NamedTuple):
    """A data key that was just made."""

    plain: bytes
    wrapped: bytes

    def __repr__(self) -> str:
        return "NewDataKey()"


class KeySource(Protocol):
    """Who has the customers' keys.

    Both raise ServiceError when the key is not there, may not be used or is of the wrong kind, and Transient
    when that could not be learned.
    """

    def make(self, arn: str, tenant: Tenant) -> NewDataKey:
        """A new data key of the tenant, plain and wrapped."""

    def unwrap(self, arn: str, wrapped: bytes, tenant: Tenant) -> bytes:
        """A data key that was made for the tenant."""


class Stopped(Exception):
    """The server is closing."""


class NoKeys:
    """No source of keys: what stores opened by tests and tools have."""

    def make(self, arn: str, tenant: Tenant) -> NewDataKey:
        """See `KeySource`."""
        raise invalid("There are no encryption keys here.")

    def unwrap(self, arn: str, wrapped: bytes, tenant: Tenant) -> bytes:
        """See `KeySource`."""
        raise invalid("There are no encryption keys here.")


Install = Callable[[], None]
Reopen = Callable[[Tenant, list[Box], Install], None]
"""Makes the tenant's entity states anew with these data keys too, then calls `Install` with the turn held."""


class Encryption:
    """Choices and data keys of all tenants. Safe to call from several threads."""

    def __init__(
        self, catalog: Catalog, source: KeySource, world: World, on_first: Callable[[], None] = lambda: None
    ) -> None:
        """`on_first` is called before a data key is kept that may be the data folder's first."""
        self.keys = Keyring()
        self._catalog = catalog
        self._source = source
        self._world = world
        self._on_first = on_first
        self._lock = threading.Lock()  # choices are written and come into force in one order
        self._asked: set[Tenant] = set()  # locked out, and have chosen anew
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # choosing -----------------------------------------------------------------------------------------

    def chosen(self, tenant: Tenant) -> str:
        """ARN of the key that the tenant has chosen, or DEFAULT."""
        choice = self._catalog.get(tenant, EncryptionKey, "current")
        return DEFAULT if choice is None else choice.kms_key

    def choose(self, tenant: Tenant, arn: str) -> None:
        """Seal the tenant's events with this key from now on; DEFAULT: do not seal them.

        Raises ServiceError when the key cannot be used, then nothing has changed. May wait for the KMS.
        """
        known = made = None
        if arn != DEFAULT:
            try:
                known = self._at_hand(tenant, arn)
                if known is not None:
                    self._source.unwrap(arn, base64.b64decode(known.wrapped), tenant)  # is it still usable?
                else:
                    made = self._source.make(arn, tenant)
            except Transient as fault:
                raise _unreachable(arn, fault).fault() from None
        with self._lock:
            number = known.number if known is not None else 0
            with self._catalog.transaction():
                if made is not None:
                    number = self._keep(tenant, arn, made)
                self._put(tenant, arn, number)
            if made is not None:
                self.keys.admit([Box(DataKeyId(*tenant, number), made.plain)])
            if self.keys.locked(tenant):  # its entity states come first
                self.keys.sealing[tenant] = Reason(
                    "ThrottlingException", "The change of the encryption key is under way; try again."
                )
                self._asked.add(tenant)
                self._wake.set()
            else:
                self._enforce(tenant, number)

    def _at_hand(self, tenant: Tenant, arn: str) -> DataKey | None:
        """The youngest open data key of the tenant under this key."""
        found = [
            each
            for each in self._catalog.list(tenant, DataKey)
            if each.kms_key == arn and DataKeyId(*tenant, each.number) in self.keys.boxes
        ]
        return max(found, key=lambda each: each.number, default=None)

    def _keep(self, tenant: Tenant, arn: str, made: NewDataKey) -> int:
        if len(self._catalog.list(tenant, DataKey)) >= DATA_KEYS_MAX:
            raise invalid(f"The account has had {DATA_KEYS_MAX} encryption keys in this region; choose one.")
        self._on_first()
        number = self._catalog.next_number(tenant, "data-key")
        now_ms = self._world.now_ms()
        self._catalog.put(
            tenant,
            DataKey(
                number=number,
                kms_key=arn,
                wrapped=base64.b64encode(made.wrapped).decode(),
                created_at_ms=now_ms,
                updated_at_ms=now_ms,
            ),
        )
        return number

    def _put(self, tenant: Tenant, arn: str, number: int) -> None:
        now_ms = self._world.now_ms()
        before = self._catalog.get(tenant, EncryptionKey, "current")
        if before is None and arn == DEFAULT:
            return
        created_at_ms = now_ms if before is None else before.created_at_ms
        self._catalog.put(
            tenant,
            EncryptionKey(kms_key=arn, data_key=number, created_at_ms=created_at_ms, updated_at_ms=now_ms),
        )

    def _enforce(self, tenant: Tenant, number: int) -> None:
        """From the next record on."""
        if number:
            self.keys.sealing[tenant] = self.keys.find(DataKeyId(*tenant, number))
        else:
            self.keys.sealing.pop(tenant, None)

    # fetching -----------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """At server start, before the journal is read: unwrap every data key, and say which stay closed."""
        for tenant in self._catalog.tenants():
            for each in self._catalog.list(tenant, DataKey):
                found = self._unwrapped(tenant, each)
                if isinstance(found, Box):
                    self.keys.admit([found])
                else:
                    self.keys.closed[DataKeyId(*tenant, each.number)] = found
                    _log.warning("Events of account %s in %s cannot be read: %s", *tenant, found.message)
            self._enforce(tenant, self._wanted(tenant))

    def start(self, reopen: Reopen) -> None:
        """Try closed data keys again, from a thread of our own that ends when none is left."""
        if self.keys.closed:
            self._thread = threading.Thread(
                target=self._run, args=(reopen,), name="hawksnest-keys", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop trying."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise Stopped when the server is closing."""
        if self._stopping.is_set():
            raise Stopped

    def _wanted(self, tenant: Tenant) -> int:
        choice = self._catalog.get(tenant, EncryptionKey, "current")
        return 0 if choice is None else choice.data_key

    def _unwrapped(self, tenant: Tenant, kept: DataKey) -> Box | Reason:
        arn = kept.kms_key
        try:
            plain = self._source.unwrap(arn, base64.b64decode(kept.wrapped), tenant)
        except ServiceError as refusal:
            return Reason(
                "AccessDeniedException", f"The encryption key {arn} cannot be used. {refusal.message}"
            )
        except Transient as fault:
            return _unreachable(arn, fault)
        return Box(DataKeyId(*tenant, kept.number), plain)

    def _run(self, reopen: Reopen) -> None:
        wait_s = RETRY_S
        while self.keys.closed and not self._stopping.is_set():
            if self._wake.wait(wait_s):
                wait_s = RETRY_S
            self._wake.clear()
            wait_s = min(RETRY_MAX_S, wait_s * 2)
            for tenant in sorted({id_.tenant for id_ in list(self.keys.closed)} | self._asked):
                try:
                    self.check()
                    self._try(tenant, reopen)
                except Stopped:
                    return
                except (ServiceError, Transient) as fault:  # the catalogue, say; the next round tries again
                    _log.warning("Encryption keys of account %s in %s wait: %s", *tenant, fault)

    def _try(self, tenant: Tenant, reopen: Reopen) -> None:
        """Open what can be opened of one tenant."""
        keys, boxes = self.keys, []
        closed = [id_ for id_ in list(keys.closed) if id_.tenant == tenant]
        for id_ in closed[:TRIED_MAX]:
            kept = self._catalog.get(tenant, DataKey, str(id_.number))
            found = self._unwrapped(tenant, kept) if kept is not None else keys.closed[id_]
            if isinstance(found, Box):
                boxes.append(found)
            else:
                keys.closed[id_] = found
        number = self._wanted(tenant)
        opened = {*keys.boxes, *(box.id for box in boxes)}
        usable = not number or DataKeyId(*tenant, number) in opened
        if usable and (boxes or keys.locked(tenant)):

            def install() -> None:
                with self._lock:
                    keys.admit(boxes)
                    self._asked.discard(tenant)
                    self._enforce(tenant, self._wanted(tenant))

            reopen(tenant, boxes, install)
            _log.warning("Events of account %s in %s can be read again.", *tenant)
        elif boxes:
            keys.admit(boxes)  # what they sealed can be read, though the tenant stays locked out
        if not usable:
            with self._lock:
                if self._wanted(tenant) == number:
                    self._enforce(tenant, number)  # with the newest reason


def _unreachable(arn: str, fault: Transient) -> Reason:
    return Reason(
        "ThrottlingException", f"The encryption key {arn} cannot be reached now. {fault} Try again."
    )
