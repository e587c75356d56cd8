"""Clients that were not written here do a detector's life and read what the documentation promises."""

import json
import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore
import click
import pytest
from deployment import BUCKET, CLIENTS, HERE, REGION, Deployment, ago, iso, run

PROGRAMS = HERE / "programs"


def version(client: str, text: str) -> None:
    """Said for whoever reads the log (`-s`)."""
    click.echo(f"\n{client}: {text}")


def test_the_newest_boto3_lives_a_detectors_life(deployment: Deployment) -> None:
    version("boto3", f"{boto3.__version__}, botocore {botocore.__version__}")
    c = deployment.boto3()
    c.put_entity_type(name="b3_customer")
    c.put_label(name="b3_fraud", description="bad")
    c.put_outcome(name="b3_block")
    made = c.batch_create_variable(
        variableEntries=[
            {"name": "b3_amount", "dataType": "FLOAT", "dataSource": "EVENT", "defaultValue": "0.0"},
            {"name": "b3_ip", "dataType": "STRING", "dataSource": "EVENT", "defaultValue": "<null>"},
        ]
    )
    assert made["errors"] == []
    c.put_event_type(
        name="b3_payment",
        eventVariables=["b3_amount", "b3_ip"],
        entityTypes=["b3_customer"],
        labels=["b3_fraud"],
        eventIngestion="ENABLED",
    )
    c.create_list(name="b3_bad", variableType="IP_ADDRESS", elements=["192.0.2.7"])
    c.put_detector(detectorId="b3_detector", eventTypeName="b3_payment")
    rules = [
        c.create_rule(
            ruleId=f"b3_{name}",
            detectorId="b3_detector",
            expression=expression,
            language="DETECTORPL",
            outcomes=["b3_block"],
        )["rule"]
        for name, expression in (("big", "$b3_amount > 900"), ("listed", "$b3_ip in @b3_bad"))
    ]
    c.create_detector_version(detectorId="b3_detector", rules=rules, ruleExecutionMode="ALL_MATCHED")
    which = {"detectorId": "b3_detector", "detectorVersionId": "1"}
    c.update_detector_version_status(**which, status="ACTIVE")
    answer = c.get_event_prediction(
        detectorId="b3_detector",
        eventId="b3-1",
        eventTypeName="b3_payment",
        eventTimestamp=ago(hours=1),
        entities=[{"entityType": "b3_customer", "entityId": "c-1"}],
        eventVariables={"b3_amount": "950", "b3_ip": "192.0.2.7"},
    )
    assert answer["ruleResults"] == [
        {"ruleId": "b3_big", "outcomes": ["b3_block"]},
        {"ruleId": "b3_listed", "outcomes": ["b3_block"]},
    ]
    [summary] = c.list_event_predictions(eventId={"value": "b3-1"})["eventPredictionSummaries"]
    told = c.get_event_prediction_metadata(
        eventId="b3-1",
        eventTypeName="b3_payment",
        **which,
        predictionTimestamp=summary["predictionTimestamp"],
    )
    assert [rule["matched"] for rule in told["rules"]] == [True, True]
    assert c.get_event(eventId="b3-1", eventTypeName="b3_payment")["event"]["eventVariables"] == {
        "b3_amount": "950",
        "b3_ip": "192.0.2.7",
    }
    with pytest.raises(c.exceptions.ResourceNotFoundException):
        c.get_variables(name="b3_nothing")
    with pytest.raises(c.exceptions.ConflictException):
        c.delete_variable(name="b3_amount")


def test_the_aws_cli_lives_a_detectors_life(deployment: Deployment) -> None:
    aws = CLIENTS / "awscli" / "bin" / "aws"
    environment = deployment.environment

    def call(operation: str, *options: str) -> Any:
        made = subprocess.run(
            [aws, "frauddetector", operation, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout) if made.stdout.strip() else None

    said = subprocess.run([aws, "--version"], env=environment, capture_output=True, text=True, check=True)
    version("AWS CLI", said.stdout.strip())
    call("put-entity-type", "--name", "cli_customer")
    call("put-outcome", "--name", "cli_block")
    variable = {"dataType": "FLOAT", "dataSource": "EVENT", "defaultValue": "0.0"}
    call("create-variable", "--cli-input-json", json.dumps({"name": "cli_amount", **variable}))
    event_type = (
        "--name",
        "cli_payment",
        "--event-variables",
        "cli_amount",
        "--entity-types",
        "cli_customer",
    )
    call("put-event-type", *event_type, "--tags", "key=team,value=risk")
    call("put-detector", "--detector-id", "cli_detector", "--event-type-name", "cli_payment")
    rule = call(
        "create-rule",
        *("--rule-id", "cli_big", "--detector-id", "cli_detector"),
        *("--expression", "$cli_amount > 900", "--language", "DETECTORPL", "--outcomes", "cli_block"),
    )["rule"]
    assert rule == {"detectorId": "cli_detector", "ruleId": "cli_big", "ruleVersion": "1"}
    call("create-detector-version", "--detector-id", "cli_detector", "--rules", json.dumps([rule]))
    which = ("--detector-id", "cli_detector", "--detector-version-id", "1")
    call("update-detector-version-status", *which, "--status", "ACTIVE")
    answer = call(
        "get-event-prediction",
        *("--detector-id", "cli_detector", "--event-id", "cli-1", "--event-type-name", "cli_payment"),
        *("--entities", "entityType=cli_customer,entityId=c-1", "--event-timestamp", ago(hours=1)),
        *("--event-variables", "cli_amount=950"),
    )
    assert answer["ruleResults"] == [{"ruleId": "cli_big", "outcomes": ["cli_block"]}]
    outcomes = call("get-outcomes", "--name", "cli_block", "--query", "outcomes[].name")
    assert outcomes == ["cli_block"]
    refused = subprocess.run(
        [aws, "frauddetector", "get-detectors", "--detector-id", "nobody"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode > 0
    assert "An error occurred (ResourceNotFoundException) when calling the GetDetectors" in refused.stderr


def test_the_javascript_sdk_lives_a_detectors_life(deployment: Deployment) -> None:
    folder = CLIENTS / "javascript"
    node = folder / "bin" / "node"
    environment = {**deployment.environment, "CLIENT_FOLDER": str(folder)}
    seen = run([node, PROGRAMS / "life.mjs", "js", ago(hours=1)], environment)
    version("@aws-sdk/client-frauddetector", seen["version"])
    assert seen["commands"] == 74  # of 73 operations, and their base class
    assert seen["rule"] == {"detectorId": "js_detector", "ruleId": "js_big", "ruleVersion": "1"}
    assert seen["blocked"] == [{"ruleId": "js_big", "outcomes": ["js_block"]}]
    assert seen["passed"] == []
    assert len(seen["requestId"]) == 36
    arn = f"arn:aws:frauddetector:{REGION}:000000000000:event-type/js_payment"
    assert seen["eventType"] == {"arn": arn, "ingestion": "DISABLED"}
    assert seen["tags"] == [{"key": "team", "value": "risk"}]
    assert seen["faults"] == {
        "missing": {"name": "ResourceNotFoundException", "fault": "client", "attempts": 1},
        "value": {"name": "ValidationException", "fault": "client", "attempts": 1},
        "inUse": {"name": "ConflictException", "fault": "client", "attempts": 1},
    }


def test_capo_lives_a_detectors_life_and_decides_at_once(deployment: Deployment) -> None:
    python = CLIENTS / "capo" / "bin" / "python"
    environment = {
        **deployment.environment,
        "AWS_ACCESS_KEY_ID": deployment.key_id,
        "AWS_SECRET_ACCESS_KEY": deployment.secret,
    }
    seen = run([python, PROGRAMS / "life.py", "capo", ago(hours=1)], environment)
    version("capo-frauddetector", seen["version"])
    assert seen["rule"] == {"detector_id": "capo_detector", "rule_id": "capo_big", "rule_version": "1"}
    matched = [{"rule_id": "capo_big", "outcomes": ["capo_block"]}]
    assert (seen["blocked"], seen["passed"], seen["outcome"]) == (matched, [], "stop it")
    assert seen["at_once"] == [[], [], [], matched, matched]
    assert (seen["missing"]["name"], seen["missing"]["code"]) == ("ResourceNotFoundException",) * 2
    assert seen["value"]["name"] == "ValidationException"
    assert "capo_amount" in seen["value"]["message"]


def training_file(path: Path, prefix: str) -> None:
    """A preview training file: the timestamp and the label are columns with names of the customer's own."""
    dice, start = random.Random(5), datetime.now(UTC) - timedelta(days=30)
    lines = [f"{prefix}_ip,{prefix}_mail,{prefix}_at,LABEL"]
    for row in range(600):
        fraud = row % 6 == 0
        mail = f"{'xq' if fraud else 'jane'}{dice.randrange(9_999)}@{'odd' if fraud else 'home'}.example"
        ip = f"{45 if fraud else 81}.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}"
        at = iso(start + timedelta(minutes=60 * row))
        lines.append(f"{ip},{mail},{at},{'fraud' if fraud else 'legit'}")
    path.write_text("\n".join(lines) + "\n")


def test_the_preview_client_passes_its_checks(deployment: Deployment, tmp_path: Path) -> None:
    training_file(tmp_path / "preview.csv", "pre")
    deployment.s3.upload_file(str(tmp_path / "preview.csv"), BUCKET, "preview.csv")
    location = f"s3://{BUCKET}/preview.csv"
    python = CLIENTS / "preview" / "bin" / "python"
    where = (deployment.url, deployment.key_id, deployment.secret)
    seen = run([python, PROGRAMS / "preview.py", *where, "pre", location], deployment.environment)
    version("preview", seen["version"])
    assert (seen["put_detector"], "eventTypeName" in seen["detector"]) == ({}, False)
    assert seen["blocked"] == {
        "outcomes": ["pre_block"],
        "modelScores": [],
        "ruleResults": [{"ruleId": "pre_big", "outcomes": ["pre_block"]}],
    }
    assert (seen["passed"]["outcomes"], seen["passed"]["ruleResults"]) == (["NO_MATCH"], [])
    assert seen["same_version"]
    assert seen["no_detector"] == "ResourceNotFoundException"
    in_use = ("rule_in_use", "rule_still_in_use", "detector_in_use")
    assert [seen[name] for name in in_use] == ["ConflictException"] * 3
    assert (seen["rule_deleted"], seen["event_deleted"], seen["put_model"]) == ({}, {}, {})
    assert seen["model_kept"]
    assert seen["model_version"] == {"modelVersionNumber": "1.0", "status": "TRAINING_IN_PROGRESS"}
    assert seen["model_description"] == "d"
    assert seen["trained"]["dataLocation"] == location
    assert 0.5 < seen["trained"]["auc"] <= 1
    assert len(seen["trained"]["lengths"]) == 1
    assert (seen["activated"], seen["status_refused"]) == ({}, "ValidationException")
    assert seen["external_model"] == {}
    what_the_modern_client_sees(deployment.boto3())


def what_the_modern_client_sees(c: Any) -> None:
    [detector] = c.get_detectors(detectorId="pre_old")["detectors"]
    assert detector["arn"].endswith(":detector/pre_old")
    detail = c.describe_model_versions(modelId="pre_m", modelType="ONLINE_FRAUD_INSIGHTS")[
        "modelVersionDetails"
    ][0]
    assert detail["status"] == "TRAINING_COMPLETE"
    [external] = c.get_external_models(modelEndpoint="pre-endpoint")["externalModels"]
    assert external["inputConfiguration"]["useEventVariables"] is True
    assert external["invokeModelEndpointRoleArn"].endswith("role/Preview")
    assert c.get_rules(detectorId="pre_old")["ruleDetails"] == []
