"""kill -9 in the middle of batch jobs: they go on where they were, no row twice, none lost."""

import csv
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from recount import HERE, check_recount
from served import Served, deploy, until

from hawksnest.app import App, Call
from hawksnest.catalog import BatchImport
from hawksnest.config import Settings
from hawksnest.main import open_app
from hawksnest.ops.batch_jobs import resume_jobs
from hawksnest.ops.registry import OPERATIONS
from hawksnest.store.data_folder import open_store
from hawksnest.store.records import EventDeleted, EventSent, Predicted
from hawksnest.world import RealWorld

ROWS = 8_000  # so many that an import of them syncs several times
BAD = frozenset(range(50, ROWS, 100))
WORLD = RealWorld()
WAIT_S = 60.0


def write_file(data: Path, name: str = "ev.csv") -> str:
    bucket = data / "buckets" / "b"
    bucket.mkdir(parents=True, exist_ok=True)
    with (bucket / name).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("EVENT_ID", "EVENT_TIMESTAMP", "ENTITY_TYPE", "ENTITY_ID", "amt", "email"))
        for row in range(1, ROWS + 1):
            amount = "dear" if row in BAD else str(row % 1_000)
            at = f"2026-01-{row % 28 + 1:02d}T10:00:00Z"
            out.writerow((f"e{row}", at, "customer", f"c{row % 40}", amount, f"u{row % 60}@example.com"))
    return f"s3://b/{name}"


def job(uri: str, **other: str) -> dict[str, Any]:
    return {
        "jobId": "j",
        "inputPath": uri,
        "outputPath": "s3://b/o",
        "eventTypeName": "pay",
        "iamRoleArn": "arn:aws:iam::123456789012:role/afd",
    } | other


def shown(served: Served, kind: str) -> dict[str, Any]:
    client = served.client()
    try:
        answer = client.call(f"Get{kind}Jobs", {"jobId": "j"}).response
    finally:
        client.close()
    [found] = next(iter(answer.values()))
    return found


def call(served: Served, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    client = served.client()
    try:
        return client.call(operation, request).response
    finally:
        client.close()


def until_ended(served: Served, kind: str) -> dict[str, Any]:
    until(lambda: "IN_PROGRESS" not in shown(served, kind)["status"], WAIT_S, f"{kind} has no end")
    return shown(served, kind)


def start_and_die(served: Served, fail_point: str) -> None:
    with suppress(AssertionError):  # it may die before it answers
        served.start(HAWKSNEST_FAIL_POINT=fail_point)
    served.died()


def test_jobs_of_a_killed_server_go_on(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        served.start(HAWKSNEST_FAIL_POINT="before_write:2")
        uri = write_file(served.data)
        client = served.client()
        deploy(client)
        client.call("CreateBatchImportJob", job(uri))
        client.close()
        served.died()  # between two slices of the import
        start_and_die(served, "between_write_and_sync:2")  # again, after it went on
        served.start()
        ended = until_ended(served, "BatchImport")
        assert ended["status"] == "COMPLETE", ended
        assert (ended["processedRecordsCount"], ended["failedRecordsCount"]) == (ROWS, len(BAD))

        call(served, "CreateBatchPredictionJob", job(uri, outputPath="s3://b/p", detectorName="det"))
        until(lambda: shown(served, "BatchPrediction")["processedRecordsCount"] > 300, WAIT_S, "no progress")
        served.kill()
        start_and_die(served, "before_write:2")
        served.start()
        ended = until_ended(served, "BatchPrediction")
        assert (ended["status"], ended["processedRecordsCount"]) == ("COMPLETE", ROWS), ended

        call(served, "DeleteEventsByEventType", {"eventTypeName": "pay"})
        served.kill()
        served.start()
        asked = {"eventTypeName": "pay"}
        until(
            lambda: (
                call(served, "GetDeleteEventsByEventTypeStatus", asked)["eventsDeletionStatus"] == "COMPLETE"
            ),
            WAIT_S,
            "the deletion has no end",
        )
        served.stop()
    finally:
        served.close()
    check_journal(served.data)
    check_output(served.data)
    assert not list((served.data / "batch").glob("*/*/*")), "jobs that have ended leave no files"


def check_journal(data: Path) -> None:
    """One record a good row of each job, in the order of rows, and everything deleted once."""
    store = open_store(Settings.of(data=data), WORLD)
    try:
        records = [record for _, record in store.ledger.replay()]
        good = [row for row in range(1, ROWS + 1) if row not in BAD]
        assert [record.row for record in records if isinstance(record, EventSent)] == good
        assert [record.row for record in records if isinstance(record, Predicted)] == good
        gone = Counter(record.key.event_id for record in records if isinstance(record, EventDeleted))
        assert gone == {f"e{row}": 1 for row in good}
        assert store.ledger.statistics(HERE, "pay").count == 0
        check_recount(store, records)
    finally:
        store.close()


def check_output(data: Path) -> None:
    [path] = (data / "buckets" / "b" / "p").glob("*.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["EVENT_ID"] for row in rows] == [f"e{row}" for row in range(1, ROWS + 1)]
    for number, row in enumerate(rows, 1):
        assert (row["STATUS"] == "Success") == (number not in BAD)
        expected = "['block', 'review']" if number % 1_000 > 900 else "review" if number % 1_000 > 500 else ""
        assert row["OUTCOMES"] == ("" if number in BAD else expected), row
    [report] = (data / "buckets" / "b" / "o").glob("*.csv")
    with report.open(newline="") as file:
        assert [int(row["ROW"]) for row in csv.DictReader(file)] == sorted(BAD)


# ---- the same without a process of its own


def do(app: App, operation: str, **request: Any) -> dict[str, Any]:
    return OPERATIONS[operation].function(app, Call(HERE), request)


def set_up(app: App) -> None:
    for name, data_type, default in (("amt", "FLOAT", "0.0"), ("email", "STRING", "none")):
        do(app, "CreateVariable", name=name, dataType=data_type, dataSource="EVENT", defaultValue=default)
    do(app, "PutEntityType", name="customer")
    do(
        app,
        "PutEventType",
        name="pay",
        eventVariables=["amt", "email"],
        entityTypes=["customer"],
        eventIngestion="ENABLED",
    )


def import_of(app: App) -> dict[str, Any]:
    [found] = do(app, "GetBatchImportJobs", jobId="j")["batchImports"]
    return found


@pytest.mark.parametrize("note", ["kept", "lost", "torn"])
def test_what_is_done_is_known_whatever_the_notes_say(tmp_path: Path, note: str) -> None:
    settings = Settings.of(data=tmp_path)
    with open_app(settings, WORLD) as app:
        set_up(app)
        do(app, "CreateBatchImportJob", **job(write_file(tmp_path)))
        until(lambda: import_of(app)["processedRecordsCount"] > 300, WAIT_S, "no progress")
    [folder] = (tmp_path / "batch").glob("*/*/*")
    if note == "lost":
        (folder / "point.json").unlink(missing_ok=True)
    elif note == "torn":
        (folder / "point.json").write_bytes(b'{"offset": 12')
    with open_app(settings, WORLD) as app:
        assert import_of(app)["status"] == "IN_PROGRESS"
        resume_jobs(app)
        until(lambda: import_of(app)["status"] != "IN_PROGRESS", WAIT_S, "no end")
        ended = import_of(app)
        assert (ended["status"], ended["processedRecordsCount"]) == ("COMPLETE", ROWS)
        rows = [record.row for _, record in app.ledger.replay() if isinstance(record, EventSent)]
        assert rows == [row for row in range(1, ROWS + 1) if row not in BAD]


def test_a_job_that_was_being_cancelled_is_cancelled_by_the_next_server(tmp_path: Path) -> None:
    with open_app(Settings.of(data=tmp_path), WORLD) as app:
        with app.catalog.transaction():
            app.catalog.put(
                HERE,
                BatchImport(
                    job_id="j",
                    input_path="s3://b/ev.csv",
                    output_path="s3://b/o",
                    event_type="pay",
                    role_arn="r",
                    status="CANCEL_IN_PROGRESS",
                    run=1,
                    created_at_ms=0,
                    updated_at_ms=0,
                ),
            )
        resume_jobs(app)
        until(lambda: import_of(app)["status"] == "CANCELED", 1.0, "not cancelled")


def test_a_folder_that_cannot_be_written_ends_the_job(tmp_path: Path) -> None:
    before = threading.active_count()
    with open_app(Settings.of(data=tmp_path), WORLD) as app:
        set_up(app)
        (tmp_path / "batch").write_text("not a folder")
        do(app, "CreateBatchImportJob", **job(write_file(tmp_path)))
        until(lambda: "IN_PROGRESS" not in import_of(app)["status"], WAIT_S, "no end")
        ended = import_of(app)
        assert (ended["status"], ended["failureReason"]) == ("FAILED", "Not a directory.")
    until(lambda: threading.active_count() <= before, WAIT_S, "threads were left behind")
