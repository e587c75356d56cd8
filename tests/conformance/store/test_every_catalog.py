"""What every catalogue does."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from hawksnest.catalog import (
    RESOURCES,
    AccessKey,
    BatchImport,
    BatchPrediction,
    DataKey,
    Detector,
    DetectorVersion,
    EncryptionKey,
    EntityType,
    EventDeletion,
    EventType,
    ExternalModel,
    Label,
    ListContent,
    Model,
    ModelKey,
    ModelVersion,
    Outcome,
    Resource,
    Rule,
    RuleKey,
    TagSet,
    Tenant,
    ValueList,
    Variable,
)
from hawksnest.store.ports import Catalog

HERE = Tenant("000000000000", "us-east-1")
THERE = Tenant("000000000000", "eu-west-1")
OTHER = Tenant("111111111111", "us-east-1")
TIMES: dict[str, Any] = {"created_at_ms": 1_700_000_000_000, "updated_at_ms": 1_700_000_000_001}

JOB: Any = {"status": "IN_PROGRESS", "run": 2, "event_type": "e", "role_arn": "arn:aws:iam::1:role/r"}
EXAMPLES: list[Resource] = [
    Variable(
        **TIMES, name="v", description="d", data_type="STRING", data_source="EVENT", default_value="ä\n\"'"
    ),
    Label(**TIMES, name="fraud"),
    EntityType(**TIMES, name="customer", description=""),
    Outcome(**TIMES, name="block"),
    EventType(**TIMES, name="pay", event_variables=("a", "b"), entity_types=("customer",), labels=("x",)),
    ValueList(**TIMES, name="list", variable_type="IP_ADDRESS"),
    ListContent(**TIMES, name="list", revision=3, elements=("1.2.3.4", "  ", "\u2028")),
    Detector(**TIMES, detector_id="det", event_type="pay"),
    Rule(**TIMES, detector_id="det", rule_id="r", rule_version="1", expression="$a > 1", outcomes=("block",)),
    DetectorVersion(
        **TIMES,
        detector_id="det",
        version="1",
        status="DRAFT",
        rules=(RuleKey("r", "1"),),
        models=(ModelKey("ONLINE_FRAUD_INSIGHTS", "m", "1.0"),),
        external_models=("e",),
    ),
    Model(**TIMES, model_type="ONLINE_FRAUD_INSIGHTS", model_id="m", event_type="pay"),
    ModelVersion(
        **TIMES,
        model_type="ONLINE_FRAUD_INSIGHTS",
        model_id="m",
        version="1.0",
        status="ACTIVE",
        training_source="EXTERNAL_EVENTS",
        schema={"modelVariables": ["a"], "labelSchema": {"labelMapper": {"FRAUD": ["1"]}}},
        source_detail={"dataLocation": "s3://b/k"},
        result={"auc": 0.93, "rows": 16_000, "missing": None},
        artefact="a/b",
    ),
    ExternalModel(
        **TIMES,
        model_endpoint="ep",
        model_source="SAGEMAKER",
        role_arn="arn:aws:iam::1:role/r",
        status="ASSOCIATED",
        input_configuration={"useEventVariables": False},
        output_configuration={"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": "sm"}},
        role_name="r",
    ),
    BatchImport(**TIMES, **JOB, job_id="i", input_path="s3://b/i", output_path="s3://b/o", processed=7),
    BatchPrediction(
        **TIMES,
        **JOB,
        job_id="p",
        input_path="s3://b/i",
        output_path="s3://b/o",
        total=9,
        detector_id="d",
        detector_version="1",
    ),
    EventDeletion(**TIMES, status="COMPLETE", run=3, event_type="e", finished_at_ms=5),
    TagSet(**TIMES, resource_arn="arn:aws:frauddetector:us-east-1:0:label/fraud", tags={"k": "", "": "v"}),
    AccessKey(**TIMES, access_key_id="AKIA", secret="s", account="000000000000"),
    EncryptionKey(**TIMES, kms_key="DEFAULT", data_key=0),
    DataKey(**TIMES, number=1, kms_key="arn:aws:kms:us-east-1:000000000000:key/k", wrapped="AAEC"),
]


def label(name: str, **other: Any) -> Label:
    return Label(**(TIMES | other), name=name)


def put(catalog: Catalog, tenant: Tenant, *resources: Resource) -> None:
    with catalog.transaction():
        for resource in resources:
            catalog.put(tenant, resource)


def test_the_examples_cover_every_kind_of_resource() -> None:
    assert {type(example) for example in EXAMPLES} == set(RESOURCES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.kind)
def test_a_resource_comes_back_as_it_was_put(catalog: Catalog, place: Any, example: Resource) -> None:
    put(catalog, HERE, example)
    assert catalog.get(HERE, type(example), *example.key) == example
    again = place.open().catalog
    assert again.get(HERE, type(example), *example.key) == example
    assert again.list(HERE, type(example)) == [example]


def test_putting_again_replaces(catalog: Catalog) -> None:
    put(catalog, HERE, label("a", description="old"))
    assert catalog.get(HERE, Label, "a") == label("a", description="old")
    put(catalog, HERE, label("a", description="new"))
    assert catalog.get(HERE, Label, "a") == label("a", description="new")
    assert len(catalog.list(HERE, Label)) == 1


def test_tenants_and_kinds_never_see_each_other(catalog: Catalog) -> None:
    put(catalog, HERE, label("a"))
    put(catalog, THERE, label("a", description="there"))
    assert catalog.get(OTHER, Label, "a") is None
    assert catalog.get(HERE, Outcome, "a") is None
    with catalog.transaction():
        assert catalog.delete(THERE, Label, "a")
    assert catalog.get(HERE, Label, "a") == label("a")
    assert catalog.list(THERE, Label) == []


def test_delete_says_whether_it_was_there(catalog: Catalog) -> None:
    put(catalog, HERE, label("a"))
    with catalog.transaction():
        assert catalog.delete(HERE, Label, "a")
        assert not catalog.delete(HERE, Label, "a")
    assert catalog.get(HERE, Label, "a") is None


def test_lists_are_in_plain_string_order_part_by_part(catalog: Catalog) -> None:
    keys = [
        ("a", "10"),
        ("a", "2"),
        ("a-b", "1"),
        ("a", "1"),
        ("B", "1"),
        ("ab", "1"),
        ("a_", "9"),
        ("ä", "1"),
    ]
    rules = [
        Rule(**TIMES, detector_id=detector, rule_id="r", rule_version=version, expression="", outcomes=())
        for detector, version in keys
    ]
    put(catalog, HERE, *rules)
    expected = sorted(rule.key for rule in rules)
    assert [rule.key for rule in catalog.list(HERE, Rule)] == expected
    assert [rule.key for rule in catalog.list(HERE, Rule, "a")] == [key for key in expected if key[0] == "a"]
    assert [rule.key for rule in catalog.list(HERE, Rule, "a", "r", "2")] == [("a", "r", "2")]
    assert catalog.list(HERE, Rule, "a", "x") == []


@pytest.mark.parametrize(
    "name", ["", "x" * 10_000, "a\x01b", "a\0b", "\ud800", "'; DROP TABLE resources; --", "%"]
)
def test_any_text_may_be_asked_for(catalog: Catalog, name: str) -> None:
    put(catalog, HERE, label("a"))
    assert catalog.get(HERE, Label, name) is None
    assert catalog.list(HERE, Label, name) == []
    with catalog.transaction():
        assert not catalog.delete(HERE, Label, name)
        assert catalog.get(HERE, Label, name) is None


def test_a_transaction_sees_its_own_writes_and_others_do_not(catalog: Catalog) -> None:
    put(catalog, HERE, label("a", description="old"))
    seen: list[object] = []

    def look() -> None:
        seen.append((catalog.get(HERE, Label, "a"), len(catalog.list(HERE, Label))))

    with catalog.transaction():
        catalog.put(HERE, label("a", description="new"))
        catalog.put(HERE, label("b"))
        assert catalog.get(HERE, Label, "a") == label("a", description="new")
        assert len(catalog.list(HERE, Label)) == 2
        other = threading.Thread(target=look)
        other.start()
        other.join()
    look()
    assert seen == [(label("a", description="old"), 1), (label("a", description="new"), 2)]


def test_a_transaction_that_fails_leaves_nothing(catalog: Catalog) -> None:
    put(catalog, HERE, label("a"))
    before = catalog.revision(HERE)
    with pytest.raises(KeyError), catalog.transaction():
        catalog.put(HERE, label("a", description="new"))
        catalog.delete(HERE, Label, "a")
        catalog.put(HERE, label("b"))
        assert catalog.next_number(HERE, "n") == 1
        raise KeyError("on purpose")
    assert catalog.list(HERE, Label) == [label("a")]
    assert catalog.get(HERE, Label, "b") is None
    assert catalog.revision(HERE) == before
    with catalog.transaction():
        assert catalog.next_number(HERE, "n") == 1


def test_transactions_nest_and_an_inner_one_may_fail_alone(catalog: Catalog) -> None:
    with catalog.transaction():
        catalog.put(HERE, label("outer"))
        with catalog.transaction():
            catalog.put(HERE, label("inner"))
        with pytest.raises(KeyError), catalog.transaction():
            catalog.put(HERE, label("lost"))
            raise KeyError("on purpose")
        catalog.put(HERE, label("after"))
    assert [each.name for each in catalog.list(HERE, Label)] == ["after", "inner", "outer"]


def test_numbers_are_given_once_for_each_counter(catalog: Catalog, place: Any) -> None:
    with catalog.transaction():
        assert [catalog.next_number(HERE, "a") for _ in range(3)] == [1, 2, 3]
        assert catalog.next_number(HERE, "b") == 1
        assert catalog.next_number(OTHER, "a") == 1
    again = place.open().catalog
    with again.transaction():
        assert again.next_number(HERE, "a") == 4


def test_the_revision_grows_with_every_committed_change_of_the_tenant(catalog: Catalog, place: Any) -> None:
    assert catalog.revision(HERE) == 0
    put(catalog, HERE, label("a"))
    first = catalog.revision(HERE)
    put(catalog, HERE, label("a"), label("b"))
    second = catalog.revision(HERE)
    with catalog.transaction():
        catalog.delete(HERE, Label, "a")
    third = catalog.revision(HERE)
    with catalog.transaction():
        catalog.delete(HERE, Label, "missing")
    assert 0 < first < second < third == catalog.revision(HERE)
    assert catalog.revision(OTHER) == 0
    assert place.open().catalog.revision(HERE) == third


def test_writers_in_several_threads_lose_nothing(catalog: Catalog) -> None:
    put(catalog, HERE, ListContent(**TIMES, name="l", revision=0, elements=()))

    def add(worker: int) -> None:
        for number in range(20):
            with catalog.transaction():
                content = catalog.get(HERE, ListContent, "l")
                assert content is not None
                more = (*content.elements, f"{worker}.{number}")
                catalog.put(HERE, replace(content, revision=content.revision + 1, elements=more))
            assert catalog.get(HERE, ListContent, "l") is not None

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = catalog.get(HERE, ListContent, "l")
    assert content is not None
    assert (content.revision, len(set(content.elements))) == (80, 80)


def test_a_read_is_never_older_than_the_last_commit(catalog: Catalog) -> None:
    stop = threading.Event()
    faults: list[str] = []
    newest = 0

    def read() -> None:
        while not stop.is_set():
            floor = newest
            found = catalog.get(HERE, ListContent, "l")
            if found is not None and found.revision < floor:
                faults.append(f"{found.revision} after {floor}")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 61):
        put(catalog, HERE, ListContent(**TIMES, name="l", revision=number, elements=()))
        newest = number
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
