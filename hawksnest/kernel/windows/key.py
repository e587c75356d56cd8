"""State of one key: its events of the last 31 days, packed, with running totals.

Times are ascending; `sums` holds running totals (`stride` numbers each) before each event and after the
last, so that a window is a difference; `ids` holds the numbers of the counterpart keys, `width` of them an
event.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import nan
from typing import ClassVar

from hawksnest.kernel.windows.buckets import NOTHING, Ring, Sums
from hawksnest.kernel.windows.limits import (
    RETAIN_MS,
    WINDOWS_MS,
)
from hawksnest.kernel.windows.tracker import Tracker

_REWIND = 32  # a late event with more later ones than this costs the tracker
_MOVES = 64  # late events that the running totals wait for, so that they move once for all
_CALM = 4  # folds in order after which a busy key gets a tracker (again)
_LATE = 64  # a read before more events than this counts distinct values from scratch

_W1, _W2, _W3, _W4 = WINDOWS_MS
NONE_DISTINCT = (0, 0, 0, 0)

Row = tuple[int, ...]
Amount = tuple[int, ...]  # the first `stride` parts of Money
Lows = tuple[int, int, int, int]


class KeyState:
    """What entity and identity keys share: folding, reverting, and where windows start."""

    __slots__ = (
        "buckets",
        "calm",
        "count",
        "gone",
        "ids",
        "kinds",
        "marks",
        "moves",
        "number",
        "start",
        "sums",
        "times",
        "tracker",
    )

    width: ClassVar[int]  # counterparts an event may have
    stride: ClassVar[int]  # running totals an event has: cents, and of an entity log and log square, too

    def __init__(self, number: int) -> None:
        self.number = number  # names the key in other keys' `ids`
        self.count = 0  # events ever folded and not reverted
        self.kinds = 0  # bit mask: which columns of `ids` were ever filled
        self.start = 0  # events before this position were let go
        self.times = array("q")
        self.sums = array("q", bytes(8 * self.stride))
        self.moves: list[tuple[int, Amount]] | None = (
            None  # what `sums` lack: the place from which on, and by
        )
        self.ids = array("I")
        self.marks = [0] * self.width  # bit p: no event after position p has p's counterpart
        self.gone: list[int] | None = None  # first and last instant of the events let go
        self.buckets: list[Ring] | None = None
        self.tracker: Tracker | None = None
        self.calm = 0  # folds in order since the last late event, while there are enough for a tracker

    # Folding

    def fold(self, at_ms: int, amount: Amount, row: Row, mask: int, limit: int, tracked: int) -> None:
        """Add one event. `row` are the numbers of its counterparts, 0 for none; `mask` has the others' bits.

        More than `limit` events are not kept one by one; more than `tracked` get a tracker.
        """
        self.count += 1
        if self.kinds | mask != self.kinds:
            self.kinds |= mask
            self.tracker = None  # it does not know the new kind
        times = self.times
        start = self.start
        late = len(times) > start and at_ms < times[-1]
        if late:
            newest = times[-1]
            if at_ms <= newest - RETAIN_MS:
                self._let_go(at_ms, amount, newest)
                return
            self._insert(at_ms, amount, row)
        else:
            if self.moves:
                self.settle()
            self._append(at_ms, amount, row)
            if times[start] <= at_ms - RETAIN_MS:
                self._age(at_ms)
        events = len(times) - self.start
        if events > limit:
            self._spill()
        if self.tracker is None:
            if events > tracked:
                self.calm = 0 if late else self.calm + 1
                if self.calm >= _CALM:
                    self._track()
        elif events * 2 < tracked:
            self.tracker = None

    def _append(self, at_ms: int, amount: Amount, row: Row) -> None:
        ids, position = self.ids, len(self.times)
        if self.tracker is not None:
            self.tracker.append(position, row, self.marks)
        else:
            marks, width = self.marks, self.width
            before = position - 1
            newest = before * width
            has_newest = before >= self.start
            for kind, number in enumerate(row):
                if not number:
                    continue
                if has_newest and ids[newest + kind] == number:
                    marks[kind] ^= 3 << before  # usually the counterpart is the same again
                    continue
                found = self._before(kind, number, position)
                marks[kind] ^= 1 << position if found < 0 else 1 << position | 1 << found
        self.times.append(at_ms)
        self._add(amount)
        ids.extend(row)

    def _insert(self, at_ms: int, amount: Amount, row: Row) -> None:
        """Add an event that is not the newest."""
        place = bisect_right(self.times, at_ms, self.start)
        again = self._unmark(place)
        self.times.insert(place, at_ms)
        self.ids[place * self.width : place * self.width] = array("I", row)
        stride = self.stride
        self.sums[place * stride : place * stride] = self.sums[place * stride : (place + 1) * stride]
        self._move(place, amount)
        if again:
            self._mark(place)
            return
        below = (1 << place) - 1
        for kind, number in enumerate(row):
            marks = self.marks[kind]
            marks = marks & below | marks >> place << place + 1
            if number and self._following(kind, number, place) < 0:
                marks |= 1 << place
                before = self._before(kind, number, place)
                if before >= 0:
                    marks ^= 1 << before
            self.marks[kind] = marks

    def _remove(self, place: int, amount: Amount) -> None:
        """Take an event out."""
        again = self._unmark(place)
        if not again:
            below = (1 << place) - 1
            for kind, number in enumerate(self.ids[place * self.width : (place + 1) * self.width]):
                marks = self.marks[kind]
                if marks >> place & 1:
                    before = self._before(kind, number, place)
                    if before >= 0:
                        marks |= 1 << before
                self.marks[kind] = marks & below | marks >> place + 1 << place
        del self.times[place]
        del self.ids[place * self.width : (place + 1) * self.width]
        del self.sums[place * self.stride : (place + 1) * self.stride]
        self._shift([(place, tuple(-part for part in amount))])
        if again:
            self._mark(place)

    def _following(self, kind: int, number: int, place: int) -> int:
        """Position of the counterpart's next event after `place`, -1 when there is none."""
        column = self.ids[(place + 1) * self.width + kind :: self.width]
        return place + 1 + column.index(number) if number in column else -1

    def _before(self, kind: int, number: int, place: int) -> int:
        """Position of the counterpart's last event before `place`, -1 when there is none."""
        column = self.ids[self.start * self.width + kind : place * self.width : self.width]
        column.reverse()
        return place - 1 - column.index(number) if number in column else -1

    def _add(self, amount: Amount) -> None:
        """Append the running totals after another event."""
        raise NotImplementedError  # entity and identity keys keep different totals (`kinds.py`)

    def _move(self, place: int, amount: Amount) -> None:
        """An event was put in at `place`: the running totals behind it will move."""
        moves = [(at + 1 if at > place else at, by) for at, by in self.moves or ()]
        moves.append((place + 1, amount))
        self.moves = moves
        if len(moves) >= _MOVES:
            self.settle()

    def settle(self) -> None:
        """Bring the running totals up to date, which late events have not moved yet."""
        moves, self.moves = self.moves, None
        if moves:
            moves.sort()
            self._shift(moves)

    def _shift(self, moves: list[tuple[int, Amount]]) -> None:
        """Running totals change from these places on; ascending."""
        stride = self.stride
        ends = [place for place, _ in moves[1:]] + [len(self.times) + 1]
        for column in range(stride):
            by = 0
            for (place, change), end in zip(moves, ends, strict=True):
                by += change[column]
                if by and place < end:
                    part = slice(place * stride + column, end * stride, stride)
                    self.sums[part] = array("q", map(by.__add__, self.sums[part]))

    def _unmark(self, place: int) -> bool:
        """Before events from `place` on change: take them off the tracker, or (False) give it up."""
        tracker, width = self.tracker, self.width
        if tracker is None or len(self.times) - place > _REWIND:
            self.tracker = None
            return False
        for position in range(len(self.times) - 1, place - 1, -1):
            row = self.ids[position * width : (position + 1) * width]
            tracker.pop(position, row, self.start, self.marks)
        return True

    def _mark(self, place: int) -> None:
        """After that: put them back."""
        tracker, width = self.tracker, self.width
        assert tracker is not None
        for position in range(place, len(self.times)):
            tracker.append(position, self.ids[position * width : (position + 1) * width], self.marks)

    def recover(self) -> None:
        """Find out the marks of the events that are there."""
        start, width = self.start, self.width
        if len(self.times) == start + 1:  # most keys have one event only
            row = self.ids[start * width : (start + 1) * width]
            self.marks = [1 << start if number else 0 for number in row]
            return
        self._track()
        self.tracker = None

    def _track(self) -> None:
        self.tracker = Tracker(self.kinds, self.width, self.ids, self.start, self.marks)

    # Letting go

    def _let_go(self, at_ms: int, amount: Amount, newest_ms: int) -> None:
        """Remember an event that is not kept one by one: as first or last, and in the buckets."""
        gone = self.gone
        if gone is None:
            self.gone = [at_ms, at_ms]
        elif at_ms > gone[1]:
            gone[1] = at_ms
        elif at_ms < gone[0]:
            gone[0] = at_ms
        if self.buckets is not None:
            for ring in self.buckets:
                ring.raise_floor(newest_ms)
                ring.add(at_ms, _counted(amount), 1)

    def _drop(self) -> None:
        """Let the oldest event go."""
        start, width = self.start, self.width
        if self.tracker is not None:
            self.tracker.drop(start, self.ids[start * width : (start + 1) * width])
        self.start = start + 1
        amount = () if self.buckets is None else self._amount(start)  # only buckets want it
        self._let_go(self.times[start], amount, self.times[-1])

    def _age(self, newest_ms: int) -> None:
        while self.times[self.start] <= newest_ms - RETAIN_MS:
            self._drop()
        self._compact()

    def _spill(self) -> None:
        self.settle()
        if self.buckets is None:
            self.buckets = [Ring(window) for window in range(len(WINDOWS_MS))]
            for ring in self.buckets:
                ring.raise_floor(self.times[-1], self.gone[1] if self.gone else None)
        self._drop()
        self._compact()

    def _compact(self) -> None:
        """Give back the room of what was let go, once it is worth the copy; running totals restart, too."""
        start = self.start
        if start <= 8 + (len(self.times) >> 2):
            return
        del self.times[:start]
        del self.ids[: start * self.width]
        stride = self.stride
        del self.sums[: start * stride]
        for column, base in enumerate(self.sums[:stride]):
            self.sums[column::stride] = array("q", [total - base for total in self.sums[column::stride]])
        self.start = 0
        self.marks = [marks >> start for marks in self.marks]
        if self.tracker is not None:
            self.tracker.compact(start)

    # Reverting

    def revert(self, at_ms: int, amount: Amount, row: Row) -> None:
        """Undo one earlier fold of the same event."""
        assert self.count > 0
        self.settle()
        self.count -= 1
        place = self._find(at_ms, amount, row)
        if place is None:
            self._revert_gone(at_ms, amount)
            return
        self._remove(place, amount)

    def _find(self, at_ms: int, amount: Amount, row: Row) -> int | None:
        width = self.width
        wanted = array("I", row)
        place = bisect_left(self.times, at_ms, self.start)
        while place < len(self.times) and self.times[place] == at_ms:
            if self.ids[place * width : (place + 1) * width] == wanted and self._amount(place) == amount:
                return place
            place += 1
        return None

    def _revert_gone(self, at_ms: int, amount: Amount) -> None:
        for ring in self.buckets or ():
            ring.add(at_ms, _counted(amount), -1)
        if self.count == len(self.times) - self.start:  # nothing that was let go is left
            self.gone = None
            self.buckets = None

    def _amount(self, place: int) -> Amount:
        sums, at, stride = self.sums, place * self.stride, self.stride
        return tuple(sums[column + stride] - sums[column] for column in range(at, at + stride))

    # Reading

    def high(self, at_ms: int) -> int:
        """Position after the last event that is not later than `at_ms`."""
        times = self.times
        high = len(times)
        if high > self.start and times[-1] > at_ms:
            return bisect_right(times, at_ms, self.start)
        return high

    def lows(self, at_ms: int, high: int) -> Lows:
        """Positions where the four windows start, the shortest first."""
        times, low4 = self.times, self.start
        if high == low4:
            return high, high, high, high
        if times[low4] <= at_ms - _W4:
            low4 = bisect_right(times, at_ms - _W4, low4, high)
        newest = times[high - 1]
        if newest <= at_ms - _W3:
            return high, high, high, low4
        low3 = bisect_right(times, at_ms - _W3, low4, high)
        if newest <= at_ms - _W2:
            return high, high, low3, low4
        low2 = bisect_right(times, at_ms - _W2, low3, high)
        if newest <= at_ms - _W1:
            return high, low2, low3, low4
        return bisect_right(times, at_ms - _W1, low2, high), low2, low3, low4

    def distinct(self, marks: int, kind: int, lows: Lows, high: int) -> Sequence[int]:
        """Distinct counterparts of one kind, whose marks these are, in the four windows."""
        low1, low2, low3, low4 = lows
        if not marks or low4 == high:
            return NONE_DISTINCT
        if high < len(self.times):
            if self.tracker is None or len(self.times) - high > _LATE:
                return self._recounted(kind, lows, high)
            marks = self.tracker.marks_below(kind, high, self.start, marks)
        marks >>= low4
        count4 = count3 = marks.bit_count()
        if low3 > low4:
            marks >>= low3 - low4
            count3 = marks.bit_count()
        count2 = count3
        if low2 > low3:
            marks >>= low2 - low3
            count2 = marks.bit_count()
        if low1 > low2:
            marks >>= low1 - low2
            return marks.bit_count(), count2, count3, count4
        return count2, count2, count3, count4

    def _recounted(self, kind: int, lows: Lows, high: int) -> Sequence[int]:
        """The same for a read before so many events that their marks are of no use."""
        width = self.width
        counts = []
        for low in lows:
            numbers = set(self.ids[low * width + kind : high * width : width])
            counts.append(len(numbers) - (0 in numbers))
        return counts

    def spans(self, at_ms: int, high: int) -> tuple[float, float]:
        """Seconds since the newest and the first event not later than `at_ms`; NaN when there is none."""
        gone = self.gone
        if high > self.start:
            last, first = self.times[high - 1], self.times[self.start]
            if gone is not None and gone[0] <= at_ms:
                first = min(first, gone[0])
                if gone[1] <= at_ms:
                    last = max(last, gone[1])
            return (at_ms - last) / 1000, (at_ms - first) / 1000
        if gone is None or gone[0] > at_ms:
            return nan, nan
        return ((at_ms - gone[1]) / 1000 if gone[1] <= at_ms else nan), (at_ms - gone[0]) / 1000

    def bucketed(self, at_ms: int) -> list[Sums]:
        """What the buckets add to each window."""
        newest = self.gone[1] if self.gone else at_ms
        return [
            ring.total(at_ms) if newest > at_ms - span else NOTHING
            for ring, span in zip(self.buckets or (), WINDOWS_MS, strict=True)
        ]

    def contents(self, names: Mapping[int, object]) -> tuple[object, ...]:
        """Everything that reads depend on, counterparts by name."""
        self.settle()
        events = sorted(
            (
                self.times[place],
                self._amount(place),
                [
                    str(names.get(number))
                    for number in self.ids[place * self.width : (place + 1) * self.width]
                ],
            )
            for place in range(self.start, len(self.times))
        )
        rings = [(ring.floor, ring.marks, ring.sums) for ring in self.buckets or ()]
        return self.count, self.gone, events, rings


def _counted(amount: Amount) -> Sums:
    cents, log, square = amount if len(amount) == 3 else (amount[0], 0, 0)
    return 1, cents, log, square
