"""State of one key: its events of the last 31 days, packed, with running totals.

Times are ascending; `sums` holds running totals (cents, log, log square) before each event and after the
last, so that a window is a difference; `ids` holds the numbers of the counterpart keys, `width` of them an
event.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from math import nan, sqrt
from typing import ClassVar

from hawksnest.kernel.windows.buckets import Ring, Sums
from hawksnest.kernel.windows.footprint import COUNT_BIT, Money
from hawksnest.kernel.windows.limits import (
    COUNTERPARTS,
    ENTITY_READS,
    IDENTITY_READS,
    RETAIN_MS,
    WINDOWS_MS,
)
from hawksnest.kernel.windows.tracker import Tracker

_REWIND = 512  # a late event with more later ones than this makes the tracker start anew

_W1, _W2, _W3, _W4 = WINDOWS_MS
_LOG_MASK = COUNT_BIT - 1


class KeyState:
    """What entity and identity keys share: folding, reverting, and where windows start."""

    __slots__ = ("buckets", "count", "gone", "ids", "kinds", "number", "start", "sums", "times", "tracker")

    width: ClassVar[int]

    def __init__(self, number: int) -> None:
        self.number = number  # names the key in other keys' `ids`
        self.count = 0  # events ever folded and not reverted
        self.kinds = 0  # bit mask: which columns of `ids` were ever filled
        self.start = 0  # events before this position were let go
        self.times = array("q")
        self.sums = array("q", (0, 0, 0))
        self.ids = array("I")
        self.gone: list[int] | None = None  # first and last instant of the events let go
        self.buckets: list[Ring] | None = None
        self.tracker: Tracker | None = None

    # Folding

    def fold(self, at_ms: int, amount: Money, row: tuple[int, ...], limit: int, tracked: int) -> None:
        """Add one event. `row` are the numbers of its counterparts, 0 for none.

        More than `limit` events are not kept one by one; more than `tracked` get a tracker.
        """
        self.count += 1
        times = self.times
        if len(times) > self.start and at_ms < (newest := times[-1]):
            if at_ms <= newest - RETAIN_MS:
                self._let_go(at_ms, (1, *amount), newest)
                return
            self._insert(at_ms, amount, row)
        else:
            self._append(at_ms, amount, row)
            if times[self.start] <= at_ms - RETAIN_MS:
                self._age(at_ms)
        events = len(times) - self.start
        if events > limit:
            self._spill()
        if self.tracker is None:
            if events > tracked:
                self.tracker = Tracker(self.kinds, self.width, self.ids, self.start)
        elif events * 2 < tracked:
            self.tracker = None

    def _append(self, at_ms: int, amount: Money, row: "tuple[int, ...] | array[int]") -> None:
        sums = self.sums
        self.times.append(at_ms)
        cents, log, square = amount
        sums.extend((sums[-3] + cents, sums[-2] + log, sums[-1] + square))
        self.ids.extend(row)
        for kind, number in enumerate(row):
            if number:
                self.kinds |= 1 << kind
        tracker = self.tracker
        if tracker is not None:
            if tracker.kinds == self.kinds:
                tracker.append(len(self.times) - 1, row)
            else:
                self.tracker = None

    def _insert(self, at_ms: int, amount: Money, row: tuple[int, ...]) -> None:
        """A late event: take the later ones off, add it, put them back."""
        place = bisect_right(self.times, at_ms, self.start)
        later = self._cut(place)
        self._append(at_ms, amount, row)
        self._paste(later)

    def _cut(self, place: int) -> tuple["array[int]", "array[int]", "array[int]"]:
        """Take the events from `place` on off the end: times, sums from the one before them, ids."""
        width, times = self.width, self.times
        tracker = self.tracker
        if tracker is not None:
            if len(times) - place > _REWIND:
                self.tracker = None
            else:
                for position in range(len(times) - 1, place - 1, -1):
                    row = self.ids[position * width : (position + 1) * width]
                    tracker.pop(position, row, self.start)
        cut = times[place:], self.sums[place * 3 :], self.ids[place * width :]
        del times[place:]
        del self.sums[(place + 1) * 3 :]
        del self.ids[place * width :]
        return cut

    def _paste(self, cut: tuple["array[int]", "array[int]", "array[int]"]) -> None:
        """Put events back that `_cut` took off; running totals are shifted by what happened in between."""
        times, sums, ids = cut
        if not times:
            return
        position = len(self.times)
        shifts = [self.sums[column - 3] - sums[column] for column in range(3)]
        self.times.extend(times)
        self.ids.extend(ids)
        moved = array("q", bytes(8 * (len(sums) - 3)))
        for column, shift in enumerate(shifts):
            moved[column::3] = array("q", [total + shift for total in sums[column + 3 :: 3]])
        self.sums.extend(moved)
        tracker = self.tracker
        if tracker is not None:
            width = self.width
            for place in range(len(times)):
                tracker.append(position + place, ids[place * width : (place + 1) * width])

    # Letting go

    def _let_go(self, at_ms: int, change: Sums, newest_ms: int) -> None:
        """Remember an event that is not kept one by one: as first or last, and in the buckets."""
        gone = self.gone
        if gone is None:
            self.gone = [at_ms, at_ms]
        else:
            gone[0] = min(gone[0], at_ms)
            gone[1] = max(gone[1], at_ms)
        for ring in self.buckets or ():
            ring.raise_floor(newest_ms)
            ring.add(at_ms, change, 1)

    def _drop(self) -> None:
        """Let the oldest event go."""
        start, width = self.start, self.width
        if self.tracker is not None:
            self.tracker.drop(start, self.ids[start * width : (start + 1) * width])
        self.start = start + 1
        self._let_go(self.times[start], (1, *self._amount(start)), self.times[-1])

    def _age(self, newest_ms: int) -> None:
        while self.times[self.start] <= newest_ms - RETAIN_MS:
            self._drop()
        self._compact()

    def _spill(self) -> None:
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
        del self.sums[: start * 3]
        for column, base in enumerate(self.sums[:3]):
            self.sums[column::3] = array("q", [total - base for total in self.sums[column::3]])
        self.start = 0
        if self.tracker is not None:
            self.tracker.compact(start)

    # Reverting

    def revert(self, at_ms: int, amount: Money, row: tuple[int, ...]) -> None:
        """Undo one earlier fold of the same event."""
        assert self.count > 0
        self.count -= 1
        place = self._find(at_ms, amount, row)
        if place is None:
            self._revert_gone(at_ms, amount)
            return
        later = self._cut(place + 1)
        self._cut(place)
        self._paste(later)

    def _find(self, at_ms: int, amount: Money, row: tuple[int, ...]) -> int | None:
        width = self.width
        wanted = array("I", row)
        place = bisect_left(self.times, at_ms, self.start)
        while place < len(self.times) and self.times[place] == at_ms:
            if self.ids[place * width : (place + 1) * width] == wanted and self._amount(place) == amount:
                return place
            place += 1
        return None

    def _revert_gone(self, at_ms: int, amount: Money) -> None:
        for ring in self.buckets or ():
            ring.add(at_ms, (1, *amount), -1)
        if self.count == len(self.times) - self.start:  # nothing that was let go is left
            self.gone = None
            self.buckets = None

    def _amount(self, place: int) -> Money:
        a, b, c, d, e, f = self.sums[place * 3 : place * 3 + 6]
        return Money(d - a, e - b, f - c)

    # Reading

    def _windows(self, at_ms: int, high: int) -> tuple[list[int], list[list[int]]]:
        """Where the four windows start, and the distinct counterparts in them, by kind."""
        start = self.start
        if self.tracker is not None:
            found = self.tracker.seek(at_ms, self.times, self.ids, start, high)
            if found is not None:
                return found
        times = self.times
        low4 = start
        if high > start and times[start] <= at_ms - _W4:
            low4 = bisect_right(times, at_ms - _W4, start, high)
        low3 = bisect_right(times, at_ms - _W3, low4, high)
        low2 = bisect_right(times, at_ms - _W2, low3, high)
        lows = [bisect_right(times, at_ms - _W1, low2, high), low2, low3, low4]
        kinds, width = self.kinds, self.width
        return lows, [
            self._distinct(kind, lows, high) if kinds >> kind & 1 else [0, 0, 0, 0] for kind in range(width)
        ]

    def _distinct(self, kind: int, lows: list[int], high: int) -> list[int]:
        counts = []
        counted, count = high, 0
        ids, width = self.ids, self.width
        for low in lows:
            if low < counted:
                numbers = set(ids[low * width + kind : high * width : width])
                numbers.discard(0)
                counted, count = low, len(numbers)
            counts.append(count)
        return counts

    def _high(self, at_ms: int) -> int:
        """Position after the last event that is not later than `at_ms`."""
        times = self.times
        if len(times) == self.start or times[-1] <= at_ms:
            return len(times)
        return bisect_right(times, at_ms, self.start)

    def _spans(self, at_ms: int, high: int) -> tuple[float, float]:
        """Seconds since the newest and the first event not later than `at_ms`; NaN when there is none."""
        last = first = None
        if high > self.start:
            last, first = self.times[high - 1], self.times[self.start]
        gone = self.gone
        if gone is not None and gone[0] <= at_ms:
            first = gone[0] if first is None else min(first, gone[0])
            if gone[1] <= at_ms:
                last = gone[1] if last is None else max(last, gone[1])
        return (
            nan if last is None else (at_ms - last) / 1000,
            nan if first is None else (at_ms - first) / 1000,
        )

    def _bucketed(self, at_ms: int, window: int) -> Sums | None:
        """What the buckets add to a window; None when they do not reach into it."""
        if self.buckets is None or self.gone is None or self.gone[1] <= at_ms - WINDOWS_MS[window]:
            return None
        return self.buckets[window].total(at_ms)

    def contents(self, names: Mapping[int, object]) -> tuple[object, ...]:
        """Everything that reads depend on, counterparts by name."""
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


class EntityState(KeyState):
    """Of an entity: counterparts are its identities."""

    __slots__ = ()

    width = len(COUNTERPARTS)

    def read(self, at_ms: int, log: int) -> tuple[float, ...]:
        """ENTITY_READS at an event with this log-amount (0: without an amount)."""
        high = self._high(at_ms)
        lows, distinct = self._windows(at_ms, high)
        sums = self.sums
        cents_end, log_end = sums[high * 3], sums[high * 3 + 1]
        counts, totals, means = [], [], []
        square = events = logs = 0
        for window, low in enumerate(lows):
            events = high - low
            cents, logs = cents_end - sums[low * 3], log_end - sums[low * 3 + 1]
            if self.buckets is not None and (more := self._bucketed(at_ms, window)):
                events, cents, logs, square = events + more[0], cents + more[1], logs + more[2], more[3]
            amounts = logs // COUNT_BIT
            counts.append(events)
            totals.append(cents / 100)
            means.append(cents / amounts / 100 if amounts else nan)
        square += sums[high * 3 + 2] - sums[lows[-1] * 3 + 2]
        since, age = self._spans(at_ms, high)
        return (
            *counts,
            *totals,
            *means,
            _z_score(log, logs, square),
            since,
            age,
            *distinct[0],
            *distinct[1],
            *distinct[2],
            *distinct[3],
        )


def _z_score(log: int, logs: int, square: int) -> float:
    """Of a log-amount among others, given by their packed sum and the sum of squares; NaN: undefined."""
    amounts = logs // COUNT_BIT
    if not log or amounts < 2:
        return nan
    total = logs & _LOG_MASK
    spread = amounts * square - total * total  # amounts² · variance, exact
    if spread <= 0:
        return nan
    return ((log & _LOG_MASK) * amounts - total) / sqrt(spread)


class IdentityState(KeyState):
    """Of an identity: its counterpart is the entity."""

    __slots__ = ()

    width = 1

    def read(self, at_ms: int, entity: int) -> tuple[float, ...]:
        """IDENTITY_READS at an event of the entity with this number (0: unknown or new)."""
        high = self._high(at_ms)
        (low1, low2, low3, low4), distinct = self._windows(at_ms, high)
        sums = self.sums
        end = sums[high * 3]
        counts = [high - low1, high - low2, high - low3, high - low4]
        totals = [
            (end - sums[low1 * 3]) / 100,
            (end - sums[low2 * 3]) / 100,
            (end - sums[low3 * 3]) / 100,
            (end - sums[low4 * 3]) / 100,
        ]
        if self.buckets is not None:
            for window, low in enumerate((low1, low2, low3, low4)):
                if more := self._bucketed(at_ms, window):
                    counts[window] += more[0]
                    totals[window] = (end - sums[low * 3] + more[1]) / 100
        since, age = self._spans(at_ms, high)
        return (*counts, *totals, *distinct[0], since, age, self._since_with(at_ms, entity, low4, high))

    def _since_with(self, at_ms: int, entity: int, low: int, high: int) -> float:
        if not entity:
            return nan
        if self.tracker is not None and self.kinds:
            place = self.tracker.latest(0, entity, high)
            return (at_ms - self.times[place]) / 1000 if place >= low else nan
        numbers = self.ids[low:high]
        numbers.reverse()
        if entity not in numbers:
            return nan
        return (at_ms - self.times[high - 1 - numbers.index(entity)]) / 1000


NEW_ENTITY: tuple[float, ...] = tuple(
    0 if name.startswith(("count_", "sum_")) or "_distinct_" in name else nan for name in ENTITY_READS
)
NEW_IDENTITY: tuple[float, ...] = tuple(
    0 if name.startswith(("count_", "sum_", "entities_")) else nan for name in IDENTITY_READS
)
