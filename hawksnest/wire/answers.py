"""Faults as the wire says them, and HTTP answers that are not calls of the API."""

import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import orjson

from hawksnest.errors import ServiceError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTENT_TYPE = (b"content-type", b"application/x-amz-json-1.1")
CLOSE = (b"connection", b"close")

_DRAIN_MAX_BYTES = 16 * 1_048_576  # read and thrown away after a refusal, so that the client sees it
_DRAIN_MAX_MESSAGES = 4_096


class Answer(NamedTuple):
    """An answer before it is sent; the request id and the length are added when it is."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


def fault_answer(fault: ServiceError) -> Answer:
    """The documented form: the code in `__type` and in a header, the text in `message`."""
    body = orjson.dumps({"__type": fault.code, "message": fault.message})
    return Answer(fault.status, body, [CONTENT_TYPE, (b"x-amzn-errortype", fault.code.encode())])


async def send_answer(answer: Answer, request_id: str, send: Send) -> None:
    """Send a whole answer."""
    headers = [
        *answer.headers,
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def refuse_unread(answer: Answer, request_id: str, receive: Receive, send: Send) -> None:
    """Answer without having read the body, then end the connection.

    Closing while the client still sends would reset the connection and hide the answer from it, so a
    bounded rest of the body is thrown away first.
    """
    headers = [
        *answer.headers,
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-amzn-requestid", request_id.encode()),
        CLOSE,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    size = 0
    for _ in range(_DRAIN_MAX_MESSAGES):
        message = await receive()
        size += len(message.get("body", b""))
        if (
            message["type"] != "http.request"
            or not message.get("more_body", False)
            or size > _DRAIN_MAX_BYTES
        ):
            break
    await send({"type": "http.response.body", "body": b""})


def where_it_failed(fault: BaseException) -> str:
    """A traceback without the exceptions' messages, which may quote what the request held."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = fault
    while current is not None and id(current) not in seen and len(seen) < 10:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\ncaused by\n".join(parts)
