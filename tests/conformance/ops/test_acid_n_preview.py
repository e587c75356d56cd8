"""Acid tests N: the preview API of April 2020, called with the service model of its last client.

`old` is botocore with the model of 1.15.41: it checks requests and reads answers as that client did.
"""

import ast
import json
import shutil
import time

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from hawksnest.errors import UsageError
from hawksnest.ops.registry import OPERATIONS, served
from hawksnest.wire.model import MODELS, preview_fraud_detector

M = {"modelId": "m-1", "modelType": "ONLINE_FRAUD_INSIGHTS"}
ROLE = "arn:aws:iam::123456789012:role/afd"
SOURCE = {"dataLocation": "s3://b/preview.csv", "dataAccessRoleArn": ROLE}
LABELS = {"labelKey": "is_fraud", "labelMapper": {"FRAUD": ["1"], "LEGIT": ["0"]}}


def body(answer: dict) -> dict:
    """The answer without what botocore adds."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


@pytest.fixture(scope="session")
def old_session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "frauddetector" / "2019-11-15").mkdir(parents=True)
    shutil.copy(
        MODELS / "frauddetector-2020-04-17.json", folder / "frauddetector" / "2019-11-15" / "service-2.json"
    )
    session = Session()
    session.set_config_variable("data_path", str(folder))
    return session


class Old:
    """The old client of a customer, with what a script of 2020 made first."""

    def __init__(self, customer, session: Session) -> None:
        self.o = session.create_client(
            "frauddetector", config=Config(retries={"max_attempts": 0}), **customer.where
        )
        self.customer = customer

    def variable(self, name: str, data_type: str = "FLOAT", default: str = "0.0", **other) -> None:
        self.o.create_variable(
            **{"name": name, "dataType": data_type, "dataSource": "EVENT", "defaultValue": default} | other
        )

    def rule(self, rule_id: str, expression: str, *outcomes: str) -> dict:
        answer = self.o.create_rule(
            ruleId=rule_id,
            detectorId="old",
            expression=expression,
            language="DETECTORPL",
            outcomes=list(outcomes),
        )
        return answer["rule"]

    def set_up(self) -> None:
        self.o.put_detector(detectorId="old")
        self.variable("amt")
        for name in ("block", "fraud", "review"):
            self.o.put_outcome(name=name)
        self.rules = [
            self.rule("big", "$amt > 900", "block", "fraud"),
            self.rule("mid", "$amt > 100", "review"),
        ]
        self.version("ALL_MATCHED")

    def version(self, mode: str) -> str:
        made = self.o.create_detector_version(detectorId="old", rules=self.rules, ruleExecutionMode=mode)
        version = made["detectorVersionId"]
        self.status(version, "ACTIVE")
        return version

    def status(self, version: str, status: str) -> None:
        self.o.update_detector_version_status(detectorId="old", detectorVersionId=version, status=status)

    def finish_training(self) -> None:
        """Version 1.0 of the model is trained by the server's training process."""
        until = time.monotonic() + 120
        asked = {**M, "modelVersionNumber": "1.0"}
        while (status := self.o.get_model_version(**asked)["status"]) == "TRAINING_IN_PROGRESS":
            assert time.monotonic() < until, "the training has no end"
            time.sleep(0.05)
        assert status == "TRAINING_COMPLETE"

    def predict(self, event_id: str = "e1", detector: str = "old", **other) -> dict:
        attributes = other.pop("attributes", {"amt": "950"})
        answer = self.o.get_prediction(
            detectorId=detector, eventId=event_id, eventAttributes=attributes, **other
        )
        return body(answer)


@pytest.fixture
def old(empty, old_session):
    made = Old(empty, old_session)
    made.set_up()
    yield made
    made.o.close()


@pytest.fixture
def old_afd(afd, old_session):
    """An old client on the account of today's fixture."""
    made = Old(afd, old_session)
    yield made
    made.o.close()


def raw(customer, operation: str, **members) -> dict:
    """A request with just these members, as a client without a model would send it."""
    client = customer.raw

    def replace(params: dict, **_: object) -> None:
        params["body"] = json.dumps(members).encode()
        params["headers"]["X-Amz-Target"] = f"AWSHawksNestServiceFacade.{operation}"

    client.meta.events.register("before-call", replace)
    try:
        return body(client.get_labels())
    finally:
        client.meta.events.unregister("before-call", replace)


def test_the_32_operations_of_the_preview_are_all_served():
    names = set(preview_fraud_detector().operations)
    assert len(names) == 32
    assert names <= set(served())
    assert served("off") == OPERATIONS
    with pytest.raises(UsageError, match="preview-api"):
        served("maybe")


def test_n1_a_detector_without_event_type_is_seen_by_both(old):
    assert old.customer.done(old.o.put_detector(detectorId="old", description="d"))
    [seen] = old.o.get_detectors(detectorId="old")["detectors"]
    assert "eventTypeName" not in seen and seen["description"] == "d"
    [seen] = old.customer.c.get_detectors()["detectors"]
    assert (seen["detectorId"], seen["eventTypeName"]) == ("old", "old_event")
    [event_type] = old.customer.c.get_event_types()["eventTypes"]
    assert (event_type["eventVariables"], event_type["entityTypes"]) == (["amt"], [])


def test_n2_attributes_are_decided_and_outcomes_are_flat(old):
    assert old.predict("any text @ all") == {
        "outcomes": ["block", "fraud", "review"],
        "modelScores": [],
        "ruleResults": [
            {"ruleId": "big", "outcomes": ["block", "fraud"]},
            {"ruleId": "mid", "outcomes": ["review"]},
        ],
    }
    old.version("FIRST_MATCHED")
    assert old.predict("Jane Doe <j@example.com>")["outcomes"] == ["block", "fraud"]
    [later, first] = old.customer.c.list_event_predictions()["eventPredictionSummaries"]
    assert (first["eventId"], later["eventId"]) == ("any text @ all", "Jane Doe <j@example.com>")
    assert old.customer.c.get_event_types()["eventTypes"][0].get("ingestedEventStatistics") is None


def test_n2_the_time_may_come_in_an_attribute(old):
    old.variable("at", "STRING", "-", variableType="EVENT_TIMESTAMP")
    old.predict("e1", attributes={"at": "2020-04-11 17:48:52", "amt": "1"})
    [shown] = old.customer.c.list_event_predictions()["eventPredictionSummaries"]
    assert shown["eventTimestamp"] == "2020-04-11 17:48:52"
    refused = old.customer.refused
    refused("ValidationException", old.o.get_prediction, **arguments(attributes={"at": "yesterday"}))


def arguments(**other) -> dict:
    attributes = other.pop("attributes", {})
    return {"detectorId": "old", "eventId": "e1", "eventAttributes": attributes} | other


def test_n2_what_does_not_fit_is_refused(old):
    refused, predict = old.customer.refused, old.o.get_prediction
    refused("ResourceNotFoundException", predict, **arguments(detectorId="nope"))
    refused("ResourceNotFoundException", predict, **arguments(detectorVersionId="9"))
    refused("ValidationException", predict, **arguments(attributes={"nope": "1"}))
    refused("ValidationException", predict, **arguments(attributes={"amt": "many"}))
    message = refused("ValidationException", predict, **arguments(attributes={"amt": "1" * 257}))
    assert "256" in message and "111" not in message
    assert old.predict(attributes={"amt": "1" * 256})["outcomes"]
    old.status("1", "INACTIVE")
    refused("ResourceNotFoundException", predict, **arguments())
    event = old.customer.ev("e1", {"amt": "1"}, detectorId="old", eventTypeName="old_event")
    old.customer.ve(old.customer.c.get_event_prediction, **event, detectorVersionId="1")


def test_n3_nothing_matched_is_an_outcome_of_its_own(old):
    assert old.predict(attributes={"amt": "5"}) == {
        "outcomes": ["NO_MATCH"],
        "modelScores": [],
        "ruleResults": [],
    }
    assert old.predict(attributes={})["outcomes"] == ["NO_MATCH"]
    del (given := arguments())["eventAttributes"]
    assert old.o.get_prediction(**given)["outcomes"] == ["NO_MATCH"]


def test_n4_rule_versions_in_use_stay(old):
    delete = {"detectorId": "old", "ruleId": "big", "ruleVersion": "1"}
    old.customer.ce(old.o.delete_rule_version, **delete)
    old.status("1", "INACTIVE")
    old.customer.ce(old.o.delete_rule_version, **delete)
    old.customer.ce(old.o.delete_detector, detectorId="old")
    old.o.delete_detector_version(detectorId="old", detectorVersionId="1.0")
    assert old.customer.done(old.o.delete_rule_version(**delete | {"ruleVersion": "1.0"}))
    old.o.delete_rule_version(**delete | {"ruleId": "mid"})
    assert old.customer.done(old.o.delete_detector(detectorId="old"))
    assert old.customer.c.get_event_types()["eventTypes"] == []
    assert old.customer.done(old.customer.c.delete_variable(name="amt"))


def test_n5_an_event_of_any_id_can_be_deleted(old_afd):
    assert old_afd.customer.done(old_afd.o.delete_event(eventId="any text @ all"))
    afd = old_afd.customer
    afd.c.get_event_prediction(**afd.ev("e1", {"amt": "950"}))
    assert afd.done(old_afd.o.delete_event(eventId="e1"))
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")
    assert afd.c.list_event_predictions(eventId={"value": "e1"})["eventPredictionSummaries"]


def test_n6_versions_may_be_written_as_they_were(old):
    get = old.o.get_detector_version
    assert old.customer.body(get(detectorId="old", detectorVersionId="1.0")) == old.customer.body(
        get(detectorId="old", detectorVersionId="1")
    )
    assert old.predict(detectorVersionId="1.0") == old.predict(detectorVersionId="1")
    rules = [rule | {"ruleVersion": "1.0"} for rule in old.rules]
    made = old.o.create_detector_version(detectorId="old", rules=rules)
    assert made["detectorVersionId"] == "2"
    changed = old.o.update_rule_version(
        rule=rules[0], expression="$amt > 1", language="DETECTORPL", outcomes=["block"]
    )
    assert changed["rule"]["ruleVersion"] == "2"
    for wrong in ("01", "1.5", "1.0.0"):
        old.customer.ve(old.customer.c.get_detector_version, detectorId="old", detectorVersionId=wrong)


def put_model(old: Old) -> None:
    """As the notebooks did: the score's variable first, then the model with all variables of the file."""
    old.variable("mail", "STRING", "-", variableType="EMAIL_ADDRESS")
    old.variable("at", "STRING", "-", variableType="EVENT_TIMESTAMP")
    if "-" not in M["modelId"]:
        old.variable(f"{M['modelId']}_insightscore", dataSource="MODEL_SCORE", variableType="NUMERIC")
    names = ("amt", "mail", "at")
    answer = old.o.put_model(
        **M,
        trainingDataSource=SOURCE,
        modelVariables=[{"name": name, "index": place} for place, name in enumerate(names)],
        labelSchema=LABELS,
    )
    assert old.customer.done(answer)


def test_n7_a_model_adopts_the_variable_that_the_client_made(old):
    old.variable("m_insightscore", dataSource="MODEL_SCORE", variableType="NUMERIC")
    given = {
        "modelId": "m",
        "modelType": M["modelType"],
        "trainingDataSource": SOURCE,
        "modelVariables": [{"name": "amt", "index": 0}],
        "labelSchema": LABELS,
    }
    assert old.customer.done(old.o.put_model(**given))
    assert old.customer.done(old.o.put_model(**given, description="again"))
    [seen] = old.o.get_models(modelId="m", modelType=M["modelType"])["models"]
    assert seen.items() >= (given | {"description": "again"}).items()
    [seen] = old.customer.c.get_models()["models"]
    assert "eventTypeName" not in seen and seen["arn"].endswith(":model/ONLINE_FRAUD_INSIGHTS/m")
    old.customer.refused("ValidationException", old.o.put_model, **given | {"modelVariables": []})
    mapper = {"labelKey": "x", "labelMapper": {"FRAUD": ["1"]}}
    old.customer.refused("ValidationException", old.o.put_model, **given | {"labelSchema": mapper})
    assert old.customer.done(old.customer.c.delete_model(modelId="m", modelType=M["modelType"]))
    assert old.customer.c.get_models()["models"] == []


def test_n8_a_training_starts_with_what_put_model_was_given(old):
    put_model(old)
    answer = old.customer.body(old.o.create_model_version(**M, description="d"))
    assert answer == M | {"modelVersionNumber": "1.0", "status": "TRAINING_IN_PROGRESS"}
    seen = old.customer.body(old.o.get_model_version(**M, modelVersionNumber="1.0"))
    assert seen == answer | {"description": "d"}
    old.customer.rnf(old.o.create_model_version, **M | {"modelId": "nope"})
    old.finish_training()


def trained(old: Old) -> None:
    """Trained on what PutModel was given: columns `at` and `is_fraud`, labels 1 and 0."""
    put_model(old)
    old.o.create_model_version(**M, description="d")
    old.finish_training()


def test_n9_results_are_a_structure_and_texts(old):
    trained(old)
    [seen] = old.o.describe_model_versions(**M)["modelVersionDetails"]
    assert seen["trainingDataSource"] == SOURCE
    assert seen["labelSchema"] == LABELS and len(seen["modelVariables"]) == 3
    metrics = seen["trainingMetrics"]
    assert set(metrics) == {"auc", "thresholds", "fpr", "tpr", "precision"}
    assert 0.5 < float(metrics["auc"]) <= 1
    lists = {name: ast.literal_eval(text) for name, text in metrics.items() if name != "auc"}
    assert len({len(each) for each in lists.values()}) == 1
    assert lists["thresholds"] == sorted(lists["thresholds"], reverse=True)
    assert all(isinstance(number, float) for each in lists.values() for number in each)
    assert seen["validationMetrics"] == {}
    [seen] = old.customer.c.describe_model_versions()["modelVersionDetails"]
    assert seen["trainingResult"]["trainingMetrics"]["auc"] == float(metrics["auc"])
    assert seen["status"] == "TRAINING_COMPLETE"


def test_n10_a_version_is_deployed_and_taken_back_by_its_status(old):
    trained(old)
    change = {**M, "modelVersionNumber": "1.0", "description": "e"}

    def seen() -> tuple[str, str]:
        answer = old.o.get_model_version(**M, modelVersionNumber="1.0")
        return answer["status"], answer["description"]

    assert old.customer.done(old.o.update_model_version(**change, status="ACTIVE"))
    assert seen() == ("ACTIVE", "e")
    assert old.customer.done(old.o.update_model_version(**change, status="ACTIVE"))
    assert old.customer.done(
        old.o.update_model_version(**change | {"description": "f"}, status="TRAINING_COMPLETE")
    )
    assert seen() == ("TRAINING_COMPLETE", "f")
    for status in ("ERROR", "INACTIVE", "TRAINING_IN_PROGRESS"):
        old.customer.refused("ValidationException", old.o.update_model_version, **change, status=status)
    both = {**change, "status": "ACTIVE", "majorVersionNumber": "1"}
    old.customer.ve(raw, old.customer, "UpdateModelVersion", **both)
    old.customer.ve(raw, old.customer, "UpdateModelVersion", **M)
    old.customer.ve(old.customer.raw.create_model_version, **M, trainingDataSource="EXTERNAL_EVENTS")


def test_n10_a_deployed_model_scores(old):
    old.variable("email", "STRING", "-", variableType="EMAIL_ADDRESS")
    trained(old)
    old.o.update_model_version(**M, modelVersionNumber="1.0", description="d", status="ACTIVE")
    made = old.o.create_detector_version(
        detectorId="old", rules=old.rules, modelVersions=[{**M, "modelVersionNumber": "1.0"}]
    )
    answer = old.predict(detectorVersionId=made["detectorVersionId"])
    [score] = answer["modelScores"]
    assert score["modelVersion"] == M | {"modelVersionNumber": "1.0"}
    assert 0 <= score["scores"]["m-1_insightscore"] <= 1_000
    old.customer.ve(
        old.customer.c.create_model, modelId="a-b", modelType=M["modelType"], eventTypeName="old_event"
    )


def test_n11_strictness_is_a_setting(old_afd, strict):
    assert raw(old_afd.customer, "DeleteEvent", eventId="e1") == {}
    today = strict.customer()
    message = today.ve(raw, today, "DeleteEvent", eventId="e1")
    assert "eventTypeName" in message
    for operation in ("GetPrediction", "PutModel", "DeleteRuleVersion"):
        with pytest.raises(ClientError, match="UnknownOperationException"):
            raw(today, operation)
    strict.close_customers()


def test_put_detector_without_event_type_changes_only_the_description_of_todays_detector(old_afd):
    afd = old_afd.customer
    old_afd.o.put_detector(detectorId="det", description="d")
    [seen] = afd.c.get_detectors(detectorId="det")["detectors"]
    assert (seen["eventTypeName"], seen["description"]) == ("pay", "d")


def test_todays_detector_answers_the_old_call_and_stores_nothing(old_afd):
    afd = old_afd.customer
    assert old_afd.predict("e1", "det")["outcomes"] == ["block"]
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")
    afd.c.send_event(**afd.se("e1", {"amt": "5"}))
    assert old_afd.predict("e1", "det")["outcomes"] == ["block"]
    assert afd.c.get_event(eventId="e1", eventTypeName="pay")["event"]["eventVariables"] == {"amt": "5"}


def test_an_old_detector_is_adopted_by_an_event_type_that_has_its_variables(old):
    c = old.customer.c
    old.variable("other")
    c.put_entity_type(name="customer")
    c.put_event_type(name="narrow", eventVariables=["other"], entityTypes=["customer"])
    old.customer.ve(c.put_detector, detectorId="old", eventTypeName="narrow")
    c.put_event_type(name="wide", eventVariables=["other", "amt"], entityTypes=["customer"])
    assert old.customer.done(c.put_detector(detectorId="old", eventTypeName="wide"))
    assert [each["name"] for each in c.get_event_types()["eventTypes"]] == ["narrow", "wide"]
    event = old.customer.ev("e1", {"amt": "950"}, detectorId="old", eventTypeName="wide")
    assert c.get_event_prediction(**event)["ruleResults"]
    old.customer.ve(c.put_detector, detectorId="old", eventTypeName="narrow")


def external(**changes) -> dict:
    return {
        "modelEndpoint": "ep1",
        "modelSource": "SAGEMAKER",
        "role": {"arn": ROLE, "name": "afd"},
        "inputConfiguration": {"isOpaque": False, "format": "TEXT_CSV", "csvInputTemplate": "{{amt}}"},
        "outputConfiguration": {"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": "sm"}},
        "modelEndpointStatus": "ASSOCIATED",
    } | changes


def test_external_models_of_both_generations_are_the_same_resource(old, model_stub):
    old.variable("sm", dataSource="EXTERNAL_MODEL_SCORE")
    assert old.customer.done(old.o.put_external_model(**external()))
    [seen] = old.o.get_external_models()["externalModels"]
    assert seen["role"] == {"arn": ROLE, "name": "afd"} and seen["inputConfiguration"]["isOpaque"] is False
    [seen] = old.customer.c.get_external_models()["externalModels"]
    assert seen["invokeModelEndpointRoleArn"] == ROLE
    assert seen["inputConfiguration"]["useEventVariables"] is True
    rule = old.rule("sm", "$sm >= 0.5", "review")
    made = old.o.create_detector_version(detectorId="old", rules=[rule], externalModelEndpoints=["ep1"])[
        "detectorVersionId"
    ]
    assert old.predict(detectorVersionId=made)["outcomes"] == ["review"]
    bad = external(inputConfiguration=external()["inputConfiguration"] | {"csvInputTemplate": "{{nope}}"})
    old.customer.refused("ValidationException", old.o.put_external_model, **bad)


def test_clients_of_july_2020_name_the_event_type_at_the_top(old_afd):
    afd = old_afd.customer
    old_afd.variable("sm", dataSource="EXTERNAL_MODEL_SCORE")
    given = {"useEventVariables": True, "format": "TEXT_CSV", "csvInputTemplate": "{{amt}}"}
    july = external(inputConfiguration=given, eventTypeName="pay")
    assert raw(afd, "PutExternalModel", **july) == {}
    del july["role"]
    july["invokeModelEndpointRoleArn"] = ROLE
    assert raw(afd, "PutExternalModel", **july) == {}
    [seen] = afd.c.get_external_models()["externalModels"]
    assert seen["inputConfiguration"]["eventTypeName"] == "pay" and "role" not in seen
    for wrong in (
        july | {"role": {"arn": ROLE + "x", "name": "x"}},
        july | {"role": {"arn": ROLE}},
        july | {"inputConfiguration": given | {"isOpaque": True}},
        july | {"inputConfiguration": given | {"eventTypeName": "other"}},
    ):
        afd.ve(raw, afd, "PutExternalModel", **wrong)


def test_shapes_of_the_preview_are_checked(old):
    for request in ({}, {"detectorId": "old"}, {"detectorId": "old", "eventId": None}):
        assert "Member must not be null" in old.customer.ve(raw, old.customer, "GetPrediction", **request)
    assert "pattern" in old.customer.ve(
        raw,
        old.customer,
        "PutModel",
        **M,
        trainingDataSource=SOURCE | {"dataLocation": "file"},
        modelVariables=[{"name": "amt"}],
        labelSchema=LABELS,
    )
    refused = old.customer.refused
    refused("SerializationException", raw, old.customer, "GetPrediction", detectorId=5, eventId="e")
