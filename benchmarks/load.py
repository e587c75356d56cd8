"""Load on a server from a process of its own: plain sockets, requests signed before the clock starts.

python -m benchmarks.load SPEC.json: prepares the requests, writes "ready", waits for a line, sends, writes
one JSON object. Closed loop: each connection sends its next request as soon as the last is answered. Open
loop: a request is due every 1/rate seconds and its latency counts from then, whether or not a connection was
free.
"""

import json
import os
import selectors
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from hawksnest.client import SERVICE, TARGET_PREFIX
from hawksnest.signing import Credentials, sign

CONNECTIONS = 32
PATIENCE_S = 60.0


class Load(NamedTuple):
    """What to send and how. `rate` 0: closed loop."""

    port: int
    key: list[str]  # access key id, secret, region
    requests: str  # a file with a JSON request a line
    rate: float = 0.0
    first: int = 0  # lines to skip
    count: int = 1_000


def prepared(load: Load) -> list[bytes]:
    """Complete HTTP requests."""
    credentials = Credentials(*load.key)
    common = {
        "content-type": "application/x-amz-json-1.1",
        "host": f"127.0.0.1:{load.port}",
        "x-amz-target": TARGET_PREFIX + "GetEventPrediction",
    }
    made = []
    with Path(load.requests).open("rb") as lines:
        for number, line in enumerate(lines):
            if number < load.first:
                continue
            if len(made) == load.count:
                break
            body = line.rstrip()
            headers = common | sign(credentials, SERVICE, common, body, time.time_ns() // 1_000_000)
            headers |= {
                "user-agent": "Boto3/1.44.8 md/Botocore#1.44.8 ua/2.1 os/linux lang/python#3.11.7",
                "accept-encoding": "identity",
                "content-length": str(len(body)),
            }
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            made.append(b"POST / HTTP/1.1\r\n" + head.encode() + b"\r\n" + body)
    assert len(made) == load.count, "the file holds too few requests"
    return made


class Sender:
    """Connections that carry the requests; latencies in seconds by the order of answers."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._idle: deque[socket.socket] = deque()
        self._due_s: dict[socket.socket, float] = {}
        self._received: dict[socket.socket, bytes] = {}
        self._sent = 0
        self.latencies: list[float] = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ)
            self._received[connection] = b""
            self._idle.append(connection)

    def closed(self) -> None:
        """As fast as they are answered."""
        while len(self.latencies) < len(self._requests):
            while self._idle and self._sent < len(self._requests):
                self._send(time.perf_counter())
            self._answers(PATIENCE_S)

    def open(self, rate: float) -> None:
        """One every 1/rate seconds."""
        start_s = time.perf_counter()
        while len(self.latencies) < len(self._requests):
            due_s = start_s + self._sent / rate
            wait_s = due_s - time.perf_counter()
            if self._sent == len(self._requests) or not self._idle:
                self._answers(PATIENCE_S)
            elif wait_s <= 0:
                self._send(due_s)
            else:
                self._answers(0.0)  # a sleep would wake up late

    def _send(self, due_s: float) -> None:
        connection = self._idle.popleft()
        self._due_s[connection] = due_s
        connection.sendall(self._requests[self._sent])
        self._sent += 1

    def _answers(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = self._received[connection] + connection.recv(65_536)
            head, _, body = data.partition(b"\r\n\r\n")
            if not body or len(body) < int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]):
                self._received[connection] = data
                continue
            assert data.startswith(b"HTTP/1.1 200"), data[:500]
            self._received[connection] = b""
            self.latencies.append(time.perf_counter() - self._due_s[connection])
            self._idle.append(connection)

    def close(self) -> None:
        """End the connections."""
        for connection in self._received:
            connection.close()
        self._selector.close()


def run() -> None:
    """Read the spec, prepare, wait, send, report."""
    given: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    load = Load(**given)
    sender = Sender(load.port, prepared(load))
    print("ready", flush=True)
    sys.stdin.readline()
    start_s = time.perf_counter()
    if load.rate:
        sender.open(load.rate)
    else:
        sender.closed()
    seconds = time.perf_counter() - start_s
    ordered = sorted(sender.latencies)
    sender.close()
    report = {
        "seconds": seconds,
        "rate": len(ordered) / seconds,
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }
    os.write(1, orjson.dumps(report) + b"\n")


if __name__ == "__main__":
    run()
