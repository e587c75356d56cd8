"""Event orchestration: one event per prediction, where the event type asks for it."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from event_calls import START_MS, TENANT, Api, event, served

from hawksnest import event_bus
from hawksnest.config import Settings
from hawksnest.errors import UsageError
from hawksnest.event_bus import EventBridge, EventBus, Webhook, open_target
from hawksnest.world import ManualWorld


class Receiver:
    """Takes PutEvents and webhooks; `refuse` says how many calls fail before it does."""

    def __init__(self) -> None:
        self.calls = 0
        self.refuse = 0
        self.refuse_entries: set[str] = set()
        self.events: list[dict] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.calls += 1
                status, answer = receiver.answer(self.headers.get("x-amz-target", ""), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, target: str, body: dict) -> tuple[int, dict]:
        if self.refuse:
            self.refuse -= 1
            return 500, {}
        if not target:
            self.events.append(body)
            return 204, {}
        assert target == "AWSEvents.PutEvents"
        results = []
        for entry in body["Entries"]:
            name = json.loads(entry["Detail"])["eventId"]
            if name in self.refuse_entries:
                self.refuse_entries.discard(name)
                results.append({"ErrorCode": "InternalFailure"})
            else:
                self.events.append(entry)
                results.append({"EventId": "x"})
        return 200, {"FailedEntryCount": sum("ErrorCode" in each for each in results), "Entries": results}


@pytest.fixture
def receiver():
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def api(tmp_path):
    with served(tmp_path, ManualWorld(START_MS)) as made:
        made.set_up()
        orchestrate(made, "pay", True)
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(event_bus, "BACKOFF_S", 0.01)
    monkeypatch.setattr(event_bus, "INTERVAL_S", 0.01)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def orchestrate(api: Api, event_type: str, enabled: bool) -> None:
    api(
        "PutEventType",
        name=event_type,
        eventVariables=["amt", "email", "ip"],
        entityTypes=["customer"],
        labels=["fraud", "legit"],
        eventOrchestration={"eventBridgeEnabled": enabled},
    )


def predict(api: Api, event_id: str, event_type: str = "pay", **variables: str) -> None:
    sent = event(event_id, event_type) | {"eventVariables": {"amt": "950", **variables}}
    api("GetEventPrediction", detectorId=f"det_{event_type}", **sent)


def wait_until(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def follow(api: Api, target, folder: Path) -> EventBus:
    bus = EventBus(api.app, target, folder / "cursor")
    bus.start()
    return bus


def test_a_prediction_becomes_an_event_of_eventbridge(api, receiver, tmp_path):
    predict(api, "before")  # not sent: the bus begins at the journal's end
    bus = follow(api, EventBridge(receiver.url, "fraud", "us-east-1"), tmp_path)
    predict(api, "e1", ip="192.0.2.1")
    predict(api, "e2", "off")  # its type does not ask for events
    wait_until(lambda: receiver.events and not bus.lag)
    bus.stop()
    [entry] = receiver.events
    assert (entry["Source"], entry["DetailType"], entry["EventBusName"]) == (
        "aws.frauddetector",
        "Event Prediction Result Returned",
        "fraud",
    )
    arn = f"arn:aws:frauddetector:{TENANT.region}:{TENANT.account}"
    assert entry["Resources"] == [f"{arn}:event-type/pay", f"{arn}:detector-version/det_pay/1"]
    detail = json.loads(entry["Detail"])
    assert detail["eventVariables"] == {"amt": "950", "ip": "192.0.2.1"}
    assert detail["ruleResults"] == [{"ruleId": "big", "outcomes": ["block"]}]
    assert set(detail) == {
        *("eventId", "eventTypeName", "eventTimestamp", "detectorId", "detectorVersionId", "entities"),
        *("eventVariables", "modelScores", "ruleResults", "externalModelOutputs"),
    }
    assert (bus.sent, bus.dropped) == (1, 0)


def test_entries_that_are_refused_are_sent_again_alone(api, receiver, tmp_path):
    receiver.refuse_entries = {"e3"}
    bus = follow(api, EventBridge(receiver.url, "default", "us-east-1"), tmp_path)
    for number in range(25):
        predict(api, f"e{number}")
    wait_until(lambda: bus.sent == 25)
    bus.stop()
    names = [json.loads(entry["Detail"])["eventId"] for entry in receiver.events]
    assert sorted(names) == sorted(f"e{number}" for number in range(25))


def test_a_webhook_gets_the_whole_envelope_and_failures_are_tried_again(api, receiver, tmp_path):
    receiver.refuse = 2
    bus = follow(api, Webhook(receiver.url + "/hook"), tmp_path)
    predict(api, "e1")
    wait_until(lambda: bus.sent == 1)
    bus.stop()
    [envelope] = receiver.events
    assert envelope["detail-type"] == "Event Prediction Result Returned"
    assert (envelope["account"], envelope["region"], envelope["version"]) == (*TENANT, "0")
    assert len(envelope["id"]) == 36 and envelope["detail"]["eventId"] == "e1"
    assert receiver.calls == 3


def test_what_cannot_be_delivered_is_dropped_and_the_next_is_sent(api, receiver, tmp_path):
    bus = follow(api, Webhook(receiver.url), tmp_path)
    receiver.refuse = event_bus.ATTEMPTS_MAX
    predict(api, "e1")
    wait_until(lambda: bus.dropped == 1)
    predict(api, "e2")
    wait_until(lambda: bus.sent == 1)
    bus.stop()
    assert [envelope["detail"]["eventId"] for envelope in receiver.events] == ["e2"]


def test_the_cursor_survives_a_stop(api, receiver, tmp_path):
    bus = follow(api, Webhook(receiver.url), tmp_path)
    predict(api, "e1")
    wait_until(lambda: bus.sent == 1 and not bus.lag)
    bus.stop()
    predict(api, "e2")
    orchestrate(api, "pay", False)
    orchestrate(api, "pay", True)
    again = follow(api, Webhook(receiver.url), tmp_path)
    wait_until(lambda: again.sent == 1)
    again.stop()
    assert [envelope["detail"]["eventId"] for envelope in receiver.events] == ["e1", "e2"]


def test_an_event_larger_than_the_bus_takes_is_dropped(api, receiver, tmp_path, monkeypatch):
    monkeypatch.setattr(event_bus, "ENTRY_MAX_BYTES", 1_500)
    bus = follow(api, Webhook(receiver.url), tmp_path)
    predict(api, "large", email="x" * 2_000)
    predict(api, "e1")
    wait_until(lambda: bus.sent == 1)
    bus.stop()
    assert bus.dropped == 1


def test_settings_name_one_receiver():
    assert open_target(Settings.of(data="x")) is None
    assert isinstance(open_target(Settings.of(data="x", event_webhook="http://h/x")), Webhook)
    assert isinstance(open_target(Settings.of(data="x", eventbridge_endpoint="http://h")), EventBridge)
    with pytest.raises(UsageError, match="one of them"):
        open_target(Settings.of(data="x", event_webhook="http://h", eventbridge_endpoint="http://h"))
    with pytest.raises(UsageError, match="event-webhook"):
        open_target(Settings.of(data="x", event_webhook="h:1"))
