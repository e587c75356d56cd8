import sys

import pytest

from hawksnest.kernel.windows import (
    ENTITY_READS,
    IDENTITY_READS,
    EntityStates,
    Footprint,
    Limits,
    Reads,
    footprint,
)
from hawksnest.kernel.windows.codec import CHUNK_BYTES

TENANT = ("000000000000", "us-east-1")
NOW = 1_700_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


def made(at: int = NOW, entity: str = "ann", amount: float | None = 10.0, ip: str = "192.0.2.1") -> Footprint:
    return footprint(TENANT, "payment", "customer", entity, at, amount, [("IP_ADDRESS", ip)])


def entity_of(reads: Reads) -> dict[str, float]:
    assert reads.entity is not None
    return dict(zip(ENTITY_READS, reads.entity, strict=True))


def ip_of(reads: Reads) -> dict[str, float]:
    return dict(zip(IDENTITY_READS, reads.identities["IP_ADDRESS"], strict=True))


def test_event_exactly_a_window_old_is_outside() -> None:
    states = EntityStates()
    states.fold(made())
    assert entity_of(states.read(made(NOW + HOUR - 1)))["count_1h"] == 1
    assert entity_of(states.read(made(NOW + HOUR)))["count_1h"] == 0
    assert entity_of(states.read(made(NOW + 30 * DAY)))["count_30d"] == 0


def test_event_of_the_same_instant_that_came_before_is_inside() -> None:
    states = EntityStates()
    states.fold(made())
    reads = entity_of(states.read(made()))
    assert (reads["count_1h"], reads["since_s"], reads["age_s"]) == (1, 0, 0)


def test_late_event_does_not_see_what_is_later() -> None:
    states = EntityStates()
    states.fold(made(NOW))
    reads = entity_of(states.read(made(NOW - 1)))
    assert reads["count_30d"] == 0 and reads["age_s"] != reads["age_s"]


def test_unknown_entity_has_no_state_and_its_identities_count() -> None:
    states = EntityStates()
    states.fold(made(entity="UNKNOWN"))
    assert len(states) == 1 and states.read(made(entity="unknown")).entity is None
    reads = ip_of(states.read(made(entity="ann")))
    assert (reads["count_1h"], reads["entities_1h"]) == (1, 0)


def test_tenants_regions_and_event_types_never_meet() -> None:
    states = EntityStates()
    states.fold(made())
    for change in ({"account": "111111111111"}, {"region": "eu-west-1"}, {"event_type": "sign_up"}):
        assert entity_of(states.read(made()._replace(**change)))["count_30d"] == 0  # type: ignore[arg-type]


def test_ip_tells_how_many_entities_used_it_and_when_this_one_did() -> None:
    states = EntityStates()
    states.fold(made(NOW, "ann"))
    states.fold(made(NOW + HOUR, "bob"))
    reads = ip_of(states.read(made(NOW + 2 * HOUR, "ann")))
    assert (reads["entities_1h"], reads["entities_1d"], reads["since_with_entity_s"]) == (0, 2, 7_200)
    reads = ip_of(states.read(made(NOW + 2 * HOUR, "cid")))
    assert reads["since_with_entity_s"] != reads["since_with_entity_s"]


def test_amounts_are_exact_sums_with_mean_and_score() -> None:
    states = EntityStates()
    for amount in (0.1, 0.2, 0.3, None, float("nan"), float("inf")):
        states.fold(made(amount=amount))
    reads = entity_of(states.read(made(amount=0.2)))
    assert (reads["count_1h"], reads["sum_1h"], reads["mean_1h"]) == (6, 0.6, 0.2)
    assert abs(reads["amount_z_30d"]) < 0.1
    reads = entity_of(states.read(made(amount=None)))
    assert reads["amount_z_30d"] != reads["amount_z_30d"]


@pytest.mark.parametrize("amount", [1e300, 1e308, sys.float_info.max])
def test_huge_amounts_are_clamped_and_never_overflow(amount: float) -> None:
    states = EntityStates(Limits(entity_events=300, identity_events=100))
    for _ in range(400):
        states.fold(made(amount=amount))
    assert entity_of(states.read(made(amount=-amount)))["sum_30d"] == 400 * 1e11


def test_reverting_the_only_event_forgets_its_keys() -> None:
    states = EntityStates()
    states.fold(made())
    states.revert(made())
    assert len(states) == 0 and states.contents() == {}


def test_key_at_the_limit_is_exact_and_one_past_it_counts_in_buckets() -> None:
    states = EntityStates(Limits(identity_events=4))
    for place in range(4):
        states.fold(made(NOW + place, f"user-{place}"))
    at_limit = ip_of(states.read(made(NOW + HOUR)))
    assert at_limit["count_1h"] == 3
    states.fold(made(NOW + 4, "user-4"))
    past = ip_of(states.read(made(NOW + HOUR - 1)))
    assert (past["count_1h"], past["entities_1h"]) == (5, 4)


def test_busy_identity_keeps_exact_counts_while_the_window_holds_fewer_than_the_limit() -> None:
    states = EntityStates()
    limit = states.limits.identity_events
    step = DAY // 4_000  # 30 days hold 120,000 events, a day 4,000
    for place in range(limit + 2_000):
        states.fold(made(NOW + place * step, f"user-{place % 50}"))
    last = NOW + (limit + 1_999) * step
    reads = ip_of(states.read(made(last, "user-0")))
    assert (reads["count_1d"], reads["entities_1d"]) == (4_000, 50)
    assert reads["count_30d"] == limit + 2_000
    assert len(states) == 51


def test_history_sent_after_newer_events_counts_in_age_only() -> None:
    states = EntityStates()
    states.fold(made(NOW))
    states.fold(made(NOW - 31 * DAY))
    states.fold(made(NOW - 31 * DAY + 1))
    reads = entity_of(states.read(made(NOW)))
    assert (reads["count_30d"], reads["age_s"]) == (1, 31 * DAY / 1000)
    assert entity_of(states.read(made(NOW - 31 * DAY + 1)))["count_1h"] == 1


def test_snapshot_comes_in_bounded_chunks_and_is_restored_whole() -> None:
    states = EntityStates()
    for place in range(30_000):
        states.fold(made(NOW + place, f"user-{place % 7}"))
    chunks = list(states.snapshot())
    assert len(chunks) > 1 and max(map(len, chunks)) <= CHUNK_BYTES
    restored = EntityStates.restore(chunks)
    assert list(restored.snapshot()) == chunks and restored.contents() == states.contents()
    assert restored.read(made(NOW + DAY)) == states.read(made(NOW + DAY))


def test_snapshot_that_is_cut_foreign_or_of_other_limits_is_refused() -> None:
    states = EntityStates()
    states.fold(made())
    whole = b"".join(states.snapshot())
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="end too early"):
            EntityStates.restore([whole[:size]])
    with pytest.raises(ValueError, match="another version"):
        EntityStates.restore([b"XXXX" + whole[4:]])
    with pytest.raises(ValueError, match="other limits"):
        EntityStates.restore([whole], Limits(identity_events=5))
    assert len(EntityStates.restore([bytes([byte]) for byte in whole])) == 2


def test_footprint_counts_each_identity_once() -> None:
    pair = ("IP_ADDRESS", "192.0.2.1")
    assert footprint(TENANT, "payment", "customer", "ann", NOW, None, [pair, pair]).identities == (pair,)
