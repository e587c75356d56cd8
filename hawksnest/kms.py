"""Encryption keys that wrap data keys: in a key file, or held by an AWS-KMS-compatible endpoint.

A customer names its key by ARN. The key file is looked into first, then the endpoint is asked. A wrapped data
key opens only for the tenant that it was made for.
"""

import base64
import binascii
import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from hawksnest.catalog import Tenant
from hawksnest.client import Client, Service, read_credentials
from hawksnest.config import Settings
from hawksnest.errors import ServiceError, Transient, UsageError, invalid, not_found
from hawksnest.log import sync_folder
from hawksnest.store.encryption import NewDataKey
from hawksnest.store.sealing import KEY_BYTES, Box, DataKeyId, NotSealedHere
from hawksnest.world import World, unpredictable

FILE_BYTES_MAX = 1 << 20
ATTEMPTS_MAX = 2  # of one call of the endpoint
WAITS = 4  # in which one call can spend its time: connect and wait, twice
REST_S = 1.0  # after an endpoint did not answer, nobody else waits for it for so long
WRAPPED_BYTES_MAX = 6_144  # as AWS KMS says of a CiphertextBlob

ARN = re.compile(r"arn:[a-zA-Z0-9-]+:kms:([a-zA-Z0-9-]+):\d{12}:key/\w{8}-\w{4}-\w{4}-\w{4}-\w{12}", re.ASCII)

# What a KMS refuses with → how callers of Hawksnest are told; the rest is AccessDeniedException
_REFUSALS = {
    "NotFoundException": "ResourceNotFoundException",
    "InvalidArnException": "ResourceNotFoundException",
    "InvalidKeyUsageException": "ValidationException",
    "UnsupportedOperationException": "ValidationException",
}


class KeyFile:
    """A file with one key a line: its ARN, a blank, 32 bytes in base64. Read again for each use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keys(self) -> dict[str, bytes]:
        """All keys by ARN. Raises UsageError: the file is not there, open to others, or damaged."""
        try:
            with self._path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"The key file {self._path} cannot be read: {error.strerror}.") from None
        if mode & 0o077:
            raise UsageError(
                f"The key file {self._path} has mode {mode:o}; others must not read it: chmod 600."
            )
        if len(content) > FILE_BYTES_MAX:
            raise UsageError(f"The key file {self._path} has more than {FILE_BYTES_MAX:,} bytes.")
        keys: dict[str, bytes] = {}
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                arn, key = self._key(number, line)
                if keys.setdefault(arn, key) != key:
                    raise UsageError(f"The key file {self._path} has two keys for {arn}.")
        return keys

    def _key(self, number: int, line: str) -> tuple[str, bytes]:
        arn, _, text = line.strip().partition(" ")
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            key = b""
        if not ARN.fullmatch(arn) or len(key) != KEY_BYTES:
            raise UsageError(
                f"Line {number} of the key file {self._path} is no key; it takes an ARN and {KEY_BYTES} "
                "bytes in base64."
            )
        return arn, key

    def create(self, region: str, account: str, world: World) -> str:
        """Add a new key, the file too if it is not there; the key's ARN. Raises UsageError."""
        if self._path.exists():
            self.keys()
        arn = f"arn:aws:kms:{region}:{account}:key/{world.uuid()}"
        line = f"{arn} {base64.b64encode(unpredictable(KEY_BYTES)).decode()}\n"
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(fd)
            sync_folder(self._path.parent)
        except OSError as error:
            raise UsageError(f"The key file {self._path} cannot be written: {error.strerror}.") from None
        return arn

    def has(self, arn: str) -> bool:
        """Is the key in the file? Raises UsageError."""
        return arn in self.keys()

    def make(self, arn: str, tenant: Tenant) -> NewDataKey:
        """See `KeySource.make`."""
        plain = unpredictable(KEY_BYTES)
        return NewDataKey(plain, self._box(arn).seal(plain, _context_bytes(tenant)))

    def unwrap(self, arn: str, wrapped: bytes, tenant: Tenant) -> bytes:
        """See `KeySource.unwrap`."""
        try:
            return self._box(arn).open(wrapped, _context_bytes(tenant))
        except NotSealedHere:
            raise denied(f"The key of that ARN in {self._path} is not the one that was used.") from None

    def _box(self, arn: str) -> Box:
        return Box(DataKeyId("", "", 0), self.keys()[arn])


class Kms:
    """An endpoint that speaks AWS KMS: GenerateDataKey and Decrypt, JSON 1.1, signed."""

    def __init__(self, endpoint: str, credentials: Path, timeout_s: float, world: World) -> None:
        """Raises UsageError when the credentials are not there."""
        try:
            self._credentials = read_credentials(credentials)
        except UsageError:
            raise UsageError(
                f"kms-credentials is {str(credentials)!r}; it takes a file with aws_access_key_id and "
                "aws_secret_access_key under [default], for kms-endpoint."
            ) from None
        self._endpoint = endpoint
        self._service = Service("kms", "TrentService.", timeout_s / WAITS)
        self._world = world
        self._clients: dict[str, Client] = {}  # by region
        self._down = 0.0, ""  # until when, and why, the endpoint is not asked again

    def make(self, arn: str, tenant: Tenant) -> NewDataKey:
        """See `KeySource.make`."""
        answer = self._call(
            arn,
            "GenerateDataKey",
            {"KeyId": arn, "KeySpec": "AES_256", "EncryptionContext": _context(tenant)},
        )
        return NewDataKey(_plain(answer), _blob(answer, "CiphertextBlob"))

    def unwrap(self, arn: str, wrapped: bytes, tenant: Tenant) -> bytes:
        """See `KeySource.unwrap`."""
        request = {
            "KeyId": arn,
            "CiphertextBlob": base64.b64encode(wrapped).decode(),
            "EncryptionContext": _context(tenant),
        }
        return _plain(self._call(arn, "Decrypt", request))

    def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            client.close()

    def _call(self, arn: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        until_s, why = self._down
        if self._world.monotonic_s() < until_s:
            raise Transient(why)
        client = self._client(arn)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return client.call(operation, request).response
            except ServiceError as refusal:
                raise _refusal(refusal) from None
            except Transient as fault:
                if attempt == ATTEMPTS_MAX:
                    self._down = self._world.monotonic_s() + REST_S, str(fault)
                    raise
        raise AssertionError("the last attempt answers or raises")

    def _client(self, arn: str) -> Client:
        match = ARN.fullmatch(arn)
        assert match is not None, "operations take no other ARNs"
        region = match[1]
        client = self._clients.get(region)
        if client is None:
            credentials = replace(self._credentials, region=region)
            client = self._clients[region] = Client(
                self._endpoint, credentials, pool=1, world=self._world, service=self._service
            )
        return client


class EncryptionKeys:
    """The key file and the endpoint of the settings, as `store/encryption.py` needs them."""

    def __init__(self, settings: Settings, world: World) -> None:
        """Raises UsageError when a key file or credentials are named that cannot be used."""
        self._file = KeyFile(Path(settings.key_file)) if settings.key_file else None
        self._kms: Kms | None = None
        if self._file is not None:
            self._file.keys()
        if settings.kms_endpoint:
            credentials = Path(settings.kms_credentials)
            self._kms = Kms(settings.kms_endpoint, credentials, settings.kms_timeout_s, world)

    def make(self, arn: str, tenant: Tenant) -> NewDataKey:
        """See `KeySource.make`."""
        return self._source(arn).make(arn, tenant)

    def unwrap(self, arn: str, wrapped: bytes, tenant: Tenant) -> bytes:
        """See `KeySource.unwrap`."""
        return self._source(arn).unwrap(arn, wrapped, tenant)

    def close(self) -> None:
        """End the connections."""
        if self._kms is not None:
            self._kms.close()

    def _source(self, arn: str) -> KeyFile | Kms:
        try:
            if self._file is not None and self._file.has(arn):
                return self._file
        except UsageError as error:
            raise denied(str(error)) from None
        if self._kms is not None:
            return self._kms
        if self._file is not None:
            raise not_found(f"Key {arn} is not in the server's key file.")
        raise invalid(
            "This server has no encryption keys; start it with --key-file or --kms-endpoint "
            "(docs/encryption.md)."
        )


def denied(message: str) -> ServiceError:
    """The key may not be used (AccessDeniedException, 400)."""
    return ServiceError("AccessDeniedException", message)


def _refusal(refusal: ServiceError) -> ServiceError:
    code = _REFUSALS.get(refusal.code, "AccessDeniedException")
    return ServiceError(code, f"The KMS refuses the key: {refusal.code}: {refusal.message[:500]}")


def _context(tenant: Tenant) -> dict[str, str]:
    """What a wrapped data key is bound to."""
    return {"hawksnest:account": tenant.account, "hawksnest:region": tenant.region}


def _context_bytes(tenant: Tenant) -> bytes:
    return json.dumps(_context(tenant), sort_keys=True).encode()


def _blob(answer: dict[str, Any], member: str) -> bytes:
    """A member in base64. Raises Transient: whoever answers so is no KMS, or not well."""
    try:
        blob = base64.b64decode(answer[member], validate=True)
    except (KeyError, TypeError, ValueError):
        blob = b""
    if not 0 < len(blob) <= WRAPPED_BYTES_MAX:
        raise Transient(f"The KMS answered without a {member}.")
    return blob


def _plain(answer: dict[str, Any]) -> bytes:
    plain = _blob(answer, "Plaintext")
    if len(plain) != KEY_BYTES:
        raise Transient(f"The KMS answered with a data key of {len(plain)} bytes, not {KEY_BYTES}.")
    return plain
