"""What an HTTP server costs before our code begins: an empty ASGI handler on the candidates.

python -m benchmarks.http_servers [--seconds 3] [--rounds 3]

Each server is a child process on one core; the generator keeps 32 connections busy from the other one. Per
server: requests per second, and CPU (user and system) of the server process per request.
"""

import argparse
import asyncio
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httptools

CONNECTIONS = 32
BODY = b"x" * 900  # about a GetEventPrediction with 16 variables
REQUEST = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8420\r\nAccept-Encoding: identity\r\n"
    b"X-Amz-Target: AWSHawksNestServiceFacade.GetEventPrediction\r\n"
    b"Content-Type: application/x-amz-json-1.1\r\n"
    b"User-Agent: Boto3/1.44.8 md/Botocore#1.44.8 ua/2.1 os/linux lang/python#3.11.7 md/pyimpl#CPython\r\n"
    b"X-Amz-Date: 20240102T030405Z\r\n"
    b"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240102/us-east-1/frauddetector/aws4_request, "
    b"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="
    + b"0" * 64
    + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
ANSWER = b"{}" + b" " * 200


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, answers about as much as a prediction does."""
    if scope["type"] != "http":
        return
    while (await receive())["more_body"]:
        pass
    headers = [(b"content-type", b"application/x-amz-json-1.1"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def run_uvicorn(port: int) -> None:
    import uvicorn

    uvicorn.run(
        empty,
        port=port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
    )


def run_bounded(port: int) -> None:
    from hawksnest.wire.server import serve

    serve(empty, "127.0.0.1", port)


def run_hypercorn(port: int) -> None:
    import uvloop
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    config.include_server_header = False
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(empty, config))


def run_granian(port: int) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    Granian(
        "benchmarks.http_servers:empty",
        port=port,
        interface=Interfaces.ASGINL,
        workers=1,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    ).serve()


class OwnProtocol(asyncio.Protocol):
    """The floor: httptools and nothing else, no task per request."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))


def run_own(port: int) -> None:
    import uvloop

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(OwnProtocol, "127.0.0.1", port)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


SERVERS: dict[str, Callable[[int], None]] = {
    "uvicorn": run_uvicorn,
    "uvicorn with our bounds": run_bounded,
    "granian": run_granian,
    "hypercorn": run_hypercorn,
    "own protocol (floor)": run_own,
}


def generate(port: int, seconds: float) -> int:
    """Requests answered in that time over connections that each send the next as soon as one is answered."""
    selector = selectors.DefaultSelector()
    received: dict[socket.socket, bytes] = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        received[connection] = b""
        connection.send(REQUEST)
    answered, end_s = 0, time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        for key, _ in selector.select(1):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            received[connection] += connection.recv(65_536)
            if received[connection].endswith(ANSWER):
                assert received[connection].startswith(b"HTTP/1.1 200")
                received[connection] = b""
                answered += 1
                connection.send(REQUEST)
    for connection in received:
        connection.close()
    selector.close()
    return answered


def cpu_s(pid: int) -> float:
    """User and system time of a process and its children still running."""
    total = 0.0
    for each in [str(pid), *_children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def measure(name: str, seconds: float) -> tuple[float, float]:
    """(requests per second, CPU µs per request)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.http_servers", "--serve", name, "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        _wait(port)
        generate(port, 0.5)
        before_s, started_s = cpu_s(process.pid), time.perf_counter()
        answered = generate(port, seconds)
        spent_s, lasted_s = cpu_s(process.pid) - before_s, time.perf_counter() - started_s
    finally:
        process.terminate()
        process.wait(10)
    return answered / lasted_s, spent_s / answered * 1e6


def _wait(port: int) -> None:
    end_s = time.perf_counter() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            if time.perf_counter() > end_s:
                raise


def main() -> None:
    """Measure every server in turn, rounds interleaved, and print medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--serve", choices=SERVERS)
    options.add_argument("--port", type=int, default=0)
    given = options.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if given.serve:
        os.sched_setaffinity(0, {cores[0]})
        SERVERS[given.serve](given.port)
        return
    os.sched_setaffinity(0, {cores[-1]})
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
    for _ in range(given.rounds):
        for name in SERVERS:
            results[name].append(measure(name, given.seconds))
    print(f"{'server':26}{'requests/s':>12}{'CPU µs/request':>16}")
    for name, rounds in results.items():
        rate = statistics.median(rate for rate, _ in rounds)
        cpu = statistics.median(cpu for _, cpu in rounds)
        print(f"{name:26}{rate:12,.0f}{cpu:16.1f}")


if __name__ == "__main__":
    main()
