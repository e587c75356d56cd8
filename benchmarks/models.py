"""Models: seconds of a training from a CSV file and from stored events, microseconds of a score.

python -m benchmarks.models [--rows 60000]
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from hawksnest.kernel.events import EventSchema, VariableSpec
from hawksnest.kernel.windows import EntityStates
from hawksnest.ml import artefact
from hawksnest.ml.spec import ExternalEvents, IngestedEvents, TrainingSpec, TrainingVariable
from hawksnest.ml.training import train
from hawksnest.store.journal import Journal, JournalReader
from hawksnest.store.records import EventKey, EventSent, StoredEvent
from hawksnest.store.states import footprint
from hawksnest.world import iso_s, seeded

START_MS = 1_640_995_200_000
ACCOUNT, REGION = "000000000000", "us-east-1"
VARIABLES = [
    TrainingVariable(name, data_type, variable_type)
    for name, data_type, variable_type in (
        ("ip", "STRING", "IP_ADDRESS"),
        ("email", "STRING", "EMAIL_ADDRESS"),
        ("amount", "FLOAT", "PRICE"),
        ("currency", "STRING", "CURRENCY_CODE"),
        ("bin", "STRING", "CARD_BIN"),
        ("device", "STRING", "FINGERPRINT"),
        ("phone", "STRING", "PHONE_NUMBER"),
        ("street", "STRING", "BILLING_ADDRESS_L1"),
        ("city", "STRING", "BILLING_CITY"),
        ("zip", "STRING", "BILLING_ZIP"),
        ("country", "STRING", "BILLING_COUNTRY"),
        ("category", "STRING", "PRODUCT_CATEGORY"),
        ("merchant", "STRING", "CATEGORICAL"),
        ("items", "INTEGER", "NUMERIC"),
        ("agent", "STRING", "USERAGENT"),
        ("name", "STRING", "BILLING_NAME"),
    )
]


def payment(number: int, payer: int, dice: Any) -> tuple[dict[str, str], str]:
    """Texts of the 16 variables, and the label: bursts of high amounts from few addresses."""
    bad = dice.random() < 0.01
    place = dice.randrange(400) if bad and dice.random() < 0.7 else payer
    return {
        "ip": f"198.18.{place % 250}.{place // 250 % 250}",
        "email": f"payer{payer}@example.{('com', 'net', 'org')[payer % 3]}",
        "amount": f"{dice.lognormvariate(4.5 if bad else 3.5, 1):.2f}",
        "currency": ("USD", "EUR", "GBP")[payer % 3],
        "bin": f"4{payer % 500:05d}",
        "device": f"device-{place}",
        "phone": f"+1555{payer:07d}",
        "street": f"{payer} Sample Street",
        "city": f"City {payer % 300}",
        "zip": f"{payer % 900:05d}",
        "country": ("US", "DE", "GB", "FR")[payer % 4],
        "category": f"category-{dice.randrange(20)}",
        "merchant": f"merchant-{dice.randrange(400)}",
        "items": str(dice.randrange(1, 9)),
        "agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0",
        "name": f"Payer {payer}",
    }, "fraud" if bad else "legit"


def spec_of(folder: Path, model_type: str, source: Any, variables: list[TrainingVariable]) -> TrainingSpec:
    work = folder / model_type
    work.mkdir()
    return TrainingSpec(
        account=ACCOUNT,
        region=REGION,
        model_type=model_type,
        model_id="bench",
        version="1.0",
        event_type="payment",
        variables=variables,
        model_variables=[variable.name for variable in variables],
        fraud_labels=["fraud"],
        legit_labels=["legit"],
        source=source,
        folder=str(work),
    )


def registrations(folder: Path, rows: int) -> TrainingSpec:
    """A CSV file of two variables, and the spec to train on it."""
    dice = seeded(3)
    bucket = folder / "buckets" / "bench"
    bucket.mkdir(parents=True)
    with (bucket / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["EVENT_TIMESTAMP", "EVENT_LABEL", "ip", "email"])
        for number in range(rows):
            bad = dice.random() < 0.05
            net = dice.randrange(65_536) if bad else dice.randrange(800)
            writer.writerow(
                [
                    iso_s(START_MS + number * 60_000),
                    "fraud" if bad else "legit",
                    f"198.{net // 256}.{net % 256}.{dice.randrange(256)}",
                    f"user{dice.randrange(rows)}@example.org",
                ]
            )
    source = ExternalEvents("s3://bench/data.csv", str(folder / "buckets"), "", REGION)
    return spec_of(folder, "ONLINE_FRAUD_INSIGHTS", source, VARIABLES[:2])


def payments(folder: Path, rows: int) -> TrainingSpec:
    """A journal of payments with 16 variables, and the spec to train on it."""
    dice = seeded(4)
    schema = EventSchema(
        "payment", [VariableSpec(each.name, each.data_type, None, each.variable_type) for each in VARIABLES]
    )
    with closing(Journal(folder / "journal")) as journal:
        for number in range(rows):
            payer = dice.randrange(3_000)
            texts, label = payment(number, payer, dice)
            given: dict[str, str | None] = {**texts}
            resolved = schema.resolve(given)
            key = EventKey(ACCOUNT, REGION, "payment", f"e{number}")
            event = StoredEvent(
                key, START_MS + number * 60_000, "", "payer", f"p{payer}", given, resolved.amount,
                resolved.identities, label,
            )  # fmt: skip
            journal.append(EventSent(event))
            if number % 1_000 == 0:
                journal.log.flush()
        journal.log.flush()
    source = IngestedEvents(str(folder), START_MS, START_MS + rows * 60_000)
    return spec_of(folder, "TRANSACTION_FRAUD_INSIGHTS", source, VARIABLES)


def timed_training(spec: TrainingSpec, journal: JournalReader | None = None) -> None:
    began = perf_counter()
    stages: dict[str, float] = {}

    def report(share: float, text: str) -> None:
        stages.setdefault(" ".join(text.split()[:2]), perf_counter() - began)

    outcome = train(spec, report, journal)
    assert outcome.ok, outcome.reason
    auc = outcome.result["trainingResult"]["trainingMetrics"]["auc"]
    print(f"{spec.model_type}: {perf_counter() - began:.1f} s, AUC {auc:.3f}")
    for text, at in stages.items():
        print(f"    {at:6.2f} s  {text} …")


def microseconds(call: Callable[[], Any], count: int = 20_000) -> float:
    best = float("inf")
    for _ in range(5):
        began = process_time()
        for _ in range(count):
            call()
        best = min(best, (process_time() - began) / count * 1e6)
    return best


def timed_score(spec: TrainingSpec, journal: JournalReader) -> None:
    model = artefact.load(Path(spec.folder) / "artefact")
    states = EntityStates()
    for _, record in journal.read():
        assert isinstance(record, EventSent)
        event = record.event
        states.fold(footprint(event))
    schema = EventSchema(
        "payment", [VariableSpec(each.name, each.data_type, None, each.variable_type) for each in VARIABLES]
    )
    values, mark = schema.resolve(event.given).model_values, footprint(event)
    reads = states.read(mark)
    vector = model.plan.vector(values, reads, event.event_at_ms)
    row = model.packed(vector)
    print(f"one event, {len(vector)} features, {model.card['parameters']['trees']} trees:")
    print(f"    {microseconds(lambda: states.read(mark)):6.2f} µs  read of the entity states")
    print(
        f"    {microseconds(lambda: model.plan.vector(values, reads, event.event_at_ms)):6.2f} µs  features"
    )
    print(f"    {microseconds(lambda: model.raw(row)):6.2f} µs  trees")
    print(f"    {microseconds(lambda: model.score(model.packed(vector))):6.2f} µs  trees and calibration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000, help="stored events to train on")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed_training(registrations(folder, 16_000))
        spec = payments(folder, arguments.rows)
        with closing(JournalReader.of(folder / "journal")) as journal:
            timed_training(spec, journal)
            timed_score(spec, journal)


if __name__ == "__main__":
    main()
