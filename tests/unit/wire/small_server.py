"""A small server of two operations over a real catalogue and a ledger that only counts."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import boto3
from botocore.config import Config

from hawksnest.app import App, Call, Defer, Operation, Request, Response
from hawksnest.background import Background
from hawksnest.catalog import AccessKey
from hawksnest.config import Settings
from hawksnest.errors import StorageFull, not_found
from hawksnest.metrics import Metrics
from hawksnest.store.ports import Ledger
from hawksnest.store.sqlite import Database, SqliteCatalog
from hawksnest.wire.door import Door
from hawksnest.wire.keys import KeyRing, create_key
from hawksnest.wire.server import BackgroundServer
from hawksnest.wire.site import Site
from hawksnest.world import RealWorld


class CountingLedger:
    """The part of a ledger that the door uses: sequence numbers, and a flush that can be watched."""

    def __init__(self) -> None:
        self.appended = 0
        self.flushed = 0
        self.flushes = 0
        self.threads: set[str] = set()
        self.before_flush: Callable[[], None] = lambda: None

    def append(self) -> int:
        self.appended += 1
        return self.appended

    def flush(self) -> int:
        reached = self.appended
        self.before_flush()
        self.threads.add(threading.current_thread().name)
        self.flushes += 1
        self.flushed = reached
        return reached


def get_labels(app: App, call: Call, request: Request) -> Response:
    """Answers what it was given, so that a test sees what arrives."""
    if request.get("name") == "nope":
        raise not_found("Label nope does not exist.")
    if request.get("name") == "broken":
        secret = "value-of-the-request"
        raise KeyError(secret)
    if request.get("name") == "strange":
        return {"labels": [{"name": 5}]}
    return {
        "labels": [
            {"name": request.get("name", ""), "description": f"{call.tenant.account}/{call.tenant.region}"}
        ]
    }


def put_label(app: App, call: Call, request: Request) -> Response:
    """Appends to the ledger, so that the answer waits for the flush."""
    if request["name"] == "full":
        raise StorageFull("The disk is full.")
    if request["name"] == "defer" and not call.may_block:
        raise Defer
    call.seq = cast(CountingLedger, app.ledger).append()
    call.headers["x-hawksnest-idempotent"] = str(call.idempotent).lower()
    call.headers["x-thread"] = threading.current_thread().name
    return {}


def get_event_prediction(app: App, call: Call, request: Request) -> Response:
    outcomes = [name for name, value in request["eventVariables"].items() if value is None]
    return {
        "modelScores": [{"scores": {"m_insightscore": 24}}],
        "ruleResults": [{"ruleId": "nulls", "outcomes": outcomes}],
        "externalModelOutputs": [],
    }


OPERATIONS = {
    "GetLabels": Operation("GetLabels", get_labels),
    "PutLabel": Operation("PutLabel", put_label, inline=True),
    "GetEventPrediction": Operation("GetEventPrediction", get_event_prediction, inline=True),
}


class SmallServer:
    """A running server, its parts, and clients for it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings.of(data=folder, **settings)
        self.world = RealWorld()
        self.catalog = SqliteCatalog(Database(folder / "hawksnest.sqlite"))
        self.ledger = CountingLedger()
        self.metrics = Metrics()
        absent = cast(Any, None)
        ledger = cast(Ledger, self.ledger)
        self.app = App(
            self.settings,
            self.world,
            self.catalog,
            ledger,
            absent,
            absent,
            absent,
            absent,
            absent,
            Background(self.world),
            absent,
        )
        self.key: AccessKey = create_key(self.catalog, self.world, "000000000000")
        self.door = Door(
            self.app, OPERATIONS, KeyRing(self.catalog, "frauddetector"), self.metrics, check_responses=True
        )
        self.server = BackgroundServer(Site(self.app, self.door, self.metrics))
        self.url = self.server.url
        self.port = int(self.url.rpartition(":")[2])

    def boto(self, **changes: Any) -> Any:
        given = {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "aws_access_key_id": self.key.access_key_id,
            "aws_secret_access_key": self.key.secret,
            "config": Config(parameter_validation=False, retries={"max_attempts": 0}),
        }
        return boto3.session.Session().client("frauddetector", **(given | changes))

    def __enter__(self) -> "SmallServer":
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()
        self.door.close()
        self.catalog.close()
