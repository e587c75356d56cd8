"""The AWS JSON 1.1 door: `POST /`, one call of an operation, read top to bottom in `Door.__call__`."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hawksnest import faults
from hawksnest.app import App, Call, Defer, Operation, Request, Response
from hawksnest.catalog import Tenant
from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.metrics import Metrics, outcomes
from hawksnest.wire.answers import (
    CONTENT_TYPE,
    Answer,
    Receive,
    Scope,
    Send,
    fault_answer,
    refuse_unread,
    send_answer,
    where_it_failed,
)
from hawksnest.wire.committer import Committer
from hawksnest.wire.generations import parser_of_both
from hawksnest.wire.keys import NOBODY, KeyRing
from hawksnest.wire.lanes import Lanes
from hawksnest.wire.model import fraud_detector
from hawksnest.wire.render import misfits, serialiser
from hawksnest.wire.shapes import parser
from hawksnest.wire.sigv4 import claimed_region

PREDICTION_BODY_MAX_BYTES = 262_144  # AWS's documented payload limit of GetEventPrediction
IN_FLIGHT_MAX = 1_024
LARGE_MAX = 4  # calls with bodies beyond the ordinary limit, from their first byte to their answer
PARSED_HERE_MAX_BYTES = 262_144  # longer bodies are parsed in a thread
THREADS = 8

log = logging.getLogger("hawksnest.wire")


@dataclass(frozen=True, slots=True)
class Target:
    """What the door knows of an operation."""

    operation: Operation
    parse: Callable[[bytes], Request]
    serialise: Callable[[Response], bytes]
    body_max_bytes: int
    decides: bool


class Door:
    """An ASGI application for `POST /`. Lives on one event loop.

    `check_responses` holds every response to the model's output shape (tests and debugging).
    """

    def __init__(
        self,
        app: App,
        operations: Mapping[str, Operation],
        keys: KeyRing,
        metrics: Metrics,
        check_responses: bool = False,
    ) -> None:
        self.app = app
        self.world = app.world
        self._keys = keys
        self.metrics = metrics
        self._check_responses = check_responses
        self.committer = Committer(app.ledger, app.world, metrics, app.settings.eager_sync_ms)
        self._threads = ThreadPoolExecutor(THREADS, "operation")
        self._lanes = Lanes()
        self._body_max_bytes = app.settings.body_limit
        self._large = 0  # calls with large bodies under way
        prefix = fraud_detector().target_prefix.encode() + b"."
        self.targets = {
            prefix + name.encode(): self._target(operation) for name, operation in operations.items()
        }

    def _target(self, operation: Operation) -> Target:
        decides = operation.name in ("GetEventPrediction", "GetPrediction")
        limit = self._body_max_bytes
        if decides:
            limit = min(limit, PREDICTION_BODY_MAX_BYTES)
        elif operation.name in ("CreateList", "UpdateList"):
            limit = max(limit, self.app.settings.list_body_limit)
        parse = parser_of_both(operation.name) if operation.both else parser(operation.name)
        return Target(operation, parse, serialiser(operation.name), limit, decides)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s, metrics = self.world.monotonic_s(), self.metrics
        call = self.new_call()
        headers = header_map(scope["headers"])
        target = self.targets.get(headers.get(b"x-amz-target", b""))
        code, unread, large = "OK", True, False
        metrics.in_flight += 1
        try:
            self.admit()
            if target is not None and target.body_max_bytes > self._body_max_bytes:
                large = self._admit_large(headers)
            body = await read_body(
                headers, receive, target.body_max_bytes if target else self._body_max_bytes
            )
            unread = False
            if body is None:
                return  # the client went away
            self.authenticate(call, headers, body)
            if target is None:
                raise ServiceError("UnknownOperationException", "There is no such operation.", 404)
            if len(body) <= PARSED_HERE_MAX_BYTES:
                request = target.parse(body)
            else:
                request = await asyncio.get_running_loop().run_in_executor(self._threads, target.parse, body)
            answer = await self.answer(target, call, request)
        except Exception as fault:  # noqa: BLE001  the door is where our own faults end
            code, answer = self.refusal(call, fault)
        finally:
            metrics.in_flight -= 1
            self._large -= large
        if target is not None:
            metrics.answered(target.operation.name, code, self.world.monotonic_s() - started_s)
        if unread:
            await refuse_unread(answer, call.request_id, receive, send)
        else:
            await send_answer(answer, call.request_id, send)

    def new_call(self) -> Call:
        """What a request carries before anybody knows whose it is."""
        return Call(NOBODY, request_id=self.world.uuid(), may_wait=False)

    def admit(self) -> None:
        """Raises Transient when more calls than the server takes are being answered, this one included."""
        if self.metrics.in_flight > IN_FLIGHT_MAX:
            raise Transient(f"More than {IN_FLIGHT_MAX} calls at once.")

    def authenticate(self, call: Call, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """Fill in whose call it is. Raises ServiceError with one of the documented codes."""
        settings = self.app.settings
        if settings.no_auth:
            call.tenant = Tenant(settings.account, claimed_region(headers) or settings.region)
        else:
            try:
                call.tenant = self._keys.verifier.verify(headers, body, self.world.now_ms())
            except ServiceError as fault:
                self._refused(fault)
                raise
        call.idempotent = headers.get(b"x-hawksnest-idempotent") == b"true"

    async def answer(self, target: Target, call: Call, request: Request) -> Answer:
        """Run the operation, wait until what it appended is durable, and write its answer."""
        response = await self._response(target, call, request)
        if call.seq > self.committer.durable:
            await self.committer.commit(call.seq)
        return self.answer_of(target, call, response)

    def refusal(self, call: Call, fault: Exception) -> tuple[str, Answer]:
        """(code for the metrics, answer) of a call that ended in an exception."""
        if isinstance(fault, ServiceError):
            return fault.code, fault_answer(fault)
        if isinstance(fault, Transient):
            code = "ServiceUnavailable"
            return code, fault_answer(ServiceError(code, f"{fault} Try again.".lstrip(), 503))
        code = "InternalServerException"
        log.error("Request %s failed.\n%s", call.request_id, where_it_failed(fault))
        return code, fault_answer(ServiceError(code, f"Internal error; request {call.request_id}.", 500))

    def close(self) -> None:
        """End the threads; running operations finish first."""
        self._threads.shutdown()
        self._lanes.close()
        self.committer.close()

    def _admit_large(self, headers: Mapping[bytes, bytes]) -> bool:
        """May this call's body pass the ordinary limit? False: it says itself that it will not.

        The memory for such bodies is not for strangers. Raises ServiceError with one of the documented codes
        of authentication unless a known key is named, and Transient when there are enough of them already.
        """
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and len(announced) < 16 and int(announced) <= self._body_max_bytes:
            return False
        if not self.app.settings.no_auth:
            try:
                self._keys.verifier.expect(headers)
            except ServiceError as fault:
                self._refused(fault)
                raise
        if self._large >= LARGE_MAX:
            raise Transient(f"{LARGE_MAX} calls with large bodies are under way already.")
        self._large += 1
        return True

    def _refused(self, fault: ServiceError) -> None:
        self.metrics.count("hawksnest_keys_refused", fault.code)

    async def _response(self, target: Target, call: Call, request: Request) -> Response:
        """Run the operation: here if it is short and need not wait, else in a thread, else in a lane."""
        operation, lane = target.operation, ""
        if operation.inline:
            call.may_block = False
            try:
                return operation.function(self.app, call, request)
            except Defer as later:
                lane = later.lane
                call.may_block = True
        if not lane:
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._threads, operation.function, self.app, call, request)
            except Defer as later:
                lane = later.lane
        call.may_wait = True
        return await self._lanes.run(lane, operation.function, self.app, call, request)

    def answer_of(self, target: Target, call: Call, response: Response) -> Answer:
        """The answer to a call whose effects are durable."""
        if faults.armed and call.seq:
            faults.point("between_sync_and_answer")
        if self._check_responses:
            strange = misfits(target.operation.name, response)
            assert not strange, (
                f"{target.operation.name} answers what its shape forbids: {'; '.join(strange)}"
            )
        if target.decides:
            for outcome in outcomes(response):
                self.metrics.count("hawksnest_decisions", outcome)
        headers = [CONTENT_TYPE]
        if call.headers:
            headers += [(name.encode(), value.encode()) for name, value in call.headers.items()]
        return Answer(200, target.serialise(response), headers)


def header_map(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by lower-case name; a repeated one has its values joined by commas, as signatures see it."""
    found = dict(headers)
    if len(found) != len(headers):
        found = {}
        for name, value in headers:
            found[name] = found[name] + b"," + value if name in found else value
    return found


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes | None:
    """The whole body, None when the client went away. Raises ServiceError (413) for more than `limit` bytes:
    before reading when its length is announced, else as soon as it is passed."""
    announced = headers.get(b"content-length")
    if announced is not None and (not announced.isdigit() or len(announced) > 15 or int(announced) > limit):
        raise _too_large(limit)
    message = await receive()
    if message["type"] != "http.request":
        return None
    body: bytes = message["body"]
    if not message["more_body"] and len(body) <= limit:
        return body  # nearly always
    parts, size = [body], len(body)
    while message["more_body"] and size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message["body"])
        size += len(message["body"])
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> ServiceError:
    return ServiceError("RequestEntityTooLargeException", f"The body is larger than {limit} bytes.", 413)


def refuse_open_door(no_auth: bool, host: str) -> None:
    """Raises UsageError when unsigned requests would be accepted from other machines."""
    if no_auth and not is_loopback(host):
        raise UsageError(f"--no-auth is refused on {host}: only with a loopback --host such as 127.0.0.1.")


def is_loopback(host: str) -> bool:
    """Does the host name mean this machine only? `host` has no port; IPv6 with or without brackets."""
    name = host.strip("[]").lower()
    return name in ("localhost", "::1") or (
        name.startswith("127.") and len(name.split(".")) == 4 and name.replace(".", "").isdigit()
    )
