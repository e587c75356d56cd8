"""The simulator's stream: layout, ranges, reproducibility, rhythm, truth."""

import re
from collections import Counter
from datetime import datetime
from ipaddress import ip_address, ip_network
from itertools import islice, pairwise
from statistics import median
from uuid import UUID

import orjson
from simulated_run import DAYS, EVENTS, NOW_MS, Run

from hawksnest.simulate import Labelled, Simulation
from hawksnest.simulate.attack import KINDS, LIFETIME_US
from hawksnest.simulate.people import cities
from hawksnest.simulate.shop import BY_NAME, FIELDS, event_time
from hawksnest.simulate.simulation import LABEL_DELAY_MS

ALLOWED = [
    ip_network(net)
    for net in (
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"),
        *("10.0.0.0/8", "172.16.0.0/12", "2001:db8::/32"),
    )
]
HOUR_MS = 3_600_000


def everything(run: Run) -> list[Labelled]:
    return run.history + run.live


def test_record_has_the_19_members_of_the_input_topic_in_order(run: Run) -> None:
    assert len(FIELDS) == 19
    assert all(tuple(payment.record) == FIELDS for payment in everything(run))


def test_amount_is_the_only_number_and_all_texts_fit_the_flink_columns(run: Run) -> None:
    for payment in everything(run):
        amount = payment.record["transaction_amt"]
        assert type(amount) is int and 5 <= amount <= 2000
        for name in FIELDS[1:]:
            text = payment.record[name]
            assert isinstance(text, str) and text
            assert len(text) <= 64 or name == "user_agent"


def test_values_come_from_the_reference_s_sets(run: Run) -> None:
    known = {(city.name, city.state, city.zip, city.latitude, city.longitude) for city in cities()}
    for payment in everything(run):
        record = payment.record
        assert record["transaction_currency"] in {"usd", "gbp", "egp", "cad", "eur"}
        assert record["product_category"] in BY_NAME
        UUID(str(record["event_id"]), version=4)
        place = [f"billing_{part}" for part in ("city", "state", "zip", "latitude", "longitude")]
        assert tuple(record[name] for name in place) in known
    assert len(BY_NAME) == 14


def test_table_of_cities_covers_every_state() -> None:
    assert len({city.state for city in cities()}) == 51
    for city in cities():
        assert re.fullmatch(r"\d{5}", city.zip)
        assert 18 < float(city.latitude) < 72 and -180 < float(city.longitude) < -66


def test_nothing_belongs_to_anybody(run: Run) -> None:
    for payment in everything(run):
        record = payment.record
        address = ip_address(str(record["ip_address"]))
        assert any(address in net for net in ALLOWED if net.version == address.version)
        domain = str(record["email_address"]).rpartition("@")[2]
        assert domain in {"example.com", "example.org", "example.net"} or domain.endswith(".example")
        assert re.fullmatch(r"(1-)?\d{3}-555-01\d\d(-\d{4})?", str(record["phone"]))
        assert re.fullmatch(r"0\d{5}", str(record["card_bin"]))
        assert re.fullmatch(r"9\d\d-(0[1-9]|[1-4]\d)-\d{4}", str(record["entity_id"]))


def test_event_ids_are_unique(run: Run) -> None:
    ids = [payment.record["event_id"] for payment in everything(run)]
    assert len(set(ids)) == len(ids)


def test_event_time_prints_no_fraction_when_it_is_zero() -> None:
    assert event_time(1_700_000_000_000_000) == "2023-11-14T22:13:20"
    assert event_time(1_700_000_000_000_500) == "2023-11-14T22:13:20.000500"


def test_event_time_is_the_instant_that_the_truth_names(run: Run) -> None:
    for payment in islice(everything(run), 0, None, 37):
        text = str(payment.record["event_time"])
        instant = datetime.fromisoformat(text + "+00:00").timestamp() * 1000
        assert round(instant * 1000) // 1000 == payment.event_at_ms


def test_same_seed_gives_the_same_payments_and_another_seed_others() -> None:
    def first(seed: int) -> list[Labelled]:
        simulation = Simulation(seed, NOW_MS)
        return list(simulation.history(3, 2_000)) + list(islice(simulation.live(50), 500))

    assert first(3) == first(3)
    ids = {payment.record["entity_id"] for payment in first(3)}
    others = [payment.record["entity_id"] for payment in first(4)]
    assert sum(entity in ids for entity in others) < len(others) / 100


def test_history_has_the_count_in_order_inside_its_days(run: Run) -> None:
    times = [payment.event_at_ms for payment in run.history]
    assert len(times) == EVENTS
    assert all(early <= late for early, late in pairwise(times))
    assert times[0] >= NOW_MS - DAYS * 24 * HOUR_MS
    assert NOW_MS - 3 * HOUR_MS < times[-1] < NOW_MS


def test_history_is_busier_by_day_than_by_night(run: Run) -> None:
    hours = Counter(payment.event_at_ms // HOUR_MS % 24 for payment in run.history)
    assert hours[20] > 4 * hours[9]  # afternoon and the small hours in America


def test_live_stream_keeps_its_rate_and_order(run: Run) -> None:
    times = [payment.event_at_ms for payment in run.live]
    assert all(early <= late for early, late in pairwise(times))
    assert times[0] >= NOW_MS
    assert 45 < 1000 * len(times) / (times[-1] - NOW_MS) < 55


def test_live_stream_at_a_low_rate_keeps_it_too() -> None:
    payments = list(islice(Simulation(5, NOW_MS).live(0.5), 1_000))
    assert 0.45 < 1000 * 1_000 / (payments[-1].event_at_ms - NOW_MS) < 0.55


def test_live_stream_may_start_later_than_the_history_ended() -> None:
    simulation = Simulation(5, NOW_MS)
    list(simulation.history(2, 2_000))
    start_ms = NOW_MS + 90_000
    assert next(simulation.live(50, start_ms)).event_at_ms >= start_ms


def test_record_never_carries_the_truth(run: Run) -> None:
    words = re.compile(r"campaign|fraud|legit|[a-z]+_(testing|card|takeover|evasion)\b|ring-\d|usual")
    for payment in everything(run):
        assert not words.search(orjson.dumps(list(payment.record.values())).decode())
    truth = next(payment for payment in run.history if payment.fraud).truth()
    assert list(truth) == ["event_id", "fraud", "campaign", "kind"]


def test_every_kind_of_attack_occurs_as_a_small_share(run: Run) -> None:
    frauds = [payment for payment in run.history if payment.fraud]
    assert {payment.kind for payment in frauds} == set(KINDS)
    assert 0.012 < len(frauds) / len(run.history) < 0.026
    money = sum(int(payment.record["transaction_amt"]) for payment in run.history)
    assert sum(int(payment.record["transaction_amt"]) for payment in frauds) / money > 1.5 * 0.018


def test_legit_payments_hold_the_cases_that_crude_rules_block(run: Run) -> None:
    kinds = {payment.kind for payment in run.history if not payment.fraud}
    assert kinds >= {
        "travel",
        "big_ticket",
        "gift",
        "new_device",
        "new_card",
        "new_mailbox",
        "moved",
        "family",
    }


def test_no_value_of_an_attack_is_alien_to_honest_payers(run: Run) -> None:
    """Domains, categories, currencies, states: none of them says fraud by itself."""

    def shares(member: str) -> None:
        counts: dict[str, list[int]] = {}
        for payment in run.history:
            value = str(payment.record[member]).rpartition("@")[2]
            counts.setdefault(value, [0, 0])[payment.fraud] += 1
        for honest, fraud in counts.values():
            assert honest > fraud

    for member in ("email_address", "product_category", "transaction_currency", "billing_state"):
        shares(member)


def test_no_campaign_is_both_labelled_in_the_history_and_active_after_it(run: Run) -> None:
    assert LIFETIME_US // 1000 < LABEL_DELAY_MS
    known = {p.campaign for p in run.history if p.fraud and p.labelled_at_ms <= NOW_MS}
    assert known and not known & {p.campaign for p in run.live if p.fraud}


def test_some_campaigns_run_from_the_history_into_the_live_stream() -> None:
    running = 0
    for seed in range(3):
        simulation = Simulation(seed, NOW_MS)
        begun = {payment.campaign for payment in simulation.history(8, 8_000) if payment.fraud}
        running += len(begun & {p.campaign for p in islice(simulation.live(50), 3_000) if p.fraud})
    assert running


def returns(run: Run) -> tuple[list[int], list[int]]:
    """Gaps over an hour between an honest payer's payments: newest quarter of the history, live stream."""
    last: dict[object, int] = {}
    gaps: tuple[list[int], list[int]] = ([], [])
    for place, payment in enumerate(everything(run)):
        if payment.fraud:
            continue
        entity = payment.record["entity_id"]
        gap = payment.event_at_ms - last.get(entity, payment.event_at_ms)
        if gap > HOUR_MS and place >= 3 * EVENTS // 4:
            gaps[place >= EVENTS].append(gap)
        last[entity] = payment.event_at_ms
    return gaps


def test_live_payers_keep_the_rhythm_of_the_history(run: Run) -> None:
    history, live = returns(run)
    assert len(live) > len(run.live) / 4
    assert 0.6 < median(live) / median(history) < 1.7
    for share in (0.05, 0.25, 0.75):
        early, late = (sorted(gaps)[int(share * len(gaps))] for gaps in (history, live))
        assert 0.5 < late / early < 2.0


def test_live_payers_do_not_repeat_sooner_than_in_the_history(run: Run) -> None:
    def repeats(payments: list[Labelled]) -> float:
        last: dict[object, int] = {}
        found = honest = 0
        for payment in payments:
            if payment.fraud:
                continue
            entity = payment.record["entity_id"]
            found += payment.event_at_ms - last.get(entity, -HOUR_MS) < HOUR_MS
            honest += 1
            last[entity] = payment.event_at_ms
        return found / honest

    assert repeats(run.live) <= repeats(run.history) + 0.02


def test_shared_addresses_are_not_squeezed_by_the_rate(run: Run) -> None:
    """Members of one household within a few minutes are as rare live as in the history."""

    def crowded(payments: list[Labelled]) -> float:
        seen: dict[object, tuple[int, object]] = {}
        found = honest = 0
        for payment in payments:
            if payment.fraud:
                continue
            ip, entity = payment.record["ip_address"], payment.record["entity_id"]
            at_ms, other = seen.get(ip, (0, entity))
            found += other != entity and payment.event_at_ms - at_ms < 5 * 60_000
            honest += 1
            seen[ip] = payment.event_at_ms, entity
        return found / honest

    assert crowded(run.live) <= crowded(run.history) + 0.004


def test_newcomers_are_about_as_frequent_live_as_at_the_end_of_the_history(run: Run) -> None:
    seen: set[object] = set()
    shares = [0, 0]
    honest = [0, 0]
    for place, payment in enumerate(everything(run)):
        if payment.fraud:
            continue
        entity = payment.record["entity_id"]
        if place >= 3 * EVENTS // 4:
            honest[place >= EVENTS] += 1
            shares[place >= EVENTS] += entity not in seen
        seen.add(entity)
    assert 0.7 < (shares[1] / honest[1]) / (shares[0] / honest[0]) < 1.5
