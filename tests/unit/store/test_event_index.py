"""The event index: its filter never forgets, rarely guesses wrong and stays small."""

import pytest

from hawksnest.store.event_index import BITS_PER_KEY, SLICE_KEYS_MIN, Filter, Slice, fingerprint
from hawksnest.store.records import EventKey

FULL_KEYS = 10_000_000


def prints(count: int, prefix: str = "e") -> list[int]:
    return [fingerprint(EventKey("0", "r", "pay", f"{prefix}{number}")) for number in range(count)]


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert (
        fingerprint(EventKey("000000000000", "us-east-1", "pay", "e1")) == 0x7068927DFAA8FC576F9055F6E5803E50
    )
    assert fingerprint(EventKey("a", "b", "c", "d")) != fingerprint(EventKey("a", "b", "cd", ""))


def test_a_filter_never_says_no_to_what_was_added_also_after_growing() -> None:
    grown = Filter([Slice(1_000)])
    added = prints(5_000)
    for each in added:
        grown.add(each)
    assert all(grown.perhaps(each) for each in added)
    assert len(grown.slices) > 1


def test_a_full_filter_guesses_wrong_less_than_twice_in_five_hundred_cases() -> None:
    full = Filter([Slice(20_000)])
    for each in prints(20_000):
        full.add(each)
    wrong = sum(full.perhaps(each) for each in prints(20_000, "new"))
    assert wrong < 80


def test_a_filter_comes_back_from_its_bytes() -> None:
    before = Filter([Slice(1_000)])
    for each in prints(900):
        before.add(each)
    after = Filter([Slice(each.capacity, each.count, each.words.tobytes()) for each in before.slices])
    assert all(after.perhaps(each) for each in prints(900))
    assert len(after) == len(before)
    assert not any(each.dirty for each in after.slices)


@pytest.mark.full
def test_ten_million_keys_take_two_bytes_each_and_a_new_one_three_microseconds() -> None:
    from hawksnest.world import RealWorld, seeded

    big = Filter()
    random = seeded(1)
    for _ in range(FULL_KEYS):
        big.add(random.getrandbits(128))
    size = sum(len(each.words) * 8 for each in big.slices)
    world = RealWorld()
    keys = [EventKey("000000000000", "us-east-1", "pay", f"new-{number}") for number in range(20_000)]
    begin = world.monotonic_s()
    wrong = sum(big.perhaps(fingerprint(each)) for each in keys)
    took_us = (world.monotonic_s() - begin) / len(keys) * 1e6
    print(  # noqa: T201  `make shows` prints figures
        f"{FULL_KEYS:,} keys: {size / FULL_KEYS:.2f} bytes each, {len(big.slices)} slices, "
        f"{took_us:.2f} µs to know a new one, {wrong / len(keys):.2%} asked in vain"
    )
    assert size / FULL_KEYS <= 2.7
    assert wrong / len(keys) < 0.03
    assert SLICE_KEYS_MIN * BITS_PER_KEY // 8 < 2 << 20
