"""Acid tests F: predictions, as a real boto3 sees them."""

import pytest


def matched(afd, event_id: str, variables: dict, **other) -> list[str]:
    answer = afd.raw.get_event_prediction(**afd.ev(event_id, variables, **other))
    return [result["ruleId"] for result in answer["ruleResults"]]


def use(afd, *rules: str) -> None:
    """Make version 3 of the detector of these rules."""
    afd.c.create_detector_version(detectorId="det", rules=[afd.rule(rule) for rule in rules])


def test_f1_the_first_matching_rule_is_answered(afd):
    answer = afd.body(afd.c.get_event_prediction(**afd.ev("e1", {"amt": "950"})))
    assert answer == {
        "modelScores": [],
        "externalModelOutputs": [],
        "ruleResults": [{"ruleId": "big", "outcomes": ["block"]}],
    }


def test_f2_all_matching_rules_of_a_draft_are_answered_in_order(afd):
    event = afd.ev("e1", {"amt": "950", "email": "a@free.example"}, detectorVersionId="2")
    results = afd.c.get_event_prediction(**event)["ruleResults"]
    assert [result["ruleId"] for result in results] == ["big", "mid", "free"]
    assert results[-1]["outcomes"] == ["ok", "review"]


def test_f3_no_match_is_no_result(afd):
    assert afd.c.get_event_prediction(**afd.ev("e1", {"amt": "50"}))["ruleResults"] == []


def test_f4_an_absent_variable_has_its_newest_default(afd):
    assert matched(afd, "e1", {"email": "x"}) == []
    afd.c.update_variable(name="amt", defaultValue="500.0")
    assert matched(afd, "e2", {"email": "x"}) == ["mid"]


def test_f5_null_is_not_the_default(afd):
    afd.mkrule("isnull", "$amt == null", ["review"])
    use(afd, "isnull")
    assert matched(afd, "e1", {"amt": None, "email": "x"}, detectorVersionId="3") == ["isnull"]
    assert matched(afd, "e2", {"email": "x"}, detectorVersionId="3") == []


def test_f6_f7_f9_what_is_unknown_is_not_found(afd):
    predict = afd.c.get_event_prediction
    afd.rnf(predict, **afd.ev("e1", {"amt": "1"}, detectorId="nope"))
    afd.rnf(predict, **afd.ev("e1", {"amt": "1"}, detectorVersionId="9"))
    afd.rnf(predict, **afd.ev("e1", {"amt": "1"}, eventTypeName="nope"))


def test_f8_a_detector_without_an_active_version_is_not_found(afd):
    afd.c.put_detector(detectorId="d2", eventTypeName="pay")
    afd.rnf(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "1"}, detectorId="d2"))


def test_f10_the_event_type_is_the_detectors(afd):
    afd.c.put_event_type(name="p2", eventVariables=["amt"], entityTypes=["customer"])
    afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "1"}, eventTypeName="p2"))


@pytest.mark.parametrize(
    "entities",
    [
        [],
        [{"entityType": "customer", "entityId": "c1"}] * 2,
        [{"entityType": "nope", "entityId": "c1"}],
        [{"entityType": "customer", "entityId": "a b"}],
    ],
)
def test_f11_f12_an_event_has_one_entity_of_its_type(afd, entities):
    afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "1"}, entities=entities))


@pytest.mark.parametrize("entity_id", ["unknown", "UNKNOWN"])
def test_f13_the_entity_may_be_unknown(afd, entity_id):
    entities = [{"entityType": "customer", "entityId": entity_id}]
    assert matched(afd, "e1", {"amt": "950"}, entities=entities) == ["big"]


@pytest.mark.parametrize("at", ["2019-11-30T13:01:01Z", "2020-10-13T09:21:53.000Z", "2020-07-27 12:01:01"])
def test_f14_old_times_predict_fine(afd, at):
    assert matched(afd, "e1", {"amt": "950"}, eventTimestamp=at) == ["big"]


def test_f15_a_time_must_be_one(afd):
    afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "1"}, eventTimestamp="yesterday!!!"))


def test_f16_a_value_must_be_of_its_type(afd):
    message = afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "abc"}))
    assert "amt" in message
    assert "FLOAT" in message


def test_f17_whole_numbers_and_capital_truths_are_values(afd):
    assert matched(afd, "e1", {"amt": "950", "vip": "True"}) == ["big"]


def test_f18_an_undeclared_variable_is_refused_by_name(afd):
    assert "foo" in afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "1", "foo": "1"}))


def test_f19_an_inactive_version_decides_when_named(afd):
    afd.activate("1", "INACTIVE")
    assert matched(afd, "e1", {"amt": "950"}, detectorVersionId="1") == ["big"]


def test_f20_a_rule_that_fails_does_not_match(afd):
    afd.mkrule("div", "10 / $amt > 1")
    use(afd, "div", "big")
    assert matched(afd, "e1", {"amt": "0"}, detectorVersionId="3") == []


def test_f22_a_pattern_matches_the_whole_text(afd):
    afd.mkrule("part", 'regex_match("a@free", $email)')
    afd.mkrule("whole", 'regex_match("a@free.*", $email)')
    use(afd, "part", "whole")
    assert matched(afd, "e1", {"email": "a@free.example"}, detectorVersionId="3") == ["whole"]


def test_f23_functions_of_time_compare_with_texts(afd):
    afd.mkrule("bt", 'isbefore("2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z") == "True"')
    use(afd, "bt")
    assert matched(afd, "e1", {"amt": "1"}, detectorVersionId="3") == ["bt"]


def test_f24_an_event_can_be_predicted_twice(afd):
    for _ in range(2):
        matched(afd, "e1", {"amt": "1"})
    found = afd.c.list_event_predictions(eventId={"value": "e1"})["eventPredictionSummaries"]
    assert len({each["predictionTimestamp"] for each in found}) == 2


def test_f25_an_event_id_keeps_its_time(afd):
    matched(afd, "e1", {"amt": "1"})
    afd.ce(afd.c.get_event_prediction, **afd.ev("e1", {"amt": "1"}, eventTimestamp=afd.T2))


def test_f26_an_event_of_the_future_is_decided_but_not_stored(afd):
    assert matched(afd, "e1", {"amt": "950"}, eventTimestamp=afd.FUTURE) == ["big"]
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")


def test_f27_an_event_id_has_the_form_of_an_identifier(afd):
    afd.ve(afd.c.get_event_prediction, **afd.ev("Event 1", {"amt": "1"}))


def test_an_idempotent_call_gets_the_recorded_answer(afd):
    def header(params, **_):
        params["headers"]["x-hawksnest-idempotent"] = "true"

    events = afd.c.meta.events
    first = afd.body(afd.c.get_event_prediction(**afd.ev("e1", {"amt": "950"})))
    events.register("before-call.frauddetector.GetEventPrediction", header)
    again = afd.body(afd.c.get_event_prediction(**afd.ev("e1", {"amt": "1"})))
    events.unregister("before-call.frauddetector.GetEventPrediction", header)
    assert again == first
    found = afd.c.list_event_predictions(eventId={"value": "e1"})["eventPredictionSummaries"]
    assert len(found) == 1
    assert afd.c.get_event(eventId="e1", eventTypeName="pay")["event"]["eventVariables"] == {"amt": "950"}
