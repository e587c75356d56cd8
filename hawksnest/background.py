"""Long jobs beside the calls: a few threads, each told to stop when its job is cancelled or the server ends.

Jobs work in slices and ask `Stop` between them. What a job reports is kept here, in memory, because every
change of the catalogue would cost the next decision a new snapshot.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from hawksnest.world import World

_log = logging.getLogger(__name__)

RUNNING_MAX = 4  # at once; more wait their turn
LOOP_PATIENCE_S = 0.5  # how long work waits for the event loop
_STOP_S = 1.5  # how long threads may take to end when the server does

T = TypeVar("T")
Key = tuple[str, ...]
Schedule = Callable[[Callable[[], None]], object]


class Cancelled(Exception):
    """The job is to stop for good."""


class Closing(Exception):
    """The server ends: the job stops where it is and goes on when the next one starts."""


class Stop:
    """What a job asks between its slices, and where it says how far it is."""

    def __init__(self) -> None:
        self.report: object = None  # how far the job is, for whoever asks
        self._news = threading.Event()
        self._ending = threading.Event()
        self._cancelled = False
        self._closing = False

    def check(self) -> None:
        """Raises Cancelled or Closing when the job is to stop."""
        if self._closing:
            raise Closing
        if self._cancelled:
            raise Cancelled

    def pause(self, seconds: float) -> None:
        """Wait; the wait ends at once, with Cancelled or Closing, when the job is to stop."""
        self._news.wait(seconds)
        self.check()

    def rest(self, seconds: float) -> None:
        """Wait, also when cancelled. Raises Closing when the server ends."""
        self._ending.wait(seconds)
        if self._closing:
            raise Closing

    def cancel(self) -> None:
        """The job shall stop for good."""
        self._cancelled = True
        self._news.set()

    def end(self) -> None:
        """The server ends."""
        self._closing = True
        self._news.set()
        self._ending.set()


Work = Callable[[Stop], None]


@dataclass
class _Job:
    work: Work
    stop: Stop = field(default_factory=Stop)
    thread: threading.Thread | None = None


class Background:
    """Runs jobs. Nothing here blocks a caller but `close`."""

    def __init__(self, world: World, running_max: int = RUNNING_MAX) -> None:
        self._world = world
        self._running_max = running_max
        self._lock = threading.Lock()
        self._jobs: OrderedDict[Key, _Job] = OrderedDict()
        self._closed = False
        self._schedule: Schedule | None = None
        self.calls = 0  # of customers so far; the server counts, jobs give way while it moves

    @property
    def attached(self) -> bool:
        """Is there an event loop for `on_loop`?"""
        return self._schedule is not None

    def attach(self, schedule: "Schedule | None") -> None:
        """From now on `on_loop` runs its work through `schedule`, callable from any thread."""
        self._schedule = schedule

    def on_loop(self, work: Callable[[], T]) -> T:
        """The result of `work`, run on the server's event loop; in this thread when there is none."""
        schedule = self._schedule
        if schedule is None:
            return work()
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as fault:  # noqa: BLE001  it belongs to the thread that waits
                    future.set_exception(fault)

        try:
            schedule(run)
        except RuntimeError:  # the loop has been closed
            self._schedule = None
            return work()
        with suppress(TimeoutError):
            return future.result(LOOP_PATIENCE_S)
        if future.cancel():  # the loop has ended, or is busy with something else for long
            return work()
        return future.result()

    def start(self, key: Key, work: Work, cancelled: bool = False) -> None:
        """Run `work` in a thread, now or when one is free. `key` tells the job from all others.

        `cancelled`: it is told to stop before it begins, so that it can end as it should.
        """
        job = _Job(work)
        if cancelled:
            job.stop.cancel()
        with self._lock:
            if not self._closed:
                assert key not in self._jobs, "a job runs once"
                self._jobs[key] = job
        self._start_waiting()

    def cancel(self, key: Key) -> bool:
        """Tell the job to stop; one that waits is started, so that it can. False: there is no such job."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                return False
            job.stop.cancel()
            if job.thread is None and not self._closed:
                self._begin(key, job)
            return True

    def report(self, key: Key) -> object:
        """What a job that waits or runs last reported; None when there is no such job or it said nothing."""
        job = self._jobs.get(key)
        return job.stop.report if job is not None else None

    def close(self) -> None:
        """Stop all jobs within two seconds; what they were doing is theirs to take up again."""
        with self._lock:
            self._closed = True
            threads = [job.thread for job in self._jobs.values() if job.thread is not None]
            for job in self._jobs.values():
                job.stop.end()
        deadline = self._world.monotonic_s() + _STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - self._world.monotonic_s()))
            if thread.is_alive():
                _log.warning("%s did not stop in time", thread.name)

    def _start_waiting(self) -> None:
        with self._lock:
            running = sum(job.thread is not None for job in self._jobs.values())
            for key, job in self._jobs.items():
                if running >= self._running_max or self._closed:
                    return
                if job.thread is None:
                    self._begin(key, job)
                    running += 1

    def _begin(self, key: Key, job: _Job) -> None:
        name = f"job {' '.join(key)}"
        job.thread = threading.Thread(target=self._run, args=(key, job), name=name, daemon=True)
        job.thread.start()

    def _run(self, key: Key, job: _Job) -> None:
        try:
            job.work(job.stop)
        except Closing:
            pass
        except Exception:  # noqa: BLE001  a job that cannot even say that it failed; the others go on
            _log.exception("%s failed", threading.current_thread().name)
        finally:
            with self._lock:
                del self._jobs[key]
            self._start_waiting()
