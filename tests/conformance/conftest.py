"""One server for all conformance tests, a fresh account for each, and what a customer's script needs."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from model_stub import ModelStub

from hawksnest.app import App
from hawksnest.catalog import ModelVersion, Tenant
from hawksnest.config import Settings
from hawksnest.main import open_app
from hawksnest.metrics import Metrics
from hawksnest.ml import spec
from hawksnest.ops.registry import served
from hawksnest.wire.door import Door
from hawksnest.wire.keys import KeyRing, create_key
from hawksnest.wire.server import BackgroundServer
from hawksnest.wire.site import Site
from hawksnest.world import RealWorld, seeded

Answer = dict[str, Any]
SESSION = Session()
VALIDATION = Config(retries={"max_attempts": 0}, max_pool_connections=4)
NO_VALIDATION = VALIDATION.merge(Config(parameter_validation=False))


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class Customer:
    """One account as its customer sees it: `c` is boto3, `raw` the same without client-side checks."""

    def __init__(self, server: "Server", account: str, region: str) -> None:
        key = create_key(server.app.catalog, server.app.world, account)
        where = {
            "endpoint_url": server.url,
            "region_name": region,
            "aws_access_key_id": key.access_key_id,
            "aws_secret_access_key": key.secret,
        }
        self.account = account
        self.tenant = Tenant(account, region)
        self.c: BaseClient = SESSION.create_client("frauddetector", config=VALIDATION, **where)
        self._where = where
        self._raw: BaseClient | None = None
        self._server = server
        now = datetime.now(UTC)
        self.T = iso(now - timedelta(days=1))  # a time at which an event can be stored
        self.T2 = iso(now - timedelta(days=2))
        self.FUTURE = iso(now + timedelta(days=2))
        self.RULES = [self.rule("big"), self.rule("mid"), self.rule("free")]

    @property
    def raw(self) -> BaseClient:
        if self._raw is None:
            self._raw = SESSION.create_client("frauddetector", config=NO_VALIDATION, **self._where)
        return self._raw

    def close(self) -> None:
        for client in (self.c, self._raw):
            if client is not None:
                client.close()

    # ---- what calls answer

    @staticmethod
    def body(answer: Answer) -> Answer:
        """The answer without what boto3 adds."""
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    @staticmethod
    def done(answer: Answer) -> bool:
        """Is the body the two bytes of success?"""
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return set(answer) == {"ResponseMetadata"} and headers["content-length"] == "2"

    def ve(self, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        """The call is refused with a ValidationException; its message."""
        return self.refused("ValidationException", call, *given, **members)

    def rnf(self, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        """The call is refused with a ResourceNotFoundException; its message."""
        return self.refused("ResourceNotFoundException", call, *given, **members)

    def ce(self, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        """The call is refused with a ConflictException; its message."""
        return self.refused("ConflictException", call, *given, **members)

    @staticmethod
    def refused(code: str, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        with pytest.raises(ClientError) as refusal:
            call(*given, **members)
        error, about = refusal.value.response["Error"], refusal.value.response["ResponseMetadata"]
        assert (error["Code"], about["HTTPStatusCode"]) == (code, 400), error
        assert error["Message"]
        assert about["RequestId"]
        message: str = error["Message"]
        client = getattr(call, "__self__", None)
        if isinstance(client, BaseClient) and "not available in this version" not in message:
            operation = client.meta.method_to_api_mapping[call.__name__]
            documented = client.meta.service_model.operation_model(operation).error_shapes
            assert code in {shape.name for shape in documented}, f"{operation} does not document {code}"
        return message

    @staticmethod
    def pages(call: Callable[..., Answer], payload: str, **members: Any) -> Iterator[list[Any]]:
        """The pages of a listing, in order."""
        token = ""
        for _ in range(1_000):
            answer = call(nextToken=token, **members)
            yield answer[payload]
            if "nextToken" not in answer:
                return
            token = answer["nextToken"]
        raise AssertionError("the listing has no end")

    @staticmethod
    def wait_ms(milliseconds: int) -> None:
        """Return once the clock of the server has moved on."""
        until = RealWorld().now_ms() + milliseconds
        while RealWorld().now_ms() <= until:
            time.sleep(0.001)

    # ---- what a script does

    def ev(self, event_id: str, variables: dict[str, Any], **other: Any) -> Answer:
        """Arguments of GetEventPrediction."""
        return {"detectorId": "det", **self.se(event_id, variables)} | other

    def se(self, event_id: str, variables: dict[str, Any], **other: Any) -> Answer:
        """Arguments of SendEvent."""
        return {
            "eventId": event_id,
            "eventTypeName": "pay",
            "entities": [{"entityType": "customer", "entityId": "c1"}],
            "eventTimestamp": self.T,
            "eventVariables": variables,
        } | other

    @staticmethod
    def rule(rule_id: str, version: str = "1", detector: str = "det") -> dict[str, str]:
        return {"detectorId": detector, "ruleId": rule_id, "ruleVersion": version}

    def mkrule(
        self, rule_id: str, expression: str, outcomes: list[str] | None = None, detector: str = "det"
    ) -> dict[str, str]:
        answer = self.c.create_rule(
            ruleId=rule_id,
            detectorId=detector,
            expression=expression,
            language="DETECTORPL",
            outcomes=outcomes or ["ok"],
        )
        made: dict[str, str] = answer["rule"]
        return made

    def update_rule(
        self, rule_id: str, expression: str, outcomes: list[str] | None = None, version: str = "1"
    ) -> dict[str, str]:
        answer = self.c.update_rule_version(
            rule=self.rule(rule_id, version),
            expression=expression,
            language="DETECTORPL",
            outcomes=outcomes or ["ok"],
        )
        made: dict[str, str] = answer["rule"]
        return made

    def activate(self, version: str, status: str = "ACTIVE") -> None:
        answer = self.c.update_detector_version_status(
            detectorId="det", detectorVersionId=version, status=status
        )
        assert self.done(answer)

    def set_up(self) -> None:
        """The fixture that the acid tests build on."""
        c = self.c
        c.put_entity_type(name="customer")
        c.put_label(name="fraud")
        c.put_label(name="legit")
        for name, data_type, default, variable_type in (
            ("email", "STRING", "<unknown>", "EMAIL_ADDRESS"),
            ("amt", "FLOAT", "0.0", "PRICE"),
            ("vip", "BOOLEAN", "false", "CATEGORICAL"),
        ):
            c.create_variable(
                name=name,
                dataType=data_type,
                dataSource="EVENT",
                defaultValue=default,
                variableType=variable_type,
            )
        c.put_event_type(
            name="pay",
            eventVariables=["email", "amt", "vip"],
            entityTypes=["customer"],
            labels=["fraud", "legit"],
            eventIngestion="ENABLED",
        )
        for name in ("block", "review", "ok"):
            c.put_outcome(name=name)
        c.put_detector(detectorId="det", eventTypeName="pay")
        self.mkrule("big", "$amt > 900", ["block"])
        self.mkrule("mid", "$amt > 100", ["review"])
        self.mkrule("free", '$email == "a@free.example"', ["ok", "review"])
        c.create_detector_version(detectorId="det", rules=self.RULES)
        self.activate("1")
        c.create_detector_version(detectorId="det", rules=self.RULES, ruleExecutionMode="ALL_MATCHED")

    def finish_training(self, model: dict[str, str], version: str) -> None:
        """The version's training ends well, with a small model on `email` and `amt`."""
        self._server.finish_training(self.tenant, (model["modelType"], model["modelId"], version))


class Server:
    """A real server on a free port. Its trainings wait in the queue until `finish_training`."""

    def __init__(self, app: App, url: str, small_model: Callable[[], tuple[Path, dict[str, Any]]]) -> None:
        self.app = app
        self.url = url
        self._small_model = small_model
        self._accounts = (f"{number:012d}" for number in itertools.count(100_000_000_001))
        self._customers: list[Customer] = []

    def customer(self, account: str | None = None, region: str = "us-east-1") -> Customer:
        """A customer of the account; of a new one when none is named."""
        made = Customer(self, account or next(self._accounts), region)
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


def _training_rows(path: Path) -> None:
    """400 labelled events: dear ones at one provider are fraud."""
    random = seeded(11)
    lines = ["EVENT_TIMESTAMP,EVENT_LABEL,email,amt"]
    for number in range(400):
        fraud = random.random() < 0.3
        amount = round(random.uniform(500, 1_500) if fraud else random.uniform(1, 700), 2)
        domain = "free.example" if fraud and random.random() < 0.8 else "home.example"
        at = iso(datetime(2021, 5, 1, tzinfo=UTC) + timedelta(hours=number))
        lines.append(f"{at},{'fraud' if fraud else 'legit'},u{number}@{domain},{amount}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[Path, dict[str, Any]]]:
    """Trains, once and when first asked for, a small model: its artefact's folder and its results."""
    made: list[tuple[Path, dict[str, Any]]] = []

    def get() -> tuple[Path, dict[str, Any]]:
        if not made:
            from hawksnest.ml.training import train  # heavy: only where a test needs a model

            folder = tmp_path_factory.mktemp("small-model")
            (folder / "buckets" / "b").mkdir(parents=True)
            _training_rows(folder / "buckets" / "b" / "train.csv")
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
def server(
    tmp_path_factory: pytest.TempPathFactory,
    small_model: Callable[[], tuple[Path, dict[str, Any]]],
    model_stub: ModelStub,
) -> Iterator[Server]:
    """The server of all conformance tests, with its real store."""
    settings = Settings.of(
        data=tmp_path_factory.mktemp("data"),
        port=0,
        model_endpoints=model_stub.addresses,
        model_timeout_s=2.0,
    )
    with open_app(settings, RealWorld()) as app:
        app.trainings.close()  # no children here: what starts stays in the queue
        metrics = Metrics()
        door = Door(app, served(), KeyRing(app.catalog, "frauddetector"), metrics, check_responses=True)
        try:
            with BackgroundServer(Site(app, door, metrics)) as running:
                yield Server(app, running.url, small_model)
        finally:
            door.close()


@pytest.fixture
def empty(server: Server) -> Iterator[Customer]:
    """A new account with nothing in it."""
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
