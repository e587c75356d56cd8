"""Events of a very busy key that are no longer kept one by one: sums in buckets of 1/256 of each window."""

from bisect import bisect_left, bisect_right

from hawksnest.kernel.windows.limits import BUCKETS, SLACK_MS, WINDOWS_MS

Sums = tuple[int, int, int, int]  # events, cents, log, log square
NOTHING: Sums = (0, 0, 0, 0)


class Ring:
    """Buckets of one window. Bucket b holds the instants t with floor(t · 256 / w) = b."""

    __slots__ = ("floor", "marks", "sums", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.floor: int | None = None  # the oldest bucket that is kept; never goes back
        self.marks: list[int] = []  # buckets in use, ascending
        self.sums: list[Sums] = [NOTHING]  # running totals: sums[i] is what is in marks[:i]

    def bucket(self, at_ms: int) -> int:
        return at_ms * BUCKETS // WINDOWS_MS[self.window]

    def raise_floor(self, newest_ms: int, excluded_ms: int | None = None) -> None:
        """Forget buckets too old for any exact read. `excluded_ms` and older will never be added."""
        span = WINDOWS_MS[self.window]
        floor = self.bucket(newest_ms - span - min(span, SLACK_MS))
        if excluded_ms is not None:
            floor = max(floor, self.bucket(excluded_ms) + 1)
        if self.floor is None or floor > self.floor:
            self.floor = floor
            drop = bisect_left(self.marks, floor)
            if drop:
                del self.marks[:drop]
                del self.sums[:drop]

    def add(self, at_ms: int, change: Sums, sign: int) -> None:
        """Put an event in (sign 1) or take it out again (sign -1)."""
        mark = self.bucket(at_ms)
        if self.floor is None or mark < self.floor:
            return
        place = bisect_left(self.marks, mark)
        if place == len(self.marks) or self.marks[place] != mark:
            assert sign > 0, "an event is taken out of a bucket that never held it"
            self.marks.insert(place, mark)
            self.sums.insert(place + 1, self.sums[place])
        for later in range(place + 1, len(self.sums)):
            events, cents, log, square = self.sums[later]
            self.sums[later] = (
                events + sign * change[0],
                cents + sign * change[1],
                log + sign * change[2],
                square + sign * change[3],
            )
        if self.sums[place + 1][0] == self.sums[place][0]:  # empty again
            del self.marks[place]
            del self.sums[place + 1]

    def total(self, at_ms: int) -> Sums:
        """Sums of the buckets that reach into (at − w, at]."""
        low = bisect_left(self.marks, self.bucket(at_ms - WINDOWS_MS[self.window] + 1))
        high = bisect_right(self.marks, self.bucket(at_ms), low)
        if low >= high:
            return NOTHING
        older, newer = self.sums[low], self.sums[high]
        return (newer[0] - older[0], newer[1] - older[1], newer[2] - older[2], newer[3] - older[3])
