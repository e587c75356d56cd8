"""AWS's sample notebooks: their calls in their order, with their odd habits, and what they read.

AWS's code itself is not kept here; `End_to_End_…` and the other names are those of the notebooks.
"""

import ast
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from deployment import BUCKET, ENDPOINT, ROLE, Deployment, iso, poll
from notebook import (
    OFI,
    TFI,
    Project,
    Rows,
    create_variables,
    get_or_create,
    predict,
    predict_or_miss,
    publish,
    put_csv,
    read_csv,
    registrations,
    requests_of,
    send,
    train,
)


def test_external_data_ofi(deployment: Deployment, project: Project, workers: ProcessPoolExecutor) -> None:
    """End_to_End_External_Data_OFI"""
    c = deployment.boto3()
    assert project.version["modelVersionNumber"] == "1.0"
    [detail] = c.describe_model_versions(**project.version, maxResults=10)["modelVersionDetails"]
    metrics = detail["trainingResult"]["trainingMetrics"]
    assert 0.8 < metrics["auc"] <= 1
    for low, high in pairwise(range(7)):  # the table of thresholds: the smallest of each 1 % of false alarms
        points = [each for each in metrics["metricDataPoints"] if low / 100 < each["fpr"] <= high / 100]
        best = min(points, key=lambda point: point["threshold"])
        assert best["threshold"] % 5 == 0
        assert {"fpr", "tpr", "precision", "threshold"} <= best.keys()
    importance = detail["trainingResult"]["variableImportanceMetrics"]["logOddsMetrics"]
    assert {each["variableName"] for each in importance} == {"ip_address", "email_address"}
    assert all(isinstance(each["variableImportance"], float) for each in importance)

    newest = project.rows[-200:]
    answers = list(workers.map(predict, requests_of(project, newest, "ofi")))
    fraud = [score for (score, _), row in zip(answers, newest, strict=True) if row["EVENT_LABEL"] == "1"]
    good = [score for (score, _), row in zip(answers, newest, strict=True) if row["EVENT_LABEL"] == "0"]
    assert sum(fraud) / len(fraud) > 2 * sum(good) / len(good)
    assert {outcome for _, outcome in answers} <= {"verify", "review", "approve"}


def payments(count: int) -> Rows:
    """A month of orders; each fraudster orders for much, from one network."""
    month = registrations(count, 2)
    rows = []
    for number, row in enumerate(month):
        fraud = row["EVENT_LABEL"] == "1"
        rows.append(
            {
                "ENTITY_TYPE": "customer",
                "ENTITY_ID": f"{'f' if fraud else 'c'}{number % 3_000}",
                "EVENT_ID": f"order-{number}",
                "EVENT_TIMESTAMP": row["EVENT_TIMESTAMP"],
                "LABEL_TIMESTAMP": row["EVENT_TIMESTAMP"],
                "EVENT_LABEL": row["EVENT_LABEL"],
                "order_price": str(300 + number % 90 if fraud else 20 + number % 90),
                "ip_address": row["ip_address"],
                "email_address": row["email_address"],
            }
        )
    return rows


ORDER = {
    "order_price": ("PRICE", "FLOAT"),
    "ip_address": ("IP_ADDRESS", "STRING"),
    "email_address": ("EMAIL_ADDRESS", "STRING"),
}


@pytest.mark.parametrize("model_type", [TFI, OFI])
def test_stored_data(deployment: Deployment, workers: ProcessPoolExecutor, model_type: str) -> None:
    """End_to_End_Stored_Data, in both its forms"""
    name = f"stored_{'tfi' if model_type == TFI else 'ofi'}"
    c, rows = deployment.boto3(), payments(3_000)
    location = put_csv(deployment, f"{name}/orders.csv", rows)
    create_variables(c, ORDER)
    for label in ("0", "1"):
        c.put_label(name=label)
    get_or_create(c.get_entity_types, c.put_entity_type, "customer")
    c.put_event_type(
        name=f"{name}_event",
        eventVariables=list(ORDER),
        labels=["0", "1"],
        entityTypes=["customer"],
        eventIngestion="ENABLED",
    )
    c.create_batch_import_job(
        jobId=f"{name}_import",
        inputPath=location,
        outputPath=f"s3://{BUCKET}/{name}/",
        eventTypeName=f"{name}_event",
        iamRoleArn=ROLE,
    )

    def job() -> Any:
        return c.get_batch_import_jobs(jobId=f"{name}_import")["batchImports"][0]

    poll(lambda: job()["status"] not in ("IN_PROGRESS", "IN_PROGRESS_INITIALIZING"), "the import")
    done = job()
    assert (done["status"], done["processedRecordsCount"], done["failedRecordsCount"]) == (
        "COMPLETE",
        len(rows),
        0,
    )
    assert done["arn"].endswith(f":batch-import/{name}_import")
    model = {"modelId": f"{name}_model", "modelType": model_type}
    c.create_model(description="orders", eventTypeName=f"{name}_event", **model)
    now = datetime.now(UTC)
    window = {"startTime": iso(now - timedelta(days=40)), "endTime": iso(now)}
    schema = {
        "modelVariables": list(ORDER),
        "labelSchema": {
            "labelMapper": {"FRAUD": ["1"], "LEGIT": ["0"]},
            "unlabeledEventsTreatment": "IGNORE",
        },
    }
    version = train(
        c,
        model,
        schema,
        trainingDataSource="INGESTED_EVENTS",
        ingestedEventsDetail={"ingestedEventsTimeWindow": window},
    )
    [detail] = c.describe_model_versions(**version)["modelVersionDetails"]
    metrics = detail["trainingResultV2"]["trainingMetricsV2"]["tfi" if model_type == TFI else "ofi"]
    assert metrics["modelPerformance"]["auc"] > 0.9
    assert publish(c, f"{name}_detector", f"{name}_event", version) == "1"
    predictions_at_label_times(workers, f"{name}_detector", f"{name}_event", rows[-40:])


def predictions_at_label_times(
    workers: ProcessPoolExecutor, detector: str, event_type: str, rows: Rows
) -> None:
    """The notebook sends the label's time as the event's, and "nan" where there is none: a miss, -999."""
    requests = [
        {
            "detectorId": detector,
            "eventId": f"{row['EVENT_ID']}-again",
            "eventTypeName": event_type,
            "eventTimestamp": row["LABEL_TIMESTAMP"] if number % 4 else "nan",
            "entities": [{"entityType": "customer", "entityId": row["ENTITY_ID"]}],
            "eventVariables": {name: row[name] for name in ORDER},
        }
        for number, row in enumerate(rows)
    ]
    answers = list(workers.map(predict_or_miss, requests))
    assert [score == -999 for score, _ in answers] == [number % 4 == 0 for number in range(len(rows))]
    assert {outcome for score, outcome in answers if score == -999} == {"ParamValidationError"}  # boto3's own


def test_get_event_prediction(deployment: Deployment, project: Project, workers: ProcessPoolExecutor) -> None:
    """GetEventPrediction, and its multiprocessing form: everything is read back before the call is made."""
    c = deployment.boto3()
    detail = c.get_detector_version(detectorId=project.detector, detectorVersionId="1")
    assert detail["modelVersions"][0] | {"arn": ""} == project.version | {"arn": ""}
    assert [rule["ruleId"] for rule in detail["rules"]] == ["high", "medium", "low"]
    [detector] = c.get_detectors(detectorId=project.detector)["detectors"]
    [event_type] = c.get_event_types(name=detector["eventTypeName"])["eventTypes"]
    assert event_type["eventVariables"] == ["ip_address", "email_address"]
    assert (event_type["entityTypes"][0], event_type["labels"]) == ("customer", ["0", "1"])
    assert event_type["eventIngestion"] == "DISABLED"
    c.put_event_type(
        name=event_type["name"],
        eventVariables=event_type["eventVariables"],
        labels=event_type["labels"],
        entityTypes=event_type["entityTypes"],
        eventIngestion="DISABLED",
    )
    for rule in detail["rules"]:
        [found] = c.get_rules(**rule)["ruleDetails"]
        assert found["expression"].startswith("$project_1_model_insightscore")
        assert len(found["outcomes"]) == 1
    answers = list(workers.map(predict, requests_of(project, project.rows[:40], "gep")))
    assert all(score == int(score) for score, _ in answers)


def test_send_event(deployment: Deployment, workers: ProcessPoolExecutor) -> None:
    """Send_Event: from eight processes, with labels and without; then one is labelled and all are deleted."""
    c = deployment.boto3()
    create_variables(c, {"sent_text": ("FREE_FORM_TEXT", "STRING")})
    for label in ("0", "1"):
        c.put_label(name=label)
    get_or_create(c.get_entity_types, c.put_entity_type, "customer")
    named = {"eventVariables": ["sent_text"], "labels": ["0", "1"], "entityTypes": ["customer"]}
    c.put_event_type(name="sent_event", **named)
    [event_type] = c.get_event_types(name="sent_event")["eventTypes"]
    assert event_type["eventIngestion"] == "DISABLED"
    c.put_event_type(name="sent_event", **named, eventIngestion="ENABLED")
    at = iso(datetime.now(UTC) - timedelta(hours=2))

    def event(number: int) -> dict[str, Any]:
        label = {"assignedLabel": "1", "labelTimestamp": at} if number % 2 else {}
        return {
            "eventId": f"sent-{number}",
            "eventTypeName": "sent_event",
            "eventTimestamp": at,
            "eventVariables": {"sent_text": f"number {number}"},
            "entities": [{"entityType": "customer", "entityId": str(2**127 + number)}],
            **label,
        }

    assert list(workers.map(send, map(event, range(64)))) == [{}] * 64
    found = c.get_event(eventId="sent-1", eventTypeName="sent_event")["event"]
    assert (found["currentLabel"], found["labelTimestamp"]) == ("1", at)
    assert found["entities"] == [{"entityType": "customer", "entityId": str(2**127 + 1)}]
    c.update_event_label(eventId="sent-2", eventTypeName="sent_event", assignedLabel="0", labelTimestamp=at)
    assert c.get_event(eventId="sent-2", eventTypeName="sent_event")["event"]["currentLabel"] == "0"
    c.delete_events_by_event_type(eventTypeName="sent_event")

    def deletion() -> str:
        return str(
            c.get_delete_events_by_event_type_status(eventTypeName="sent_event")["eventsDeletionStatus"]
        )

    poll(lambda: "IN_PROGRESS" not in deletion(), "the deletion")
    assert deletion() == "COMPLETE"
    with pytest.raises(c.exceptions.ResourceNotFoundException):
        c.get_event(eventId="sent-1", eventTypeName="sent_event")
    c.delete_event_type(name="sent_event")


def batch_rows(project: Project) -> Rows:
    """As the notebook writes them: the time without T and Z."""
    return [
        {
            "ip_address": row["ip_address"],
            "email_address": row["email_address"],
            "EVENT_TIMESTAMP": row["EVENT_TIMESTAMP"].replace("T", " ").rstrip("Z"),
            "ENTITY_ID": str(number),
            "EVENT_ID": f"b{number}",
            "ENTITY_TYPE": "customer",
        }
        for number, row in enumerate(project.rows[:300])
    ]


def batch_predict(deployment: Deployment, project: Project, job_id: str, input_key: str) -> Any:
    """Run a batch prediction to its end; the job."""
    c = deployment.boto3()
    c.create_batch_prediction_job(
        jobId=job_id,
        inputPath=put_csv(deployment, input_key, batch_rows(project)),
        outputPath=f"s3://{BUCKET}",
        eventTypeName=project.event_type,
        detectorName=project.detector,
        detectorVersion="1",
        iamRoleArn=ROLE,
    )

    def job() -> Any:
        return c.get_batch_prediction_jobs(jobId=job_id)["batchPredictions"][0]

    poll(lambda: job()["status"] not in ("IN_PROGRESS", "IN_PROGRESS_INITIALIZING"), "the batch prediction")
    return job()


def test_batch_prediction(deployment: Deployment, project: Project) -> None:
    """BatchPrediction: the output is found by the job's name, and MODEL_SCORES is cut at fixed places."""
    c = deployment.boto3()
    [event_type] = c.get_event_types(name=project.event_type)["eventTypes"]
    assert event_type["eventVariables"] == ["ip_address", "email_address"]
    job = batch_predict(deployment, project, "project_1_job", "batch/input.csv")
    assert job["status"] == "COMPLETE"
    assert job["arn"].endswith(":batch-prediction/project_1_job")
    key = deployment.s3.list_objects_v2(Bucket=BUCKET, Prefix="project_1_job")["Contents"][0]["Key"]
    assert key.removeprefix("project_1_job_").removesuffix("_output.csv").isdigit()
    rows = read_csv(deployment, key)
    given = {row["EVENT_ID"]: row for row in batch_rows(project)}
    added = ["MODEL_SCORES", "OUTCOMES", "RULE_RESULTS", "STATUS"]
    assert list(rows[0]) == [*given["b0"], *added]
    assert {row["EVENT_ID"] for row in rows} == set(given)
    for row in rows:
        assert 0 <= float(row["MODEL_SCORES"][19:-1]) <= 1000
        assert row["STATUS"] == "Success"
        assert row["OUTCOMES"] in ("verify", "review", "approve")
        at = given[row["EVENT_ID"]]["EVENT_TIMESTAMP"].replace(" ", "T") + ".000Z"
        assert row["EVENT_TIMESTAMP"] == at
    c.delete_batch_prediction_job(jobId="project_1_job")
    assert deployment.s3.list_objects_v2(Bucket=BUCKET, Prefix="project_1_job")["KeyCount"] == 1


def test_fraud_dataset_benchmark(deployment: Deployment, project: Project) -> None:
    """fraud-dataset-benchmark: one prefix changed to the job's; the last output in order, a literal a row."""
    c = deployment.boto3()
    [summary, *_] = c.describe_detector(detectorId=project.detector)["detectorVersionSummaries"]
    assert summary["status"] == "ACTIVE"
    assert batch_predict(deployment, project, "fdb_job", "fdb/test.csv")["status"] == "COMPLETE"
    listed = deployment.s3.list_objects_v2(Bucket=BUCKET, Prefix="fdb_job")["Contents"]
    outputs = sorted(each["Key"] for each in listed if each["Key"].endswith("output.csv"))
    scores = [
        ast.literal_eval(row["MODEL_SCORES"]).get(project.model)
        for row in read_csv(deployment, outputs[-1])
        if row["MODEL_SCORES"]
    ]
    assert len(scores) == 300
    assert all(isinstance(score, float) for score in scores)


def test_sagemaker_model(deployment: Deployment) -> None:
    """AFD-Sagemaker-Model-Example once the model is served: the score comes back as the endpoint wrote it."""
    c = deployment.boto3()
    create_variables(c, {"order_amt": ("NUMERIC", "FLOAT"), "prev_amt": ("NUMERIC", "FLOAT")})
    c.create_variable(
        name="sm_score", dataType="FLOAT", dataSource="EXTERNAL_MODEL_SCORE", defaultValue="0.0"
    )
    get_or_create(c.get_entity_types, c.put_entity_type, "customer")
    c.put_event_type(
        name="sm_event", eventVariables=["order_amt", "prev_amt"], entityTypes=["customer"]
    )  # no labels
    c.put_external_model(
        modelEndpoint=ENDPOINT,
        modelSource="SAGEMAKER",
        invokeModelEndpointRoleArn=ROLE,
        inputConfiguration={
            "useEventVariables": True,
            "eventTypeName": "sm_event",
            "format": "TEXT_CSV",
            "csvInputTemplate": "{{order_amt}}, {{prev_amt}}",
        },
        outputConfiguration={"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": "sm_score"}},
        modelEndpointStatus="ASSOCIATED",
    )
    c.put_detector(detectorId="sm_detector", eventTypeName="sm_event")
    rules = []
    for rule_id, expression in (("sm_high", "$sm_score > 0.9"), ("sm_low", "$sm_score <= 0.9")):
        c.put_outcome(name=f"{rule_id}_outcome")
        made = c.create_rule(
            ruleId=rule_id,
            detectorId="sm_detector",
            expression=expression,
            language="DETECTORPL",
            outcomes=[f"{rule_id}_outcome"],
        )
        rules.append(made["rule"])
    c.create_detector_version(
        detectorId="sm_detector",
        rules=rules,
        externalModelEndpoints=[ENDPOINT],
        ruleExecutionMode="FIRST_MATCHED",
    )
    c.update_detector_version_status(detectorId="sm_detector", detectorVersionId="1", status="ACTIVE")
    answer = c.get_event_prediction(
        detectorId="sm_detector",
        eventId="sm-1",
        eventTypeName="sm_event",
        eventTimestamp=iso(datetime.now(UTC)),
        entities=[{"entityType": "customer", "entityId": "c1"}],
        eventVariables={"order_amt": "0.716", "prev_amt": "1.5"},
    )
    assert answer["modelScores"] == []
    assert answer["ruleResults"] == [{"ruleId": "sm_low", "outcomes": ["sm_low_outcome"]}]
    assert answer["externalModelOutputs"] == [
        {
            "externalModel": {"modelEndpoint": ENDPOINT, "modelSource": "SAGEMAKER"},
            "outputs": {"sm_score": "0.0716\n"},
        }
    ]


RECIPES = {
    "registration": "IP_ADDRESS EMAIL_ADDRESS",
    "full_registration": "IP_ADDRESS EMAIL_ADDRESS USERAGENT PHONE_NUMBER BILLING_ZIP BILLING_ADDRESS_L1",
    "card_not_present": "CARD_BIN PRICE CURRENCY_CODE SHIPPING_ZIP BILLING_ADDRESS_L1 ORDER_ID",
    "loyalty": "FINGERPRINT SESSION_ID NUMERIC CATEGORICAL",
    "free_trial": "PAYMENT_TYPE EMAIL_ADDRESS BILLING_NAME BILLING_PHONE",
    "fake_reviews": "FREE_FORM_TEXT NUMERIC PRODUCT_CATEGORY",
    "insurance": "NUMERIC CATEGORICAL BILLING_STATE BILLING_COUNTRY",
    "ad_click": "IP_ADDRESS USERAGENT CATEGORICAL",
}


def card_payments(count: int) -> Rows:
    """Card-not-present payments by the names of their recipe; fraudsters pay much with cards of one bank."""
    rows = []
    for number, row in enumerate(registrations(count, 4)):
        fraud = row["EVENT_LABEL"] == "1"
        rows.append(
            {
                "card_bin": "" if number % 7 == 0 else str(510_000 if fraud else 400_000 + number % 50),
                "price": str(200 + number % 90 if fraud else 20 + number % 90),
                "currency_code": "usd",
                "shipping_zip": f"{number % 1_000:05}",
                "billing_address_l1": f"{number % 40} Elm Street",
                "order_id": f"o-{number}",
            }
        )
        rows[-1] = {f"card_not_present_{name}": value for name, value in rows[-1].items()} | {
            "EVENT_TIMESTAMP": row["EVENT_TIMESTAMP"],
            "EVENT_LABEL": "fraud" if fraud else "legit",
        }
    return rows


def test_demo_scripts(deployment: Deployment) -> None:
    """demo_scripts: variables of every recipe's types; a card's BIN is an INTEGER, by default `<null>`."""
    c = deployment.boto3()
    for label in ("fraud", "legit"):
        c.put_label(name=label)
    get_or_create(c.get_entity_types, c.put_entity_type, "customer")
    for recipe, types in RECIPES.items():
        names = []
        for variable_type in types.split():
            names.append(f"{recipe}_{variable_type.lower()}")
            number = variable_type in ("NUMERIC", "PRICE")
            c.create_variable(
                name=names[-1],
                dataType="INTEGER" if variable_type == "CARD_BIN" else "FLOAT" if number else "STRING",
                dataSource="EVENT",
                defaultValue="0.0" if number else "<null>",
                variableType=variable_type,
            )
        c.put_event_type(
            name=f"{recipe}_event", eventVariables=names, labels=["fraud", "legit"], entityTypes=["customer"]
        )
        [made] = c.get_event_types(name=f"{recipe}_event")["eventTypes"]
        assert made["eventVariables"] == names
    [card] = c.get_variables(name="card_not_present_card_bin")["variables"]
    assert (card["dataType"], card["defaultValue"]) == ("INTEGER", "<null>")
    location = put_csv(deployment, "demo/card_not_present.csv", card_payments(1_200))
    model = {"modelId": "card_not_present_model", "modelType": OFI}
    c.create_model(eventTypeName="card_not_present_event", **model)
    variables = c.get_event_types(name="card_not_present_event")["eventTypes"][0]["eventVariables"]
    version = train(
        c,
        model,
        {
            "modelVariables": variables,
            "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
        },
        trainingDataSource="EXTERNAL_EVENTS",
        externalEventsDetail={"dataLocation": location, "dataAccessRoleArn": ROLE},
    )
    [detail] = c.describe_model_versions(**version)["modelVersionDetails"]
    assert detail["trainingResult"]["trainingMetrics"]["auc"] > 0.9
