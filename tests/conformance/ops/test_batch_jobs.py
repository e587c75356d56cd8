"""Batch jobs beyond the acid tests: what files may hold, what breaks them, cancelling, tags, references."""

import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest
from batch_files import HEADER, Bucket, good, imported, predicted
from test_acid_j_batch_jobs import counts, many, start_import, start_prediction

NAMES = (f"files{number}" for number in itertools.count())


@pytest.fixture
def bucket(served) -> Bucket:
    return Bucket(served.data, next(NAMES))


def stored(afd, event_id: str):
    return afd.c.get_event(eventId=event_id, eventTypeName="pay")["event"]


def count(afd) -> int:
    [shown] = afd.c.get_event_types(name="pay")["eventTypes"]
    return shown.get("ingestedEventStatistics", {}).get("numberOfEvents", 0)


# ---- what a file may hold


@pytest.mark.parametrize(
    "text",
    [
        "2019-11-30T13:01:01Z",
        "2019/11/30 1:01:01 PM",
        "2019/11/30 13:01:01",
        "11/30/2019 1:01:01 PM",
        "11/30/19 13:01:01",
        "11-30-19 13:01:01",
        "2019-11-30 13:01:01",
        "2019-11-30T13:01:01.000Z",
    ],
)
def test_every_family_of_timestamps_is_read(afd, bucket, text):
    uri = bucket.write("ev.csv", good(afd, 1, EVENT_TIMESTAMP=text))
    start_import(afd, bucket, uri)
    assert imported(afd)["failedRecordsCount"] == 0
    assert stored(afd, "e1")["eventTimestamp"] == text
    start_prediction(afd, bucket, uri, outputPath=bucket.uri("p"))
    assert predicted(afd)["status"] == "COMPLETE"
    assert bucket.table("p")[0]["EVENT_TIMESTAMP"] == "2019-11-30T13:01:01.000Z"


def test_a_date_that_the_api_could_not_answer_is_written_out(afd, bucket):
    start_import(afd, bucket, bucket.write("ev.csv", good(afd, 1, EVENT_TIMESTAMP="1/2/20")))
    assert imported(afd)["failedRecordsCount"] == 0
    assert stored(afd, "e1")["eventTimestamp"] == "2020-01-02T00:00:00.000Z"


def test_quoted_fields_hold_commas_quotes_and_lines(afd, bucket):
    text = 'a "b", c\r\nd'
    start_import(afd, bucket, bucket.write("ev.csv", good(afd, 1, email=text)))
    assert imported(afd)["status"] == "COMPLETE"
    assert stored(afd, "e1")["eventVariables"]["email"] == text


def test_a_mark_of_byte_order_and_windows_line_ends_are_read(afd, bucket):
    lines = [",".join(HEADER), ",".join(good(afd, 1)), ",".join(good(afd, 2))]
    uri = bucket.write_bytes("ev.csv", b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    start_import(afd, bucket, uri)
    job = imported(afd)
    assert (job["status"], *counts(job)) == ("COMPLETE", 2, 0, 2)


def test_labels_are_stored_and_rows_without_one_are_not_labelled(afd, bucket):
    header = (*HEADER, "EVENT_LABEL", "LABEL_TIMESTAMP")
    rows = [
        (*good(afd, 1), "fraud", afd.T),
        (*good(afd, 2), "", afd.T),
        (*good(afd, 3), "", ""),
        (*good(afd, 4), "fraud", ""),
        (*good(afd, 5), "nope", afd.T),
        (*good(afd, 6), "legit", "soon"),
    ]
    start_import(afd, bucket, bucket.write("ev.csv", *rows, header=header))
    job = imported(afd)
    assert (job["status"], *counts(job)) == ("COMPLETE", 6, 3, 6)
    assert (stored(afd, "e1")["currentLabel"], stored(afd, "e1")["labelTimestamp"]) == ("fraud", afd.T)
    assert "currentLabel" not in stored(afd, "e2") and "currentLabel" not in stored(afd, "e3")
    report = {line["EVENT_ID"]: line["REASON"] for line in bucket.table()}
    assert set(report) == {"e4", "e5", "e6"}
    assert "LABEL_TIMESTAMP" in report["e4"] and "nope" in report["e5"] and "soon" in report["e6"]


BAD_ROWS = {
    "EVENT_ID": ["UPPER", "", "x" * 65, "a b"],
    "EVENT_TIMESTAMP": ["", "yesterday", "30/11/2019 13:01:01", "2999-01-01T00:00:00Z"],
    "ENTITY_TYPE": ["", "merchant"],
    "ENTITY_ID": ["", "a b", "x" * 257],
    "amt": ["dear", "nan", "1,5"],
    "email": ["x" * 8_193],
}


def test_a_bad_row_is_refused_with_its_number_and_reason(afd, bucket):
    bad = [
        good(afd, 1_000 + n, **{c: v})
        for n, (c, v) in enumerate((c, v) for c in BAD_ROWS for v in BAD_ROWS[c])
    ]
    bad.append(good(afd, 2_000, amt="", email=""))
    rows = [row for pair in zip(bad, (good(afd, n) for n in range(len(bad))), strict=True) for row in pair]
    start_import(afd, bucket, bucket.write("ev.csv", *rows))
    job = imported(afd)
    assert (job["status"], *counts(job)) == ("COMPLETE", len(rows), len(bad), len(rows))
    report = bucket.table()
    assert [int(line["ROW"]) for line in report] == list(range(1, len(rows), 2))
    assert all(line["REASON"] for line in report)
    assert count(afd) == len(bad)


# ---- what breaks a file


def broken_files(afd):
    line, second = ",".join(good(afd, 1)), ",".join(good(afd, 2))
    head = ",".join(HEADER)
    return {
        "is not UTF-8": f"{head}\n{line}\n".encode() + b"\xff\xfe,,,,,\n",
        "EVENT_ID, EVENT_TIMESTAMP": f"{line}\n{second}\n".encode(),
        "The header lacks": b"",
        "The header lacks ENTITY_ID": f"{head.replace('ENTITY_ID', 'vip')}\n{line}\n".encode(),
        "neither metadata nor a variable": f"{head},extra\n{line},1\n".encode(),
        "names amt twice": f"{head},amt\n{line},1\n".encode(),
        "Row 2 has 7 fields, the header 6": f"{head}\n{line}\n{second},1\n".encode(),
        "Row 1 has 5 fields": f"{head}\n{line.rpartition(',')[0]}\n{second}\n".encode(),
        "line ends must not be mixed": f"{head}\n{line}\r\n{second}\n".encode(),
        "longer than 1,048,576 characters": f"{head}\n{line}\n{second}{'x' * 10_000_000}\n".encode(),
        "not valid CSV": f'{head}\n"e1"x{line[2:]}\n'.encode(),
        "unexpected end": f'{head}\n{line}\n"e2{second[2:]}\n'.encode(),
    }


@pytest.mark.parametrize("number", range(12))
def test_a_broken_file_imports_nothing_and_says_why(afd, bucket, number):
    reason, content = list(broken_files(afd).items())[number]
    uri = bucket.write_bytes("ev.csv", content)
    start_import(afd, bucket, uri)
    job = imported(afd)
    assert job["status"] == "FAILED"
    assert reason in job["failureReason"]
    assert bucket.table()[-1]["REASON"] == job["failureReason"]
    assert count(afd) == 0
    start_import(afd, bucket, bucket.write("ev.csv", good(afd, 1)))  # it never read a row: its id is free
    assert imported(afd)["status"] == "COMPLETE"
    start_prediction(afd, bucket, bucket.write_bytes("bad.csv", content), outputPath=bucket.uri("p"))
    job = predicted(afd)
    assert (job["status"], job["failureReason"]) == ("FAILED", job["failureReason"])
    assert bucket.outputs("p") == []


@pytest.mark.parametrize("wrong", ["inputPath", "outputPath"])
def test_a_missing_object_or_bucket_ends_the_job(afd, bucket, wrong):
    uri = bucket.write("ev.csv", good(afd, 1))
    for path in ("s3://no-such-bucket/ev.csv", "s3://../x", bucket.uri("../other/ev.csv")):
        if wrong == "outputPath" or path != bucket.uri("../other/ev.csv"):
            name = f"i{len(afd.c.get_batch_import_jobs()['batchImports'])}"
            start_import(afd, bucket, uri, job_id=name, **{wrong: path})
            job = imported(afd, name)
            assert job["status"] == "FAILED" and job["failureReason"], path
    assert count(afd) == 0
    start_prediction(afd, bucket, uri, **{wrong: "s3://no-such-bucket/x"})
    assert predicted(afd)["status"] == "FAILED"


def test_an_output_that_is_only_a_bucket_is_enough(afd, bucket):
    start_prediction(afd, bucket, bucket.write("in.csv", good(afd, 1)), outputPath=f"s3://{bucket.name}")
    assert predicted(afd)["status"] == "COMPLETE"
    assert [path.name[:3] for path in bucket.outputs(".") if path.name.startswith("j1")] == ["j1_"]


# ---- what is stored already


def test_the_same_event_with_another_time_is_refused_and_with_the_same_time_replaced(afd, bucket):
    afd.c.send_event(**afd.se("e1", {"amt": "7"}))
    afd.c.send_event(**afd.se("e2", {"amt": "7"}, eventTimestamp=afd.T2))
    start_import(afd, bucket, bucket.write("ev.csv", good(afd, 1), good(afd, 2), good(afd, 1, amt="9")))
    job = imported(afd)
    assert (job["status"], *counts(job)) == ("COMPLETE", 3, 1, 3)
    assert [(line["ROW"], line["EVENT_ID"]) for line in bucket.table()] == [("2", "e2")]
    assert stored(afd, "e1")["eventVariables"]["amt"] == "9"
    assert stored(afd, "e2")["eventVariables"]["amt"] == "7"
    assert count(afd) == 2


def test_a_file_of_which_most_events_are_known_with_another_time_changes_nothing(afd, bucket):
    for number in (1, 2):
        afd.c.send_event(**afd.se(f"e{number}", {"amt": "7"}, eventTimestamp=afd.T2))
    start_import(afd, bucket, bucket.write("ev.csv", *(good(afd, number) for number in range(3))))
    job = imported(afd)
    assert (job["status"], job["failedRecordsCount"]) == ("FAILED", 2)
    afd.rnf(stored, afd, "e0")


# ---- predictions


def test_several_rules_and_outcomes_are_listed(afd, bucket):
    row = good(afd, 1000, email="a@free.example")
    start_prediction(afd, bucket, bucket.write("in.csv", row), detectorVersion="2")
    assert predicted(afd)["detectorVersion"] == "2"
    [line] = bucket.table()
    assert line["OUTCOMES"] == "['block', 'review', 'ok']"
    assert line["RULE_RESULTS"] == '{"big": ["block"], "mid": ["review"], "free": ["ok", "review"]}'


def test_a_bad_row_is_in_the_output_with_its_reason(afd, bucket):
    start_prediction(afd, bucket, bucket.write("in.csv", good(afd, 1), good(afd, 2, amt="dear")))
    job = predicted(afd)
    assert (job["status"], job["processedRecordsCount"]) == ("COMPLETE", 2)
    line = bucket.table()[1]
    assert line["EVENT_ID"] == "e2"
    assert (line["MODEL_SCORES"], line["OUTCOMES"], line["RULE_RESULTS"]) == ("", "", "")
    assert line["STATUS"].startswith("ValidationException: ") and "amt" in line["STATUS"]


def test_label_columns_are_left_out_of_the_output(afd, bucket):
    uri = bucket.write("in.csv", (*good(afd, 1), "fraud"), header=(*HEADER, "EVENT_LABEL"))
    start_prediction(afd, bucket, uri)
    predicted(afd)
    assert "EVENT_LABEL" not in bucket.table()[0]


def test_predictions_are_searchable_and_store_no_event(afd, bucket):
    start_prediction(afd, bucket, bucket.write("in.csv", good(afd, 1000)))
    predicted(afd)
    [found] = afd.c.list_event_predictions(eventId={"value": "e1000"})["eventPredictionSummaries"]
    shown = afd.c.get_event_prediction_metadata(
        eventId="e1000",
        eventTypeName="pay",
        detectorId="det",
        detectorVersionId="1",
        predictionTimestamp=found["predictionTimestamp"],
    )
    assert shown["outcomes"] == ["block"]
    afd.rnf(stored, afd, "e1000")
    assert count(afd) == 0


def test_a_model_scores_rows_as_it_scores_calls(afd, bucket):
    model = {"modelId": "m1", "modelType": "ONLINE_FRAUD_INSIGHTS"}
    afd.c.create_model(eventTypeName="pay", **model)
    afd.c.create_model_version(
        trainingDataSource="EXTERNAL_EVENTS",
        trainingDataSchema={
            "modelVariables": ["email", "amt"],
            "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
        },
        externalEventsDetail={
            "dataLocation": "s3://b/train.csv",
            "dataAccessRoleArn": "arn:aws:iam::123456789012:role/afd",
        },
        **model,
    )
    afd.finish_training(model, "1.0")
    afd.c.update_model_version_status(modelVersionNumber="1.0", status="ACTIVE", **model)
    afd.c.create_detector_version(
        detectorId="det", rules=afd.RULES, modelVersions=[{"modelVersionNumber": "1.0", **model}]
    )
    start_prediction(afd, bucket, bucket.write("in.csv", good(afd, 1000)), detectorVersion="3")
    assert predicted(afd)["status"] == "COMPLETE"
    answer = afd.c.get_event_prediction(
        **afd.ev("call", {"amt": "1000", "email": "u1000@home.example"}, detectorVersionId="3")
    )
    score = answer["modelScores"][0]["scores"]["m1_insightscore"]
    [line] = bucket.table()
    assert line["MODEL_SCORES"] == f"{{'m1': {score}}}"
    assert line["MODEL_SCORES"][len("{'m1': ") : -1] == str(score)


# ---- jobs


def test_a_running_job_is_cancelled_within_a_second(afd, bucket):
    start_import(afd, bucket, many(afd, bucket))
    until = time.monotonic() + 10
    while not afd.c.get_batch_import_jobs(jobId="i1")["batchImports"][0]["processedRecordsCount"]:
        assert time.monotonic() < until
    afd.ve(afd.c.delete_batch_import_job, jobId="i1")
    began = time.monotonic()
    assert afd.done(afd.c.cancel_batch_import_job(jobId="i1"))
    job = imported(afd)
    assert time.monotonic() - began < 1
    assert job["status"] == "CANCELED"
    assert 0 < job["processedRecordsCount"] < 20_000
    assert count(afd) >= job["processedRecordsCount"] > 0  # what was imported stays
    afd.ve(afd.c.cancel_batch_import_job, jobId="i1")


def test_a_job_protects_what_it_works_with(afd, bucket):
    start_prediction(afd, bucket, many(afd, bucket), detectorVersion="2")
    assert "j1" in afd.ce(afd.c.delete_detector_version, detectorId="det", detectorVersionId="2")
    afd.ve(afd.c.delete_batch_prediction_job, jobId="j1")
    afd.c.cancel_batch_prediction_job(jobId="j1")
    predicted(afd)
    assert afd.done(afd.c.delete_detector_version(detectorId="det", detectorVersionId="2"))


def test_jobs_carry_tags(afd, bucket):
    uri = bucket.write("ev.csv", good(afd, 1))
    tags = [{"key": "team", "value": "risk"}]
    start_import(afd, bucket, uri, tags=tags)
    start_prediction(afd, bucket, uri, tags=tags)
    for job in (imported(afd), predicted(afd)):
        assert afd.c.list_tags_for_resource(resourceARN=job["arn"])["tags"] == tags


def test_jobs_are_listed_in_pages(afd, bucket):
    for number in range(5):
        start_import(afd, bucket, bucket.uri("none.csv"), job_id=f"i{number}")
    pages = list(afd.pages(afd.c.get_batch_import_jobs, "batchImports", maxResults=2))
    assert [[job["jobId"] for job in page] for page in pages] == [["i0", "i1"], ["i2", "i3"], ["i4"]]


def test_old_events_are_imported(afd, bucket):
    old = (datetime.now(UTC) - timedelta(days=800)).strftime("%Y-%m-%dT%H:%M:%SZ")
    start_import(afd, bucket, bucket.write("ev.csv", good(afd, 1, EVENT_TIMESTAMP=old)))
    assert imported(afd)["failedRecordsCount"] == 0
