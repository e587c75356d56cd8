"""Running distinct counts of a key with many events, so that a read costs what moved, not what is there.

A tracker is a cache over a key's events: its numbers always equal a recount, and it may be thrown away.
Events are named by absolute index (position + base), which stays when older events are removed in front.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from hawksnest.kernel.windows.limits import WINDOWS_MS

_STEPS = 64  # a cursor steps this far; beyond that counting the window's slice at once is cheaper
_RECOUNT_STEPS = 512  # forward moves are paid for by the folds before them, so they may step further


class _Track:
    """Distinct counterparts of one kind."""

    __slots__ = ("distinct", "kind", "last", "previous")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.last: dict[int, int] = {}  # counterpart → index of its newest event
        self.previous = array("q")  # per event: index of the same counterpart's event before it, or -1
        self.distinct = [0] * len(WINDOWS_MS)  # in [lows[w], end)


class Tracker:
    """Cursors at the start of each window and, per kind, the distinct counterparts from there to the end."""

    __slots__ = ("_base", "_lows", "_tracks", "_width", "kinds")

    def __init__(self, kinds: int, width: int, ids: "array[int]", start: int) -> None:
        self.kinds = kinds  # bit mask of the kinds that are tracked
        self._width = width
        self._base = 0
        self._lows = [start] * len(WINDOWS_MS)
        self._tracks = [_Track(kind) for kind in range(width) if kinds >> kind & 1]
        for track in self._tracks:
            track.previous.extend([-1] * start)
        for position in range(start, len(ids) // width):
            self.append(position, ids[position * width : (position + 1) * width])

    def append(self, position: int, row: "tuple[int, ...] | array[int]") -> None:
        """An event was added at the end, at `position`."""
        index = position + self._base
        lows = self._lows
        for track in self._tracks:
            number = row[track.kind]
            if not number:
                track.previous.append(-1)
                continue
            before = track.last.get(number, -1)
            track.previous.append(before)
            track.last[number] = index
            distinct = track.distinct
            for window, low in enumerate(lows):
                if before < low:
                    distinct[window] += 1

    def pop(self, position: int, row: "array[int]", start: int) -> None:
        """The event at the end, at `position`, is taken away."""
        index = position + self._base
        lows = self._lows
        for track in self._tracks:
            before = track.previous.pop()
            number = row[track.kind]
            if not number:
                continue
            if before >= start + self._base:
                track.last[number] = before
            else:
                del track.last[number]
            for window, low in enumerate(lows):
                if before < low <= index:
                    track.distinct[window] -= 1
        for window, low in enumerate(lows):
            lows[window] = min(low, index)

    def drop(self, position: int, row: "array[int]") -> None:
        """The oldest event, at `position`, is let go."""
        index = position + self._base
        for window, low in enumerate(self._lows):
            if low == index:
                self._leave(window, index, row)
        for track in self._tracks:
            number = row[track.kind]
            if number and track.last[number] == index:
                del track.last[number]

    def compact(self, removed: int) -> None:
        """`removed` positions disappeared from the front."""
        self._base += removed
        for track in self._tracks:
            del track.previous[:removed]

    def _leave(self, window: int, index: int, row: "array[int]") -> None:
        for track in self._tracks:
            number = row[track.kind]
            if number and track.last[number] == index:
                track.distinct[window] -= 1
        self._lows[window] = index + 1

    def _enter(self, window: int, index: int, row: "array[int]") -> None:
        for track in self._tracks:
            number = row[track.kind]
            if number and track.last[number] == index:
                track.distinct[window] += 1
        self._lows[window] = index

    def seek(
        self, at_ms: int, times: "array[int]", ids: "array[int]", start: int, high: int
    ) -> tuple[tuple[int, int, int, int], list[Sequence[int]]] | None:
        """Positions where the windows that end at `at_ms` start, and the distinct counts by kind.

        `high` is the position after the last event that is not later than `at_ms`. None when the read is
        so late that the cursors should not be moved for it.
        """
        end = len(times)
        if end - high > _STEPS:
            return None
        base, width = self._base, self._width
        for window, span in enumerate(WINDOWS_MS):
            edge = at_ms - span
            position = self._lows[window] - base
            if position < end and times[position] <= edge:
                self._forward(window, edge, times, ids)
            elif position > start and times[position - 1] > edge:
                target = bisect_right(times, edge, start, position)
                if position - target > _STEPS:
                    return None
                while position > target:
                    position -= 1
                    row = ids[position * width : (position + 1) * width]
                    self._enter(window, position + base, row)
        counts: list[Sequence[int]] = [(0, 0, 0, 0)] * width
        for track in self._tracks:
            distinct = track.distinct[:]
            if high < end:
                self._exclude(track, distinct, ids, high, end)
            counts[track.kind] = distinct
        low1, low2, low3, low4 = self._lows
        return (low1 - base, low2 - base, low3 - base, low4 - base), counts

    def _forward(self, window: int, edge: int, times: "array[int]", ids: "array[int]") -> None:
        base, width, end = self._base, self._width, len(times)
        position = self._lows[window] - base
        target = bisect_right(times, edge, position, end)
        if target - position <= _RECOUNT_STEPS:
            for passed in range(position, target):
                self._leave(window, passed + base, ids[passed * width : (passed + 1) * width])
            return
        for track in self._tracks:
            numbers = set(ids[target * width + track.kind :: width])
            numbers.discard(0)
            track.distinct[window] = len(numbers)
        self._lows[window] = target + base

    def _exclude(self, track: _Track, distinct: list[int], ids: "array[int]", high: int, end: int) -> None:
        """Take the events in [high, end), which are later than the read, out of the counts."""
        for position in range(high, end):
            before = track.previous[position]
            if ids[position * self._width + track.kind]:  # its first event in there takes it out, if any
                for window, low in enumerate(self._lows):
                    if before < low:
                        distinct[window] -= 1

    def latest(self, kind: int, number: int, high: int) -> int:
        """Position of the newest event below `high` with this counterpart, -1 when there is none."""
        track = next(track for track in self._tracks if track.kind == kind)
        index = track.last.get(number, -1)
        while index >= high + self._base:
            index = track.previous[index - self._base]
        return max(-1, index - self._base)
