"""A thin keep-alive client of the API for our own commands, safe to use from several threads."""

from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import urllib3

from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.signing import Credentials, sign
from hawksnest.world import RealWorld, World

TARGET_PREFIX = "AWSHawksNestServiceFacade."
SERVICE = "frauddetector"
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0

_WORTH_RETRYING = frozenset({"ThrottlingException", "InternalServerException", "ServiceUnavailable"})


class Reply(NamedTuple):
    """What came back: the members of the response and its headers with lower-case names."""

    response: dict[str, Any]
    headers: dict[str, str]


class Client:
    """Signed calls to one endpoint over up to `pool` kept connections; more callers than that wait."""

    def __init__(
        self, endpoint: str, credentials: Credentials, pool: int = 8, world: World | None = None
    ) -> None:
        """Raises UsageError when the endpoint is not an http or https URL."""
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise UsageError(f"Endpoint {endpoint!r} must be a URL like http://127.0.0.1:8420.")
        kind = urllib3.HTTPSConnectionPool if parts.scheme == "https" else urllib3.HTTPConnectionPool
        default = 443 if parts.scheme == "https" else 80
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._host = host if parts.port in (None, default) else f"{host}:{parts.port}"
        self._credentials = credentials
        self._world = world or RealWorld()
        self._pool = kind(
            parts.hostname,
            parts.port or default,
            maxsize=pool,
            block=True,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            retries=False,
        )

    def call(self, operation: str, request: dict[str, Any], idempotent: bool = False) -> Reply:
        """Call an operation once. `idempotent` asks for the recorded answer of a repeated event id.

        Raises ServiceError for the caller's faults; Transient when the same call may succeed later (no
        connection, no answer in time, throttling, a fault of the server).
        """
        body = orjson.dumps(request)
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": self._host,
            "x-amz-target": TARGET_PREFIX + operation,
        }
        if idempotent:
            headers["x-hawksnest-idempotent"] = "true"
        headers |= sign(self._credentials, SERVICE, headers, body, self._world.now_ms())
        try:
            reply = self._pool.request("POST", "/", body=body, headers=headers)
        except urllib3.exceptions.HTTPError as fault:
            raise Transient(f"{operation}: no answer from {self._host} ({type(fault).__name__}).") from None
        shown = {name.lower(): value for name, value in reply.headers.items()}
        try:
            members = orjson.loads(reply.data)
        except orjson.JSONDecodeError:
            members = {}
        if reply.status == 200 and isinstance(members, dict):
            return Reply(members, shown)
        raise _fault(operation, reply.status, members if isinstance(members, dict) else {})

    def close(self) -> None:
        """End the kept connections."""
        self._pool.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fault(operation: str, status: int, members: dict[str, Any]) -> ServiceError | Transient:
    code = str(members.get("__type", status)).rpartition("#")[2].partition(":")[0]
    message = str(members.get("message") or members.get("Message") or f"answered with status {status}")
    if status >= 500 or status == 429 or code in _WORTH_RETRYING:
        return Transient(f"{operation}: {code}: {message}")
    return ServiceError(code, message, status)


def read_credentials(path: Path, region: str = "us-east-1", profile: str = "default") -> Credentials:
    """Credentials from a file in AWS's INI form; `region` counts where the file names none.

    Raises UsageError when the file or what it should hold is missing.
    """
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text())
        section = parser[profile]
        return Credentials(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("region", region)
        )
    except (OSError, UnicodeDecodeError, Error, KeyError):
        raise UsageError(
            f"{path} holds no access key for profile {profile!r}; "
            "`hawksnest serve` writes one at its first start."
        ) from None
