"""What passes between the two halves of a batch job: files in a folder of its own, one folder a run.

The first half reads the customer's file once and writes checked rows in frames (`rows`), what it refused
(`rejects`) and, last, `summary.json`. The second half takes rows from there and keeps `point.json`, from
where it goes on after a crash. Nothing here is needed once the job has ended.

Whatever holds values of the file is sealed when the tenant has an encryption key: a run keeps to one data key
from its first file to its last, named in the summary.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from hawksnest.kernel.events import VariableSpec
from hawksnest.store.sealing import Box

PLAN, ROWS, REJECTS, SUMMARY, POINT, OUTPUT = (
    "plan.json",
    "rows",
    "rejects.csv",
    "summary.json",
    "point.json",
    "output.csv",
)
FOREVER_MS = 2**62
FRAME_ROWS = 100
FRAME_BYTES = 256 << 10
PIECE_BYTES = 64 << 10  # of a text file, sealed at once
CHUNK_BYTES = 1 << 20
_LENGTH = struct.Struct("<I")

S = TypeVar("S", bound=msgspec.Struct)


class Plan(msgspec.Struct, frozen=True):
    """What the first half needs to know. `predicts`: a batch prediction, else an import."""

    predicts: bool
    uri: str
    bytes_max: int
    buckets: str
    s3_endpoint: str
    region: str
    event_type: str
    specs: list[VariableSpec]
    entity_types: list[str]
    labels: list[str]
    latest_ms: int  # events after this instant are refused
    earliest_ms: int  # and those before this one


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One row of the customer's file. `row` counts from 1 behind the header."""

    row: int
    event_id: str = ""
    event_at_ms: int = 0
    timestamp: str = ""
    entity_type: str = ""
    entity_id: str = ""
    given: dict[str, str | None] = {}
    amount: float | None = None
    identities: list[tuple[str, str]] = []
    label: str | None = None
    labelled_at: str | None = None
    shown: str = ""  # predictions: the fields as the output repeats them, one CSV line without its end
    fault: str = ""  # predictions: why the row cannot be decided


class Summary(msgspec.Struct, frozen=True):
    """How the first half ended. `broken`: why the file as a whole cannot be used."""

    total: int
    failed: int
    broken: str = ""
    header: str = ""  # predictions: the output's header line
    data_key: int = 0  # of the tenant, that seals the run's files; 0: they are in clear


class Point(msgspec.Struct, frozen=True):
    """Where the second half goes on: behind `row`, in the frame at `offset`."""

    offset: int = 0
    row: int = 0
    seq: int = 0  # what was done later than `row` is in the journal after this sequence
    failed: int = 0  # of the rows the first half accepted
    written: int = 0  # bytes of the output that belong to the rows up to `row`
    checked: bool = False  # imports: no more than half of the rows are refused


class Frames:
    """Writes rows in frames."""

    def __init__(self, path: Path, box: Box | None = None) -> None:
        self._file = path.open("wb")
        self._box = box
        self._encode = msgspec.msgpack.Encoder().encode
        self._rows: list[bytes] = []
        self._bytes = 0

    def add(self, row: Row) -> None:
        """One more row."""
        encoded = self._encode(row)
        self._rows.append(encoded)
        self._bytes += len(encoded)
        if len(self._rows) >= FRAME_ROWS or self._bytes >= FRAME_BYTES:
            self._flush()

    def _flush(self) -> None:
        payload = b"".join((b"\xdd", len(self._rows).to_bytes(4, "big"), *self._rows))  # a msgpack array
        if self._box is not None:
            payload = self._box.seal(payload, _place(ROWS, self._file.tell()))
        self._file.write(_LENGTH.pack(len(payload)) + payload)
        self._rows, self._bytes = [], 0

    def close(self, whole: bool) -> None:
        """`whole`: everything was added; it is on disk afterwards. Else what was written does not matter."""
        if not whole:
            with suppress(OSError):
                self._file.close()
            return
        with self._file:
            self._flush()
            self._file.flush()
            os.fsync(self._file.fileno())


def frames(path: Path, offset: int = 0, box: Box | None = None) -> Iterator[tuple[int, int, list[Row]]]:
    """(offset of the frame, offset behind it, rows) of each frame from `offset` on."""
    decode = msgspec.msgpack.Decoder(list[Row]).decode
    with path.open("rb") as file:
        file.seek(offset)
        while head := file.read(_LENGTH.size):
            payload = file.read(_LENGTH.unpack(head)[0])
            after = offset + len(head) + len(payload)
            if box is not None:
                payload = box.open(payload, _place(ROWS, offset))
            yield offset, after, decode(payload)
            offset = after


class Text:
    """A file of lines that is written in order, sealed in pieces if there is a box.

    After `flush`, `tell` is a place up to which the file can be kept when the rest is written anew.
    """

    def __init__(self, path: Path, keep: int = 0, box: Box | None = None) -> None:
        """Of what is there, the first `keep` bytes stay."""
        path.touch()
        self._file = path.open("r+b", buffering=0)
        self._file.truncate(keep)
        self._file.seek(keep)
        self._name = path.name
        self._box = box
        self._waiting = bytearray()

    def write(self, lines: bytes) -> None:
        """Add whole lines."""
        self._waiting += lines
        if len(self._waiting) >= PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the system."""
        if self._waiting:
            piece = bytes(self._waiting)
            if self._box is not None:
                piece = self._box.seal(piece, _place(self._name, self._file.tell()))
                piece = _LENGTH.pack(len(piece)) + piece
            self._waiting.clear()
            left = memoryview(piece)
            while left:
                left = left[self._file.write(left) :]

    def tell(self) -> int:
        """How many bytes of the file are written."""
        return self._file.tell()

    def fileno(self) -> int:
        """For a sync."""
        return self._file.fileno()

    def close(self) -> None:
        """Write what is left."""
        with self._file:
            self.flush()

    def __enter__(self) -> "Text":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parts(path: Path, box: Box | None = None) -> Iterator[bytes]:
    """What was written into a `Text`, in parts of any size; nothing where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        if box is None:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
            return
        offset = 0
        while head := file.read(_LENGTH.size):
            piece = file.read(_LENGTH.unpack(head)[0])
            yield box.open(piece, _place(path.name, offset))
            offset += len(head) + len(piece)


def _place(name: str, offset: int) -> bytes:
    return f"batch {name} {offset}".encode()


def read(path: Path, kind: type[S]) -> S | None:
    """A small JSON file of the folder; None when it is missing or torn."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: Path, content: msgspec.Struct, synced: bool = False) -> None:
    """Write a small JSON file so that a reader sees the old or the new one, never a part."""
    scratch = path.with_name(path.name + ".new")
    with scratch.open("wb") as file:
        file.write(msgspec.json.encode(content))
        if synced:
            file.flush()
            os.fsync(file.fileno())
    scratch.replace(path)
