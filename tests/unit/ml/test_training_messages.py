"""What is wrong with training data is said in the words of `dataValidationMetrics`."""

from pathlib import Path
from typing import Any

import pytest
from training_samples import VARIABLES, Row, changed, registrations, spec_for

from hawksnest.ml.spec import ExternalEvents, TrainingVariable
from hawksnest.ml.training import train

EXTRA = TrainingVariable("extra", "STRING", "CATEGORICAL")


def messages(folder: Path, rows: list[Row] | bytes, **changes: Any) -> tuple[list[str], bool]:
    """`TYPE field: title` of each message, and whether there is a model."""
    outcome = train(spec_for(folder, rows, **changes), lambda share, text: None)
    for result in outcome.result.values():
        found = result["dataValidationMetrics"]
    told = [f"{each['type']} file: {each['title']}" for each in found["fileLevelMessages"]]
    told += [
        f"{each['type']} {each['fieldName']}: {each['identifier']}" for each in found["fieldLevelMessages"]
    ]
    assert outcome.ok == (not any(each.startswith("ERROR") for each in told))
    assert outcome.ok or outcome.reason
    assert all(each["content"] and each["title"] for each in found["fileLevelMessages"])
    return told, outcome.ok


def with_extra(rows: list[Row], text: Any) -> dict[str, Any]:
    """Arguments of `messages` for rows with one more variable."""
    return {
        "rows": [{**row, "extra": text(number)} for number, row in enumerate(rows)],
        "variables": [*VARIABLES, EXTRA],
        "model_variables": [*(each.name for each in VARIABLES), "extra"],
    }


def test_good_data_gives_no_message(tmp_path: Path) -> None:
    assert messages(tmp_path, registrations(400)) == ([], True)


def test_fewer_than_a_hundred_rows(tmp_path: Path) -> None:
    told, _ = messages(tmp_path, registrations(99, fraud=0.5))
    assert "ERROR file: Fewer than 100 rows in the training data." in told


def test_fewer_than_fifty_frauds(tmp_path: Path) -> None:
    rows = changed(registrations(400), lambda place: place >= 100, EVENT_LABEL="legit")
    told, _ = messages(tmp_path, rows)
    assert told == ["ERROR file: Fewer than 50 rows are labeled as fraudulent events."]


def test_fewer_than_fifty_legitimate_events(tmp_path: Path) -> None:
    rows = changed(registrations(400, fraud=0.0), lambda place: place >= 40, EVENT_LABEL="fraud")
    told, _ = messages(tmp_path, rows)
    assert told == ["ERROR file: Fewer than 50 rows are labeled as legitimate events."]


def test_fraud_only_in_the_older_part_cannot_be_split(tmp_path: Path) -> None:
    rows = changed(registrations(600), lambda place: place >= 480, EVENT_LABEL="legit")
    told, _ = messages(tmp_path, rows)
    assert told == [
        "ERROR file: The fraud distribution across time is unacceptably fluctuant. "
        "Cannot split dataset properly."
    ]


@pytest.mark.parametrize("label", ["", "unheard-of"])
def test_up_to_one_percent_of_stray_labels_become_legitimate(tmp_path: Path, label: str) -> None:
    rows = changed(registrations(400), lambda place: place % 100 == 0, EVENT_LABEL=label)
    assert messages(tmp_path, rows) == (["INFO EVENT_LABEL: UNKNOWN_LABELS"], True)


@pytest.mark.parametrize("label", ["", "unheard-of"])
def test_more_than_one_percent_of_stray_labels_is_an_error(tmp_path: Path, label: str) -> None:
    rows = changed(registrations(400), lambda place: place % 80 == 0, EVENT_LABEL=label)
    assert messages(tmp_path, rows) == (["ERROR EVENT_LABEL: UNKNOWN_LABELS"], False)


@pytest.mark.parametrize(
    ("text", "identifier"), [("", "MISSING_TIMESTAMPS"), ("31/12/2022", "INVALID_TIMESTAMPS")]
)
def test_event_without_a_usable_timestamp_is_an_error(tmp_path: Path, text: str, identifier: str) -> None:
    rows = changed(registrations(400), lambda place: place == 7, EVENT_TIMESTAMP=text)
    assert messages(tmp_path, rows) == ([f"ERROR EVENT_TIMESTAMP: {identifier}"], False)


def test_number_that_is_none_leaves_the_variable_out(tmp_path: Path) -> None:
    rows = changed(registrations(400), lambda place: place == 7, amt="a lot")
    assert messages(tmp_path, rows) == (["WARNING amt: INCORRECT_DATA_TYPE"], True)


def test_price_in_a_text_variable_must_be_a_number_too(tmp_path: Path) -> None:
    variables = [
        TrainingVariable("amt", "STRING", "PRICE") if each.name == "amt" else each for each in VARIABLES
    ]
    rows = changed(registrations(400), lambda place: place == 7, amt="n/a")
    assert messages(tmp_path, rows, variables=variables) == (["WARNING amt: INCORRECT_DATA_TYPE"], True)
    assert messages(tmp_path, registrations(400), variables=variables) == ([], True)


def test_variable_that_is_mostly_missing_is_left_out(tmp_path: Path) -> None:
    few = with_extra(registrations(400), lambda number: "abc"[number % 3] if number % 20 == 0 else "")
    assert messages(tmp_path, **few) == (["WARNING extra: MISSING_VALUES"], True)


def test_address_may_be_missing_less_often_than_others(tmp_path: Path) -> None:
    rows = changed(registrations(800), lambda place: place % 5 != 0, ip="", country="")
    assert messages(tmp_path, rows) == (["WARNING ip: MISSING_VALUES"], True)


def test_variable_with_one_value_is_left_out(tmp_path: Path) -> None:
    same = with_extra(registrations(400), lambda number: "same")
    assert messages(tmp_path, **same) == (["WARNING extra: TOO_FEW_UNIQUE_VALUES"], True)


def test_few_different_addresses_are_left_out(tmp_path: Path) -> None:
    rows = [{**row, "ip": f"198.18.0.{number % 99}"} for number, row in enumerate(registrations(400))]
    assert messages(tmp_path, rows) == (["WARNING ip: TOO_FEW_UNIQUE_VALUES"], True)
    rows = [{**row, "ip": f"198.18.0.{number % 100}"} for number, row in enumerate(registrations(400))]
    assert messages(tmp_path, rows) == ([], True)


def test_addresses_that_are_mostly_malformed_are_mentioned(tmp_path: Path) -> None:
    rows = [
        {**row, "ip": f"host{number}", "email": f"user{number}"}
        for number, row in enumerate(registrations(400))
    ]
    assert messages(tmp_path, rows) == (["INFO ip: MALFORMED_VALUES", "INFO email: MALFORMED_VALUES"], True)


def test_phone_numbers_that_are_mostly_malformed_are_mentioned(tmp_path: Path) -> None:
    phone = TrainingVariable("extra", "STRING", "PHONE_NUMBER")
    sample = with_extra(registrations(400), lambda number: f"call me {number}")
    sample["variables"] = [*VARIABLES, phone]
    assert messages(tmp_path, **sample) == (["INFO extra: MALFORMED_VALUES"], True)
    sample = with_extra(registrations(400), lambda number: f"+1 555-010-{number:04d}")
    sample["variables"] = [*VARIABLES, phone]
    assert messages(tmp_path, **sample) == ([], True)


def test_fewer_than_two_usable_variables(tmp_path: Path) -> None:
    rows = changed(registrations(400), lambda place: place == 7, amt="a lot")
    told, _ = messages(tmp_path, rows, model_variables=["amt", "country"])
    assert told == [
        "ERROR file: Dataset must contain at least 2 variables suitable for training.",
        "WARNING amt: INCORRECT_DATA_TYPE",
    ]


def test_header_without_a_wanted_column(tmp_path: Path) -> None:
    rows = [{name: text for name, text in row.items() if name != "ip"} for row in registrations(200)]
    assert messages(tmp_path, rows) == (["ERROR file: The file lacks columns."], False)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_empty_file(tmp_path: Path, content: bytes) -> None:
    assert messages(tmp_path, content) == (["ERROR file: The file lacks columns."], False)


HEADER = b"EVENT_TIMESTAMP,EVENT_LABEL,ip,email,amt,country\n"


def test_file_that_is_not_utf_8(tmp_path: Path) -> None:
    content = HEADER + "2022-01-01T00:00:00Z,legit,1.1.1.1,a@b.example,1,Österreich\n".encode("latin-1")
    assert messages(tmp_path, content) == (["ERROR file: The file is not UTF-8."], False)


@pytest.mark.parametrize(
    "line", [b"2022-01-01T00:00:00Z,legit\n", b'2022-01-01T00:00:00Z,legit,"a"b,c,1,d\n']
)
def test_file_that_is_no_csv(tmp_path: Path, line: bytes) -> None:
    assert messages(tmp_path, HEADER + line) == (["ERROR file: The file is not a valid CSV file."], False)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    source = ExternalEvents("s3://training/none.csv", str(tmp_path / "buckets"), "", "us-east-1")
    told = messages(tmp_path, registrations(200), source=source)
    assert told == (["ERROR file: The file cannot be read."], False)


def test_account_takeover_is_refused_with_a_reason(tmp_path: Path) -> None:
    told, _ = messages(tmp_path, registrations(400), model_type="ACCOUNT_TAKEOVER_INSIGHTS")
    assert told == ["ERROR file: ACCOUNT_TAKEOVER_INSIGHTS is not available in this version of Hawksnest."]
