"""Sealing: AES-256-GCM over what is kept of a tenant's events, under data keys that only its own key opens.

A data key belongs to one tenant. Outside of memory it exists only wrapped by a key of the customer's
(`hawksnest/kms.py`); `store/encryption.py` fetches the data keys of a server, which hands them to its
children through a pipe. A data key that cannot be had leaves what it sealed closed, with a reason.
"""

import base64
import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from hawksnest.catalog import Tenant
from hawksnest.errors import ServiceError
from hawksnest.world import unpredictable

KEY_BYTES = 32
NONCE_BYTES = 12
FLAG = "--keys"  # in a child's command line: its standard input begins with data keys
HANDED_MAX_BYTES = 4 << 20  # of the line that a child is given its data keys in
_COUNTED_BITS = 32  # of a nonce; the others begin at random
_NONCES = 1 << 8 * NONCE_BYTES


class DataKeyId(NamedTuple):
    """A data key: the how many-th of its tenant, from 1."""

    account: str
    region: str
    number: int

    @property
    def tenant(self) -> Tenant:
        return Tenant(self.account, self.region)


class Reason(NamedTuple):
    """Why a data key cannot be had, as the fault that calls in need of it end with."""

    code: str
    message: str

    def fault(self) -> ServiceError:
        return ServiceError(self.code, self.message)


class NotSealedHere(ValueError):
    """The bytes were not sealed with this data key for this place, or have changed since."""


class UnknownDataKey(Exception):
    """A child came to what was sealed with a data key that is younger than the child."""


class Box:
    """Seals and opens with one data key. Safe to call from several threads.

    Nonces count up from 64 random bits, so two processes, or two runs, never come to the same one: with 2^20
    of them the odds are below 2^-24, each with 2^32 nonces of its own.
    """

    __slots__ = ("_aead", "_nonces", "_refused", "id", "key")

    def __init__(self, id_: DataKeyId, key: bytes) -> None:
        """Raises ValueError for a key that has not KEY_BYTES."""
        # 50 ms and 8 MB: only where something is sealed
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(key) != KEY_BYTES:
            raise ValueError(f"a data key has {KEY_BYTES} bytes")
        self.id = id_
        self.key = key
        self._aead = AESGCM(key)
        self._refused = InvalidTag, ValueError
        self._nonces = itertools.count(int.from_bytes(unpredictable(8)) << _COUNTED_BITS)

    def __repr__(self) -> str:
        return f"Box({self.id})"

    def seal(self, data: bytes, place: bytes) -> bytes:
        """The data unreadable; opens only with the same `place`, which says what and where it is."""
        nonce = (next(self._nonces) % _NONCES).to_bytes(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """What `seal` was given. Raises NotSealedHere."""
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except self._refused:
            raise NotSealedHere(f"not sealed with data key {self.id.number} for this place") from None


class Keyring:
    """The data keys of a process, at hand or closed, and who seals with which.

    Changed with the ledger's turn held, or before anybody else has it. `sealing` is empty while no tenant has
    an encryption key, so that asking costs the others nothing.
    """

    def __init__(self, partial: bool = False) -> None:
        """`partial`: of a child that may come to younger data keys, and stops there."""
        self.boxes: dict[DataKeyId, Box] = {}
        self.closed: dict[DataKeyId, Reason] = {}
        self.sealing: dict[tuple[str, str], Box | Reason] = {}  # a reason: the tenant is locked out
        self._partial = partial

    def copy(self) -> "Keyring":
        """Another keyring with the same contents."""
        made = Keyring(self._partial)
        made.boxes, made.closed, made.sealing = dict(self.boxes), dict(self.closed), dict(self.sealing)
        return made

    def admit(self, boxes: Iterable[Box]) -> None:
        """These data keys are at hand from now on."""
        for box in boxes:
            self.boxes[box.id] = box
            self.closed.pop(box.id, None)

    def find(self, id_: DataKeyId) -> Box | Reason:
        """The data key, or why it cannot be had. Raises UnknownDataKey in a child."""
        found = self.boxes.get(id_) or self.closed.get(id_)
        if found is None:
            if self._partial:
                raise UnknownDataKey
            return Reason(
                "AccessDeniedException",
                f"Data key {id_.number} of account {id_.account} in {id_.region} is not in the catalogue; "
                "restore hawksnest.sqlite from a backup made together with the journal.",
            )
        return found

    def locked(self, tenant: tuple[str, str]) -> Reason | None:
        """Why nothing of the tenant is stored or decided now; None when it is."""
        found = self.sealing.get(tenant)
        return found if isinstance(found, Reason) else None

    def sealer(self, tenant: tuple[str, str]) -> Box | None:
        """What seals the tenant's new records and files; None: nothing. Raises ServiceError when locked."""
        found = self.sealing.get(tenant)
        if isinstance(found, Reason):
            raise found.fault()
        return found

    def newest(self, tenant: tuple[str, str]) -> Box | None:
        """The tenant's youngest data key that is at hand: what is made of all its events is sealed with it,
        also while new events are not."""
        if not self.boxes:
            return None
        found = [id_ for id_ in list(self.boxes) if id_[:2] == tenant]
        return self.boxes[max(found)] if found else None

    def tenants(self) -> set[Tenant]:
        """Everybody who has a data key."""
        return {id_.tenant for id_ in (*list(self.boxes), *list(self.closed))}

    # passing data keys on to a child ------------------------------------------------------------------

    def handed(self, tenant: Tenant | None = None) -> "Handed":
        """The keyring, or what of it is a tenant's, for a child."""

        def wanted(account: str, region: str) -> bool:
            return tenant is None or (account, region) == tenant

        if not any(wanted(*who) for who in self.tenants()):
            return Handed(b"")
        boxes = [
            [*id_, base64.b64encode(box.key).decode()]
            for id_, box in list(self.boxes.items())
            if wanted(*id_.tenant)
        ]
        closed = [[*id_, *reason] for id_, reason in list(self.closed.items()) if wanted(*id_.tenant)]
        sealing = [
            [*who, *((found.id.number,) if isinstance(found, Box) else (0, *found))]
            for who, found in list(self.sealing.items())
            if wanted(*who)
        ]
        return Handed(json.dumps([boxes, closed, sealing]).encode() + b"\n")

    @classmethod
    def taken(cls, line: bytes, partial: bool) -> "Keyring":
        """The keyring of a line that `handed` made."""
        made = cls(partial)
        boxes, closed, sealing = json.loads(line)
        for account, region, number, key in boxes:
            id_ = DataKeyId(account, region, number)
            made.boxes[id_] = Box(id_, base64.b64decode(key))
        for account, region, number, code, message in closed:
            made.closed[DataKeyId(account, region, number)] = Reason(code, message)
        for account, region, number, *reason in sealing:
            made.sealing[account, region] = (
                Reason(*reason) if reason else made.boxes[DataKeyId(account, region, number)]
            )
        return made


class Handed:
    """Data keys on their way to a child: by its standard input, so that nobody else can see them."""

    def __init__(self, line: bytes) -> None:
        self._line = line

    @property
    def flag(self) -> list[str]:
        """What the child's command line says when there are any."""
        return [FLAG] if self._line else []

    def to(self, child: "subprocess.Popen[bytes]") -> None:
        """Write them into the child's pipe; a child that is gone is left to whoever waits for it."""
        if self._line and child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.write(self._line)
                child.stdin.flush()

    @staticmethod
    def taken(fd: int) -> bytes:
        """The line, in the child, for `Keyring.taken`. Raises EOFError."""
        line = bytearray()
        while not line.endswith(b"\n"):
            part = os.read(fd, 65_536)
            if not part or len(line) > HANDED_MAX_BYTES:
                raise EOFError("the data keys did not come")
            line += part
        return bytes(line)
