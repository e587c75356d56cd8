"""What is wrong with training data, in the words and shapes of `dataValidationMetrics`.

ERROR stops the training, WARNING leaves a variable out, INFO changes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from hawksnest.kernel.events import Value, convert, numeric
from hawksnest.ml.spec import TrainingVariable

ROWS_MIN = 100
CLASS_MIN = 50
ENTITIES_MIN = 100  # entities with fraud, and with legitimate events (TFI)
ENTITIES_ADVISED = 1_500
VARIABLES_MIN = 2
STRAY_LABELS_MAX = 0.01
MISSING_MAX = 0.9
MISSING_MAX_ADDRESS = 0.75  # IP_ADDRESS and EMAIL_ADDRESS
MALFORMED_MAX = 0.5
DISTINCT_MIN = 2
DISTINCT_MIN_ADDRESS = 100  # IP_ADDRESS and EMAIL_ADDRESS
RATE_FACTOR_MAX = 10.0  # between the fraud rates of the older part and of the held-out part

_ADDRESSES = ("IP_ADDRESS", "EMAIL_ADDRESS")
_NUMBERS = ("NUMERIC", "PRICE")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(?:\.[^@\s.]+)+")
_PHONE = re.compile(r"\+?[0-9 ().-]{5,24}(?:x[0-9]+)?")


class Unusable(Exception):
    """The data cannot train a model; `report` says why."""

    def __init__(self, report: "Report") -> None:
        super().__init__(report.reason)
        self.report = report


@dataclass
class Report:
    """Messages in the shapes of the wire."""

    file: list[dict[str, str]] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)

    def file_level(self, kind: str, title: str, content: str) -> None:
        self.file.append({"title": title, "content": content, "type": kind})

    def field_level(self, kind: str, name: str, identifier: str, title: str, content: str) -> None:
        self.fields.append(
            {"fieldName": name, "identifier": identifier, "title": title, "content": content, "type": kind}
        )

    @property
    def reason(self) -> str:
        """The first error's text, empty when there is none."""
        errors = (each for each in (*self.file, *self.fields) if each["type"] == "ERROR")
        return next((f"{each['title']} {each['content']}" for each in errors), "")

    def check(self) -> None:
        """Raise Unusable when there is an error."""
        if self.reason:
            raise Unusable(self)

    def stop(self, title: str, content: str) -> "Unusable":
        """A file-level error, as an exception to raise."""
        self.file_level("ERROR", title, content)
        return Unusable(self)

    def to_json(self) -> dict[str, Any]:
        return {"fileLevelMessages": self.file, "fieldLevelMessages": self.fields}


class Column:
    """Converts the texts of one variable and keeps count of what is odd about them."""

    __slots__ = ("_distinct", "_kind", "_wellformed", "bad", "malformed", "missing", "rows", "variable")

    def __init__(self, variable: TrainingVariable) -> None:
        self.variable = variable
        self.rows = self.missing = self.bad = self.malformed = 0
        self._distinct: set[str] = set()
        self._kind = variable.variable_type or ""
        self._wellformed = _wellformed(self._kind)

    def take(self, text: str | None) -> Value:
        """The typed value of one event; None when missing or not convertible."""
        self.rows += 1
        if text is None or text == "":
            self.missing += 1
            return None
        if len(self._distinct) < DISTINCT_MIN_ADDRESS:
            self._distinct.add(text)
        if self._wellformed is not None and not self._wellformed(text):
            self.malformed += 1
        try:
            value = convert(text, self.variable.data_type)
        except ValueError:
            self.bad += 1
            return None
        if self._kind in _NUMBERS and numeric(value) is None:
            self.bad += 1
            return None
        return value

    def examine(self, report: Report) -> bool:
        """Add this variable's messages; may the variable be used?"""
        name = self.variable.name
        address = self._kind in _ADDRESSES
        if self.bad:
            wanted = "numbers" if self._kind in _NUMBERS else f"{self.variable.data_type} values"
            report.field_level(
                "WARNING",
                name,
                "INCORRECT_DATA_TYPE",
                f"Variable has values that are not {wanted}.",
                f"{self.bad} of {self.rows} values of {name} are not {wanted}; the variable was left out.",
            )
            return False
        missing_max = MISSING_MAX_ADDRESS if address else MISSING_MAX
        if self.missing > missing_max * self.rows:
            report.field_level(
                "WARNING",
                name,
                "MISSING_VALUES",
                "Variable has too many missing values.",
                f"{self.missing} of {self.rows} values of {name} are missing (at most {missing_max:.0%} may "
                "be); the variable was left out.",
            )
            return False
        distinct_min = DISTINCT_MIN_ADDRESS if address else DISTINCT_MIN
        if len(self._distinct) < distinct_min:
            report.field_level(
                "WARNING",
                name,
                "TOO_FEW_UNIQUE_VALUES",
                "Variable has too few unique values.",
                f"{name} has {len(self._distinct)} unique values; at least {distinct_min} are needed. "
                "The variable was left out.",
            )
            return False
        present = self.rows - self.missing
        if self.malformed > MALFORMED_MAX * present:
            report.field_level(
                "INFO",
                name,
                "MALFORMED_VALUES",
                f"Values do not look like {self._kind}.",
                f"{self.malformed} of {present} values of {name} do not have the form of {self._kind}.",
            )
        return True


def usable(columns: Sequence[Column], report: Report) -> list[int]:
    """Places of the columns that can be used. Adds an error when they are fewer than two."""
    kept = [place for place, column in enumerate(columns) if column.examine(report)]
    if len(kept) < VARIABLES_MIN:
        report.file_level(
            "ERROR",
            "Dataset must contain at least 2 variables suitable for training.",
            f"{len(kept)} of {len(columns)} variables can be used; the messages of the others say why not.",
        )
    return kept


def check_labels(stray: int, rows: int, report: Report) -> None:
    """CSV: rows whose label is missing or not mapped. Up to 1 % become legitimate."""
    if stray > STRAY_LABELS_MAX * rows:
        report.field_level(
            "ERROR",
            "EVENT_LABEL",
            "UNKNOWN_LABELS",
            "Too many labels are missing or unknown.",
            f"{stray} of {rows} rows have no label or one that is mapped to neither FRAUD nor LEGIT; "
            f"at most {STRAY_LABELS_MAX:.0%} may.",
        )
    elif stray:
        report.field_level(
            "INFO",
            "EVENT_LABEL",
            "UNKNOWN_LABELS",
            "Some labels are missing or unknown.",
            f"{stray} of {rows} rows have no label or one that is mapped to neither FRAUD nor LEGIT; "
            "they count as legitimate.",
        )


def check_timestamps(bad: int, missing: int, rows: int, report: Report) -> None:
    """Every event needs its instant."""
    for count, identifier, words in (
        (missing, "MISSING_TIMESTAMPS", "have no EVENT_TIMESTAMP"),
        (bad, "INVALID_TIMESTAMPS", "have an EVENT_TIMESTAMP in a format that is not supported"),
    ):
        if count:
            report.field_level(
                "ERROR",
                "EVENT_TIMESTAMP",
                identifier,
                "EVENT_TIMESTAMP is missing or has an unsupported format.",
                f"{count} of {rows} rows {words}; write it like 2019-11-30T13:01:01Z.",
            )


def check_counts(fraud: int, legit: int, report: Report) -> None:
    """Enough events, and enough of both kinds."""
    if fraud + legit < ROWS_MIN:
        report.file_level(
            "ERROR",
            f"Fewer than {ROWS_MIN} rows in the training data.",
            f"There are {fraud + legit} rows with a usable label; at least {ROWS_MIN} are needed.",
        )
    for count, word in ((fraud, "fraudulent"), (legit, "legitimate")):
        if count < CLASS_MIN:
            report.file_level(
                "ERROR",
                f"Fewer than {CLASS_MIN} rows are labeled as {word} events.",
                f"There are {count}; at least {CLASS_MIN} are needed.",
            )


def check_entities(fraud: int, legit: int, entities: int, report: Report) -> None:
    """TFI: enough different entities."""
    for count, word in ((fraud, "fraudulent"), (legit, "legitimate")):
        if count < ENTITIES_MIN:
            report.file_level(
                "ERROR",
                f"Fewer than {ENTITIES_MIN} entities have {word} events.",
                f"{count} different entities have {word} events; at least {ENTITIES_MIN} are needed.",
            )
    if entities < ENTITIES_ADVISED:
        report.file_level(
            "INFO",
            f"Fewer than {ENTITIES_ADVISED} unique entities.",
            f"There are {entities} different entities; models learn entity behaviour better from "
            f"{ENTITIES_ADVISED} or more.",
        )


def check_split(older: tuple[int, int], newest: tuple[int, int], report: Report) -> None:
    """(fraud, legit) of the part to train on and of the newest part, held out to measure."""
    rates = [(fraud + 1) / (fraud + legit + 2) for fraud, legit in (older, newest)]
    if 0 in (*older, *newest) or max(rates) > RATE_FACTOR_MAX * min(rates):
        report.file_level(
            "ERROR",
            "The fraud distribution across time is unacceptably fluctuant. Cannot split dataset properly.",
            f"The older part has {older[0]} fraudulent and {older[1]} legitimate events, the newest part "
            f"(held out to measure the model) {newest[0]} and {newest[1]}.",
        )


def _ip(text: str) -> bool:
    try:
        ip_address(text.strip().partition("%")[0])
    except ValueError:
        return False
    return True


def _email(text: str) -> bool:
    return _EMAIL.fullmatch(text.strip()) is not None


def _phone(text: str) -> bool:
    return _PHONE.fullmatch(text.strip()) is not None


def _wellformed(variable_type: str) -> Any:
    """The test of a variable type's form, None for types of any form."""
    if variable_type == "IP_ADDRESS":
        return _ip
    if variable_type == "EMAIL_ADDRESS":
        return _email
    return _phone if variable_type in ("PHONE_NUMBER", "BILLING_PHONE", "SHIPPING_PHONE") else None
