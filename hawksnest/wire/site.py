"""Everything the server answers over HTTP: the door at `POST /`, health, metrics, the console."""

import asyncio
from urllib.parse import urlsplit

import orjson

from hawksnest import __version__
from hawksnest.app import App
from hawksnest.metrics import Metrics
from hawksnest.wire.answers import Answer, Asgi, Receive, Scope, Send, refuse_unread, send_answer
from hawksnest.wire.direct import DirectDoor
from hawksnest.wire.door import Door, is_loopback, refuse_open_door

_JSON = (b"content-type", b"application/json")
_RESERVED = ("/api", "/_dashboards")


class Site:
    """The ASGI application of a server. `console` is mounted at /console and sees the full path with that
    root. Raises UsageError when unsigned requests would be accepted from other machines."""

    def __init__(self, app: App, door: Door, metrics: Metrics, console: Asgi | None = None) -> None:
        refuse_open_door(app.settings.no_auth, app.settings.host)
        self._app = app
        self._door = door
        self._metrics = metrics
        self._console = console
        self._no_auth = app.settings.no_auth
        self.direct = None if self._no_auth else DirectDoor(door)  # unsigned requests are looked at here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # uvicorn runs without lifespan and WebSockets
        background = self._app.background
        background.calls += 1
        if not background.attached:
            background.attach(asyncio.get_running_loop().call_soon_threadsafe)
        if self._no_auth and not _names_loopback(scope):
            answer = _plain(403, "Without authentication the Host header must name a loopback address.")
            await refuse_unread(answer, self._app.world.uuid(), receive, send)
        elif scope["path"] == "/" and scope["method"] == "POST":
            await self._door(scope, receive, send)
        elif self._console is not None and (scope["path"] + "/").startswith("/console/"):
            await self._console(
                dict(scope) | {"root_path": scope.get("root_path", "") + "/console"}, receive, send
            )
        else:
            await self._elsewhere(scope, receive, send)

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        known = path in ("/", "/health", "/metrics")
        if known and method in ("GET", "HEAD"):
            answer = self._page(path)
            if method == "HEAD":
                answer = Answer(answer.status, b"", answer.headers)
        elif known:
            answer = _plain(405, f"{method} is not possible here.")
            answer.headers.append((b"allow", b"GET, HEAD, POST" if path == "/" else b"GET, HEAD"))
        elif path.startswith(_RESERVED):
            answer = _plain(404, "This path is reserved and answers nothing yet.")
        else:
            answer = _plain(404, "There is nothing here. The API is POST /, the pages are below /console/.")
        if method in ("GET", "HEAD"):
            await send_answer(answer, self._app.world.uuid(), send)
        else:
            await refuse_unread(answer, self._app.world.uuid(), receive, send)

    def _page(self, path: str) -> Answer:
        if path == "/":
            return Answer(302, b"", [(b"location", b"/console/")])
        if path == "/health":
            return Answer(200, orjson.dumps({"status": "ok", "version": __version__}), [_JSON])
        text, content_type = self._metrics.exposition()
        return Answer(200, text, [(b"content-type", content_type.encode())])


def _plain(status: int, message: str) -> Answer:
    return Answer(status, orjson.dumps({"message": message}), [_JSON])


def _names_loopback(scope: Scope) -> bool:
    """Keeps web pages from other sites out: a name of theirs that resolves to 127.0.0.1 is not ours."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    try:
        return is_loopback(urlsplit(f"//{hosts[0].decode('latin-1')}").hostname or "")
    except ValueError:
        return False
