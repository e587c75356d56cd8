"""What is said about events and predictions beside the acid tests, as a real boto3 sees it."""

import pytest

M = {"modelId": "m1", "modelType": "ONLINE_FRAUD_INSIGHTS"}
NAMED = {"eventId": "e1", "eventTypeName": "pay"}


def idempotent(afd, **request) -> dict:
    def header(params, **_):
        params["headers"]["x-hawksnest-idempotent"] = "true"

    afd.c.meta.events.register("before-call.frauddetector.GetEventPrediction", header)
    try:
        return afd.body(afd.c.get_event_prediction(**request))
    finally:
        afd.c.meta.events.unregister("before-call.frauddetector.GetEventPrediction", header)


def listed(afd, **filters) -> list[dict]:
    wanted = {name: {"value": value} for name, value in filters.items()}
    return afd.c.list_event_predictions(**wanted)["eventPredictionSummaries"]


def explained(afd, event_id: str = "e1") -> dict:
    summary = listed(afd, eventId=event_id)[0]
    request = {name: value for name, value in summary.items() if name != "eventTimestamp"}
    return afd.body(afd.c.get_event_prediction_metadata(**request))


def values(shown: dict) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["value"], each["source"]) for each in shown["eventVariables"]}


def test_null_absent_and_the_text_null_are_three_things(afd):
    afd.mkrule("isnull", "$email == null", ["review"])
    afd.mkrule("text", '$email == "null"', ["review"])
    afd.mkrule("absent", '$email == "<unknown>"', ["ok"])
    rules = [afd.rule(name) for name in ("isnull", "text", "absent")]
    afd.c.create_detector_version(detectorId="det", rules=rules)
    for event_id, variables, rule in (
        ("e1", {"amt": "1", "email": None}, "isnull"),
        ("e2", {"amt": "1", "email": "null"}, "text"),
        ("e3", {"amt": "1"}, "absent"),
    ):
        answer = afd.raw.get_event_prediction(**afd.ev(event_id, variables, detectorVersionId="3"))
        assert [result["ruleId"] for result in answer["ruleResults"]] == [rule]
        sent = {name: text for name, text in variables.items() if text is not None}
        stored = afd.c.get_event(eventId=event_id, eventTypeName="pay")["event"]
        assert stored["eventVariables"] == sent
    assert values(explained(afd, "e1"))["email"] == ("null", "EVENT")
    assert values(explained(afd, "e2"))["email"] == ("null", "EVENT")
    assert values(explained(afd, "e3")) == {
        "amt": ("1", "EVENT"),
        "email": ("<unknown>", "EVENT"),
        "vip": ("false", "EVENT"),
    }


def test_an_event_without_variables_is_refused(afd):
    afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {}))
    afd.ve(afd.c.send_event, **afd.se("e1", {}))
    afd.ve(afd.raw.get_event_prediction, **afd.ev("e1", {"amt": "1", "email": ""}))
    afd.ve(afd.raw.send_event, **afd.se("e1", {"amt": "1", "email": "x" * 8_193}))


def test_idempotent_calls_get_the_recorded_answer_where_nothing_is_stored_too(afd):
    afd.c.put_event_type(
        name="off", eventVariables=["amt"], entityTypes=["customer"], eventIngestion="DISABLED"
    )
    afd.c.put_detector(detectorId="d2", eventTypeName="off")
    afd.mkrule("big", "$amt > 900", ["block"], detector="d2")
    afd.c.create_detector_version(detectorId="d2", rules=[afd.rule("big", detector="d2")])

    def ev(amount: str, **other) -> dict:
        return afd.ev("e1", {"amt": amount}, detectorId="d2", eventTypeName="off", **other) | {
            "detectorVersionId": "1"
        }

    first = idempotent(afd, **ev("950"))
    assert first["ruleResults"] == [{"ruleId": "big", "outcomes": ["block"]}]
    assert idempotent(afd, **ev("1")) == first
    assert len(listed(afd, eventType="off")) == 1
    assert afd.c.get_event_prediction(**ev("1"))["ruleResults"] == []
    assert len(listed(afd, eventType="off")) == 2
    assert idempotent(afd, **ev("950"))["ruleResults"] == []  # the newest recorded answer
    afd.ce(idempotent, afd, **ev("950", eventTimestamp=afd.T2))


def test_an_idempotent_call_about_an_event_that_was_only_sent_is_decided(afd):
    afd.c.send_event(**afd.se("e1", {"amt": "1"}))
    assert idempotent(afd, **afd.ev("e1", {"amt": "950"}))["ruleResults"]
    assert afd.c.get_event(**NAMED)["event"]["eventVariables"] == {"amt": "950"}
    afd.c.delete_event(**NAMED)
    assert idempotent(afd, **afd.ev("e1", {"amt": "1"}))["ruleResults"]
    afd.c.delete_event(**NAMED, deleteAuditHistory=True)
    assert idempotent(afd, **afd.ev("e1", {"amt": "1"}))["ruleResults"] == []


def test_an_event_sent_after_its_prediction_keeps_the_prediction(afd):
    afd.c.get_event_prediction(**afd.ev("e1", {"amt": "950"}))
    afd.c.send_event(**afd.se("e1", {"amt": "1"}))
    afd.ce(afd.c.send_event, **afd.se("e1", {"amt": "1"}, eventTimestamp=afd.T2))
    assert values(explained(afd))["amt"] == ("950", "EVENT")
    assert afd.c.get_event(**NAMED)["event"]["eventVariables"] == {"amt": "1"}


def test_only_a_prediction_that_was_never_stored_goes_with_its_history(afd):
    afd.c.get_event_prediction(**afd.ev("e1", {"amt": "1"}, eventTimestamp=afd.FUTURE))
    afd.c.delete_event(**NAMED)
    assert len(listed(afd, eventId="e1")) == 1
    afd.c.delete_event(**NAMED, deleteAuditHistory=True)
    assert listed(afd, eventId="e1") == []


def test_an_unknown_event_is_reported_before_an_unknown_label(afd):
    label = {"assignedLabel": "nope", "labelTimestamp": afd.T}
    afd.rnf(afd.c.update_event_label, **NAMED, **label)
    afd.c.send_event(**afd.se("e1", {"amt": "1"}))
    assert "nope" in afd.ve(afd.c.update_event_label, **NAMED, **label)


@pytest.mark.parametrize("event_id", ["", "E 1", "a/b", "x" * 65, "ünter", "e1\n"])
def test_an_event_id_that_cannot_be_stored_is_refused_everywhere_but_read(afd, event_id):
    afd.ve(afd.raw.get_event_prediction, **afd.ev(event_id, {"amt": "1"}))
    afd.ve(afd.raw.send_event, **afd.se(event_id, {"amt": "1"}))
    afd.rnf(afd.raw.get_event, eventId=event_id, eventTypeName="pay")


def test_pages_of_predictions_are_50_to_100_long_and_end(afd):
    for number in range(51):
        afd.c.get_event_prediction(**afd.ev(f"e{number}", {"amt": "1"}))
    call, payload = afd.c.list_event_predictions, "eventPredictionSummaries"
    pages = list(afd.pages(call, payload, maxResults=50))
    assert [len(page) for page in pages] == [50, 1]
    assert len({each["eventId"] for page in pages for each in page}) == 51
    assert [len(page) for page in afd.pages(call, payload, detectorId={"value": "det"})] == [10] * 5 + [1]
    afd.ve(afd.raw.list_event_predictions, maxResults=49)
    afd.ve(afd.raw.list_event_predictions, maxResults=101)


def test_a_page_token_serves_its_own_account_only(afd, served):
    for number in range(11):
        afd.c.get_event_prediction(**afd.ev(f"e{number}", {"amt": "1"}))
    token = afd.c.list_event_predictions()["nextToken"]
    other = served.customer()
    other.ve(other.c.list_event_predictions, nextToken=token)
    elsewhere = served.customer(afd.account, "eu-west-1")
    elsewhere.ve(elsewhere.c.list_event_predictions, nextToken=token)
    assert elsewhere.c.list_event_predictions()["eventPredictionSummaries"] == []


@pytest.fixture
def scoring(afd):
    """Version 3 of the detector has a deployed model and a rule on its score."""
    afd.c.create_model(eventTypeName="pay", **M)
    schema = {
        "modelVariables": ["email", "amt"],
        "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
    }
    afd.c.create_model_version(
        trainingDataSource="EXTERNAL_EVENTS",
        trainingDataSchema=schema,
        externalEventsDetail={
            "dataLocation": "s3://b/train.csv",
            "dataAccessRoleArn": "arn:aws:iam::123456789012:role/afd",
        },
        **M,
    )
    afd.finish_training(M, "1.0")
    afd.c.update_model_version_status(modelVersionNumber="1.0", status="ACTIVE", **M)
    afd.mkrule("risky", "$m1_insightscore > 500", ["block"])
    afd.mkrule("fine", "$m1_insightscore <= 500", ["ok"])
    afd.c.create_detector_version(
        detectorId="det",
        rules=[afd.rule("risky"), afd.rule("fine")],
        modelVersions=[{"modelVersionNumber": "1.0", **M}],
    )
    return afd


def test_a_score_is_in_the_answer_the_rules_and_the_explanation(scoring):
    matched = set()
    for event_id, amount, email in (("e1", "1400", "a@free.example"), ("e2", "3", "a@home.example")):
        event = scoring.ev(event_id, {"amt": amount, "email": email}, detectorVersionId="3")
        answer = scoring.c.get_event_prediction(**event)
        (scored,) = answer["modelScores"]
        assert scored["modelVersion"] == {**M, "modelVersionNumber": "1.0"}
        score = scored["scores"]["m1_insightscore"]
        (result,) = answer["ruleResults"]
        assert result["ruleId"] == ("risky" if score > 500 else "fine")
        matched.add(result["ruleId"])
        shown = explained(scoring, event_id)
        assert values(shown)["m1_insightscore"] == (str(score), "MODEL_SCORE")
        assert shown["evaluatedModelVersions"] == [
            {
                "modelId": "m1",
                "modelVersion": "1.0",
                "modelType": M["modelType"],
                "evaluations": [
                    {"outputVariableName": "m1_insightscore", "evaluationScore": str(score)},
                ],
            }
        ]
        assert shown["rules"][0]["expressionWithValues"] == f"{score} > 500"
        assert shown["detectorVersionStatus"] == "DRAFT"
        assert idempotent(scoring, **event) == scoring.body(answer)
    assert matched == {"risky", "fine"}


def test_a_score_cannot_be_sent(scoring):
    sent = {"amt": "1", "m1_insightscore": "999"}
    scoring.ve(scoring.c.get_event_prediction, **scoring.ev("e1", sent, detectorVersionId="3"))
    scoring.ve(scoring.c.send_event, **scoring.se("e1", sent))
