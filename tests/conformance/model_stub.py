"""A server of models as their owners run them: `POST /invocations`, with answers that a test chooses."""

import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

Answer = tuple[int, bytes]
NAMES = ("ep1", "ep2", "hanging", "failing", "json", "blob", "aws-sample")


class Seen(NamedTuple):
    """What an endpoint was sent."""

    path: str
    content_type: str
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        seen = Seen(self.path, self.headers["content-type"], body)
        status, content = self.server.stub.answer(seen)
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: "ModelStub"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is none of the stub's business."""


class ModelStub:
    """`answers[name]` is what the endpoint says; `seen[name]` what it was sent."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.release = threading.Event()
        self.reset()

    @property
    def addresses(self) -> str:
        """The value of the option `model-endpoints`."""
        return ",".join(f"{name}={self.url}/{name}" for name in NAMES)

    def reset(self) -> None:
        """Every endpoint answers `0.5` again."""
        self.release.set()
        self.release = threading.Event()
        self.answers: dict[str, Callable[[Seen], Answer] | Answer] = defaultdict(lambda: (200, b"0.5\n"))
        self.seen: dict[str, list[Seen]] = defaultdict(list)

    def hang(self, seen: Seen) -> Answer:
        """An answer that does not come before the test ends."""
        self.release.wait(30)
        return 200, b"0.5\n"

    def answer(self, seen: Seen) -> Answer:
        name = seen.path.split("/")[1]
        self.seen[name].append(seen)
        chosen = self.answers[name]
        return chosen(seen) if callable(chosen) else chosen

    def __enter__(self) -> "ModelStub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
