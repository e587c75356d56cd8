"""AWS Signature Version 4 in request headers: checking what clients send.

The check works from the request's own SignedHeaders list. What stays the same between two requests of one
client on one day (everything in the Authorization header before the signature) is parsed and derived once
and kept; a warm check is three hashes of a few hundred bytes.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from hawksnest.catalog import AccessKey, Tenant
from hawksnest.errors import ServiceError
from hawksnest.signing import ALGORITHM, POST_ROOT, amz_date, derive_key

SKEW_MAX_MS = 300_000
CREDENTIAL_MAX_BYTES = 4_096  # longest Authorization header that is looked at
PREFIXES_MAX = 4_096  # (key, day, region, header list) combinations kept
SIGNING_KEYS_MAX = 1_024

_SIGNATURE = re.compile(rb"[0-9a-f]{64}")
_REGION = re.compile(rb"[a-z0-9-]{3,20}")
_CLAIMED = re.compile(rb"Credential=[^/,]+/[0-9]{8}/([a-z0-9-]{3,20})/")
_DAY = re.compile(rb"[0-9]{8}")
_HEADER_NAME = re.compile(rb"[0-9a-z!#$%&'*+.^_`|~-]+")
_BLANKS = re.compile(rb"[ \t]+")
_AMZ_DATE = re.compile(rb"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The `limit` values used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._values[key] = value
        if len(self._values) > self._limit:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


def missing_token() -> ServiceError:
    return ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)


def incomplete(message: str) -> ServiceError:
    return ServiceError("IncompleteSignature", message, 403)


def unrecognised() -> ServiceError:
    return ServiceError(
        "UnrecognizedClientException", "The security token included in the request is invalid.", 403
    )


def invalid_signature(message: str) -> ServiceError:
    return ServiceError("InvalidSignatureException", message, 403)


_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your secret access "
    "key and signing method; a proxy that rewrites the Host header breaks the signature too."
)


class Scope(NamedTuple):
    """Who signed, for what, with which headers: an Authorization header without its signature."""

    access_key_id: str
    day: bytes
    region: bytes
    service: bytes
    names: tuple[bytes, ...]


@dataclass(slots=True, frozen=True)
class _Prepared:
    """A scope with everything derived from it."""

    tenant: Tenant
    day: bytes
    values: Callable[[Mapping[bytes, bytes]], Any]  # of the signed headers, in order
    template: bytes  # of the canonical request; takes the values and the hash of the body
    single: bool  # one signed header: `values` gives no tuple
    signs_target: bool  # else a caught request could be turned into another operation's
    to_sign: bytes  # of the string to sign; takes the time and the hash of the canonical request
    inner: Any  # SHA-256 after the signing key's inner and outer padding: an HMAC without its set-up
    outer: Any


class Verifier:
    """Checks header-signed requests for one service.

    `key_of` finds an access key by its id; `forget` must be called when keys have changed.
    """

    def __init__(self, key_of: Callable[[str], AccessKey | None], service: str) -> None:
        self._key_of = key_of
        self._service = service.encode()
        self._prepared: Recent[tuple[bytes, bytes], _Prepared] = Recent(PREFIXES_MAX)
        self._signing_keys: Recent[tuple[str, bytes, bytes], bytes] = Recent(SIGNING_KEYS_MAX)

    def forget(self) -> None:
        """Drop everything derived from access keys."""
        self._prepared.clear()
        self._signing_keys.clear()

    def expect(self, headers: Mapping[bytes, bytes]) -> None:
        """Before a body is read: does the request name a key at all? Raises ServiceError (403)."""
        authorization = headers.get(b"authorization")
        if not authorization:
            raise missing_token()
        scope, _ = parse_authorization(authorization)
        if self._key_of(scope.access_key_id) is None:
            raise unrecognised()

    def verify(
        self, headers: Mapping[bytes, bytes], body: bytes, now_ms: int, head: bytes = POST_ROOT
    ) -> Tenant:
        """The tenant whose key signed the request. `headers` have lower-case names; `head` is the canonical
        method, path and query. Raises ServiceError with the documented code (403)."""
        authorization = headers.get(b"authorization")
        if not authorization:
            raise missing_token()
        prefix, _, signature = authorization.rpartition(b"Signature=")
        prepared = self._prepared.get((head, prefix))
        to_keep = False
        if prepared is None:
            last, (scope, signature) = signature, parse_authorization(authorization)
            prepared = self._prepare(scope, head)
            to_keep = last == signature  # only then does the prefix hold everything else
        if b"x-amz-target" in headers and not prepared.signs_target:
            raise incomplete("'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.")
        if headers.get(b"x-amz-security-token"):
            raise unrecognised()  # keys are static: there are no sessions
        date = request_date(headers)
        _check_date(date, prepared.day, now_ms)
        body_hash = hashlib.sha256(body).hexdigest().encode()
        try:
            values = prepared.values(headers)
        except KeyError as name:
            raise incomplete(f"Header {name.args[0].decode()} is signed but not in the request.") from None
        if prepared.single:
            values = (values,)
        if not _agrees(prepared, values, body_hash, date, signature):
            tidy = tuple(_BLANKS.sub(b" ", value.strip(b" \t")) for value in values)
            if tidy == values or not _agrees(prepared, tidy, body_hash, date, signature):
                raise invalid_signature(_MISMATCH)
        if to_keep:
            self._prepared.put((head, prefix), prepared)
        return prepared.tenant

    def _prepare(self, scope: Scope, head: bytes) -> _Prepared:
        if b"host" not in scope.names:
            raise incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
        key = self._key_of(scope.access_key_id)
        if key is None:
            raise unrecognised()
        if scope.service != self._service:
            raise invalid_signature(
                f"Credential should be scoped to correct service: '{self._service.decode()}'."
            )
        if not _REGION.fullmatch(scope.region):
            raise invalid_signature("Credential should be scoped to a valid Region.")
        signing_key = self._signing_keys.get((scope.access_key_id, scope.day, scope.region))
        if signing_key is None:
            signing_key = derive_key(key.secret, scope.day, scope.region, scope.service)
            self._signing_keys.put((scope.access_key_id, scope.day, scope.region), signing_key)
        lines = b"".join(name.replace(b"%", b"%%") + b":%b\n" for name in scope.names)
        names = b";".join(scope.names).replace(b"%", b"%%")
        block = signing_key.ljust(64, b"\0")
        scope_line = b"/".join((scope.day, scope.region, scope.service, b"aws4_request"))
        return _Prepared(
            Tenant(key.account, scope.region.decode()),
            scope.day,
            itemgetter(*scope.names),
            head.replace(b"%", b"%%") + lines + b"\n" + names + b"\n%b",
            len(scope.names) == 1,
            b"x-amz-target" in scope.names,
            ALGORITHM + b"\n%b\n" + scope_line + b"\n%b",
            hashlib.sha256(bytes(byte ^ 0x36 for byte in block)),
            hashlib.sha256(bytes(byte ^ 0x5C for byte in block)),
        )


def _agrees(
    prepared: _Prepared, values: tuple[bytes, ...], body_hash: bytes, date: bytes, signature: bytes
) -> bool:
    canonical = prepared.template % (*values, body_hash)
    inner = prepared.inner.copy()
    inner.update(prepared.to_sign % (date, hashlib.sha256(canonical).hexdigest().encode()))
    outer = prepared.outer.copy()
    outer.update(inner.digest())
    return hmac.compare_digest(outer.hexdigest().encode(), signature)


def parse_authorization(authorization: bytes) -> tuple[Scope, bytes]:
    """(scope, signature). Raises ServiceError IncompleteSignature.

    Parts may be separated by a comma with or without blanks and stand in any order.
    """
    if len(authorization) > CREDENTIAL_MAX_BYTES:
        raise incomplete("The Authorization header is too long.")
    algorithm, _, rest = authorization.strip().partition(b" ")
    if algorithm != ALGORITHM:
        raise incomplete(f"Authorization must begin with '{ALGORITHM.decode()}'.")
    parts = {}
    for part in rest.split(b","):
        name, equals, value = part.strip().partition(b"=")
        if not equals or name in parts:
            raise incomplete("Authorization must be a list of Credential=…, SignedHeaders=…, Signature=….")
        parts[name] = value
    for name in (b"Credential", b"SignedHeaders", b"Signature"):
        if not parts.get(name):
            raise incomplete(f"Authorization header requires '{name.decode()}' parameter.")
    credential = parts[b"Credential"].split(b"/")
    if len(credential) != 5 or credential[4] != b"aws4_request" or not _DAY.fullmatch(credential[1]):
        raise incomplete(
            "Credential must have the form <access key>/<yyyymmdd>/<region>/<service>/aws4_request."
        )
    names = tuple(parts[b"SignedHeaders"].lower().split(b";"))
    if not all(_HEADER_NAME.fullmatch(name) for name in names) or list(names) != sorted(set(names)):
        raise incomplete("SignedHeaders must be header names in order, separated by ';'.")
    signature = parts[b"Signature"]
    if not _SIGNATURE.fullmatch(signature):
        raise incomplete("Signature must be 64 lower-case hexadecimal digits.")
    key_id, day, region, service, _ = credential
    return Scope(key_id.decode("latin-1"), day, region, service, names), signature


def request_date(headers: Mapping[bytes, bytes]) -> bytes:
    """The time of signing in the form 20240102T030405Z. Raises ServiceError IncompleteSignature."""
    date = headers.get(b"x-amz-date")
    if date is not None:
        return date
    date = headers.get(b"date")
    if date is None:
        raise incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if _AMZ_DATE.fullmatch(date):
        return date
    try:
        return (
            parsedate_to_datetime(date.decode("latin-1")).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ").encode()
        )
    except (ValueError, OverflowError):  # the second: a year that no calendar has
        raise incomplete("Date must be in ISO-8601 'basic format' or RFC 1123 form.") from None


@lru_cache(1_024)
def _instant_ms(date: bytes) -> int | None:
    """Epoch milliseconds of 20240102T030405Z; None when it is something else."""
    found = _AMZ_DATE.fullmatch(date)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def _check_date(date: bytes, day: bytes, now_ms: int) -> None:
    at_ms = _instant_ms(date) if len(date) == 16 else None
    if at_ms is None:
        raise incomplete("Date must be in ISO-8601 'basic format', like 20240102T030405Z.")
    shown = date.decode()
    if at_ms < now_ms - SKEW_MAX_MS:
        raise invalid_signature(
            f"Signature expired: {shown} is now earlier than {amz_date(now_ms - SKEW_MAX_MS)} "
            f"({amz_date(now_ms)} - 5 min.)"
        )
    if at_ms > now_ms + SKEW_MAX_MS:
        raise invalid_signature(
            f"Signature not yet current: {shown} is still later than {amz_date(now_ms + SKEW_MAX_MS)} "
            f"({amz_date(now_ms)} + 5 min.)"
        )
    if not date.startswith(day):
        raise invalid_signature(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{day.decode()}' != '{shown[:8]}'."
        )


def claimed_region(headers: Mapping[bytes, bytes]) -> str | None:
    """The region of the credential scope, unchecked: for doors that accept unsigned requests."""
    found = _CLAIMED.search(headers.get(b"authorization", b"")[:CREDENTIAL_MAX_BYTES])
    return found[1].decode() if found else None
