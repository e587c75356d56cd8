"""Acid tests D: the deletion matrix, as a real boto3 sees it."""


def test_d1_a_variable_of_an_event_type_stays(afd):
    afd.ce(afd.c.delete_variable, name="amt")


def test_d2_a_label_of_an_event_type_stays(afd):
    afd.ce(afd.c.delete_label, name="fraud")


def test_d3_an_entity_type_of_an_event_type_stays(afd):
    afd.ce(afd.c.delete_entity_type, name="customer")


def test_d4_an_event_type_of_a_detector_stays(afd):
    afd.ce(afd.c.delete_event_type, name="pay")


def test_d5_an_outcome_of_a_rule_stays(afd):
    message = afd.ce(afd.c.delete_outcome, name="block")
    assert "big" in message


def test_d6_a_detector_with_versions_stays(afd):
    afd.ce(afd.c.delete_detector, detectorId="det")


def test_d6_a_detector_with_only_rules_stays(afd):
    afd.c.put_detector(detectorId="d2", eventTypeName="pay")
    afd.mkrule("r", "$amt > 1", detector="d2")
    afd.ce(afd.c.delete_detector, detectorId="d2")
    afd.c.delete_rule(rule=afd.rule("r", detector="d2"))
    assert afd.done(afd.c.delete_detector(detectorId="d2"))


def test_d7_an_active_version_stays(afd):
    afd.ce(afd.c.delete_detector_version, detectorId="det", detectorVersionId="1")


def test_d8_a_rule_of_an_active_version_stays(afd):
    afd.ce(afd.c.delete_rule, rule=afd.rule("big"))


def test_d9_a_version_is_deleted_once(afd):
    assert afd.done(afd.c.delete_detector_version(detectorId="det", detectorVersionId="2"))
    afd.rnf(afd.c.delete_detector_version, detectorId="det", detectorVersionId="2")


def test_d10_deleting_what_is_missing_succeeds(afd):
    c = afd.c
    assert afd.done(c.delete_label(name="nope"))
    assert afd.done(c.delete_outcome(name="nope"))
    assert afd.done(c.delete_entity_type(name="nope"))
    assert afd.done(c.delete_event_type(name="nope"))
    assert afd.done(c.delete_variable(name="nope"))
    assert afd.done(c.delete_rule(rule=afd.rule("nope")))
    assert afd.done(c.delete_detector(detectorId="nope"))
    assert afd.done(c.delete_list(name="nope"))
    assert afd.done(c.delete_model(modelId="nope", modelType="ONLINE_FRAUD_INSIGHTS"))
    assert afd.done(
        c.delete_model_version(modelId="nope", modelType="ONLINE_FRAUD_INSIGHTS", modelVersionNumber="1.0")
    )


def test_d12_a_draft_does_not_protect_its_rules(afd):
    afd.mkrule("r4", "$amt > 5")
    afd.c.create_detector_version(detectorId="det", rules=[afd.rule("r4")])
    assert afd.done(afd.c.delete_rule(rule=afd.rule("r4")))


def test_d13_a_draft_without_its_rule_cannot_be_activated(afd):
    test_d12_a_draft_does_not_protect_its_rules(afd)
    afd.ve(afd.activate, "3")


def test_d13_a_rule_made_anew_starts_at_version_1(afd):
    afd.mkrule("r4", "$amt > 5")
    afd.update_rule("r4", "$amt > 6")
    afd.c.delete_rule(rule=afd.rule("r4", "2"))
    assert afd.update_rule("r4", "$amt > 7")["ruleVersion"] == "3"  # a number is never used twice …
    afd.c.delete_rule(rule=afd.rule("r4", "1"))
    afd.c.delete_rule(rule=afd.rule("r4", "3"))
    assert afd.mkrule("r4", "$amt > 8")["ruleVersion"] == "1"  # … while the rule lives


def test_d14_an_inactive_version_protects_its_rules(afd):
    afd.activate("1", "INACTIVE")
    afd.ce(afd.c.delete_rule, rule=afd.rule("big"))


def test_d15_everything_can_be_cleaned_up_in_order(afd):
    c = afd.c
    afd.activate("1", "INACTIVE")
    for version in ("1", "2"):
        assert afd.done(c.delete_detector_version(detectorId="det", detectorVersionId=version))
    for rule in ("big", "mid", "free"):
        assert afd.done(c.delete_rule(rule=afd.rule(rule)))
    assert afd.done(c.delete_detector(detectorId="det"))
    assert afd.done(c.delete_event_type(name="pay"))
    assert afd.done(c.delete_entity_type(name="customer"))
    for name in ("email", "amt", "vip"):
        assert afd.done(c.delete_variable(name=name))
    for name in ("fraud", "legit"):
        assert afd.done(c.delete_label(name=name))
    for name in ("block", "review", "ok"):
        assert afd.done(c.delete_outcome(name=name))
    assert c.get_detectors()["detectors"] == []
    assert c.get_event_types()["eventTypes"] == []
    assert c.get_entity_types()["entityTypes"] == []
    assert c.get_variables()["variables"] == []
    assert c.get_labels()["labels"] == []
    assert c.get_outcomes()["outcomes"] == []


def test_d15_a_detector_made_anew_numbers_its_versions_from_1(afd):
    afd.c.put_detector(detectorId="d2", eventTypeName="pay")
    for _ in range(2):
        afd.mkrule("r", "$amt > 1", detector="d2")
        made = afd.c.create_detector_version(detectorId="d2", rules=[afd.rule("r", detector="d2")])
        assert made["detectorVersionId"] == "1"
        afd.c.delete_detector_version(detectorId="d2", detectorVersionId="1")
        afd.c.delete_rule(rule=afd.rule("r", detector="d2"))
        afd.c.delete_detector(detectorId="d2")
        afd.c.put_detector(detectorId="d2", eventTypeName="pay")


def test_d16_a_label_of_a_stored_event_stays(afd):
    afd.c.send_event(**afd.se("s1", {"amt": "1"}, assignedLabel="fraud", labelTimestamp=afd.T))
    afd.c.put_event_type(
        name="pay", eventVariables=["email", "amt", "vip"], entityTypes=["customer"], labels=["legit"]
    )
    afd.ce(afd.c.delete_label, name="fraud")


def test_h16_an_event_type_with_stored_events_stays(afd):
    afd.c.put_event_type(
        name="p2", eventVariables=["amt"], entityTypes=["customer"], eventIngestion="ENABLED"
    )
    afd.c.send_event(**afd.se("s1", {"amt": "5"}, eventTypeName="p2"))
    afd.ce(afd.c.delete_event_type, name="p2")
    afd.c.delete_event(eventId="s1", eventTypeName="p2")
    assert afd.done(afd.c.delete_event_type(name="p2"))


def test_a_variable_that_only_a_rule_uses_stays(afd):
    afd.c.create_variable(
        name="hand_insightscore", dataType="FLOAT", dataSource="MODEL_SCORE", defaultValue="0.0"
    )
    afd.mkrule("r", "$hand_insightscore > 900")
    afd.ce(afd.c.delete_variable, name="hand_insightscore")
    afd.c.delete_rule(rule=afd.rule("r"))
    assert afd.done(afd.c.delete_variable(name="hand_insightscore"))
