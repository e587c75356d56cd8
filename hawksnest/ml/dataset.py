"""Training data: events with typed values and labels, from a CSV file or from the journal.

Rows keep their order of arrival; `Dataset.vectors` computes features with the aggregates as they stood when
each event arrived, the same way as a decision does.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from hawksnest.buckets import Buckets
from hawksnest.errors import ServiceError, Transient
from hawksnest.kernel.events import Value, VariableSpec, parse_timestamp
from hawksnest.ml.spec import ExternalEvents, TrainingSpec
from hawksnest.ml.validation import Column, Report, check_labels, check_timestamps

ROWS_MAX = 2_000_000  # more do not fit into memory; a training on so many is refused, not thinned silently
FIELD_MAX = 1 << 20  # characters of one CSV field
REPORT_EVERY = 5_000  # rows between two progress reports

FRAUD, LEGIT, UNLABELED = 1, 0, -1
UNLABELED_WEIGHT = 0.25  # of an unlabelled event under AUTO

Tell = Callable[[float, str], None]
"""Progress: share 0..1 of the current step, and what it is doing."""


@dataclass
class Dataset:
    """Rows in order of arrival. `labels`: FRAUD, LEGIT or UNLABELED; `values` in the order of `columns`."""

    columns: list[Column]
    times: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    values: list[tuple[Value, ...]] = field(default_factory=list)
    entities: list[str | None] = field(default_factory=list)  # stored events only

    def add(self, at_ms: int, label: int, texts: Mapping[str, str | None]) -> None:
        """One event; texts of absent variables may be left out."""
        self.times.append(at_ms)
        self.labels.append(label)
        self.values.append(tuple(column.take(texts.get(column.variable.name)) for column in self.columns))

    def keep(self, places: list[int]) -> None:
        """Leave out all columns but these."""
        self.columns = [self.columns[place] for place in places]
        self.values = [tuple(row[place] for place in places) for row in self.values]

    def model_values(self, row: int) -> dict[str, Value]:
        """What a feature plan takes of one event."""
        return {
            column.variable.name: value for column, value in zip(self.columns, self.values[row], strict=True)
        }

    def specs(self) -> list[VariableSpec]:
        """The columns as the feature plan knows them."""
        return [
            VariableSpec(each.name, each.data_type, None, each.variable_type)
            for each in (column.variable for column in self.columns)
        ]


def columns_of(spec: TrainingSpec) -> list[Column]:
    """The model's variables, in the order the caller gave them."""
    known = {variable.name: variable for variable in spec.variables}
    return [Column(known[name]) for name in spec.model_variables]


class LabelMap:
    """The caller's label names as FRAUD and LEGIT."""

    def __init__(self, spec: TrainingSpec) -> None:
        self._known = dict.fromkeys(spec.legit_labels, LEGIT) | dict.fromkeys(spec.fraud_labels, FRAUD)

    def __call__(self, name: str | None) -> int:
        return UNLABELED if name is None else self._known.get(name, UNLABELED)


def read_csv(spec: TrainingSpec, source: ExternalEvents, report: Report, tell: Tell) -> Dataset:
    """The rows of a CSV file; problems go into `report`, and raise Unusable when nothing can be read."""
    dataset = Dataset(columns_of(spec))
    try:
        with (
            Buckets(Path(source.buckets), source.s3_endpoint, source.region).open(source.uri) as stream,
            io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
        ):
            _read_rows(spec, dataset, text, report, tell)
    except UnicodeDecodeError:
        raise report.stop(
            "The file is not UTF-8.", f"{source.uri} has bytes that are no UTF-8 text."
        ) from None
    except csv.Error as error:
        raise report.stop("The file is not a valid CSV file.", f"{source.uri}: {error}.") from None
    except (ServiceError, Transient) as error:
        raise report.stop("The file cannot be read.", str(error)) from None
    return dataset


def _read_rows(spec: TrainingSpec, dataset: Dataset, text: TextIO, report: Report, tell: Tell) -> None:
    csv.field_size_limit(FIELD_MAX)
    reader = csv.reader(text, strict=True)
    header = next(reader, [])
    assert isinstance(spec.source, ExternalEvents)
    fixed = [spec.source.time_column, spec.source.label_column]
    wanted = [*fixed, *spec.model_variables]
    absent = [name for name in wanted if name not in header]
    if absent:
        raise report.stop(
            "The file lacks columns.",
            f"The header must name {', '.join(fixed)} and all model variables; missing: {', '.join(absent)}.",
        )
    time_place, label_place, *places = (header.index(name) for name in wanted)
    label_of = LabelMap(spec)
    columns = dataset.columns
    stray = bad = missing = 0
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise report.stop(
                "The file is not a valid CSV file.",
                f"Line {reader.line_num} has {len(row)} fields, the header {len(header)}.",
            )
        at_ms = 0
        if row[time_place] == "":
            missing += 1
        else:
            try:
                at_ms = parse_timestamp(row[time_place])
            except ValueError:
                bad += 1
        label = label_of(row[label_place])
        if label == UNLABELED:
            stray += 1
            label = LEGIT
        dataset.times.append(at_ms)
        dataset.labels.append(label)
        dataset.values.append(
            tuple(column.take(row[place]) for column, place in zip(columns, places, strict=True))
        )
        if len(dataset.times) % REPORT_EVERY == 0:
            tell(0.0, f"read {len(dataset.times):,} rows")
            check_rows(dataset, report)
    check_timestamps(bad, missing, len(dataset.times), report)
    check_labels(stray, len(dataset.times), report)


def check_rows(dataset: Dataset, report: Report) -> None:
    """Raise Unusable when there are more rows than a training takes."""
    if len(dataset.times) > ROWS_MAX:
        raise report.stop(
            "Too many rows.", f"A training takes at most {ROWS_MAX:,} events; choose a shorter period."
        )


def weights_of(labels: NDArray[np.int8], treatment: str) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Labels to learn from and their weights, by the treatment of unlabelled events (0: leave out).

    AUTO takes unlabelled events for legitimate with a low weight: most are, and what a labelled fraud teaches
    outweighs an unlabelled twin.
    """
    unlabeled = labels == UNLABELED
    weight = {"IGNORE": 0.0, "AUTO": UNLABELED_WEIGHT}.get(treatment, 1.0)
    learned = np.where(unlabeled, FRAUD if treatment == "FRAUD" else LEGIT, labels).astype(np.int8)
    return learned, np.where(unlabeled, weight, 1.0)
