"""What a signed, durable GetEventPrediction costs beside an empty handler of the same server.

python -m benchmarks.decision [--history 15000] [--requests 20000] [--rounds 3] [--stages]

The real command (`hawksnest serve`) runs on one core, the generator in a process of its own on the other.
Two detectors, made and trained through the public API on simulated payments: the demo's own, and one with 20
rules, a transaction model, one entity and two identities keyed, 16 variables. Medians of the rounds.
"""

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks.http_servers import cpu_s
from benchmarks.stages import stage_costs
from hawksnest.client import Client, read_credentials
from hawksnest.demo import resources
from hawksnest.errors import Transient, UsageError
from hawksnest.simulate import Labelled, Simulation
from hawksnest.stream.mapping import REFERENCE_VARIABLES
from hawksnest.world import iso_s

DAYS = 30
DAY_MS = 86_400_000
SENDERS = 8
OPEN_SHARE = 0.7  # of the saturation rate
LIVE_RATE = 500.0  # simulated payments a second
RETURNING = 4_000  # payments of the history whose payers pay again, one after the other

# The demo's variables with two identities instead of five.
KEYED = {"EMAIL_ADDRESS", "IP_ADDRESS"}
UNKEYED = {
    "BILLING_ADDRESS_L1": "BILLING_ADDRESS_L2",
    "CARD_BIN": "CATEGORICAL",
    "PHONE_NUMBER": "CATEGORICAL",
}


class Bench(NamedTuple):
    """A detector and what its events look like."""

    detector: str
    event_type: str
    prefix: str  # of variable names
    rules: int


DEMO = Bench(resources.DETECTOR, resources.EVENT_TYPE, "", 3)
TWENTY = Bench("twenty_rules", "payment", "p_", 20)
BENCHES = (TWENTY, DEMO)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def served(command: list[str], core: int, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A child on one core."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=out, preexec_fn=lambda: os.sched_setaffinity(0, {core})
        )
        try:
            yield child
        finally:
            child.terminate()
            child.wait(20)


def hawksnest(data: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "hawksnest", "serve", "--port", str(port), "--data", str(data)]


def connected(data: Path, port: int) -> Client:
    """A client, once the server answers."""
    until_s = time.perf_counter() + 30
    while True:
        try:
            client = Client(f"http://127.0.0.1:{port}", read_credentials(data / "credentials"), pool=SENDERS)
            client.call("GetDetectors", {})
            return client
        except (UsageError, Transient):
            assert time.perf_counter() < until_s, "the server did not start"
            time.sleep(0.002)


def request_of(bench: Bench, payment: Labelled) -> dict[str, Any]:
    """GetEventPrediction for a simulated payment."""
    given = {bench.prefix + name: str(payment.record[member]) for name, member in REFERENCE_VARIABLES}
    return {
        "detectorId": bench.detector,
        "eventId": str(payment.record["event_id"]),
        "eventTypeName": bench.event_type,
        "eventTimestamp": iso_s(payment.event_at_ms),
        "entities": [{"entityType": resources.ENTITY_TYPE, "entityId": str(payment.record["entity_id"])}],
        "eventVariables": given,
    }


def create_twenty(call: resources.Caller) -> None:
    """Variables, event type and empty detector of the second bench; the demo's labels are there already."""
    for name, data_type, default, kind in resources.VARIABLES:
        call(
            "CreateVariable",
            {
                "name": TWENTY.prefix + name,
                "dataType": data_type,
                "dataSource": "EVENT",
                "defaultValue": default,
                "variableType": UNKEYED.get(kind, kind),
            },
        )
    call(
        "PutEventType",
        {
            "name": TWENTY.event_type,
            "eventVariables": [TWENTY.prefix + name for name, *_ in resources.VARIABLES],
            "entityTypes": [resources.ENTITY_TYPE],
            "labels": list(resources.LABELS.values()),
            "eventIngestion": "ENABLED",
        },
    )
    call("PutDetector", {"detectorId": TWENTY.detector, "eventTypeName": TWENTY.event_type})


def publish_twenty(call: resources.Caller, model: dict[str, Any]) -> None:
    """20 rules of every kind, of which the last matches nearly always, and a version with the model."""
    call(
        "CreateList",
        {"name": "bad_ips", "variableType": "IP_ADDRESS", "elements": ["192.0.2.1", "192.0.2.2"]},
    )
    score = f"${model['modelId']}_insightscore"
    expressions = [
        f"{score} > 990 and $p_order_price > 500",
        "$p_ip_address in @bad_ips",
        'regex_match(".*@mailinator.*", $p_customer_email)',
        'uppercase($p_billing_state) == "XX"',
        "$p_billing_latitude > 89.5 or $p_billing_latitude < -89.5",
        "$p_billing_longitude > 179.5",
        '$p_payment_currency in ["XXX", "XTS"]',
        '$p_product_category == "gift_cards" and $p_order_price > 5000',
        "$p_customer_email == null",
        '$p_card_bin == "000000"',
        *(f"$p_order_price > {limit} and {score} > {limit / 20}" for limit in range(19_000, 10_000, -1_000)),
        "$p_order_price >= 0",
    ]
    assert len(expressions) == TWENTY.rules
    keys = []
    for number, expression in enumerate(expressions):
        rule = {
            "ruleId": f"rule_{number:02}",
            "detectorId": TWENTY.detector,
            "expression": expression,
            "language": "DETECTORPL",
            "outcomes": ["approve" if number == TWENTY.rules - 1 else "review"],
        }
        keys.append(call("CreateRule", rule)["rule"])
    version = {"detectorId": TWENTY.detector, "rules": keys, "modelVersions": [model]}
    made = call("CreateDetectorVersion", version)["detectorVersionId"]
    status = {"detectorId": TWENTY.detector, "detectorVersionId": made, "status": "ACTIVE"}
    call("UpdateDetectorVersionStatus", status)


def train(call: resources.Caller, bench: Bench, model_id: str, now_ms: int) -> dict[str, Any]:
    """A transaction model of the bench's stored events, deployed."""
    model = {"modelId": model_id, "modelType": "TRANSACTION_FRAUD_INSIGHTS"}
    call("CreateModel", {**model, "eventTypeName": bench.event_type})
    labels = {"FRAUD": [resources.LABELS[True]], "LEGIT": [resources.LABELS[False]]}
    window = {"startTime": iso_s(now_ms - (DAYS + 1) * DAY_MS), "endTime": iso_s(now_ms)}
    started = call(
        "CreateModelVersion",
        {
            **model,
            "trainingDataSource": "INGESTED_EVENTS",
            "trainingDataSchema": {
                "modelVariables": [bench.prefix + name for name, *_ in resources.VARIABLES],
                "labelSchema": {"labelMapper": labels, "unlabeledEventsTreatment": "IGNORE"},
            },
            "ingestedEventsDetail": {"ingestedEventsTimeWindow": window},
        },
    )
    model["modelVersionNumber"] = started["modelVersionNumber"]
    while (status := call("GetModelVersion", model)["status"]) == "TRAINING_IN_PROGRESS":
        time.sleep(0.1)
    if status != "TRAINING_COMPLETE":
        raise SystemExit(f"The training ended as {status}: {call('DescribeModelVersions', model)}")
    return model


def set_up(client: Client, simulation: Simulation, history: int, now_ms: int) -> list[Labelled]:
    """Both detectors, active, each trained on the same payments of the last month, which are returned."""

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return client.call(operation, request).response

    def send(payment: Labelled) -> None:
        for bench in BENCHES:
            event = request_of(bench, payment)
            del event["detectorId"]
            event["assignedLabel"] = resources.LABELS[payment.fraud]
            event["labelTimestamp"] = iso_s(payment.labelled_at_ms)
            call("SendEvent", event)

    resources.create_event_type(call)
    create_twenty(call)
    payments = list(simulation.history(DAYS, history))
    with ThreadPoolExecutor(SENDERS) as pool:
        for _ in pool.map(send, payments):
            pass
    twenty = train(call, TWENTY, "p_model", now_ms)
    call("UpdateModelVersionStatus", {**twenty, "status": "ACTIVE"})
    publish_twenty(call, twenty)
    version = train(call, DEMO, str(resources.MODEL["modelId"]), now_ms)["modelVersionNumber"]
    resources.publish(call, version, 900.0, 700.0)
    return payments


def loop_cpu_s(pid: int) -> float:
    """User and system time of a process's main thread, which runs the event loop."""
    fields = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


def load(child: int, spec: dict[str, Any], folder: Path, core: int) -> dict[str, float]:
    """Run the generator on its core; its report with the server's CPU per request in µs."""
    path = folder / "load.json"
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "benchmarks.load", str(path)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ) as generator:
        assert generator.stdin is not None and generator.stdout is not None
        assert generator.stdout.readline() == b"ready\n", "the generator failed"
        before_s, loop_before_s = cpu_s(child), loop_cpu_s(child)
        generator.stdin.write(b"go\n")
        generator.stdin.flush()
        report: dict[str, float] = orjson.loads(generator.stdout.readline())
        report["cpu_us"] = (cpu_s(child) - before_s) / spec["count"] * 1e6
        report["loop_us"] = (loop_cpu_s(child) - loop_before_s) / spec["count"] * 1e6
    return report


class Rounds:
    """Runs on the same server, each with requests of its own; figures are medians."""

    def __init__(self, child: int, port: int, key: list[str], folder: Path, core: int) -> None:
        self._child, self._folder, self._core = child, folder, core
        self._common = {"port": port, "key": key}
        self._first: dict[Path, int] = {}

    def run(self, requests: Path, count: int, rate: float = 0.0) -> dict[str, float]:
        """One run with the next `count` requests of the file."""
        first = self._first.get(requests, 0)
        self._first[requests] = first + count
        spec = {**self._common, "requests": str(requests), "first": first, "count": count, "rate": rate}
        return load(self._child, spec, self._folder, self._core)

    def medians(self, requests: Path, count: int, rounds: int, rate: float = 0.0) -> dict[str, float]:
        """Of several runs."""
        reports = [self.run(requests, count, rate) for _ in range(rounds)]
        return {name: statistics.median(report[name] for report in reports) for name in reports[0]}


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def started_ms(data: Path, log: Path, core: int) -> float:
    """From starting the process to its first answered call."""
    port = free_port()
    start_s = time.perf_counter()
    with served(hawksnest(data, port), core, log):
        connected(data, port).close()
        return (time.perf_counter() - start_s) * 1e3


def again(payments: list[Labelled], now_ms: int) -> Iterator[Labelled]:
    """The same payers pay again and again, each time as another event."""
    for number, payment in enumerate(itertools.cycle(payments)):
        record = {**payment.record, "event_id": f"again-{number}"}
        yield payment._replace(record=record, event_at_ms=now_ms + round(number * 1000 / LIVE_RATE))


def write_requests(payments: Iterator[Labelled], folder: Path, traffic: str, count: int) -> dict[Bench, Path]:
    """The same payments for both benches."""
    taken = list(itertools.islice(payments, count))
    files = {}
    for bench in BENCHES:
        files[bench] = folder / f"{bench.detector}-{traffic}.jsonl"
        lines = [orjson.dumps(request_of(bench, payment)) + b"\n" for payment in taken]
        files[bench].write_bytes(b"".join(lines))
    return files


def measure_empty(
    files: dict[Bench, Path], key: list[str], folder: Path, cores: tuple[int, int], given: Any
) -> dict[str, float]:
    """The empty handler under the same load."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.http_servers", "--serve", "uvicorn with our bounds"]
    with served([*command, "--port", str(port)], cores[0], folder / "log") as child:
        until_s = time.perf_counter() + 15
        rounds = Rounds(child.pid, port, key, folder, cores[1])
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                assert time.perf_counter() < until_s, "the empty server did not start"
        rounds.run(files[TWENTY], 1_000)
        return rounds.medians(files[TWENTY], given.requests, given.rounds)


def show(name: str, report: dict[str, float], empty: dict[str, float] | None = None) -> None:
    """One line of the table."""
    over = f"{report['cpu_us'] - empty['cpu_us']:8.1f}" if empty else " " * 8
    print(
        f"{name:44}{report['cpu_us']:8.1f}{over}{report['loop_us']:8.1f}{report['rate']:9.0f}{report['p50_ms']:8.2f}"
        f"{report['p99_ms']:8.2f}{report['max_ms']:8.1f}",
        flush=True,
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, default=15_000)
    parser.add_argument("--requests", type=int, default=20_000, help="a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stages", action="store_true", help="the stages alone")
    return parser.parse_args()


def main() -> None:
    """Set up, measure, print."""
    given = options()
    available = sorted(os.sched_getaffinity(0))
    cores = available[0], available[-1]
    with tempfile.TemporaryDirectory(prefix="hawksnest-bench-") as name:
        folder = Path(name)
        data, log = folder / "data", folder / "log"
        now_ms = time.time_ns() // 1_000_000
        simulation = Simulation(7, now_ms)
        port = free_port()
        with served(hawksnest(data, port), cores[0], log), connected(data, port) as client:
            os.sched_setaffinity(0, {cores[1]})
            payments = set_up(client, simulation, given.history, now_ms)
        credentials = read_credentials(data / "credentials")
        key = [credentials.access_key_id, credentials.secret, credentials.region]
        count = given.requests * (2 * given.rounds + 1) + RETURNING
        traffic = {
            "returning payers": again(payments[-RETURNING:], now_ms),
            "new payers": simulation.live(LIVE_RATE, now_ms),
        }
        files = {name: write_requests(each, folder, name, count) for name, each in traffic.items()}
        if not given.stages:
            measure(given, data, files, key, folder, cores)
        for name, bench in itertools.product(files, BENCHES):
            with files[name][bench].open("rb") as lines:
                bodies = [line.rstrip() for line in lines][-given.requests :]  # not sent yet
            print(f"\n{bench.detector}, {name}: stages in process, µs of CPU a call")
            for stage, cost_us in stage_costs(data, bodies, key):
                print(f"  {stage:42}{cost_us:8.2f}")


def measure(
    given: argparse.Namespace,
    data: Path,
    files: dict[str, dict[Bench, Path]],
    key: list[str],
    folder: Path,
    cores: tuple[int, int],
) -> None:
    """The server under load."""
    log = folder / "log"
    print(
        f"{'CPU µs a request, over the empty handler':44}{'CPU':>8}{'over':>8}{'loop':>8}{'req/s':>9}", end=""
    )
    print(f"{'p50 ms':>8}{'p99':>8}{'max':>8}")
    empty = measure_empty(files["returning payers"], key, folder, cores, given)
    show("empty handler, closed loop", empty)
    port = free_port()
    with served(hawksnest(data, port), cores[0], log) as child:
        connected(data, port).close()
        before_mb = rss_mb(child.pid)
        rounds = Rounds(child.pid, port, key, folder, cores[1])
        for traffic, bench in itertools.product(files, BENCHES):
            file = files[traffic][bench]
            rounds.run(file, RETURNING)  # warm
            closed = rounds.medians(file, given.requests, given.rounds)
            print(f"{bench.detector}, {traffic}")
            show("  closed loop", closed, empty)
            rate = closed["rate"] * OPEN_SHARE
            opened = rounds.medians(file, given.requests // 2, given.rounds, rate)
            show(f"  open loop at {rate:.0f}/s", opened, empty)
        print(f"\nRSS: {before_mb:.0f} MB after the start, {rss_mb(child.pid):.0f} MB after the runs")
    fresh = folder / "fresh"
    started_ms(fresh, log, cores[0])
    for name, place in (("an empty folder", fresh), ("these events", data)):
        times = [started_ms(place, log, cores[0]) for _ in range(5)]
        print(f"Start to first answered call, with {name}: {statistics.median(times):.0f} ms")


if __name__ == "__main__":
    main()
