"""Acid tests K: lists, as a real boto3 sees them."""

import pytest
from botocore.exceptions import ParamValidationError


@pytest.fixture
def deny(afd):
    afd.c.create_list(name="deny", elements=["a", "a", "b"], variableType="EMAIL_ADDRESS")
    return afd


def elements(afd, name: str = "deny") -> list[str]:
    return afd.c.get_list_elements(name=name)["elements"]


def test_k1_repeated_entries_are_stored_once(deny):
    assert elements(deny) == ["a", "b"]


def test_k2_entries_are_added_removed_and_replaced(deny):
    deny.c.update_list(name="deny", elements=["c", "a"], updateMode="APPEND")
    assert elements(deny) == ["a", "b", "c"]
    deny.c.update_list(name="deny", elements=["a", "zz"], updateMode="REMOVE")
    assert elements(deny) == ["b", "c"]
    deny.c.update_list(name="deny", elements=[], updateMode="REPLACE")
    assert elements(deny) == []


def test_k3_entries_need_a_mode(deny):
    deny.ve(deny.c.update_list, name="deny", elements=["c"])
    assert deny.done(deny.c.update_list(name="deny", updateMode="APPEND"))


def test_k4_the_type_of_a_list_is_fixed(deny):
    deny.ve(deny.c.update_list, name="deny", variableType="IP_ADDRESS")
    assert deny.done(deny.c.update_list(name="deny", variableType="EMAIL_ADDRESS"))


def test_k5_an_unset_type_can_be_set_once(afd):
    assert afd.done(afd.c.create_list(name="l2"))
    assert "variableType" not in afd.c.get_lists_metadata(name="l2")["lists"][0]
    assert elements(afd, "l2") == []
    assert afd.done(afd.c.update_list(name="l2", variableType="IP_ADDRESS"))
    afd.ve(afd.c.update_list, name="l2", variableType="EMAIL_ADDRESS")


def test_k6_a_list_is_created_once(deny):
    deny.ve(deny.c.create_list, name="deny", elements=["a"], variableType="EMAIL_ADDRESS")


def use_deny(afd) -> None:
    afd.c.create_list(name="deny", elements=["a@b.c"], variableType="EMAIL_ADDRESS")
    afd.mkrule("dl", "$email in @deny", ["block"])
    afd.c.create_detector_version(detectorId="det", rules=[afd.rule("dl")])


def test_k7_a_list_of_a_rule_stays(afd):
    use_deny(afd)
    afd.ce(afd.c.delete_list, name="deny")
    afd.c.delete_rule(rule=afd.rule("dl"))
    assert afd.done(afd.c.delete_list(name="deny"))
    afd.rnf(afd.c.get_list_elements, name="deny")


def test_k8_entries_have_no_outer_blanks(afd):
    message = afd.ve(afd.c.create_list, name="l3", elements=[" secret"])
    assert "secret" not in message


def test_k9_an_unknown_list_is_not_found(afd):
    afd.rnf(afd.c.get_list_elements, name="nope")
    afd.rnf(afd.c.get_lists_metadata, name="nope")
    afd.rnf(afd.c.update_list, name="nope", description="d")


def test_k10_a_list_has_an_updated_time(deny):
    (shown,) = deny.c.get_lists_metadata(name="deny")["lists"]
    assert shown["createdTime"] == shown["updatedTime"]
    assert "lastUpdatedTime" not in shown
    deny.wait_ms(5)
    deny.c.update_list(name="deny", description="d")
    (changed,) = deny.c.get_lists_metadata(name="deny")["lists"]
    assert changed["updatedTime"] > shown["updatedTime"]
    assert (changed["createdTime"], changed["description"]) == (shown["createdTime"], "d")


def test_k11_a_list_holds_only_strings(afd):
    afd.ve(afd.c.create_list, name="l4", variableType="NUMERIC")
    afd.ve(afd.c.create_list, name="l4", variableType="NOPE")


def test_k12_pages_of_entries_start_at_500(deny):
    with pytest.raises(ParamValidationError):
        deny.c.get_list_elements(name="deny", maxResults=10)
    deny.ve(deny.raw.get_list_elements, name="deny", maxResults=10)


def test_k12_entries_come_in_pages_of_500(afd):
    entries = [f"e{number}" for number in range(1_201)]
    afd.c.create_list(name="long", elements=entries)
    pages = list(afd.pages(afd.c.get_list_elements, "elements", name="long"))
    assert [len(page) for page in pages] == [500, 500, 201]
    assert [element for page in pages for element in page] == entries


def test_k13_a_list_of_a_rule_cannot_be_emptied(afd):
    use_deny(afd)
    afd.ce(afd.c.update_list, name="deny", elements=[], updateMode="REPLACE")
    afd.ce(afd.c.update_list, name="deny", elements=["a@b.c"], updateMode="REMOVE")
    assert elements(afd) == ["a@b.c"]


def test_f21_a_changed_list_changes_the_next_decision(afd):
    use_deny(afd)

    def matched(event_id: str) -> list[str]:
        answer = afd.c.get_event_prediction(**afd.ev(event_id, {"email": "z@z.z"}, detectorVersionId="3"))
        return [result["ruleId"] for result in answer["ruleResults"]]

    assert matched("e1") == []
    afd.c.update_list(name="deny", elements=["z@z.z"], updateMode="APPEND")
    assert matched("e2") == ["dl"]
