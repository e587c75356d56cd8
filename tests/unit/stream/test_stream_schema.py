"""Record layouts and mappings."""

import json
from pathlib import Path

import msgspec
import pytest

from hawksnest.errors import Poison, UsageError
from hawksnest.stream.mapping import Mapping, load_mapping
from hawksnest.stream.ports import StreamRecord
from hawksnest.stream.schema import (
    MEMBERS,
    dead_letter,
    dead_letter_of,
    decided_record,
    decision_of,
    instant_ms,
    members_of,
    payment_of,
    shown,
    text_of,
)

PRODUCER_RECORD = (
    b'{"transaction_amt": 12.10, "ip_address": "192.0.2.1", "email_address": "a@example.com", '
    b'"transaction_currency": "uSd", "event_id": "5f0a", "entity_id": "269-37-3393", '
    b'"event_time": "2021-05-21T07:12:54.03265", "billing_longitude": "-79.3758", "billing_state": "NY", '
    b'"user_agent": "Mozilla/5.0", "billing_street": "1 \\u00c4 St", "billing_city": "Hull", '
    b'"card_bin": "304027", "customer_name": "Ann", "product_category": "home", '
    b'"customer_job": "Clerk, senior", "phone": "555", '
    b'"billing_latitude": "42.3", "billing_zip": "1234", "channel": {"x": [1, 2.50]}}'
)
AT_MS = 1_621_581_174_032


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-05-21T07:12:54", 1_621_581_174_000),
        ("2021-05-21 07:12:54", 1_621_581_174_000),
        ("2021-05-21T07:12:54.", 1_621_581_174_000),
        ("2021-05-21T07:12:54.0", 1_621_581_174_000),
        ("2021-05-21T07:12:54.03265", AT_MS),
        ("2021-05-21T07:12:54.032654321", AT_MS),
        ("2021-05-21T07:12:54.032Z", AT_MS),
        ("2021-05-21t07:12:54.032z", AT_MS),
        ("2021-05-21T09:12:54.032+02:00", AT_MS),
        ("2021-05-21T09:12:54.032+0200", AT_MS),
        ("2021-05-21T09:12:54.032 +02", AT_MS),
        ("2021-05-21T02:42:54.032-04:30", AT_MS),
        ("1969-12-31T23:59:59.999", -1),
    ],
)
def test_event_times_in_every_accepted_form(text: str, expected: int) -> None:
    assert instant_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2021-05-21",
        "2021-05-21T07:12",
        "2021-13-01T00:00:00",
        "2021-02-30T00:00:00",
        "2021-05-21T24:00:00",
        "2021-05-21T07:12:60",
        "2021-05-21T07:12:54.0123456789",
        "2021-05-21T07:12:54+25:00",
        "٢٠٢١-05-21T07:12:54",
        "0000-01-01T00:00:00",
        "2021-05-21T07:12:54Z ",
        "now",
    ],
)
def test_what_is_no_event_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        instant_ms(text)


def test_the_reference_record_becomes_the_documented_request() -> None:
    prepared = Mapping().prepare(members_of(PRODUCER_RECORD))
    assert prepared.request == {
        "detectorId": "transaction_fraud_detector",
        "eventTypeName": "transaction_event",
        "eventId": "5f0a",
        "entities": [{"entityType": "customer", "entityId": "269-37-3393"}],
        "eventTimestamp": "2021-05-21T07:12:54Z",
        "eventVariables": {
            "order_price": "12.10",
            "customer_email": "a@example.com",
            "ip_address": "192.0.2.1",
            "payment_currency": "uSd",
            "billing_longitude": "-79.3758",
            "billing_latitude": "42.3",
            "billing_zip": "1234",
            "billing_state": "NY",
            "billing_street": "1 Ä St",
            "billing_city": "Hull",
            "user_agent": "Mozilla/5.0",
            "card_bin": "304027",
            "customer_name": "Ann",
            "product_category": "home",
            "customer_job": "Clerk, senior",
            "phone": "555",
        },
    }
    assert "detectorVersionId" not in prepared.request


def test_the_output_keeps_texts_and_order_and_adds_fd_last() -> None:
    mapping = Mapping()
    prepared = mapping.prepare(members_of(PRODUCER_RECORD))
    response = {
        "modelScores": [{"modelVersion": {}, "scores": {"m_insightscore": 987.5}}],
        "ruleResults": [
            {"ruleId": "high", "outcomes": ["review", "block"]},
            {"ruleId": "late", "outcomes": ["block"]},
        ],
    }
    decision = decision_of(response, "3", AT_MS, AT_MS + 40, AT_MS + 47)
    value = decided_record(prepared.members, mapping.canonical(prepared), decision)
    out = json.loads(value)
    assert list(out) == [*MEMBERS, "channel", "fd"]
    assert list(out["fd"])[:4] == ["ttdf", "outcome", "proc_time", "frauddetector_time"]
    assert out["fd"] == {
        "ttdf": 47,
        "outcome": "review",
        "proc_time": 40,
        "frauddetector_time": 7,
        "outcomes": ["review", "block"],
        "rules": [
            {"rule_id": "high", "outcomes": ["review", "block"]},
            {"rule_id": "late", "outcomes": ["block"]},
        ],
        "scores": {"m_insightscore": 987.5},
        "detector_version": "3",
    }
    assert b'"transaction_amt":12.10,' in value
    assert b'"channel":{"x": [1, 2.50]}' in value
    assert b'"event_time":"2021-05-21T07:12:54.03265"' in value
    assert b'"transaction_currency":"uSd"' in value
    assert shown(payment_of(value).transaction_amt) == "12.10"


def test_no_matched_rule_gives_a_null_outcome_and_clock_skew_gives_zero() -> None:
    decision = decision_of({"modelScores": [], "ruleResults": []}, "1", 5_000, 4_000, 4_007)
    assert decision.outcome is None
    assert decision.outcomes == []
    assert (decision.proc_time, decision.ttdf, decision.frauddetector_time) == (0, 0, 7)


def test_optional_members_that_are_null_or_missing_are_left_out() -> None:
    record = json.loads(PRODUCER_RECORD)
    record["phone"] = None
    record["billing_zip"] = ""
    del record["card_bin"]
    variables = Mapping().prepare(members_of(json.dumps(record).encode())).request["eventVariables"]
    assert not {"phone", "billing_zip", "card_bin"} & set(variables)


@pytest.mark.parametrize(
    "member",
    [
        "event_id",
        "entity_id",
        "event_time",
        "transaction_amt",
        "email_address",
        "ip_address",
        "transaction_currency",
    ],
)
@pytest.mark.parametrize("value", [None, "", ...])
def test_a_missing_mandatory_member_is_named(member: str, value: object) -> None:
    record = json.loads(PRODUCER_RECORD)
    if value is ...:
        del record[member]
    else:
        record[member] = value
    with pytest.raises(Poison, match=f"Member {member} is missing") as caught:
        Mapping().prepare(members_of(json.dumps(record).encode()))
    assert caught.value.code == "MissingMember"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b"[" * 5000,
        b"{} {}",
    ],
)
def test_what_is_no_json_object_is_poison(value: bytes) -> None:
    with pytest.raises(Poison) as caught:
        members_of(value)
    assert caught.value.code == "MalformedRecord"


def test_numbers_and_booleans_become_the_text_they_were_written_as() -> None:
    members = members_of(b'{"a": 1.50, "b": true, "c": -0, "d": 12345678901234567890, "e": "\\u0041"}')
    assert [text_of(members, name) for name in "abcde"] == ["1.50", "true", "-0", "12345678901234567890", "A"]


def test_an_object_where_text_belongs_is_poison() -> None:
    with pytest.raises(Poison, match="object or a list"):
        text_of(members_of(b'{"a": {}}'), "a")


def test_a_value_over_the_limit_of_the_api_is_poison() -> None:
    record = json.loads(PRODUCER_RECORD) | {"user_agent": "x" * 8192}
    Mapping().prepare(members_of(json.dumps(record).encode()))
    record["user_agent"] += "x"
    with pytest.raises(Poison, match="8193 characters"):
        Mapping().prepare(members_of(json.dumps(record).encode()))


def test_a_dead_letter_holds_the_original_bytes_and_their_place() -> None:
    record = StreamRecord("transactions", 2, 41, b"k\xff", b"\x00soup", 1_621_581_174_032)
    letter = json.loads(dead_letter(record, Poison("Code", "why"), 1_621_581_175_000))
    assert letter == {
        "topic": "transactions",
        "partition": 2,
        "offset": 41,
        "produced_at": "2021-05-21T07:12:54.032Z",
        "time": "2021-05-21T07:12:55.000Z",
        "code": "Code",
        "reason": "why",
        "key": "a/8=",
        "value": "AHNvdXA=",
        "value_bytes": 5,
    }
    assert dead_letter_of(msgspec.json.encode(letter)).offset == 41


MAPPING = """
[pipeline]
detector = "d"
event_type = "e"
entity_type = "user"
input_topic = "in"

[record]
event_id = "EVENT_ID"
entity_id = "ENTITY_ID"
event_time = "EVENT_TIMESTAMP"
amount = "amt"
label = "EVENT_LABEL"
mandatory = ["amt"]
omit = ["LABEL_TIMESTAMP"]

[variables]
order_price = "amt"
cat = "category"

[constants]
payment_currency = "usd"
"""


def write(folder: Path, text: str, name: str = "map.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_toml_mapping_reads_another_layout(tmp_path: Path) -> None:
    mapping = load_mapping(write(tmp_path, MAPPING))
    assert (mapping.dead_letters, mapping.truth_topic) == ("in_dead_letter", "in_truth")
    record = b'{"EVENT_ID": 7, "ENTITY_ID": "u", "EVENT_TIMESTAMP": "2021-05-21T07:12:54Z", "amt": 1.0}'
    prepared = mapping.prepare(members_of(record))
    assert prepared.request["eventVariables"] == {"payment_currency": "usd", "order_price": "1.0"}
    out = decided_record(
        prepared.members, mapping.canonical(prepared), decision_of({}, "1", prepared.event_at_ms, 0, 0)
    )
    payment = payment_of(out)
    assert (payment.event_id, payment.entity_id, shown(payment.transaction_amt)) == ("7", "u", "1.0")
    assert b'"EVENT_ID":7' in out


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("epoch_s", "1621581174.032", AT_MS),
        ("epoch_ms", "1621581174032", AT_MS),
        ("%d.%m.%Y %H:%M:%S", "21.05.2021 07:12:54", AT_MS - 32),
        ("%Y-%m-%d %H:%M %z", "2021-05-21 09:12 +0200", AT_MS - 54_032),
    ],
)
def test_other_forms_of_time(tmp_path: Path, form: str, text: str, expected: int) -> None:
    mapping = load_mapping(write(tmp_path, f'[record]\ntime_format = "{form}"\n[variables]\na = "a"\n'))
    assert mapping.event_at_ms(text) == expected
    with pytest.raises(Poison, match="no time"):
        mapping.event_at_ms("x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pipelin]", "did you mean pipeline"),
        ('[pipeline]\ndetektor = "d"', "did you mean detector"),
        ("[pipeline]\ndetector = 7", "detector in .pipeline. must be text"),
        ("[record]\nevent_id = 'a'", "variables. is empty"),
        ("[record]\nmandatory = 'a'\n[variables]\na = 'a'", "must be a list"),
        ("[variables]\na = 1", "must be text"),
        ("not toml", "not valid"),
    ],
)
def test_a_wrong_mapping_is_one_clear_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_mapping(write(tmp_path, text))
    with pytest.raises(UsageError, match="Cannot read"):
        load_mapping(tmp_path / "missing.toml")


def test_property_groups_are_found_by_id_whatever_their_place(tmp_path: Path) -> None:
    groups = [
        {"PropertyGroupId": "consumer.config.0", "PropertyMap": {"output.topic.name": "out"}},
        {"PropertyGroupId": "kinesis.analytics.flink.run.options", "PropertyMap": {"python": "x.py"}},
        {
            "PropertyGroupId": "producer.config.0",
            "PropertyMap": {
                "input.topic.name": "in",
                "aws.region": "eu-west-1",
                "bootstrap.servers": "b:9094",
                "frauddetector.name": "d",
                "frauddetector.event.name": "e",
                "frauddetector.entity.type": "t",
            },
        },
    ]
    mapping = load_mapping(write(tmp_path, json.dumps(groups), "application_properties.json"))
    assert mapping == Mapping("d", "e", "t", "in", "out", "", "eu-west-1", "b:9094")
    with pytest.raises(UsageError, match=r"producer\.config\.0 is missing"):
        load_mapping(write(tmp_path, json.dumps(groups[:1]), "application_properties.json"))
    with pytest.raises(UsageError, match="list of property groups"):
        load_mapping(write(tmp_path, "{}", "application_properties.json"))
