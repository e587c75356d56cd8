"""The product as its user runs it: commands as child processes, everything else through the public API."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import boto3
import click
import msgspec
from sklearn.metrics import roc_auc_score

from hawksnest.client import Client, read_credentials
from hawksnest.errors import Transient, UsageError
from hawksnest.stream.open import open_log
from hawksnest.stream.ports import Log
from hawksnest.stream.replay import Truth
from hawksnest.stream.schema import Payment, payment_of

COMMAND = (sys.executable, "-m", "hawksnest")
GROUP = "hawksnest-stream"
POLL_S = 0.1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def figures(title: str, *lines: str) -> None:
    """What a show found, for whoever runs `make shows`."""
    click.echo("\n".join(("", title, *(f"  {line}" for line in lines))))


def wait_until(done: Callable[[], bool], within_s: float, what: str) -> float:
    """Poll until `done`; gives the seconds that took."""
    began_s = time.monotonic()
    while not done():
        assert time.monotonic() - began_s < within_s, f"{what}: not within {within_s:g} s"
        time.sleep(POLL_S)
    return time.monotonic() - began_s


def auc(scores: Sequence[float], fraud: Sequence[bool]) -> float:
    return float(roc_auc_score(fraud, scores))


def percentile(values: Iterable[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class Product:
    """A data folder, a server on it, and what runs beside it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.credentials = self.data / "credentials"
        self.log_address = f"file://{self.data / 'stream'}"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # ---- processes

    def serve(self, *options: str) -> None:
        port = self.url.rpartition(":")[2]
        self._start("serve", "serve", "--port", port, "--data", str(self.data), *options)
        wait_until(self._answers, 30, "the server's first answer")

    def _answers(self) -> bool:
        self.check()
        try:
            with self.client() as client:
                client.call("GetDetectors", {})
        except (UsageError, Transient):
            return False
        return True

    def stream(self, mapping: Path) -> None:
        state = str(self.data / "stream-state")
        where = ("--log", self.log_address, "--endpoint", self.url, "--credentials", str(self.credentials))
        self._start("stream", "stream", "--json", *where, "--state", state, "--map", str(mapping))

    def replay(self, file: Path, mapping: Path) -> dict[str, int]:
        """Send all rows as fast as it goes; the command's own summary."""
        made = subprocess.run(
            [*COMMAND, "replay", str(file), "--json", "--log", self.log_address, "--map", str(mapping)],
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert made.returncode == 0, made.stderr.decode()
        summary: dict[str, int] = json.loads(made.stdout)
        return summary

    def _start(self, name: str, *arguments: str) -> None:
        with (self.logs / f"{name}.out").open("wb") as out, (self.logs / f"{name}.err").open("wb") as err:
            self._children[name] = subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=err)

    def check(self) -> None:
        """Fails when a child has ended by itself."""
        for name, child in self._children.items():
            assert child.poll() is None, f"{name} has ended: {self._said(name, 'err')}"

    def _said(self, name: str, stream: str) -> str:
        return (self.logs / f"{name}.{stream}").read_text(errors="replace").strip()

    def stop(self, name: str) -> str:
        """End a child as Ctrl-C does; what it printed last."""
        child = self._children.pop(name)
        child.terminate()
        assert child.wait(20) == 0, self._said(name, "err")
        return self._said(name, "out")

    def stopped_with_summary(self, name: str) -> dict[str, Any]:
        """End a child and read the summary that it prints."""
        summary: dict[str, Any] = json.loads(self.stop(name))
        return summary

    def stop_all(self) -> None:
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    # ---- calls

    def client(self) -> Client:
        return Client(self.url, read_credentials(self.credentials), pool=1)

    def boto3(self) -> Any:
        """The customer's own client, of the first key."""
        key = read_credentials(self.credentials)
        return boto3_client(self.url, key.access_key_id, key.secret)

    def in_parallel(self, operation: str, requests: Sequence[dict[str, Any]], callers: int) -> float:
        """Send requests nearly in their order (`callers` of them at once); gives the seconds that took."""
        waiting, faults = iter(requests), []

        def work() -> None:
            try:
                with self.client() as client:
                    for request in waiting:  # one list iterator, each request is taken by one thread
                        client.call(operation, request)
            except Exception as fault:  # noqa: BLE001 - told by the thread that waits
                faults.append(fault)

        began_s = time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults, faults[0]
        return time.monotonic() - began_s

    # ---- topics

    def decide_all(self, topic: str, within_s: float) -> None:
        """Wait until the stream has committed everything in the topic."""
        log = open_log(self.log_address)
        try:

            def done() -> bool:
                self.check()
                return log.lag(topic, GROUP) == 0

            wait_until(done, within_s, f"deciding what {topic} holds")
        finally:
            log.close()

    def outcome(self, mapping: Any) -> "Outcome":
        """What the topics hold now."""
        log = open_log(self.log_address)
        try:
            truths = [msgspec.json.decode(value, type=Truth) for value in _values(log, mapping.truth_topic)]
            return Outcome(
                [payment_of(value) for value in _values(log, mapping.output_topic)],
                len(_values(log, mapping.dead_letters)),
                {truth.event_id: truth.fraud for truth in truths if truth.label},
            )
        finally:
            log.close()


def _values(log: Log, topic: str) -> list[bytes]:
    reader = log.reader(topic)
    assert reader is not None, f"there is no topic {topic}"
    values: list[bytes] = []
    while records := reader.poll(5_000, 0.2):
        values.extend(record.value for record in records)
    reader.close()
    return values


class Outcome:
    """Decisions beside the truth."""

    def __init__(self, payments: list[Payment], dead_letters: int, truth: dict[str, bool]) -> None:
        self.payments = payments
        self.dead_letters = dead_letters
        self.truth = truth
        self.scores = {each.event_id: next(iter(each.fd.scores.values())) for each in payments}
        self.duplicates = len(payments) - len(self.scores)

    def auc(self, ids: Iterable[str] | None = None) -> float:
        """Of the live scores of labelled events (those of `ids`)."""
        wanted = [each for each in (self.truth if ids is None else ids) if each in self.truth]
        return auc([self.scores[each] for each in wanted], [self.truth[each] for each in wanted])

    def call_ms(self, share: float) -> float:
        """Quantile of the time that the stream waited for a decision, in whole ms."""
        return percentile((each.fd.frauddetector_time for each in self.payments), share)

    def outcomes(self) -> str:
        counted = Counter(each.fd.outcome for each in self.payments)
        return ", ".join(f"{name} {count:,}" for name, count in counted.most_common())


def boto3_client(url: str, key_id: str, secret: str) -> Any:
    return boto3.session.Session().client(
        "frauddetector",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )
