"""A served process for all conformance tests, a fresh account for each, and a server to look into."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from customer import Customer
from model_stub import ModelStub
from serving import Served, training_rows

from hawksnest.app import App
from hawksnest.catalog import ModelVersion, Tenant
from hawksnest.config import Settings
from hawksnest.main import open_app
from hawksnest.metrics import Metrics
from hawksnest.ml import spec
from hawksnest.ops.registry import served as operations
from hawksnest.wire.door import Door
from hawksnest.wire.keys import KeyRing, create_key
from hawksnest.wire.server import BackgroundServer
from hawksnest.wire.site import Site
from hawksnest.world import RealWorld


class Server:
    """A server in the process of the tests, for what no client can see or bring about: its catalogue and
    states, other clocks, trainings that wait in the queue until `finish_training`.
    """

    def __init__(self, app: App, url: str, small_model: Callable[[], tuple[Path, dict[str, Any]]]) -> None:
        self.app = app
        self.url = url
        self._small_model = small_model
        self._accounts = (f"{number:012d}" for number in itertools.count(100_000_000_001))
        self._customers: list[Customer] = []

    def customer(self, account: str | None = None, region: str = "us-east-1") -> Customer:
        """A customer of the account; of a new one when none is named."""
        key = create_key(self.app.catalog, self.app.world, account or next(self._accounts))
        made = Customer(self.url, key, region, self.finish_training)
        self._customers.append(made)
        return made

    def new_tenant(self) -> Tenant:
        """A new account, for tests that call operations without a client."""
        return Tenant(next(self._accounts), "us-east-1")

    def finish_training(self, tenant: Tenant, key: tuple[str, str, str]) -> None:
        """What the child process and the monitor do at the end of a training that went well."""
        folder, result = self._small_model()
        place = Path(*tenant, *key)
        shutil.copytree(folder, self.app.settings.data / "models" / place)
        with self.app.catalog.transaction():
            version = self.app.catalog.get(tenant, ModelVersion, *key)
            assert version is not None
            self.app.catalog.put(
                tenant, replace(version, status="TRAINING_COMPLETE", result=result, artefact=str(place))
            )

    def close_customers(self) -> None:
        while self._customers:
            self._customers.pop().close()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[Path, dict[str, Any]]]:
    """Trains, once and when first asked for, a small model: its artefact's folder and its results."""
    made: list[tuple[Path, dict[str, Any]]] = []

    def get() -> tuple[Path, dict[str, Any]]:
        if not made:
            from hawksnest.ml.training import train  # heavy: only where a test needs a model

            folder = tmp_path_factory.mktemp("small-model")
            (folder / "buckets" / "b").mkdir(parents=True)
            training_rows(folder / "buckets" / "b" / "train.csv")
            outcome = train(
                spec.TrainingSpec(
                    account="000000000000",
                    region="us-east-1",
                    model_type="ONLINE_FRAUD_INSIGHTS",
                    model_id="m1",
                    version="1.0",
                    event_type="pay",
                    variables=[
                        spec.TrainingVariable("email", "STRING", "EMAIL_ADDRESS"),
                        spec.TrainingVariable("amt", "FLOAT", "PRICE"),
                    ],
                    model_variables=["email", "amt"],
                    fraud_labels=["fraud"],
                    legit_labels=["legit"],
                    source=spec.ExternalEvents("s3://b/train.csv", str(folder / "buckets"), "", "us-east-1"),
                    folder=str(folder),
                    threads=1,
                ),
                lambda share, text: None,
            )
            assert outcome.ok, outcome.reason
            made.append((folder / spec.ARTEFACT, outcome.result))
        return made[0]

    return get


@pytest.fixture(scope="session")
def model_stub() -> Iterator[ModelStub]:
    """Endpoints of external models, outside the server."""
    with ModelStub() as stub:
        yield stub


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, model_stub: ModelStub) -> Iterator[Served]:
    """`hawksnest serve` as a child process, one for each process of the tests."""
    external = ("--model-endpoints", model_stub.addresses, "--model-timeout-s", "2")
    process = Served(tmp_path_factory.mktemp("served"), *external)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same as AWS would run it today: with all its quotas, without the preview API."""
    process = Served(tmp_path_factory.mktemp("strict"), "--quotas", "aws", "--preview-api", "off")
    yield process
    process.stop()


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, small_model: Callable[[], tuple[Path, dict[str, Any]]]
) -> Iterator[Server]:
    """A server in the process of the tests, with its real store."""
    settings = Settings.of(data=tmp_path_factory.mktemp("data"), port=0)
    with open_app(settings, RealWorld()) as app:
        app.trainings.close()  # no children here: what starts stays in the queue
        metrics = Metrics()
        door = Door(app, operations(), KeyRing(app.catalog, "frauddetector"), metrics, check_responses=True)
        try:
            with BackgroundServer(Site(app, door, metrics)) as running:
                yield Server(app, running.url, small_model)
        finally:
            door.close()


@pytest.fixture
def empty(served: Served) -> Iterator[Customer]:
    """A new account with nothing in it, of the served process."""
    yield served.customer()
    served.close_customers()


@pytest.fixture
def inside(server: Server) -> Iterator[Customer]:
    """The same of the server in the process of the tests; who takes it says why."""
    yield server.customer()
    server.close_customers()


@pytest.fixture
def afd(empty: Customer) -> Customer:
    """A new account with what the acid tests build on: see `Customer.set_up`."""
    empty.set_up()
    return empty


@pytest.fixture
def client(empty: Customer) -> BaseClient:
    """boto3 for a new, empty account."""
    return empty.c
