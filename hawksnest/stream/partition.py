"""One partition of an embedded topic: how it is written, read, and shortened when it is old."""

import contextlib
import fcntl
import json
import logging
import os
import struct
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hawksnest.errors import StorageFull, Transient, UsageError
from hawksnest.log import LogFailed, SegmentLog
from hawksnest.segments import LogReader
from hawksnest.stream.ports import StreamRecord
from hawksnest.stream.schema import instant_ms
from hawksnest.world import World

_log = logging.getLogger(__name__)

_HEAD = struct.Struct("<qi")  # produced at (epoch ms), length of the key or -1
_BUFFER_BYTES = 4 << 20  # read ahead by a consumer


@dataclass(frozen=True)
class Retention:
    """When segments are deleted. What a group has not read yet stays, up to `hard_bytes` a partition."""

    age_s: float = 7 * 86_400.0
    size_bytes: int = 1 << 30  # a partition
    hard_bytes: int = 4 << 30
    segment_bytes: int = 4 << 20


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file so that a crash leaves the old or the new content; durable on return."""
    other = path.with_name(path.name + ".new")
    fd = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    other.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def committed(folder: Path, group: str) -> dict[int, int]:
    """Per partition how many records the group is done with: the sequence of the last one."""
    try:
        saved = json.loads((folder / "groups" / f"{group}.json").read_bytes())
    except FileNotFoundError:
        return {}
    return {int(partition): int(seq) for partition, seq in saved.items()}


def payload_of(value: bytes, key: bytes | None, produced_at_ms: int) -> bytes:
    """A record as the partition keeps it."""
    return _HEAD.pack(produced_at_ms, -1 if key is None else len(key)) + (key or b"") + value


class Partition:
    """The writing side of one partition; appends take turns with other processes."""

    def __init__(self, folder: Path, retention: Retention, world: World) -> None:
        self._folder = folder
        self._retention = retention
        self._world = world
        self._turn = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._log: SegmentLog | None = None
        self._since_cleaning = 0

    def append(self, payloads: list[bytes]) -> None:
        """Write and sync. What was written is removed from the list, also when Transient is raised."""
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            try:
                self._append(payloads)
            except LogFailed as fault:
                self._forget()
                raise Transient(str(fault)) from fault
            except OSError as fault:
                self._forget()
                raise Transient(f"{self._folder} cannot be written: {fault.strerror}") from fault
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _append(self, payloads: list[bytes]) -> None:
        log = self._open()
        before = log.catch_up()
        full: StorageFull | None = None
        appended = 0
        for payload in payloads:
            try:
                log.append(payload)
            except StorageFull as fault:
                full = fault
                break
            appended += 1
        try:
            log.flush()
        except LogFailed:
            self._forget()
            del payloads[: self._open().last_seq - before]  # the part of the batch that is whole on disk
            raise
        self._since_cleaning += sum(map(len, payloads[:appended]))
        del payloads[:appended]
        if full is not None:
            raise full
        if self._since_cleaning >= self._retention.segment_bytes:
            self._since_cleaning = 0
            self._clean(log)

    def _open(self) -> SegmentLog:
        if self._log is None:
            self._log = SegmentLog(self._folder, self._retention.segment_bytes)
        return self._log

    def _forget(self) -> None:
        if self._log is not None:
            with contextlib.suppress(LogFailed, OSError):
                self._log.close()
            self._log = None

    def _clean(self, log: SegmentLog) -> None:
        """Delete old segments: by age and size what every group has read, beyond the hard limit all."""
        spans = log.spans()
        rules, now_ms = self._retention, self._world.now_ms()
        groups = self._folder.parent / "groups"
        partition = int(self._folder.name)
        unread = min(
            (committed(groups.parent, path.stem).get(partition, 0) + 1 for path in groups.glob("*.json")),
            default=log.last_seq + 1,
        )
        keep = spans[0][0]
        for place, ((_, written_at_ms), (following, _)) in enumerate(pairwise(spans)):
            size = (len(spans) - place) * rules.segment_bytes
            old = now_ms - written_at_ms > rules.age_s * 1000 or size > rules.size_bytes
            if size > rules.hard_bytes:
                if following > unread:
                    _log.warning(
                        "%s is over its hard limit; records nobody has read are deleted", self._folder
                    )
            elif not old or following > unread:
                break
            keep = following
        log.drop_before(keep)

    def close(self) -> None:
        self._forget()
        os.close(self._turn)


class End:
    """Follows where a partition ends."""

    def __init__(self, folder: Path) -> None:
        self._reader = LogReader(folder)
        self._last = 0

    def first_seq(self) -> int:
        return self._reader.first_seq()

    def last_seq(self) -> int:
        if self._last == 0:
            self._last = max(0, self._reader.first_seq() - 1)
        for seq, _ in self._reader.read(self._last):
            self._last = seq
        return self._last

    def close(self) -> None:
        self._reader.close()


@dataclass(frozen=True)
class Start:
    """Where a consumer begins: committed, new, latest, earliest, or at a time."""

    kind: str
    at_ms: int = 0

    @classmethod
    def parse(cls, text: str) -> "Start":
        if text in ("committed", "new", "latest", "earliest"):
            return cls(text)
        try:
            return cls("time", instant_ms(text))
        except ValueError:
            raise UsageError(
                f"{text[:64]!r} is no start position; use committed, new, latest, earliest or a time "
                "like 2026-01-31T08:00:00Z."
            ) from None


class Tail:
    """The reading side of one partition: what was read ahead and not delivered yet."""

    def __init__(self, topic: str, folder: Path) -> None:
        self._topic = topic
        self._partition = int(folder.name)
        self._reader = LogReader(folder)
        self._bytes = 0
        self._newest_ms = 0
        self.after = 0  # sequence of the last record read
        self.ahead: deque[tuple[int, StreamRecord]] = deque()  # with the stamp for merging

    def fill(self, limit: int) -> bool:
        """Read on; True when it stopped before the end of the partition."""
        if len(self.ahead) >= limit or self._bytes >= _BUFFER_BYTES:
            return True
        for seq, payload in self._reader.read(self.after):
            at_ms, key_length = _HEAD.unpack_from(payload)
            start = _HEAD.size + max(0, key_length)
            key = None if key_length < 0 else payload[_HEAD.size : start]
            self._newest_ms = max(self._newest_ms, at_ms)
            record = StreamRecord(self._topic, self._partition, seq - 1, key, payload[start:], at_ms)
            self.ahead.append((self._newest_ms, record))
            self._bytes += len(payload)
            self.after = seq
            if len(self.ahead) >= limit or self._bytes >= _BUFFER_BYTES:
                return True
        return False

    def pop(self) -> StreamRecord:
        record = self.ahead.popleft()[1]
        self._bytes -= _HEAD.size + len(record.key or b"") + len(record.value)
        return record

    def begin(self, start: Start, committed: int | None) -> int:
        """Place the tail; returns the sequence before the first record to deliver."""
        before_first = self._reader.first_seq() - 1
        if start.kind == "earliest" or (start.kind == "committed" and committed is None):
            self.after = before_first
        elif start.kind in ("committed", "new") and committed is not None:
            self.after = max(before_first, min(committed, self._last(before_first)))
        elif start.kind == "time":
            self.after = self._before(start.at_ms, before_first)
        else:
            self.after = self._last(before_first)
        return self.after

    def _last(self, before_first: int) -> int:
        last = before_first
        for last, _ in self._reader.read(before_first):  # noqa: B007 - only the end matters
            pass
        return last

    def _before(self, at_ms: int, before_first: int) -> int:
        last = before_first
        for seq, payload in self._reader.read(before_first):
            if _HEAD.unpack_from(payload)[0] >= at_ms:
                return last
            last = seq
        return last

    def close(self) -> None:
        self._reader.close()
