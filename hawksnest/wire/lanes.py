"""Threads for calls that wait for somebody else's answer: a few of their own for each lane.

A lane is what may be held up together (a detector with its external models). When its threads all wait, its
next calls queue up, then are refused; other lanes and the door's own threads do not notice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hawksnest.errors import Transient

T = TypeVar("T")

THREADS = 8  # of one lane
QUEUED_MAX = 64  # calls of a lane, running ones included
LANES_MAX = 128  # lanes with threads; the one that has been idle longest makes room


class _Lane:
    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, "waiting")
        self.calls = 0


class Lanes:
    """Used on one event loop."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()

    async def run(self, name: str, function: Callable[..., T], *given: Any) -> T:
        """The function's result, from a thread of the lane. Raises Transient when the lane is full."""
        lane = self._lane(name)
        if lane.calls >= QUEUED_MAX:
            raise Transient(f"{QUEUED_MAX} calls wait already for the models of this detector.")
        lane.calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(lane.threads, function, *given)
        finally:
            lane.calls -= 1

    def close(self) -> None:
        """End the threads; running calls finish first."""
        for lane in self._lanes.values():
            lane.threads.shutdown()
        self._lanes.clear()

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            if len(self._lanes) >= LANES_MAX:
                self._make_room()
            lane = self._lanes[name] = _Lane()
        self._lanes.move_to_end(name)
        return lane

    def _make_room(self) -> None:
        idle = next((name for name, lane in self._lanes.items() if not lane.calls), None)
        if idle is None:
            raise Transient(f"{LANES_MAX} detectors wait for external models already.")
        self._lanes.pop(idle).threads.shutdown(wait=False)
