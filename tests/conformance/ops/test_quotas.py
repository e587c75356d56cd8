"""AWS's quotas under `--quotas aws`, each at its limit and one past it, and acid test H9."""

import dataclasses
import shutil

import pytest

from hawksnest.app import App, Call
from hawksnest.catalog import Detector, DetectorVersion, EntityType, EventType, Label, Model, ModelVersion
from hawksnest.errors import ServiceError, UsageError
from hawksnest.ops.registry import OPERATIONS
from hawksnest.quotas import DAY_MS, TABLES, Quotas
from hawksnest.world import ManualWorld, RealWorld, iso_s

TIMES = {"created_at_ms": 1, "updated_at_ms": 1}
M = {"modelType": "ONLINE_FRAUD_INSIGHTS", "modelId": "m1"}


@pytest.fixture
def empty(inside):
    """In this process: tests put the catalogue into states that a client would need hours for."""
    return inside


@pytest.fixture
def aws(server) -> App:
    """The same server as AWS would limit it."""
    return dataclasses.replace(server.app, quotas=Quotas("aws", RealWorld()))


def call(app: App, tenant, operation: str, **request):
    return OPERATIONS[operation].function(app, Call(tenant), request)


def refused(app: App, tenant, operation: str, code: str = "ValidationException", **request) -> str:
    with pytest.raises(ServiceError) as refusal:
        call(app, tenant, operation, **request)
    assert refusal.value.code == code
    return refusal.value.message


def store(app: App, tenant, *resources) -> None:
    with app.catalog.transaction():
        for resource in resources:
            app.catalog.put(tenant, resource)


def test_a_table_that_does_not_exist_is_named():
    with pytest.raises(UsageError, match="azure"):
        Quotas("azure", RealWorld())
    assert Quotas("none", RealWorld()).keeps(0, 1_700_000_000_000)


def test_resources_are_counted(aws, afd):
    tenant = afd.tenant
    have = {
        kind: len(aws.catalog.list(tenant, kind)) for kind in (Label, EntityType, EventType, Detector, Model)
    }
    limits = TABLES["aws"].resources
    for number in range(100):
        name = f"n{number}"
        if have[Label] + number < limits[Label] - 1:
            store(aws, tenant, Label(**TIMES, name=name))
        if have[EntityType] + number < limits[EntityType] - 1:
            store(aws, tenant, EntityType(**TIMES, name=name))
        if have[EventType] + number < limits[EventType] - 1:
            store(
                aws,
                tenant,
                EventType(**TIMES, name=name, event_variables=("amt",), entity_types=("customer",)),
            )
        if have[Detector] + number < limits[Detector] - 1:
            store(aws, tenant, Detector(**TIMES, detector_id=name, event_type="pay"))
        if have[Model] + number < limits[Model] - 1:
            store(aws, tenant, Model(**TIMES, **snake(M | {"modelId": name}), event_type="pay"))
    event_type = {"eventVariables": ["amt"], "entityTypes": ["customer"]}
    for operation, member, rest in (
        ("PutLabel", "name", {}),
        ("PutEntityType", "name", {}),
        ("PutEventType", "name", event_type),
        ("PutDetector", "detectorId", {"eventTypeName": "pay"}),
        ("CreateModel", "modelId", {"modelType": M["modelType"], "eventTypeName": "pay"}),
    ):
        call(aws, tenant, operation, **{member: "the_last"}, **rest)
        assert "no more are accepted" in refused(aws, tenant, operation, **{member: "too_many"}, **rest)
        if operation.startswith("Put"):
            call(aws, tenant, operation, **{member: "the_last"}, **rest)  # what is there can be put again


def training(uri: str) -> dict:
    """Members of CreateModelVersion."""
    return {
        "trainingDataSource": "EXTERNAL_EVENTS",
        "trainingDataSchema": {
            "modelVariables": ["email", "amt"],
            "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
        },
        "externalEventsDetail": {"dataLocation": uri, "dataAccessRoleArn": "arn:aws:iam::1:role/r"},
        **M,
    }


def snake(key: dict) -> dict:
    return {"model_type": key["modelType"], "model_id": key["modelId"]}


def test_a_detector_has_100_drafts_and_no_more(aws, afd):
    drafts = [
        DetectorVersion(**TIMES, detector_id="det", version=str(number), status="DRAFT", rules=())
        for number in range(100, 198)
    ]
    store(aws, afd.tenant, *drafts)
    make = {"detectorId": "det", "rules": [afd.rule("big")]}
    call(aws, afd.tenant, "CreateDetectorVersion", **make)
    refused(aws, afd.tenant, "CreateDetectorVersion", **make)


def model_versions(count: int, status: str) -> list[ModelVersion]:
    return [
        ModelVersion(
            **TIMES,
            **snake(M),
            version=f"{number}.0",
            status=status,
            training_source="EXTERNAL_EVENTS",
            schema={},
            source_detail={},
        )
        for number in range(1_000, 1_000 + count)
    ]


def test_a_model_has_200_versions_and_no_more(aws, afd):
    afd.c.create_model(eventTypeName="pay", **M)
    store(aws, afd.tenant, *model_versions(199, "ERROR"))
    train = training("s3://b/k")
    call(aws, afd.tenant, "CreateModelVersion", **train)
    call(
        aws,
        afd.tenant,
        "UpdateModelVersionStatus",
        modelVersionNumber="1.0",
        status="TRAINING_CANCELLED",
        **M,
    )
    assert "200 versions" in refused(aws, afd.tenant, "CreateModelVersion", **train)


def test_training_data_have_5_gib_and_no_more(aws, afd):
    afd.c.create_model(eventTypeName="pay", **M)
    folder = aws.settings.data / "buckets" / "quota"
    folder.mkdir(parents=True)
    try:
        with (folder / "large.csv").open("wb") as file:
            file.truncate(TABLES["aws"].training_bytes)  # a hole: takes no room
            train = training("s3://quota/large.csv")
            call(aws, afd.tenant, "CreateModelVersion", **train)
            cancel = {"modelVersionNumber": "1.0", "status": "TRAINING_CANCELLED", **M}
            call(aws, afd.tenant, "UpdateModelVersionStatus", **cancel)
            file.truncate(TABLES["aws"].training_bytes + 1)
        assert "bytes" in refused(aws, afd.tenant, "CreateModelVersion", **train)
    finally:
        shutil.rmtree(folder)


def test_five_model_versions_are_deployed_and_no_more(aws, afd):
    afd.c.create_model(eventTypeName="pay", **M)
    store(aws, afd.tenant, *model_versions(5, "ACTIVE"))
    sixth = dataclasses.replace(model_versions(6, "TRAINING_COMPLETE")[5])
    store(aws, afd.tenant, sixth)
    deploy = {"modelVersionNumber": sixth.version, "status": "ACTIVE", **M}
    assert "at most 5" in refused(aws, afd.tenant, "UpdateModelVersionStatus", **deploy)
    with aws.catalog.transaction():
        aws.catalog.delete(afd.tenant, ModelVersion, *model_versions(5, "ACTIVE")[0].key)
    message = refused(aws, afd.tenant, "UpdateModelVersionStatus", **deploy)
    assert "no trained artefact" in message  # past the quota


def test_200_predictions_a_second_and_no_more(server, afd):
    world = ManualWorld()
    app = dataclasses.replace(server.app, quotas=Quotas("aws", world))
    for number in range(200):
        call(app, afd.tenant, "GetEventPrediction", **afd.ev(f"e{number}", {"amt": "1"}))
    one_more = afd.ev("e200", {"amt": "1"})
    message = refused(app, afd.tenant, "GetEventPrediction", "ThrottlingException", **one_more)
    assert message == "Rate exceeded"
    assert app.ledger.known(key(afd, "e200")) is None
    world.advance(0.006)
    call(app, afd.tenant, "GetEventPrediction", **one_more)
    refused(app, afd.tenant, "GetEventPrediction", "ThrottlingException", **one_more)
    world.advance(60)  # quiet for long: still only one second's worth
    for _ in range(200):
        app.quotas.admit_prediction(afd.tenant)
    with pytest.raises(ServiceError):
        app.quotas.admit_prediction(afd.tenant)
    app.quotas.admit_prediction(server.new_tenant())


def key(afd, event_id: str):
    from hawksnest.store.records import EventKey

    return EventKey(*afd.tenant, "pay", event_id)


def test_a_call_that_goes_on_in_a_thread_is_counted_once(server, afd):
    app = dataclasses.replace(server.app, quotas=Quotas("aws", ManualWorld()))
    again = Call(afd.tenant)
    for _ in range(300):
        OPERATIONS["GetEventPrediction"].function(app, again, afd.ev("e1", {"amt": "1"}))


def test_h9_events_older_than_18_months_or_of_the_future_are_not_stored(aws, afd):
    now_ms = RealWorld().now_ms()
    old, recent = iso_s(now_ms - 549 * DAY_MS), iso_s(now_ms - 547 * DAY_MS)
    assert "18 months" in refused(aws, afd.tenant, "SendEvent", **afd.se("s1", {}, eventTimestamp=old))
    refused(aws, afd.tenant, "SendEvent", **afd.se("s1", {}, eventTimestamp=afd.FUTURE))
    assert call(aws, afd.tenant, "SendEvent", **afd.se("s1", {}, eventTimestamp=recent)) == {}
    call(aws, afd.tenant, "GetEventPrediction", **afd.ev("e1", {"amt": "950"}, eventTimestamp=old))
    afd.rnf(afd.c.get_event, eventId="e1", eventTypeName="pay")
    assert afd.c.list_event_predictions(eventId={"value": "e1"})["eventPredictionSummaries"]
    assert afd.done(afd.c.send_event(**afd.se("s2", {"amt": "1"}, eventTimestamp=old)))  # quotas none
