"""Other people's boto3 programs: their calls in their order, and the habits that bind a server."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deployment import BUCKET, ROLE, Deployment, iso, poll
from notebook import OFI, Project, get_or_create, put_csv, registrations


def now() -> str:
    return iso(datetime.now(UTC))


def define(c: Any, prefix: str, variables: dict[str, str]) -> None:
    """Entity type, labels, variables (name → data type) and event type of a program."""
    get_or_create(c.get_entity_types, c.put_entity_type, f"{prefix}_entity")
    for label in ("fraud", "legit"):
        c.put_label(name=label, description=label)
    for name, data_type in variables.items():
        default, kind = {"STRING": ("unknown", "CATEGORICAL"), "FLOAT": ("0.0", "NUMERIC")}[data_type]
        c.create_variable(
            name=f"{prefix}_{name}",
            dataType=data_type,
            dataSource="EVENT",
            defaultValue=default,
            variableType=kind,
        )
    c.put_event_type(
        name=f"{prefix}_event",
        eventVariables=[f"{prefix}_{name}" for name in variables],
        labels=["fraud", "legit"],
        entityTypes=[f"{prefix}_entity"],
    )


def prediction(project: Project, event_id: str, ip: str) -> dict[str, Any]:
    return {
        "detectorId": project.detector,
        "eventId": event_id,
        "eventTypeName": project.event_type,
        "eventTimestamp": now(),
        "entities": [{"entityType": "customer", "entityId": str(uuid.UUID(int=2**127 + 7).int)}],
        "eventVariables": {"ip_address": ip, "email_address": "synth1@work.example"},
    }


def american(row: dict[str, str]) -> dict[str, str]:
    """As in the SDK's copy of the sample data: month first, without leading zeros and seconds."""
    at = datetime.fromisoformat(row["EVENT_TIMESTAMP"])
    return row | {"EVENT_TIMESTAMP": f"{at.month}/{at.day}/{at.year} {at.hour}:{at.minute:02}"}


def test_the_python_sdk_fits_activates_deploys_and_predicts(deployment: Deployment) -> None:
    """frauddetector 0.2.0 writes versions as `1.00`, reads lists that may be empty and every description."""
    c = deployment.boto3()
    rows = [american(row) for row in registrations(1_200, 9)]
    location = put_csv(deployment, "sdk/train.csv", rows)
    for name, kind in (("ip_address", "IP_ADDRESS"), ("email_address", "EMAIL_ADDRESS")):
        get_or_create(
            c.get_variables,
            c.create_variable,
            name,
            dataType="STRING",
            dataSource="EVENT",
            defaultValue="<null>",
            description=name,
            variableType=kind,
        )
    c.put_entity_type(name="sdk_customer", description="of the SDK")
    for label in ("0", "1"):
        c.put_label(name=label, description=label)
    c.put_event_type(
        name="sdk_event",
        eventVariables=["ip_address", "email_address"],
        labels=["0", "1"],
        entityTypes=["sdk_customer"],
    )
    model = {"modelId": "sdk_model", "modelType": OFI}
    c.create_model(eventTypeName="sdk_event", **model)
    c.create_model_version(
        **model,
        trainingDataSource="EXTERNAL_EVENTS",
        trainingDataSchema={
            "modelVariables": ["ip_address", "email_address"],
            "labelSchema": {"labelMapper": {"FRAUD": ["1"], "LEGIT": ["0"]}},
        },
        externalEventsDetail={"dataLocation": location, "dataAccessRoleArn": ROLE},
    )
    version = {**model, "modelVersionNumber": "1.00"}  # it was answered 1.0

    def status() -> str:
        return str(c.get_model_version(**version)["status"])

    poll(lambda: status() == "TRAINING_COMPLETE", "the training")
    c.update_model_version_status(**version, status="ACTIVE")
    poll(lambda: status() == "ACTIVE", "the activation")
    assert c.get_model_version(**version)["modelVersionNumber"] == "1.0"
    c.put_detector(detectorId="sdk_detector", eventTypeName="sdk_event")
    assert c.get_rules(detectorId="sdk_detector")["ruleDetails"] == []
    assert c.describe_detector(detectorId="sdk_detector")["detectorVersionSummaries"] == []
    for outcome in ("sdk_stop", "sdk_go"):
        c.put_outcome(name=outcome, description=f"of {outcome}")
        [found] = c.get_outcomes(name=outcome)["outcomes"]
        assert found["description"] == f"of {outcome}"
    rules = []
    for rule_id, expression, outcome in (
        ("sdk_high", "$sdk_model_insightscore > 900", "sdk_stop"),
        ("sdk_rest", "$sdk_model_insightscore >= 0", "sdk_go"),
    ):
        c.create_rule(
            ruleId=rule_id,
            detectorId="sdk_detector",
            expression=expression,
            language="DETECTORPL",
            outcomes=[outcome],
        )
        rules.append({"detectorId": "sdk_detector", "ruleId": rule_id, "ruleVersion": "1"})
    c.create_detector_version(
        detectorId="sdk_detector", rules=rules, modelVersions=[version], ruleExecutionMode="FIRST_MATCHED"
    )
    c.update_detector_version_status(detectorId="sdk_detector", detectorVersionId="1", status="ACTIVE")
    answer = c.get_event_prediction(
        detectorId="sdk_detector",
        eventId="sdk-1",
        eventTypeName="sdk_event",
        eventTimestamp=now(),
        entities=[{"entityType": "sdk_customer", "entityId": "12345"}],
        eventVariables={"ip_address": "82:24:61:42", "email_address": "johndoe@example.com"},
    )
    [score] = answer["modelScores"]
    assert 0 <= score["scores"]["sdk_model_insightscore"] <= 1000
    assert answer["ruleResults"][0]["outcomes"][0] in ("sdk_stop", "sdk_go")


def test_the_mlops_pipeline_deploys_changes_and_takes_down(deployment: Deployment) -> None:
    """mlops-multiaccount-cdk sends `nextToken=""`, compares variables and sets every version INACTIVE."""
    c = deployment.boto3()
    define(c, "mlops", {"amount": "FLOAT", "note": "STRING"})
    found = c.get_variables(name="mlops_amount", nextToken="")["variables"][0]
    compared = {name: found[name] for name in ("dataType", "dataSource", "variableType", "defaultValue")}
    assert compared == {
        "dataType": "FLOAT",
        "dataSource": "EVENT",
        "variableType": "NUMERIC",
        "defaultValue": "0.0",
    }
    c.put_detector(detectorId="mlops_detector", eventTypeName="mlops_event")
    assert c.describe_detector(detectorId="mlops_detector", nextToken="")["detectorVersionSummaries"] == []
    for outcome in ("mlops_stop", "mlops_look"):
        c.put_outcome(name=outcome)
    rule = c.create_rule(
        ruleId="mlops_rule",
        detectorId="mlops_detector",
        expression="$mlops_amount > 900",
        language="DETECTORPL",
        outcomes=["mlops_stop"],
    )["rule"]
    rule = c.update_rule_version(
        rule=rule, expression="$mlops_amount > 100", language="DETECTORPL", outcomes=["mlops_look"]
    )["rule"]
    assert rule["ruleVersion"] == "2"
    for number in ("1", "2"):
        made = c.create_detector_version(detectorId="mlops_detector", rules=[rule])
        assert made["detectorVersionId"] == number
        c.update_detector_version_status(
            detectorId="mlops_detector", detectorVersionId=number, status="ACTIVE"
        )
    summaries = c.describe_detector(detectorId="mlops_detector", nextToken="")["detectorVersionSummaries"]
    assert {each["detectorVersionId"]: each["status"] for each in summaries} == {
        "1": "INACTIVE",
        "2": "ACTIVE",
    }
    for each in summaries:  # whatever its state
        which = {"detectorId": "mlops_detector", "detectorVersionId": each["detectorVersionId"]}
        c.update_detector_version_status(**which, status="INACTIVE")
        c.delete_detector_version(**which)
    for each in c.get_rules(detectorId="mlops_detector", nextToken="")["ruleDetails"]:
        c.delete_rule(rule={name: each[name] for name in ("detectorId", "ruleId", "ruleVersion")})
    c.delete_detector(detectorId="mlops_detector")
    with pytest.raises(c.exceptions.ResourceNotFoundException):
        c.get_detectors(detectorId="mlops_detector", nextToken="")


def test_undeploying_a_model_waits_until_it_is_only_trained(deployment: Deployment, project: Project) -> None:
    """Clean-up of the ATI notebook and of the pipelines: the version leaves the detector, then rests."""
    c = deployment.boto3()
    model = {"modelId": "rest_model", "modelType": OFI}
    c.create_model(eventTypeName=project.event_type, **model)
    made = c.create_model_version(
        **model,
        trainingDataSource="EXTERNAL_EVENTS",
        trainingDataSchema={
            "modelVariables": ["ip_address", "email_address"],
            "labelSchema": {"labelMapper": {"FRAUD": ["1"], "LEGIT": ["0"]}},
        },
        externalEventsDetail={
            "dataLocation": f"s3://{BUCKET}/project_1/registrations.csv",
            "dataAccessRoleArn": ROLE,
        },
    )
    version = {**model, "modelVersionNumber": made["modelVersionNumber"]}

    def status() -> str:
        return str(c.get_model_version(**version)["status"])

    poll(lambda: status() == "TRAINING_COMPLETE", "the training")
    c.update_model_version_status(**version, status="ACTIVE")
    poll(lambda: status() == "ACTIVE", "the activation")
    c.update_model_version_status(**version, status="INACTIVE")
    poll(lambda: status() == "TRAINING_COMPLETE", "the rest")
    c.delete_model_version(**version)
    c.delete_model(**model)
    with pytest.raises(c.exceptions.ResourceNotFoundException):
        c.get_models(**model)


def test_bot_detection_mixes_version_texts_and_sends_nan(deployment: Deployment, project: Project) -> None:
    """bot-detection-demo and the event-based Lambdas: `1.0` and `1.00`, 39-digit entities, 'nan' texts."""
    c = deployment.boto3()
    version = {name: project.version[name] for name in ("modelId", "modelType")}
    for number in ("1.0", "1.00"):
        assert c.get_model_version(**version, modelVersionNumber=number)["status"] == "ACTIVE"
        [detail] = c.describe_model_versions(**version, modelVersionNumber=number)["modelVersionDetails"]
        assert detail["modelVersionNumber"] == "1.0"
    request = prediction(project, "bot-1", "nan")
    assert len(request["entities"][0]["entityId"]) == 39
    assert c.get_event_prediction(**request)["modelScores"]
    define(c, "bot", {"clicks": "FLOAT"})
    with pytest.raises(c.exceptions.ClientError) as caught:
        c.send_event(
            eventId="bot-2",
            eventTypeName="bot_event",
            eventTimestamp=iso(datetime.now(UTC) - timedelta(minutes=5)),
            eventVariables={"bot_clicks": "nan"},
            entities=[{"entityType": "bot_entity", "entityId": "1"}],
        )
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_the_newest_prediction_may_be_read_as_the_last_of_a_page(
    deployment: Deployment, project: Project
) -> None:
    """The ATI notebook's search: five filters, then the last summary's timestamp."""
    c = deployment.boto3()
    asked = prediction(project, "search-1", "81.2.3.4")
    c.get_event_prediction(**asked)
    span = {
        "startTime": iso(datetime.now(UTC) - timedelta(days=1)),
        "endTime": iso(datetime.now(UTC) + timedelta(minutes=1)),
    }
    found = c.list_event_predictions(
        eventId={"value": "search-1"},
        eventType={"value": project.event_type},
        detectorId={"value": project.detector},
        detectorVersionId={"value": "1"},
        predictionTimeRange=span,
    )["eventPredictionSummaries"]
    told = c.get_event_prediction_metadata(
        eventId="search-1",
        eventTypeName=project.event_type,
        detectorId=project.detector,
        detectorVersionId="1",
        predictionTimestamp=found[-1]["predictionTimestamp"],
    )
    assert told["evaluatedModelVersions"][0]["modelId"] == project.model
    assert told["outcomes"]
