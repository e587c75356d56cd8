"""A thin keep-alive client of the API for our own commands, safe to use from several threads.

Written on the socket because every record of a stream pays for it: a general HTTP library costs 300 µs of CPU
a call, and sends head and body apart, which wakes the server twice.
"""

import queue
import select
import socket
import ssl
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools
import orjson

from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.signing import Credentials, sign
from hawksnest.world import RealWorld, World

TARGET_PREFIX = "AWSHawksNestServiceFacade."
SERVICE = "frauddetector"
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
RESPONSE_LIMIT = 64 << 20  # bytes; no operation answers more
_READ_BYTES = 65_536

_WORTH_RETRYING = frozenset({"ThrottlingException", "InternalServerException", "ServiceUnavailable"})


class Service(NamedTuple):
    """Who is called: the name that signatures carry, and what operations' names begin with."""

    name: str
    target_prefix: str
    timeout_s: float | None = None  # for connecting, and for each wait after that; None: the usual ones


FRAUD_DETECTOR = Service(SERVICE, TARGET_PREFIX)


class Reply(NamedTuple):
    """What came back: the members of the response and its headers with lower-case names."""

    response: dict[str, Any]
    headers: dict[str, str]


class Client:
    """Signed calls to one endpoint over up to `pool` kept connections; more callers than that wait."""

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        pool: int = 8,
        world: World | None = None,
        service: Service = FRAUD_DETECTOR,
    ) -> None:
        """Raises UsageError when the endpoint is not an http or https URL."""
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise UsageError(f"Endpoint {endpoint!r} must be a URL like http://127.0.0.1:8420.")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        default = 443 if tls is not None else 80
        port = parts.port or default
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._host = host if port == default else f"{host}:{port}"
        self._credentials = credentials
        self._service = service
        self._world = world or RealWorld()
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue()  # the warmest first
        for _ in range(pool):
            self._idle.put(_Connection(parts.hostname, port, tls, service.timeout_s))

    def call(self, operation: str, request: dict[str, Any], idempotent: bool = False) -> Reply:
        """Call an operation once. `idempotent` asks for the recorded answer of a repeated event id.

        Raises ServiceError for the caller's faults; Transient when the same call may succeed later (no
        connection, no answer in time, throttling, a fault of the server).
        """
        body = orjson.dumps(request)
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": self._host,
            "x-amz-target": self._service.target_prefix + operation,
        }
        if idempotent:
            headers["x-hawksnest-idempotent"] = "true"
        headers |= sign(self._credentials, self._service.name, headers, body, self._world.now_ms())
        connection = self._idle.get()
        try:
            status, shown, data = connection.post(headers, body)
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            connection.close()
            raise Transient(f"{operation}: no answer from {self._host} ({type(fault).__name__}).") from None
        except BaseException:
            connection.close()  # whatever is under way on it must not be taken for the next answer
            raise
        finally:
            self._idle.put(connection)
        try:
            members = orjson.loads(data)
        except orjson.JSONDecodeError:
            members = {}
        if status == 200 and isinstance(members, dict):
            return Reply(members, shown)
        raise _fault(operation, status, members if isinstance(members, dict) else {})

    def close(self) -> None:
        """End the kept connections that no call is using."""
        kept = []
        while not self._idle.empty():
            kept.append(self._idle.get())
        for connection in kept:
            connection.close()
            self._idle.put(connection)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Connection:
    """One connection, kept between calls. Raises OSError or HttpParserError; then it must be closed."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float | None) -> None:
        self._host, self._port, self._tls, self._timeout_s = host, port, tls, timeout_s
        self._socket: socket.socket | None = None

    def post(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names) and body of the answer to a `POST /`."""
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise UsageError("The region and the access key must be plain printable ASCII text.")
        head = f"POST / HTTP/1.1\r\n{''.join(lines)}content-length: {len(body)}\r\n\r\n"
        connected = self._connected()
        connected.sendall(head.encode("latin-1") + body)
        answer = _Answer()
        size = 0
        while not answer.complete:
            data = connected.recv(_READ_BYTES)
            size += len(data)
            if not data or size > RESPONSE_LIMIT:
                raise ConnectionError("the answer was cut short" if not data else "the answer is too large")
            answer.parser.feed_data(data)
        if not answer.keep:
            self.close()
        return answer.parser.get_status_code(), answer.headers, b"".join(answer.parts)

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            # Between calls nothing may arrive but the server's goodbye.
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if not poll.poll(0):
                return self._socket
            self.close()
        made = socket.create_connection((self._host, self._port), self._timeout_s or CONNECT_TIMEOUT_S)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                made = self._tls.wrap_socket(made, server_hostname=self._host)
            made.settimeout(self._timeout_s or READ_TIMEOUT_S)
        except BaseException:
            made.close()
            raise
        self._socket = made
        return made

    def close(self) -> None:
        """End it; the next call connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Answer:
    """What the parser reports of one answer."""

    def __init__(self) -> None:
        self.complete = False
        self.keep = False  # may the connection carry another call?
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        self.complete = True
        self.keep = self.parser.should_keep_alive()  # afterwards the parser has forgotten


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
