"""Pages of lists: one page, and the opaque token that leads to the next.

A token names the last item shown, not a count, so items that come or go between two pages neither repeat nor
skip others. It lives 24 hours and is bound to operation and filters; anything else is a ValidationException.
"""

import base64
import binascii
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import orjson

from hawksnest.app import App, Call, Request, Response
from hawksnest.errors import ServiceError, invalid

T = TypeVar("T")
Mark = tuple[str | int, ...]

TOKEN_LIFE_MS = 24 * 3_600_000
_DIGEST_BYTES = 12
_TIME_BYTES = 8


def page_token(mark: str, bound: tuple[str, ...], now_ms: int) -> str:
    """The token that `token_mark` turns back into `mark` for the same `bound`."""
    body = now_ms.to_bytes(_TIME_BYTES, "big") + mark.encode()
    return base64.urlsafe_b64encode(_digest(bound, body) + body).decode().rstrip("=")


def token_mark(token: str | None, bound: tuple[str, ...], now_ms: int) -> str:
    """The mark of a token, "" when there is none.

    Raises ValidationException for a token that is mangled, too old, or not made for `bound`.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _unusable() from None
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if digest != _digest(bound, body) or len(body) < _TIME_BYTES:
        raise _unusable()
    if now_ms - int.from_bytes(body[:_TIME_BYTES], "big") > TOKEN_LIFE_MS:
        raise invalid("nextToken is older than 24 hours; start again without it.")
    try:
        return body[_TIME_BYTES:].decode()
    except UnicodeDecodeError:
        raise _unusable() from None


@dataclass(frozen=True)
class Pages:
    """The pages of one operation. `size`: items on a page when the request names no maxResults."""

    operation: str
    size: int

    def page(
        self, app: App, call: Call, request: Request, items: Sequence[T], mark: Callable[[T], Mark]
    ) -> tuple[Sequence[T], Response]:
        """The asked page of `items`, which ascend by `mark`, and `{"nextToken": …}` unless it is the last.

        Raises ValidationException for a token that this operation did not give for these filters.
        """
        filters = {name: value for name, value in request.items() if name not in ("nextToken", "maxResults")}
        bound = (*call.tenant, self.operation, json.dumps(filters, sort_keys=True))
        now_ms = app.world.now_ms()
        after = token_mark(request.get("nextToken"), bound, now_ms)
        start = bisect_right(items, _parsed(after, mark(items[0])), key=mark) if after and items else 0
        end = start + request.get("maxResults", self.size)
        shown = items[start:end]
        if end >= len(items):
            return shown, {}
        return shown, {"nextToken": page_token(json.dumps(mark(shown[-1])), bound, now_ms)}


def _parsed(text: str, like: Mark) -> Mark:
    """The mark in a token. Raises ValidationException unless it is of the same form as `like`."""
    try:
        parsed = orjson.loads(text)  # json would follow brackets as deep as the caller likes
    except orjson.JSONDecodeError:
        raise _unusable() from None
    if not isinstance(parsed, list) or [type(part) for part in parsed] != [type(part) for part in like]:
        raise _unusable()
    return tuple(parsed)


def _digest(bound: tuple[str, ...], body: bytes) -> bytes:
    text = json.dumps(bound).encode()
    return hashlib.blake2b(text + b"\0" + body, digest_size=_DIGEST_BYTES).digest()


def _unusable() -> ServiceError:
    return invalid(
        "nextToken is not a token that this operation gave for these filters; start again without it."
    )
