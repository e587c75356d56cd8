"""The pipeline against a decider that stands for the server."""

import base64
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream_support import Decider, record, send, values

from hawksnest.errors import ServiceError, Transient
from hawksnest.stream.embedded import EmbeddedLog
from hawksnest.stream.mapping import Mapping
from hawksnest.stream.pipeline import StreamOptions, StreamSummary, run_stream
from hawksnest.stream.ports import Log
from hawksnest.world import ManualWorld, RealWorld


def run(log: Log, state: Path, decider: Decider, **given: Any) -> StreamSummary:
    """Decide everything that is in the topic."""
    options = StreamOptions(state / "state", until_end=True, **given)
    return run_stream(log, lambda: decider, Mapping(), options, threading.Event())


def test_every_record_gets_one_decision_keyed_by_its_entity(log: Log, tmp_path: Path) -> None:
    send(log, "transactions", *(record(number) for number in range(1000)))
    decider = Decider()
    summary = run(log, tmp_path, decider)
    assert summary == StreamSummary(read=1000, decided=1000)
    found = values(log, "processed_transactions")
    assert sorted(value["transaction_amt"] for value in found) == list(range(1000))
    for value in found:
        amount = value["transaction_amt"]
        expected = "block" if amount >= 900 else "review" if amount >= 500 else None
        assert value["fd"]["outcome"] == expected
        assert value["fd"]["detector_version"] == "1"
    reader = log.reader("processed_transactions")
    assert reader is not None
    assert all(each.key == json.loads(each.value)["entity_id"].encode() for each in reader.poll(1000, 0.0))
    reader.close()
    assert decider.closed == 8


@pytest.mark.parametrize("keyed", [True, False])
def test_an_entity_is_decided_and_written_in_the_order_of_the_input(
    log: Log, tmp_path: Path, keyed: bool
) -> None:
    send(log, "transactions", *(record(number) for number in range(500)), keyed=keyed)
    decider = Decider()
    run(log, tmp_path, decider)
    for entity in {call["entities"][0]["entityId"] for call in decider.calls}:
        called = [
            int(call["eventVariables"]["order_price"])
            for call in decider.calls
            if call["entities"][0]["entityId"] == entity
        ]
        written = [
            value["transaction_amt"]
            for value in values(log, "processed_transactions")
            if value["entity_id"] == entity
        ]
        assert called == sorted(called)
        assert written == sorted(written)


def test_a_repeated_event_id_has_one_decision_record(log: Log, tmp_path: Path) -> None:
    send(log, "transactions", *(record(number % 40) for number in range(120)))
    assert run(log, tmp_path, Decider()) == StreamSummary(read=120, decided=40, repeated=80)
    send(log, "transactions", *(record(number) for number in range(50)))
    assert run(log, tmp_path, Decider()) == StreamSummary(read=50, decided=10, repeated=40)
    assert len(values(log, "processed_transactions")) == 50


def test_a_run_from_the_beginning_repeats_no_decision_record(log: Log, tmp_path: Path) -> None:
    send(log, "transactions", *(record(number) for number in range(60)))
    run(log, tmp_path, Decider())
    assert run(log, tmp_path, Decider(), start="earliest").repeated == 60
    assert len(values(log, "processed_transactions")) == 60


def test_decision_records_are_known_when_only_the_log_is_left(log: Log, tmp_path: Path) -> None:
    send(log, "transactions", *(record(number) for number in range(60)))
    run(log, tmp_path / "one", Decider())
    summary = run(log, tmp_path / "one", Decider(), start="earliest", group="another")
    assert summary.repeated == 60


def test_bad_records_go_to_the_dead_letters_with_their_reason(log: Log, tmp_path: Path) -> None:
    bad = [b"\x00soup", b"[]", json.dumps(record(1, event_time="yesterday")).encode()]
    send(log, "transactions", *bad, record(2), record(3, ip_address=None))
    summary = run(log, tmp_path, Decider())
    assert (summary.decided, summary.dead_letters) == (1, 4)
    letters = values(log, "transactions_dead_letter")
    assert Counter(letter["code"] for letter in letters) == {
        "MalformedRecord": 2,
        "InvalidEventTime": 1,
        "MissingMember": 1,
    }
    assert {base64.b64decode(letter["value"]) for letter in letters} >= set(bad)
    assert all(letter["topic"] == "transactions" and letter["reason"] for letter in letters)
    assert run(log, tmp_path, Decider(), start="earliest").dead_letters == 4
    assert len(values(log, "transactions_dead_letter")) == 4


@pytest.mark.parametrize(("key_bytes", "value_bytes"), [(0, 1_048_576), (600_000, 448_576), (1_048_576, 0)])
def test_the_largest_records_fit_the_dead_letters(
    log: Log, tmp_path: Path, key_bytes: int, value_bytes: int
) -> None:
    producer = log.producer()
    producer.send("transactions", b"x" * value_bytes, b"k" * key_bytes)
    producer.close()
    send(log, "transactions", record(1))
    assert run(log, tmp_path, Decider()) == StreamSummary(read=2, decided=1, dead_letters=1)
    (letter,) = values(log, "transactions_dead_letter")
    assert letter["value_bytes"] == value_bytes


def test_a_decision_that_no_longer_fits_is_a_dead_letter(log: Log, tmp_path: Path) -> None:
    large = record(1, note="")
    large["note"] = "x" * (1_048_576 - len(json.dumps(large)) - len(large["entity_id"]))
    send(log, "transactions", large, record(2))
    assert run(log, tmp_path, Decider()) == StreamSummary(read=2, decided=1, dead_letters=1)
    (letter,) = values(log, "transactions_dead_letter")
    assert letter["code"] == "RecordTooLarge"


def test_a_refusal_of_the_server_is_a_dead_letter_with_its_code(log: Log, tmp_path: Path) -> None:
    def refuse(request: dict[str, Any], _attempt: int) -> None:
        if request["eventId"] == "event-3":
            raise ServiceError("ConflictException", "The event was stored with another time.")

    send(log, "transactions", *(record(number) for number in range(5)))
    assert run(log, tmp_path, Decider(refuse)).dead_letters == 1
    (letter,) = values(log, "transactions_dead_letter")
    assert (letter["code"], letter["reason"]) == (
        "ConflictException",
        "The event was stored with another time.",
    )


@pytest.mark.parametrize(
    "fault",
    [
        Transient("gone"),
        ServiceError("ThrottlingException", "slow"),
        ServiceError("InternalServerException", "x", 500),
    ],
)
def test_passing_faults_are_retried_until_they_pass(log: Log, tmp_path: Path, fault: Exception) -> None:
    def twice(request: dict[str, Any], attempt: int) -> None:
        if request["eventId"] == "event-1" and attempt <= 2:
            raise fault

    send(log, "transactions", *(record(number, "same") for number in range(3)))
    decider = Decider(twice)
    assert run(log, tmp_path, decider) == StreamSummary(read=3, decided=3, retries=2)
    assert [call["eventId"][-1] for call in decider.calls] == ["0", "1", "1", "1", "2"]


def test_too_many_dead_letters_stop_the_stream_with_one_sentence(log: Log, tmp_path: Path) -> None:
    def refuse(_request: dict[str, Any], _attempt: int) -> None:
        raise ServiceError("ValidationException", "bad")

    send(log, "transactions", *(record(number) for number in range(400)))
    summary = run(log, tmp_path, Decider(refuse), dead_letter_minimum=20)
    assert "records went to transactions_dead_letter" in summary.stopped_because
    assert 20 <= summary.dead_letters < 60
    assert log.lag("transactions", "hawksnest-stream") >= 400 - summary.dead_letters


def test_a_share_below_the_limit_does_not_stop_it(log: Log, tmp_path: Path) -> None:
    mixed = [record(number) if number % 12 else b"soup" for number in range(600)]
    send(log, "transactions", *mixed)
    summary = run(log, tmp_path, Decider(), dead_letter_minimum=20)
    assert (summary.stopped_because, summary.dead_letters, summary.decided) == ("", 50, 550)


@pytest.mark.parametrize(
    "fault",
    [
        ServiceError("ResourceNotFoundException", "Detector d does not exist."),
        ServiceError("UnrecognizedClientException", "The security token is invalid.", 403),
    ],
)
def test_a_detector_that_cannot_be_used_stops_the_stream_and_loses_nothing(
    log: Log, tmp_path: Path, fault: ServiceError
) -> None:
    def refuse(_request: dict[str, Any], _attempt: int) -> None:
        raise fault

    send(log, "transactions", *(record(number) for number in range(20)))
    summary = run(log, tmp_path, Decider(refuse))
    assert fault.message in summary.stopped_because
    assert summary.dead_letters == 0
    assert run(log, tmp_path, Decider()).decided == 20


def test_a_new_detector_version_shows_without_a_restart(log: Log, tmp_path: Path) -> None:
    decider = Decider()

    def switch(request: dict[str, Any], _attempt: int) -> None:
        if request["eventId"] == "event-10":
            decider.version = "2"

    decider._fault = switch
    send(log, "transactions", *(record(number, "same") for number in range(20)))
    run(log, tmp_path, decider)
    found = values(log, "processed_transactions")
    assert [value["fd"]["detector_version"] for value in found] == ["1"] * 10 + ["2"] * 10


def test_event_times_ahead_of_the_clock_count_as_skew(log: Log, tmp_path: Path) -> None:
    send(log, "transactions", record(1, event_time="2099-01-01T00:00:00"))
    assert run(log, tmp_path, Decider()).skewed == 1
    (value,) = values(log, "processed_transactions")
    assert value["fd"]["proc_time"] == value["fd"]["ttdf"] == 0


def test_latencies_are_measured_with_the_given_clock(log: Log, tmp_path: Path) -> None:
    world = ManualWorld(1_767_323_045_678 + 1_000)  # one second after the event time of `record`

    def slow(_request: dict[str, Any], _attempt: int) -> None:
        world.advance(0.25)

    send(log, "transactions", record(1))
    log = EmbeddedLog(tmp_path / "stream")
    stop = threading.Event()

    def ended(summary: StreamSummary) -> None:
        if summary.decided:
            stop.set()

    class Moving(ManualWorld):
        """The decider moves the clock; waiting follows the real one."""

        def now_ms(self) -> int:
            return world.now_ms()

        def monotonic_s(self) -> float:
            return RealWorld().monotonic_s()

    options = StreamOptions(tmp_path / "state", until_end=True)
    run_stream(log, lambda: Decider(slow), Mapping(), options, stop, ended, Moving())
    log.close()
    (value,) = values(log, "processed_transactions")
    fd = value["fd"]
    assert (fd["proc_time"], fd["ttdf"], fd["frauddetector_time"]) == (1_000, 1_250, 250)


@pytest.mark.parametrize("hanging", [False, True])
def test_stop_ends_the_stream_within_two_seconds_and_a_restart_goes_on(
    log: Log, tmp_path: Path, hanging: bool
) -> None:
    released = threading.Event()

    def slow(request: dict[str, Any], _attempt: int) -> None:
        released.wait(30 if hanging and request["eventId"].endswith("7") else 0.01)

    send(log, "transactions", *(record(number) for number in range(400)))
    stop = threading.Event()
    decider = Decider(slow)
    world = RealWorld()
    ended_s: list[float] = []
    summaries: list[StreamSummary] = []

    def follow() -> None:
        options = StreamOptions(tmp_path / "state")
        summaries.append(run_stream(log, lambda: decider, Mapping(), options, stop))
        ended_s.append(world.monotonic_s())

    thread = threading.Thread(target=follow)
    thread.start()
    deadline_s = world.monotonic_s() + 10
    while len(decider.calls) < 20 and world.monotonic_s() < deadline_s:
        stop.wait(0.01)
    stop.set()
    stopped_s = world.monotonic_s()
    thread.join(10)
    assert ended_s[0] - stopped_s < 2.0
    released.set()
    assert 0 < summaries[0].decided < 400
    again = run(log, tmp_path, Decider())
    assert summaries[0].decided + again.decided == 400
    assert len({value["event_id"] for value in values(log, "processed_transactions")}) == 400
    assert len(values(log, "processed_transactions")) == 400


def test_a_fault_of_our_own_is_raised_and_nothing_is_committed_past_it(log: Log, tmp_path: Path) -> None:
    def broken(request: dict[str, Any], _attempt: int) -> None:
        if request["eventId"] == "event-5":
            raise AssertionError("ours")

    send(log, "transactions", *(record(number, "same") for number in range(10)))
    with pytest.raises(AssertionError, match="ours"):
        run(log, tmp_path, Decider(broken))
    assert run(log, tmp_path, Decider()).decided == 5
    assert len(values(log, "processed_transactions")) == 10


soup = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={name: st.none() | st.text(max_size=12) | st.integers() | st.just({}) for name in record(1)},
    ).map(lambda changed: json.dumps(record(1) | changed).encode()),
    st.binary(max_size=3).map(lambda noise: json.dumps(record(1)).encode() + noise),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(soup, min_size=1, max_size=20))
def test_no_bytes_stop_the_stream(tmp_path_factory: pytest.TempPathFactory, noise: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("soup")
    log = EmbeddedLog(folder / "stream")
    send(log, "transactions", *noise, record(777_777))
    summary = run(log, folder, Decider(_like_the_server), lanes=2)
    assert summary.read == len(noise) + 1
    assert summary.decided + summary.repeated + summary.dead_letters == len(noise) + 1
    assert "event-777777" in {value["event_id"] for value in values(log, "processed_transactions")}
    log.close()


def _like_the_server(request: dict[str, Any], _attempt: int) -> None:
    try:
        float(request["eventVariables"]["order_price"])
    except ValueError:
        raise ServiceError("ValidationException", "order_price is no FLOAT") from None
