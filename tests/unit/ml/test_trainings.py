"""Trainings as children of the server: run, cancelled, killed, resumed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from training_samples import VARIABLES, registrations, spec_for

from hawksnest.catalog import EventType, Model, ModelKey, ModelVersion, Tenant, Variable
from hawksnest.config import Settings
from hawksnest.jobs import Trainings
from hawksnest.ml import artefact, spec
from hawksnest.store.data_folder import open_catalog
from hawksnest.store.sqlite import SqliteCatalog
from hawksnest.world import RealWorld

TENANT = Tenant("000000000000", "us-east-1")
KEY = ModelKey("ONLINE_FRAUD_INSIGHTS", "m1", "1.0")
CREATED_MS = 1_700_000_000_000
DEADLINE_S = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true value; polls until a deadline."""
    until = monotonic() + DEADLINE_S
    pause = threading.Event()
    while not (found := condition()):
        assert monotonic() < until, f"waited {DEADLINE_S} s for {what}"
        pause.wait(0.01)
    return found


def children(data: Path) -> list[int]:
    """Processes that train in this data folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            running = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        if running and b"hawksnest.worker" in words and any(str(data).encode() in word for word in words):
            found.append(int(folder.name))
    return found


class Server:
    """As much of a server as trainings need: a catalogue in a data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.settings = Settings.of(data=data, training_threads=1)
        self.catalog: SqliteCatalog = open_catalog(data, RealWorld())
        self.changes: list[Tenant] = []
        self.trainings = Trainings(self.settings, RealWorld(), self.catalog, self.changes.append)

    def close(self) -> None:
        self.trainings.close()
        self.catalog.close()

    def put(self, *resources: Any) -> None:
        with self.catalog.transaction():
            for resource in resources:
                self.catalog.put(TENANT, resource)

    def version(self) -> ModelVersion:
        found = self.catalog.get(TENANT, ModelVersion, *KEY)
        assert found is not None
        return found

    def status(self) -> str:
        return self.version().status

    def finished(self) -> str:
        wait_for(lambda: self.status() != "TRAINING_IN_PROGRESS", "the training to end")
        wait_for(lambda: self.changes, "the change to be told")
        return self.status()


def resources(created_at_ms: int = CREATED_MS) -> list[Any]:
    """Everything around one model version in training."""
    times = {"created_at_ms": created_at_ms, "updated_at_ms": created_at_ms}
    names = tuple(variable.name for variable in VARIABLES)
    return [
        *(
            Variable(
                name=each.name,
                data_type=each.data_type,
                data_source="EVENT",
                default_value="0",
                variable_type=each.variable_type,
                **times,
            )
            for each in VARIABLES
        ),
        EventType(name="registration", event_variables=names, entity_types=("customer",), **times),
        Model(model_type=KEY.model_type, model_id=KEY.model_id, event_type="registration", **times),
        ModelVersion(
            model_type=KEY.model_type,
            model_id=KEY.model_id,
            version=KEY.version,
            status="TRAINING_IN_PROGRESS",
            training_source="EXTERNAL_EVENTS",
            schema={
                "modelVariables": list(names),
                "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
            },
            source_detail={
                "dataLocation": "s3://training/data.csv",
                "dataAccessRoleArn": "arn:aws:iam::1:role/r",
            },
            **times,
        ),
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    server = Server(folder)  # makes the layout
    server.put(*resources())
    server.close()
    spec_for(folder, registrations(400))
    return folder


@contextmanager
def running(data: Path) -> Iterator[Server]:
    server = Server(data)
    try:
        yield server
    finally:
        server.close()
        assert children(data) == []


def test_training_runs_to_an_artefact_that_can_be_served(data: Path) -> None:
    with running(data) as server:
        server.trainings.start(TENANT, KEY)
        wait_for(lambda: server.trainings.progress(TENANT, KEY)[0] > 0 or server.changes, "progress")
        assert server.finished() == "TRAINING_COMPLETE"
        version = server.version()
        assert version.artefact is not None
        assert version.result is not None
        assert version.updated_at_ms > CREATED_MS
        model = artefact.load(data / "models" / version.artefact)
        assert model.model_id == "m1"
        assert server.changes == [TENANT]
        assert not (data / "jobs" / Path(*TENANT, *KEY)).exists()
        assert server.trainings.progress(TENANT, KEY) == (0.0, "waiting to start")


def test_data_that_cannot_train_ends_in_error_with_its_messages(data: Path) -> None:
    (data / "buckets" / "training" / "data.csv").unlink()
    with running(data) as server:
        server.trainings.start(TENANT, KEY)
        assert server.finished() == "ERROR"
        result = server.version().result
        assert result is not None
        (message,) = result["trainingResult"]["dataValidationMetrics"]["fileLevelMessages"]
        assert message["title"] == "The file cannot be read."
        assert server.version().artefact is None


def cancelled(server: Server) -> None:
    server.put(replace(server.version(), status="TRAINING_CANCELLED"))
    server.trainings.cancel(TENANT, KEY)


def test_cancelled_training_ends_its_child_and_changes_nothing(data: Path) -> None:
    with running(data) as server:
        server.trainings.start(TENANT, KEY)
        wait_for(lambda: children(data), "the child")
        cancelled(server)
        wait_for(lambda: not children(data), "the child's end")
        wait_for(lambda: not (data / "jobs" / Path(*TENANT, *KEY)).exists(), "the folder to go")
        assert server.status() == "TRAINING_CANCELLED"
        assert server.changes == []


def test_training_cancelled_before_it_starts_never_does(data: Path) -> None:
    with running(data) as server:
        server.put(replace(server.version(), status="TRAINING_CANCELLED"))
        server.trainings.start(TENANT, KEY)
        server.trainings.cancel(TENANT, KEY)
        wait_for(lambda: not (data / "jobs" / Path(*TENANT, *KEY)).exists(), "the folder to go")
        assert server.status() == "TRAINING_CANCELLED"


def test_child_that_is_killed_is_started_once_more(data: Path) -> None:
    with running(data) as server:
        server.trainings.start(TENANT, KEY)
        (first,) = wait_for(lambda: children(data), "the child")
        os.kill(first, signal.SIGKILL)
        assert server.finished() == "TRAINING_COMPLETE"


def test_child_that_is_killed_twice_ends_in_error_with_the_reason(data: Path) -> None:
    with running(data) as server:
        server.trainings.start(TENANT, KEY)
        for _ in range(2):
            (child,) = wait_for(lambda: children(data), "the child")
            os.kill(child, signal.SIGKILL)
            wait_for(lambda child=child: child not in children(data), "its end")
        assert server.finished() == "ERROR"
        result = server.version().result
        assert result is not None
        (message,) = result["trainingResultV2"]["dataValidationMetrics"]["fileLevelMessages"]
        assert "killed by signal 9 2 times" in message["content"]


def test_server_that_closes_leaves_the_training_to_the_next(data: Path) -> None:
    with running(data) as server:
        server.trainings.start(TENANT, KEY)
        wait_for(lambda: children(data), "the child")
        began = monotonic()
        server.trainings.close()
        assert monotonic() - began < 2
        assert server.status() == "TRAINING_IN_PROGRESS"
    with running(data) as server:
        server.trainings.resume()
        assert server.finished() == "TRAINING_COMPLETE"


SERVER = """
import sys, threading
sys.path[:0] = {paths!r}
from pathlib import Path
from test_trainings import KEY, TENANT, Server
server = Server(Path({data!r}))
server.trainings.start(TENANT, KEY)
print("started", flush=True)
threading.Event().wait()
"""


def test_killed_server_takes_its_child_along_and_the_next_one_resumes(data: Path) -> None:
    program = SERVER.format(paths=[str(Path(__file__).parent)], data=str(data))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"started\n"
        wait_for(lambda: children(data), "the child")
        killed.kill()
    wait_for(lambda: not children(data), "the child's end")
    with running(data) as server:
        assert server.status() == "TRAINING_IN_PROGRESS"
        server.trainings.resume()
        assert server.finished() == "TRAINING_COMPLETE"


def outcome_of_last_server(data: Path, created_at_ms: int) -> Path:
    """A finished training that nobody applied."""
    folder = data / "jobs" / Path(*TENANT, *KEY)
    folder.mkdir(parents=True)
    made = spec_for(data, registrations(400), created_at_ms=created_at_ms)
    spec.write(folder / spec.SPEC, made)
    spec.write(
        folder / spec.RESULT, spec.TrainingOutcome(ok=False, result={"trainingResult": {}}, reason="x")
    )
    return folder


def test_result_that_the_last_server_did_not_apply_is_applied(data: Path) -> None:
    outcome_of_last_server(data, CREATED_MS)
    with running(data) as server:
        server.trainings.resume()
        assert server.finished() == "ERROR"
        assert server.version().result == {"trainingResult": {}}


def test_result_of_an_earlier_version_of_that_name_is_not_applied(data: Path) -> None:
    outcome_of_last_server(data, CREATED_MS - 1)
    with running(data) as server:
        server.trainings.resume()
        assert server.finished() == "TRAINING_COMPLETE"


def test_version_without_a_folder_is_found_through_its_tenant(data: Path) -> None:
    with running(data) as server:
        server.trainings.resume([TENANT])
        assert server.finished() == "TRAINING_COMPLETE"
