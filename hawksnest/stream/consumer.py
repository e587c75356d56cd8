"""What consumers of a topic share: which records are in work, and up to where the group may commit.

Three kinds of offset matter. A record is *taken* when it has been read, *finished* when nothing remains to be
done for it (its output is queued), *resumable* when it and everything before it in its partition is finished:
only resumable offsets are committed, and only after the outputs are durable.
"""

import threading
from collections import deque
from collections.abc import Sequence

from hawksnest.stream.ports import StreamRecord

Place = tuple[int, int]  # partition, offset


class Progress:
    """Records in work by partition. Safe to use from several threads; bounded by whoever calls `taken`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[int, deque[StreamRecord]] = {}
        self._finished: set[Place] = set()
        self._in_work = 0
        self._changes = 0

    def taken(self, records: Sequence[StreamRecord]) -> None:
        """Records were read, in offset order per partition."""
        with self._changed:
            for record in records:
                self._open.setdefault(record.partition, deque()).append(record)
            self._in_work += len(records)

    def finished(self, record: StreamRecord) -> None:
        """Nothing remains to be done for the record but to make its output durable."""
        with self._changed:
            self._finished.add((record.partition, record.offset))
            self._in_work -= 1
            self._changes += 1
            self._changed.notify_all()

    def resumable(self) -> list[StreamRecord]:
        """The last record per partition up to which everything is finished; forgets what is before it."""
        last = []
        with self._changed:
            for partition, records in self._open.items():
                record = None
                while records and (partition, records[0].offset) in self._finished:
                    record = records.popleft()
                    self._finished.discard((partition, record.offset))
                if record is not None:
                    last.append(record)
        return last

    @property
    def in_work(self) -> int:
        """Records that are taken and not finished."""
        return self._in_work

    @property
    def uncommitted(self) -> int:
        """Records that are taken and not yet handed out by `resumable`."""
        with self._changed:
            return sum(len(records) for records in self._open.values())

    def wait_for_change(self, known: int, timeout_s: float) -> int:
        """Return once more than `known` records were finished, or after the time-out; the new number."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > known, timeout_s)
            return self._changes
