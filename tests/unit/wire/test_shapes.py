import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawksnest.errors import ServiceError
from hawksnest.wire.render import misfits, serialiser
from hawksnest.wire.shapes import FAULTS_MAX, parser, validator

PREDICTION = {
    "detectorId": "det",
    "eventId": "e1",
    "eventTypeName": "pay",
    "entities": [{"entityType": "customer", "entityId": "c1"}],
    "eventTimestamp": "2024-01-02T03:04:05Z",
    "eventVariables": {"amt": "5"},
}


def refused(operation: str, body: bytes) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        parser(operation)(body)
    assert raised.value.status == 400
    return raised.value


def test_a_bad_name_is_told_in_the_words_of_the_api() -> None:
    assert refused("PutLabel", b'{"name":"BAD NAME"}').message == (
        "1 validation error detected: Value 'BAD NAME' at 'name' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[0-9a-z_-]+$"
    )


def test_all_violations_come_in_one_message() -> None:
    message = refused("CreateRule", b'{"ruleId":"","detectorId":"d","language":"SQL","outcomes":[]}').message
    assert message.startswith("5 validation errors detected: ")
    assert "Value null at 'expression' failed to satisfy constraint: Member must not be null" in message
    assert "Value 'SQL' at 'language'" in message
    assert "Value '[]' at 'outcomes'" in message


def test_paths_count_from_one() -> None:
    tags = [{"key": "k", "value": ""}, {"key": "k" * 129, "value": ""}]
    assert (
        "at 'tags.2.member.key' failed"
        in refused("PutLabel", orjson.dumps({"name": "l", "tags": tags})).message
    )


@pytest.mark.parametrize(
    ("change", "secret"),
    [
        ({"eventVariables": {"amt": "secret" * 2_000}}, "secret"),
        ({"entities": [{"entityType": "customer", "entityId": "secret person"}]}, "secret"),
        ({"externalModelEndpointDataBlobs": {"secret endpoint": {"byteBuffer": "eA=="}}}, "secret"),
    ],
)
def test_sensitive_values_are_not_shown(change: dict[str, object], secret: str) -> None:
    message = refused("GetEventPrediction", orjson.dumps(PREDICTION | change)).message
    assert "Value at '" in message
    assert secret not in message


def test_a_rule_expression_is_not_shown() -> None:
    request = {"ruleId": "r", "detectorId": "d", "language": "DETECTORPL", "outcomes": ["ok"]}
    message = refused("CreateRule", orjson.dumps(request | {"expression": "$amt > 1" + " " * 4_089})).message
    assert "at 'expression'" in message
    assert "$amt" not in message


def test_variables_keep_their_nulls_and_nothing_else_does() -> None:
    request = PREDICTION | {"eventVariables": {"amt": None, "vip": "true"}, "detectorVersionId": None}
    parsed = parser("GetEventPrediction")(orjson.dumps(request))
    assert parsed["eventVariables"] == {"amt": None, "vip": "true"}
    assert "detectorVersionId" not in parsed


def test_variables_that_are_all_null_still_count() -> None:
    assert parser("GetEventPrediction")(orjson.dumps(PREDICTION | {"eventVariables": {"amt": None}}))


def test_a_number_among_the_variables_is_a_serialisation_fault() -> None:
    fault = refused("GetEventPrediction", orjson.dumps(PREDICTION | {"eventVariables": {"amt": 5}}))
    assert fault.code == "SerializationException"
    assert fault.message == "eventVariables.amt.member must be a string, not a number."


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"5",
        b"null",
        b"\xff\xfe",
        b'{"name":"\xff"}',
        b'{"name":"\\ud800"}',
        b'{"name":NaN}',
        b"\xef\xbb\xbf{}",
        b"[" * 5_000,
        b'{"a":' * 5_000,
    ],
)
def test_what_is_not_a_json_object_is_a_serialisation_fault(body: bytes) -> None:
    assert refused("GetLabels", body).code == "SerializationException"


def test_no_body_is_an_empty_object() -> None:
    assert parser("GetKMSEncryptionKey")(b"") == {}


def test_a_null_in_a_list_is_a_violation() -> None:
    assert "Value null at 'tags.1.member'" in refused("PutLabel", b'{"name":"l","tags":[null]}').message
    assert (
        "Member must satisfy constraint: [Member must not be null]"
        in refused("BatchGetVariable", b'{"names":["a",null]}').message
    )


def test_lengths_count_characters_not_bytes() -> None:
    assert parser("PutLabel")(orjson.dumps({"name": "l", "description": "é" * 128}))
    assert refused("PutLabel", orjson.dumps({"name": "l", "description": "é" * 129}))


def test_a_final_newline_does_not_slip_past_a_pattern() -> None:
    assert refused("PutLabel", b'{"name":"fraud\\n"}').code == "ValidationException"


def test_blobs_are_decoded_and_bad_base64_is_a_serialisation_fault() -> None:
    blobs = {"endpoint": {"byteBuffer": "AAE=", "contentType": "text/csv"}}
    parsed = parser("GetEventPrediction")(
        orjson.dumps(PREDICTION | {"externalModelEndpointDataBlobs": blobs})
    )
    assert parsed["externalModelEndpointDataBlobs"]["endpoint"]["byteBuffer"] == b"\x00\x01"
    blobs["endpoint"]["byteBuffer"] = "not base64!"
    fault = refused(
        "GetEventPrediction", orjson.dumps(PREDICTION | {"externalModelEndpointDataBlobs": blobs})
    )
    assert fault.code == "SerializationException"


def test_a_message_has_a_bounded_number_of_items_and_shortened_values() -> None:
    many = [{"detectorId": "d", "ruleId": "BAD", "ruleVersion": "01"}] * 2_000
    faults = validator("CreateDetectorVersion")({"detectorId": "d", "rules": many})
    assert len(faults) == FAULTS_MAX
    (fault,) = validator("PutLabel")({"name": "l", "description": "x" * 100_000})
    assert len(fault) < 1_200


def test_floats_keep_their_point_and_members_without_a_value_are_left_out() -> None:
    response = {"modelScores": [{"scores": {"m": 24, "n": 0.5}, "modelVersion": None}], "ruleResults": []}
    assert serialiser("GetEventPrediction")(response) == (
        b'{"modelScores":[{"scores":{"m":24.0,"n":0.5}}],"ruleResults":[]}'
    )
    assert response["modelScores"] == [{"scores": {"m": 24, "n": 0.5}, "modelVersion": None}]


def test_the_text_null_is_not_taken_for_nothing() -> None:
    response = {"labels": [{"name": "null", "description": None}]}
    assert serialiser("GetLabels")(response) == b'{"labels":[{"name":"null"}]}'


def test_what_a_shape_forbids_in_an_answer_is_found() -> None:
    response = {
        "variables": [{"name": 5, "dataType": "DOUBLE", "colour": "red", "arn": None}],
        "nextToken": float("nan"),
    }
    assert sorted(misfits("GetVariables", response)) == [
        ".nextToken is float, not string",
        ".variables.1.arn is NoneType, not string",
        ".variables.1.colour is not in the model",
        ".variables.1.dataType is none of STRING, INTEGER, FLOAT, BOOLEAN, DATETIME",
        ".variables.1.name is int, not string",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(sorted({*PREDICTION, "tags", "rules", "name", "trainingDataSchema", "maxResults"}))


@settings(deadline=None)
@given(
    st.sampled_from(
        ["GetEventPrediction", "SendEvent", "CreateDetectorVersion", "CreateModelVersion", "PutLabel"]
    ),
    st.dictionaries(members, json_values, max_size=4),
)
def test_whatever_json_comes_it_is_clean_or_refused(operation: str, members: dict[str, object]) -> None:
    body = json.dumps(PREDICTION | members).encode()
    try:
        clean = parser(operation)(body)
    except ServiceError as fault:
        assert fault.code in ("ValidationException", "SerializationException")
    else:
        assert validator(operation)(clean) == []


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_whatever_bytes_come_they_are_clean_or_refused(body: bytes) -> None:
    try:
        assert isinstance(parser("GetLabels")(body), dict)
    except ServiceError as fault:
        assert fault.status == 400
