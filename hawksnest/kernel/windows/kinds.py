"""The two kinds of key and what a read of each gives."""

from math import nan, sqrt

from hawksnest.kernel.windows.footprint import COUNT_BIT
from hawksnest.kernel.windows.key import NONE_DISTINCT, Amount, KeyState
from hawksnest.kernel.windows.limits import COUNTERPARTS, ENTITY_READS, IDENTITY_READS

_LOG_MASK = COUNT_BIT - 1
_COUNT_SHIFT = COUNT_BIT.bit_length() - 1


class EntityState(KeyState):
    """Of an entity: counterparts are its identities."""

    __slots__ = ()

    width = len(COUNTERPARTS)
    stride = 3

    def _add(self, amount: Amount) -> None:
        sums = self.sums
        sums.extend((sums[-3] + amount[0], sums[-2] + amount[1], sums[-1] + amount[2]))

    def read(self, at_ms: int, log: int) -> tuple[float, ...]:
        """ENTITY_READS at an event with this log-amount (0: without an amount)."""
        if self.moves:
            self.settle()
        high = self.high(at_ms)
        lows = self.lows(at_ms, high)
        low1, low2, low3, low4 = lows
        sums = self.sums
        end = high * 3
        cents, logs = sums[end], sums[end + 1]
        cents1, cents2 = cents - sums[low1 * 3], cents - sums[low2 * 3]
        cents3, cents4 = cents - sums[low3 * 3], cents - sums[low4 * 3]
        logs1, logs2 = logs - sums[low1 * 3 + 1], logs - sums[low2 * 3 + 1]
        logs3, logs4 = logs - sums[low3 * 3 + 1], logs - sums[low4 * 3 + 1]
        square = sums[end + 2] - sums[low4 * 3 + 2]
        count1, count2, count3, count4 = high - low1, high - low2, high - low3, high - low4
        if self.buckets is not None:
            more = self.bucketed(at_ms)
            count1, cents1, logs1 = count1 + more[0][0], cents1 + more[0][1], logs1 + more[0][2]
            count2, cents2, logs2 = count2 + more[1][0], cents2 + more[1][1], logs2 + more[1][2]
            count3, cents3, logs3 = count3 + more[2][0], cents3 + more[2][1], logs3 + more[2][2]
            count4, cents4, logs4 = count4 + more[3][0], cents4 + more[3][1], logs4 + more[3][2]
            square += more[3][3]
        ips, bins, devices, mails = self.marks
        amounts1, amounts2 = logs1 >> _COUNT_SHIFT, logs2 >> _COUNT_SHIFT
        amounts3, amounts4 = logs3 >> _COUNT_SHIFT, logs4 >> _COUNT_SHIFT
        return (
            count1,
            count2,
            count3,
            count4,
            cents1 / 100,
            cents2 / 100,
            cents3 / 100,
            cents4 / 100,
            cents1 / amounts1 / 100 if amounts1 else nan,
            cents2 / amounts2 / 100 if amounts2 else nan,
            cents3 / amounts3 / 100 if amounts3 else nan,
            cents4 / amounts4 / 100 if amounts4 else nan,
            _z_score(log & _LOG_MASK, amounts4, logs4 & _LOG_MASK, square) if log else nan,
            *self.spans(at_ms, high),
            *(self.distinct(ips, 0, lows, high) if ips else NONE_DISTINCT),
            *(self.distinct(bins, 1, lows, high) if bins else NONE_DISTINCT),
            *(self.distinct(devices, 2, lows, high) if devices else NONE_DISTINCT),
            *(self.distinct(mails, 3, lows, high) if mails else NONE_DISTINCT),
        )


def _z_score(log: int, amounts: int, total: int, square: int) -> float:
    """Of a log-amount among others, given their number, sum and sum of squares; NaN when undefined."""
    spread = amounts * square - total * total  # amounts² · variance, exact
    return (log * amounts - total) / sqrt(spread) if spread > 0 else nan


class IdentityState(KeyState):
    """Of an identity: its counterpart is the entity."""

    __slots__ = ()

    width = 1
    stride = 1

    def _add(self, amount: Amount) -> None:
        self.sums.append(self.sums[-1] + amount[0])

    def read(self, at_ms: int, entity: int) -> tuple[float, ...]:
        """IDENTITY_READS at an event of the entity with this number (0: unknown or new)."""
        if self.moves:
            self.settle()
        high = self.high(at_ms)
        lows = self.lows(at_ms, high)
        low1, low2, low3, low4 = lows
        sums = self.sums
        cents = sums[high]
        cents1, cents2 = cents - sums[low1], cents - sums[low2]
        cents3, cents4 = cents - sums[low3], cents - sums[low4]
        count1, count2, count3, count4 = high - low1, high - low2, high - low3, high - low4
        if self.buckets is not None:
            more = self.bucketed(at_ms)
            count1, cents1 = count1 + more[0][0], cents1 + more[0][1]
            count2, cents2 = count2 + more[1][0], cents2 + more[1][1]
            count3, cents3 = count3 + more[2][0], cents3 + more[2][1]
            count4, cents4 = count4 + more[3][0], cents4 + more[3][1]
        return (
            count1,
            count2,
            count3,
            count4,
            cents1 / 100,
            cents2 / 100,
            cents3 / 100,
            cents4 / 100,
            *self.distinct(self.marks[0], 0, lows, high),
            *self.spans(at_ms, high),
            self._since_with(at_ms, entity, low4, high) if entity and low4 < high else nan,
        )

    def _since_with(self, at_ms: int, entity: int, low: int, high: int) -> float:
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
