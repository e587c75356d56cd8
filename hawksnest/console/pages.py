"""Pages and live feed as an ASGI application, to be mounted at /console.

There is no sign-in yet, so the pages answer only to the machine itself: peer and Host must both be loopback.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Receive, Scope, Send

from hawksnest.console.live import LiveFeed

HERE = Path(__file__).parent
VIEWERS_MAX = 32
FEED_INTERVAL_S = 1.0

_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


def is_loopback(host: str) -> bool:
    """Does the text name this machine: a loopback address or localhost, with or without a port?"""
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 or host.startswith("[") else host
    name = name.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class LoopbackOnly:
    """Middleware: security headers on every page, and 403 for everybody but the machine itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        peer = scope.get("client") or ("", 0)
        if not (is_loopback(peer[0]) and is_loopback(headers.get(b"host", b"").decode("latin-1"))):
            answer = PlainTextResponse("The console answers to the machine itself only.", status_code=403)
            await answer(scope, receive, send)
            return

        async def send_with_headers(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]  # type: ignore[misc]
            await send(message)

        await self._app(scope, receive, send_with_headers)  # type: ignore[arg-type]


def console(feed: LiveFeed, root: str = "/console") -> ASGIApp:
    """The console over a running live feed; `root` is where it is mounted."""
    templates = Jinja2Templates(directory=HERE / "templates")
    viewers = asyncio.Semaphore(VIEWERS_MAX)

    async def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "live.html", {"root": root})

    async def figures(_request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(feed.shown))

    async def messages() -> AsyncIterator[bytes]:
        async with viewers:
            while not feed.stopped:
                shown = await asyncio.to_thread(feed.shown)
                yield b"data: " + orjson.dumps(shown) + b"\n\n"
                await asyncio.sleep(FEED_INTERVAL_S)

    async def live(_request: Request) -> Response:
        if viewers.locked():
            return PlainTextResponse(f"{VIEWERS_MAX} viewers are connected already.", status_code=503)
        return StreamingResponse(messages(), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/live", live),
            Route("/live.json", figures),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(LoopbackOnly)],
    )
