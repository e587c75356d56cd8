"""What the sample notebooks have in common: their habits, the generated data, and one trained detector."""

import csv
import io
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError, ParamValidationError
from deployment import BUCKET, ROLE, Deployment, iso, poll

OFI, TFI = "ONLINE_FRAUD_INSIGHTS", "TRANSACTION_FRAUD_INSIGHTS"
Rows = list[dict[str, str]]


def get_or_create(get: Callable[..., Any], create: Callable[..., Any], name: str, **rest: Any) -> None:
    """Asks by name, and creates when that fails for whatever reason."""
    try:
        get(name=name)
    except ClientError as fault:
        assert fault.response["Error"]["Code"] == "ResourceNotFoundException"
        create(name=name, **rest)


def create_variables(c: Any, types: Mapping[str, tuple[str, str]]) -> None:
    """`types`: name → variable type, data type."""
    for name, (variable_type, data_type) in types.items():
        get_or_create(
            c.get_variables,
            c.create_variable,
            name,
            dataType=data_type,
            dataSource="EVENT",
            defaultValue="0.0" if data_type == "FLOAT" else "<null>",
            description=name,
            variableType=variable_type,
        )


def put_csv(deployment: Deployment, key: str, rows: Rows) -> str:
    """The rows as an object of the bucket; its address."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    deployment.s3.put_object(Bucket=BUCKET, Key=key, Body=text.getvalue().encode())
    return f"s3://{BUCKET}/{key}"


def read_csv(deployment: Deployment, key: str) -> Rows:
    body = deployment.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    return list(csv.DictReader(io.StringIO(body)))


def registrations(count: int, seed: int) -> Rows:
    """Sign-ups of a month; one in ten is a fraudster's, who has his own networks and mail providers."""
    dice, start = random.Random(seed), datetime.now(UTC) - timedelta(days=30)
    rows = []
    for number in range(count):
        fraud, odd = number % 10 == 0, dice.random() < 0.05
        network = "45.13" if fraud != odd else f"{dice.randrange(60, 120)}.{dice.randrange(256)}"
        provider = "odd" if fraud and not odd else dice.choice(("home", "work", "post"))
        rows.append(
            {
                "ip_address": f"{network}.{dice.randrange(256)}.{dice.randrange(256)}",
                "email_address": f"user{dice.randrange(10**6)}@{provider}.example",
                "EVENT_TIMESTAMP": iso(start + timedelta(minutes=number * 40_000 // count)),
                "EVENT_LABEL": "1" if fraud else "0",
            }
        )
    return rows


def train(c: Any, model: Mapping[str, str], schema: dict[str, Any], **source: Any) -> dict[str, str]:
    """A trained and active version of the model, waited for as the notebooks do."""
    made = c.create_model_version(**model, trainingDataSchema=schema, **source)
    version = {**model, "modelVersionNumber": made["modelVersionNumber"]}

    def status() -> str:
        return str(c.get_model_version(**version)["status"])

    poll(lambda: status() != "TRAINING_IN_PROGRESS", "the training")
    assert status() == "TRAINING_COMPLETE", c.describe_model_versions(**version)
    c.update_model_version_status(**version, status="ACTIVE")
    poll(lambda: status() == "ACTIVE", "the activation")
    return version


def publish(c: Any, detector: str, event_type: str, version: dict[str, str]) -> str:
    """Detector, outcomes, three rules on the score and an active version: the greatest id, as text."""
    c.put_detector(detectorId=detector, eventTypeName=event_type)
    score = f"${version['modelId']}_insightscore"
    rules = []
    for rule_id, expression, outcome in (
        ("high", f"{score} > 950", "verify"),
        ("medium", f"{score} <= 950 and {score} > 700", "review"),
        ("low", f"{score} <= 700", "approve"),
    ):
        c.put_outcome(name=outcome, description=outcome)
        with suppress(c.exceptions.ValidationException):  # "already exists", the second time
            c.create_rule(
                ruleId=rule_id,
                detectorId=detector,
                expression=expression,
                language="DETECTORPL",
                outcomes=[outcome],
            )
        rules.append({"detectorId": detector, "ruleId": rule_id, "ruleVersion": "1"})
    c.create_detector_version(
        detectorId=detector, rules=rules, modelVersions=[version], ruleExecutionMode="FIRST_MATCHED"
    )
    summaries = c.describe_detector(detectorId=detector)["detectorVersionSummaries"]
    newest = max(each["detectorVersionId"] for each in summaries)
    c.update_detector_version_status(detectorId=detector, detectorVersionId=newest, status="ACTIVE")
    return str(newest)


class Project(NamedTuple):
    """The first notebook's detector, which the others go on with."""

    rows: Rows
    version: dict[str, str]
    detector: str = "project_1_detector"
    event_type: str = "project_1_event"
    model: str = "project_1_model"  # its length matters to a notebook that cuts MODEL_SCORES


def make_project(deployment: Deployment) -> Project:
    """End_to_End_External_Data_OFI up to the active detector version."""
    c, rows = deployment.boto3(), registrations(2_000, 1)
    location = put_csv(deployment, "project_1/registrations.csv", rows)
    assert deployment.s3.get_object(Bucket=BUCKET, Key="project_1/registrations.csv")["ContentLength"] > 0
    types = {"ip_address": ("IP_ADDRESS", "STRING"), "email_address": ("EMAIL_ADDRESS", "STRING")}
    create_variables(c, types)
    for label in ("0", "1"):
        c.put_label(name=label, description=label)
    get_or_create(c.get_entity_types, c.put_entity_type, "customer", description="who signs up")
    get_or_create(
        c.get_event_types,
        c.put_event_type,
        Project._field_defaults["event_type"],
        eventVariables=list(types),
        labels=["0", "1"],
        entityTypes=["customer"],
    )
    model = {"modelId": Project._field_defaults["model"], "modelType": OFI}
    for _ in range(2):  # the second time fails, and the notebook goes on
        with suppress(ClientError):
            c.create_model(
                description="sign-ups", eventTypeName=Project._field_defaults["event_type"], **model
            )
    schema = {
        "modelVariables": list(types),
        "labelSchema": {"labelMapper": {"FRAUD": ["1"], "LEGIT": ["0"]}},
    }
    where = {"dataLocation": location, "dataAccessRoleArn": ROLE}
    version = train(c, model, schema, trainingDataSource="EXTERNAL_EVENTS", externalEventsDetail=where)
    project = Project(rows, version)
    assert publish(c, project.detector, project.event_type, version) == "1"
    return project


# ---- what the notebooks' worker processes do

_client: Any = None


def start_worker(where: dict[str, Any]) -> None:
    """Of a worker process: its own client."""
    global _client
    _client = boto3.session.Session().client("frauddetector", **where)


def predict(request: dict[str, Any]) -> tuple[float, str]:
    """Score and first outcome."""
    answer = _client.get_event_prediction(**request)
    [score] = answer["modelScores"][0]["scores"].values()
    return score, answer["ruleResults"][0]["outcomes"][0]


def predict_or_miss(request: dict[str, Any]) -> tuple[float, str]:
    """As the notebooks do it: where the call fails, for whatever reason, -999; with the error's name."""
    try:
        return predict(request)
    except (ClientError, ParamValidationError) as error:
        return -999, type(error).__name__


def send(request: dict[str, Any]) -> dict[str, Any]:
    """What SendEvent answers, bar the metadata."""
    answer: dict[str, Any] = _client.send_event(**request)
    del answer["ResponseMetadata"]
    return answer


def requests_of(project: Project, rows: Iterable[Mapping[str, str]], prefix: str) -> Sequence[dict[str, Any]]:
    """A prediction of each row."""
    return [
        {
            "detectorId": project.detector,
            "eventId": f"{prefix}-{number}",
            "eventTypeName": project.event_type,
            "eventTimestamp": row["EVENT_TIMESTAMP"],
            "entities": [{"entityType": "customer", "entityId": "unknown"}],
            "eventVariables": {name: row[name] for name in ("ip_address", "email_address")},
        }
        for number, row in enumerate(rows)
    ]
