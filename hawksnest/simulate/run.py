"""`hawksnest simulate`: so many payments as fast as it goes, or so many a second in real time."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hawksnest.errors import Transient, UsageError
from hawksnest.simulate.simulation import DAILY_PAYMENTS, MAX_DAYS, MIN_DAYS, Labelled, Simulation
from hawksnest.simulate.writer import FileWriter, TopicWriter, Writer
from hawksnest.stream.ports import Log
from hawksnest.world import RealWorld, World

ATTEMPTS = 8  # of a delivery before its error ends the run
FIRST_WAIT_S = 0.1  # after the first failure; doubles with each
FLUSH_EVERY = 1_000  # payments, where nothing has to be waited for
FLUSH_S = 0.02  # how long a payment may wait for others in a stream that goes faster than it is written
REPORT_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to simulate: `count` payments, or `rate` a second for `seconds` (None: until stopped), or both."""

    seed: int
    count: int | None = None
    rate: float | None = None
    seconds: float | None = None

    def check(self) -> None:
        """UsageError that says what would be right."""
        if self.rate is None and self.count is None:
            raise UsageError("Say how much to simulate: --count N, or --rate R with or without --seconds S.")
        if self.rate is None and self.seconds is not None:
            raise UsageError("--seconds needs a --rate; --count alone runs as fast as it goes.")
        for name, value in (("count", self.count), ("rate", self.rate), ("seconds", self.seconds)):
            if value is not None and not value > 0:
                raise UsageError(f"--{name} is {value:g}; it takes a number above 0.")


@dataclass
class Summary:
    """Counts of one run. `delivery_errors` were tried again; what each said is in the process's log."""

    payments: int = 0
    frauds: int = 0
    delivery_errors: int = 0


Report = Callable[[Summary], None]


def run_simulate(
    plan: Plan,
    to: Path | str,
    log: Log | None = None,
    *,
    stop: threading.Event | None = None,
    report: Report | None = None,
    world: World | None = None,
) -> Summary:
    """Simulate to a file (Path) or to a topic (str) of `log`; everything counted is safe at the end.

    `report` is called about once a second. Raises UsageError for a plan or file that cannot be, and Transient
    with the log's own words when a delivery keeps failing.
    """
    plan.check()
    stop, world = stop or threading.Event(), world or RealWorld()
    if isinstance(to, str):
        assert log is not None, "a topic needs its log"
        writer: Writer = TopicWriter(log, to)
    else:
        writer = FileWriter(to)
    run = _Run(writer, stop, report, world)
    try:
        run.send(_paced(plan, stop, world, run.flush) if plan.rate else _dated(plan, stop, world))
        run.flush()
    finally:
        writer.close()
    return run.summary


def _dated(plan: Plan, stop: threading.Event, world: World) -> Iterator[Labelled]:
    """Payments of the days before now, with the rhythm of a small shop."""
    assert plan.count is not None
    days = min(MAX_DAYS, max(MIN_DAYS, plan.count / DAILY_PAYMENTS))
    for payment in Simulation(plan.seed, world.now_ms()).history(days, plan.count):
        if stop.is_set():
            return
        yield payment


def _paced(plan: Plan, stop: threading.Event, world: World, flush: Callable[[], None]) -> Iterator[Labelled]:
    """Payments when they are due. A late one is not dropped, and keeps the time it was due."""
    assert plan.rate is not None
    start_ms = world.now_ms()
    end_ms = None if plan.seconds is None else start_ms + plan.seconds * 1000
    flushed_s = world.monotonic_s()
    for payment in islice(Simulation(plan.seed, start_ms).live(plan.rate, start_ms), plan.count):
        over = end_ms is not None and payment.event_at_ms >= end_ms
        due_ms = payment.event_at_ms if end_ms is None else min(payment.event_at_ms, end_ms)
        if due_ms > world.now_ms() or world.monotonic_s() - flushed_s >= FLUSH_S:
            flush()
            flushed_s = world.monotonic_s()
        while (wait_ms := due_ms - world.now_ms()) > 0 and not stop.wait(wait_ms / 1000):
            pass
        if over or stop.is_set():
            return
        yield payment


class _Run:
    """Writes payments, tries again what fails, counts."""

    def __init__(self, writer: Writer, stop: threading.Event, report: Report | None, world: World) -> None:
        self.summary = Summary()
        self._writer = writer
        self._stop = stop
        self._report = report
        self._world = world

    def send(self, payments: Iterator[Labelled]) -> None:
        """Write all of them."""
        reported_s = self._world.monotonic_s()
        for payment in payments:
            self._insist(lambda payment=payment: self._writer.write(payment))  # type: ignore[misc]
            self.summary.payments += 1
            self.summary.frauds += payment.fraud
            if self.summary.payments % FLUSH_EVERY == 0:
                self.flush()
            if self._report is not None and self._world.monotonic_s() - reported_s >= REPORT_S:
                reported_s = self._world.monotonic_s()
                self._report(self.summary)

    def flush(self) -> None:
        """Everything written is safe afterwards."""
        self._insist(self._writer.flush)

    def _insist(self, action: Callable[[], None]) -> None:
        wait_s = FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except Transient as error:
                self.summary.delivery_errors += 1
                _log.warning("delivery failed (attempt %d of %d): %s", attempt, ATTEMPTS, error)
                if attempt == ATTEMPTS or self._stop.wait(wait_s):
                    raise
                wait_s *= 2
        return None
