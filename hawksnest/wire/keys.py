"""Access keys: kept in the catalogue, found in memory, the first one written for AWS clients to read."""

import os
import re
from pathlib import Path

from hawksnest.catalog import AccessKey, Tenant
from hawksnest.errors import UsageError
from hawksnest.signing import Credentials
from hawksnest.store.ports import Catalog
from hawksnest.wire.sigv4 import Verifier
from hawksnest.world import World

NOBODY = Tenant("", "")  # keys are found before the caller is known
KEYS_MAX = 10_000

_ACCOUNT = re.compile(r"[0-9]{12}")


class KeyRing:
    """The access keys of a server. Lookups are memory; the catalogue's revision says when to read again."""

    def __init__(self, catalog: Catalog, service: str) -> None:
        self._catalog = catalog
        self._revision = -1
        self._keys: dict[str, AccessKey] = {}
        self._verifier = Verifier(self._keys_get, service)

    def _keys_get(self, access_key_id: str) -> AccessKey | None:
        return self._keys.get(access_key_id)

    @property
    def verifier(self) -> Verifier:
        """A verifier that knows the keys as they are now."""
        revision = self._catalog.revision(NOBODY)
        if revision != self._revision:
            self._keys = {key.access_key_id: key for key in self._catalog.list(NOBODY, AccessKey)}
            self._verifier.forget()
            self._revision = revision
        return self._verifier


def create_key(catalog: Catalog, world: World, account: str, description: str | None = None) -> AccessKey:
    """A new key of an account, stored. Raises UsageError for a malformed account or too many keys."""
    key = _new_key(world, account, description)
    with catalog.transaction():
        if len(catalog.list(NOBODY, AccessKey)) >= KEYS_MAX:
            raise UsageError(f"There are {KEYS_MAX} access keys already; delete some first.")
        catalog.put(NOBODY, key)
    return key


def list_keys(catalog: Catalog) -> list[AccessKey]:
    """All keys, oldest first."""
    return sorted(catalog.list(NOBODY, AccessKey), key=lambda key: (key.created_at_ms, key.access_key_id))


def delete_key(catalog: Catalog, access_key_id: str) -> None:
    """Remove a key; requests signed with it are refused from now on. Raises UsageError when unknown."""
    with catalog.transaction():
        if not catalog.delete(NOBODY, AccessKey, access_key_id):
            raise UsageError(f"There is no access key {access_key_id}; `hawksnest keys list` shows them.")


def ensure_first_key(
    catalog: Catalog, world: World, path: Path, account: str, region: str
) -> AccessKey | None:
    """On a first start: create a key, write it to `path`, store it. None when there are keys already.

    The file is written before the key is stored: a crash between the two leaves a file with a useless key,
    which the next start replaces, never a key that nobody knows.
    """
    if catalog.list(NOBODY, AccessKey):
        return None
    key = _new_key(world, account, "made at the first start")
    write_credentials(path, Credentials(key.access_key_id, key.secret, region))
    with catalog.transaction():
        catalog.put(NOBODY, key)
    return key


def _new_key(world: World, account: str, description: str | None) -> AccessKey:
    if not _ACCOUNT.fullmatch(account):
        raise UsageError(f"Account {account!r} must be 12 digits.")
    now_ms = world.now_ms()
    return AccessKey(
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        description=description,
        access_key_id="HNKA" + world.token(16).upper(),
        secret=world.token(40),
        account=account,
    )


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Write the file that AWS clients read (INI, mode 600), whole or not at all.

    Raises UsageError when the folder can't be written.
    """
    text = (
        "[default]\n"
        f"aws_access_key_id = {credentials.access_key_id}\n"
        f"aws_secret_access_key = {credentials.secret}\n"
        f"region = {credentials.region}\n"
    )
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as fault:
        raise UsageError(f"{path} can't be written: {fault.strerror}.") from None
