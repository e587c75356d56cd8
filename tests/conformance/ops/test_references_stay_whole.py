"""Whatever is created, changed and deleted in whatever order: nothing that is referenced is missing."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from hawksnest.app import App, Call
from hawksnest.catalog import (
    RESOURCES,
    Detector,
    DetectorVersion,
    EntityType,
    EventType,
    ExternalModel,
    Label,
    ListContent,
    Model,
    ModelVersion,
    Outcome,
    Resource,
    Rule,
    TagSet,
    Tenant,
    ValueList,
    Variable,
)
from hawksnest.errors import ServiceError
from hawksnest.ops.registry import OPERATIONS
from hawksnest.world import seeded

Step = tuple[str, dict[str, Any]]
Make = Callable[[Random], Any]

OFI = "ONLINE_FRAUD_INSIGHTS"
TAGS = [{"key": "team", "value": "risk"}]
EVENT = {"dataType": "FLOAT", "dataSource": "EVENT", "defaultValue": "0", "variableType": "NUMERIC"}
SCHEMA = {
    "modelVariables": ["email", "amt"],
    "labelSchema": {"labelMapper": {"FRAUD": ["l0"], "LEGIT": ["l1"]}},
}
EXTERNAL = {"dataLocation": "s3://b/k", "dataAccessRoleArn": "arn:aws:iam::123456789012:role/r"}
RULE_0 = {"detectorId": "d0", "ruleId": "r0", "ruleVersion": "1"}


def one(*choices: Any) -> Make:
    return lambda random: random.choice(choices)


def name(prefix: str) -> Make:
    """Mostly the first of two names, so that steps meet."""
    return one(*[f"{prefix}0"] * 3, f"{prefix}1")


def record(**members: Any) -> Make:
    return lambda random: {
        member: make(random) if callable(make) else make for member, make in members.items()
    }


def several(make: Make, fewest: int, most: int) -> Make:
    return lambda random: [make(random) for _ in range(random.randint(fewest, most))]


RULE = record(detectorId=name("d"), ruleId=name("r"), ruleVersion=one("1", "1", "2", "3"))
EXPRESSION = one(
    "$amt > 1", "$v0 > 1", "$v1 > $amt", "$m0_insightscore > 9", "$email in @s0", "$email in @s1"
)
RULE_CONTENT = {"expression": EXPRESSION, "language": "DETECTORPL", "outcomes": several(name("o"), 1, 2)}
MODEL = {"modelType": OFI, "modelId": name("m")}
MODEL_VERSION = {**MODEL, "modelVersionNumber": one("1.0", "1.00", "2.0", "3.0")}
VERSION = {"detectorId": name("d"), "detectorVersionId": one(*"1123456789")}
CONTENT = {
    "rules": lambda random: [RULE_0] if random.random() < 0.5 else several(RULE, 1, 2)(random),
    "modelVersions": several(record(**MODEL_VERSION), 0, 1),
}
VARIABLES = one(["email", "amt"], ["email", "amt", "v0"], ["email", "amt", "v0", "v1"])
STEPS: list[tuple[str, Make]] = [
    ("CreateVariable", record(name=name("v"), tags=TAGS, **EVENT)),
    ("DeleteVariable", record(name=one("v0", "v1", "email", "amt", "m0_insightscore"))),
    ("PutLabel", record(name=name("l"), tags=TAGS)),
    ("DeleteLabel", record(name=name("l"))),
    ("PutEntityType", record(name=name("e"))),
    ("DeleteEntityType", record(name=name("e"))),
    ("PutOutcome", record(name=name("o"))),
    ("DeleteOutcome", record(name=name("o"))),
    (
        "PutEventType",
        record(
            name=name("t"),
            eventVariables=VARIABLES,
            entityTypes=several(name("e"), 1, 2),
            labels=several(name("l"), 0, 2),
        ),
    ),
    ("DeleteEventType", record(name=name("t"))),
    ("CreateList", record(name=name("s"), elements=["a"])),
    ("UpdateList", record(name=name("s"), elements=["a"], updateMode=one("APPEND", "REMOVE"))),
    ("DeleteList", record(name=name("s"))),
    ("PutDetector", record(detectorId=name("d"), eventTypeName=name("t"), tags=TAGS)),
    ("DeleteDetector", record(detectorId=name("d"))),
    ("CreateRule", record(detectorId=name("d"), ruleId=name("r"), **RULE_CONTENT)),
    ("UpdateRuleVersion", record(rule=RULE, **RULE_CONTENT)),
    ("DeleteRule", record(rule=RULE)),
    ("CreateDetectorVersion", record(detectorId=name("d"), **CONTENT)),
    ("UpdateDetectorVersion", record(externalModelEndpoints=[], **VERSION, **CONTENT)),
    ("UpdateDetectorVersionStatus", record(status=one("ACTIVE", "INACTIVE"), **VERSION)),
    ("DeleteDetectorVersion", record(**VERSION)),
    ("CreateModel", record(eventTypeName=name("t"), **MODEL)),
    ("DeleteModel", record(**MODEL)),
    (
        "CreateModelVersion",
        record(
            trainingDataSource="EXTERNAL_EVENTS",
            trainingDataSchema=SCHEMA,
            externalEventsDetail=EXTERNAL,
            **MODEL,
        ),
    ),
    (
        "UpdateModelVersionStatus",
        record(status=one("ACTIVE", "ACTIVE", "INACTIVE", "TRAINING_CANCELLED"), **MODEL_VERSION),
    ),
    ("DeleteModelVersion", record(**MODEL_VERSION)),
    (
        "CreateVariable",
        record(
            name=one("x0", "x1"),
            dataType="FLOAT",
            dataSource="EXTERNAL_MODEL_SCORE",
            defaultValue="0.0",
        ),
    ),
    ("DeleteVariable", record(name=one("x0", "x1"))),
    (
        "PutExternalModel",
        record(
            modelEndpoint=one("ep0", "ep1"),
            modelSource="SAGEMAKER",
            invokeModelEndpointRoleArn="arn:aws:iam::123456789012:role/afd",
            inputConfiguration=record(useEventVariables=False),
            outputConfiguration=record(
                format="TEXT_CSV", csvIndexToVariableMap=one({"0": "x0"}, {"0": "x1"}, {"0": "x0", "1": "x1"})
            ),
            modelEndpointStatus=one("ASSOCIATED", "ASSOCIATED", "DISSOCIATED"),
        ),
    ),
    ("DeleteExternalModel", record(modelEndpoint=one("ep0", "ep1"))),
    (
        "CreateDetectorVersion",
        record(
            detectorId=one("d0", "d1"),
            rules=lambda random: [RULE_0],
            externalModelEndpoints=one(["ep0"], ["ep1"], ["ep0", "ep1"]),
        ),
    ),
]

START: list[Step] = [
    *(("CreateVariable", {"name": each} | EVENT) for each in ("amt", "v0")),
    ("CreateVariable", {"name": "email"} | EVENT | {"dataType": "STRING", "variableType": "EMAIL_ADDRESS"}),
    *(("PutLabel", {"name": each}) for each in ("l0", "l1")),
    ("PutEntityType", {"name": "e0"}),
    ("PutOutcome", {"name": "o0"}),
    (
        "PutEventType",
        {"name": "t0", "eventVariables": ["email", "amt"], "entityTypes": ["e0"], "labels": ["l0", "l1"]},
    ),
    ("CreateList", {"name": "s0", "elements": ["a"]}),
    ("PutDetector", {"detectorId": "d0", "eventTypeName": "t0"}),
    ("CreateModel", {"modelType": OFI, "modelId": "m0", "eventTypeName": "t0"}),
    (
        "CreateModelVersion",
        {
            "modelType": OFI,
            "modelId": "m0",
            "trainingDataSource": "EXTERNAL_EVENTS",
            "trainingDataSchema": SCHEMA,
            "externalEventsDetail": EXTERNAL,
        },
    ),
    (
        "CreateRule",
        {
            "detectorId": "d0",
            "ruleId": "r0",
            "expression": "$email in @s0",
            "language": "DETECTORPL",
            "outcomes": ["o0"],
        },
    ),
    ("CreateDetectorVersion", {"detectorId": "d0", "rules": [RULE_0]}),
    ("UpdateDetectorVersionStatus", {"detectorId": "d0", "detectorVersionId": "1", "status": "ACTIVE"}),
]


def run(app: App, tenant: Tenant, operation: str, request: dict[str, Any]) -> bool:
    """Call the operation: did it change something? A refusal must leave everything as it was."""
    before = app.catalog.revision(tenant)
    try:
        OPERATIONS[operation].function(app, Call(tenant), request)
    except ServiceError:
        assert app.catalog.revision(tenant) == before, f"{operation} was refused and changed something"
    return app.catalog.revision(tenant) != before


def dangling(app: App, tenant: Tenant) -> Iterator[str]:
    """Every reference whose target is missing."""
    get, every = app.catalog.get, app.catalog.list

    def lost(holder: object, kind: type[Resource], *key: str) -> Iterator[str]:
        if get(tenant, kind, *key) is None:
            yield f"{holder} → {kind.kind} {key}"

    for event_type in every(tenant, EventType):
        for name in event_type.event_variables:
            yield from lost(event_type, Variable, name)
        for name in event_type.labels:
            yield from lost(event_type, Label, name)
        for name in event_type.entity_types:
            yield from lost(event_type, EntityType, name)
    for detector in every(tenant, Detector):
        yield from lost(detector, EventType, detector.event_type)
    for rule in every(tenant, Rule):
        yield from lost(rule, Detector, rule.detector_id)
        for name in rule.outcomes:
            yield from lost(rule, Outcome, name)
        for name in rule.variables:
            yield from lost(rule, Variable, name)
        for name in rule.lists:
            yield from lost(rule, ValueList, name)
            content = get(tenant, ListContent, name)
            if content is None or not content.elements:
                yield f"{rule} → entries of {name}"
    for model in every(tenant, Model):
        yield from lost(model, EventType, model.event_type)
        yield from lost(model, Variable, f"{model.model_id}_insightscore")
    for external in every(tenant, ExternalModel):
        for name in external.outputs.values():
            yield from lost(external, Variable, name)
    for version in every(tenant, ModelVersion):
        yield from lost(version, Model, version.model_type, version.model_id)
    yield from dangling_versions(app, tenant, lost)
    arns = {each.arn(tenant) for kind in RESOURCES if kind is not TagSet for each in every(tenant, kind)}
    for tags in every(tenant, TagSet):
        if tags.resource_arn not in arns:
            yield f"{tags} → {tags.resource_arn}"


def dangling_versions(app: App, tenant: Tenant, lost: Any) -> Iterator[str]:
    active: set[str] = set()
    for version in app.catalog.list(tenant, DetectorVersion):
        yield from lost(version, Detector, version.detector_id)
        if version.status != "DRAFT":  # a DRAFT may lose its rules
            for key in version.rules:
                yield from lost(version, Rule, version.detector_id, *key)
        for key in version.models:
            found = app.catalog.get(tenant, ModelVersion, *key)
            if found is None or found.status != "ACTIVE":
                yield f"{version} → deployed model {key}"
        for endpoint in version.external_models:
            external = app.catalog.get(tenant, ExternalModel, endpoint)
            if external is None or external.status != "ASSOCIATED":
                yield f"{version} → associated external model {endpoint}"
        if version.status == "ACTIVE":
            if version.detector_id in active:
                yield f"{version} is a second ACTIVE one"
            active.add(version.detector_id)


@pytest.mark.parametrize(
    ("seed", "length"),
    [(1, 2_000), (2, 2_000), *(pytest.param(n, 3_000, marks=pytest.mark.full) for n in range(3, 13))],
)
def test_nothing_that_is_referenced_is_ever_missing(server, seed, length):
    random, tenant, changed = seeded(seed), server.new_tenant(), set()
    for operation, request in START:
        OPERATIONS[operation].function(server.app, Call(tenant), request)
    server.finish_training(tenant, (OFI, "m0", "1.0"))
    for _ in range(length):
        operation, make = random.choice(STEPS)
        request = make(random)
        if run(server.app, tenant, operation, request):
            changed.add(operation)
        assert list(dangling(server.app, tenant)) == [], (operation, request)
    assert len(changed) >= 24, f"only {sorted(changed)} ever changed something"
