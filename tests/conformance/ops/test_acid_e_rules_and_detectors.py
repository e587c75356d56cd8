"""Acid tests E: rules and detector versions, as a real boto3 sees them."""

import pytest

BIG = {"ruleId": "big", "expression": "$amt > 800", "language": "DETECTORPL", "outcomes": ["block"]}


def version(afd, number: str) -> dict:
    return afd.c.get_detector_version(detectorId="det", detectorVersionId=number)


def statuses(afd) -> list[tuple[str, str]]:
    summaries = afd.c.describe_detector(detectorId="det")["detectorVersionSummaries"]
    return [(summary["detectorVersionId"], summary["status"]) for summary in summaries]


def test_e1_the_first_version_of_a_rule_is_1(afd):
    answer = afd.c.create_rule(
        ruleId="x", detectorId="det", expression="$amt > 1", language="DETECTORPL", outcomes=["ok"]
    )
    assert answer["rule"] == {"detectorId": "det", "ruleId": "x", "ruleVersion": "1"}


def test_e2_a_rule_is_created_once(afd):
    afd.ve(afd.mkrule, "big", "$amt > 1")


def test_e3_an_update_makes_the_next_version(afd):
    assert afd.update_rule("big", "$amt > 800", ["block"])["ruleVersion"] == "2"
    assert len(afd.c.get_rules(detectorId="det", ruleId="big")["ruleDetails"]) == 2
    rules = afd.c.get_rules(detectorId="det")["ruleDetails"]
    assert [(rule["ruleId"], rule["ruleVersion"]) for rule in rules] == [
        *(("big", "1"), ("big", "2"), ("free", "1"), ("mid", "1"))
    ]


def test_e3_a_rule_version_shows_everything(afd):
    afd.update_rule("big", "$amt > 800", ["block", "review", "block"])
    (shown,) = afd.c.get_rules(detectorId="det", ruleId="big", ruleVersion="2")["ruleDetails"]
    assert shown.pop("createdTime") == shown.pop("lastUpdatedTime")
    assert shown == {
        "detectorId": "det",
        "ruleId": "big",
        "ruleVersion": "2",
        "expression": "$amt > 800",
        "language": "DETECTORPL",
        "outcomes": ["block", "review"],
        "arn": f"arn:aws:frauddetector:us-east-1:{afd.account}:rule/det/big/2",
    }


def test_e4_a_detector_version_keeps_its_rule_version(afd):
    afd.update_rule("big", "$amt > 800", ["block"])
    answer = afd.c.get_event_prediction(**afd.ev("e1", {"amt": "850"}))
    assert answer["ruleResults"] == [{"ruleId": "mid", "outcomes": ["review"]}]


def test_e5_an_unknown_rule_cannot_be_described_or_updated(afd):
    afd.rnf(afd.c.update_rule_metadata, rule=afd.rule("nope"), description="d")
    afd.rnf(afd.update_rule, "nope", "$amt > 1")


def test_e5_the_description_of_a_rule_in_use_can_change(afd):
    assert afd.done(afd.c.update_rule_metadata(rule=afd.rule("big"), description="d"))
    (shown,) = afd.c.get_rules(detectorId="det", ruleId="big")["ruleDetails"]
    assert (shown["description"], shown["ruleVersion"]) == ("d", "1")


def test_e6_rules_of_an_unknown_detector_are_not_found(afd):
    afd.rnf(afd.c.get_rules, detectorId="nope")


def test_e7_an_unknown_rule_id_alone_gives_none(afd):
    assert afd.c.get_rules(detectorId="det", ruleId="nope")["ruleDetails"] == []


def test_e7_an_unknown_rule_version_is_not_found_and_needs_its_rule(afd):
    afd.rnf(afd.c.get_rules, detectorId="det", ruleId="big", ruleVersion="9")
    afd.ve(afd.c.get_rules, detectorId="det", ruleVersion="1")


@pytest.mark.parametrize("expression", ["$nope > 1", "$amt >", "$amt + 1", "$email in @nolist"])
def test_e8_an_unusable_expression_is_refused_with_its_place(afd, expression):
    message = afd.ve(afd.mkrule, "x", expression)
    assert "line 1" in message
    assert expression not in message
    assert afd.c.get_rules(detectorId="det", ruleId="x")["ruleDetails"] == []


def test_e8_a_misspelled_variable_is_answered_with_a_hint(afd):
    assert "amt" in afd.ve(afd.mkrule, "x", "$amtt > 1")


def test_e8_a_list_without_entries_cannot_be_used(afd):
    afd.c.create_list(name="deny", variableType="EMAIL_ADDRESS")
    assert "deny" in afd.ve(afd.mkrule, "x", "$email in @deny")


def test_e8_a_fourth_list_is_refused(afd):
    for number in range(4):
        afd.c.create_list(name=f"l{number}", elements=["a"])
    uses = [f"$email in @l{number}" for number in range(4)]
    afd.ve(afd.mkrule, "x", " or ".join(uses))
    afd.mkrule("x", " or ".join(uses[:3]))


def test_e9_a_constant_expression_is_a_rule(afd):
    assert afd.mkrule("x", "1 == 5")["ruleVersion"] == "1"


def test_e10_an_unknown_outcome_is_refused(afd):
    afd.ve(afd.mkrule, "x", "$amt > 1", ["nope"])


def test_e11_an_unknown_detector_is_a_fault_of_the_value(afd):
    afd.ve(afd.mkrule, "x", "1 == 1", detector="nope")


def test_e12_a_new_version_is_a_draft_with_the_next_number(afd):
    answer = afd.c.create_detector_version(detectorId="det", rules=[afd.rule("big")])
    assert afd.body(answer) == {"detectorId": "det", "detectorVersionId": "3", "status": "DRAFT"}


def test_e13_a_version_needs_a_rule(afd):
    afd.ve(afd.c.create_detector_version, detectorId="det", rules=[])


def test_e14_an_unknown_rule_version_is_not_found(afd):
    afd.rnf(afd.c.create_detector_version, detectorId="det", rules=[afd.rule("big", "7")])


def test_e15_two_versions_of_one_rule_are_refused(afd):
    afd.update_rule("big", "$amt > 800", ["block"])
    rules = [afd.rule("big", "1"), afd.rule("big", "2")]
    afd.ve(afd.c.create_detector_version, detectorId="det", rules=rules)


def test_e15_a_rule_of_another_detector_is_refused(afd):
    afd.c.put_detector(detectorId="d2", eventTypeName="pay")
    afd.ve(afd.c.create_detector_version, detectorId="d2", rules=[afd.rule("big")])


def test_e16_an_unknown_detector_is_not_found(afd):
    afd.rnf(afd.c.create_detector_version, detectorId="nope", rules=[afd.rule("big")])


def test_e16_unknown_models_and_endpoints_are_not_found(afd):
    model = {"modelId": "m9", "modelType": "ONLINE_FRAUD_INSIGHTS", "modelVersionNumber": "1.0"}
    rules = [afd.rule("big")]
    afd.rnf(afd.c.create_detector_version, detectorId="det", rules=rules, modelVersions=[model])
    afd.rnf(afd.c.create_detector_version, detectorId="det", rules=rules, externalModelEndpoints=["ep"])


def test_e16_a_rule_on_a_score_needs_its_model_in_the_version(afd):
    afd.c.create_variable(
        name="hand_insightscore", dataType="FLOAT", dataSource="MODEL_SCORE", defaultValue="0.0"
    )
    afd.mkrule("r", "$hand_insightscore > 900")
    message = afd.ve(afd.c.create_detector_version, detectorId="det", rules=[afd.rule("r")])
    assert "hand_insightscore" in message


def test_e17_only_a_draft_can_be_changed(afd):
    afd.ve(
        afd.c.update_detector_version,
        detectorId="det",
        detectorVersionId="1",
        externalModelEndpoints=[],
        rules=afd.RULES,
    )


def test_e18_changing_a_draft_replaces_its_content(afd):
    afd.c.update_detector_version_metadata(detectorId="det", detectorVersionId="2", description="kept")
    answer = afd.c.update_detector_version(
        detectorId="det", detectorVersionId="2", externalModelEndpoints=[], rules=[afd.rule("mid")]
    )
    assert afd.done(answer)
    shown = version(afd, "2")
    assert shown["rules"] == [afd.rule("mid")]
    assert shown["ruleExecutionMode"] == "FIRST_MATCHED"
    assert shown["description"] == "kept"


def test_e19_the_description_of_an_active_version_can_change(afd):
    answer = afd.c.update_detector_version_metadata(detectorId="det", detectorVersionId="1", description="d")
    assert afd.done(answer)
    assert version(afd, "1")["description"] == "d"
    afd.ve(
        afd.c.update_detector_version_metadata,
        detectorId="det",
        detectorVersionId="9",
        description="d",
    )


def test_e20_activating_a_version_retires_the_other(afd):
    afd.activate("2")
    assert statuses(afd) == [("1", "INACTIVE"), ("2", "ACTIVE")]


def test_e20_a_retired_version_can_come_back(afd):
    afd.activate("2")
    afd.activate("1")
    assert statuses(afd) == [("1", "ACTIVE"), ("2", "INACTIVE")]
    afd.activate("1", "INACTIVE")
    assert statuses(afd) == [("1", "INACTIVE"), ("2", "INACTIVE")]


def test_e21_a_draft_cannot_be_retired(afd):
    afd.ve(afd.activate, "2", "INACTIVE")


def test_e22_nothing_becomes_a_draft(afd):
    afd.ve(afd.activate, "1", "DRAFT")
    afd.ve(afd.activate, "2", "DRAFT")


def test_e23_the_state_it_has_is_no_change(afd):
    before = version(afd, "1")["lastUpdatedTime"]
    afd.wait_ms(5)
    afd.activate("1")
    assert version(afd, "1")["lastUpdatedTime"] == before


def test_e24_a_version_shows_its_content(afd):
    shown = version(afd, "1")
    assert shown["ruleExecutionMode"] == "FIRST_MATCHED"
    assert shown["status"] == "ACTIVE"
    assert shown["rules"] == afd.RULES
    assert shown["externalModelEndpoints"] == []
    assert shown["modelVersions"] == []
    assert shown["arn"].endswith(":detector-version/det/1")


def test_e25_a_detector_is_described_by_its_versions(afd):
    answer = afd.c.describe_detector(detectorId="det")
    assert [each["detectorVersionId"] for each in answer["detectorVersionSummaries"]] == ["1", "2"]
    assert answer["arn"].endswith(":detector/det")
    assert set(answer["detectorVersionSummaries"][0]) == {"detectorVersionId", "status", "lastUpdatedTime"}


def test_e25_versions_are_ordered_by_number(afd):
    for _ in range(9):
        afd.c.create_detector_version(detectorId="det", rules=[afd.rule("big")])
    assert [number for number, _ in statuses(afd)] == [str(number) for number in range(1, 12)]


def test_e25_a_detector_without_versions_has_none_and_an_unknown_one_is_not_found(afd):
    afd.c.put_detector(detectorId="d2", eventTypeName="pay")
    assert afd.c.describe_detector(detectorId="d2", nextToken="")["detectorVersionSummaries"] == []
    assert afd.c.get_rules(detectorId="d2")["ruleDetails"] == []
    afd.rnf(afd.c.describe_detector, detectorId="nope")


def test_e26_version_numbers_are_never_used_twice(afd):
    afd.c.delete_detector_version(detectorId="det", detectorVersionId="2")
    answer = afd.c.create_detector_version(detectorId="det", rules=[afd.rule("big")])
    assert answer["detectorVersionId"] == "3"


def test_e27_an_unknown_version_is_not_found(afd):
    afd.rnf(afd.c.get_detector_version, detectorId="det", detectorVersionId="9")
    afd.rnf(afd.c.get_detector_version, detectorId="nope", detectorVersionId="1")


def test_e28_an_unknown_version_has_no_status(afd):
    afd.rnf(afd.activate, "9")
