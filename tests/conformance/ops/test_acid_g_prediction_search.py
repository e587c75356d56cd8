"""Acid tests G: search and audit of predictions, as a real boto3 sees them."""

import re
from datetime import datetime, timedelta

import pytest
from botocore.exceptions import ParamValidationError

SUMMARY = {
    *("eventId", "eventTypeName", "eventTimestamp", "predictionTimestamp"),
    *("detectorId", "detectorVersionId"),
}


def predict(afd, event_id: str, amount: str = "950", **other) -> None:
    afd.c.get_event_prediction(**afd.ev(event_id, {"amt": amount}, **other))


def summaries(afd, **filters) -> list[dict]:
    wanted = {name: {"value": value} for name, value in filters.items()}
    return afd.c.list_event_predictions(**wanted)["eventPredictionSummaries"]


def metadata(afd, summary: dict, **other) -> dict:
    request = {name: value for name, value in summary.items() if name != "eventTimestamp"} | other
    return afd.body(afd.c.get_event_prediction_metadata(**request))


def shifted(text: str, milliseconds: int) -> str:
    at = datetime.fromisoformat(text) + timedelta(milliseconds=milliseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def test_g1_a_prediction_is_found_by_its_event(afd):
    predict(afd, "e1")
    answer = afd.c.list_event_predictions(eventId={"value": "e1"})
    (found,) = answer["eventPredictionSummaries"]
    assert "nextToken" not in answer
    assert set(found) == SUMMARY
    assert (found["detectorVersionId"], found["eventTimestamp"]) == ("1", afd.T)
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", found["predictionTimestamp"])


def test_g2_predictions_come_newest_first_in_pages_of_10(afd):
    for number in range(12):
        predict(afd, f"e{number}")
    pages = list(afd.pages(afd.c.list_event_predictions, "eventPredictionSummaries"))
    assert [len(page) for page in pages] == [10, 2]
    assert [each["eventId"] for page in pages for each in page] == [f"e{n}" for n in reversed(range(12))]


def test_g2_a_token_serves_its_own_filters_only(afd):
    for number in range(12):
        predict(afd, f"e{number}")
    token = afd.c.list_event_predictions()["nextToken"]
    afd.ve(afd.c.list_event_predictions, nextToken=token, detectorId={"value": "det"})
    afd.ve(afd.c.list_event_predictions, nextToken="garbage")


def test_g3_a_page_of_10_cannot_be_asked_for(afd):
    with pytest.raises(ParamValidationError):
        afd.c.list_event_predictions(maxResults=10)


def test_g4_everything_about_a_prediction_can_be_read(afd):
    predict(afd, "e1")
    (summary,) = summaries(afd)
    shown = metadata(afd, summary)
    assert shown["outcomes"] == ["block"]
    assert [rule["ruleId"] for rule in shown["rules"]] == ["big", "mid", "free"]
    assert [rule["evaluated"] for rule in shown["rules"]] == [True, False, False]
    assert [rule["matched"] for rule in shown["rules"]] == [True, False, False]
    assert shown["rules"][0]["expression"] == "$amt > 900"
    assert "950" in shown["rules"][0]["expressionWithValues"]
    assert (shown["entityType"], shown["entityId"]) == ("customer", "c1")
    assert shown["detectorVersionStatus"] == "ACTIVE"
    assert {"name": "amt", "value": "950", "source": "EVENT"} in shown["eventVariables"]
    assert shown["ruleExecutionMode"] == "FIRST_MATCHED"
    assert shown["predictionTimestamp"] == summary["predictionTimestamp"]


def test_g5_a_prediction_is_found_only_by_its_exact_values(afd):
    predict(afd, "e1")
    (summary,) = summaries(afd)
    for wrong in (
        {"predictionTimestamp": shifted(summary["predictionTimestamp"], 1)},
        {"predictionTimestamp": shifted(summary["predictionTimestamp"], -1)},
        {"detectorVersionId": "2"},
        {"detectorId": "nope"},
        {"eventId": "e2"},
        {"eventTypeName": "nope"},
    ):
        request = {name: value for name, value in summary.items() if name != "eventTimestamp"}
        afd.rnf(afd.c.get_event_prediction_metadata, **request | wrong)


def test_g6_every_outcome_is_named_once(afd):
    predict(afd, "e1", detectorVersionId="2")
    event = afd.ev("e2", {"amt": "950", "email": "a@free.example"}, detectorVersionId="2")
    afd.c.get_event_prediction(**event)
    shown = metadata(afd, summaries(afd, eventId="e2")[0])
    assert all(rule["evaluated"] and rule["matched"] for rule in shown["rules"])
    assert shown["ruleExecutionMode"] == "ALL_MATCHED"
    assert shown["outcomes"] == ["block", "review", "ok"]


def test_g7_nothing_found_is_no_error(afd):
    assert summaries(afd, eventId="never") == []


def test_g7_filters_are_joined_by_and(afd):
    predict(afd, "e1")
    predict(afd, "e2", detectorVersionId="2")
    assert [each["eventId"] for each in summaries(afd, detectorVersionId="2")] == ["e2"]
    assert summaries(afd, detectorVersionId="2", eventId="e1") == []
    assert len(summaries(afd, eventType="pay", detectorId="det")) == 2
    assert summaries(afd, eventType="nope") == []


def test_g8_a_filter_has_the_form_of_an_identifier(afd):
    afd.ve(afd.c.list_event_predictions, eventId={"value": "a b"})


def test_g9_a_span_starts_before_its_end(afd):
    spans = afd.c.list_event_predictions
    afd.ve(spans, predictionTimeRange={"startTime": afd.T, "endTime": afd.T2})
    afd.ve(spans, predictionTimeRange={"startTime": "once upon a time", "endTime": afd.T2})
    predict(afd, "e1")
    inside = {"startTime": afd.T, "endTime": afd.FUTURE}
    assert len(spans(predictionTimeRange=inside)["eventPredictionSummaries"]) == 1
    before = {"startTime": afd.T2, "endTime": afd.T}
    assert spans(predictionTimeRange=before)["eventPredictionSummaries"] == []


def test_g10_deleting_an_event_leaves_its_predictions(afd):
    predict(afd, "e1")
    assert afd.done(afd.c.delete_event(eventId="e1", eventTypeName="pay"))
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")
    assert len(summaries(afd, eventId="e1")) == 1


def test_g11_deleting_an_event_with_its_history_takes_its_predictions(afd):
    predict(afd, "e1")
    predict(afd, "e2")
    assert afd.done(afd.c.delete_event(eventId="e1", eventTypeName="pay", deleteAuditHistory=True))
    assert summaries(afd, eventId="e1") == []
    assert len(summaries(afd, eventId="e2")) == 1
