"""The journal: records of `records.py` in a segment log. The truth that everything else is folded from."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from hawksnest.log import SEGMENT_BYTES, LogReader, SegmentLog
from hawksnest.store.records import (
    EventDeleted,
    EventKey,
    EventSent,
    Labelled,
    Outline,
    Predicted,
    Record,
    Sealed,
    StoredEvent,
)
from hawksnest.store.sealing import Box, DataKeyId, Keyring, NotSealedHere, Reason


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


class ClosedEvent(EventHead, frozen=True, array_like=True):
    """The event of a sealed record that was not opened: nobody did it, `given` is only as long as it was."""


Head = SentHead | PredictedHead | Labelled | EventDeleted

_NOTHING = msgspec.Raw(b"\xc0")
_encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_decode_record: Callable[[bytes], Record | Sealed] = msgspec.msgpack.Decoder(Record | Sealed).decode
_decode_head: Callable[[bytes], Head | Sealed] = msgspec.msgpack.Decoder(Head | Sealed).decode
_decode_outline: Callable[[msgspec.Raw], Outline] = msgspec.msgpack.Decoder(Outline).decode


class Source(Protocol):
    """The log underneath: a writer's or a reader's."""

    def read(self, after: int = 0) -> Iterator[tuple[int, bytes]]: ...

    def get(self, seq: int) -> bytes | None: ...

    def close(self) -> None: ...


class JournalReader:
    """Reads a journal, also one that another process is writing."""

    def __init__(self, source: Source, keys: Keyring | None = None) -> None:
        """`keys`: what sealed records are opened with."""
        self._source = source
        self.keys = keys if keys is not None else Keyring()

    @classmethod
    def of(cls, folder: Path, keys: Keyring | None = None) -> "JournalReader":
        """A reader of the journal in `folder`; takes no lock and changes nothing."""
        return cls(LogReader(folder), keys)

    def read(self, after: int = 0) -> Iterator[tuple[int, Record | Outline]]:
        """Every record with a sequence above `after`, in order; of one that cannot be opened, its outline."""
        for seq, payload in self._source.read(after):
            record = _decode_record(payload)
            if isinstance(record, Sealed):
                outline, plain = self._opened(record)
                yield seq, outline if isinstance(plain, Reason) else _record(plain)
            else:
                yield seq, record

    def heads(self, after: int = 0, opened: bool = False) -> Iterator[tuple[int, Head]]:
        """The same, decoded only as far as projections and states need: about four times faster.

        Sealed records have a `ClosedEvent`, unless they are to be `opened` and can be.
        """
        for seq, payload in self._source.read(after):
            head = _decode_head(payload)
            yield seq, self._head(head, opened) if isinstance(head, Sealed) else head

    def get(self, seq: int) -> Record:
        """One record that is known to exist. Raises ServiceError when it cannot be opened."""
        record = _decode_record(self._payload(seq))
        if isinstance(record, Sealed):
            _, plain = self._opened(record)
            if isinstance(plain, Reason):
                raise plain.fault()
            return _record(plain)
        return record

    def listed(self, seq: int) -> Record:
        """One record that is known to exist; one that cannot be opened has what its outline says, no more."""
        record = _decode_record(self._payload(seq))
        if isinstance(record, Sealed):
            outline, plain = self._opened(record)
            return _blank(outline) if isinstance(plain, Reason) else _record(plain)
        return record

    def head(self, seq: int, opened: bool = False) -> Head:
        """One record, decoded only as far as projections and states need; see `heads`."""
        head = _decode_head(self._payload(seq))
        return self._head(head, opened) if isinstance(head, Sealed) else head

    def close(self) -> None:
        """Release the files."""
        self._source.close()

    def _payload(self, seq: int) -> bytes:
        payload = self._source.get(seq)
        assert payload is not None, f"record {seq} is missing from the journal"
        return payload

    def _head(self, sealed: Sealed, opened: bool) -> Head:
        if not opened:
            return _closed(_decode_outline(sealed.outline))
        outline, plain = self._opened(sealed)
        if isinstance(plain, Reason):
            return _closed(outline)
        head = _decode_head(plain)
        assert not isinstance(head, Sealed)
        return head

    def _opened(self, sealed: Sealed) -> tuple[Outline, bytes | Reason]:
        """The record that was sealed, or why it cannot be had."""
        outline = _decode_outline(sealed.outline)
        key = outline.key
        found = self.keys.find(DataKeyId(key.account, key.region, sealed.data_key))
        if isinstance(found, Box):
            try:
                return outline, found.open(sealed.box, bytes(sealed.outline))
            except NotSealedHere:
                found = Reason(
                    "AccessDeniedException",
                    f"The record of event {key.event_id} is not as it was sealed; restore the data folder "
                    "from a backup.",
                )
        return outline, found


class Journal(JournalReader):
    """The writer of a journal; one in the world."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES, keys: Keyring | None = None) -> None:
        """Open or create. Raises StorageFull and LogDamaged."""
        self.log = SegmentLog(folder, segment_bytes)
        super().__init__(self.log, keys)

    def append(self, record: Record) -> int:
        """Buffer a record, sealed if its tenant has an encryption key; returns its sequence.

        Raises StorageFull, and ServiceError when the tenant's data key cannot be had; then nothing was
        appended.
        """
        payload = _encode(record)
        sealing = self.keys.sealing
        if sealing and isinstance(record, (EventSent, Predicted)):
            key = record.event.key
            found = sealing.get((key.account, key.region))
            if isinstance(found, Box):
                payload = _sealed(record, payload, found)
            elif found is not None:
                raise found.fault()
        return self.log.append(payload)

    def append_together(self, records: Sequence[Record]) -> int | None:
        """Buffer several records; returns the first one's sequence. None: `append` them one by one."""
        if self.keys.sealing:
            return None
        return self.log.append_together([_encode(record) for record in records])


def replay_journal(folder: Path, after: int = 0) -> Iterator[tuple[int, Record | Outline]]:
    """Every record above `after` of the journal in `folder`, read by whatever process."""
    reader = JournalReader.of(folder)
    try:
        yield from reader.read(after)
    finally:
        reader.close()


def given_bytes(event: StoredEvent) -> int:
    """Size of the event's variables in the journal: what statistics count."""
    return len(_encode(event.given))


def _sealed(record: EventSent | Predicted, plain: bytes, box: Box) -> bytes:
    """The record as it is appended for a tenant with an encryption key."""
    event = record.event
    of_all = (
        event.key,
        event.event_at_ms,
        event.timestamp,
        given_bytes(event),
        event.label,
        event.labelled_at,
        event.seen_at_ms,
        record.replaces,
        record.run,
        record.row,
    )
    if isinstance(record, Predicted):
        outline = Outline(
            True,
            *of_all,
            record.stored,
            record.predicted_at_ms,
            record.detector_id,
            record.detector_version,
        )
    else:
        outline = Outline(False, *of_all)
    shown = _encode(outline)
    return _encode(Sealed(msgspec.Raw(shown), box.id.number, box.seal(plain, shown)))


def _record(plain: bytes) -> Record:
    record = _decode_record(plain)
    assert not isinstance(record, Sealed)
    return record


def _closed(outline: Outline) -> SentHead | PredictedHead:
    """The head of a record that was not opened."""
    event = ClosedEvent(
        key=outline.key,
        event_at_ms=outline.event_at_ms,
        timestamp=_NOTHING,
        entity_type="",
        entity_id="",
        given=msgspec.Raw(bytes(outline.given_bytes)),  # nobody decodes it; its length is what counts
        label=outline.label,
        labelled_at=outline.labelled_at,
        seen_at_ms=outline.seen_at_ms,
    )
    if not outline.decided:
        return SentHead(event, outline.replaces)
    return PredictedHead(
        event=event,
        stored=outline.stored,
        predicted_at_ms=outline.predicted_at_ms,
        detector_id=outline.detector_id,
        detector_version=outline.detector_version,
        execution_mode=_NOTHING,
        values=_NOTHING,
        scores=_NOTHING,
        trace=_NOTHING,
        results=_NOTHING,
        list_revisions=_NOTHING,
        revision=_NOTHING,
        replaces=outline.replaces,
    )


def _blank(outline: Outline) -> EventSent | Predicted:
    """A record with what its outline says and nothing else."""
    event = StoredEvent(
        key=outline.key,
        event_at_ms=outline.event_at_ms,
        timestamp=outline.timestamp,
        entity_type="",
        entity_id="",
        given={},
        label=outline.label,
        labelled_at=outline.labelled_at,
        seen_at_ms=outline.seen_at_ms,
    )
    if not outline.decided:
        return EventSent(event, outline.replaces, outline.run, outline.row)
    return Predicted(
        event=event,
        stored=outline.stored,
        predicted_at_ms=outline.predicted_at_ms,
        detector_id=outline.detector_id,
        detector_version=outline.detector_version,
        execution_mode="",
        values={},
        scores=[],
        trace=[],
        results=[],
        list_revisions={},
        revision=0,
        replaces=outline.replaces,
        run=outline.run,
        row=outline.row,
    )
