"""Bounds of the catalogue, at their edge and one past it; and what no client can bring about quickly."""

import dataclasses
import shutil

import pytest

from hawksnest.app import App, Call
from hawksnest.catalog import ModelKey, ModelVersion, Outcome, Tenant
from hawksnest.errors import ServiceError
from hawksnest.ops import limits
from hawksnest.ops.model_versions import resume_deployments
from hawksnest.ops.registry import OPERATIONS

M = {"modelId": "m1", "modelType": "ONLINE_FRAUD_INSIGHTS"}
KEY = ("ONLINE_FRAUD_INSIGHTS", "m1", "1.0")
TRAIN = {
    "trainingDataSource": "EXTERNAL_EVENTS",
    "trainingDataSchema": {
        "modelVariables": ["email", "amt"],
        "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
    },
    "externalEventsDetail": {
        "dataLocation": "s3://b/train.csv",
        "dataAccessRoleArn": "arn:aws:iam::123456789012:role/afd",
    },
    **M,
}


@pytest.fixture
def empty(inside):
    """In this process: tests put the catalogue into states that a client would need hours for."""
    return inside


def call(app: App, tenant: Tenant, operation: str, **request):
    return OPERATIONS[operation].function(app, Call(tenant), request)


def refused(app: App, tenant: Tenant, operation: str, **request) -> str:
    with pytest.raises(ServiceError) as refusal:
        call(app, tenant, operation, **request)
    assert refusal.value.code == "ValidationException"
    return refusal.value.message


def use_up(app: App, tenant: Tenant, counter: str, upto: int) -> None:
    with app.catalog.transaction():
        while app.catalog.next_number(tenant, counter) < upto:
            pass


def test_a_list_takes_100000_entries_and_no_more(server):
    app, tenant = server.app, server.new_tenant()
    entries = [f"e{number}" for number in range(limits.LIST_ENTRIES)]
    call(app, tenant, "CreateList", name="long", elements=entries[:-1])
    call(app, tenant, "UpdateList", name="long", elements=entries[-2:], updateMode="APPEND")
    message = refused(app, tenant, "UpdateList", name="long", elements=["one more"], updateMode="APPEND")
    assert "one more" not in message
    page = call(app, tenant, "GetListElements", name="long", maxResults=5_000)
    assert page["elements"] == entries[:5_000]


def test_a_tenant_takes_so_many_resources_of_a_kind_and_no_more(server):
    app, tenant = server.app, server.new_tenant()
    with app.catalog.transaction():
        for number in range(limits.PER_KIND - 1):
            app.catalog.put(tenant, Outcome(name=f"o{number}", created_at_ms=0, updated_at_ms=0))
    call(app, tenant, "PutOutcome", name="last")
    refused(app, tenant, "PutOutcome", name="too-many")
    assert call(app, tenant, "PutOutcome", name="last", description="changed") == {}


def test_a_tenant_takes_so_many_lists_and_no_more(server):
    app, tenant = server.app, server.new_tenant()
    for number in range(limits.LISTS):
        call(app, tenant, "CreateList", name=f"l{number}")
    refused(app, tenant, "CreateList", name="too_many")


def test_version_numbers_end_with_five_digits(afd, server):
    use_up(server.app, afd.tenant, "rule/det/big/1", 99_998)
    use_up(server.app, afd.tenant, "detector-version/det/1", 99_998)
    assert afd.update_rule("big", "$amt > 1")["ruleVersion"] == "99999"
    afd.ve(afd.update_rule, "big", "$amt > 1")
    rules = [afd.rule("big", "99999")]
    assert afd.c.create_detector_version(detectorId="det", rules=rules)["detectorVersionId"] == "99999"
    afd.ve(afd.c.create_detector_version, detectorId="det", rules=rules)


def test_a_detector_version_takes_30_lists_and_no_more(afd):
    rules = []
    for number in range(limits.LISTS_PER_DETECTOR_VERSION + 1):
        afd.c.create_list(name=f"l{number}", elements=["a"])
        afd.mkrule(f"r{number}", f"$email in @l{number}")
        rules.append(afd.rule(f"r{number}"))
    afd.c.create_detector_version(detectorId="det", rules=rules[:-1])
    afd.ve(afd.c.create_detector_version, detectorId="det", rules=rules)


def test_variable_texts_are_bounded(afd):
    new = {"dataType": "STRING", "dataSource": "EVENT"}
    afd.c.create_variable(name="long", defaultValue="x" * limits.VARIABLE_TEXT, **new)
    afd.ve(afd.c.create_variable, name="longer", defaultValue="x" * (limits.VARIABLE_TEXT + 1), **new)
    afd.ve(afd.c.update_variable, name="long", description="x" * (limits.VARIABLE_TEXT + 1))


def trained(afd) -> None:
    afd.c.create_model(eventTypeName="pay", **M)
    afd.c.create_model_version(**TRAIN)
    afd.finish_training(M, "1.0")


def status(afd) -> str:
    return afd.c.get_model_version(modelVersionNumber="1.0", **M)["status"]


def set_status(server, afd, value: str) -> None:
    app = server.app
    with app.catalog.transaction():
        version = app.catalog.get(afd.tenant, ModelVersion, *KEY)
        app.catalog.put(afd.tenant, dataclasses.replace(version, status=value))


@pytest.mark.parametrize("stuck", ["ACTIVATE_REQUESTED", "ACTIVATE_IN_PROGRESS"])
def test_a_deployment_that_a_crash_cut_off_is_finished_at_start_or_when_asked_again(afd, server, stuck):
    trained(afd)
    set_status(server, afd, stuck)
    assert resume_deployments(server.app) == []
    assert status(afd) == "ACTIVE"
    set_status(server, afd, stuck)
    afd.c.update_model_version_status(modelVersionNumber="1.0", status="ACTIVE", **M)
    assert status(afd) == "ACTIVE"


def test_a_version_without_its_artefact_stays_undeployed(afd, server):
    trained(afd)
    version = server.app.catalog.get(afd.tenant, ModelVersion, *KEY)
    shutil.rmtree(server.app.settings.data / "models" / version.artefact)
    with pytest.raises((ServiceError, ValueError, OSError)):
        call(
            server.app,
            afd.tenant,
            "UpdateModelVersionStatus",
            modelVersionNumber="1.0",
            status="ACTIVE",
            **M,
        )
    assert status(afd) == "TRAINING_COMPLETE"
    set_status(server, afd, "ACTIVATE_IN_PROGRESS")
    assert resume_deployments(server.app) == [ModelKey(*KEY)]
    assert status(afd) == "TRAINING_COMPLETE"


def test_a_deleted_version_leaves_no_artefact(afd, server):
    trained(afd)
    version = server.app.catalog.get(afd.tenant, ModelVersion, *KEY)
    folder = server.app.settings.data / "models" / version.artefact
    assert folder.is_dir()
    afd.c.delete_model_version(modelVersionNumber="1.0", **M)
    assert not folder.exists()


def test_at_most_50_versions_are_deployed(afd, server):
    trained(afd)
    app = server.app
    version = app.catalog.get(afd.tenant, ModelVersion, *KEY)
    with app.catalog.transaction():
        for number in range(limits.DEPLOYED_MODELS):
            app.catalog.put(
                afd.tenant, dataclasses.replace(version, version=f"{number + 2}.0", status="ACTIVE")
            )
    update = afd.c.update_model_version_status
    afd.ve(update, modelVersionNumber="1.0", status="ACTIVE", **M)
    update(modelVersionNumber="2.0", status="INACTIVE", **M)
    update(modelVersionNumber="1.0", status="ACTIVE", **M)
    assert status(afd) == "ACTIVE"
