"""The door's short way: calls that run on the event loop, without a task each.

What `Door.__call__` does for one call after the other is done here stage by stage for all calls of a turn of
the loop: all are authenticated and parsed, all are run; one flush of the journal later all are
answered. That is what makes a decision cheap: the same code runs many times in a row.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from hawksnest.app import Call, Defer, Operation, Request, Response
from hawksnest.wire.answers import Answer
from hawksnest.wire.door import Door, Target
from hawksnest.wire.exchange import Exchange


@dataclass(slots=True)
class _Pending:
    """A call under way."""

    exchange: Exchange
    target: Target
    call: Call
    started_s: float
    request: Request = field(default_factory=dict)
    response: Response | None = None
    answer: Answer | None = None


class DirectDoor:
    """`exchange.Direct` for the operations that are short enough for the event loop."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._turn: list[_Pending] = []  # to be run in this turn of the loop
        self._tasks: set[asyncio.Task[None]] = set()  # kept, or they could be collected half-way

    def takes(self, headers: Mapping[bytes, bytes]) -> bool:
        """Only operations that run on the loop; whatever is strange about a request goes the long way."""
        target = self._door.targets.get(headers.get(b"x-amz-target", b""))
        return target is not None and target.operation.inline

    def answer(self, exchange: Exchange) -> None:
        """A request has arrived: it is answered in this turn of the loop."""
        door = self._door
        background = door.app.background
        background.calls += 1
        if not background.attached:
            background.attach(asyncio.get_running_loop().call_soon_threadsafe)
        target = door.targets[exchange.headers[b"x-amz-target"]]
        door.metrics.in_flight += 1
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._run)
        self._turn.append(_Pending(exchange, target, door.new_call(), door.world.monotonic_s()))

    def _run(self) -> None:
        """Once in a turn of the loop: its calls through every stage, in the order of their arrival."""
        turn, self._turn = self._turn, []
        door = self._door
        turn = self._stage(turn, self._open)
        done = []
        for target, alike in groupby(turn, lambda pending: pending.target):
            calls = list(alike)
            for pending, made in zip(calls, self._made(target.operation, calls), strict=True):
                if isinstance(made, Defer):
                    pending.call.may_block = True
                    task = asyncio.get_running_loop().create_task(self._later(pending))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                elif isinstance(made, Exception):
                    self._refuse(pending, made)
                else:
                    pending.response = made
                    done.append(pending)
        if any(pending.call.seq > door.committer.durable for pending in done):
            door.committer.when_durable(lambda fault: self._reply(done, fault))
        else:
            self._reply(done, None)

    def _open(self, pending: _Pending) -> None:
        """Whose call it is and what it asks."""
        door, exchange = self._door, pending.exchange
        door.admit()
        door.authenticate(pending.call, exchange.headers, exchange.body)
        pending.request = pending.target.parse(exchange.body)

    def _stage(self, turn: list[_Pending], act: Callable[[_Pending], None]) -> list[_Pending]:
        """Those that have passed; the others have been refused."""
        passed = []
        for pending in turn:
            try:
                act(pending)
            except Exception as fault:  # noqa: BLE001  the door is where our own faults end
                self._refuse(pending, fault)
            else:
                passed.append(pending)
        return passed

    def _made(self, operation: Operation, alike: list[_Pending]) -> list[Response | Exception]:
        """What the operation answers or raises, for calls of it in a row."""
        app = self._door.app
        for pending in alike:
            pending.call.may_block = False
        if operation.together is not None and len(alike) > 1:
            requests = [pending.request for pending in alike]
            try:
                return operation.together(app, [pending.call for pending in alike], requests)
            except Exception as fault:  # noqa: BLE001  the door is where our own faults end
                return [fault] * len(alike)
        made: list[Response | Exception] = []
        for pending in alike:
            try:
                made.append(operation.function(app, pending.call, pending.request))
            except Exception as fault:  # noqa: BLE001  the door is where our own faults end
                made.append(fault)
        return made

    def _reply(self, done: list[_Pending], fault: Exception | None) -> None:
        """Once what the calls appended is durable: their answers."""

        def answer(pending: _Pending) -> None:
            if fault is not None and pending.call.seq > door.committer.durable:
                raise fault
            assert pending.response is not None
            pending.answer = door.answer_of(pending.target, pending.call, pending.response)

        door = self._door
        for pending in self._stage(done, answer):
            assert pending.answer is not None
            self._finish(pending, "OK", pending.answer)

    async def _later(self, pending: _Pending) -> None:
        """A call that would block: the door runs it elsewhere."""
        try:
            answer = await self._door.answer(pending.target, pending.call, pending.request)
        except Exception as fault:  # noqa: BLE001  the door is where our own faults end
            self._refuse(pending, fault)
        except BaseException:
            self._door.metrics.in_flight -= 1
            raise
        else:
            self._finish(pending, "OK", answer)

    def _refuse(self, pending: _Pending, fault: Exception) -> None:
        code, answer = self._door.refusal(pending.call, fault)
        self._finish(pending, code, answer)

    def _finish(self, pending: _Pending, code: str, answer: Answer) -> None:
        door = self._door
        door.metrics.in_flight -= 1
        seconds = door.world.monotonic_s() - pending.started_s
        door.metrics.answered(pending.target.operation.name, code, seconds)
        pending.exchange.reply(answer, pending.call.request_id)
