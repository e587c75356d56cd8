"""The store's costs: journal append and flush, recovery, what is known of an event id, catalogue reads.

`python -m benchmarks.journal [RECORDS]`; prints one line a figure and returns them as a dictionary.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hawksnest.catalog import Tenant, Variable
from hawksnest.kernel.windows import EntityStates
from hawksnest.log import SegmentLog
from hawksnest.store.journal import Journal
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.ports import PredictionQuery
from hawksnest.store.records import EventKey, ModelScore, Predicted, RuleTrace, StoredEvent
from hawksnest.store.sqlite import Database, SqliteCatalog
from hawksnest.store.states import replay_states

HERE = Tenant("000000000000", "us-east-1")
RECORDS = 50_000
FLUSHES = 1_000
GIVEN: dict[str, str | None] = {f"variable_{number}": f"value {number}" for number in range(16)}
SCORES = [ModelScore("TRANSACTION_FRAUD_INSIGHTS", "model", "1.0", 512.0, bytes(60 * 8))]
TRACE = [RuleTrace(f"rule_{number}", "1", 1) for number in range(20)]


def prediction(number: int) -> Predicted:
    """One decision with 16 variables, one model of 60 features and 20 rules."""
    key = EventKey(*HERE, "payment", f"event-{number:09d}")
    identities = [
        ("IP_ADDRESS", f"192.0.2.{number % 256}"),
        ("EMAIL_ADDRESS", f"u{number % 5000}@example.com"),
    ]
    event = StoredEvent(
        key, number, "2024-01-01T00:00:00Z", "customer", f"c{number % 5000}", GIVEN, 12.5, identities
    )
    values: dict[str, str | int | float | bool | None] = {**GIVEN, "model_insightscore": 512.0}
    return Predicted(
        event,
        True,
        number,
        "detector",
        "1",
        "FIRST_MATCHED",
        values,
        SCORES,
        TRACE,
        [("rule_1", ["ok"])],
        {},
        7,
    )


def per_call_us(call: Callable[[], object], times: int) -> float:
    """Microseconds of wall time a call."""
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times * 1e6


def appends(folder: Path) -> dict[str, float]:
    """Wall and CPU time of a record at 1, 8 and 32 records a flush."""
    figures: dict[str, float] = {}
    payload = os.urandom(1_200)
    for size in (1, 8, 32):
        log = SegmentLog(folder / f"log{size}")
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(FLUSHES):
            for _ in range(size):
                log.append(payload)
            log.flush()
        count = FLUSHES * size
        figures[f"append + flush, {size} a flush, wall us a record"] = (
            (time.perf_counter() - wall) / count * 1e6
        )
        figures[f"append + flush, {size} a flush, CPU us a record"] = (
            (time.process_time() - cpu) / count * 1e6
        )
        log.close()
    return figures


def ledger_costs(folder: Path, records: int) -> dict[str, float]:
    """A whole ledger: append, project, know, list, recover."""
    figures: dict[str, float] = {}
    made = [prediction(number) for number in range(records)]
    database = Database(folder / "hawksnest.sqlite")
    ledger = JournalLedger(database, Journal(folder / "journal"))
    cpu = time.process_time()
    for number, record in enumerate(made):
        with ledger.turn:
            ledger.known(record.event.key)
            ledger.append(record)
        if number % 16 == 15:
            ledger.flush()
    ledger.flush()
    figures["known + append + flush, 16 a flush, CPU us a record"] = (
        (time.process_time() - cpu) / records * 1e6
    )
    cpu = time.process_time()
    ledger.catch_up()
    figures["projection, CPU us a record"] = (time.process_time() - cpu) / records * 1e6
    new = iter([EventKey(*HERE, "payment", f"new-{number}") for number in range(20_000)])
    old = iter([record.event.key for record in made[:: max(1, records // 5_000)][:5_000]])
    figures["known, new id, us"] = per_call_us(lambda: ledger.known(next(new)), 20_000)
    figures["known, old id, us"] = per_call_us(lambda: ledger.known(next(old)), min(records, 5_000))
    query = PredictionQuery(detector_id="detector")
    figures["page of 100 predictions, us"] = per_call_us(lambda: ledger.predictions(HERE, query, 100), 50)
    cpu = time.process_time()
    ledger.projections.rebuild()
    figures["projections rebuilt, CPU s a million records"] = (time.process_time() - cpu) / records * 1e6
    cpu = time.process_time()
    for _ in ledger.journal.heads():
        pass
    figures["journal read, CPU s a million records"] = (time.process_time() - cpu) / records * 1e6
    cpu = time.process_time()
    replay_states(ledger.journal, EntityStates())
    figures["entity states replayed, CPU s a million records"] = (time.process_time() - cpu) / records * 1e6
    ledger.close()
    cpu = time.process_time()
    JournalLedger(database, Journal(folder / "journal")).close()
    figures["ledger opened again, CPU ms"] = (time.process_time() - cpu) * 1e3
    database.close()
    return figures


def catalogue(folder: Path) -> dict[str, float]:
    """Reads from memory and from disk, and a synced write."""
    database = Database(folder / "catalogue.sqlite")
    catalog = SqliteCatalog(database)
    variable = Variable(
        name="v", data_type="STRING", data_source="EVENT", default_value="", created_at_ms=1, updated_at_ms=1
    )

    def write() -> None:
        with catalog.transaction():
            catalog.put(HERE, variable)

    def cold() -> None:
        catalog._cache.clear()
        catalog.get(HERE, Variable, "v")

    figures = {"catalogue transaction, us": per_call_us(write, 200)}
    figures["catalogue get, us"] = per_call_us(lambda: catalog.get(HERE, Variable, "v"), 50_000)
    figures["catalogue get from the file, us"] = per_call_us(cold, 5_000)
    catalog.close()
    return figures


def main(records: int = RECORDS) -> dict[str, float]:
    """Measure everything in a temporary folder on the disk that holds the working directory."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        figures = appends(folder) | ledger_costs(folder, records) | catalogue(folder)
    for name, figure in figures.items():
        print(f"{figure:12.2f}  {name}")
    return figures


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS)
