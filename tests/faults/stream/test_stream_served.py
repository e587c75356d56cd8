"""The pipeline and a real server: same operation as a customer calls, and what kill -9 of either does."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from hawksnest.client import Client, read_credentials
from hawksnest.stream.embedded import EmbeddedLog
from hawksnest.stream.mapping import Mapping
from hawksnest.stream.pipeline import StreamOptions, StreamSummary, run_stream
from hawksnest.world import RealWorld

WORLD = RealWorld()
MAPPING = Mapping()
OPTIONAL = [variable for variable, _ in MAPPING.variables[4:]]


class Served:
    """`hawksnest serve` as its own process."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "hawksnest",
            "serve",
            "--port",
            str(self._port),
            "--data",
            str(self._data),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = WORLD.monotonic_s() + 30
        while WORLD.monotonic_s() < deadline_s:
            assert self._process.poll() is None
            try:
                with urlopen(f"{self.endpoint}/health", timeout=5):
                    return
            except OSError:
                threading.Event().wait(0.05)
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def client(self) -> Client:
        return Client(self.endpoint, read_credentials(self._data / "credentials", "us-east-1"), pool=1)

    @property
    def credentials(self) -> Path:
        return self._data / "credentials"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    server.start()
    try:
        with server.client() as client:
            deploy(client)
        yield server
    finally:
        server.kill()


def deploy(client: Client) -> None:
    """The reference's detector with one rule for large amounts."""

    def variable(name: str, kind: str, data_type: str = "STRING", default: str = "none") -> None:
        client.call(
            "CreateVariable",
            {
                "name": name,
                "dataType": data_type,
                "dataSource": "EVENT",
                "defaultValue": default,
                "variableType": kind,
            },
        )

    variable("order_price", "PRICE", "FLOAT", "0.0")
    variable("customer_email", "EMAIL_ADDRESS")
    variable("ip_address", "IP_ADDRESS")
    variable("payment_currency", "CURRENCY_CODE")
    for name in OPTIONAL:
        variable(name, "CATEGORICAL")
    client.call("PutEntityType", {"name": MAPPING.entity_type})
    for name in ("legit", "fraud"):
        client.call("PutLabel", {"name": name})
    for name in ("approve", "block"):
        client.call("PutOutcome", {"name": name})
    client.call(
        "PutEventType",
        {
            "name": MAPPING.event_type,
            "eventVariables": [variable for variable, _ in MAPPING.variables],
            "entityTypes": [MAPPING.entity_type],
            "labels": ["legit", "fraud"],
            "eventIngestion": "ENABLED",
        },
    )
    client.call("PutDetector", {"detectorId": MAPPING.detector, "eventTypeName": MAPPING.event_type})
    publish(client, "high", "$order_price > 100")


def publish(client: Client, rule_id: str, expression: str) -> None:
    """Make a detector version with this one rule and activate it."""
    rule = client.call(
        "CreateRule",
        {
            "ruleId": rule_id,
            "detectorId": MAPPING.detector,
            "expression": expression,
            "language": "DETECTORPL",
            "outcomes": ["block"],
        },
    ).response["rule"]
    version = client.call(
        "CreateDetectorVersion",
        {"detectorId": MAPPING.detector, "rules": [rule], "ruleExecutionMode": "FIRST_MATCHED"},
    ).response["detectorVersionId"]
    client.call(
        "UpdateDetectorVersionStatus",
        {"detectorId": MAPPING.detector, "detectorVersionId": version, "status": "ACTIVE"},
    )


def payment(number: int, **given: Any) -> dict[str, Any]:
    return {
        "transaction_amt": number,
        "ip_address": "192.0.2.1",
        "email_address": "a@example.com",
        "transaction_currency": "usd",
        "event_id": f"event-{number}",
        "entity_id": f"payer-{number % 13}",
        "event_time": "2026-01-02T03:04:05.678901",
    } | given


def send(log: EmbeddedLog, *payments: dict[str, Any]) -> None:
    producer = log.producer()
    for each in payments:
        producer.send("transactions", json.dumps(each).encode(), each["entity_id"].encode())
    producer.close()


def topic(log: EmbeddedLog, name: str) -> list[dict[str, Any]]:
    reader = log.reader(name)
    assert reader is not None
    found: list[dict[str, Any]] = []
    while records := reader.poll(5_000, 0.0):
        found += [json.loads(each.value) for each in records]
    reader.close()
    return found


def predictions(served: Served) -> Counter[str]:
    """How often the server decided each event id."""
    found: Counter[str] = Counter()
    request: dict[str, Any] = {"maxResults": 100}
    with served.client() as client:
        while True:
            page = client.call("ListEventPredictions", request).response
            found.update(each["eventId"] for each in page["eventPredictionSummaries"])
            if "nextToken" not in page:
                return found
            request["nextToken"] = page["nextToken"]


def test_the_stream_decides_as_a_customer_does(served: Served, tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "stream")
    options = StreamOptions(tmp_path / "state", until_end=True)

    def run() -> StreamSummary:
        return run_stream(log, served.client, MAPPING, options, threading.Event())

    send(
        log,
        *(payment(number) for number in range(200)),
        payment(3),  # the same event again
        payment(4, event_time="2026-01-02T03:04:09"),  # the same id at another time
        payment(500, transaction_amt="much"),
    )
    summary = run()
    assert (summary.decided, summary.repeated, summary.dead_letters) == (200, 1, 2)
    decided = topic(log, "processed_transactions")
    assert Counter(each["event_id"] for each in decided) == Counter(f"event-{n}" for n in range(200))
    for each in decided:
        blocked = each["transaction_amt"] > 100
        assert each["fd"]["outcome"] == ("block" if blocked else None)
        assert each["fd"]["rules"] == ([{"rule_id": "high", "outcomes": ["block"]}] if blocked else [])
        assert each["fd"]["detector_version"] == "1"
    letters = {each["code"] for each in topic(log, "transactions_dead_letter")}
    assert letters == {"ConflictException", "ValidationException"}
    assert set(predictions(served).values()) == {1}
    with served.client() as client:
        publish(client, "any", "$order_price > 0")
    send(log, payment(600))
    assert run().decided == 1
    last = topic(log, "processed_transactions")[-1]["fd"]
    assert (last["detector_version"], last["rules"][0]["rule_id"]) == ("2", "any")
    log.close()


def test_a_killed_server_delays_decisions_and_loses_and_doubles_none(served: Served, tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "stream")
    options = StreamOptions(tmp_path / "state", until_end=True)
    send(log, *(payment(number) for number in range(1_500)))
    summaries: list[StreamSummary] = []

    def follow() -> None:
        summaries.append(run_stream(log, served.client, MAPPING, options, threading.Event()))

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(2):
        threading.Event().wait(0.5)
        served.kill()
        served.start()
    thread.join(60)
    assert not thread.is_alive()
    decided = Counter(each["event_id"] for each in topic(log, "processed_transactions"))
    assert decided == Counter(f"event-{number}" for number in range(1_500))
    assert summaries[0].dead_letters == 0
    assert predictions(served) == decided
    log.close()


def test_the_command_survives_kills_and_ends_within_two_seconds(served: Served, tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "stream")
    send(log, *(payment(number) for number in range(800)))
    command = [sys.executable, "-m", "hawksnest", "stream", "--endpoint", served.endpoint, "--json"]
    command += ["--credentials", str(served.credentials), "--log", f"file://{tmp_path / 'stream'}"]
    command += ["--state", str(tmp_path / "state")]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        before = log.lag("transactions", "hawksnest-stream")
        deadline_s = WORLD.monotonic_s() + 30
        while log.lag("transactions", "hawksnest-stream") == before > 0 and WORLD.monotonic_s() < deadline_s:
            threading.Event().wait(0.002)
        process.kill()
        process.wait(20)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    deadline_s = WORLD.monotonic_s() + 30
    while log.lag("transactions", "hawksnest-stream") > 0 and WORLD.monotonic_s() < deadline_s:
        threading.Event().wait(0.01)
    process.terminate()
    began_s = WORLD.monotonic_s()
    out, _ = process.communicate(timeout=20)
    assert WORLD.monotonic_s() - began_s < 2.5
    assert process.returncode == 0
    assert json.loads(out)["dead_letters"] == 0
    decided = Counter(each["event_id"] for each in topic(log, "processed_transactions"))
    assert decided == Counter(f"event-{number}" for number in range(800))
    assert predictions(served) == decided
    log.close()
