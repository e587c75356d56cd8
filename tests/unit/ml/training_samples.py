"""Made-up training data with a known structure, and specs to train on it."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from hawksnest.ml.spec import ExternalEvents, TrainingSpec, TrainingVariable
from hawksnest.world import iso_s, seeded

START_MS = 1_640_995_200_000  # 2022-01-01
VARIABLES = [
    TrainingVariable("ip", "STRING", "IP_ADDRESS"),
    TrainingVariable("email", "STRING", "EMAIL_ADDRESS"),
    TrainingVariable("amt", "FLOAT", "PRICE"),
    TrainingVariable("country", "STRING", "CATEGORICAL"),
]
Row = dict[str, str]


def registrations(count: int, seed: int = 1, fraud: float = 0.2) -> list[Row]:
    """Rows in order of time. Fraud has higher amounts and comes more often from two of six countries."""
    dice = seeded(seed)
    rows = []
    for number in range(count):
        bad = dice.random() < fraud
        country = dice.choice("AB" if bad and dice.random() < 0.7 else "ABCDEF")
        rows.append(
            {
                "EVENT_TIMESTAMP": iso_s(START_MS + number * 60_000),
                "EVENT_LABEL": "fraud" if bad else "legit",
                "ip": f"198.18.{dice.randrange(256)}.{dice.randrange(256)}",
                "email": f"user{dice.randrange(10 * count)}@example.{dice.choice(['com', 'net', 'org'])}",
                "amt": f"{dice.lognormvariate(5 if bad else 4, 0.6):.2f}",
                "country": country,
            }
        )
    return rows


def changed(rows: Iterable[Row], places: Callable[[int], bool], **texts: str) -> list[Row]:
    """The rows with some texts replaced where `places` says so."""
    return [{**row, **texts} if places(number) else row for number, row in enumerate(rows)]


def spec_for(folder: Path, rows: list[Row] | bytes, **changes: Any) -> TrainingSpec:
    """A spec for these rows (or this raw CSV file) in a bucket below `folder`."""
    bucket = folder / "buckets" / "training"
    bucket.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, bytes):
        (bucket / "data.csv").write_bytes(rows)
    else:
        with (bucket / "data.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    spec = TrainingSpec(
        account="000000000000",
        region="us-east-1",
        model_type="ONLINE_FRAUD_INSIGHTS",
        model_id="m1",
        version="1.0",
        event_type="registration",
        variables=VARIABLES,
        model_variables=[variable.name for variable in VARIABLES],
        fraud_labels=["fraud"],
        legit_labels=["legit"],
        source=ExternalEvents("s3://training/data.csv", str(folder / "buckets"), "", "us-east-1"),
        folder=str(work),
        threads=1,
    )
    return msgspec.structs.replace(spec, **changes)
