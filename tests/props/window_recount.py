"""Windows counted again from scratch, one event after the other: docs/windows.md without any speed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isclose, isfinite, isnan, log, nan, sqrt

from hawksnest.kernel.windows import Footprint, Limits

HOUR = 3_600_000
DAY = 24 * HOUR
WINDOWS = (HOUR, DAY, 7 * DAY, 30 * DAY)
KEPT_FOR = 31 * DAY
KINDS = ("IP_ADDRESS", "CARD_BIN", "FINGERPRINT", "EMAIL_ADDRESS")


@dataclass(frozen=True)
class Seen:
    """One event of one key; `others` are its counterparts by kind, None for none."""

    at: int
    cents: int | None
    others: tuple[str | None, ...]


@dataclass
class Key:
    limit: int
    kept: list[Seen] = field(default_factory=list)  # in order of time, then of arrival
    count: int = 0
    gone: list[int] = field(
        default_factory=list
    )  # instants that were let go since the key last held all of its own
    busy: bool = False
    floors: dict[int, int] = field(default_factory=dict)
    bucketed: dict[int, list[Seen]] = field(default_factory=dict)

    def fold(self, seen: Seen) -> None:
        self.count += 1
        newest = max((each.at for each in self.kept), default=None)
        if newest is not None and seen.at <= newest - KEPT_FOR:
            self.let_go(seen, newest)
            return
        self.kept.append(seen)
        self.kept.sort(key=lambda each: each.at)
        newest = self.kept[-1].at
        while self.kept[0].at <= newest - KEPT_FOR:
            self.let_go(self.kept.pop(0), newest)
        if len(self.kept) > self.limit:
            if not self.busy:
                self.busy = True
                for window in WINDOWS:
                    floor = bucket(oldest_bucketed(newest, window), window)
                    self.floors[window] = max(
                        [floor, *(bucket(max(self.gone), window) + 1 for _ in self.gone[:1])]
                    )
                    self.bucketed[window] = []
            self.let_go(self.kept.pop(0), newest)

    def let_go(self, seen: Seen, newest: int) -> None:
        self.gone.append(seen.at)
        for window, held in self.bucketed.items():
            floor = max(self.floors[window], bucket(oldest_bucketed(newest, window), window))
            self.floors[window] = floor
            self.bucketed[window] = [each for each in [*held, seen] if bucket(each.at, window) >= floor]

    def revert(self, seen: Seen) -> None:
        self.count -= 1
        if seen in self.kept:
            self.kept.remove(seen)
            return
        for window, held in self.bucketed.items():
            if bucket(seen.at, window) >= self.floors[window]:
                held.remove(next(each for each in held if (each.at, each.cents) == (seen.at, seen.cents)))
        if self.count == len(self.kept):
            self.gone, self.busy, self.floors, self.bucketed = [], False, {}, {}

    def inside(self, at: int, window: int) -> tuple[list[Seen], list[Seen]]:
        """Events of the window that are kept one by one, and those that are in its buckets."""
        exact = [each for each in self.kept if at - window < each.at <= at]
        if not self.gone or max(self.gone) <= at - window:
            return exact, []
        first, last = bucket(at - window + 1, window), bucket(at, window)
        return exact, [
            each for each in self.bucketed.get(window, []) if first <= bucket(each.at, window) <= last
        ]

    def spans(self, at: int) -> tuple[float, float]:
        known = [each.at for each in self.kept if each.at <= at]
        ends = [instant for instant in (max(self.gone), min(self.gone)) if instant <= at] if self.gone else []
        everything = known + ends
        if not everything:
            return nan, nan
        # With only the first of what was let go in reach, nothing is known of the newest of it.
        newest = known + ([max(self.gone)] if self.gone and max(self.gone) <= at else [])
        return (at - max(newest)) / 1000 if newest else nan, (at - min(everything)) / 1000

    def sums(self, at: int) -> tuple[list[float], list[float], list[float]]:
        counts, totals, means = [], [], []
        for window in WINDOWS:
            exact, coarse = self.inside(at, window)
            amounts = [each.cents for each in exact + coarse if each.cents is not None]
            counts.append(len(exact) + len(coarse))
            totals.append(sum(amounts) / 100)
            means.append(sum(amounts) / len(amounts) / 100 if amounts else nan)
        return counts, totals, means

    def distinct(self, at: int, kind: int) -> list[float]:
        return [
            len({each.others[kind] for each in self.inside(at, window)[0]} - {None}) for window in WINDOWS
        ]

    def read_entity(self, at: int, cents: int | None) -> list[float]:
        counts, totals, means = self.sums(at)
        exact, coarse = self.inside(at, WINDOWS[-1])
        logs = [steps(each.cents) for each in exact + coarse if each.cents is not None]
        score = nan
        if cents is not None and len(logs) > 1 and len(set(logs)) > 1:
            mean = sum(logs) / len(logs)
            score = (steps(cents) - mean) / sqrt(sum((each - mean) ** 2 for each in logs) / len(logs))
        columns = [value for kind in range(len(KINDS)) for value in self.distinct(at, kind)]
        return [*counts, *totals, *means, score, *self.spans(at), *columns]

    def read_identity(self, at: int, entity: str | None) -> list[float]:
        counts, totals, _ = self.sums(at)
        exact, _ = self.inside(at, WINDOWS[-1])
        shared = [each.at for each in exact if entity is not None and each.others[0] == entity]
        since = (at - max(shared)) / 1000 if shared else nan
        return [*counts, *totals, *self.distinct(at, 0), *self.spans(at), since]


def bucket(at: int, window: int) -> int:
    return at * 256 // window


def oldest_bucketed(newest: int, window: int) -> int:
    return newest - window - min(window, DAY)


def steps(cents: int) -> int:
    return round(log(1 + abs(cents) / 100) * 4096)


def cents_of(amount: float | None) -> int | None:
    if amount is None or not isfinite(amount):
        return None
    return max(-(10**13), min(10**13, round(amount * 100)))


class Recount:
    """The same doors as EntityStates."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.keys: dict[tuple[str, ...], Key] = {}

    def parts(self, mark: Footprint) -> Iterable[tuple[tuple[str, ...], int, tuple[str | None, ...]]]:
        """Key, limit and counterparts of everything that the event touches."""
        place = mark[:3]
        first: dict[str, str] = {}
        for kind, value in mark.identities:
            first.setdefault(kind, value)
            yield (*place, "identity", kind, value), self.limits.identity_events, (mark.entity_id,)
        if mark.entity_id is not None:
            others = tuple(first.get(kind) for kind in KINDS)
            yield (*place, "entity", mark.entity_type, mark.entity_id), self.limits.entity_events, others

    def fold(self, mark: Footprint) -> None:
        for name, limit, others in self.parts(mark):
            key = self.keys.setdefault(name, Key(limit))
            key.fold(Seen(mark.event_at_ms, cents_of(mark.amount), others))

    def revert(self, mark: Footprint) -> None:
        for name, _, others in self.parts(mark):
            self.keys[name].revert(Seen(mark.event_at_ms, cents_of(mark.amount), others))
            if not self.keys[name].count:
                del self.keys[name]

    def read(self, mark: Footprint) -> tuple[list[float] | None, dict[str, list[float]]]:
        entity, identities = None, {}
        for (*_, side, kind, _), key, others in (
            (name, self.keys.get(name, Key(1)), others) for name, _, others in self.parts(mark)
        ):
            if side == "entity":
                entity = key.read_entity(mark.event_at_ms, cents_of(mark.amount))
            elif kind not in identities:
                identities[kind] = key.read_identity(mark.event_at_ms, others[0])
        return entity, identities


def differences(found: Iterable[float], wanted: Iterable[float], names: Iterable[str]) -> list[str]:
    """Where two reads differ; the z-score is compared within rounding, all else exactly."""
    return [
        f"{name}: {a} instead of {b}"
        for name, a, b in zip(names, found, wanted, strict=True)
        if not (
            a == b
            or (isnan(a) and isnan(b))
            or (name.startswith("amount_z") and isclose(a, b, rel_tol=1e-6, abs_tol=1e-6))
        )
    ]
