"""One decision: the turn, what fails in it, what repeats, what is recorded."""

import threading
from typing import Any

import pytest
from event_calls import START_MS, TENANT, Api, answers, decision, event, recounted

from hawksnest.app import Call, Defer
from hawksnest.errors import Poison, ServiceError
from hawksnest.ops.registry import OPERATIONS
from hawksnest.store.records import EventKey, Predicted
from hawksnest.world import ManualWorld

KEY = EventKey(*TENANT, "pay", "e1")
REPEATED = [
    ("SendEvent", event("e1")),
    ("GetEventPrediction", decision("e1")),
    ("GetEventPrediction", decision("e1", eventVariables={"amt": "1"})),
]


def on_the_loop(api: Api, operation: str, request: dict[str, Any], idempotent: bool = False) -> Call:
    call = Call(TENANT, may_block=False, idempotent=idempotent)
    OPERATIONS[operation].function(api.app, call, request)
    return call


def warm(api: Api) -> None:
    """The snapshots are in memory."""
    api("GetEventPrediction", **decision("warm"))
    api("GetEventPrediction", **decision("warm", "off"))


def newest(api: Api) -> Predicted:
    found = api.app.ledger.predictions
    from hawksnest.store.ports import PredictionQuery

    (record,), _ = found(TENANT, PredictionQuery(), 1)
    return record


@pytest.mark.parametrize(("operation", "request_"), REPEATED[:2])
def test_a_new_event_is_decided_on_the_loop(api: Api, operation: str, request_: dict[str, Any]) -> None:
    warm(api)
    call = on_the_loop(api, operation, request_)
    assert call.seq == api.app.ledger.durable_seq + 1


@pytest.mark.parametrize(("operation", "request_"), REPEATED)
@pytest.mark.parametrize("indexed", [False, True])
def test_a_repeated_event_leaves_the_loop_before_any_effect(
    api: Api, operation: str, request_: dict[str, Any], indexed: bool
) -> None:
    warm(api)
    api("SendEvent", **event("e1"))
    if indexed:
        api.app.ledger.statistics(TENANT, "pay")
    before, held = api.app.ledger.durable_seq, api.app.states.contents()
    with pytest.raises(Defer):
        on_the_loop(api, operation, request_)
    assert api.app.ledger.flush() == before
    assert api.app.states.contents() == held


def test_a_call_before_its_snapshot_is_built_leaves_the_loop(api: Api) -> None:
    for operation, request in REPEATED[:2]:
        with pytest.raises(Defer):
            on_the_loop(api, operation, request)
    assert api.app.ledger.flush() == 0


def test_a_recorded_answer_leaves_the_loop_and_waits_for_its_record(api: Api) -> None:
    warm(api)
    first = on_the_loop(api, "GetEventPrediction", decision("e1", "off"))
    with pytest.raises(Defer):
        on_the_loop(api, "GetEventPrediction", decision("e1", "off"), idempotent=True)
    again = Call(TENANT, idempotent=True)
    OPERATIONS["GetEventPrediction"].function(api.app, again, decision("e1", "off"))
    assert again.seq == first.seq > api.app.ledger.durable_seq


@pytest.mark.parametrize("operation", ["SendEvent", "GetEventPrediction"])
@pytest.mark.parametrize("repeated", [False, True])
def test_a_record_that_cannot_be_appended_leaves_everything_as_it_was(
    api: Api, operation: str, repeated: bool
) -> None:
    warm(api)
    if repeated:
        api("SendEvent", **event("e1", eventVariables={"amt": "1", "ip": "192.0.2.9"}))
    held, before = api.app.states.contents(), answers(api, ["e1", "warm"])
    too_large = {"amt": "950", "email": "x" * (9 << 20)}
    request = event if operation == "SendEvent" else decision
    with pytest.raises(Poison):
        api(operation, **request("e1", eventVariables=too_large))
    assert api.app.states.contents() == held == recounted(api.app)
    assert answers(api, ["e1", "warm"]) == before


def test_an_event_does_not_see_itself_when_it_is_decided_again(api: Api) -> None:
    warm(api)
    api("GetEventPrediction", **decision("e1", entity="c9", eventVariables={"ip": "192.0.2.9"}))
    held = api.app.states.contents()
    for _ in range(3):
        api("GetEventPrediction", **decision("e1", entity="c9", eventVariables={"ip": "192.0.2.9"}))
        assert api.app.states.contents() == held


def test_the_entity_of_an_event_sent_again_may_change(api: Api) -> None:
    api("SendEvent", **event("e1", entity="c1"))
    api("SendEvent", **event("e1", entity="c2"))
    keys = {name[-1] for name in api.app.states.contents() if name[-2] == "customer"}
    assert keys == {"c2"}


@pytest.mark.parametrize("entity", ["unknown", "UNKNOWN", "Unknown"])
def test_an_unknown_entity_has_no_history(api: Api, entity: str) -> None:
    api("SendEvent", **event("e1", entity=entity, eventVariables={"ip": "192.0.2.9"}))
    assert [name[-3] for name in api.app.states.contents()] == ["identity"]


def test_an_event_that_is_not_stored_leaves_no_trace_in_the_states(api: Api) -> None:
    api("GetEventPrediction", **decision("e1", "off"))
    api("GetEventPrediction", **decision("e2", at_ms=START_MS + 25 * 3_600_000))
    assert api.app.states.contents() == {}


def test_an_event_up_to_a_day_ahead_is_stored(api: Api) -> None:
    ahead = START_MS + 24 * 3_600_000
    api("GetEventPrediction", **decision("e1", at_ms=ahead))
    api("SendEvent", **event("e2", at_ms=ahead))
    assert api("GetEvent", eventId="e1", eventTypeName="pay") and len(api.app.states) == 1
    assert api.tried("SendEvent", **event("e3", at_ms=ahead + 1_000)) == "ValidationException"


def test_every_prediction_of_an_event_has_its_own_instant(api: Api, world: ManualWorld) -> None:
    for _ in range(4):
        api("GetEventPrediction", **decision("e1"))
    world.advance(0.002)
    api("GetEventPrediction", **decision("e1"))
    listed = api("ListEventPredictions", eventId={"value": "e1"})["eventPredictionSummaries"]
    assert [each["predictionTimestamp"][-4:-1] for each in listed] == ["004", "003", "002", "001", "000"]


def test_an_event_id_of_another_time_is_a_conflict_only_where_events_are_stored(api: Api) -> None:
    other = START_MS - 1_000
    for event_type, code in (("pay", "ConflictException"), ("off", "")):
        api("GetEventPrediction", **decision("e1", event_type))
        assert api.tried("GetEventPrediction", **decision("e1", event_type, at_ms=other)) == code
    assert api.tried("SendEvent", **event("e1", at_ms=other)) == "ConflictException"
    with pytest.raises(ServiceError, match="another timestamp"):
        api("GetEventPrediction", idempotent=True, **decision("e1", "off", at_ms=START_MS - 5_000))


def test_an_event_stored_before_its_type_stopped_storing_stays_as_it_was(api: Api) -> None:
    api("GetEventPrediction", **decision("e1", eventVariables={"amt": "5"}))
    held = api.app.states.contents()
    api.put_event_type("pay", "DISABLED")
    api("GetEventPrediction", **decision("e1", eventVariables={"amt": "950"}, at_ms=START_MS - 1_000))
    assert api("GetEvent", eventId="e1", eventTypeName="pay")["event"]["eventVariables"] == {"amt": "5"}
    assert api.app.states.contents() == held == recounted(api.app)


def test_the_record_holds_what_was_decided_on(api: Api) -> None:
    api("CreateList", name="deny", elements=["a@a.example"], variableType="EMAIL_ADDRESS")
    api("UpdateList", name="deny", elements=["b@b.example"], updateMode="APPEND")
    api.put_rule("det_pay", "listed", "$email in @deny", "block")
    api.put_rule("det_pay", "odd", "10 / $amt > 1", "ok")
    api.version("det_pay", "odd", "listed")
    given = {"amt": "0", "email": "b@b.example", "ip": None}
    api("GetEventPrediction", **decision("e1", eventVariables=given))
    record = newest(api)
    assert record.event.given == given
    assert record.values == {"amt": 0.0, "email": "b@b.example", "ip": None}
    assert record.list_revisions == {"deny": 2}
    assert [(line.rule_id, line.rule_version, line.state) for line in record.trace] == [
        ("odd", "1", 3),
        ("listed", "1", 2),
    ]
    assert record.results == [("listed", ["block"])]
    assert (record.detector_version, record.execution_mode) == ("2", "FIRST_MATCHED")
    assert record.revision == api.app.catalog.revision(TENANT)
    assert record.event.key == EventKey(*TENANT, "pay", "e1")


def test_no_prediction_takes_a_label_away_and_a_new_label_replaces_the_old(api: Api) -> None:
    labelled = {"assignedLabel": "fraud", "labelTimestamp": "2024-01-01"}
    api("SendEvent", **event("e1"), **labelled)
    api("GetEventPrediction", **decision("e1"))
    api("SendEvent", **event("e1"))
    shown = api("GetEvent", eventId="e1", eventTypeName="pay")["event"]
    assert (shown["currentLabel"], shown["labelTimestamp"]) == ("fraud", "2024-01-01")
    api("SendEvent", **event("e1"), **labelled | {"assignedLabel": "legit"})
    assert api("GetEvent", eventId="e1", eventTypeName="pay")["event"]["currentLabel"] == "legit"


def test_the_turn_is_free_while_the_disk_is_read(api: Api) -> None:
    """A repeated event waits for nobody but its own reading: with the turn taken it still looks."""
    warm(api)
    api("SendEvent", **event("e1"))
    looked, done = threading.Event(), threading.Event()
    ledger = api.app.ledger
    with ledger.turn:

        def look() -> None:
            ledger.look(KEY)
            looked.set()

        def decide() -> None:
            api("GetEventPrediction", **decision("e1"))
            done.set()

        threads = [threading.Thread(target=look), threading.Thread(target=decide)]
        for thread in threads:
            thread.start()
        assert looked.wait(10)
        assert not done.is_set()
    for thread in threads:
        thread.join()
    assert done.is_set()


def test_a_page_token_of_predictions_lives_for_24_hours(api: Api, world: ManualWorld) -> None:
    for number in range(11):
        api("GetEventPrediction", **decision(f"e{number}"))
    token = api("ListEventPredictions")["nextToken"]
    world.advance(24 * 3_600)
    assert len(api("ListEventPredictions", nextToken=token)["eventPredictionSummaries"]) == 1
    world.advance(0.001)
    assert api.tried("ListEventPredictions", nextToken=token) == "ValidationException"


def test_more_than_5000_variables_are_refused_before_they_are_read(api: Api) -> None:
    many = {f"v{number}": "x" for number in range(5_001)}
    with pytest.raises(ServiceError, match="at most 5000"):
        api("SendEvent", **event("e1", eventVariables=many))
