"""Real files through the whole product: the sample notebook by boto3, replays through stream and model."""

import csv
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from product import Outcome, Product, auc, boto3_client, figures, percentile, wait_until

from hawksnest.client import read_credentials
from hawksnest.stream.mapping import Mapping, load_mapping
from hawksnest.stream.schema import members_of

pytestmark = pytest.mark.full

MAPPINGS = Path(__file__).parents[2] / "examples" / "mappings"
BUCKET = "training-data"
Dataset = Callable[[str], Path]  # name -> file
ROLE = "arn:aws:iam::000000000000:role/FraudDetector"
BLOCK_FROM, REVIEW_FROM = 950, 860


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def in_time(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: row["EVENT_TIMESTAMP"])


def put_object(product: Product, key: str, rows: list[dict[str, str]]) -> str:
    """Rows as a CSV object; its address."""
    path = product.data / "buckets" / BUCKET / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return f"s3://{BUCKET}/{key}"


# ---- what a customer's script does


def get_or_create(get: Any, create: Any, name: str, **rest: Any) -> None:
    """The notebooks' habit: ask for it by name, make it when that fails."""
    try:
        get(name=name)
    except ClientError as fault:
        assert fault.response["Error"]["Code"] == "ResourceNotFoundException"
        create(name=name, **rest)


def create_variables(c: Any, variables: dict[str, tuple[str, str]]) -> None:
    """`variables`: name -> (variable type, data type)."""
    for name, (variable_type, data_type) in variables.items():
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


def define(c: Any, mapping: Mapping, variables: dict[str, tuple[str, str]]) -> None:
    """Everything below a detector: variables, labels, entity type, event type that stores its events."""
    create_variables(c, variables)
    for label in ("0", "1"):
        c.put_label(name=label)
    c.put_entity_type(name=mapping.entity_type)
    c.put_event_type(
        name=mapping.event_type,
        eventVariables=list(variables),
        labels=["0", "1"],
        entityTypes=[mapping.entity_type],
        eventIngestion="ENABLED",
    )


def train(c: Any, model: dict[str, str], variables: list[str], labels: tuple[str, str], **source: Any) -> str:
    """A version of the model, trained and active; its number. `labels`: legitimate, fraud."""
    schema: dict[str, Any] = {"labelMapper": {"FRAUD": [labels[1]], "LEGIT": [labels[0]]}}
    if "ingestedEventsDetail" in source:
        schema["unlabeledEventsTreatment"] = "IGNORE"
    made = c.create_model_version(
        **model, trainingDataSchema={"modelVariables": variables, "labelSchema": schema}, **source
    )
    number: str = made["modelVersionNumber"]
    version = {**model, "modelVersionNumber": number}

    def status() -> str:
        return str(c.get_model_version(**version)["status"])

    wait_until(lambda: status() != "TRAINING_IN_PROGRESS", 600, "the training")
    assert status() == "TRAINING_COMPLETE", result_of(c, version)
    c.update_model_version_status(**version, status="ACTIVE")
    wait_until(lambda: status() == "ACTIVE", 60, "the activation")
    return number


def external(location: str) -> dict[str, Any]:
    detail = {"dataLocation": location, "dataAccessRoleArn": ROLE}
    return {"trainingDataSource": "EXTERNAL_EVENTS", "externalEventsDetail": detail}


def result_of(c: Any, version: dict[str, str]) -> dict[str, Any]:
    found = c.describe_model_versions(**version, maxResults=10)
    result: dict[str, Any] = found["modelVersionDetails"][0].get("trainingResult", {})
    return result


def publish(c: Any, detector: str, event_type: str, version: dict[str, str]) -> str:
    """Outcomes, three rules on the score, an active detector version; its id."""
    for outcome in ("block", "review", "approve"):
        c.put_outcome(name=outcome)
    score = f"${version['modelId']}_insightscore"
    c.put_detector(detectorId=detector, eventTypeName=event_type)
    rules = {
        "high": (f"{score} >= {BLOCK_FROM}", "block"),
        "raised": (f"{score} >= {REVIEW_FROM} and {score} < {BLOCK_FROM}", "review"),
        "low": (f"{score} < {REVIEW_FROM}", "approve"),
    }
    for rule_id, (expression, outcome) in rules.items():
        try:
            c.create_rule(
                ruleId=rule_id,
                detectorId=detector,
                expression=expression,
                language="DETECTORPL",
                outcomes=[outcome],
            )
        except ClientError as fault:  # it is there from the version before
            assert "already exists" in fault.response["Error"]["Message"], fault
    c.create_detector_version(
        detectorId=detector,
        rules=[{"detectorId": detector, "ruleId": each, "ruleVersion": "1"} for each in rules],
        modelVersions=[version],
        ruleExecutionMode="FIRST_MATCHED",
    )
    summaries = c.describe_detector(detectorId=detector)["detectorVersionSummaries"]
    newest: str = max(each["detectorVersionId"] for each in summaries)  # as texts, like the notebook
    c.update_detector_version_status(detectorId=detector, detectorVersionId=newest, status="ACTIVE")
    return newest


def thresholds_by_rate(metrics: dict[str, Any]) -> dict[int, float]:
    """The notebook's table: of each 1 % of the false-positive rate the point with the smallest threshold."""
    table: dict[int, float] = {}
    for low, high in pairwise(range(7)):
        bin_of = [p for p in metrics["metricDataPoints"] if low / 100 < p["fpr"] <= high / 100]
        assert bin_of, f"no threshold has a false-positive rate from {low} % to {high} %"
        table[high] = min(bin_of, key=lambda point: point["threshold"])["threshold"]
    return table


# ---- 1. the notebook

REGISTRATION = {"ip_address": ("IP_ADDRESS", "STRING"), "email_address": ("EMAIL_ADDRESS", "STRING")}
REGISTRATION_EVENT = "registration"
REGISTRATION_MODEL = {"modelId": "registration_model", "modelType": "ONLINE_FRAUD_INSIGHTS"}
REGISTRATION_DETECTOR = "registration_detector"
_caller: Any = None


def start_caller(url: str, key_id: str, secret: str) -> None:
    """Of a worker process: its own client."""
    global _caller
    _caller = boto3_client(url, key_id, secret)


def predict(row: tuple[str, dict[str, str]]) -> tuple[float, str, float]:
    """Score, first outcome and seconds of one prediction, read as the notebook does."""
    event_id, event = row
    began_s = time.perf_counter()
    answer = _caller.get_event_prediction(
        detectorId=REGISTRATION_DETECTOR,
        eventId=event_id,
        eventTypeName=REGISTRATION_EVENT,
        eventTimestamp=event["EVENT_TIMESTAMP"],
        entities=[{"entityType": "customer", "entityId": "unknown"}],
        eventVariables={name: event[name] for name in REGISTRATION},
    )
    passed_s = time.perf_counter() - began_s
    score = answer["modelScores"][0]["scores"][f"{REGISTRATION_MODEL['modelId']}_insightscore"]
    return score, answer["ruleResults"][0]["outcomes"][0], passed_s


def test_registration_notebook_trains_to_active_and_predicts(product: Product, dataset: Dataset):
    source = dataset("aws_samples/registration_data_20K_minimum.csv")
    rows = rows_of(source)
    place = product.data / "buckets" / BUCKET / source.name
    place.parent.mkdir(parents=True)
    shutil.copyfile(source, place)
    c = product.boto3()
    create_variables(c, REGISTRATION)
    for label in ("legit", "fraud"):  # the file's own words for the notebook's 0 and 1
        c.put_label(name=label)
    get_or_create(c.get_entity_types, c.put_entity_type, "customer")
    get_or_create(
        c.get_event_types,
        c.put_event_type,
        REGISTRATION_EVENT,
        eventVariables=list(REGISTRATION),
        labels=["legit", "fraud"],
        entityTypes=["customer"],
    )
    c.create_model(description="of the sample file", eventTypeName=REGISTRATION_EVENT, **REGISTRATION_MODEL)
    variables, labels = list(REGISTRATION), ("legit", "fraud")
    began_s = time.monotonic()
    number = train(c, REGISTRATION_MODEL, variables, labels, **external(f"s3://{BUCKET}/{source.name}"))
    trained_s = time.monotonic() - began_s
    version = {**REGISTRATION_MODEL, "modelVersionNumber": number}
    result = result_of(c, version)
    table = thresholds_by_rate(result["trainingMetrics"])
    importance = {
        each["variableName"]: each["variableImportance"]
        for each in result["variableImportanceMetrics"]["logOddsMetrics"]
    }
    assert number == "1.0"
    assert set(importance) == set(REGISTRATION)
    assert publish(c, REGISTRATION_DETECTOR, REGISTRATION_EVENT, version) == "1"

    ordered = in_time(rows)
    border = round(0.8 * len(ordered))
    newest = ordered[border:]
    key = read_credentials(product.credentials)
    with ProcessPoolExecutor(
        5,
        multiprocessing.get_context("spawn"),
        initializer=start_caller,
        initargs=(product.url, key.access_key_id, key.secret),
    ) as pool:
        list(pool.map(predict, [(f"warm-up-{n}", row) for n, row in enumerate(ordered[:50])]))
        began_s = time.monotonic()
        first = list(pool.map(predict, [(f"first-{n}", row) for n, row in enumerate(newest[-1_000:])]))
        predicted_s = time.monotonic() - began_s

        # The same again, honestly: a second version that never saw the newest fifth.
        location = put_object(product, "registration_oldest_80.csv", ordered[:border])
        second = {
            **REGISTRATION_MODEL,
            "modelVersionNumber": train(c, REGISTRATION_MODEL, variables, labels, **external(location)),
        }
        assert publish(c, REGISTRATION_DETECTOR, REGISTRATION_EVENT, second) == "2"
        held_out = list(pool.map(predict, [(f"second-{n}", row) for n, row in enumerate(newest)]))

    def auc_of(predicted: list[tuple[float, str, float]], of: list[dict[str, str]]) -> float:
        return auc([score for score, *_ in predicted], [row["EVENT_LABEL"] == "fraud" for row in of])

    told, honest = result["trainingMetrics"]["auc"], auc_of(held_out, newest)
    blocked = sum(outcome == "block" for _, outcome, _ in first)
    took = [seconds * 1000 for *_, seconds in first]
    figures(
        "Registration notebook (ONLINE_FRAUD_INSIGHTS by boto3)",
        f"{len(rows):,} rows, {trained_s:.1f} s from create_model_version to ACTIVE",
        f"AUC of the training on its held-out 15 %: {told:.4f}",
        f"AUC of the live scores of the newest 20 % by a version trained on the oldest 80 %: {honest:.4f}",
        f"(of 1,000 of these rows by the version that saw them: {auc_of(first, newest[-1_000:]):.4f})",
        f"1,000 predictions by 5 processes: {1_000 / predicted_s:,.0f} a second, "
        f"p50 {percentile(took, 0.5):.1f} ms, p99 {percentile(took, 0.99):.1f} ms; {blocked} blocked",
        "threshold by false-positive rate: " + ", ".join(f"{k} % {v:g}" for k, v in table.items()),
        f"importance: {importance}",
    )
    assert len(first) == 1_000
    assert told >= 0.90
    assert honest >= 0.90


# ---- 2. and 3. replays


def check_counts(outcome: Outcome, sent: int, summary: dict[str, Any]) -> None:
    assert len(outcome.payments) + outcome.dead_letters == sent
    assert outcome.duplicates == 0
    assert summary["read"] == sent
    assert summary["decided"] == len(outcome.payments)
    assert not summary["stopped_because"]


def children_cpu_s() -> float:
    """Processor time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def replayed(product: Product, file: Path, mapping_file: Path) -> tuple[Outcome, str]:
    """Replay a file into a running stream; decisions beside the truth, and what it took."""
    mapping = load_mapping(mapping_file)
    product.stream(mapping_file)
    began_s = time.monotonic()
    sent = product.replay(file, mapping_file)
    assert sent["refused"] == 0
    product.decide_all(mapping.input_topic, 900)
    took_s = time.monotonic() - began_s
    before_s = children_cpu_s()
    summary = product.stopped_with_summary("stream")
    stream_s = children_cpu_s() - before_s
    outcome = product.outcome(mapping)
    check_counts(outcome, sent["sent"], summary)
    assert len(outcome.truth) <= sent["labelled"]
    rows = sent["sent"]
    return outcome, (
        f"{rows / took_s:,.0f} rows a second from start of replay to the last commit, "
        f"{1e6 * stream_s / rows:,.0f} µs of CPU a row in the stream; "
        f"a decision takes p50 {outcome.call_ms(0.5):.0f} ms, p99 {outcome.call_ms(0.99):.0f} ms"
    )


TRANSACTIONS = {
    "card_bin": ("CARD_BIN", "STRING"),
    "customer_name": ("BILLING_NAME", "STRING"),
    "billing_street": ("BILLING_ADDRESS_L1", "STRING"),
    "billing_city": ("BILLING_CITY", "STRING"),
    "billing_state": ("BILLING_STATE", "STRING"),
    "billing_zip": ("BILLING_ZIP", "STRING"),
    "billing_latitude": ("NUMERIC", "FLOAT"),
    "billing_longitude": ("NUMERIC", "FLOAT"),
    "customer_job": ("CATEGORICAL", "STRING"),
    "ip_address": ("IP_ADDRESS", "STRING"),
    "customer_email": ("EMAIL_ADDRESS", "STRING"),
    "billing_phone": ("BILLING_PHONE", "STRING"),
    "user_agent": ("USERAGENT", "STRING"),
    "product_category": ("PRODUCT_CATEGORY", "STRING"),
    "order_price": ("PRICE", "FLOAT"),
    "payment_currency": ("CURRENCY_CODE", "STRING"),
    "merchant": ("CATEGORICAL", "STRING"),
}


def test_replay_of_the_transactions_sample_decides_every_row(product: Product, dataset: Dataset):
    source = dataset("aws_samples/transaction_data_2K_coldstart.csv")
    mapping_file = MAPPINGS / "transactions_2k.toml"
    mapping = load_mapping(mapping_file)
    rows = rows_of(source)
    labelled = in_time([row for row in rows if row["EVENT_LABEL"]])
    border = round(0.7 * len(labelled))
    c = product.boto3()
    define(c, mapping, TRANSACTIONS)
    model = {"modelId": "transactions_2k_model", "modelType": "ONLINE_FRAUD_INSIGHTS"}
    c.create_model(eventTypeName=mapping.event_type, **model)
    location = put_object(product, "transactions_oldest_70.csv", labelled[:border])
    began_s = time.monotonic()
    number = train(c, model, list(TRANSACTIONS), ("0", "1"), **external(location))
    trained_s = time.monotonic() - began_s
    version = {**model, "modelVersionNumber": number}
    publish(c, mapping.detector, mapping.event_type, version)
    outcome, took = replayed(product, source, mapping_file)
    assert len(outcome.payments) == len(rows)
    assert len(outcome.truth) == len(labelled)
    seen, unseen = ([row["EVENT_ID"] for row in part] for part in (labelled[:border], labelled[border:]))
    honest = outcome.auc(unseen)
    figures(
        "Replay of transaction_data_2K_coldstart.csv (ONLINE_FRAUD_INSIGHTS)",
        f"{len(rows):,} rows in = {len(outcome.payments):,} decisions + {outcome.dead_letters} dead letters, "
        f"{outcome.duplicates} twice; {outcome.outcomes()}",
        f"trained on the oldest {border} of {len(labelled)} labelled rows in {trained_s:.1f} s, "
        f"AUC told {result_of(c, version)['trainingMetrics']['auc']:.4f}",
        f"AUC of the live scores: {honest:.4f} on the newest {len(unseen)} labelled rows, never trained on; "
        f"{outcome.auc(seen):.4f} on the rows of the training, {outcome.auc():.4f} on all",
        took,
    )
    assert honest >= 0.75


SPARKNOV = {
    "card": ("FINGERPRINT", "STRING"),
    "amount": ("PRICE", "FLOAT"),
    "category": ("PRODUCT_CATEGORY", "STRING"),
    "gender": ("CATEGORICAL", "STRING"),
    "city": ("BILLING_CITY", "STRING"),
    "state": ("BILLING_STATE", "STRING"),
    "zip": ("BILLING_ZIP", "STRING"),
    "latitude": ("NUMERIC", "FLOAT"),
    "longitude": ("NUMERIC", "FLOAT"),
    "city_population": ("NUMERIC", "FLOAT"),
    "job": ("CATEGORICAL", "STRING"),
    "merchant_latitude": ("NUMERIC", "FLOAT"),
    "merchant_longitude": ("NUMERIC", "FLOAT"),
}
HISTORY, LIVE = 150_000, 100_000


def stored_event(mapping: Mapping, row: dict[str, Any]) -> dict[str, Any]:
    """A SendEvent request with its label."""
    label, labelled_at = str(row.pop("EVENT_LABEL")), row.pop("LABEL_TIMESTAMP")
    request = mapping.prepare(members_of(msgspec.json.encode(row))).request
    del request["detectorId"]
    return {**request, "assignedLabel": label, "labelTimestamp": labelled_at}


def test_replay_of_sparknov_goes_through_stream_and_model_without_loss(
    product: Product, dataset: Dataset, tmp_path: Path
):
    table = pq.read_table(dataset("sparknov_30pct/train.parquet")).sort_by("EVENT_TIMESTAMP")
    mapping_file = MAPPINGS / "sparknov.toml"
    mapping = load_mapping(mapping_file)
    live = table.slice(HISTORY, LIVE)
    pq.write_table(live, tmp_path / "live.parquet")
    c = product.boto3()
    define(c, mapping, SPARKNOV)
    history = [stored_event(mapping, row) for row in table.slice(0, HISTORY).to_pylist()]
    stored_s = product.in_parallel("SendEvent", history, 8)
    model = {"modelId": "sparknov_model", "modelType": "TRANSACTION_FRAUD_INSIGHTS"}
    c.create_model(eventTypeName=mapping.event_type, **model)
    window = {"startTime": history[0]["eventTimestamp"], "endTime": history[-1]["eventTimestamp"]}
    began_s = time.monotonic()
    number = train(
        c,
        model,
        list(SPARKNOV),
        ("0", "1"),
        trainingDataSource="INGESTED_EVENTS",
        ingestedEventsDetail={"ingestedEventsTimeWindow": window},
    )
    trained_s = time.monotonic() - began_s
    version = {**model, "modelVersionNumber": number}
    publish(c, mapping.detector, mapping.event_type, version)
    outcome, took = replayed(product, tmp_path / "live.parquet", mapping_file)
    lost = set(live.column("EVENT_ID").to_pylist()) - set(outcome.scores)
    honest, told = outcome.auc(), result_of(c, version)["trainingMetrics"]["auc"]
    figures(
        "Replay of sparknov_30pct (TRANSACTION_FRAUD_INSIGHTS on stored events)",
        f"history: {HISTORY:,} events by SendEvent, {HISTORY / stored_s:,.0f} a second; "
        f"trained in {trained_s:.0f} s, AUC told {told:.4f}",
        f"live: {LIVE:,} rows in = {len(outcome.payments):,} decisions, {outcome.dead_letters} dead letters, "
        f"{len(lost)} lost, {outcome.duplicates} twice; {outcome.outcomes()}",
        f"AUC of the live scores against the labels: {honest:.4f} "
        f"({sum(outcome.truth.values())} frauds, all after the training's window)",
        took,
    )
    assert len(outcome.payments) == LIVE
    assert len(outcome.truth) == LIVE
    assert outcome.dead_letters == 0
    assert not lost
    assert honest >= 0.98
