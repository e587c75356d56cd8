"""The embedded log: topics in a folder, opened by several processes at once, on segments of `log.py`.

    DIR/<topic>/topic.json            number of partitions
    DIR/<topic>/<partition>/          segments, and `lock`: held while somebody appends
    DIR/<topic>/groups/<group>.json   committed offsets; `<group>.lock`: held by the member that reads

One member of a group holds all partitions of a topic; further members wait until it closes or dies. Records
are delivered in the order in which they were produced: per partition always, over all partitions as far as
the producers' clocks tell (records without a key rely on it).
"""

import fcntl
import heapq
import json
import logging
import os
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hawksnest.errors import Poison, Transient, UsageError
from hawksnest.stream.partition import (
    End,
    Partition,
    Retention,
    Start,
    Tail,
    committed,
    payload_of,
    replace_file,
    sync_folder,
)
from hawksnest.stream.ports import Consumer, Producer, StreamRecord
from hawksnest.world import RealWorld, World

_log = logging.getLogger(__name__)

RECORD_BYTES_MAX = 1_048_576  # key and value of one record
PARTITIONS_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII)
_QUEUE_BYTES = 8 << 20  # a producer that has more unsent flushes by itself
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.001, 0.02  # between two looks for new records
_IDLE = threading.Event()  # never set: something to wait on


class EmbeddedLog:
    """`Log` over a folder."""

    def __init__(self, folder: Path, world: World | None = None, retention: Retention | None = None) -> None:
        self._folder = folder
        self._world = world or RealWorld()
        self._retention = retention or Retention()
        self._lock = threading.Lock()
        self._ends: dict[tuple[str, int], End] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise UsageError(f"The stream's folder {folder} cannot be used: {fault.strerror}.") from None

    def create_topic(self, topic: str, partitions: int = 4) -> None:
        """No effect when it is there."""
        _check_name("topic", topic)
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise UsageError(f"A topic has 1 to {PARTITIONS_MAX} partitions, not {partitions}.")
        final = self._folder / topic
        if (final / "topic.json").exists():
            return
        made = self._folder / f".new-{self._world.uuid()}"
        (made / "groups").mkdir(parents=True)
        for partition in range(partitions):
            (made / str(partition)).mkdir()
        replace_file(made / "topic.json", json.dumps({"partitions": partitions}).encode())
        try:
            made.rename(final)  # whole or not at all; another process may have been faster
        except OSError:
            if not (final / "topic.json").exists():
                raise
            for path in (*made.iterdir(), made):
                path.unlink() if path.is_file() else path.rmdir()
        sync_folder(self._folder)

    def producer(self) -> Producer:
        """A producer; several may be open in any number of processes."""
        return _EmbeddedProducer(self, self._world, self._retention)

    def consumer(self, topic: str, group: str, start: str = "committed") -> Consumer:
        """A member of a group."""
        _check_name("group", group)
        folder = self.folder_of(topic)
        return _EmbeddedConsumer(folder, topic, _Group(folder, group), Start.parse(start), self._world)

    def reader(self, topic: str) -> Consumer | None:
        """A consumer outside every group, from the beginning; None while the topic does not exist."""
        _check_name("topic", topic)
        folder = self._folder / topic
        if not (folder / "topic.json").exists():
            return None
        return _EmbeddedConsumer(folder, topic, None, Start("earliest"), self._world)

    def lag(self, topic: str, group: str) -> int:
        """Records of the topic that the group has not committed yet."""
        folder = self.folder_of(topic)
        done = committed(folder, group)
        total = 0
        for partition in _partitions(folder):
            with self._lock:
                end = self._ends.setdefault((topic, partition), End(folder / str(partition)))
                last, first = end.last_seq(), end.first_seq()
            total += max(0, last - max(done.get(partition, 0), first - 1))
        return total

    def close(self) -> None:
        """Producers and consumers are closed by whoever opened them."""
        for end in self._ends.values():
            end.close()
        self._ends.clear()

    def folder_of(self, topic: str) -> Path:
        """The topic's folder; creates a topic that is not there yet."""
        self.create_topic(topic)
        return self._folder / topic


def _check_name(what: str, name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name[:80]!r} is no name of a {what}: use letters, digits, '_', '-' and '.'.")


def _partitions(folder: Path) -> range:
    return range(json.loads((folder / "topic.json").read_bytes())["partitions"])


class _EmbeddedProducer:
    """Queues per partition; a flush writes and syncs each partition once. Safe in several threads."""

    def __init__(self, log: EmbeddedLog, world: World, retention: Retention) -> None:
        self._embedded = log
        self._world = world
        self._retention = retention
        self._lock = threading.Lock()  # the queues
        self._flushing = threading.Lock()
        self._counts: dict[str, int] = {}
        self._queues: dict[tuple[str, int], list[bytes]] = {}
        self._queued_bytes = 0
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._without_key: dict[str, int] = {}  # topic → partition of the batch being gathered
        self._turn = 0
        self._last_ms = 0
        self._closed = False

    def send(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Queue a record. Raises Poison(RecordTooLarge), Transient when it had to flush and could not."""
        size = len(value) + len(key or b"")
        if size > RECORD_BYTES_MAX:
            raise Poison(
                "RecordTooLarge", f"A record of {size} bytes; the log takes up to {RECORD_BYTES_MAX}."
            )
        if self._queued_bytes > _QUEUE_BYTES:
            self.flush()
        with self._lock:
            if self._closed:
                raise Transient("the producer is closed")
            partition = self._partition_of(topic, key)
            self._last_ms = max(self._last_ms, self._world.now_ms())
            payload = payload_of(value, key, self._last_ms)
            self._queues.setdefault((topic, partition), []).append(payload)
            self._queued_bytes += size

    def _partition_of(self, topic: str, key: bytes | None) -> int:
        count = self._counts.get(topic)
        if count is None:
            count = self._counts[topic] = len(_partitions(self._embedded.folder_of(topic)))
        if key is not None:
            return zlib.crc32(key) % count
        partition = self._without_key.get(topic)
        if partition is None:  # a batch stays together, the next one goes elsewhere and is stamped later
            self._turn += 1
            partition = self._without_key[topic] = self._turn % count
            self._last_ms += 1
        return partition

    def flush(self) -> None:
        """Return once everything sent is durable. Raises Transient; then the rest is still queued."""
        with self._flushing:
            with self._lock:
                taken, self._queues = self._queues, {}
                self._queued_bytes = 0
                self._without_key.clear()
            fault: Transient | None = None
            for place, payloads in taken.items():
                try:
                    self._partition(place).append(payloads)
                except Transient as met:
                    fault = met
            if fault is not None:
                self._put_back(taken)
                raise fault

    def _put_back(self, taken: dict[tuple[str, int], list[bytes]]) -> None:
        with self._lock:
            for place, payloads in taken.items():
                if payloads:
                    self._queues[place] = payloads + self._queues.get(place, [])
                    self._queued_bytes += sum(map(len, payloads))

    def _partition(self, place: tuple[str, int]) -> Partition:
        found = self._partitions.get(place)
        if found is None:
            folder = self._embedded.folder_of(place[0]) / str(place[1])
            found = self._partitions[place] = Partition(folder, self._retention, self._world)
        return found

    def close(self) -> None:
        """Flush what is queued; what the disk refuses is dropped with a log line."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush()
        except Transient as fault:
            _log.warning("records were not written at the end: %s", fault)
        for partition in self._partitions.values():
            partition.close()


class _Group:
    """Membership of a group: which member reads, and what is committed."""

    def __init__(self, folder: Path, group: str) -> None:
        self._path = folder / "groups" / f"{group}.json"
        self._folder = folder
        self._name = group
        self._lock = threading.Lock()
        self._committed: dict[int, int] = {}
        self._turn = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._reads = False

    def join(self, tails: list[Tail], start: Start) -> bool:
        """Become the member that reads if nobody else is, and place the tails."""
        if self._reads:
            return True
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        before = committed(self._folder, self._name)
        for partition, tail in enumerate(tails):
            self._committed[partition] = tail.begin(start, before.get(partition))
        if self._committed != before:
            self._save()  # registers the group: retention keeps what it has not read
        self._reads = True
        return True

    def commit(self, records: Sequence[StreamRecord]) -> None:
        with self._lock:
            assert self._reads or not records, "records come from a member that reads"
            for record in records:
                self._committed[record.partition] = record.offset + 1
            if records:
                try:
                    self._save()
                except OSError as fault:
                    raise Transient(f"offsets of {self._name} cannot be saved: {fault.strerror}") from fault

    def _save(self) -> None:
        text = json.dumps({str(partition): seq for partition, seq in self._committed.items()})
        replace_file(self._path, text.encode())

    def close(self) -> None:
        os.close(self._turn)


class _EmbeddedConsumer:
    """A member of a group, or a reader without one. `poll` is for one thread; `commit` may be another's."""

    def __init__(self, folder: Path, topic: str, group: _Group | None, start: Start, world: World) -> None:
        self._group = group
        self._start = start
        self._world = world
        self._tails = [Tail(topic, folder / str(partition)) for partition in _partitions(folder)]
        self._closed = False
        if group is None:
            for tail in self._tails:
                tail.begin(start, None)
        else:
            group.join(self._tails, start)

    def poll(self, limit: int, timeout_s: float) -> Sequence[StreamRecord]:
        """Up to `limit` records; empty after `timeout_s` without any, or while another member reads."""
        deadline_s = self._world.monotonic_s() + timeout_s
        pause_s = _PAUSE_MIN_S
        while True:
            if self._group is None or self._group.join(self._tails, self._start):
                records = list(self._take(limit))
                if records:
                    return records
            left_s = deadline_s - self._world.monotonic_s()
            if left_s <= 0:
                return []
            _IDLE.wait(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _take(self, limit: int) -> Iterator[StreamRecord]:
        """Merge the partitions by the time of production.

        A record is delivered once all partitions have been read after it was seen: whatever was produced
        before it is then at hand.
        """
        for tail in self._tails:
            tail.fill(limit)
        bound_ms = max((tail.ahead[-1][0] for tail in self._tails if tail.ahead), default=None)
        if bound_ms is None:
            return
        for tail in self._tails:
            if tail.fill(limit):
                bound_ms = min(bound_ms, tail.ahead[-1][0])
        heads = [(tail.ahead[0][0], place) for place, tail in enumerate(self._tails) if tail.ahead]
        heapq.heapify(heads)
        while heads and limit > 0 and heads[0][0] <= bound_ms:
            place = heads[0][1]
            tail = self._tails[place]
            yield tail.pop()
            limit -= 1
            if tail.ahead:
                heapq.heapreplace(heads, (tail.ahead[0][0], place))
            else:
                heapq.heappop(heads)

    def commit(self, records: Sequence[StreamRecord]) -> None:
        """The group resumes after these records; durable on return. Raises Transient."""
        if self._group is not None:
            self._group.commit(records)

    def close(self) -> None:
        """Leave the group; the next member goes on."""
        if self._closed:
            return
        self._closed = True
        if self._group is not None:
            self._group.close()
        for tail in self._tails:
            tail.close()
