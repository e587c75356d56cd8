"""Acid tests M: tags and pages, as a real boto3 sees them."""

import pytest


@pytest.fixture
def tagged(afd):
    afd.c.put_label(name="t1", tags=[{"key": "k", "value": "1"}])
    return afd


def arn(afd, path: str = "label/t1") -> str:
    return f"arn:aws:frauddetector:us-east-1:{afd.account}:{path}"


def tags(afd, path: str = "label/t1") -> list[dict[str, str]]:
    return afd.c.list_tags_for_resource(resourceARN=arn(afd, path))["tags"]


def many(count: int) -> list[dict[str, str]]:
    return [{"key": f"k{number}", "value": ""} for number in range(count)]


def test_m1_tags_on_a_put_of_an_existing_resource_are_ignored(tagged):
    tagged.c.put_label(name="t1", tags=[{"key": "k", "value": "2"}])
    assert tags(tagged) == [{"key": "k", "value": "1"}]


def test_m2_tags_are_added_overwritten_and_removed(tagged):
    added = [{"key": "k", "value": "2"}, {"key": "j", "value": ""}]
    before = tagged.c.get_labels(name="t1")["labels"][0]["lastUpdatedTime"]
    assert tagged.done(tagged.c.tag_resource(resourceARN=arn(tagged), tags=added))
    assert tagged.done(tagged.c.untag_resource(resourceARN=arn(tagged), tagKeys=["k", "zz"]))
    assert tags(tagged) == [{"key": "j", "value": ""}]
    assert tagged.c.get_labels(name="t1")["labels"][0]["lastUpdatedTime"] == before


@pytest.mark.parametrize(
    "path",
    ["label/none", "label/fraud/1", "nonsense/fraud", "detector-version/det/9", "list-content/x", "label"],
)
def test_m3_tags_of_a_missing_resource_are_not_found(afd, path):
    where = arn(afd, path)
    afd.rnf(afd.c.list_tags_for_resource, resourceARN=where)
    afd.rnf(afd.c.tag_resource, resourceARN=where, tags=[])
    afd.rnf(afd.c.untag_resource, resourceARN=where, tagKeys=[])


def test_m3_tags_of_another_account_or_region_are_not_found(tagged):
    for where in (
        "arn:aws:frauddetector:us-east-1:123456789012:label/t1",
        f"arn:aws:frauddetector:eu-west-1:{tagged.account}:label/t1",
    ):
        tagged.rnf(tagged.c.list_tags_for_resource, resourceARN=where)


def test_m4_a_bad_arn_is_refused(afd):
    afd.ve(afd.c.list_tags_for_resource, resourceARN="arn:x")


def test_m5_reserved_and_repeated_keys_are_refused(tagged):
    tagged.ve(tagged.c.put_label, name="t2", tags=[{"key": "aws:x", "value": "1"}])
    twice = [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]
    tagged.ve(tagged.c.put_label, name="t2", tags=twice)
    tagged.ve(tagged.c.tag_resource, resourceARN=arn(tagged), tags=twice)
    tagged.rnf(tagged.c.get_labels, name="t2")


def test_m6_a_resource_takes_50_tags(tagged):
    tagged.ve(tagged.c.put_label, name="t2", tags=many(51))
    tagged.c.put_label(name="t2", tags=many(50))
    assert len(tags(tagged, "label/t2")) == 50
    tagged.ve(tagged.c.tag_resource, resourceARN=arn(tagged), tags=many(50))  # 51 with the one it has
    assert tags(tagged) == [{"key": "k", "value": "1"}]


def test_m7_a_full_page_leads_to_the_next(afd):
    for number in range(11):
        afd.c.put_entity_type(name=f"e{number}")
    first = afd.c.get_entity_types()
    assert len(first["entityTypes"]) == 10
    second = afd.c.get_entity_types(nextToken=first["nextToken"])
    assert len(second["entityTypes"]) == 2
    assert "nextToken" not in second
    names = [each["name"] for each in first["entityTypes"] + second["entityTypes"]]
    assert len(set(names)) == 12


def test_m7_a_page_that_is_exactly_full_is_the_last(afd):
    for number in range(9):
        afd.c.put_entity_type(name=f"e{number}")
    assert "nextToken" not in afd.c.get_entity_types()


def test_m7_items_that_come_and_go_between_pages_neither_repeat_nor_skip_others(afd):
    for number in range(20):
        afd.c.put_entity_type(name=f"e{number:02d}")
    first = afd.c.get_entity_types()
    last = first["entityTypes"][-1]["name"]
    assert last == "e08"
    afd.c.delete_entity_type(name=last)
    afd.c.put_entity_type(name="a")
    second = afd.c.get_entity_types(nextToken=first["nextToken"])
    assert second["entityTypes"][0]["name"] == "e09"


def test_m8_an_unknown_token_is_refused_and_an_empty_one_is_the_start(afd):
    afd.ve(afd.c.get_labels, nextToken="garbage")
    assert len(afd.c.get_labels(nextToken="")["labels"]) == 2


def test_m8_a_token_serves_its_own_operation_filters_and_account_only(afd, served):
    for number in range(120):
        afd.c.put_outcome(name=f"o{number}")
    token = afd.c.get_outcomes()["nextToken"]
    afd.ve(afd.c.get_labels, nextToken=token)
    afd.ve(afd.c.get_outcomes, nextToken=token[:-2])
    afd.ve(afd.c.get_outcomes, nextToken="é" + token)
    afd.ve(served.customer().c.get_outcomes, nextToken=token)
    assert len(afd.c.get_outcomes(nextToken=token, maxResults=50)["outcomes"]) == 23


@pytest.mark.parametrize(
    "path", ["detector/det", "detector-version/det/1", "rule/det/big/1", "event-type/pay"]
)
def test_every_kind_of_resource_can_be_tagged(afd, path):
    afd.c.tag_resource(resourceARN=arn(afd, path), tags=[{"key": "team", "value": "risk"}])
    assert tags(afd, path) == [{"key": "team", "value": "risk"}]


def test_tags_of_the_batch_go_to_every_variable(afd):
    entry = {"dataType": "STRING", "dataSource": "EVENT", "defaultValue": "-"}
    afd.c.batch_create_variable(
        variableEntries=[entry | {"name": "n1"}, entry | {"name": "n2"}], tags=[{"key": "k", "value": "v"}]
    )
    assert tags(afd, "variable/n1") == tags(afd, "variable/n2") == [{"key": "k", "value": "v"}]


def test_m11_tags_die_with_the_resource(tagged):
    tagged.c.delete_label(name="t1")
    tagged.c.put_label(name="t1")
    assert tags(tagged) == []
