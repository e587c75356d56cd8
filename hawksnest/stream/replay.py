"""Replay: the rows of a CSV or Parquet file of real transactions, sent as records of the input topic.

Texts and numbers stay as they are in the file. The label never travels with its record: it goes to the side
topic `<input topic>_truth`. Memory stays flat whatever the size of the file.
"""

import csv
import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from hawksnest.errors import Poison, UsageError
from hawksnest.stream.consumer import insist
from hawksnest.stream.mapping import Mapping
from hawksnest.stream.ports import Log, Producer
from hawksnest.stream.schema import raw_text
from hawksnest.world import RealWorld, World

Row = dict[str, msgspec.Raw]

_FIELD_CHARACTERS = 1_048_576  # of one CSV field
_ROWS_AT_ONCE = 1_000
_FLUSH_S = 0.02  # how long a paced record may wait for others


class Truth(msgspec.Struct, frozen=True):
    """A record of the truth topic."""

    event_id: str
    label: str
    fraud: bool


@dataclass
class ReplaySummary:
    """Counts of one replay."""

    rows: int = 0
    sent: int = 0
    labelled: int = 0
    refused: int = 0  # larger than the log takes


Report = Callable[[ReplaySummary], None]


def replay(
    path: Path,
    mapping: Mapping,
    log: Log,
    rate: float | None = None,
    limit: int | None = None,
    stop: threading.Event | None = None,
    report: Report | None = None,
    world: World | None = None,
) -> ReplaySummary:
    """Send up to `limit` rows at `rate` a second (None: as fast as it goes); everything sent is durable.

    Raises UsageError for a file that cannot be read as a table with the mapping's columns.
    """
    stop, world = stop or threading.Event(), world or RealWorld()
    columns, rows = _table(path)
    _check(path, columns, mapping)
    log.create_topic(mapping.input_topic)
    if mapping.layout.label:
        log.create_topic(mapping.truth_topic, 1)
    counts = ReplaySummary()
    producer = log.producer()
    try:
        pace = _Pace(rate, world, stop)
        reported_s = world.monotonic_s()
        for row in islice(rows, limit):
            if not pace.wait(counts.rows, lambda: _flush(producer, stop)):
                break
            _send(_Sheet(path, mapping, counts, producer, stop), row)
            if report is not None and world.monotonic_s() - reported_s >= 1.0:
                reported_s = world.monotonic_s()
                report(counts)
        _flush(producer, stop)
    finally:
        producer.close()
    return counts


@dataclass(frozen=True)
class _Sheet:
    """What sending a row needs."""

    path: Path
    mapping: Mapping
    counts: ReplaySummary
    producer: Producer
    stop: threading.Event


def _send(sheet: _Sheet, row: Row) -> None:
    layout, counts, mapping = sheet.mapping.layout, sheet.counts, sheet.mapping
    counts.rows += 1
    label = row.pop(layout.label, None) if layout.label else None
    for column in layout.omit:
        row.pop(column, None)
    if layout.number_rows:
        name = f"{sheet.path.name}\0{counts.rows}".encode("utf-8", "surrogateescape")
        row[layout.event_id] = raw_text(hashlib.blake2b(name, digest_size=16).hexdigest())
    entity = _text(row.get(layout.entity_id))
    try:
        insist(
            sheet.producer.send,
            mapping.input_topic,
            msgspec.json.encode(row),
            entity.encode() if entity else None,
            halt=sheet.stop,
        )
    except Poison:
        counts.refused += 1
        return
    counts.sent += 1
    if label is not None:
        text = _text(label)
        truth = Truth(_text(row.get(layout.event_id)), text, text.lower() in layout.fraud_labels)
        insist(sheet.producer.send, mapping.truth_topic, msgspec.json.encode(truth), halt=sheet.stop)
        counts.labelled += 1


def _text(raw: msgspec.Raw | None) -> str:
    if raw is None:
        return ""
    value = msgspec.json.decode(raw)
    return "" if value is None else str(value)


def _flush(producer: Producer, stop: threading.Event) -> None:
    insist(producer.flush, halt=stop)


class _Pace:
    """Row n is due n / rate seconds after the first."""

    def __init__(self, rate: float | None, world: World, stop: threading.Event) -> None:
        if rate is not None and not rate > 0:
            raise UsageError(f"A rate of {rate:g} a second sends nothing; give a number above 0.")
        self._rate, self._world, self._stop = rate, world, stop
        self._began_s = world.monotonic_s()
        self._flushed_s = self._began_s

    def wait(self, row: int, flush: Callable[[], None]) -> bool:
        """Wait for the row's moment; False when stopped."""
        if self._rate is not None:
            due_s = self._began_s + row / self._rate
            now_s = self._world.monotonic_s()
            if due_s > now_s or now_s - self._flushed_s >= _FLUSH_S:
                if due_s - now_s > 0.001 or now_s - self._flushed_s >= _FLUSH_S:
                    flush()
                    self._flushed_s = self._world.monotonic_s()
                while (left_s := due_s - self._world.monotonic_s()) > 0 and not self._stop.wait(left_s):
                    pass
        return not self._stop.is_set()


def _check(path: Path, columns: list[str], mapping: Mapping) -> None:
    layout = mapping.layout
    wanted = [
        layout.entity_id,
        layout.event_time,
        *layout.mandatory,
        *(column for _, column in mapping.variables),
    ]
    if not layout.number_rows:
        wanted.append(layout.event_id)
    if layout.label:
        wanted.append(layout.label)
    for column in dict.fromkeys(wanted):
        if column not in columns:
            found = ", ".join(columns[:40])
            raise UsageError(f"{path} has no column {column}, which the mapping names; it has {found}.")


def _table(path: Path) -> tuple[list[str], Iterator[Row]]:
    try:
        if path.suffix in (".parquet", ".pq"):
            return _parquet(path)
        return _csv(path)
    except OSError as fault:
        raise UsageError(f"Cannot read {path}: {fault.strerror or fault}.") from None


def _csv(path: Path) -> tuple[list[str], Iterator[Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), None)
    if not header:
        raise UsageError(f"{path} is empty; the first line names the columns.")
    return header, _csv_rows(path, header)


def _csv_rows(path: Path, header: list[str]) -> Iterator[Row]:
    csv.field_size_limit(_FIELD_CHARACTERS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        try:
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise UsageError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns."
                    )
                yield {name: raw_text(cell) for name, cell in zip(header, cells, strict=True) if cell != ""}
        except (csv.Error, UnicodeDecodeError) as fault:
            raise UsageError(f"{path}, line {reader.line_num + 1}: {fault}.") from None


def _parquet(path: Path) -> tuple[list[str], Iterator[Row]]:
    import pyarrow  # the only user here; half a second of start-up for everybody else
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowException as fault:
        raise UsageError(f"{path} is no Parquet file: {fault}") from None
    return list(file.schema_arrow.names), _parquet_rows(file)


def _parquet_rows(file: Any) -> Iterator[Row]:
    with file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for values in batch.to_pylist():
                yield {name: _raw(value) for name, value in values.items() if value is not None}


def _raw(value: Any) -> msgspec.Raw:
    if isinstance(value, float) and not math.isfinite(value):  # NaN and the infinities have no JSON
        return msgspec.Raw(b"null")
    if isinstance(value, (datetime, date, time, Decimal)):
        return raw_text(value.isoformat() if not isinstance(value, Decimal) else str(value))
    if isinstance(value, bytes):
        return raw_text(value.decode("utf-8", "replace"))
    return msgspec.Raw(msgspec.json.encode(value))
