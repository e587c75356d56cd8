"""Acid tests L, and D10 for external models: endpoints outside the server, asked before the rules."""

from concurrent.futures import ThreadPoolExecutor

import pytest

ROLE = "arn:aws:iam::123456789012:role/afd"


@pytest.fixture
def stub(model_stub):
    yield model_stub
    model_stub.reset()


def external(endpoint: str = "ep1", **changes) -> dict:
    """Arguments of PutExternalModel."""
    return {
        "modelEndpoint": endpoint,
        "modelSource": "SAGEMAKER",
        "invokeModelEndpointRoleArn": ROLE,
        "inputConfiguration": {
            "eventTypeName": "pay",
            "format": "TEXT_CSV",
            "useEventVariables": True,
            "csvInputTemplate": "{{amt}}",
        },
        "outputConfiguration": {"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": "sm"}},
        "modelEndpointStatus": "ASSOCIATED",
    } | changes


def score_variable(afd, name: str = "sm", data_type: str = "FLOAT", default: str = "0.0") -> None:
    afd.c.create_variable(
        name=name, dataType=data_type, dataSource="EXTERNAL_MODEL_SCORE", defaultValue=default
    )


def attach(afd, *endpoints: str, rule: str = "$sm >= 0.5") -> None:
    """Version 3 of the detector: rule `smr` and these endpoints."""
    made = afd.mkrule("smr", rule)
    afd.c.create_detector_version(detectorId="det", rules=[made], externalModelEndpoints=list(endpoints))


def predict(afd, event_id: str = "e1", variables: dict | None = None, **other) -> dict:
    event = afd.ev(event_id, variables or {"amt": "950"}, detectorVersionId="3", **other)
    return afd.body(afd.raw.get_event_prediction(**event))


def metadata(afd, event_id: str = "e1") -> dict:
    [found] = afd.c.list_event_predictions(eventId={"value": event_id})["eventPredictionSummaries"]
    del found["eventTimestamp"]
    return afd.body(afd.c.get_event_prediction_metadata(**found))


def test_d10_deleting_an_external_model_that_is_missing_succeeds(afd):
    assert afd.done(afd.c.delete_external_model(modelEndpoint="nope"))


def test_l1_what_was_put_is_answered(afd):
    score_variable(afd)
    assert afd.done(afd.c.put_external_model(**external()))
    [found] = afd.c.get_external_models()["externalModels"]
    assert found["arn"].endswith(f":{afd.account}:external-model/ep1")
    assert found["createdTime"] == found["lastUpdatedTime"]
    assert found.items() >= external().items()
    afd.rnf(afd.c.get_external_models, modelEndpoint="nope")
    changed = external(inputConfiguration={"useEventVariables": False}, modelEndpointStatus="DISSOCIATED")
    assert afd.done(afd.c.put_external_model(**changed))
    [found] = afd.c.get_external_models(modelEndpoint="ep1")["externalModels"]
    assert found.items() >= changed.items()


def test_l2_outputs_go_to_score_variables_that_exist(afd):
    score_variable(afd)
    for mapping in ({"0": "nope"}, {"0": "amt"}, {}, {"x": "sm"}, {"0": "sm", "1": "sm"}):
        output = {"format": "TEXT_CSV", "csvIndexToVariableMap": mapping}
        afd.ve(afd.c.put_external_model, **external(outputConfiguration=output))
    output = {"format": "APPLICATION_JSONLINES", "csvIndexToVariableMap": {"0": "sm"}}
    afd.ve(afd.c.put_external_model, **external(outputConfiguration=output))
    assert afd.c.get_external_models()["externalModels"] == []


def test_l3_event_variables_need_event_type_format_and_a_template_that_fits(afd):
    score_variable(afd)
    good = external()["inputConfiguration"]
    json_form = {"eventTypeName": "pay", "format": "APPLICATION_JSON", "useEventVariables": True}
    for bad in (
        {name: value for name, value in good.items() if name != "csvInputTemplate"},
        {name: value for name, value in good.items() if name != "format"},
        {name: value for name, value in good.items() if name != "eventTypeName"},
        good | {"eventTypeName": "nope"},
        good | {"csvInputTemplate": "{{amt}},{{nope}}"},
        good | {"format": "APPLICATION_JSON"},
        json_form | {"jsonInputTemplate": '{"a": {{amt}'},
    ):
        afd.ve(afd.c.put_external_model, **external(inputConfiguration=bad))


def test_l4_the_rules_see_the_score_and_the_answer_keeps_it_raw(afd, stub):
    score_variable(afd)
    afd.c.put_external_model(**external())
    attach(afd, "ep1")
    version = afd.c.get_detector_version(detectorId="det", detectorVersionId="3")
    assert version["externalModelEndpoints"] == ["ep1"]
    assert predict(afd) == {
        "externalModelOutputs": [
            {
                "externalModel": {"modelEndpoint": "ep1", "modelSource": "SAGEMAKER"},
                "outputs": {"sm": "0.5\n"},
            }
        ],
        "modelScores": [],
        "ruleResults": [{"ruleId": "smr", "outcomes": ["ok"]}],
    }
    [seen] = stub.seen["ep1"]
    assert seen == ("/ep1/invocations", "text/csv", b"950")
    shown = metadata(afd)
    assert shown["evaluatedExternalModels"] == [
        {
            "modelEndpoint": "ep1",
            "useEventVariables": True,
            "inputVariables": {"amt": "950"},
            "outputVariables": {"sm": "0.5\n"},
        }
    ]
    values = {each["name"]: (each["value"], each["source"]) for each in shown["eventVariables"]}
    assert values["sm"] == ("0.5", "EXTERNAL_MODEL_SCORE")
    stub.answers["ep1"] = (200, b"0.4\n")
    assert predict(afd, "e2")["ruleResults"] == []


def test_l5_what_is_in_use_stays(afd):
    score_variable(afd)
    afd.c.put_external_model(**external())
    attach(afd, "ep1")
    afd.ce(afd.c.delete_external_model, modelEndpoint="ep1")
    afd.ce(afd.c.put_external_model, **external(modelEndpointStatus="DISSOCIATED"))
    afd.ce(afd.c.delete_variable, name="sm")
    score_variable(afd, "other")
    output = {"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": "other"}}
    afd.ce(afd.c.put_external_model, **external(outputConfiguration=output))
    afd.c.delete_detector_version(detectorId="det", detectorVersionId="3")
    afd.ce(afd.c.delete_external_model, modelEndpoint="ep1")  # a rule still names its variable
    afd.c.delete_rule(rule=afd.rule("smr"))
    afd.ce(afd.c.delete_variable, name="sm")
    assert afd.done(afd.c.delete_external_model(modelEndpoint="ep1"))
    afd.rnf(afd.c.get_variables, name="sm")


def test_l5_a_variable_that_another_external_model_fills_stays(afd):
    score_variable(afd)
    afd.c.put_external_model(**external("ep1"))
    afd.c.put_external_model(**external("ep2"))
    afd.c.delete_external_model(modelEndpoint="ep1")
    assert afd.c.get_variables(name="sm")["variables"]
    afd.c.delete_external_model(modelEndpoint="ep2")
    afd.rnf(afd.c.get_variables, name="sm")


def test_l6_a_failing_endpoint_is_unavailable_and_nothing_is_recorded(afd, stub):
    score_variable(afd)
    afd.c.put_external_model(**external())
    attach(afd, "ep1")
    stub.answers["ep1"] = (500, b"no")
    message = afd.refused(
        "ResourceUnavailableException",
        afd.c.get_event_prediction,
        **afd.ev("e1", {"amt": "1"}, detectorVersionId="3"),
    )
    assert "ep1" in message and "500" in message
    assert len(stub.seen["ep1"]) == 3  # tried again, a bounded number of times
    for answer in (b"many\n", b"\xff\n", b"", b"nan\n", b"x" * 2_000_000):
        stub.answers["ep1"] = (200, answer)
        event = afd.ev("e1", {"amt": "1"}, detectorVersionId="3")
        afd.refused("ResourceUnavailableException", afd.c.get_event_prediction, **event)
    assert afd.c.list_event_predictions(eventId={"value": "e1"})["eventPredictionSummaries"] == []
    stub.answers["ep1"] = (200, b"0.7")
    assert predict(afd)["externalModelOutputs"][0]["outputs"] == {"sm": "0.7"}


def test_l6_an_endpoint_without_address_says_how_to_give_one(afd):
    score_variable(afd)
    afd.c.put_external_model(**external("unknown"))
    attach(afd, "unknown")
    event = afd.ev("e1", {"amt": "1"}, detectorVersionId="3")
    message = afd.refused("ResourceUnavailableException", afd.c.get_event_prediction, **event)
    assert "--model-endpoints" in message


def test_l6_an_endpoint_that_fails_again_and_again_is_left_alone(afd, stub):
    score_variable(afd)
    afd.c.put_external_model(**external("failing"))
    attach(afd, "failing")
    stub.answers["failing"] = (400, b"no")
    event = afd.ev("e1", {"amt": "1"}, detectorVersionId="3")
    messages = [
        afd.refused("ResourceUnavailableException", afd.c.get_event_prediction, **event) for _ in range(7)
    ]
    assert len(stub.seen["failing"]) == 5
    assert all("left alone" in message for message in messages[5:])


def test_l6_an_endpoint_that_hangs_holds_up_nobody_else(afd, stub):
    score_variable(afd)
    afd.c.put_external_model(**external("hanging"))
    attach(afd, "hanging")
    stub.answers["hanging"] = stub.hang
    hanging = [afd.ev(f"h{number}", {"amt": "1"}, detectorVersionId="3") for number in range(4)]
    faults: list[str] = []

    def call(event: dict) -> None:
        faults.append(afd.refused("ResourceUnavailableException", afd.c.get_event_prediction, **event))

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, event) for event in hanging]
        for number in range(20):
            answer = afd.raw.get_event_prediction(**afd.ev(f"e{number}", {"amt": "950"}))
            assert answer["ruleResults"]
            assert afd.c.get_labels(name="fraud")["labels"]
        assert not any(each.done() for each in calls), "the others were answered while these wait"
        for each in calls:
            each.result(10)
    assert all("no answer within 2 s" in fault for fault in faults)


def test_l7_the_callers_blob_is_passed_through(afd, stub):
    score_variable(afd)
    afd.c.put_external_model(**external("blob", inputConfiguration={"useEventVariables": False}))
    attach(afd, "blob")
    blobs = {"blob": {"byteBuffer": b"1,2", "contentType": "text/csv"}}
    answer = predict(afd, externalModelEndpointDataBlobs=blobs)
    assert answer["externalModelOutputs"][0]["outputs"] == {"sm": "0.5\n"}
    [seen] = stub.seen["blob"]
    assert (seen.content_type, seen.body) == ("text/csv", b"1,2")
    event = afd.ev("e2", {"amt": "1"}, detectorVersionId="3")
    afd.ve(afd.c.get_event_prediction, **event)
    blobs = {"blob": {"byteBuffer": b"1,2", "contentType": "text/csv\r\nx: y"}}
    afd.ve(afd.c.get_event_prediction, **event, externalModelEndpointDataBlobs=blobs)
    shown = metadata(afd)["evaluatedExternalModels"][0]
    assert (shown["useEventVariables"], shown["inputVariables"]) == (False, {})


def test_json_templates_and_json_lines(afd, stub):
    score_variable(afd)
    score_variable(afd, "verdict", "STRING", "-")
    template = '{"amount": {{amt}}, "mail": "{{email}}", "raw": {{email}}, "vip": {{ vip }}}'
    afd.c.put_external_model(
        **external(
            "json",
            inputConfiguration={
                "eventTypeName": "pay",
                "format": "APPLICATION_JSON",
                "useEventVariables": True,
                "jsonInputTemplate": template,
            },
            outputConfiguration={
                "format": "APPLICATION_JSONLINES",
                "jsonKeyToVariableMap": {"score": "sm", "word": "verdict"},
            },
        )
    )
    attach(afd, "json", rule='$verdict == "bad" and $sm == 0.10')
    stub.answers["json"] = (200, b'{"score": 0.10, "word": "bad", "more": [1]}\n')
    answer = predict(afd, variables={"amt": "950", "email": 'a"b\\c@d.example'})
    assert answer["externalModelOutputs"][0]["outputs"] == {"sm": "0.10", "verdict": "bad"}
    assert answer["ruleResults"]
    mail = 'a\\"b\\\\c@d.example'
    assert stub.seen["json"][0] == (
        "/json/invocations",
        "application/json",
        f'{{"amount": 950.0, "mail": "{mail}", "raw": "{mail}", "vip": false}}'.encode(),
    )
    predict(afd, "e2", {"amt": None})
    assert (
        stub.seen["json"][1].body
        == b'{"amount": null, "mail": "<unknown>", "raw": "<unknown>", "vip": false}'
    )


def test_detector_versions_take_external_models_that_fit(afd):
    score_variable(afd)
    score_variable(afd, "other")
    make = afd.c.create_detector_version
    rules = [afd.mkrule("smr", "$sm >= 0.5")]
    afd.rnf(make, detectorId="det", rules=rules, externalModelEndpoints=["nope"])
    afd.c.put_external_model(**external("ep1", modelEndpointStatus="DISSOCIATED"))
    afd.ve(make, detectorId="det", rules=rules, externalModelEndpoints=["ep1"])
    afd.c.put_external_model(**external("ep1"))
    afd.c.put_external_model(**external("ep2"))
    afd.ve(make, detectorId="det", rules=rules, externalModelEndpoints=["ep1", "ep2"])
    output = {"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": "other"}}
    afd.c.put_external_model(**external("ep2", outputConfiguration=output))
    afd.ve(make, detectorId="det", rules=rules, externalModelEndpoints=["ep2"])
    afd.ve(make, detectorId="det", rules=rules)
    afd.c.put_event_type(name="p2", eventVariables=["amt"], entityTypes=["customer"])
    other_type = external()["inputConfiguration"] | {"eventTypeName": "p2"}
    afd.c.put_external_model(**external("ep2", inputConfiguration=other_type))
    afd.ve(make, detectorId="det", rules=rules, externalModelEndpoints=["ep2"])
    many = [f"many{number}" for number in range(11)]
    for number, name in enumerate(many):
        score_variable(afd, f"v{number}")
        output = {"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": f"v{number}"}}
        afd.c.put_external_model(**external(name, outputConfiguration=output))
    plain = [afd.rule("big")]
    afd.ve(make, detectorId="det", rules=plain, externalModelEndpoints=many)
    assert make(detectorId="det", rules=plain, externalModelEndpoints=many[:10])["detectorVersionId"]


def test_a_repeated_event_is_asked_again_unless_its_recorded_answer_is_wanted(afd, stub):
    score_variable(afd)
    afd.c.put_external_model(**external())
    attach(afd, "ep1")
    first = predict(afd)
    add = afd.raw.meta.events
    add.register(
        "before-sign",
        idempotent := lambda request, **_: request.headers.add_header("x-hawksnest-idempotent", "true"),
    )
    try:
        assert predict(afd) == first
    finally:
        add.unregister("before-sign", idempotent)
    assert len(stub.seen["ep1"]) == 1
    predict(afd)
    assert len(stub.seen["ep1"]) == 2


def test_the_sample_of_sagemaker_runs_in_its_order(empty, stub):
    """AFD-Sagemaker-Model-Example: an event type without labels, two variables in one template."""
    c = empty.c
    stub.answers["aws-sample"] = (200, b"0.07167139649391174\n")
    score_variable(empty, "sagemaker_score")
    for name in ("order_amt", "prev_amt"):
        c.create_variable(
            name=name, dataType="FLOAT", dataSource="EVENT", defaultValue="0.0", variableType="NUMERIC"
        )
    c.put_entity_type(name="customer")
    c.put_event_type(name="sm_pay", eventVariables=["order_amt", "prev_amt"], entityTypes=["customer"])
    c.put_external_model(
        **external(
            "aws-sample",
            inputConfiguration={
                "eventTypeName": "sm_pay",
                "format": "TEXT_CSV",
                "useEventVariables": True,
                "csvInputTemplate": "{{order_amt}}, {{prev_amt}}",
            },
            outputConfiguration={
                "format": "TEXT_CSV",
                "csvIndexToVariableMap": {"0": "sagemaker_score"},
            },
        )
    )
    c.put_detector(detectorId="sm", eventTypeName="sm_pay")
    for name in ("verify", "review", "approve"):
        c.put_outcome(name=name)
    rules = [
        empty.mkrule("high", "$sagemaker_score > 0.9", ["verify"], "sm"),
        empty.mkrule("mid", "$sagemaker_score > 0.5", ["review"], "sm"),
        empty.mkrule("low", "$sagemaker_score <= 0.5", ["approve"], "sm"),
    ]
    c.create_detector_version(
        detectorId="sm", rules=rules, externalModelEndpoints=["aws-sample"], ruleExecutionMode="FIRST_MATCHED"
    )
    c.update_detector_version_status(detectorId="sm", detectorVersionId="1", status="ACTIVE")
    answer = c.get_event_prediction(
        detectorId="sm",
        eventId="e1",
        eventTypeName="sm_pay",
        eventTimestamp=empty.T,
        entities=[{"entityType": "customer", "entityId": "unknown"}],
        eventVariables={"order_amt": "1000.5"},
    )
    assert answer["modelScores"] == []
    assert answer["externalModelOutputs"][0]["outputs"] == {"sagemaker_score": "0.07167139649391174\n"}
    assert answer["ruleResults"] == [{"ruleId": "low", "outcomes": ["approve"]}]
    assert stub.seen["aws-sample"][0].body == b"1000.5, 0.0"
