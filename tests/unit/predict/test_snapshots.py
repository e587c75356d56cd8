"""What the very next call sees of a changed catalogue."""

from typing import Any

import pytest
from event_calls import Api, decision, event

from hawksnest.errors import ServiceError
from hawksnest.snapshot import Snapshots


def matched(api: Api, event_id: str, version: str | None = None, **variables: Any) -> list[str]:
    named = {} if version is None else {"detectorVersionId": version}
    answer = api(
        "GetEventPrediction", **decision(event_id, eventVariables=variables or {"amt": "950"}), **named
    )
    return [result["ruleId"] for result in answer["ruleResults"]]


def test_an_activated_version_decides_the_next_call(api: Api) -> None:
    assert matched(api, "e1") == ["big"]
    api.put_rule("det_pay", "all", "$amt >= 0", "ok")
    draft = api.version("det_pay", "all", activate=False)
    assert matched(api, "e2") == ["big"]
    assert matched(api, "e3", draft) == ["all"]
    api("UpdateDetectorVersionStatus", detectorId="det_pay", detectorVersionId=draft, status="ACTIVE")
    assert matched(api, "e4") == ["all"]
    api("UpdateDetectorVersionStatus", detectorId="det_pay", detectorVersionId=draft, status="INACTIVE")
    assert api.tried("GetEventPrediction", **decision("e5")) == "ResourceNotFoundException"


def test_a_changed_draft_decides_the_next_call(api: Api) -> None:
    api.put_rule("det_pay", "all", "$amt >= 0", "ok")
    draft = api.version("det_pay", "all", activate=False)
    assert matched(api, "e1", draft) == ["all"]
    api(
        "UpdateDetectorVersion",
        detectorId="det_pay",
        detectorVersionId=draft,
        externalModelEndpoints=[],
        rules=[{"detectorId": "det_pay", "ruleId": rule, "ruleVersion": "1"} for rule in ("big", "all")],
        ruleExecutionMode="ALL_MATCHED",
    )
    assert matched(api, "e2", draft) == ["big", "all"]


def test_a_changed_list_decides_the_next_call_of_the_same_millisecond(api: Api) -> None:
    api("CreateList", name="deny", elements=["a@a.example"], variableType="EMAIL_ADDRESS")
    api.put_rule("det_pay", "listed", "$email in @deny", "block")
    draft = api.version("det_pay", "listed", activate=False)
    assert matched(api, "e1", draft, email="a@a.example") == ["listed"]
    api("UpdateList", name="deny", elements=["c@c.example"], updateMode="REPLACE")
    assert matched(api, "e2", draft, email="a@a.example") == []
    api("UpdateList", name="deny", elements=["b@b.example"], updateMode="REPLACE")
    assert matched(api, "e3", draft, email="b@b.example") == ["listed"]


def test_a_changed_default_decides_the_next_call(api: Api) -> None:
    assert matched(api, "e1", ip="192.0.2.1") == []
    api("UpdateVariable", name="amt", defaultValue="901")
    assert matched(api, "e2", ip="192.0.2.1") == ["big"]


def test_a_variable_added_to_an_event_type_is_accepted_by_the_next_call(api: Api) -> None:
    more = event("e1", eventVariables={"amt": "1", "note": "x"})
    assert api.tried("SendEvent", **more) == "ValidationException"
    api("CreateVariable", name="note", dataType="STRING", dataSource="EVENT", defaultValue="-")
    assert api.tried("SendEvent", **more) == "ValidationException"
    api.put_event_type("pay", "ENABLED", "note")
    assert api.tried("SendEvent", **more) == ""
    assert matched(api, "e2", amt="950", note="x") == ["big"]


def test_a_draft_whose_rule_was_deleted_cannot_decide_until_the_rule_is_there_again(api: Api) -> None:
    api.put_rule("det_pay", "all", "$amt >= 0", "ok")
    draft = api.version("det_pay", "all", activate=False)
    api("DeleteRule", rule={"detectorId": "det_pay", "ruleId": "all", "ruleVersion": "1"})
    with pytest.raises(ServiceError, match="Rule all version 1 of detector det_pay was deleted") as refusal:
        matched(api, "e1", draft)
    assert refusal.value.code == "ValidationException"
    assert api.app.ledger.flush() == 0
    api.put_rule("det_pay", "all", "$amt > 5", "block")
    assert matched(api, "e2", draft, amt="1") == []


def test_an_explanation_never_shows_a_rule_made_anew(api: Api, world: Any) -> None:
    api.put_rule("det_pay", "all", "$amt >= 0", "ok")
    draft = api.version("det_pay", "all", activate=False)
    matched(api, "e1", draft)
    rule = {"detectorId": "det_pay", "ruleId": "all", "ruleVersion": "1"}

    def shown() -> dict[str, Any]:
        (summary,) = api("ListEventPredictions", eventId={"value": "e1"})["eventPredictionSummaries"]
        request = {name: value for name, value in summary.items() if name != "eventTimestamp"}
        (line,) = api("GetEventPredictionMetadata", **request)["rules"]
        return line

    known = {"ruleId": "all", "ruleVersion": "1", "evaluated": True, "matched": True, "outcomes": ["ok"]}
    assert shown() == known | {"expression": "$amt >= 0", "expressionWithValues": "950.0 >= 0"}
    api("DeleteRule", rule=rule)
    assert shown() == known
    world.advance(1)
    api.put_rule("det_pay", "all", "$amt > 5", "block")
    assert shown() == known


def test_snapshots_that_a_change_made_stale_are_let_go(api: Api) -> None:
    snapshots: Snapshots = api.app.snapshots
    for number in range(20):
        api("PutLabel", name=f"label{number}")
        matched(api, f"e{number}")
        matched(api, f"f{number}", "1")
    assert len(snapshots._detectors) == 2
    assert len(snapshots._deciders) == 1
