"""What consumers of a topic share: which records are in work, and up to where the group may commit.

Three kinds of offset matter. A record is *taken* when it has been read, *finished* when nothing remains to be
done for it (its output is queued), *resumable* when it and everything before it in its partition is finished:
only resumable offsets are committed, and only after the outputs are durable.
"""

import fcntl
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import tenacity

from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.stream.ports import StreamRecord

_log = logging.getLogger(__name__)
T = TypeVar("T")

_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"})

Place = tuple[int, int]  # partition, offset


class Progress:
    """Records in work by partition. Safe to use from several threads; bounded by whoever calls `taken`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[int, deque[StreamRecord]] = {}
        self._finished: set[Place] = set()
        self._in_work = 0
        self._bytes = 0
        self._changes = 0

    def taken(self, records: Sequence[StreamRecord]) -> None:
        """Records were read, in offset order per partition."""
        with self._changed:
            for record in records:
                self._open.setdefault(record.partition, deque()).append(record)
                self._bytes += len(record.value)
            self._in_work += len(records)

    def finished(self, record: StreamRecord) -> None:
        """Nothing remains to be done for the record but to make its output durable."""
        with self._changed:
            self._finished.add((record.partition, record.offset))
            self._in_work -= 1
            self._changes += 1
            self._changed.notify_all()

    def resumable(self) -> list[StreamRecord]:
        """The last record per partition up to which everything is finished; forgets what is before it."""
        last = []
        with self._changed:
            for partition, records in self._open.items():
                record = None
                while records and (partition, records[0].offset) in self._finished:
                    record = records.popleft()
                    self._bytes -= len(record.value)
                    self._finished.discard((partition, record.offset))
                if record is not None:
                    last.append(record)
        return last

    @property
    def in_work(self) -> int:
        """Records that are taken and not finished."""
        return self._in_work

    @property
    def uncommitted(self) -> int:
        """Records that are taken and not yet handed out by `resumable`."""
        with self._changed:
            return sum(len(records) for records in self._open.values())

    @property
    def uncommitted_bytes(self) -> int:
        """Size of the values of those records."""
        return self._bytes

    def wait_for_change(self, known: int, timeout_s: float) -> int:
        """Return once more than `known` records were finished, or after the time-out; the new number."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > known, timeout_s)
            return self._changes


def insist(
    function: Callable[..., T],
    *given: object,
    halt: threading.Event,
    on_retry: Callable[[], None] | None = None,
) -> T:
    """Call until it works or cannot work, waiting longer each time (at most 15 s), without end.

    Passing faults are Transient, throttling, 5xx and what the disk refuses; others are raised. Transient is
    raised only when `halt` is set.
    """
    try:
        return function(*given)  # nearly always; the library's machinery would cost 45 µs a call
    except Exception as fault:
        if not _passes(fault):
            raise
        first: list[Exception] = [fault]

    def again() -> T:
        if first:
            raise first.pop()
        return function(*given)

    def note(state: tenacity.RetryCallState) -> None:
        if on_retry is not None:
            on_retry()
        fault = state.outcome.exception() if state.outcome is not None else None
        if state.attempt_number in (1, 5) or state.attempt_number % 20 == 0:
            name = fault.code if isinstance(fault, ServiceError) else type(fault).__name__
            _log.warning("%s; trying again (attempt %d failed)", name, state.attempt_number)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_passes),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=15),
        stop=tenacity.stop_when_event_set(halt),
        sleep=tenacity.sleep_using_event(halt),
        before_sleep=note,
        retry_error_callback=_halted,
    )(again)


def _passes(fault: BaseException) -> bool:
    if isinstance(fault, ServiceError):
        return fault.status >= 500 or fault.status == 429 or fault.code in _THROTTLED
    return isinstance(fault, (Transient, OSError))


def _halted(state: tenacity.RetryCallState) -> None:
    raise Transient("stopped while waiting for the world to recover")


def hold_state(folder: Path, name: str, stop: threading.Event, stack: ExitStack) -> bool:
    """Become the one process that uses this state, waiting for another one to end; False: `stop` came first.

    The lock goes with the process, however it dies.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise UsageError(f"The state folder {folder} cannot be used: {fault.strerror}.") from None
    stack.callback(os.close, lock)
    told = False
    while not stop.is_set():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                _log.warning("%s is running elsewhere; waiting for it to end", name)
                told = True
            stop.wait(0.05)
        else:
            return True
    return False
