"""Which ids have been dealt with: a bounded set that survives restarts, and one that follows a topic.

An id is kept as 16 bytes of its BLAKE2b digest: two different ids among ten million share one with a
probability below 10⁻²⁴.
"""

import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hawksnest.errors import Poison
from hawksnest.stream.ports import Log, StreamRecord

DIGEST_BYTES = 16
_BLOCK = 262_144  # digests that are sorted into an array together
_CATCH_UP = 2_000  # records read at a time


def digest(*parts: str | int) -> bytes:
    """The identity of an id that is made of several parts."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


class _Block:
    """Digests, sorted: 16 bytes each instead of the hundred that a set takes."""

    def __init__(self, digests: Iterable[bytes]) -> None:
        halves: npt.NDArray[Any] = (
            np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2).astype(np.uint64)
        )
        order = np.argsort(halves[:, 0], kind="stable")
        self._high = np.ascontiguousarray(halves[order, 0])
        self._low = np.ascontiguousarray(halves[order, 1])

    def holds(self, high: np.uint64, low: np.uint64) -> bool:
        """Is the digest of these two halves here?"""
        at = int(self._high.searchsorted(high))
        while at < len(self._high) and self._high[at] == high:
            if self._low[at] == low:
                return True
            at += 1
        return False


class SeenIds:
    """The newest `capacity` digests, oldest forgotten first; durable after `save`. Safe in several threads.

    The file is a plain row of digests in the order of arrival; a torn end is cut when it is opened.
    """

    def __init__(self, path: Path, capacity: int = 1_048_576) -> None:
        self._path = path
        self._capacity = capacity
        self._lock = threading.Lock()
        self._recent: dict[bytes, None] = {}
        self._blocks: deque[_Block] = deque()
        self._unsaved: list[bytes] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._load()

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        whole = size - size % DIGEST_BYTES
        if whole != size:
            os.ftruncate(self._file, whole)
        at = max(0, whole - self._capacity * DIGEST_BYTES)
        while at < whole:
            data = os.pread(self._file, min(whole - at, _BLOCK * DIGEST_BYTES), at)
            at += len(data)
            for start in range(0, len(data), DIGEST_BYTES):
                self._remember(data[start : start + DIGEST_BYTES])

    def _remember(self, wanted: bytes) -> None:
        self._recent[wanted] = None
        if len(self._recent) >= _BLOCK:
            self._blocks.append(_Block(self._recent))
            self._recent = {}
            while len(self._blocks) * _BLOCK > max(self._capacity, _BLOCK):
                self._blocks.popleft()

    def __contains__(self, wanted: bytes) -> bool:
        with self._lock:
            return self._has(wanted)

    def _has(self, wanted: bytes) -> bool:
        if wanted in self._recent:
            return True
        if not self._blocks:
            return False
        high, low = (np.uint64(int.from_bytes(half, "big")) for half in (wanted[:8], wanted[8:]))
        return any(block.holds(high, low) for block in self._blocks)

    def add(self, wanted: bytes) -> bool:
        """True when it was new; in memory only."""
        with self._lock:
            if self._has(wanted):
                return False
            self._remember(wanted)
            return True

    def keep(self, wanted: bytes) -> None:
        """Like `add`, and the next `save` writes it."""
        with self._lock:
            if not self._has(wanted):
                self._remember(wanted)
            self._unsaved.append(wanted)

    def save(self) -> None:
        """Everything kept so far survives from here on. Raises OSError when the disk refuses."""
        with self._lock:
            data = b"".join(self._unsaved)
            if not data:
                return
            if os.fstat(self._file).st_size + len(data) > 2 * self._capacity * DIGEST_BYTES:
                self._halve()
            start = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, data)
                while written < len(data):
                    written += os.write(self._file, data[written:])
                os.fdatasync(self._file)
            except OSError:
                with contextlib.suppress(OSError):  # what is left over is a second copy at most
                    os.ftruncate(self._file, start)
                raise
            self._unsaved.clear()

    def _halve(self) -> None:
        """Keep the newest `capacity` digests of the file, atomically."""
        size = os.fstat(self._file).st_size
        other = self._path.with_suffix(".new")
        kept = os.open(other, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        at = max(0, size - self._capacity * DIGEST_BYTES)
        while at < size:
            at += os.write(kept, os.pread(self._file, min(size - at, 1 << 20), at))
        os.fsync(kept)
        other.rename(self._path)
        os.close(self._file)
        self._file = kept

    def close(self) -> None:
        os.close(self._file)


IdOf = Callable[[StreamRecord], bytes]


class TopicIds:
    """The ids that a topic holds, kept up to date by the one process that writes them.

    The writer claims an id in memory before it sends the record; only ids that were read back from the topic
    are saved. So after a crash an id is known exactly when its record made it into the topic.
    """

    def __init__(self, log: Log, topic: str, group: str, id_of: IdOf, seen: SeenIds) -> None:
        self._log, self._topic, self._group = log, topic, group
        self._consumer = log.consumer(topic, group)
        self._id_of = id_of
        self._seen = seen

    def claim(self, wanted: bytes) -> bool:
        """True when no record of the topic has this id; from now on one has."""
        return self._seen.add(wanted)

    def recover(self, halt: threading.Event) -> None:
        """Before the first claim: read all that the topic holds, waiting for a predecessor to let go."""
        while not halt.is_set():
            self.catch_up()
            if self._log.lag(self._topic, self._group) == 0:
                return
            halt.wait(0.01)

    def catch_up(self) -> None:
        """Read what the topic has gained and save it."""
        while records := self._consumer.poll(_CATCH_UP, 0.0):
            for record in records:
                with contextlib.suppress(Poison):  # written by someone else: it has no id of ours
                    self._seen.keep(self._id_of(record))
            self._seen.save()
            self._consumer.commit(records)
            if len(records) < _CATCH_UP:
                return

    def close(self) -> None:
        self._consumer.close()
        self._seen.close()
