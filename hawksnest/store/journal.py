"""The journal: records of `records.py` in a segment log. The truth that everything else is folded from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from hawksnest.log import SEGMENT_BYTES, LogReader, SegmentLog
from hawksnest.store.records import EventDeleted, EventKey, Labelled, Record


class EventHead(msgspec.Struct, frozen=True, array_like=True):
    """What projections and entity states need of a `StoredEvent`; the rest is skipped, not decoded."""

    key: EventKey
    event_at_ms: int
    timestamp: msgspec.Raw
    entity_type: str
    entity_id: str
    given: msgspec.Raw
    amount: float | None = None
    identities: list[tuple[str, str]] = []
    label: str | None = None
    labelled_at: str | None = None
    seen_at_ms: int = 0


class SentHead(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """`EventSent`, undecoded where nobody looks."""

    event: EventHead
    replaces: int = 0


class PredictedHead(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """`Predicted`, undecoded where nobody looks."""

    event: EventHead
    stored: bool
    predicted_at_ms: int
    detector_id: str
    detector_version: str
    execution_mode: msgspec.Raw
    values: msgspec.Raw
    scores: msgspec.Raw
    trace: msgspec.Raw
    results: msgspec.Raw
    list_revisions: msgspec.Raw
    revision: msgspec.Raw
    replaces: int = 0


Head = SentHead | PredictedHead | Labelled | EventDeleted

_encoder = msgspec.msgpack.Encoder()
_decode_record: Callable[[bytes], Record] = msgspec.msgpack.Decoder(Record).decode
_decode_head: Callable[[bytes], Head] = msgspec.msgpack.Decoder(Head).decode


class Source(Protocol):
    """The log underneath: a writer's or a reader's."""

    def read(self, after: int = 0) -> Iterator[tuple[int, bytes]]: ...

    def get(self, seq: int) -> bytes | None: ...

    def close(self) -> None: ...


class JournalReader:
    """Reads a journal, also one that another process is writing."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @classmethod
    def of(cls, folder: Path) -> "JournalReader":
        """A reader of the journal in `folder`; takes no lock and changes nothing."""
        return cls(LogReader(folder))

    def read(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Every record with a sequence above `after`, in order."""
        for seq, payload in self._source.read(after):
            yield seq, _decode_record(payload)

    def heads(self, after: int = 0) -> Iterator[tuple[int, Head]]:
        """The same, decoded only as far as projections and states need: about four times faster."""
        for seq, payload in self._source.read(after):
            yield seq, _decode_head(payload)

    def get(self, seq: int) -> Record:
        """One record that is known to exist."""
        payload = self._source.get(seq)
        assert payload is not None, f"record {seq} is missing from the journal"
        return _decode_record(payload)

    def head(self, seq: int) -> Head:
        """The same, decoded only as far as projections and states need."""
        payload = self._source.get(seq)
        assert payload is not None, f"record {seq} is missing from the journal"
        return _decode_head(payload)

    def close(self) -> None:
        """Release the files."""
        self._source.close()


class Journal(JournalReader):
    """The writer of a journal; one in the world."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or create. Raises StorageFull and LogDamaged."""
        self.log = SegmentLog(folder, segment_bytes)
        super().__init__(self.log)

    def append(self, record: Record) -> int:
        """Buffer a record; returns its sequence. Raises StorageFull, then nothing was appended."""
        return self.log.append(_encoder.encode(record))


def replay_journal(folder: Path, after: int = 0) -> Iterator[tuple[int, Record]]:
    """Every record above `after` of the journal in `folder`, read by whatever process."""
    reader = JournalReader.of(folder)
    try:
        yield from reader.read(after)
    finally:
        reader.close()
