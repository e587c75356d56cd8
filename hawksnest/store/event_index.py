"""What is known of every event id: exact, in memory for new ids, on disk only for repeated ones.

Three layers: a dictionary of what the projection has not written yet, a growing Bloom filter over everything
it has written, and the projection's table, asked only when the filter says "perhaps".
"""

import threading
from array import array
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple

from hawksnest.store.journal import Head, PredictedHead
from hawksnest.store.ports import Known
from hawksnest.store.records import EventDeleted, EventKey, Labelled, Predicted, Record

SLICE_KEYS_MIN = 1 << 20
BITS_PER_KEY = 14
_WORD_BITS = 64


class Entry(NamedTuple):
    """The newest state of one event id. Sequences are 0 where there is nothing."""

    event_at_ms: int
    stored_seq: int  # record that holds its stored form
    decision_seq: int  # record of its newest prediction
    predicted_at_ms: int
    seq: int  # its newest record of any kind
    label: str | None = None
    labelled_at: str | None = None
    size_bytes: int = 0  # of the variables as stored; known to the projection only

    def known(self) -> Known:
        """What callers get to see."""
        return Known(self.event_at_ms, self.stored_seq > 0, self.decision_seq, self.predicted_at_ms, self.seq)


def key_of(record: Record | Head) -> EventKey:
    """The event id that a record is about."""
    if isinstance(record, (Labelled, EventDeleted)):
        return record.key
    return record.event.key


def advance(old: Entry | None, seq: int, record: Record | Head, size_bytes: int = 0) -> Entry | None:
    """The state after a record; None when nothing is known any more. A label outlives a stored form."""
    if isinstance(record, Labelled):
        if old is None or not old.stored_seq:
            return old
        return old._replace(seq=seq, label=record.label, labelled_at=record.labelled_at)
    if isinstance(record, EventDeleted):
        if record.history or old is None or not old.decision_seq:
            return None
        return Entry(old.event_at_ms, 0, old.decision_seq, old.predicted_at_ms, seq)
    event = record.event
    if isinstance(record, (Predicted, PredictedHead)):
        decision_seq, predicted_at_ms = seq, record.predicted_at_ms
        if not record.stored:
            if old is not None and old.stored_seq:
                return old._replace(decision_seq=seq, predicted_at_ms=predicted_at_ms, seq=seq)
            return Entry(event.event_at_ms, 0, seq, predicted_at_ms, seq)
    else:
        decision_seq, predicted_at_ms = (old.decision_seq, old.predicted_at_ms) if old is not None else (0, 0)
    label, labelled_at = event.label, event.labelled_at
    if label is None and old is not None:
        label, labelled_at = old.label, old.labelled_at
    return Entry(event.event_at_ms, seq, decision_seq, predicted_at_ms, seq, label, labelled_at, size_bytes)


def first_entry(seq: int, record: Predicted, size_bytes: int) -> Entry:
    """The state after a prediction of an event id of which nothing was known."""
    event, at_ms = record.event, record.predicted_at_ms
    if not record.stored:
        return Entry(event.event_at_ms, 0, seq, at_ms, seq)
    return Entry(event.event_at_ms, seq, seq, at_ms, seq, event.label, event.labelled_at, size_bytes)


def fingerprint(key: EventKey) -> int:
    """128 bits of an event id, the same in every process."""
    text = f"{key.account}\0{key.region}\0{key.event_type}\0{key.event_id}"
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "little")


def _masks(salt: bytes) -> list[int]:
    """512 words with four bits set."""
    masks = []
    for number in range(512):
        bits: list[int] = []
        for byte in blake2b(number.to_bytes(2, "little"), digest_size=32, salt=salt).digest():
            if byte % _WORD_BITS not in bits:
                bits.append(byte % _WORD_BITS)
        masks.append(sum(1 << bit for bit in bits[:4]))
    return masks


_PLACE = (1 << 54) - 1
_LOW, _HIGH = _masks(b"low"), _masks(b"high")


class Slice:
    """A Bloom filter of fixed capacity: four bits in each of two words a key; the first refuses most."""

    __slots__ = ("capacity", "count", "dirty", "words")

    def __init__(self, capacity: int, count: int = 0, words: bytes | None = None) -> None:
        self.capacity = capacity
        self.count = count
        self.dirty = words is None
        self.words = array("Q", words if words is not None else bytes(capacity * BITS_PER_KEY // 64 * 8))


class Filter:
    """A Bloom filter that grows by slices: says "no" for certain, "perhaps" wrongly once or twice in 100."""

    def __init__(self, slices: list[Slice] | None = None) -> None:
        self.slices = slices or [Slice(SLICE_KEYS_MIN)]

    def __len__(self) -> int:
        return sum(each.count for each in self.slices)

    def perhaps(self, print_: int) -> bool:
        """False: the fingerprint was never added."""
        low, high = _LOW[print_ & 511], _HIGH[print_ >> 9 & 511]
        first, second = print_ >> 18 & _PLACE, print_ >> 72
        for each in self.slices:
            words = each.words
            size = len(words)
            if words[first % size] & low == low and words[second % size] & high == high:
                return True
        return False

    def add(self, print_: int) -> None:
        """Never forgotten again."""
        if not self.perhaps(print_):
            self.add_new(print_)

    def add_new(self, print_: int) -> None:
        """The same for one that `perhaps` has just denied."""
        last = self.slices[-1]
        if last.count >= last.capacity:
            last = Slice(max(SLICE_KEYS_MIN, len(self) // 2))
            self.slices.append(last)
        size = len(last.words)
        last.words[(print_ >> 18 & _PLACE) % size] |= _LOW[print_ & 511]
        last.words[(print_ >> 72) % size] |= _HIGH[print_ >> 9 & 511]
        last.count += 1
        last.dirty = True


class EventIndex:
    """Exact answers about event ids. `look_up` reads the projection's row of a key."""

    def __init__(self, look_up: Callable[[EventKey], Entry | None]) -> None:
        self.filter = Filter()
        self._look_up = look_up
        self._tail: dict[EventKey, tuple[int, Entry | None]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tail)

    def entry(self, key: EventKey) -> Entry | None:
        """The newest state of an event id, including what is not durable yet."""
        newest = self._tail.get(key)
        if newest is not None:
            return newest[1]
        return self._look_up(key) if self.filter.perhaps(fingerprint(key)) else None

    def remembered(self, key: EventKey) -> tuple[bool, Entry | None]:
        """(True, the newest state) when memory alone tells it, else (False, None)."""
        newest = self._tail.get(key)
        if newest is not None:
            return True, newest[1]
        return not self.filter.perhaps(fingerprint(key)), None

    def appended(self, states: Iterable[tuple[EventKey, tuple[int, Entry | None]]]) -> None:
        """Records were appended: the sequence of each, and the state that it leaves its event id in."""
        with self._lock:
            self._tail.update(states)

    def projected(self, keys: Iterable[tuple[EventKey, int]], upto: int) -> None:
        """The projection has committed everything about these (key, fingerprint) up to that sequence."""
        for key, print_ in keys:
            self.filter.add(print_)
            with self._lock:
                newest = self._tail.get(key)
                if newest is not None and newest[0] <= upto:
                    del self._tail[key]

    def forget(self) -> None:
        """Start over with an empty filter, before a rebuild."""
        self.filter = Filter()
