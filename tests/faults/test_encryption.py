"""Servers whose customers have encryption keys in a KMS: killed, without the KMS, without the key."""

import base64
import csv
import json
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kms_stand_in import KmsStandIn
from served import COMMAND, REGION, Served, deploy, until
from test_served_crash import SEED, Auditor

from hawksnest.client import Client, read_credentials
from hawksnest.config import Settings
from hawksnest.errors import ServiceError, Transient
from hawksnest.kms import EncryptionKeys
from hawksnest.store.data_folder import Store, open_store
from hawksnest.world import RealWorld, iso_s, seeded

WORLD = RealWorld()
WAIT_S = 60.0
AT = iso_s(WORLD.now_ms() - 86_400_000)
AMOUNT = 913.37
MARKED = {
    "amt": str(AMOUNT),
    "email": "Marked.Mail@example.org",
    "ip": "203.0.113.177",
    "note": "marked note",
}
ENTITY = "marked-entity"
MARKS = (
    ENTITY.encode(),
    *(text.encode() for text in MARKED.values()),
    MARKED["email"].lower().encode(),
    struct.pack(">d", AMOUNT),
    struct.pack("<d", AMOUNT),
    struct.pack("<q", round(AMOUNT * 100)),
)


@pytest.fixture
def kms(tmp_path: Path) -> Iterator[KmsStandIn]:
    made = KmsStandIn(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def served(tmp_path: Path, kms: KmsStandIn) -> Iterator[Served]:
    """A server with detector `det` and, chosen by its customer, the KMS's key 1."""
    made = Served(tmp_path, *kms.options, "--kms-timeout-s", "0.8")
    try:
        made.start()
        with made.client() as client:
            deploy(client)
            client.call("PutKMSEncryptionKey", {"kmsEncryptionKeyArn": kms.create_key().arn})
        yield made
    finally:
        made.close()


def call(served: Served, operation: str, **request: Any) -> dict[str, Any]:
    with served.client() as client:
        return client.call(operation, request).response


def event(name: str, entity: str = ENTITY, **values: str) -> dict[str, Any]:
    return {
        "eventId": name,
        "eventTypeName": "pay",
        "eventTimestamp": AT,
        "entities": [{"entityType": "customer", "entityId": entity}],
        "eventVariables": MARKED | values,
    }


def predict(served: Served, name: str, **values: str) -> dict[str, Any]:
    return call(served, "GetEventPrediction", detectorId="det", **event(name, **values))


def shown(served: Served, name: str) -> dict[str, Any]:
    found: dict[str, Any] = call(served, "GetEvent", eventId=name, eventTypeName="pay")["event"]
    return found


def refused(served: Served, operation: str, **request: Any) -> tuple[str, str]:
    """Code and message of a refusal; those worth retrying too."""
    try:
        call(served, operation, **request)
    except ServiceError as fault:
        assert fault.status == 400
        return fault.code, fault.message
    except Transient as fault:
        _, code, message = str(fault).split(": ", 2)
        return code, message
    raise AssertionError(f"{operation} was not refused")


def marks_in(data: Path) -> set[tuple[str, bytes]]:
    """Files with a marked value in clear; the buckets are the customer's own."""
    found = set()
    for path in data.rglob("*"):
        name = path.relative_to(data)
        if path.is_file() and name.parts[0] != "buckets":
            content = path.read_bytes().rstrip(b"\0")
            found |= {(str(name), mark) for mark in MARKS if mark in content}
    return found


def opened(served: Served, kms: KmsStandIn) -> Store:
    """The store of a server that is not running."""
    settings = Settings.of(data=served.data, kms_endpoint=kms.url, kms_credentials=str(kms.credentials))
    with closing(EncryptionKeys(settings, WORLD)) as keys:
        return open_store(settings, WORLD, keys)


class SealedAuditor(Auditor):
    """The auditor of crashes, with a key chosen before the first event."""

    def __init__(self, folder: Path, kms: KmsStandIn) -> None:
        super().__init__(folder, SEED, *kms.options)
        self._kms = kms

    def prepare(self) -> None:
        super().prepare()
        call(self.served, "PutKMSEncryptionKey", kmsEncryptionKeyArn=self._kms.create_key().arn)

    def open_store(self) -> Store:
        return opened(self.served, self._kms)


@pytest.fixture
def auditor(tmp_path: Path, kms: KmsStandIn) -> Iterator[SealedAuditor]:
    made = SealedAuditor(tmp_path, kms)
    try:
        made.prepare()
        yield made
    finally:
        made.served.close()


def test_sealed_answers_stand_when_the_server_is_killed_under_load(auditor: SealedAuditor) -> None:
    auditor.random_kill()
    auditor.fail_point("between_sync_and_answer", 300)
    auditor.finish()


@pytest.mark.full
def test_kills_and_a_checkpoint_that_dies_with_sealed_events(auditor: SealedAuditor) -> None:
    for _ in range(8):
        auditor.random_kill()
    auditor.finish()
    auditor.fill(30_000)
    auditor.fail_point("in_checkpoint", 1)
    auditor.fail_point("in_projection", 9)
    auditor.finish()


def test_nothing_of_sealed_events_is_on_disk_or_in_the_log(served: Served, kms: KmsStandIn) -> None:
    predict(served, "e1")
    predict(served, "e1", note="another note")
    call(served, "SendEvent", **event("e2"))
    call(
        served,
        "UpdateEventLabel",
        eventId="e2",
        eventTypeName="pay",
        assignedLabel="fraud",
        labelTimestamp=AT,
    )
    served.kill()
    assert marks_in(served.data) == set()
    served.start()
    assert shown(served, "e1")["eventVariables"] == MARKED | {"note": "another note"}
    assert shown(served, "e2") == {
        "eventId": "e2",
        "eventTypeName": "pay",
        "eventTimestamp": AT,
        "eventVariables": MARKED,
        "entities": [{"entityType": "customer", "entityId": ENTITY}],
        "currentLabel": "fraud",
        "labelTimestamp": AT,
    }
    served.stop()
    store = opened(served, kms)
    try:
        store.checkpointer._start(store.ledger.durable_seq)  # a real child, with the keys handed to it
        until(lambda: list((served.data / "states").glob("*.states")), WAIT_S, "no checkpoint came")
    finally:
        store.close()
    assert marks_in(served.data) == set()
    said = served.said()
    assert not any(mark.decode("latin-1") in said for mark in MARKS[:6])
    for secret in kms.data_keys:
        everywhere = [path for path in served.data.rglob("*") if path.is_file()]
        for text in (secret, base64.b64encode(secret), secret.hex().encode()):
            assert not any(text in path.read_bytes() for path in everywhere)
            assert text.decode("latin-1") not in said
    assert kms.data_keys


def write_rows(served: Served, rows: int, bad: int, prefix: str = "r") -> None:
    bucket = served.data / "buckets" / "b"
    bucket.mkdir(parents=True, exist_ok=True)
    with (bucket / "rows.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("EVENT_ID", "EVENT_TIMESTAMP", "ENTITY_TYPE", "ENTITY_ID", *MARKED))
        for row in range(1, rows + 1):
            amount = f"{AMOUNT} marked" if row == bad else MARKED["amt"]
            others = list(MARKED.values())[1:]
            out.writerow((f"{prefix}{row}", AT, "customer", ENTITY, amount, *others))


def run_job(served: Served, kind: str, point: str, **other: str) -> dict[str, Any]:
    """A job that is killed in the middle, looked at on disk, and goes on."""
    served.stop()
    served.start(HAWKSNEST_FAIL_POINT=point)
    job = {
        "jobId": kind.lower(),
        "inputPath": "s3://b/rows.csv",
        "outputPath": f"s3://b/{kind}",
        "eventTypeName": "pay",
        "iamRoleArn": "arn:aws:iam::123456789012:role/afd",
    } | other
    call(served, f"CreateBatch{kind}Job", **job)
    served.died()
    [folder] = (served.data / "batch").glob("*/*/*")
    assert {"rows", "rejects.csv", "summary.json"} <= {path.name for path in folder.iterdir()}
    assert marks_in(served.data) == set()
    served.start()

    def job_now() -> dict[str, Any]:
        [found] = next(iter(call(served, f"GetBatch{kind}Jobs", jobId=kind.lower()).values()))
        assert isinstance(found, dict)
        return found

    until(lambda: "IN_PROGRESS" not in job_now()["status"], WAIT_S, f"the {kind} has no end")
    ended = job_now()
    assert ended["status"] == "COMPLETE", ended
    return ended


def test_batch_jobs_with_a_key_go_on_after_a_kill_and_leave_nothing_in_clear(served: Served) -> None:
    rows = 3_000
    write_rows(served, rows, bad=7)
    ended = run_job(served, "Import", "before_write:2")
    assert (ended["processedRecordsCount"], ended["failedRecordsCount"]) == (rows, 1)
    [report] = (served.data / "buckets" / "b" / "Import").glob("*.csv")
    assert [line.split(",")[0] for line in report.read_text().splitlines()] == ["ROW", "7"]
    assert shown(served, f"r{rows}")["eventVariables"] == MARKED
    [kept] = call(served, "GetEventTypes", name="pay")["eventTypes"]
    assert kept["ingestedEventStatistics"]["numberOfEvents"] == rows - 1

    write_rows(served, rows, bad=7, prefix="p")
    ended = run_job(served, "Prediction", "before_write:2", detectorName="det")
    assert ended["processedRecordsCount"] == rows
    [results] = (served.data / "buckets" / "b" / "Prediction").glob("*.csv")
    with results.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["EVENT_ID"] for row in found] == [f"p{number}" for number in range(1, rows + 1)]
    assert [row["EVENT_ID"] for row in found if row["STATUS"] != "Success"] == ["p7"]
    assert found[0]["OUTCOMES"] == "['block', 'review']"
    served.stop()
    assert marks_in(served.data) == set()
    assert "marked" not in served.said().lower()


def test_a_model_is_trained_on_sealed_events_and_kept_sealed(served: Served) -> None:
    bucket = served.data / "buckets" / "b"
    bucket.mkdir(parents=True)
    with (bucket / "history.csv").open("w", newline="") as file:
        out = csv.writer(file)
        names = ("EVENT_ID", "EVENT_TIMESTAMP", "ENTITY_TYPE", "ENTITY_ID", "EVENT_LABEL", "LABEL_TIMESTAMP")
        out.writerow((*names, "amt", "note"))
        random = seeded(11)
        for number in range(400):
            fraud = random.random() < 0.3
            at = iso_s(WORLD.now_ms() - 86_400_000 * 20 + number * 60_000)
            amount = round(random.uniform(500, 1_500) if fraud else random.uniform(1, 700), 2)
            note = f"marked note {number % 2 if fraud else number % 3}"
            label = "fraud" if fraud else "legit"
            out.writerow((f"h{number}", at, "customer", f"c{number}", label, at, amount, note))
    call(
        served,
        "CreateBatchImportJob",
        jobId="history",
        inputPath="s3://b/history.csv",
        outputPath="s3://b/o",
        eventTypeName="pay",
        iamRoleArn="arn:aws:iam::123456789012:role/afd",
    )
    until(
        lambda: (
            call(served, "GetBatchImportJobs", jobId="history")["batchImports"][0]["status"] == "COMPLETE"
        ),
        WAIT_S,
        "the import has no end",
    )
    model = {"modelId": "m", "modelType": "ONLINE_FRAUD_INSIGHTS"}
    call(served, "CreateModel", eventTypeName="pay", **model)
    call(
        served,
        "CreateModelVersion",
        trainingDataSource="INGESTED_EVENTS",
        trainingDataSchema={
            "modelVariables": ["amt", "note"],
            "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
        },
        ingestedEventsDetail={
            "ingestedEventsTimeWindow": {
                "startTime": iso_s(WORLD.now_ms() - 86_400_000 * 30),
                "endTime": iso_s(WORLD.now_ms()),
            }
        },
        **model,
    )
    version = model | {"modelVersionNumber": "1.0"}

    def status() -> str:
        return str(call(served, "GetModelVersion", **version)["status"])

    until(lambda: status() != "TRAINING_IN_PROGRESS", WAIT_S, "the training has no end")
    assert status() == "TRAINING_COMPLETE", call(served, "DescribeModelVersions", **version)
    call(served, "UpdateModelVersionStatus", status="ACTIVE", **version)
    until(lambda: status() == "ACTIVE", WAIT_S, "the model is not deployed")
    call(
        served,
        "CreateDetectorVersion",
        detectorId="det",
        rules=[{"detectorId": "det", "ruleId": "big", "ruleVersion": "1"}],
        modelVersions=[version],
    )
    call(served, "UpdateDetectorVersionStatus", detectorId="det", detectorVersionId="2", status="ACTIVE")
    dear = predict(served, "p1", amt="1200", note="marked note 1")["modelScores"]
    cheap = predict(served, "p2", amt="20", note="marked note 2")["modelScores"]
    assert dear[0]["scores"]["m_insightscore"] > cheap[0]["scores"]["m_insightscore"]
    [artefact] = (served.data / "models").glob("*/*/*/*/*")
    assert (artefact / "data_key").read_text() == "1"
    served.kill()
    assert not any(b"marked" in path.read_bytes() for path in artefact.iterdir())
    assert marks_in(served.data) == set()
    served.start()
    assert predict(served, "p3", amt="1200", note="marked note 1")["modelScores"] == dear
    served.stop()


def other_account(served: Served) -> Client:
    """A client of an account without a key of its own."""
    made = subprocess.run(
        [*COMMAND, "keys", "create", "--data", str(served.data), "--account", "222222222222", "--json"],
        capture_output=True,
        check=True,
    )
    key = json.loads(made.stdout)
    file = served.data.parent / "other-credentials"
    file.write_text(
        f"[default]\naws_access_key_id = {key['access_key_id']}\n"
        f"aws_secret_access_key = {key['secret_access_key']}\n"
    )
    return Client(served.url, read_credentials(file, REGION), pool=1)


def known(client: Client) -> bool:
    try:
        return client.call("GetLabels", {}).response is not None
    except ServiceError:
        return False


def test_a_server_starts_without_its_kms_and_goes_on_when_it_is_back(served: Served, kms: KmsStandIn) -> None:
    for name in ("e1", "e2"):
        predict(served, name)
    served.stop()
    kms.stop()
    assert served.start() < 10
    said = [line for line in served.said().splitlines() if "cannot be read" in line]
    assert len(said) == 1 and "cannot be reached now" in said[0] and kms.url[7:] in said[0]
    for operation, request in (
        ("GetEventPrediction", {"detectorId": "det", **event("e3")}),
        ("SendEvent", event("e3")),
        ("GetEvent", {"eventId": "e1", "eventTypeName": "pay"}),
        ("PutKMSEncryptionKey", {"kmsEncryptionKeyArn": next(iter(kms.keys))}),
    ):
        code, message = refused(served, operation, **request)
        assert code == "ThrottlingException", (operation, message)
        assert "cannot be reached now" in message
    assert len(call(served, "ListEventPredictions")["eventPredictionSummaries"]) == 2
    with other_account(served) as other:
        until(lambda: known(other), WAIT_S, "the new access key is not noticed")
        deploy(other)
        asked = {"detectorId": "det", **event("e1")}
        assert other.call("GetEventPrediction", asked).response["ruleResults"]
    kms.start()

    def works() -> bool:
        try:
            return bool(predict(served, "e3"))
        except Transient:
            return False

    until(works, WAIT_S, "the account is still locked out")
    assert shown(served, "e1")["eventVariables"] == MARKED
    served.stop()
    store = opened(served, kms)
    try:
        found = [record for _, record in store.ledger.replay()]
        assert len(found) == 4
        [name] = [name for name in store.states.contents() if name[0] == "000000000000" and ENTITY in name]
        assert store.states.contents()[name][0] == 3, "every event of the entity is counted"
    finally:
        store.close()


def test_a_lost_key_is_said_and_left_behind(served: Served, kms: KmsStandIn) -> None:
    predict(served, "e1")
    call(served, "SendEvent", **event("e2"))
    [key] = kms.keys.values()
    key.state = "PendingDeletion"
    served.stop()
    served.start()
    listed = call(served, "ListEventPredictions")["eventPredictionSummaries"]
    about = {
        name: listed[0][name] for name in ("eventId", "eventTypeName", "detectorId", "detectorVersionId")
    }
    lost = (
        ("GetEventPrediction", {"detectorId": "det", **event("e3")}),
        ("SendEvent", event("e3")),
        ("GetEvent", {"eventId": "e1", "eventTypeName": "pay"}),
        ("GetEventPredictionMetadata", about | {"predictionTimestamp": listed[0]["predictionTimestamp"]}),
    )
    for _ in range(3):
        for operation, request in lost:
            code, message = refused(served, operation, **request)
            assert code == "AccessDeniedException", (operation, message)
            assert key.arn in message and "KMSInvalidStateException" in message
    write_rows(served, 3, bad=0)
    job = {
        "jobId": "j",
        "inputPath": "s3://b/rows.csv",
        "outputPath": "s3://b/o",
        "eventTypeName": "pay",
        "iamRoleArn": "arn:aws:iam::123456789012:role/afd",
    }
    call(served, "CreateBatchImportJob", **job)

    def ended() -> dict[str, Any]:
        [found] = call(served, "GetBatchImportJobs", jobId="j")["batchImports"]
        assert isinstance(found, dict)
        return found

    until(lambda: "IN_PROGRESS" not in ended()["status"], WAIT_S, "the import has no end")
    assert ended()["status"] == "FAILED" and key.arn in ended()["failureReason"]
    call(served, "DeleteEvent", eventId="e2", eventTypeName="pay")
    [kept] = call(served, "GetEventTypes", name="pay")["eventTypes"]
    assert kept["ingestedEventStatistics"]["numberOfEvents"] == 1

    call(served, "PutKMSEncryptionKey", kmsEncryptionKeyArn="DEFAULT")

    def works() -> bool:
        try:
            return bool(predict(served, "e3"))
        except (Transient, ServiceError):
            return False

    until(works, WAIT_S, "the account is still locked out")
    assert refused(served, "GetEvent", eventId="e1", eventTypeName="pay")[0] == "AccessDeniedException"
    served.stop()
    served.start()
    assert shown(served, "e3")["eventVariables"] == MARKED

    key.state = "Enabled"  # it was not lost after all

    def readable() -> bool:
        try:
            return shown(served, "e1")["eventVariables"] == MARKED
        except ServiceError:
            return False

    until(readable, WAIT_S, "what the key sealed stays closed")
    assert "Traceback" not in served.said()
    served.stop()


def test_what_was_written_before_a_change_of_keys_stays_readable(served: Served, kms: KmsStandIn) -> None:
    arns = [kms.create_key(number).arn for number in (2, 3)]
    for number, arn in enumerate([*arns, "DEFAULT", arns[0], "DEFAULT", *kms.keys]):
        call(served, "PutKMSEncryptionKey", kmsEncryptionKeyArn=arn)
        assert call(served, "GetKMSEncryptionKey") == {"kmsKey": {"kmsEncryptionKeyArn": arn}}
        predict(served, f"e{number}", note=f"note {number}")
    served.kill()
    served.start()
    for number in range(5 + len(kms.keys)):
        assert shown(served, f"e{number}")["eventVariables"]["note"] == f"note {number}"
    served.stop()
