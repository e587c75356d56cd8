"""Acid tests B: shape validation, as a real boto3 sees it."""

import pytest
from botocore.exceptions import ParamValidationError


def test_b1_a_bad_name_is_refused_with_its_pattern(afd):
    assert afd.ve(afd.c.put_label, name="BAD NAME") == (
        "1 validation error detected: Value 'BAD NAME' at 'name' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[0-9a-z_-]+$"
    )


def test_b2_a_long_name_is_refused_with_its_limit(afd):
    message = afd.ve(afd.c.put_label, name="a" * 65)
    assert message.endswith("Member must have length less than or equal to 64")


def test_b3_an_empty_name_never_leaves_the_client(afd):
    with pytest.raises(ParamValidationError):
        afd.c.put_label(name="")


def test_b4_an_empty_name_breaks_length_and_pattern(afd):
    message = afd.ve(afd.raw.put_label, name="")
    assert message.startswith("2 validation errors detected: ")
    assert "Member must have length greater than or equal to 1" in message
    assert "Member must satisfy regular expression pattern" in message
    assert "; " in message


def test_b5_a_missing_name_is_null(afd):
    assert afd.ve(afd.raw.put_label) == (
        "1 validation error detected: Value null at 'name' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_b6_too_large_a_page_is_refused(afd):
    message = afd.ve(afd.c.get_detectors, maxResults=11)
    assert (
        "at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10"
        in message
    )


def test_b7_too_small_a_page_never_leaves_the_client(afd):
    with pytest.raises(ParamValidationError):
        afd.c.get_detectors(maxResults=4)


def test_b8_too_small_a_page_is_refused(afd):
    assert "Member must have value greater than or equal to 5" in afd.ve(afd.raw.get_detectors, maxResults=4)


def test_b9_describe_detector_takes_1000_to_2500(afd):
    afd.ve(afd.raw.describe_detector, detectorId="det", maxResults=100)
    assert afd.c.describe_detector(detectorId="det", maxResults=2500)["detectorVersionSummaries"]


def test_b10_tags_come_in_pages_of_50_only(afd):
    arn = "arn:aws:frauddetector:us-east-1:123456789012:label/fraud"
    afd.ve(afd.raw.list_tags_for_resource, resourceARN=arn, maxResults=10)


def test_b11_an_unknown_data_type_is_answered_with_all_five(afd):
    message = afd.ve(
        afd.c.create_variable, name="v9", dataType="DOUBLE", dataSource="EVENT", defaultValue="0"
    )
    assert "Member must satisfy enum value set: [" in message
    assert all(name in message for name in ("STRING", "INTEGER", "FLOAT", "BOOLEAN", "DATETIME"))


def test_b12_model_ids_have_no_dash(afd):
    afd.ve(afd.c.create_model, modelId="a-b", modelType="ONLINE_FRAUD_INSIGHTS", eventTypeName="pay")


def test_b13_list_names_have_no_dash(afd):
    afd.ve(afd.c.create_list, name="a-b")


def test_b14_all_faults_come_in_one_answer(afd):
    message = afd.ve(afd.c.put_label, name="BAD", description="x" * 129)
    assert message.startswith("2 validation errors detected:")


def test_b15_a_long_expression_is_not_echoed(afd):
    expression = "$amt > 1" + " " * 4089
    message = afd.ve(
        afd.c.create_rule,
        ruleId="r",
        detectorId="det",
        expression=expression,
        language="DETECTORPL",
        outcomes=["ok"],
    )
    assert "at 'expression'" in message
    assert "$amt" not in message


def test_b16_a_version_with_a_leading_zero_is_refused(afd):
    afd.ve(afd.c.get_detector_version, detectorId="det", detectorVersionId="01")


def test_b17_shapes_are_checked_before_existence(afd):
    afd.ve(afd.c.get_detector_version, detectorId="NOPE!", detectorVersionId="1")


def test_b18_a_model_version_needs_a_dot(afd):
    afd.ve(
        afd.raw.get_model_version,
        modelId="m1",
        modelType="ONLINE_FRAUD_INSIGHTS",
        modelVersionNumber="1",
    )


def test_b19_an_event_without_variables_is_refused(afd):
    afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {}))


def test_b20_an_empty_value_is_refused(afd):
    with pytest.raises(ParamValidationError):
        afd.c.get_event_prediction(**afd.ev("e1", {"amt": ""}))
    afd.ve(afd.raw.get_event_prediction, **afd.ev("e1", {"amt": ""}))


def test_b21_a_long_value_is_not_echoed(afd):
    assert "xxxx" not in afd.ve(afd.c.get_event_prediction, **afd.ev("e1", {"email": "x" * 8193}))


def test_b22_labels_come_in_pages_of_10_to_50(afd):
    afd.ve(afd.raw.get_labels, maxResults=9)


def test_b23_a_long_tag_key_is_named_by_its_path(afd):
    message = afd.ve(afd.c.put_label, name="l2", tags=[{"key": "k" * 129, "value": ""}])
    assert "'tags.1.member.key'" in message


def test_b24_at_most_100_variables_are_fetched_at_once(afd):
    afd.ve(afd.c.batch_get_variable, names=["email"] * 101)
