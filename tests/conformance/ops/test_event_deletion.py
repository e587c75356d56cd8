"""Acid tests D11, H14 and H15: all stored events of a type are deleted, in the background."""

import itertools
import time

import pytest
from batch_files import Bucket, good, imported
from test_acid_j_batch_jobs import start_import

from hawksnest.kernel.events import parse_timestamp
from hawksnest.kernel.windows import footprint

NAMES = (f"deleted{number}" for number in itertools.count())


def status(afd) -> str:
    return afd.c.get_delete_events_by_event_type_status(eventTypeName="pay")["eventsDeletionStatus"]


def deleted(afd) -> str:
    until = time.monotonic() + 20
    while "IN_PROGRESS" in (now := status(afd)):
        assert time.monotonic() < until
        time.sleep(0.01)
    return now


def count(afd) -> int:
    [shown] = afd.c.get_event_types(name="pay")["eventTypes"]
    return shown.get("ingestedEventStatistics", {}).get("numberOfEvents", 0)


@pytest.fixture
def many(served, afd):
    """1,500 stored events."""
    return stored(afd, served.data)


def stored(afd, data):
    bucket = Bucket(data, next(NAMES))
    uri = bucket.write("ev.csv", *(good(afd, number) for number in range(1_500)))
    start_import(afd, bucket, uri)
    assert imported(afd)["status"] == "COMPLETE"
    return bucket, uri


def test_d11_an_event_type_that_does_not_exist_is_not_found(afd):
    afd.rnf(afd.c.delete_events_by_event_type, eventTypeName="nope")
    afd.rnf(afd.c.get_delete_events_by_event_type_status, eventTypeName="nope")


def test_h14_a_deletion_that_was_never_asked_for_has_no_status(afd):
    afd.rnf(afd.c.get_delete_events_by_event_type_status, eventTypeName="pay")


def test_h15_the_events_of_a_type_go(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    answer = afd.c.delete_events_by_event_type(eventTypeName="pay")
    assert answer["eventTypeName"] == "pay"
    assert answer["eventsDeletionStatus"].startswith("IN_PROGRESS")
    assert deleted(afd) == "COMPLETE"
    afd.rnf(afd.c.get_event, eventId="s1", eventTypeName="pay")
    afd.c.send_event(**afd.se("s1", {"amt": "6"}))
    assert count(afd) == 1


def test_while_events_are_deleted_predictions_answer_and_nothing_is_stored(afd, many):
    bucket, uri = many
    afd.c.delete_events_by_event_type(eventTypeName="pay")
    afd.ce(afd.c.send_event, **afd.se("new", {"amt": "5"}))
    afd.ce(afd.c.delete_events_by_event_type, eventTypeName="pay")
    afd.ve(start_import, afd, bucket, uri, job_id="i2")
    decided = afd.c.get_event_prediction(**afd.ev("p1", {"amt": "1000"}))
    assert status(afd) == "IN_PROGRESS", "the deletion was over too soon for this test"
    assert decided["ruleResults"] == [{"ruleId": "big", "outcomes": ["block"]}]
    afd.ce(afd.c.delete_event_type, name="pay")
    assert deleted(afd) == "COMPLETE"
    assert count(afd) == 0
    afd.rnf(afd.c.get_event, eventId="p1", eventTypeName="pay")
    assert afd.c.list_event_predictions(eventId={"value": "p1"})["eventPredictionSummaries"]
    afd.c.get_event_prediction(**afd.ev("p2", {"amt": "1000"}))
    assert afd.c.get_event(eventId="p2", eventTypeName="pay")


def test_deleted_events_leave_the_entity_states(server, inside):
    """In this process, whose states can be read."""
    afd = inside
    afd.set_up()
    stored(afd, server.app.settings.data)
    afd.c.delete_events_by_event_type(eventTypeName="pay")
    assert deleted(afd) == "COMPLETE"
    app = server.app
    app.ledger.commit(app.ledger.last_seq)

    at = parse_timestamp(afd.T)
    mark = footprint(afd.tenant, "pay", "customer", "c1", at, None, [("EMAIL_ADDRESS", "u1@home.example")])
    empty = footprint(
        afd.tenant, "pay", "customer", "never-seen", at, None, [("EMAIL_ADDRESS", "no@home.example")]
    )
    assert app.states.read(mark) == app.states.read(empty)


def test_labels_are_free_once_the_events_are_gone(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}, assignedLabel="fraud", labelTimestamp=afd.T))
    afd.c.put_event_type(
        name="pay", eventVariables=["email", "amt", "vip"], entityTypes=["customer"], labels=["legit"]
    )
    afd.ce(afd.c.delete_label, name="fraud")
    afd.c.delete_events_by_event_type(eventTypeName="pay")
    assert deleted(afd) == "COMPLETE"
    assert afd.done(afd.c.delete_label(name="fraud"))


def test_events_are_not_deleted_while_an_import_stores_them(served, afd):
    bucket = Bucket(served.data, next(NAMES))
    start_import(afd, bucket, bucket.write("ev.csv", *(good(afd, number) for number in range(20_000))))
    afd.ce(afd.c.delete_events_by_event_type, eventTypeName="pay")
    afd.c.cancel_batch_import_job(jobId="i1")
    assert imported(afd)["status"] == "CANCELED"
