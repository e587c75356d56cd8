"""Rates and memory of batch jobs, and what callers notice of them.

python -m benchmarks.batch [--rows 200000] [--predictions 50000] [--rate 300]

The real command (`hawksnest serve`) on all cores; calls of GetEventPrediction come in an open loop from a
process of its own, first alone, then beside an import, a prediction job and the deletion of all events.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from benchmarks.decision import connected, free_port, hawksnest, load, rss_mb
from hawksnest.client import Client, read_credentials

ROLE = "arn:aws:iam::123456789012:role/batch"
HEADER = "EVENT_ID,EVENT_TIMESTAMP,ENTITY_TYPE,ENTITY_ID,amt,email,ip,note\n"
RULES = (("big", "$amt > 900", ["block"]), ("mid", '$amt > 500 and $note != "known"', ["review"]))
CALLS = 4_000
ENTITIES = 20_000


def deploy(client: Client) -> None:
    """An event type with four variables and a detector with two rules."""

    def make(operation: str, **request: Any) -> dict[str, Any]:
        return client.call(operation, request).response

    for name, data_type, kind in (
        ("amt", "FLOAT", "PRICE"),
        ("email", "STRING", "EMAIL_ADDRESS"),
        ("ip", "STRING", "IP_ADDRESS"),
        ("note", "STRING", "FREE_FORM_TEXT"),
    ):
        default = "0.0" if data_type == "FLOAT" else "none"
        source = {"dataType": data_type, "dataSource": "EVENT", "defaultValue": default}
        make("CreateVariable", name=name, variableType=kind, **source)
    make("PutEntityType", name="customer")
    for name in ("block", "review"):
        make("PutOutcome", name=name)
    for event_type in ("live", "pay"):  # calls and jobs have an event type each
        make(
            "PutEventType",
            name=event_type,
            eventVariables=["amt", "email", "ip", "note"],
            entityTypes=["customer"],
            eventIngestion="ENABLED",
        )
        detector = f"det_{event_type}"
        make("PutDetector", detectorId=detector, eventTypeName=event_type)
        rules = [
            make(
                "CreateRule",
                ruleId=rule,
                detectorId=detector,
                expression=expression,
                language="DETECTORPL",
                outcomes=outcomes,
            )["rule"]
            for rule, expression, outcomes in RULES
        ]
        make("CreateDetectorVersion", detectorId=detector, rules=rules)
        make("UpdateDetectorVersionStatus", detectorId=detector, detectorVersionId="1", status="ACTIVE")


def write_rows(path: Path, rows: int, prefix: str) -> None:
    """Events of a month, of many entities."""
    with path.open("w") as file:
        file.write(HEADER)
        for row in range(rows):
            entity = row * 7919 % ENTITIES
            at = f"2026-01-{row % 28 + 1:02d}T{row % 24:02d}:00:00Z"
            file.write(
                f"{prefix}{row},{at},customer,c{entity},{row % 1000}.5,u{entity}@mail.example,"
                f"10.{entity % 200}.{row % 250}.7,first order of {row}\n"
            )


def write_calls(path: Path, count: int) -> None:
    """Requests of the generator."""
    with path.open("wb") as file:
        for number in range(count):
            entity = number % ENTITIES
            request = {
                "detectorId": "det_live",
                "eventId": f"call{number}",
                "eventTypeName": "live",
                "eventTimestamp": "2026-02-01T00:00:00Z",
                "entities": [{"entityType": "customer", "entityId": f"c{entity}"}],
                "eventVariables": {"amt": "12.5", "email": f"u{entity}@mail.example", "note": "call"},
            }
            file.write(orjson.dumps(request) + b"\n")


class Bench:
    """One server and the calls that are sent to it."""

    def __init__(self, folder: Path, client: Client, child: "subprocess.Popen[bytes]", port: int) -> None:
        self._folder, self._client, self._child, self._port = folder, client, child, port
        self._first = 0
        credentials = read_credentials(folder / "data" / "credentials")
        self._key = [credentials.access_key_id, credentials.secret, credentials.region]

    def calls(self, rate: float) -> str:
        """CALLS calls at the rate; how long they took."""
        spec = {
            "port": self._port,
            "key": self._key,
            "requests": str(self._folder / "calls.jsonl"),
            "first": self._first,
            "count": CALLS,
            "rate": rate,
        }
        self._first += CALLS
        report = load(self._child.pid, spec, self._folder, 1)
        return f"p50 {report['p50_ms']:.2f} ms, p99 {report['p99_ms']:.2f} ms, max {report['max_ms']:.0f} ms"

    def job(self, kind: str, job_id: str, uri: str, **other: str) -> dict[str, Any]:
        """Run a batch job to its end; what it says then, with `seconds` and memory on the way."""
        request = {"jobId": job_id, "inputPath": uri, "outputPath": "s3://b/out", "eventTypeName": "pay"}
        began_s, seen_mb = time.perf_counter(), list[float]()
        self._client.call(f"Create{kind}Job", {**request, "iamRoleArn": ROLE, **other})
        while True:
            [job] = next(iter(self._client.call(f"Get{kind}Jobs", {"jobId": job_id}).response.values()))
            if "IN_PROGRESS" not in job["status"]:
                break
            share = job["processedRecordsCount"] / job.get("totalRecordsCount", 1 << 40)
            if not seen_mb and share >= 0.1:
                seen_mb.append(rss_mb(self._child.pid))
            time.sleep(0.05)
        assert job["status"] == "COMPLETE", job
        seconds = time.perf_counter() - began_s
        return job | {"seconds": seconds, "mb": [*seen_mb, rss_mb(self._child.pid)]}

    def deletion(self) -> float:
        """Delete everything that was imported; the seconds that took."""
        began_s, asked = time.perf_counter(), {"eventTypeName": "pay"}
        self._client.call("DeleteEventsByEventType", asked)
        status = "IN_PROGRESS"
        while "IN_PROGRESS" in status:
            answer = self._client.call("GetDeleteEventsByEventTypeStatus", asked).response
            status = answer["eventsDeletionStatus"]
            time.sleep(0.05)
        assert status == "COMPLETE", status
        return time.perf_counter() - began_s

    def beside(self, name: str, rate: float, work: Callable[[], Any]) -> Any:
        """Calls while `work` runs; at least as long as it does."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(work)
            time.sleep(0.3)
            print(f"{name:44}{self.calls(rate)}", flush=True)
            return running.result()


def measure(bench: Bench, given: argparse.Namespace) -> None:
    """All figures, in one go."""
    print(f"{'calls alone':44}{bench.calls(given.rate)}", flush=True)
    job = bench.job("BatchImport", "alone", "s3://b/first.csv")
    say("import alone", given.rows, job)
    job = bench.beside(
        "calls beside an import", given.rate, lambda: bench.job("BatchImport", "beside", "s3://b/second.csv")
    )
    say("import beside calls", given.rows, job)
    asked = {"detectorName": "det_pay", "detectorVersion": "1"}
    job = bench.job("BatchPrediction", "alone", "s3://b/third.csv", **asked)
    say("prediction job alone", given.predictions, job)
    job = bench.beside(
        "calls beside a prediction job",
        given.rate,
        lambda: bench.job("BatchPrediction", "beside", "s3://b/third.csv", **asked),
    )
    say("prediction job beside calls", given.predictions, job)
    seconds = bench.beside("calls beside a deletion", given.rate, bench.deletion)
    print(f"{'deletion beside calls':44}{2 * given.rows / seconds:,.0f} events/s", flush=True)


def say(name: str, rows: int, job: dict[str, Any]) -> None:
    """One line about a job."""
    memory = " → ".join(f"{mb:.0f}" for mb in job["mb"])
    print(f"{name:44}{rows / job['seconds']:,.0f} rows/s, server {memory} MB", flush=True)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--predictions", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=300.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        bucket = folder / "data" / "buckets" / "b"
        bucket.mkdir(parents=True)
        for file, rows, prefix in (
            ("first", given.rows, "a"),
            ("second", given.rows, "b"),
            ("third", given.predictions, "p"),
        ):
            write_rows(bucket / f"{file}.csv", rows, prefix)
        write_calls(folder / "calls.jsonl", 4 * CALLS)
        child = subprocess.Popen(hawksnest(folder / "data", port), stdout=subprocess.DEVNULL)
        try:
            client = connected(folder / "data", port)
            deploy(client)
            measure(Bench(folder, client, child, port), given)
            client.close()
        finally:
            child.terminate()
            child.wait(20)


if __name__ == "__main__":
    main()
