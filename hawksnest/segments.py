"""The files of a log: their format, where records begin, and reading them, also while they are written.

A segment is named after the sequence number of its first record. A record is

    length u32 · crc32 u32 · sequence u64 · durable u64 · payload          (little-endian)

where `durable` is what the writer knew to be on disk; it tells a torn tail (cut) from damage (refused).
Room after the last record is zero. Sequences count 1, 2, 3 … without gaps.
"""

import contextlib
import os
import struct
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from hawksnest.errors import UsageError

RECORD_BYTES_MAX = 8 << 20
SEQUENCE_MAX = 2**63 - 1
DATA_START = 64

_MAGIC = b"HNSTLOG1"
_SEGMENT = struct.Struct("<8sQI")
HEAD = struct.Struct("<IIQQ")
INDEX_EVERY_BYTES = 16 << 10
_CHUNK_BYTES = 256 << 10
_OPEN_SEGMENTS_MAX = 16


class LogDamaged(UsageError):
    """A record that had been durable is unreadable; going on would lose it silently."""


class Index:
    """Where some of a segment's records begin: one entry every few kilobytes."""

    def __init__(self, base: int) -> None:
        self.seqs = array("Q", [base])
        self.offsets = array("Q", [DATA_START])
        self._lock = threading.Lock()

    def note(self, seq: int, offset: int) -> None:
        """Learn that record `seq` begins at `offset`."""
        if offset - self.offsets[-1] < INDEX_EVERY_BYTES:
            return
        with self._lock:
            if seq > self.seqs[-1]:
                self.offsets.append(offset)  # before the sequence: `floor` looks without the lock
                self.seqs.append(seq)

    def floor(self, seq: int) -> tuple[int, int]:
        """The nearest known (sequence, offset) at or before `seq`; the first when it is older than all."""
        at = max(bisect_right(self.seqs, seq) - 1, 0)
        return self.seqs[at], self.offsets[at]

    def save(self, path: Path) -> None:
        """Write beside a full segment; losing it only costs a scan."""
        body = self.seqs.tobytes() + self.offsets.tobytes()
        with contextlib.suppress(OSError):
            path.write_bytes(struct.pack("<I", crc32(body)) + body)

    @classmethod
    def load(cls, path: Path, base: int) -> "Index":
        """The saved index, or an empty one."""
        index = cls(base)
        try:
            raw = path.read_bytes()
        except OSError:
            return index
        if len(raw) > 4 and len(raw) % 16 == 4 and struct.unpack_from("<I", raw)[0] == crc32(raw[4:]):
            half = len(raw) // 2 + 2
            index.seqs, index.offsets = array("Q", raw[4:half]), array("Q", raw[half:])
        return index


def segment_path(folder: Path, base: int) -> Path:
    """The file of the segment whose first record is `base`."""
    return folder / f"{base:020d}.log"


def index_path(folder: Path, base: int) -> Path:
    """The file of its index, written when the segment is full."""
    return folder / f"{base:020d}.idx"


def segment_header(base: int) -> bytes:
    """What a segment begins with; padded to DATA_START by zeros."""
    return _SEGMENT.pack(_MAGIC, base, crc32(_MAGIC + base.to_bytes(8, "little")))


def first_seqs(folder: Path) -> list[int]:
    """First sequence of every segment, ascending."""
    return sorted(
        int(path.stem) for path in folder.iterdir() if path.suffix == ".log" and path.stem.isdigit()
    )


def open_segment(folder: Path, base: int, flags: int) -> int:
    """A descriptor of the segment, its header checked."""
    path = segment_path(folder, base)
    fd = os.open(path, flags | os.O_CLOEXEC)
    raw = os.pread(fd, _SEGMENT.size, 0)
    if len(raw) != _SEGMENT.size or raw != segment_header(base):
        os.close(fd)
        raise LogDamaged(f"{path} is not a segment of this log; restore the folder from a backup.")
    return fd


def records(fd: int, offset: int, seq: int) -> Iterator[tuple[int, bytes, int]]:
    """(sequence, payload, offset after it) of the valid records from `offset`, the first being `seq`."""
    want = _CHUNK_BYTES // 4
    while True:
        chunk = os.pread(fd, want, offset)
        size = len(chunk)
        at = 0
        want = _CHUNK_BYTES
        while at + HEAD.size <= size:
            length, crc, found, _ = HEAD.unpack_from(chunk, at)
            if found != seq or length > RECORD_BYTES_MAX:
                return
            start = at + HEAD.size
            end = start + length
            if end > size:
                if at == 0:
                    want = end
                break
            payload = chunk[start:end]
            if crc32(payload, crc32(chunk[at + 8 : start])) != crc:
                return
            at = end
            yield seq, payload, offset + at
            seq += 1
        if at == 0 and (size < HEAD.size or os.fstat(fd).st_size < offset + want):
            return
        offset += at


class LogReader:
    """Reads a log, also one that another process is writing. Safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._indexes: dict[int, Index] = {}
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        self._known: list[int] = []
        self._resume = (0, 0, 0)  # (sequence, segment, offset) where the last read ended

    def close(self) -> None:
        """Release the descriptors."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def first_seq(self) -> int:
        """The oldest sequence kept (of an empty log: the one it will give first)."""
        bases = first_seqs(self._folder)
        return bases[0] if bases else 1

    def read(self, after: int = 0, upto: int = SEQUENCE_MAX) -> Iterator[tuple[int, bytes]]:
        """(sequence, payload) of every record above `after` (and not above `upto`), in order.

        Ends where nothing valid follows yet; call again later to go on. What retention has dropped is
        skipped. Raises LogDamaged when a record is unreadable although younger segments exist.
        """
        place = self._place(after + 1)
        while place is not None:
            expected, base, offset = place
            try:
                fd = open_segment(self._folder, base, os.O_RDONLY)
            except FileNotFoundError:  # dropped by retention
                self._resume = (0, 0, 0)
                place = self._place(max(expected, after + 1))
                continue
            index = self.index(base)
            try:
                for seq, payload, end in records(fd, offset, expected):
                    if seq > upto:
                        return
                    expected, offset = seq + 1, end
                    index.note(expected, end)
                    self._resume = (expected, base, end)
                    if seq > after:
                        yield seq, payload
            finally:
                os.close(fd)
            if expected > upto:
                return
            place = self._next_place(expected, base, offset)

    def get(self, seq: int) -> bytes | None:
        """The payload of one record, None when it is not there (yet, or any more)."""
        for bases in (self._known, None):
            if bases is None:
                bases = self._known = first_seqs(self._folder)
            at = bisect_right(bases, seq) - 1
            found = self._get(bases[at], seq) if at >= 0 else None
            if found is not None or 0 <= at < len(bases) - 1:
                return found
        return None

    def _get(self, base: int, seq: int) -> bytes | None:
        """The same within one segment."""
        index = self.index(base)
        at, offset = index.floor(seq)
        with self._lock:
            fd = self._descriptor(base)
            if fd is None:
                return None
            chunk = b""
            start = offset
            while True:
                here = offset - start
                if here + HEAD.size > len(chunk):
                    chunk, start, here = os.pread(fd, 2 * INDEX_EVERY_BYTES, offset), offset, 0
                    if len(chunk) < HEAD.size:
                        return None
                length, crc, found, _ = HEAD.unpack_from(chunk, here)
                if found != at or length > RECORD_BYTES_MAX:
                    return None
                if at == seq:
                    break
                offset += HEAD.size + length
                at += 1
                index.note(at, offset)
            record = chunk[here : here + HEAD.size + length]
            if len(record) < HEAD.size + length:
                record = os.pread(fd, HEAD.size + length, offset)
        payload = record[HEAD.size :]
        return payload if crc32(payload, crc32(record[8 : HEAD.size])) == crc else None

    def _descriptor(self, base: int) -> int | None:
        fd = self._open.get(base)
        if fd is None:
            try:
                fd = open_segment(self._folder, base, os.O_RDONLY)
            except FileNotFoundError:
                return None
            self._open[base] = fd
            if len(self._open) > _OPEN_SEGMENTS_MAX:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(base)
        return fd

    def index(self, base: int) -> Index:
        """The index of a segment, shared by all its users in this process."""
        index = self._indexes.get(base)
        if index is None:
            index = Index.load(index_path(self._folder, base), base)
            index = self._indexes.setdefault(base, index)
        return index

    def _place(self, seq: int) -> tuple[int, int, int] | None:
        """Where to start reading for `seq`: (sequence found there, segment, offset)."""
        resume = self._resume
        if resume[0] == seq:
            return resume
        bases = self._known = first_seqs(self._folder)
        if not bases:
            return None
        base = bases[max(bisect_right(bases, seq) - 1, 0)]
        at, offset = self.index(base).floor(seq)
        return at, base, offset

    def _next_place(self, seq: int, base: int, offset: int) -> tuple[int, int, int] | None:
        """Where to go on after the valid records of segment `base` end before `seq`; None: at the tail."""
        if seq > base and segment_path(self._folder, seq).exists():
            return seq, seq, DATA_START
        younger = [each for each in first_seqs(self._folder) if each > base]
        if not younger:
            return None
        if younger[0] == seq:
            return seq, seq, DATA_START
        try:
            fd = open_segment(self._folder, base, os.O_RDONLY)
        except FileNotFoundError:  # dropped by retention
            return younger[0], younger[0], DATA_START
        try:  # the writer may have filled this segment since we met its end
            if next(records(fd, offset, seq), None) is None:
                raise damaged(self._folder, base, offset, seq)
        finally:
            os.close(fd)
        return seq, base, offset


def damaged(folder: Path, base: int, offset: int, seq: int) -> LogDamaged:
    """The error for record `seq`, unreadable at `offset` of a segment."""
    return LogDamaged(
        f"{segment_path(folder, base)} is damaged at byte {offset} (record {seq}); "
        "restore the folder from a backup."
    )
