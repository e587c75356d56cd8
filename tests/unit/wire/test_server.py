"""The HTTP server with clients that send half requests, endless ones, or rubbish."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from small_server import SmallServer

from hawksnest.errors import UsageError
from hawksnest.wire import server as server_module
from hawksnest.wire.server import HEAD_MAX_BYTES, BackgroundServer, bind

HEAD = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: AWSHawksNestServiceFacade.GetLabels\r\n"


def exchange(server: SmallServer, *pieces: bytes) -> bytes:
    """Send pieces, then read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


@pytest.fixture
def impatient(start: Callable[..., SmallServer], monkeypatch: pytest.MonkeyPatch) -> SmallServer:
    monkeypatch.setattr(server_module.BoundedProtocol, "request_timeout_s", 0.2)
    return start()


@pytest.mark.parametrize(
    "half",
    [b"", b"POST", HEAD, HEAD + b"Content-Length: 10\r\n\r\n", HEAD + b"Content-Length: 10\r\n\r\n12345"],
    ids=["nothing", "a word", "half the headers", "no body", "half a body"],
)
def test_half_a_request_is_ended_in_time(impatient: SmallServer, half: bytes) -> None:
    received = exchange(impatient, half)
    assert received.startswith(b"HTTP/1.1 408 Request Timeout")
    assert b'"__type":"RequestTimeoutException"' in received
    assert b"x-amzn-requestid: " in received
    deadline_s = time.monotonic() + 10
    while impatient.metrics.in_flight and time.monotonic() < deadline_s:
        time.sleep(0.005)
    assert impatient.metrics.in_flight == 0


def test_a_kept_connection_may_rest_between_requests_but_not_inside_one(impatient: SmallServer) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(request)
            assert b"200 OK" in connection.recv(65_536)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):  # longer than half a request may take
            connection.recv(65_536)
        connection.settimeout(10)
        connection.sendall(request[:20])
        assert b"408" in connection.recv(65_536)


def test_endless_headers_are_refused(shared: SmallServer) -> None:
    received = exchange(
        shared, HEAD, *[b"X-Filler: " + b"x" * 1_000 + b"\r\n"] * (HEAD_MAX_BYTES // 1_000 + 40)
    )
    assert received == b"" or received.startswith(b"HTTP/1.1 431 ")


def test_an_announced_body_over_the_limit_is_refused_unread(shared: SmallServer) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 999999999\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", [b"-5", b"5x", b"9" * 40])
def test_a_strange_length_is_refused(shared: SmallServer, length: bytes) -> None:
    received = exchange(shared, HEAD + b"Content-Length: " + length + b"\r\n\r\n")
    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


def test_a_chunked_body_is_refused_once_it_passes_the_limit(shared: SmallServer) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    received = exchange(shared, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20, b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_within_the_limit_is_read_whole(shared_open: SmallServer) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    received = exchange(shared_open, head, b'5\r\n{"nam\r\n', b'6\r\ne":"x"\r\n', b"1\r\n}\r\n0\r\n\r\n")
    assert b"200 OK" in received and b'"name":"x"' in received


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
    ],
)
def test_what_is_not_http_is_malformed(shared: SmallServer, rubbish: bytes) -> None:
    received = exchange(shared, rubbish)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"__type":"MalformedHttpRequestException"' in received


def test_a_client_that_goes_away_half_way_leaves_nothing_behind(shared: SmallServer) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n123")
    assert b"200 OK" in exchange(shared, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert shared.ledger.appended == 0


def test_a_busy_port_is_one_sentence(shared: SmallServer) -> None:
    with pytest.raises(
        UsageError, match=f"Can't listen on 127.0.0.1 port {shared.port}: Address already in use"
    ):
        bind("127.0.0.1", shared.port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_one_sentence(host: str) -> None:
    with pytest.raises(UsageError, match="Can't listen on"):
        bind(host, 0)


def test_a_server_in_the_background_ends_when_asked() -> None:
    async def nothing(scope: object, receive: object, send: object) -> None:
        raise AssertionError

    with BackgroundServer(nothing) as server:  # type: ignore[arg-type]
        port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


_PROGRAM = """
import asyncio
from hawksnest.wire.server import serve
from hawksnest.wire.server import bind

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"o", "more_body": True})
    await asyncio.sleep(3600)

listener = bind("127.0.0.1", 0)
serve(
    application, "127.0.0.1", 0,
    on_started=lambda: print(listener.getsockname()[1], flush=True),
    on_stopping=lambda: print("stopping", flush=True),
    listener=listener,
)
print("ended", flush=True)
"""


@pytest.mark.parametrize(("number", "open_answer"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_the_server_within_three_seconds_even_with_an_endless_answer(
    number: int, open_answer: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            if open_answer:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200 OK" in connection.recv(65_536)
            os.kill(process.pid, number)
            assert process.wait(timeout=3) == 0
            assert process.stdout.read().split() == ["stopping", "ended"]


def test_what_follows_the_body_is_no_header_and_is_not_kept(shared: SmallServer) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n"
    signed = b"Authorization: AWS4-HMAC-SHA256 x\r\n" + b"A: b\r\n" * 1_000
    assert b"MissingAuthenticationTokenException" in exchange(shared, chunked + signed + b"\r\n")


def test_when_there_are_too_many_connections_the_idlest_go(
    start: Callable[..., SmallServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module.BoundedProtocol, "connections_max", 8)
    server = start()
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(40)]
    for connection in idle:
        with contextlib.suppress(OSError):
            connection.sendall(HEAD)  # for ever half a request
    for _ in range(20):
        assert b"200 OK" in exchange(server, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    kept = 0
    for connection in idle:
        connection.settimeout(0.05)
        try:
            kept += connection.recv(1) != b""
        except TimeoutError:
            kept += 1
        except ConnectionResetError:
            pass
        connection.close()
    assert kept <= 8
