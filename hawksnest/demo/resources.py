"""The demo's detector: variables, event type, model, rules, made by calls of the public API.

The names are the reference pipeline's, so that its records and dashboards fit.
"""

from collections.abc import Callable
from typing import Any

from hawksnest.errors import ServiceError

Caller = Callable[[str, dict[str, Any]], dict[str, Any]]

DETECTOR = "transaction_fraud_detector"
EVENT_TYPE = "transaction_event"
ENTITY_TYPE = "customer"
MODEL = {"modelId": "transaction_model", "modelType": "TRANSACTION_FRAUD_INSIGHTS"}
SCORE = f"${MODEL['modelId']}_insightscore"
LABELS = {True: "fraud", False: "legit"}
OUTCOMES = ("approve", "review", "block")

# (variable, data type, default, variable type)
VARIABLES: tuple[tuple[str, str, str, str], ...] = (
    ("order_price", "FLOAT", "0.0", "PRICE"),
    ("customer_email", "STRING", "<unknown>", "EMAIL_ADDRESS"),
    ("ip_address", "STRING", "<unknown>", "IP_ADDRESS"),
    ("payment_currency", "STRING", "<unknown>", "CURRENCY_CODE"),
    ("billing_longitude", "FLOAT", "0.0", "NUMERIC"),
    ("billing_latitude", "FLOAT", "0.0", "NUMERIC"),
    ("billing_zip", "STRING", "<unknown>", "BILLING_ZIP"),
    ("billing_state", "STRING", "<unknown>", "BILLING_STATE"),
    ("billing_street", "STRING", "<unknown>", "BILLING_ADDRESS_L1"),
    ("billing_city", "STRING", "<unknown>", "BILLING_CITY"),
    ("user_agent", "STRING", "<unknown>", "USERAGENT"),
    ("card_bin", "STRING", "<unknown>", "CARD_BIN"),
    ("customer_name", "STRING", "<unknown>", "BILLING_NAME"),
    ("product_category", "STRING", "<unknown>", "PRODUCT_CATEGORY"),
    ("customer_job", "STRING", "<unknown>", "CATEGORICAL"),
    ("phone", "STRING", "<unknown>", "PHONE_NUMBER"),
)


HISTORY_COLUMNS = (
    "EVENT_ID",
    "EVENT_TIMESTAMP",
    "ENTITY_TYPE",
    "ENTITY_ID",
    "EVENT_LABEL",
    "LABEL_TIMESTAMP",
)
IMPORT_JOB = "payment_history"
ROLE = "arn:aws:iam::000000000000:role/hawksnest"  # the API wants one; nothing is assumed with it


def create_event_type(call: Caller) -> None:
    """Entity type, labels, outcomes, variables, event type (events are stored) and an empty detector."""
    call("PutEntityType", {"name": ENTITY_TYPE, "description": "Who pays"})
    for label in LABELS.values():
        call("PutLabel", {"name": label})
    for outcome in OUTCOMES:
        call("PutOutcome", {"name": outcome})
    for name, data_type, default, variable_type in VARIABLES:
        try:
            call(
                "CreateVariable",
                {
                    "name": name,
                    "dataType": data_type,
                    "dataSource": "EVENT",
                    "defaultValue": default,
                    "variableType": variable_type,
                },
            )
        except ServiceError:
            call("GetVariables", {"name": name})  # it is there already, or the first fault was another
    call(
        "PutEventType",
        {
            "name": EVENT_TYPE,
            "eventVariables": [name for name, *_ in VARIABLES],
            "entityTypes": [ENTITY_TYPE],
            "labels": list(LABELS.values()),
            "eventIngestion": "ENABLED",
        },
    )
    call("PutDetector", {"detectorId": DETECTOR, "eventTypeName": EVENT_TYPE})


def start_import(call: Caller, source: str, report: str) -> None:
    """Begin to store the events of a CSV file; refused rows are listed in the report."""
    call(
        "CreateBatchImportJob",
        {
            "jobId": IMPORT_JOB,
            "inputPath": source,
            "outputPath": report,
            "eventTypeName": EVENT_TYPE,
            "iamRoleArn": ROLE,
        },
    )


def import_job(call: Caller) -> dict[str, Any]:
    """Status and counts of the import."""
    found: dict[str, Any] = call("GetBatchImportJobs", {"jobId": IMPORT_JOB})["batchImports"][0]
    return found


def start_training(call: Caller, start: str, end: str) -> str:
    """Begin to train on the stored events of the window; gives the model version's number."""
    try:
        call("GetModels", dict(MODEL))
    except ServiceError:
        call("CreateModel", {**MODEL, "eventTypeName": EVENT_TYPE})
    started = call(
        "CreateModelVersion",
        {
            **MODEL,
            "trainingDataSource": "INGESTED_EVENTS",
            "trainingDataSchema": {
                "modelVariables": [name for name, *_ in VARIABLES],
                "labelSchema": {
                    "labelMapper": {"FRAUD": [LABELS[True]], "LEGIT": [LABELS[False]]},
                    "unlabeledEventsTreatment": "IGNORE",
                },
            },
            "ingestedEventsDetail": {"ingestedEventsTimeWindow": {"startTime": start, "endTime": end}},
        },
    )
    return str(started["modelVersionNumber"])


def training_status(call: Caller, version: str) -> str:
    """TRAINING_IN_PROGRESS, TRAINING_COMPLETE, ERROR …"""
    return str(call("GetModelVersion", {**MODEL, "modelVersionNumber": version})["status"])


def training_result(call: Caller, version: str) -> dict[str, Any]:
    """`trainingResult` of the version: data validation, metrics, importance."""
    found = call("DescribeModelVersions", {**MODEL, "modelVersionNumber": version})
    result: dict[str, Any] = found["modelVersionDetails"][0].get("trainingResult", {})
    return result


def threshold_for(metrics: dict[str, Any], legit_blocked_share: float) -> float:
    """The lowest score that blocks at most this share of good payments of the held-out history."""
    fits = [p["threshold"] for p in metrics["metricDataPoints"] if p["fpr"] <= legit_blocked_share]
    return float(min(fits, default=1000.0))


def publish(call: Caller, version: str, block_from: float, review_from: float) -> str:
    """Deploy the model, write the rules, activate the detector version; gives its id."""
    call("UpdateModelVersionStatus", {**MODEL, "modelVersionNumber": version, "status": "ACTIVE"})
    rules = {
        "block_high_score": (f"{SCORE} >= {block_from}", "block"),
        "review_raised_score": (f"{SCORE} >= {review_from}", "review"),
        "approve_the_rest": (f"{SCORE} < {review_from}", "approve"),
    }
    keys = []
    for rule_id, (expression, outcome) in rules.items():
        rule = {
            "ruleId": rule_id,
            "detectorId": DETECTOR,
            "expression": expression,
            "language": "DETECTORPL",
            "outcomes": [outcome],
        }
        keys.append(call("CreateRule", rule)["rule"])
    made = call(
        "CreateDetectorVersion",
        {
            "detectorId": DETECTOR,
            "rules": keys,
            "modelVersions": [{**MODEL, "modelVersionNumber": version}],
            "ruleExecutionMode": "FIRST_MATCHED",
        },
    )
    detector_version = str(made["detectorVersionId"])
    call(
        "UpdateDetectorVersionStatus",
        {"detectorId": DETECTOR, "detectorVersionId": detector_version, "status": "ACTIVE"},
    )
    return detector_version
