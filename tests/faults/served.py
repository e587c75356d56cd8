"""`hawksnest serve` as a process of its own, to be killed, starved and attacked."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from hawksnest.client import Client, read_credentials
from hawksnest.world import RealWorld

WORLD = RealWorld()
COMMAND = (sys.executable, "-m", "hawksnest")
REGION = "us-east-1"
START_S = 30.0


def until(what: Callable[[], object], seconds: float, why: str) -> None:
    """Return once `what` is true; fails with `why` after so many seconds."""
    deadline_s = WORLD.monotonic_s() + seconds
    while not what():
        assert WORLD.monotonic_s() < deadline_s, why
        threading.Event().wait(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class Served:
    """A server on `folder/data` that can be started again and again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._options = options
        self._stderr = folder / "stderr"

    def start(self, preexec: Callable[[], None] | None = None, **environment: str) -> float:
        """Start and wait until it answers; the seconds that took."""
        began_s = WORLD.monotonic_s()
        command = [*COMMAND, "serve", "--port", str(self.port), "--data", str(self.data), *self._options]
        with self._stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=os.environ | environment,
                preexec_fn=preexec,
            )
        until(self._answers, START_S, "the server did not come up")
        return WORLD.monotonic_s() - began_s

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.said()
        try:
            with urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False

    def said(self) -> str:
        """Everything on its error stream so far."""
        return self._stderr.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        assert self.process.wait(20) == -signal.SIGKILL

    def died(self) -> None:
        """It kills itself at a fail point."""
        assert self.process is not None
        assert self.process.wait(60) == -signal.SIGKILL, self.said()

    def stop(self) -> None:
        """Ctrl-C."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0, self.said()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)

    def client(self, pool: int = 1) -> Client:
        return Client(self.url, read_credentials(self.data / "credentials", REGION), pool=pool)


RULES = (
    ("listed", "$email in @blocked", ["block"]),
    ("big", "$amt > 900", ["block"]),
    ("mid", '$amt > 500 and $note != "known"', ["review"]),
)
BLOCKED = [f"mule{number}@example.com" for number in range(7)]


def deploy(client: Client) -> None:
    """Event type `pay` that stores its events, detector `det` with three rules and a list."""

    def make(operation: str, **request: Any) -> dict[str, Any]:
        return client.call(operation, request).response

    for name, data_type, default, kind in (
        ("amt", "FLOAT", "0.0", "PRICE"),
        ("email", "STRING", "none", "EMAIL_ADDRESS"),
        ("ip", "STRING", "none", "IP_ADDRESS"),
        ("note", "STRING", "none", "FREE_FORM_TEXT"),
    ):
        make(
            "CreateVariable",
            name=name,
            dataType=data_type,
            dataSource="EVENT",
            defaultValue=default,
            variableType=kind,
        )
    make("PutEntityType", name="customer")
    for name in ("fraud", "legit"):
        make("PutLabel", name=name)
    for name in ("block", "review"):
        make("PutOutcome", name=name)
    make(
        "PutEventType",
        name="pay",
        eventVariables=["amt", "email", "ip", "note"],
        entityTypes=["customer"],
        labels=["fraud", "legit"],
        eventIngestion="ENABLED",
    )
    make("CreateList", name="blocked", elements=BLOCKED, variableType="EMAIL_ADDRESS")
    make("PutDetector", detectorId="det", eventTypeName="pay")
    rules = [
        make(
            "CreateRule",
            ruleId=rule_id,
            detectorId="det",
            expression=expression,
            language="DETECTORPL",
            outcomes=outcomes,
        )["rule"]
        for rule_id, expression, outcomes in RULES
    ]
    make("CreateDetectorVersion", detectorId="det", rules=rules, ruleExecutionMode="ALL_MATCHED")
    make("UpdateDetectorVersionStatus", detectorId="det", detectorVersionId="1", status="ACTIVE")
