"""One request and its answer without a task: what stands where uvicorn has its ASGI cycle."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    from hawksnest.wire.answers import Answer


class _Nobody:
    """uvicorn wakes its cycle's task through an event; here is none."""

    def set(self) -> None:
        pass


class Exchange:
    """A whole request, given to `Direct.answer`; whoever has it replies once."""

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
    )

    message_event = _Nobody()

    def __init__(self, protocol: HttpToolsProtocol, headers: dict[bytes, bytes], keep_alive: bool) -> None:
        self._protocol = protocol
        self.headers = headers  # by lower-case name, each once
        self.body = b""
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = False  # set by uvicorn when the client has gone
        self.response_started = self.response_complete = False

    def reply(self, answer: "Answer", request_id: str) -> None:
        """Send the answer in one write. A client that has gone is not told."""
        if self.disconnected or self.response_complete:
            return
        self.response_started = self.response_complete = True
        protocol, body = self._protocol, answer.body
        headers = [*protocol.server_state.default_headers, *answer.headers]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        protocol.transport.write(
            b"%bcontent-length: %d\r\nx-amzn-requestid: %b\r\n%b\r\n%b"
            % (
                STATUS_LINE[answer.status],
                len(body),
                request_id.encode(),
                b"".join([b"%b: %b\r\n" % header for header in headers]),
                body,
            )
        )
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class Direct(Protocol):
    """Answers requests at once, where ASGI would start a task for each."""

    def takes(self, headers: Mapping[bytes, bytes]) -> bool:
        """May the request with these headers be answered here? Its body is short and comes whole."""

    def answer(self, exchange: Exchange) -> None:
        """Reply to it, now or later. Must not raise."""
