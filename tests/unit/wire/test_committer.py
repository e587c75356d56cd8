import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest
from small_server import CountingLedger

from hawksnest.errors import StorageFull
from hawksnest.metrics import Metrics
from hawksnest.store.ports import Ledger
from hawksnest.wire.committer import Committer
from hawksnest.world import ManualWorld


@dataclass
class Rig:
    """A committer over a ledger whose syncs take `sync_ms` on a clock that stands still otherwise."""

    sync_ms: float = 0.125

    def __post_init__(self) -> None:
        self.world = ManualWorld()
        self.ledger = CountingLedger()
        self.ledger.before_flush = lambda: self.world.advance(self.sync_ms / 1000)
        self.committer = Committer(cast(Ledger, self.ledger), self.world, Metrics(), eager_sync_ms=0.5)

    async def call(self) -> int:
        seq = self.ledger.append()
        await self.committer.commit(seq)
        assert self.ledger.flushed >= seq
        return seq


def test_calls_of_one_turn_share_one_flush() -> None:
    async def turn() -> None:
        rig = Rig()
        assert await asyncio.gather(*(rig.call() for _ in range(50))) == list(range(1, 51))
        assert rig.ledger.flushes == 1
        assert rig.committer.durable == 50
        await rig.committer.commit(50)  # known already
        assert rig.ledger.flushes == 1

    asyncio.run(turn())


def test_a_failed_flush_fails_everybody_who_waited_and_nobody_else() -> None:
    async def turn() -> None:
        rig = Rig()

        def full() -> None:
            raise StorageFull("no room")

        rig.ledger.before_flush = full
        answers = await asyncio.gather(*(rig.call() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(answer, StorageFull) for answer in answers)
        rig.ledger.before_flush = lambda: None
        assert await rig.call() == 4

    asyncio.run(turn())


def test_a_cancelled_call_takes_no_other_along() -> None:
    async def turn() -> None:
        rig = Rig()
        calls = [asyncio.ensure_future(rig.call()) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        assert await asyncio.gather(*calls[1:]) == [2, 3]

    asyncio.run(turn())


def slow(rig: Rig) -> None:
    rig.sync_ms = 4.0


@pytest.mark.parametrize("fails", [False, True])
def test_slow_syncs_move_to_a_thread_and_quick_ones_back(fails: bool) -> None:
    async def life() -> None:
        rig = Rig()
        await rig.call()
        assert rig.ledger.threads == {"MainThread"}
        slow(rig)
        while not any(name.startswith("journal-sync") for name in rig.ledger.threads):
            await rig.call()
            assert rig.ledger.flushes < 50
        before = rig.ledger.flushes
        await asyncio.gather(*(rig.call() for _ in range(20)))
        assert rig.ledger.flushes <= before + 2
        if fails:
            rig.ledger.before_flush = _raise
            with pytest.raises(StorageFull):
                await rig.call()
            rig.ledger.before_flush = lambda: rig.world.advance(rig.sync_ms / 1000)
        rig.sync_ms = 0.0
        rig.ledger.threads.clear()
        while "MainThread" not in rig.ledger.threads:
            await rig.call()
            assert rig.ledger.flushes < 200
        rig.committer.close()

    asyncio.run(life())


def _raise() -> Any:
    raise StorageFull("no room")


def test_calls_that_come_during_a_sync_are_carried_by_the_next() -> None:
    async def life() -> None:
        rig = Rig(sync_ms=50.0)
        while not rig.committer._in_thread:
            await rig.call()
        first = asyncio.ensure_future(rig.call())
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(rig.call()) for _ in range(10)]
        await asyncio.gather(first, *rest)
        assert rig.committer.durable == rig.ledger.appended
        rig.committer.close()

    asyncio.run(life())
