"""The HTTP server: uvicorn with bounds on what half a request may hold and how long it may take.

uvicorn (httptools, uvloop) was chosen by measurement: docs/adr/0003-http-server.md.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hawksnest.errors import ServiceError, UsageError
from hawksnest.wire.answers import Asgi, fault_answer
from hawksnest.wire.exchange import Direct, Exchange
from hawksnest.world import RealWorld

HEAD_MAX_BYTES = 65_536  # request line and headers
DIRECT_BODY_MAX_BYTES = 65_536  # longer bodies take the long way
REQUEST_TIMEOUT_S = 20.0  # from the first byte of a request to its last
KEEP_ALIVE_S = 75
CONNECTIONS_MAX = 4_096
FILES_RESERVED = 512  # what the store and everything else may have open beside the connections
STOP_TIMEOUT_S = 1  # for calls in progress; what then still runs is cancelled

log = logging.getLogger("hawksnest.wire")

_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


_moments = itertools.count()  # a clock too coarse for thousands of connections would not do


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which alone would wait for ever for the rest of a request."""

    request_timeout_s = REQUEST_TIMEOUT_S
    connections_max = CONNECTIONS_MAX
    direct: Direct | None = None  # who may answer without ASGI
    world = RealWorld()

    def connection_made(self, transport: Any) -> None:
        self._head_bytes = 0
        self._in_head = True
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_since = next(_moments)
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            self._make_room()
        self._arm()

    @property
    def _waits(self) -> bool:
        """Is there no whole request to answer?"""
        cycle = self.cycle
        return cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started)

    def _make_room(self) -> None:
        """One connection too many: those that have waited longest for a request to be complete go."""
        connections = cast("set[BoundedProtocol]", self.connections)
        open_ones = [each for each in connections if not each.transport.is_closing()]
        if len(open_ones) <= self.connections_max:
            return  # the others have just been told to go
        waiting = [each for each in open_ones if each._waits]
        share = 1 + self.connections_max // 64  # several at once: looking for them takes a while
        for each in heapq.nsmallest(share, waiting, key=lambda each: each._waits_since):
            each.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_head = True
        self.url = b""  # the rest of what uvicorn does here waits until it is known to be needed
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # nobody asked for trailers, and there is no end to them
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        exchange = self._exchange()
        if exchange is not None:
            self.cycle = cast("Any", exchange)
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _exchange(self) -> Exchange | None:
        """The request, if `direct` takes it: an ordinary one whose body will be short, with nobody ahead."""
        direct, cycle, parser = self.direct, self.cycle, self.parser
        if direct is None or self.url != b"/" or self.expect_100_continue or self.flow.write_paused:
            return None
        if cycle is not None and not cycle.response_complete:
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        if len(headers) != len(self.headers) or len(length) > 5 or not length.isdigit():
            return None
        if int(length) > DIRECT_BODY_MAX_BYTES or not direct.takes(headers):
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return None
        return Exchange(self, headers, parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        exchange = cast("Any", self.cycle)
        if type(exchange) is Exchange:
            exchange.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        exchange = cast("Any", self.cycle)
        if type(exchange) is not Exchange:
            super().on_message_complete()
            return
        exchange.more_body = False
        assert self.direct is not None
        if not self.transport.is_closing():
            self.direct.answer(exchange)

    def on_response_complete(self) -> None:
        # As in uvicorn, but for the timer of idle connections, which a busy one need not set each time.
        self._waits_since = next(_moments)
        self._idle_since_s = self.loop.time()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.timeout_keep_alive_task is None:
            self._watch_idleness(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        pass  # the timer looks for itself

    def _watch_idleness(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if not self._waits or self._deadline is not None:  # a request is under way
            self._watch_idleness(self.timeout_keep_alive)
        elif left_s > 0:
            self._watch_idleness(left_s)
        else:
            super().timeout_keep_alive_handler()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Nearly always a whole request has come in one piece and nothing is left to watch.
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(
                    431, "RequestHeaderSectionTooLarge", f"Headers are limited to {HEAD_MAX_BYTES} bytes."
                )
                return
            self._arm()
        elif self.cycle is not None and self.cycle.more_body:
            self._head_bytes = 0
            self._arm()
        else:
            self._head_bytes = 0
            self._disarm()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "MalformedHttpRequestException", msg)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self._refuse(408, "RequestTimeoutException", "The rest of the request did not come in time.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer in place of the application, unless it has begun to, and end the connection."""
        self._disarm()
        if self.transport is None or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            answer = fault_answer(ServiceError(code, message, status))
            lines = [
                *answer.headers,
                (b"content-length", str(len(answer.body)).encode()),
                (b"x-amzn-requestid", self.world.uuid().encode()),
                (b"connection", b"close"),
            ]
            head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
            self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _PHRASES[status], head) + answer.body)
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server with our callbacks, ending quietly on SIGINT and SIGTERM."""

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], None], on_stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stopping = on_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _nothing() -> None:
    pass


def _allow_files() -> None:
    """Let the process open as many files as all connections and the store need, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + FILES_RESERVED
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    BoundedProtocol.connections_max = max(16, min(CONNECTIONS_MAX, soft - FILES_RESERVED))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises UsageError when the address can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as fault:
        raise UsageError(f"Can't listen on {host}: {fault.strerror}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2_048)
    except OSError as fault:
        listener.close()
        raise UsageError(
            f"Can't listen on {host} port {port}: {fault.strerror}. Another --port may be free."
        ) from None
    listener.setblocking(False)
    return listener


def _server(asgi: Asgi, on_started: Callable[[], None], on_stopping: Callable[[], None]) -> _Server:
    direct: Direct | None = getattr(asgi, "direct", None)
    config = uvicorn.Config(
        asgi,
        http=type("BoundedProtocol", (BoundedProtocol,), {"direct": direct}),
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",  # a warning for every malformed request would fill the disk
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    return _Server(config, on_started, on_stopping)


def serve(
    asgi: Asgi,
    host: str,
    port: int,
    on_started: Callable[[], None] = _nothing,
    on_stopping: Callable[[], None] = _nothing,
    listener: socket.socket | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish calls in progress (3 s at most).

    An application with an attribute `direct` (`exchange.Direct`) is asked there first.

    Give a `listener` of `bind` when a busy port must be noticed before anything else is started; else it is
    made here. Raises UsageError when the address can't be had.

    `on_started` runs once connections are accepted, `on_stopping` before they are ended (close endless
    answers there, or they are cancelled).
    """
    _allow_files()
    _server(asgi, on_started, on_stopping).run([listener or bind(host, port)])


class BackgroundServer:
    """A server in a thread of its own, for embedding and tests: a context manager with a `url`."""

    def __init__(self, asgi: Asgi, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = bind(host, port)
        self._started = threading.Event()
        self._server = _server(asgi, self._started.set, _nothing)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), name="server")
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "BackgroundServer":
        self._thread.start()
        if not self._started.wait(10):
            raise UsageError(f"The server at {self.url} did not start within 10 s.")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
