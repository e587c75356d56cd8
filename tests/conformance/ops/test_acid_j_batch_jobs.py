"""Acid tests J, and D10 for batch jobs: imports and predictions of whole files, over a real boto3."""

import itertools
import re

import pytest
from batch_files import ROLE, Bucket, good, imported, predicted

NAMES = (f"bucket{number}" for number in itertools.count())


@pytest.fixture
def bucket(served) -> Bucket:
    return Bucket(served.data, next(NAMES))


def start_import(afd, bucket, uri, job_id="i1", **other):
    return afd.c.create_batch_import_job(
        **{
            "jobId": job_id,
            "inputPath": uri,
            "outputPath": bucket.uri("o"),
            "eventTypeName": "pay",
            "iamRoleArn": ROLE,
        }
        | other
    )


def start_prediction(afd, bucket, uri, job_id="j1", **other):
    return afd.c.create_batch_prediction_job(
        **{
            "jobId": job_id,
            "inputPath": uri,
            "outputPath": bucket.uri("o"),
            "eventTypeName": "pay",
            "detectorName": "det",
            "iamRoleArn": ROLE,
        }
        | other
    )


def many(afd, bucket, count=20_000):
    return bucket.write("many.csv", *(good(afd, number) for number in range(count)))


def test_j1_a_prediction_job_shows_itself_at_once(afd, bucket):
    assert afd.done(start_prediction(afd, bucket, many(afd, bucket)))
    [job] = afd.c.get_batch_prediction_jobs(jobId="j1")["batchPredictions"]
    assert job["status"].startswith("IN_PROGRESS")
    assert job["detectorVersion"] == "1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", job["startTime"])
    assert "completionTime" not in job
    assert job["arn"] == f"arn:aws:frauddetector:us-east-1:{afd.account}:batch-prediction/j1"
    assert job["processedRecordsCount"] < 20_000
    afd.c.cancel_batch_prediction_job(jobId="j1")
    assert predicted(afd)["status"] == "CANCELED"


def test_j2_one_prediction_job_runs_at_a_time(afd, bucket):
    uri = many(afd, bucket)
    start_prediction(afd, bucket, uri)
    assert "j1" in afd.ve(start_prediction, afd, bucket, uri, job_id="j2")
    afd.c.cancel_batch_prediction_job(jobId="j1")
    assert predicted(afd)["status"] == "CANCELED"
    assert bucket.outputs() == []


def test_j3_a_job_id_is_used_once(afd, bucket):
    uri = bucket.write("in.csv", good(afd, 1))
    start_prediction(afd, bucket, uri)
    assert predicted(afd)["status"] == "COMPLETE"
    afd.ve(start_prediction, afd, bucket, uri)


def test_j4_the_detector_exists(afd, bucket):
    uri = bucket.write("in.csv", good(afd, 1))
    afd.rnf(start_prediction, afd, bucket, uri, detectorName="nope")
    afd.rnf(start_prediction, afd, bucket, uri, detectorVersion="9")
    afd.rnf(start_prediction, afd, bucket, uri, eventTypeName="nope")


def test_j5_the_output_has_the_input_and_four_columns(afd, bucket):
    rows = [good(afd, 1000), good(afd, 200, email="a@free.example"), good(afd, 5)]
    start_prediction(afd, bucket, bucket.write("in.csv", *rows))
    job = predicted(afd)
    assert (job["status"], job["processedRecordsCount"], job["totalRecordsCount"]) == ("COMPLETE", 3, 3)
    [path] = bucket.outputs()
    assert re.fullmatch(r"j1_\d{10}_output\.csv", path.name)
    at = afd.T.replace("Z", ".000Z")
    assert bucket.output().splitlines() == [
        "EVENT_ID,EVENT_TIMESTAMP,ENTITY_TYPE,ENTITY_ID,amt,email,MODEL_SCORES,OUTCOMES,RULE_RESULTS,STATUS",
        f'e1000,{at},customer,c6,1000,u1000@home.example,{{}},block,"{{""big"": [""block""]}}",Success',
        f'e200,{at},customer,c4,200,a@free.example,{{}},review,"{{""mid"": [""review""]}}",Success',
        f"e5,{at},customer,c5,5,u5@home.example,{{}},,{{}},Success",
    ]


def test_j6_an_unknown_prediction_job_is_not_found(afd):
    afd.rnf(afd.c.cancel_batch_prediction_job, jobId="nope")
    afd.rnf(afd.c.get_batch_prediction_jobs, jobId="nope")
    afd.rnf(afd.c.cancel_batch_import_job, jobId="nope")
    afd.rnf(afd.c.get_batch_import_jobs, jobId="nope")


def test_j7_a_finished_job_is_not_cancelled(afd, bucket):
    start_prediction(afd, bucket, bucket.write("in.csv", good(afd, 1)))
    predicted(afd)
    afd.ve(afd.c.cancel_batch_prediction_job, jobId="j1")


def counts(job):
    return job["processedRecordsCount"], job["failedRecordsCount"], job["totalRecordsCount"]


def test_j8_good_rows_are_imported(afd, bucket):
    uri = bucket.write("ev.csv", *(good(afd, number) for number in range(4)))
    assert afd.done(start_import(afd, bucket, uri))
    job = imported(afd)
    assert (job["status"], *counts(job)) == ("COMPLETE", 4, 0, 4)
    assert "failureReason" not in job
    assert bucket.output() == ""
    event = afd.c.get_event(eventId="e3", eventTypeName="pay")["event"]
    assert event["eventVariables"] == {"amt": "3", "email": "u3@home.example"}
    assert (event["eventTimestamp"], event["entities"][0]["entityId"]) == (afd.T, "c3")


def test_j9_a_bad_row_is_counted_and_reported(afd, bucket):
    rows = [good(afd, number) for number in range(3)]
    rows.insert(1, good(afd, 9, amt="dear"))
    start_import(afd, bucket, bucket.write("ev.csv", *rows))
    job = imported(afd)
    assert (job["status"], *counts(job)) == ("COMPLETE", 4, 1, 4)
    [line] = bucket.table()
    assert (line["ROW"], line["EVENT_ID"]) == ("2", "e9")
    assert "amt" in line["REASON"] and "FLOAT" in line["REASON"]
    afd.rnf(afd.c.get_event, eventId="e9", eventTypeName="pay")


def test_j10_an_import_with_more_bad_than_good_rows_stores_nothing(afd, bucket):
    rows = [good(afd, 0), *(good(afd, number, amt="dear") for number in range(1, 4))]
    start_import(afd, bucket, bucket.write("ev.csv", *rows))
    job = imported(afd)
    assert (job["status"], job["failedRecordsCount"]) == ("FAILED", 3)
    assert "3 of 4 rows" in job["failureReason"]
    assert [line["ROW"] for line in bucket.table()] == ["2", "3", "4"]
    afd.rnf(afd.c.get_event, eventId="e0", eventTypeName="pay")


def test_j10_half_of_the_rows_may_be_bad(afd, bucket):
    rows = [good(afd, 0), good(afd, 1), good(afd, 2, amt="dear"), good(afd, 3, amt="dear")]
    start_import(afd, bucket, bucket.write("ev.csv", *rows))
    assert imported(afd)["status"] == "COMPLETE"


def test_j11_an_event_type_that_does_not_store_imports_nothing(afd, bucket):
    afd.c.put_event_type(
        name="off", eventVariables=["amt"], entityTypes=["customer"], eventIngestion="DISABLED"
    )
    afd.ve(start_import, afd, bucket, bucket.uri("ev.csv"), eventTypeName="off")
    afd.rnf(start_import, afd, bucket, bucket.uri("ev.csv"), eventTypeName="nope")


def test_j12_a_deleted_import_job_leaves_its_events(afd, bucket):
    uri = bucket.write("ev.csv", *(good(afd, number) for number in range(4)))
    start_import(afd, bucket, uri)
    imported(afd)
    assert afd.done(afd.c.delete_batch_import_job(jobId="i1"))
    assert afd.c.get_event(eventId="e0", eventTypeName="pay")["event"]
    assert afd.c.get_batch_import_jobs()["batchImports"] == []
    afd.ve(start_import, afd, bucket, uri)  # its id is spent


def test_j13_labels_come_with_their_times(afd, bucket):
    header = ("EVENT_ID", "EVENT_TIMESTAMP", "ENTITY_TYPE", "ENTITY_ID", "amt", "EVENT_LABEL")
    uri = bucket.write("ev.csv", ("e1", afd.T, "customer", "c1", "5", "fraud"), header=header)
    start_import(afd, bucket, uri)
    job = imported(afd)
    assert job["status"] == "FAILED"
    assert "LABEL_TIMESTAMP" in job["failureReason"]
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")


def test_j14_pages_have_at_most_50_jobs(afd):
    afd.ve(afd.c.get_batch_import_jobs, maxResults=51)
    afd.ve(afd.c.get_batch_prediction_jobs, maxResults=51)


def test_d10_deleting_a_missing_job_succeeds(afd):
    assert afd.done(afd.c.delete_batch_prediction_job(jobId="nope"))
    assert afd.done(afd.c.delete_batch_import_job(jobId="nope"))
