"""The checks of a preview client (April 2020): endpoint, key, secret, prefix, training file. Prints JSON."""

import json
import sys
import time
import warnings
from typing import Any

warnings.simplefilter("ignore")  # this botocore is older than this Python

import boto3  # noqa: E402
import botocore  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

URL, KEY, SECRET, PREFIX, TRAINING = sys.argv[1:]
c: Any = boto3.session.Session().client(
    "frauddetector",
    endpoint_url=URL,
    region_name="us-east-1",
    aws_access_key_id=KEY,
    aws_secret_access_key=SECRET,
)
seen: dict[str, Any] = {"version": f"boto3 {boto3.__version__}, botocore {botocore.__version__}"}
OLD, AMOUNT, BLOCK, BIG, MODEL = (f"{PREFIX}_{part}" for part in ("old", "amt", "block", "big", "m"))
OFI = "ONLINE_FRAUD_INSIGHTS"


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def code(call: Any, **given: Any) -> str:
    try:
        call(**given)
    except ClientError as fault:
        return str(fault.response["Error"]["Code"])
    return ""


def detectors() -> None:
    seen["put_detector"] = plain(c.put_detector(detectorId=OLD))
    seen["detector"] = sorted(c.get_detectors(detectorId=OLD)["detectors"][0])
    c.create_variable(name=AMOUNT, dataType="FLOAT", dataSource="EVENT", defaultValue="0.0")
    c.put_outcome(name=BLOCK)
    rule = c.create_rule(
        ruleId=BIG,
        detectorId=OLD,
        expression=f"${AMOUNT} > 900",
        language="DETECTORPL",
        outcomes=[BLOCK],
    )["rule"]
    version = c.create_detector_version(detectorId=OLD, rules=[rule], ruleExecutionMode="ALL_MATCHED")
    which = {"detectorId": OLD, "detectorVersionId": version["detectorVersionId"]}
    c.update_detector_version_status(status="ACTIVE", **which)

    def decide(amount: str, **more: str) -> dict[str, Any]:
        asked = {"detectorId": OLD, "eventId": "Jane Doe <j@x>", "eventAttributes": {AMOUNT: amount}}
        return plain(c.get_prediction(**{**asked, **more}))

    seen["blocked"], seen["passed"] = decide("950"), decide("5")
    seen["same_version"] = decide("950", detectorVersionId="1.0") == decide("950", detectorVersionId="1")
    seen["no_detector"] = code(c.get_prediction, detectorId="nope", eventId="1")
    seen["rule_in_use"] = code(c.delete_rule_version, **rule)
    c.update_detector_version_status(status="INACTIVE", **which)
    seen["rule_still_in_use"] = code(c.delete_rule_version, **rule)
    seen["detector_in_use"] = code(c.delete_detector, detectorId=OLD)
    c.delete_detector_version(**which)
    seen["rule_deleted"] = plain(c.delete_rule_version(**rule))
    seen["event_deleted"] = plain(c.delete_event(eventId="anything at all"))


def until(status: str, **which: str) -> None:
    deadline_s = time.monotonic() + 60
    while c.get_model_version(**which)["status"] != status:
        assert time.monotonic() < deadline_s, c.describe_model_versions(**which)
        time.sleep(0.2)


def models() -> None:
    for name, kind in (("ip", "IP_ADDRESS"), ("mail", "EMAIL_ADDRESS"), ("at", "EVENT_TIMESTAMP")):
        c.create_variable(
            name=f"{PREFIX}_{name}",
            dataType="STRING",
            dataSource="EVENT",
            defaultValue="<null>",
            variableType=kind,
        )
    c.create_variable(
        name=f"{MODEL}_insightscore",
        dataType="FLOAT",
        dataSource="MODEL_SCORE",
        defaultValue="0.0",
        variableType="NUMERIC",
    )
    source = {"dataLocation": TRAINING, "dataAccessRoleArn": "arn:aws:iam::000000000000:role/FraudDetector"}
    mapper = {"FRAUD": ["fraud"], "LEGIT": ["legit"]}
    seen["put_model"] = plain(
        c.put_model(
            modelId=MODEL,
            modelType=OFI,
            trainingDataSource=source,
            modelVariables=[
                {"name": f"{PREFIX}_{name}", "index": place}
                for place, name in enumerate(("ip", "mail", "at"))
            ],
            labelSchema={"labelKey": "LABEL", "labelMapper": mapper},
        )
    )
    model = c.get_models(modelId=MODEL, modelType=OFI)["models"][0]
    seen["model_kept"] = (
        model["trainingDataSource"] == source and model["labelSchema"]["labelMapper"] == mapper
    )
    made = plain(c.create_model_version(modelId=MODEL, modelType=OFI, description="d"))
    seen["model_version"] = {name: made[name] for name in ("modelVersionNumber", "status")}
    which = {"modelId": MODEL, "modelType": OFI, "modelVersionNumber": made["modelVersionNumber"]}
    seen["model_description"] = c.get_model_version(**which)["description"]
    until("TRAINING_COMPLETE", **which)
    detail = c.describe_model_versions(**which)["modelVersionDetails"][0]
    metrics = {name: json.loads(text) for name, text in detail["trainingMetrics"].items()}
    seen["trained"] = {
        "dataLocation": detail["trainingDataSource"]["dataLocation"],
        "auc": metrics["auc"],
        "lengths": sorted({len(metrics[name]) for name in ("thresholds", "fpr", "tpr", "precision")}),
    }
    seen["activated"] = plain(c.update_model_version(description="d", status="ACTIVE", **which))
    until("ACTIVE", **which)
    c.update_model_version(description="d", status="TRAINING_COMPLETE", **which)
    until("TRAINING_COMPLETE", **which)
    seen["status_refused"] = code(c.update_model_version, description="d", status="ERROR", **which)


def external_models() -> None:
    role = "arn:aws:iam::000000000000:role/Preview"
    c.create_variable(
        name=f"{PREFIX}_score", dataType="FLOAT", dataSource="EXTERNAL_MODEL_SCORE", defaultValue="0.0"
    )
    made = c.put_external_model(
        modelEndpoint=f"{PREFIX}-endpoint",
        modelSource="SAGEMAKER",
        role={"arn": role, "name": "Preview"},
        inputConfiguration={
            "format": "TEXT_CSV",
            "isOpaque": False,
            "csvInputTemplate": f"{{{{{AMOUNT}}}}}",
        },
        outputConfiguration={"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": f"{PREFIX}_score"}},
        modelEndpointStatus="ASSOCIATED",
    )
    seen["external_model"] = plain(made)


detectors()
models()
external_models()
sys.stdout.write(json.dumps(seen))
