"""Entity states against a recount from scratch, over generated histories."""

from random import Random

import pytest
from window_recount import DAY, HOUR, WINDOWS, Recount, differences

from hawksnest.kernel.windows import (
    ENTITY_READS,
    IDENTITY_READS,
    EntityStates,
    Footprint,
    Limits,
    footprint,
)
from hawksnest.world import seeded

START = 1_700_000_000_000
SMALL = Limits(entity_events=40, identity_events=12, tracked_events=6)
TINY = Limits(entity_events=9, identity_events=4, tracked_events=2)
SIZES = (SMALL, TINY, Limits(tracked_events=3), Limits())
TENANTS = (("000000000000", "us-east-1"), ("000000000000", "eu-west-1"))


def made_event(draw: Random, now: int, values: int) -> Footprint:
    """An event around `now`: on time, late, on the edge of a window, or at the instant of another one."""
    late = draw.choice((0, 0, 0, 0, 1, 5 * HOUR, DAY, 9 * DAY, 30 * DAY, 32 * DAY, 90 * DAY))
    at = now - draw.randint(0, late) if draw.random() < 0.7 else now - late
    identities = [
        (kind, f"{kind}-{draw.randint(1, values)}")
        for kind in ("IP_ADDRESS", "CARD_BIN", "FINGERPRINT", "EMAIL_ADDRESS", "PHONE_NUMBER")
        if draw.random() < 0.6
    ]
    if draw.random() < 0.1:
        identities.append(("IP_ADDRESS", "second"))
    return footprint(
        TENANTS[draw.random() < 0.05],
        "payment" if draw.random() < 0.95 else "sign_up",
        "customer",
        draw.choice(("ann", "ann", "bob", "cid", "Unknown")),
        at,
        draw.choice((None, 0.0, 9.99, 9.99, 12.5, 1e15, -3.0, draw.randint(1, 99_999) / 100)),
        identities,
    )


class Pair:
    """States and their recount, driven side by side."""

    def __init__(self, seed: int, limits: Limits) -> None:
        self.seed = seed
        self.states = EntityStates(limits)
        self.recount = Recount(limits)

    def read(self, mark: Footprint) -> None:
        reads = self.states.read(mark)
        entity, identities = self.recount.read(mark)
        assert (reads.entity is None) == (entity is None)
        if reads.entity is not None and entity is not None:
            assert not differences(reads.entity, entity, ENTITY_READS), f"seed {self.seed}: {mark}"
        assert reads.identities.keys() == identities.keys()
        for kind, found in reads.identities.items():
            assert not differences(found, identities[kind], IDENTITY_READS), (
                f"seed {self.seed}: {kind} of {mark}"
            )

    def fold(self, mark: Footprint) -> None:
        self.states.fold(mark)
        self.recount.fold(mark)

    def revert(self, mark: Footprint) -> None:
        self.states.revert(mark)
        self.recount.revert(mark)

    def restart(self) -> None:
        chunks = list(self.states.snapshot())
        restored = EntityStates.restore(chunks, self.states.limits)
        assert list(restored.snapshot()) == chunks, f"seed {self.seed}"
        assert restored.contents() == self.states.contents()
        self.states = restored


def run_history(seed: int, limits: Limits, length: int) -> None:
    draw = seeded(seed)
    pair = Pair(seed, limits)
    now = START
    folded: list[Footprint] = []
    values = draw.randint(1, 4)
    gaps = draw.choice(((0, 1, 1000), (0, HOUR, HOUR * 5), (HOUR, DAY, 3 * DAY), (0, 14_063, 337_500)))
    for _ in range(draw.randint(length // 4, length)):
        now += draw.choice((*gaps, draw.choice(WINDOWS) if draw.random() < 0.05 else 0))
        mark = made_event(draw, now, values)
        choice = draw.random()
        if choice < 0.15 and folded:  # an event id sent again: taken out, read, put back as it is now
            previous = folded.pop(draw.randrange(len(folded)))
            pair.revert(previous)
            mark = mark._replace(event_at_ms=previous.event_at_ms, entity_id=previous.entity_id)
        elif choice < 0.25 and folded:
            pair.revert(folded.pop(draw.randrange(len(folded))))
            continue
        elif choice < 0.27:
            pair.restart()
        pair.read(mark)
        pair.fold(mark)
        folded.append(mark)
        span = draw.choice((*WINDOWS, 0, 1))
        pair.read(mark._replace(event_at_ms=now + span - draw.choice((0, 0, 1, HOUR))))
        pair.read(mark._replace(event_at_ms=draw.choice(folded).event_at_ms + draw.choice((0, -1, span))))
    draw.shuffle(folded)
    for mark in folded:
        pair.revert(mark)
    assert len(pair.states) == 0 and pair.states.contents() == {}


def run_busy_key(seed: int, limits: Limits, length: int, read_every: int) -> None:
    """Few keys with many events, slightly out of order, some of them taken back."""
    draw = seeded(seed)
    pair = Pair(seed, limits)
    now = START
    folded: list[Footprint] = []
    for place in range(length):
        now += draw.choice((0, 1_000, 60_000, 40 * DAY // length))
        mark = footprint(
            TENANTS[0],
            "payment",
            "customer",
            f"user-{draw.randint(1, 400)}" if draw.random() < 0.6 else "busy",
            now - draw.choice((0, 0, 0, draw.randint(0, 90_000), draw.randint(0, DAY))),
            draw.randint(1, 5_000) / 100,
            [("IP_ADDRESS", f"ip-{draw.randint(1, 30)}"), ("CARD_BIN", "411111")],
        )
        if place % read_every == 0:
            pair.read(mark)
            pair.read(mark._replace(event_at_ms=now - draw.randint(0, 3 * DAY)))
        pair.fold(mark)
        folded.append(mark)
        if draw.random() < 0.05:
            pair.revert(folded.pop(-draw.randint(1, min(len(folded), 900))))
    pair.restart()
    pair.read(mark)


def test_busy_keys_equal_a_recount() -> None:
    run_busy_key(1, Limits(entity_events=400, identity_events=300, tracked_events=100), 900, 10)
    run_busy_key(2, Limits(), 700, 10)


@pytest.mark.full
def test_busy_keys_equal_a_recount_at_full_size() -> None:
    for seed in range(10, 18):
        run_busy_key(seed, Limits(entity_events=800, identity_events=600), 2_500, 10)
    run_busy_key(30, Limits(), 12_500, 100)


def test_windows_equal_a_recount() -> None:
    for seed in range(200):
        run_history(seed, SIZES[seed % len(SIZES)], 60)


@pytest.mark.full
def test_windows_equal_a_recount_at_full_size() -> None:
    for seed in range(1_000, 2_000):
        run_history(seed, SIZES[seed % len(SIZES)], 120)
