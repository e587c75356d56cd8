"""Group commit at the door: one write and sync of the journal per turn of the event loop.

A call that appended waits here until its sequence is durable. All calls of one turn share one flush. While
syncs are quick they run inline, because a thread costs more than they do; when they take longer than the
limit they move to a thread of their own, and come back when the disk is quick again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hawksnest.metrics import Metrics
from hawksnest.store.ports import Ledger
from hawksnest.world import World

_WEIGHT = 1 / 16  # of the newest sync in the running mean

Waiter = Callable[[Exception | None], None]  # given None once durable, else why it will never be


class Committer:
    """Used on one event loop. `durable` is the sequence that is known to be on disk."""

    def __init__(self, ledger: Ledger, world: World, metrics: Metrics, eager_sync_ms: float) -> None:
        self.durable = 0
        self._ledger = ledger
        self._monotonic_s = world.monotonic_s
        self._limit_s = eager_sync_ms / 1000
        self._mean_s = 0.0
        self._waiting: list[Waiter] = []
        self._syncing = False
        self._task: asyncio.Task[None] | None = None  # kept, or it could be collected half-way
        self._thread: ThreadPoolExecutor | None = None
        self._in_thread = False
        self._sync_seconds = metrics.histogram("hawksnest_journal_sync_seconds")
        metrics.gauge("hawksnest_journal_syncs_in_thread", lambda: float(self._in_thread))
        metrics.gauge("hawksnest_journal_sequence", lambda: float(self.durable))

    async def commit(self, seq: int) -> None:
        """Return once `seq` is durable. Raises what the journal's flush raises, to everybody it concerned."""
        if seq <= self.durable:
            return
        future = (
            asyncio.get_running_loop().create_future()
        )  # of its own: a cancelled call takes no other along

        def settle(fault: Exception | None) -> None:
            if future.done():
                return
            if fault is None:
                future.set_result(None)
            else:
                future.set_exception(fault)

        self.when_durable(settle)
        await future
        assert seq <= self.durable, f"sequence {seq} was not carried by the flush that reached {self.durable}"

    def when_durable(self, waiter: Waiter) -> None:
        """Call `waiter` once everything appended so far is durable, or can't be made so."""
        self._waiting.append(waiter)
        if len(self._waiting) == 1 and not self._syncing:
            asyncio.get_running_loop().call_soon(self._turn)

    def close(self) -> None:
        """End the thread, if there is one. Nobody may be waiting."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _turn(self) -> None:
        """At the end of a turn: make durable what was appended in it, wake who waits for it."""
        waiting, self._waiting = self._waiting, []
        if self._in_thread:
            self._syncing = True
            self._task = asyncio.get_running_loop().create_task(self._sync_in_thread(waiting))
            return
        before_s = self._monotonic_s()
        try:
            reached = self._ledger.flush()
        except Exception as fault:  # noqa: BLE001  it belongs to those who wait
            _tell(waiting, fault)
            return
        self._synced(reached, self._monotonic_s() - before_s)
        _tell(waiting, None)

    async def _sync_in_thread(self, waiting: list[Waiter]) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "journal-sync")
        before_s = self._monotonic_s()
        try:
            reached = await asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.flush)
        except Exception as fault:  # noqa: BLE001  it belongs to those who wait
            _tell(waiting, fault)
        else:
            self._synced(reached, self._monotonic_s() - before_s)
            _tell(waiting, None)
        self._syncing = False
        if self._waiting:
            self._turn()

    def _synced(self, reached: int, seconds: float) -> None:
        self.durable = max(self.durable, reached)
        self._sync_seconds.observe(seconds)
        self._mean_s += (seconds - self._mean_s) * _WEIGHT
        if self._in_thread:
            self._in_thread = self._mean_s > self._limit_s / 2
        else:
            self._in_thread = self._mean_s > self._limit_s


def _tell(waiting: list[Waiter], fault: Exception | None) -> None:
    for waiter in waiting:
        waiter(fault)
