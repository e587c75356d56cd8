"""The run behind `hawksnest simulate`: files, topics, pace, faults."""

import csv
import json
import threading
from pathlib import Path

import pyarrow.parquet
import pytest
from simulated_run import NOW_MS

from hawksnest.errors import Transient, UsageError
from hawksnest.simulate import Labelled, Simulation
from hawksnest.simulate import run as simulate_run
from hawksnest.simulate.run import ATTEMPTS, Plan, Summary, run_simulate
from hawksnest.simulate.shop import FIELDS
from hawksnest.stream.open import open_log
from hawksnest.stream.ports import Log
from hawksnest.world import ManualWorld, RealWorld


def expected(count: int) -> list[Labelled]:
    return list(Simulation(5, NOW_MS).history(1.0, count))


def read(path: Path) -> list[dict[str, str | int]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{**row, "transaction_amt": int(row["transaction_amt"])} for row in rows]
    return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_file_holds_the_records_and_the_truth_lies_beside_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"payments{ending}"
    summary = run_simulate(Plan(5, count=300), path, world=ManualWorld(NOW_MS))
    payments = expected(300)
    rows = read(path)
    assert rows == [payment.record for payment in payments]
    assert list(rows[0]) == list(FIELDS)
    truth = read(tmp_path / "payments.truth.jsonl")
    assert truth == [payment.truth() for payment in payments]
    assert (summary.payments, summary.frauds) == (300, sum(payment.fraud for payment in payments))


def test_topic_gets_records_keyed_by_entity_and_a_truth_topic(tmp_path: Path) -> None:
    log = open_log(f"file://{tmp_path}", RealWorld())
    try:
        run_simulate(Plan(5, count=200), "transactions", log, world=ManualWorld(NOW_MS))
        found = {}
        for topic in ("transactions", "transactions_truth"):
            consumer = log.consumer(topic, "test", "earliest")
            records = []
            while len(records) < 200 and (more := consumer.poll(500, 5.0)):
                records.extend(more)
            consumer.close()
            found[topic] = records
    finally:
        log.close()
    by_id = {payment.record["event_id"]: payment for payment in expected(200)}
    for record in found["transactions"]:
        value = json.loads(record.value)
        assert value == by_id[value["event_id"]].record
        assert record.key == value["entity_id"].encode()
    truths = [json.loads(record.value) for record in found["transactions_truth"]]
    assert {truth["event_id"]: truth for truth in truths} == {
        event_id: payment.truth() for event_id, payment in by_id.items()
    }


def test_paced_run_sends_what_is_due_in_its_seconds(tmp_path: Path) -> None:
    path = tmp_path / "payments.jsonl"
    world = RealWorld()
    began_s = world.monotonic_s()
    summary = run_simulate(Plan(5, rate=400, seconds=0.5), path, world=world)
    assert 0.4 < world.monotonic_s() - began_s < 3
    assert 100 < summary.payments < 300
    assert len(read(path)) == summary.payments


def test_stop_ends_a_paced_run_at_once(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    summary = run_simulate(Plan(5, rate=0.01), tmp_path / "payments.jsonl", stop=stop)
    assert summary.payments == 0


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(1), "--count N, or --rate"),
        (Plan(1, count=5, seconds=3), "--seconds needs a --rate"),
        (Plan(1, count=0), "--count is 0"),
        (Plan(1, rate=-2), "--rate is -2"),
    ],
)
def test_plan_that_cannot_be_is_refused_with_what_would_be_right(
    tmp_path: Path, plan: Plan, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run_simulate(plan, tmp_path / "x.csv")


def test_unknown_ending_and_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.jsonl, \.csv or \.parquet"):
        run_simulate(Plan(1, count=1), tmp_path / "x.txt")
    with pytest.raises(UsageError, match="Cannot write"):
        run_simulate(Plan(1, count=1), tmp_path / "missing" / "x.csv")


class FaultyLog:
    """A log whose disk refuses the first `failures` flushes."""

    def __init__(self, inner: Log, failures: int) -> None:
        self._inner = inner
        self.failures = failures

    def create_topic(self, topic: str, partitions: int = 4) -> None:
        self._inner.create_topic(topic, partitions)

    def producer(self) -> "FaultyLog":
        self._producer = self._inner.producer()
        return self

    def send(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        self._producer.send(topic, value, key)

    def flush(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Transient("No space left on device")
        self._producer.flush()

    def close(self) -> None:
        self._producer.close()


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_run, "FIRST_WAIT_S", 0.0)


def faulty(tmp_path: Path, failures: int) -> Summary:
    log = open_log(f"file://{tmp_path}", RealWorld())
    try:
        return run_simulate(Plan(5, count=50), "t", FaultyLog(log, failures), world=ManualWorld(NOW_MS))  # type: ignore[arg-type]
    finally:
        log.close()


@pytest.mark.usefixtures("no_wait")
def test_passing_delivery_error_is_tried_again_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = faulty(tmp_path, 3)
    assert summary.payments == 50
    assert summary.delivery_errors == 3
    assert caplog.text.count("No space left on device") == 3


@pytest.mark.usefixtures("no_wait")
def test_lasting_delivery_error_ends_the_run_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="No space left on device"):
        faulty(tmp_path, ATTEMPTS)
