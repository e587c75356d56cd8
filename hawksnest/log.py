"""Durable append-only log in segment files: the journal and the embedded topics are both made of it.

A segment is allocated whole before its first record, so that a full disk shows before anything is promised.
One process writes, any number read while it is written; several may write in turns under a lock of their own
(`catch_up`).
"""

import contextlib
import errno
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from zlib import crc32

from hawksnest import faults
from hawksnest.errors import Poison, StorageFull
from hawksnest.segments import (
    DATA_START,
    HEAD,
    RECORD_BYTES_MAX,
    Index,
    LogDamaged,
    LogReader,
    damaged,
    first_seqs,
    index_path,
    open_segment,
    records,
    segment_header,
    segment_path,
)

__all__ = ["LogDamaged", "LogFailed", "LogReader", "SegmentLog", "sync_folder"]

SEGMENT_BYTES = 64 << 20
FIRST_SEGMENT_BYTES = 4 << 20  # of a new log: small enough to be written with zeros before its first record

_LENGTH_CRC = struct.Struct("<II")
_MARKS = struct.Struct("<QQ")
_IOV_MAX = os.sysconf("SC_IOV_MAX")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_STEP_BYTES = 256 << 10


class LogFailed(AssertionError):
    """The log could not write what it had accepted; it takes no more: only a restart tells what is kept."""


class _Batch:
    """Records of one segment that wait for the next flush."""

    __slots__ = ("fd", "first_seq", "offset", "records")

    def __init__(self, fd: int, offset: int, first_seq: int) -> None:
        self.fd = fd
        self.offset = offset
        self.first_seq = first_seq
        self.records: list[bytes] = []


class SegmentLog:
    """The writer. Opening cuts a torn tail, so only the process entitled to write may open one."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or create. Raises StorageFull (no room for the first segment) and LogDamaged."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._reader = LogReader(folder)
        self._lock = threading.Lock()  # buffers and counters
        self._flush_lock = threading.Lock()  # one write at a time, in order
        self._failure: str | None = None
        self._closed = False
        self._pending: list[_Batch] = []
        self._writing: list[_Batch] = []
        self._retired: list[int] = []
        self._spare: tuple[int, Path] | None = None
        self._spares = 0
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*.tmp"):
            unfinished.unlink()
        bases = first_seqs(folder)
        base = bases[-1] if bases else 1
        self._adopt(open_segment(folder, base, os.O_RDWR) if bases else self._first(), base)
        self._last_seq, self._offset = self._scan(base - 1, DATA_START)
        self._durable_seq = self._last_seq
        self._cut()

    @property
    def last_seq(self) -> int:
        """Sequence of the newest appended record, 0 if none."""
        return self._last_seq

    @property
    def durable_seq(self) -> int:
        """Everything up to here survives a crash."""
        return self._durable_seq

    @property
    def failed(self) -> bool:
        """Has a write failed (or the log been closed)? Then nothing can be appended."""
        return self._failure is not None

    def append(self, payload: bytes) -> int:
        """Buffer a record; returns its sequence.

        Raises StorageFull when there is no room for another segment and Poison when it is too large; then
        nothing was appended. Raises LogFailed after a failed flush.
        """
        size = HEAD.size + len(payload)
        if size > RECORD_BYTES_MAX or size > self._segment_bytes - DATA_START:
            raise Poison("record_too_large", f"A record of {len(payload)} bytes is too large for the log.")
        with self._lock:
            if self._failure is not None:
                raise LogFailed(self._failure)
            if self._offset + size > self._size:
                try:
                    self._roll()
                except OSError as error:
                    self._failure = (
                        f"the log {self._folder} could not go on in a new segment: {error.strerror}"
                    )
                    raise LogFailed(self._failure) from error
            return self._put([payload])

    def append_together(self, payloads: Sequence[bytes]) -> int | None:
        """Buffer several records; returns the first one's sequence.

        None, and nothing was appended, unless the current segment has room for all. Raises LogFailed.
        """
        size = HEAD.size * len(payloads) + sum(map(len, payloads))
        with self._lock:
            if self._failure is not None:
                raise LogFailed(self._failure)
            if self._offset + size > self._size or size > RECORD_BYTES_MAX:
                return None
            return self._put(payloads)

    def _put(self, payloads: Sequence[bytes]) -> int:
        """Buffer records that the segment has room for; returns the first one's sequence."""
        seq = self._last_seq
        first = seq + 1
        if not self._pending or self._pending[-1].fd != self._fd:
            self._pending.append(_Batch(self._fd, self._offset, first))
        records, durable, offset = self._pending[-1].records, self._durable_seq, self._offset
        for seq, payload in enumerate(payloads, first):
            marks = _MARKS.pack(seq, durable)
            head = _LENGTH_CRC.pack(len(payload), crc32(payload, crc32(marks)))
            records.append(b"".join((head, marks, payload)))
            self._index.note(seq, offset)
            offset += HEAD.size + len(payload)
        self._offset, self._last_seq = offset, seq
        return first

    def flush(self) -> int:
        """Write and sync everything appended before the call; returns the durable sequence.

        One system call, but where a batch crosses into another segment. A failure is final: LogFailed.
        """
        with self._flush_lock:
            with self._lock:
                if self._failure is not None:
                    raise LogFailed(self._failure)
                if not self._pending:
                    return self._durable_seq
                batches = self._writing = self._pending
                self._pending = []
                last = self._last_seq
            try:
                for batch in batches:
                    _write(batch)
            except OSError as error:
                self._failure = f"the log {self._folder} could not be written: {error.strerror}"
                raise LogFailed(self._failure) from error
            with self._lock:
                self._durable_seq = last
                self._writing = []
                waiting = {batch.fd for batch in self._pending}
                for fd in [each for each in self._retired if each not in waiting]:
                    self._retired.remove(fd)
                    os.close(fd)
            return last

    def read(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(sequence, payload) of every durable record above `after`, in order."""
        if after < self._durable_seq:
            yield from self._reader.read(after, self._durable_seq)

    def get(self, seq: int) -> bytes | None:
        """The payload of one record, durable or not; None when it is not there."""
        if seq > self._durable_seq:
            with self._lock:
                for batch in self._writing + self._pending:
                    at = seq - batch.first_seq
                    if 0 <= at < len(batch.records):
                        return batch.records[at][HEAD.size :]
        return self._reader.get(seq) if 0 < seq <= self._last_seq else None

    def first_seq(self) -> int:
        """The oldest sequence kept (of an empty log: the one it will give first)."""
        return self._reader.first_seq()

    def spans(self) -> list[tuple[int, int]]:
        """(first sequence, last write in epoch milliseconds) of every segment, oldest first."""
        found = []
        for base in first_seqs(self._folder):
            with contextlib.suppress(FileNotFoundError):
                found.append((base, segment_path(self._folder, base).stat().st_mtime_ns // 1_000_000))
        return found

    def drop_before(self, seq: int) -> None:
        """Forget whole segments that hold nothing at or above `seq`; the newest always stays."""
        bases = first_seqs(self._folder)
        for base, following in pairwise(bases):
            if following > seq:
                break
            segment_path(self._folder, base).unlink(missing_ok=True)
            index_path(self._folder, base).unlink(missing_ok=True)

    def catch_up(self) -> int:
        """Adopt what other processes appended; returns the last sequence.

        For logs with several writers: call it first under the lock they share, flush before releasing it.
        """
        with self._flush_lock, self._lock:
            assert not self._pending, "flush before releasing the writers' lock"
            if self._failure is not None:
                raise LogFailed(self._failure)
            while True:
                self._last_seq, self._offset = self._scan(self._last_seq, self._offset)
                following = self._last_seq + 1
                if following == self._base or not segment_path(self._folder, following).exists():
                    break
                os.close(self._fd)
                self._adopt(open_segment(self._folder, following, os.O_RDWR), following)
            if any(os.pread(self._fd, HEAD.size, self._offset)):
                self._cut()
            self._durable_seq = self._last_seq
            return self._last_seq

    def prepare(self) -> None:
        """Make the next segment ready when the current one is half full; for a background thread.

        Its blocks are written with zeros first, which makes the later syncs cheaper than into merely
        allocated ones. Without it `append` allocates on its own.
        """
        if self._spare is not None or self._offset < self._size // 2 or self._failure is not None:
            return
        self._spares += 1  # the name of the one before may be in use by a roll under way
        path = self._folder / f"spare.{self._spares}.tmp"
        try:
            fd = _zeros(path, self._segment_bytes)
        except OSError:
            return  # `append` says it, if there is still no room by then
        with self._lock:
            self._spare = fd, path

    def close(self) -> None:
        """Flush (unless the log has failed) and release the descriptors; once more does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._failure is None:
                self.flush()
        finally:
            for fd in (self._fd, *self._retired):
                os.close(fd)
            self._retired.clear()
            if self._spare is not None:
                os.close(self._spare[0])
                self._spare[1].unlink(missing_ok=True)
                self._spare = None
            self._failure = "the log is closed"
            self._reader.close()

    def _first(self) -> int:
        """Create a log's first segment."""
        if self._segment_bytes > FIRST_SEGMENT_BYTES:
            path = self._folder / "first.tmp"
            with contextlib.suppress(OSError):  # `_create` says what is wrong
                self._spare = _zeros(path, FIRST_SEGMENT_BYTES), path
        return self._create(1)

    def _roll(self) -> None:
        """Go on in a new segment; StorageFull leaves everything as it was."""
        base = self._last_seq + 1
        fd = self._create(base)
        self._index.save(index_path(self._folder, self._base))
        self._retired.append(self._fd)  # its batch may still be waiting; closed after the next flush
        self._adopt(fd, base)

    def _adopt(self, fd: int, base: int) -> None:
        """Make this segment the current one; nothing of it is known yet."""
        self._fd, self._base, self._offset = fd, base, DATA_START
        self._size = os.fstat(fd).st_size
        self._index: Index = self._reader.index(base)

    def _create(self, base: int) -> int:
        """Allocate a segment and give it its name, durably; from the spare one if it is ready."""
        spare, self._spare = self._spare, None
        fd, path = spare or (None, self._folder / f"{base:020d}.{os.getpid()}.tmp")
        try:
            if fd is None:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                os.posix_fallocate(fd, 0, self._segment_bytes)
            os.pwritev(fd, [segment_header(base)], 0, os.RWF_DSYNC)
            path.rename(segment_path(self._folder, base))
            sync_folder(self._folder)
        except OSError as error:
            if fd is not None:
                os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            if error.errno in _NO_ROOM:
                raise StorageFull(
                    f"No room for another segment of {self._folder}: {error.strerror}."
                ) from error
            raise
        return fd

    def _scan(self, last: int, offset: int) -> tuple[int, int]:
        """(last sequence, offset after it) of the valid records in the current segment."""
        for seq, _, end in records(self._fd, offset, last + 1):
            last, offset = seq, end
            self._index.note(seq + 1, end)
        return last, offset

    def _cut(self) -> None:
        """Make the room after the last valid record zero again, durably.

        A torn batch can leave whole records behind its gap; unless they go, one could follow a later record
        of the same length as if it had been answered.
        """
        used = self._used_beyond(self._offset)
        if used == self._offset:
            return
        rest = os.pread(self._fd, used - self._offset, self._offset)
        if _was_durable(rest, self._last_seq + 1):
            raise damaged(self._folder, self._base, self._offset, self._last_seq + 1)
        os.ftruncate(self._fd, self._offset)
        try:
            os.posix_fallocate(self._fd, 0, self._size)
        except OSError as error:
            self._size = self._offset  # what was freed is not ours any more: the next record starts a segment
            if error.errno not in _NO_ROOM:
                raise
        os.fsync(self._fd)

    def _used_beyond(self, offset: int) -> int:
        """End of what is not zero at or after `offset`."""
        used = offset
        while chunk := os.pread(self._fd, _STEP_BYTES, offset):
            if chunk.count(0) != len(chunk):
                used = offset + len(chunk.rstrip(b"\0"))
            offset += len(chunk)
        return used


def _zeros(path: Path, size: int) -> int:
    """A new file of durable zeros, open."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        zeros = bytes(_STEP_BYTES)
        for offset in range(0, size, _STEP_BYTES):
            os.pwritev(fd, [zeros[: size - offset]], offset, os.RWF_DSYNC)
    except OSError:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def _write(batch: _Batch) -> None:
    """Put the batch on disk."""
    buffers = batch.records if len(batch.records) <= _IOV_MAX else [b"".join(batch.records)]
    size = sum(map(len, buffers))
    if faults.armed:
        faults.point("before_write")
        written = os.pwritev(batch.fd, buffers, batch.offset)
        faults.point("between_write_and_sync")
        os.fdatasync(batch.fd)
    else:
        written = os.pwritev(batch.fd, buffers, batch.offset, os.RWF_DSYNC)
    while written < size:
        rest = b"".join(buffers)[written:]
        written += os.pwritev(batch.fd, [rest], batch.offset + written, os.RWF_DSYNC)


def _was_durable(rest: bytes, seq: int) -> bool:
    """Does a valid record in `rest` say that `seq`, unreadable at its beginning, had been durable?"""
    for following in range(seq + 1, seq + 257):
        at = rest.find(following.to_bytes(8, "little")) - 8
        expected = following
        while 0 <= at <= len(rest) - HEAD.size:
            length, crc, found, durable = HEAD.unpack_from(rest, at)
            start = at + HEAD.size
            if found != expected or length > RECORD_BYTES_MAX:
                break
            payload = rest[start : start + length]
            if crc32(payload, crc32(rest[at + 8 : start])) != crc:
                break
            if durable >= seq:
                return True
            at, expected = start + length, expected + 1
    return False


def sync_folder(folder: Path) -> None:
    """Make created, renamed and removed names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
