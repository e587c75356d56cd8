"""The stream as the pipeline sees it: topics, partitions, groups. Embedded log and Kafka pass one suite."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class StreamRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    produced_at_ms: int


class Producer(Protocol):
    def send(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Queue a record; records with the same key keep their order. Blocks when the queue is full."""

    def flush(self) -> None:
        """Return once everything sent is durable. Raises Transient when it cannot be."""

    def close(self) -> None: ...


class Consumer(Protocol):
    """One member of a group reading one topic; delivers each partition in order from the committed offset."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[StreamRecord]:
        """Up to `limit` records; empty after `timeout_s` without any."""

    def commit(self, records: Sequence[StreamRecord]) -> None:
        """The group resumes after these records; durable on return."""

    def close(self) -> None: ...


class Log(Protocol):
    """Where topics live: `file://DIR` (embedded) or `kafka://HOST:PORT`."""

    def create_topic(self, topic: str, partitions: int = 4) -> None:
        """No effect when it is there."""

    def producer(self) -> Producer: ...

    def consumer(self, topic: str, group: str, start: str = "committed") -> Consumer:
        """`start`: committed (earliest when there is none), new (committed; latest when there is none),
        latest, earliest or an ISO time."""

    def reader(self, topic: str) -> Consumer | None:
        """A consumer outside every group: from the beginning, `commit` has no effect, any number at once.

        None while the topic does not exist.
        """

    def lag(self, topic: str, group: str) -> int:
        """Records of the topic that the group has not committed yet."""

    def close(self) -> None: ...
