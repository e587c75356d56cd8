"""Rows of a CSV file as typed values; label rules."""

from pathlib import Path

import numpy as np
from training_samples import START_MS, VARIABLES, spec_for

from hawksnest.ml.dataset import FRAUD, LEGIT, UNLABELED, Dataset, read_csv, weights_of
from hawksnest.ml.spec import ExternalEvents
from hawksnest.ml.validation import Report

HEADER = "ignored,EVENT_LABEL,country,EVENT_TIMESTAMP,amt,email,ip\r\n"


def read(folder: Path, lines: list[str], encoding: str = "utf-8") -> tuple[Dataset, Report]:
    spec = spec_for(folder, (HEADER + "\r\n".join(lines) + "\r\n").encode(encoding))
    assert isinstance(spec.source, ExternalEvents)
    report = Report()
    return read_csv(spec, spec.source, report, lambda share, text: None), report


def test_columns_may_stand_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    dataset, report = read(tmp_path, ["x,fraud,A,2022-01-01T00:00:00Z,12.5,a@example.org,198.18.0.1"])
    assert [column.variable for column in dataset.columns] == VARIABLES
    assert dataset.times == [START_MS]
    assert dataset.labels == [FRAUD]
    assert dataset.model_values(0) == {
        "ip": "198.18.0.1",
        "email": "a@example.org",
        "amt": 12.5,
        "country": "A",
    }
    assert report.file == report.fields == []


def test_quoted_fields_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    dataset, _ = read(
        tmp_path, ['"a,b",legit,"say ""A"",\r\nB",1/1/2022 12:00:00 AM,1,a@example.org,198.18.0.1']
    )
    assert dataset.model_values(0)["country"] == 'say "A",\r\nB'
    assert dataset.times == [START_MS]


def test_byte_order_mark_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    dataset, _ = read(
        tmp_path, ["", "x,legit,A,2022-01-01T00:00:00Z,1,a@example.org,198.18.0.1", ""], "utf-8-sig"
    )
    assert dataset.labels == [LEGIT]


def test_empty_field_is_missing(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, ["x,legit,,2022-01-01T00:00:00Z,,a@example.org,198.18.0.1"])
    assert dataset.model_values(0)["amt"] is None
    assert dataset.model_values(0)["country"] is None


def treated(treatment: str) -> tuple[list[int], list[float]]:
    labels, weights = weights_of(np.array([FRAUD, LEGIT, UNLABELED], dtype=np.int8), treatment)
    return labels.tolist(), weights.tolist()


def test_unlabelled_events_are_treated_as_asked() -> None:
    assert treated("IGNORE")[1] == [1.0, 1.0, 0.0]
    assert treated("FRAUD") == ([FRAUD, LEGIT, FRAUD], [1.0, 1.0, 1.0])
    assert treated("LEGIT") == ([FRAUD, LEGIT, LEGIT], [1.0, 1.0, 1.0])
    labels, weights = treated("AUTO")
    assert labels == [FRAUD, LEGIT, LEGIT]
    assert 0 < weights[2] < 1
