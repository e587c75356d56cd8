"""A served application without a server: operations are called as the door's threads call them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hawksnest.app import App, Call
from hawksnest.catalog import Tenant
from hawksnest.config import Settings
from hawksnest.errors import ServiceError
from hawksnest.kernel.windows import EntityStates
from hawksnest.main import open_app
from hawksnest.ops.registry import OPERATIONS
from hawksnest.store.journal import JournalReader
from hawksnest.store.states import replay_states
from hawksnest.world import ManualWorld, World, iso_s

TENANT = Tenant("123456789012", "us-east-1")
START_MS = 1_704_067_200_000
TYPES = ("pay", "off")  # events of the second are not stored


class Api:
    """The operations of one application, as one tenant calls them."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, operation: str, /, idempotent: bool = False, **request: Any) -> dict[str, Any]:
        """The answer, once what it rests on is durable."""
        call = Call(TENANT, idempotent=idempotent)
        answer = OPERATIONS[operation].function(self.app, call, request)
        self.app.ledger.commit(call.seq)
        return answer

    def tried(self, operation: str, /, **request: Any) -> str:
        """The code of the fault, "" for none."""
        try:
            self(operation, **request)
        except ServiceError as fault:
            return fault.code
        return ""

    def set_up(self) -> None:
        self("PutEntityType", name="customer")
        for label in ("fraud", "legit"):
            self("PutLabel", name=label)
        for outcome in ("block", "ok"):
            self("PutOutcome", name=outcome)
        for name, data_type, default, variable_type in (
            ("amt", "FLOAT", "0.0", "PRICE"),
            ("email", "STRING", "<unknown>", "EMAIL_ADDRESS"),
            ("ip", "STRING", "<unknown>", "IP_ADDRESS"),
        ):
            self(
                "CreateVariable",
                name=name,
                dataType=data_type,
                dataSource="EVENT",
                defaultValue=default,
                variableType=variable_type,
            )
        for event_type in TYPES:
            self.put_event_type(event_type, "ENABLED" if event_type == "pay" else "DISABLED")
            detector = f"det_{event_type}"
            self("PutDetector", detectorId=detector, eventTypeName=event_type)
            self.put_rule(detector, "big", "$amt > 900", "block")
            self.version(detector, "big")

    def put_event_type(self, name: str, ingestion: str, *more: str) -> None:
        self(
            "PutEventType",
            name=name,
            eventVariables=["amt", "email", "ip", *more],
            entityTypes=["customer"],
            labels=["fraud", "legit"],
            eventIngestion=ingestion,
        )

    def put_rule(self, detector: str, rule: str, expression: str, outcome: str) -> None:
        self(
            "CreateRule",
            ruleId=rule,
            detectorId=detector,
            expression=expression,
            language="DETECTORPL",
            outcomes=[outcome],
        )

    def version(self, detector: str, *rules: str, activate: bool = True, **more: Any) -> str:
        keys = [{"detectorId": detector, "ruleId": rule, "ruleVersion": "1"} for rule in rules]
        made = self("CreateDetectorVersion", detectorId=detector, rules=keys, **more)
        number: str = made["detectorVersionId"]
        if activate:
            self(
                "UpdateDetectorVersionStatus",
                detectorId=detector,
                detectorVersionId=number,
                status="ACTIVE",
            )
        return number


def event(event_id: str, event_type: str = "pay", at_ms: int = START_MS, **other: Any) -> dict[str, Any]:
    """Members of SendEvent."""
    return {
        "eventId": event_id,
        "eventTypeName": event_type,
        "entities": [{"entityType": "customer", "entityId": other.pop("entity", "c1")}],
        "eventTimestamp": iso_s(at_ms),
        "eventVariables": {"amt": "950"},
    } | other


def decision(event_id: str, event_type: str = "pay", **other: Any) -> dict[str, Any]:
    """Members of GetEventPrediction."""
    return {"detectorId": f"det_{event_type}", **event(event_id, event_type, **other)}


@contextmanager
def served(folder: Path, world: World | None = None) -> Iterator[Api]:
    """The application that lives in a data folder, with its projections followed as in the server."""
    with open_app(Settings.of(data=folder, port=0), world or ManualWorld(START_MS)) as app:
        app.trainings.close()  # no children here
        yield Api(app)


def recounted(app: App) -> dict[tuple[str, ...], Any]:
    """What the entity states must hold: the whole journal folded from its beginning."""
    app.ledger.flush()
    states = EntityStates()
    reader = JournalReader.of(app.settings.data / "journal")
    try:
        replay_states(reader, states)
    finally:
        reader.close()
    return states.contents()


def stored_only(app: App, answers: dict[tuple[str, str], Any]) -> dict[tuple[str, ...], Any]:
    """What the entity states must hold, in other words: each event that is stored now, once."""
    from hawksnest.store.records import EventKey
    from hawksnest.store.states import footprint

    states = EntityStates()
    for event_type, event_id in sorted(answers):
        found = app.ledger.event(EventKey(*TENANT, event_type, event_id))
        if found is not None:
            states.fold(footprint(found))
    return states.contents()


def answers(api: Api, ids: list[str]) -> dict[tuple[str, str], Any]:
    """Everything that can be asked about the events, by type and id."""
    found: dict[tuple[str, str], Any] = {}
    for event_type in TYPES:
        for event_id in ids:
            try:
                stored = api("GetEvent", eventId=event_id, eventTypeName=event_type)["event"]
            except ServiceError as fault:
                stored = fault.code
            listed = api(
                "ListEventPredictions",
                eventId={"value": event_id},
                eventType={"value": event_type},
                maxResults=100,
            )["eventPredictionSummaries"]
            details = [
                api(
                    "GetEventPredictionMetadata",
                    **{name: value for name, value in each.items() if name != "eventTimestamp"},
                )
                for each in listed
            ]
            found[event_type, event_id] = (stored, listed, details)
    return found
