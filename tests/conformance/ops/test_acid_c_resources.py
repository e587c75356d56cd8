"""Acid tests C: simple resources, as a real boto3 sees them."""

import re

import pytest

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


def text(name: str, **members: str) -> dict[str, str]:
    return {"name": name, "dataType": "STRING", "dataSource": "EVENT", "defaultValue": "-"} | members


def number(name: str, **members: str) -> dict[str, str]:
    return {"name": name, "dataType": "FLOAT", "dataSource": "EVENT", "defaultValue": "0.0"} | members


def test_c1_an_entity_type_shows_arn_and_equal_times_but_no_description(afd):
    (shown,) = afd.c.get_entity_types(name="customer")["entityTypes"]
    assert shown["arn"] == f"arn:aws:frauddetector:us-east-1:{afd.account}:entity-type/customer"
    assert shown["createdTime"] == shown["lastUpdatedTime"]
    assert TIME.match(shown["createdTime"])
    assert "description" not in shown


def test_c2_putting_again_keeps_the_creation_time(afd):
    (before,) = afd.c.get_labels(name="fraud")["labels"]
    afd.wait_ms(10)
    afd.c.put_label(name="fraud", description="d")
    (after,) = afd.c.get_labels(name="fraud")["labels"]
    assert after["createdTime"] == before["createdTime"]
    assert after["lastUpdatedTime"] > before["lastUpdatedTime"]
    assert after["description"] == "d"


def test_c3_putting_without_description_clears_it(afd):
    afd.c.put_label(name="fraud", description="d")
    afd.c.put_label(name="fraud")
    assert "description" not in afd.c.get_labels(name="fraud")["labels"][0]


def test_c4_a_variable_is_created_once(afd):
    afd.ve(afd.c.create_variable, **number("amt"))


def test_c5_batch_create_reports_existing_variable(afd):
    answer = afd.c.batch_create_variable(variableEntries=[text("n1"), number("amt")])
    (error,) = answer["errors"]
    assert error["name"] == "amt"
    assert isinstance(error["code"], int)
    assert afd.c.get_variables(name="n1")["variables"]


def test_c5_batch_create_reports_each_kind_of_bad_entry(afd):
    entries = [
        text("no_type", dataType="DOUBLE"),
        text("no_source", dataSource="NOWHERE"),
        text("Bad Name"),
        number("bad_default", defaultValue="abc"),
        text("bad_variable_type", variableType="NOPE"),
        {"name": "incomplete"},
        {"dataType": "STRING", "dataSource": "EVENT", "defaultValue": "-"},
        text("twice"),
        text("twice"),
    ]
    errors = afd.c.batch_create_variable(variableEntries=entries)["errors"]
    assert [error.get("name") for error in errors] == [
        *("no_type", "no_source", "Bad Name", "bad_default", "bad_variable_type", "incomplete", None, "twice")
    ]
    assert all(error["message"] for error in errors)
    assert afd.c.get_variables(name="twice")["variables"]


def test_c6_batch_get_reports_missing_variables(afd):
    answer = afd.c.batch_get_variable(names=["email", "zz"])
    assert [variable["name"] for variable in answer["variables"]] == ["email"]
    assert [error["name"] for error in answer["errors"]] == ["zz"]


def test_c7_an_unknown_variable_is_not_found(afd):
    afd.rnf(afd.c.get_variables, name="zz")


def test_c8_an_unknown_variable_cannot_be_updated(afd):
    afd.rnf(afd.c.update_variable, name="zz", defaultValue="1")


def test_c9_a_new_default_must_fit_the_data_type(afd):
    afd.ve(afd.c.update_variable, name="amt", defaultValue="abc")


def test_c10_a_default_must_fit_the_data_type(afd):
    afd.ve(afd.c.create_variable, **number("v1", defaultValue="abc"))


def test_c11_the_empty_default_is_legal_for_text(afd):
    assert afd.done(afd.c.create_variable(**text("v2", defaultValue="")))
    assert afd.c.get_variables(name="v2")["variables"][0]["defaultValue"] == ""


@pytest.mark.parametrize("data_type", ["STRING", "INTEGER", "FLOAT", "BOOLEAN", "DATETIME"])
def test_c11_the_null_default_is_legal_for_every_data_type(afd, data_type):
    afd.c.create_variable(**text("v2", dataType=data_type, defaultValue="<null>"))
    assert afd.c.get_variables(name="v2")["variables"][0]["defaultValue"] == "<null>"


def test_c11_the_empty_default_is_legal_for_dates_but_not_for_numbers(afd):
    assert afd.done(afd.c.create_variable(**text("when", dataType="DATETIME", defaultValue="")))
    afd.ve(afd.c.create_variable, **text("count", dataType="INTEGER", defaultValue=""))


def test_c12_session_ids_are_a_variable_type(afd):
    assert afd.done(afd.c.create_variable(**text("v3", variableType="SESSION_ID")))


def test_c12_other_names_of_a_variable_type_are_taken(afd):
    afd.c.create_variable(**text("v3", variableType="CUSTOM_CATEGORICAL"))
    assert afd.c.get_variables(name="v3")["variables"][0]["variableType"] == "CATEGORICAL"


def test_c13_an_unknown_variable_type_is_refused(afd):
    afd.ve(afd.c.create_variable, **text("v4", variableType="NOT_A_TYPE"))


def test_c14_an_event_type_shows_its_lists_in_the_order_put(afd):
    (shown,) = afd.c.get_event_types(name="pay")["eventTypes"]
    assert shown["eventVariables"] == ["email", "amt", "vip"]
    assert shown["labels"] == ["fraud", "legit"]
    assert shown["entityTypes"] == ["customer"]
    assert shown["eventIngestion"] == "ENABLED"
    assert shown["eventOrchestration"] == {"eventBridgeEnabled": False}
    assert "ingestedEventStatistics" not in shown


def test_c14_an_event_type_shows_statistics_of_its_stored_events(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "5"}))
    afd.c.send_event(**afd.se("s2", {"amt": "5"}, eventTimestamp=afd.T2))
    statistics = afd.c.get_event_types(name="pay")["eventTypes"][0]["ingestedEventStatistics"]
    assert statistics["numberOfEvents"] == 2
    assert statistics["eventDataSizeInBytes"] > 0
    assert (statistics["leastRecentEvent"], statistics["mostRecentEvent"]) == (afd.T2, afd.T)


def test_c15_an_event_type_with_unknown_parts_is_refused(afd):
    afd.ve(afd.c.put_event_type, name="p2", eventVariables=["zz"], entityTypes=["customer"])
    afd.ve(afd.c.put_event_type, name="p2", eventVariables=["amt"], entityTypes=["zz"])
    afd.ve(afd.c.put_event_type, name="p2", eventVariables=["amt"], entityTypes=["customer"], labels=["zz"])


def test_c15_a_score_variable_does_not_belong_to_an_event_type(afd):
    afd.c.create_variable(**number("score", dataSource="MODEL_SCORE"))
    afd.ve(afd.c.put_event_type, name="p2", eventVariables=["score"], entityTypes=["customer"])


def test_c16_putting_an_event_type_replaces_labels_and_keeps_ingestion(afd):
    afd.c.put_event_type(name="pay", eventVariables=["email", "amt", "vip"], entityTypes=["customer"])
    (shown,) = afd.c.get_event_types(name="pay")["eventTypes"]
    assert shown["labels"] == []
    assert shown["eventIngestion"] == "ENABLED"


def test_c17_labels_are_optional_and_ingestion_is_off_at_first(afd):
    afd.c.put_event_type(name="p2", eventVariables=["amt", "amt"], entityTypes=["customer"])
    (shown,) = afd.c.get_event_types(name="p2")["eventTypes"]
    assert shown["eventVariables"] == ["amt"]
    assert shown["labels"] == []
    assert shown["eventIngestion"] == "DISABLED"


def test_c18_a_detector_needs_its_event_type(afd):
    afd.ve(afd.c.put_detector, detectorId="d2", eventTypeName="nope")


def test_c19_the_event_type_of_a_detector_is_fixed(afd):
    afd.c.put_event_type(name="p2", eventVariables=["amt"], entityTypes=["customer"])
    afd.ve(afd.c.put_detector, detectorId="det", eventTypeName="p2")


def test_c20_an_empty_account_has_no_detectors(empty):
    assert empty.body(empty.c.get_detectors()) == {"detectors": []}


def test_c20_an_empty_account_has_nothing(empty):
    c = empty.c
    for answer, member in (
        (c.get_labels(), "labels"),
        (c.get_entity_types(), "entityTypes"),
        (c.get_outcomes(), "outcomes"),
        (c.get_variables(), "variables"),
        (c.get_event_types(), "eventTypes"),
        (c.get_lists_metadata(), "lists"),
        (c.get_models(), "models"),
        (c.describe_model_versions(), "modelVersionDetails"),
    ):
        assert empty.body(answer) == {member: []}


def test_c21_one_outcome_by_name_has_no_next_page(afd):
    answer = afd.c.get_outcomes(name="block", maxResults=50)
    assert len(answer["outcomes"]) == 1
    assert "nextToken" not in answer


def test_c22_variables_cannot_be_removed_from_an_event_type(afd):
    message = afd.ve(
        afd.c.put_event_type, name="pay", eventVariables=["email", "amt"], entityTypes=["customer"]
    )
    assert "vip" in message


def test_c23_a_variable_type_is_set_once(afd):
    afd.c.create_variable(**number("v5"))
    assert afd.done(afd.c.update_variable(name="v5", variableType="PRICE"))
    afd.ve(afd.c.update_variable, name="v5", variableType="NUMERIC")
    assert afd.done(afd.c.update_variable(name="v5", variableType="PRICE"))


def test_c23_what_an_update_omits_stays(afd):
    afd.c.create_variable(**number("v5", description="five", variableType="PRICE"))
    afd.c.update_variable(name="v5", defaultValue="7.5")
    (shown,) = afd.c.get_variables(name="v5")["variables"]
    assert (shown["defaultValue"], shown["description"], shown["variableType"]) == ("7.5", "five", "PRICE")


def test_c24_variables_can_be_added_to_an_event_type(afd):
    afd.c.create_variable(**text("extra"))
    afd.c.put_event_type(
        name="pay", eventVariables=["email", "amt", "vip", "extra"], entityTypes=["customer"]
    )
    answer = afd.c.get_event_prediction(**afd.ev("e1", {"amt": "950", "extra": "x"}))
    assert [result["ruleId"] for result in answer["ruleResults"]] == ["big"]


def test_two_regions_and_two_accounts_never_see_each_other(afd, served):
    other_region = served.customer(afd.account, region="eu-west-1")
    assert other_region.c.get_labels()["labels"] == []
    other_region.c.put_label(name="fraud", description="elsewhere")
    assert "description" not in afd.c.get_labels(name="fraud")["labels"][0]
    other_account = served.customer()
    other_account.rnf(other_account.c.get_detectors, detectorId="det")
