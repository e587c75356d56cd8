"""Where simulated payments go: a topic of the stream, or a JSON-lines, CSV or Parquet file.

The record goes one way, the truth about it another: to `<topic>_truth`, or to `<file>.truth.jsonl`.
"""

import contextlib
import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Protocol

import orjson

from hawksnest.errors import UsageError
from hawksnest.simulate.shop import FIELDS
from hawksnest.simulate.simulation import Labelled
from hawksnest.stream.ports import Log

_ROWS_AT_ONCE = 10_000  # payments in a row group of a Parquet file


class Writer(Protocol):
    """A destination of payments."""

    def write(self, payment: Labelled) -> None:
        """Take the payment; it is safe after the next flush. Raises Transient, then it was not taken."""

    def flush(self) -> None:
        """Return once everything taken is safe. Raises Transient; then what is not safe is still kept."""

    def close(self) -> None:
        """Release the destination."""


def truth_topic(topic: str) -> str:
    """The topic that carries the truth about the payments of `topic`."""
    return f"{topic}_truth"


def truth_path(path: Path) -> Path:
    """The file with the truth about the payments of a file: `pay.csv` has `pay.truth.jsonl`."""
    return path.with_name(f"{path.stem}.truth.jsonl")


class TopicWriter:
    """Records keyed by their entity, so that one payer's payments keep their order."""

    def __init__(self, log: Log, topic: str) -> None:
        self._topic, self._truth = topic, truth_topic(topic)
        log.create_topic(topic)
        log.create_topic(self._truth, 1)
        self._producer = log.producer()

    def write(self, payment: Labelled) -> None:
        record = payment.record
        self._producer.send(self._topic, orjson.dumps(record), str(record["entity_id"]).encode())
        self._producer.send(self._truth, orjson.dumps(payment.truth()))

    def flush(self) -> None:
        self._producer.flush()

    def close(self) -> None:
        self._producer.close()


class FileWriter:
    """A file and its truth file; what was there before is replaced."""

    def __init__(self, path: Path) -> None:
        formats: Mapping[str, Callable[[Path, contextlib.ExitStack], _Format]] = {
            ".jsonl": _JsonLines,
            ".csv": _Csv,
            ".parquet": _Parquet,
        }
        if path.suffix not in formats:
            raise UsageError(f"{path} has no known ending; use .jsonl, .csv or .parquet.")
        self._stack = contextlib.ExitStack()
        try:
            self._truth = self._stack.enter_context(truth_path(path).open("wb"))
            self._format = formats[path.suffix](path, self._stack)
        except OSError as fault:
            self._stack.close()
            raise UsageError(f"Cannot write {path}: {fault.strerror or fault}.") from None

    def write(self, payment: Labelled) -> None:
        self._format.write(payment.record)
        self._truth.write(orjson.dumps(payment.truth()) + b"\n")

    def flush(self) -> None:
        self._format.flush()
        self._truth.flush()

    def close(self) -> None:
        self._stack.close()


class _Format(Protocol):
    def write(self, record: dict[str, str | int]) -> None: ...

    def flush(self) -> None: ...


class _JsonLines:
    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._file: IO[bytes] = stack.enter_context(path.open("wb"))

    def write(self, record: dict[str, str | int]) -> None:
        self._file.write(orjson.dumps(record) + b"\n")

    def flush(self) -> None:
        self._file.flush()


class _Csv:
    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        self._rows = csv.DictWriter(self._file, FIELDS)
        self._rows.writeheader()

    def write(self, record: dict[str, str | int]) -> None:
        self._rows.writerow(record)

    def flush(self) -> None:
        self._file.flush()


class _Parquet:
    """Row groups; the file is readable once it is closed."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        # Imported here because it takes longer to load than a small run takes.
        import pyarrow
        import pyarrow.parquet

        self._arrow: ModuleType = pyarrow
        self._schema = pyarrow.schema(
            [(name, pyarrow.int64() if name == "transaction_amt" else pyarrow.string()) for name in FIELDS]
        )
        self._rows: list[dict[str, str | int]] = []
        # The stack closes last in, first out: the rows that are left, then the file.
        self._file: Any = stack.enter_context(pyarrow.parquet.ParquetWriter(path, self._schema))
        stack.callback(self._group)

    def write(self, record: dict[str, str | int]) -> None:
        self._rows.append(record)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._group()

    def flush(self) -> None:
        """Nothing: small row groups would make the file large and slow to read."""

    def _group(self) -> None:
        if self._rows:
            self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []
