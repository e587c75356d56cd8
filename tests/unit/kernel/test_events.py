from datetime import UTC, datetime

import pytest

from hawksnest.kernel.events import (
    EventFault,
    EventSchema,
    UnknownVariable,
    ValueFault,
    VariableSpec,
    convert,
    default_value,
    numeric,
    parse_datetime_value,
    parse_timestamp,
)


def instant(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2019-11-30T13:01:01Z", instant(2019, 11, 30, 13, 1, 1)),
        ("1969-12-31T23:59:59Z", -1_000),
        ("2020-02-29T00:00:00Z", instant(2020, 2, 29)),
        ("2019-11-30T13:01:01.5Z", instant(2019, 11, 30, 13, 1, 1) + 500),
        ("2019-11-30T13:01:01.123999999Z", instant(2019, 11, 30, 13, 1, 1) + 123),
        ("2019-11-30T13:01:01.000Z", instant(2019, 11, 30, 13, 1, 1)),
        ("2019-11-30T13:01:01", instant(2019, 11, 30, 13, 1, 1)),
        ("2019-11-30T13:01", instant(2019, 11, 30, 13, 1)),
        ("2019-11-30T13:01:01+02:00", instant(2019, 11, 30, 11, 1, 1)),
        ("2019-11-30T13:01:01-0530", instant(2019, 11, 30, 18, 31, 1)),
        ("2019-11-30 13:01:01", instant(2019, 11, 30, 13, 1, 1)),
        ("2019-11-30", instant(2019, 11, 30)),
        ("2019/11/30 1:01:01 PM", instant(2019, 11, 30, 13, 1, 1)),
        ("2019/11/30 13:01:01", instant(2019, 11, 30, 13, 1, 1)),
        ("2019-1-3 9:05", instant(2019, 1, 3, 9, 5)),
        ("11/30/2019 1:01:01 PM", instant(2019, 11, 30, 13, 1, 1)),
        ("11/30/2019 12:00:00 AM", instant(2019, 11, 30)),
        ("11/30/2019 12:00:00 pm", instant(2019, 11, 30, 12)),
        ("11/30/19 13:01:01", instant(2019, 11, 30, 13, 1, 1)),
        ("1-3-99", instant(2099, 1, 3)),
        ("10/8/2019 20:44", instant(2019, 10, 8, 20, 44)),
    ],
)
def test_timestamp_of_every_family_is_read(text: str, wanted: int) -> None:
    assert parse_timestamp(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2019-11-30T13:01:01ZZ",
        "2019-13-30T13:01:01Z",
        "2019-02-29T13:01:01Z",
        "2019-11-30T24:00:00Z",
        "2019-11-30T13:60:01Z",
        "2019-11-30T13:01:60Z",
        "2019-W48-6T13:01:01Z",
        "2019-11-30T130101.0Z",
        "2019-11-30T13:01:01.1234567890Z",
        "2019-11-30T13Z",
        "2019/11/30 13",
        "2019/11/30 13:01:01 PM",
        "2019/11/30 0:01 AM",
        "2019/11/30 13:01:01.5",
        "30/11/2019",
        "2019/11-30",
        "11/30/2019T13:01:01Z",
        "٢٠١٩-11-30",
        "2019-11-30T13:01:01+24:00",
        "1575118861",
        " 2019-11-30",
        "2019-11-30\n",
        "2" * 10_000,
    ],
)
def test_text_that_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_timestamp(text)


def test_datetime_value_takes_one_form_only() -> None:
    assert parse_datetime_value("2019-11-30T13:01:01Z") == instant(2019, 11, 30, 13, 1, 1)
    for text in ("2019-11-30T13:01:01.0Z", "2019-11-30 13:01:01Z", "2019-11-30T13:01:01", "2019-11-30", ""):
        with pytest.raises(ValueError, match="DATETIME"):
            parse_datetime_value(text)


@pytest.mark.parametrize(
    ("text", "data_type", "wanted"),
    [
        ("nan", "STRING", "nan"),
        ("null", "STRING", "null"),
        (str(2**63 - 1), "INTEGER", 2**63 - 1),
        (str(-(2**63)), "INTEGER", -(2**63)),
        ("+007", "INTEGER", 7),
        ("156", "FLOAT", 156.0),
        ("-1.5e3", "FLOAT", -1500.0),
        (".5", "FLOAT", 0.5),
        ("True", "BOOLEAN", True),
        ("fAlSe", "BOOLEAN", False),
        ("1970-01-01T00:00:01Z", "DATETIME", 1000),
    ],
)
def test_text_converts_to_its_data_type(text: str, data_type: str, wanted: object) -> None:
    value = convert(text, data_type)
    assert value == wanted and type(value) is type(wanted)


@pytest.mark.parametrize(
    ("text", "data_type"),
    [
        (str(2**63), "INTEGER"),
        ("1.0", "INTEGER"),
        ("1_0", "INTEGER"),
        (" 1", "INTEGER"),
        ("٣", "INTEGER"),
        ("", "INTEGER"),
        ("9" * 8_192, "INTEGER"),
        ("nan", "FLOAT"),
        ("inf", "FLOAT"),
        ("-Infinity", "FLOAT"),
        ("1e999", "FLOAT"),
        ("1_0", "FLOAT"),
        (" 1", "FLOAT"),
        ("1 ", "FLOAT"),
        ("٣", "FLOAT"),
        ("0x10", "FLOAT"),
        ("", "FLOAT"),
        ("yes", "BOOLEAN"),
        ("1", "BOOLEAN"),
        ("2019-11-30", "DATETIME"),
        ("<null>", "INTEGER"),
    ],
)
def test_text_of_another_type_does_not_convert(text: str, data_type: str) -> None:
    with pytest.raises(ValueError):
        convert(text, data_type)


def test_null_default_means_null_except_for_a_string() -> None:
    assert default_value("<null>", "INTEGER") is None
    assert default_value("<null>", "STRING") == "<null>"
    assert default_value("0.0", "FLOAT") == 0.0
    with pytest.raises(ValueError):
        default_value("<unknown>", "FLOAT")


def test_number_is_recognised_in_any_data_type() -> None:
    assert [numeric(value) for value in ("12.5", " 3 ", "x", "", "nan", None, True, 7)] == [
        12.5, 3.0, None, None, None, None, 1.0, 7.0,
    ]  # fmt: skip


SCHEMA = EventSchema(
    "payment",
    [
        VariableSpec("amount", "STRING", "0", "PRICE"),
        VariableSpec("second_amount", "FLOAT", 5.0, "PRICE"),
        VariableSpec("count", "INTEGER", 3, "NUMERIC"),
        VariableSpec("ip", "STRING", "<unknown>", "IP_ADDRESS"),
        VariableSpec("other_ip", "STRING", "<unknown>", "IP_ADDRESS"),
        VariableSpec("email", "STRING", "", "EMAIL_ADDRESS"),
        VariableSpec("plain", "STRING", "none", None),
    ],
)


def test_absent_value_is_the_default_to_rules_and_missing_to_models() -> None:
    resolved = SCHEMA.resolve({"count": None})
    assert resolved.rule_values == {
        "amount": "0", "second_amount": 5.0, "count": None, "ip": "<unknown>",
        "other_ip": "<unknown>", "email": "", "plain": "none",
    }  # fmt: skip
    assert set(resolved.model_values.values()) == {None} and len(resolved.model_values) == 7
    assert resolved.amount is None and resolved.identities == []


def test_string_null_is_an_ordinary_string() -> None:
    resolved = SCHEMA.resolve({"plain": "null"})
    assert resolved.rule_values["plain"] == "null" == resolved.model_values["plain"]


def test_amount_is_the_first_price_that_is_a_number() -> None:
    assert SCHEMA.resolve({"amount": "12.50", "second_amount": "1"}).amount == 12.5
    assert SCHEMA.resolve({"amount": "twelve", "second_amount": "1"}).amount == 1.0


def test_identities_are_sent_ones_normalised_and_each_once() -> None:
    resolved = SCHEMA.resolve({"ip": "192.0.2.1", "other_ip": " 192.0.2.1", "email": "Ann@Example.COM"})
    assert resolved.identities == [("IP_ADDRESS", "192.0.2.1"), ("EMAIL_ADDRESS", "ann@example.com")]
    assert SCHEMA.resolve({"ip": "unknown", "email": "<unknown>"}).identities == []


def test_value_that_does_not_convert_is_named_with_its_type() -> None:
    with pytest.raises(ValueFault, match="count") as caught:
        SCHEMA.resolve({"count": "x" * 500})
    fault = caught.value
    assert (fault.variable, fault.data_type, fault.value) == ("count", "INTEGER", "x" * 32 + "…")
    assert str(fault) == f'The value "{fault.value}" of variable count can\'t be converted to INTEGER.'


def test_undeclared_variable_is_named_with_its_event_type() -> None:
    with pytest.raises(UnknownVariable, match="Variable colour is not a variable of event type payment"):
        SCHEMA.resolve({"colour": "red"})
    assert issubclass(UnknownVariable, EventFault) and issubclass(ValueFault, EventFault)
