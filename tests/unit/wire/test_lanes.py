"""Lanes: who waits for others holds up only its own kind."""

import asyncio
import threading

import pytest

from hawksnest.errors import Transient
from hawksnest.wire import lanes
from hawksnest.wire.lanes import Lanes


def test_a_full_lane_refuses_and_the_others_go_on():
    release = threading.Event()

    async def scene() -> None:
        all_lanes = Lanes()
        waiting = [
            asyncio.create_task(all_lanes.run("slow", release.wait, 30)) for _ in range(lanes.QUEUED_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Transient):
            await all_lanes.run("slow", lambda: None)
        assert await all_lanes.run("quick", lambda number: number + 1, 1) == 2
        release.set()
        assert await asyncio.gather(*waiting) == [True] * lanes.QUEUED_MAX
        assert await all_lanes.run("slow", lambda: 3) == 3
        all_lanes.close()

    asyncio.run(scene())


def test_idle_lanes_make_room_and_busy_ones_stay(monkeypatch):
    monkeypatch.setattr(lanes, "LANES_MAX", 2)
    release = threading.Event()

    async def scene() -> None:
        all_lanes = Lanes()
        for name in ("a", "b", "c", "d"):
            assert await all_lanes.run(name, lambda: True)
        busy = [asyncio.create_task(all_lanes.run(name, release.wait, 30)) for name in ("c", "d")]
        await asyncio.sleep(0)
        with pytest.raises(Transient):
            await all_lanes.run("e", lambda: None)
        release.set()
        assert await asyncio.gather(*busy) == [True, True]
        all_lanes.close()

    asyncio.run(scene())
