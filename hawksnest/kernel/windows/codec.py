"""Entity states as bytes: a header, one record a key, a closing record; little-endian throughout."""

import json
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator

from hawksnest.kernel.windows.buckets import Ring
from hawksnest.kernel.windows.kinds import EntityState, IdentityState
from hawksnest.kernel.windows.limits import WINDOWS_MS, Limits

CHUNK_BYTES = 256 * 1024
VERSION = 1

_MAGIC = b"HNES"
_HEADER = struct.Struct("<4sHHIIQ")  # magic, version, windows, limits, next number
_LENGTH = struct.Struct("<I")
_KEY = struct.Struct(
    "<BHHHHHIQBII?"
)  # side, lengths of five texts, number, count, kinds, events, buckets, gone
_END = 255
_ENTITY, _IDENTITY = 0, 1
_MAX_RECORD = 64 * 1024 * 1024

Place = tuple[str, str, str]
Key = tuple[Place, str, str, EntityState | IdentityState]


def encode(limits: Limits, next_number: int, keys: Iterable[Key]) -> Iterator[bytes]:
    """Chunks of at most CHUNK_BYTES."""
    pending = bytearray(
        _HEADER.pack(
            _MAGIC, VERSION, len(WINDOWS_MS), limits.entity_events, limits.identity_events, next_number
        )
    )
    count = 0
    for key in keys:
        record = _record(key)
        pending += _LENGTH.pack(len(record)) + record
        count += 1
        while len(pending) >= CHUNK_BYTES:
            yield bytes(pending[:CHUNK_BYTES])
            del pending[:CHUNK_BYTES]
    closing = bytes([_END]) + count.to_bytes(8, "little")
    pending += _LENGTH.pack(len(closing)) + closing
    yield bytes(pending[:CHUNK_BYTES])
    if len(pending) > CHUNK_BYTES:
        yield bytes(pending[CHUNK_BYTES:])


def _record(key: Key) -> bytes:
    place, kind, value, state = key
    texts = [text.encode("utf-8", "surrogatepass") for text in (*place, kind, value)]
    start, width = state.start, state.width
    times, ids = state.times[start:], state.ids[start * width :]
    stride = state.stride
    state.settle()
    sums = state.sums[start * stride :]
    for column, base in enumerate(sums[:stride]):  # totals start at zero again, whatever was let go before
        sums[column::stride] = array("q", [total - base for total in sums[column::stride]])
    buckets = _buckets(state.buckets)
    side = _ENTITY if isinstance(state, EntityState) else _IDENTITY
    head = _KEY.pack(
        side,
        *map(len, texts),
        state.number,
        state.count,
        state.kinds,
        len(times),
        len(buckets),
        state.gone is not None,
    )
    gone = struct.pack("<2q", *state.gone) if state.gone is not None else b""
    return b"".join((head, *texts, gone, _packed(times), _packed(sums), _packed(ids), buckets))


def _packed(values: "array[int]") -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _buckets(rings: list[Ring] | None) -> bytes:
    """As JSON text: running totals of buckets have no bound."""
    if rings is None:
        return b""
    return json.dumps([[ring.floor, ring.marks, ring.sums] for ring in rings], separators=(",", ":")).encode()


def _rings(text: bytes) -> list[Ring] | None:
    if not text:
        return None
    rings = []
    for window, (floor, marks, sums) in enumerate(json.loads(text)):
        ring = Ring(window)
        ring.floor, ring.marks = floor, marks
        ring.sums = [(events, cents, log, square) for events, cents, log, square in sums]
        rings.append(ring)
    return rings


class _Reader:
    """Takes exact numbers of bytes from chunks of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        parts = []
        while size:
            if self._at == len(self._held):
                held = next(self._chunks, None)
                if held is None:
                    raise ValueError("the entity states end too early")
                self._held, self._at = held, 0
            part = self._held[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)


def decode(limits: Limits, chunks: Iterable[bytes]) -> tuple[int, Iterator[Key]]:
    """The next free number, and the keys in the order they were written.

    ValueError when the bytes are cut short, of another version, or were written under other limits.
    """
    reader = _Reader(chunks)
    magic, version, windows, entity_events, identity_events, next_number = _HEADER.unpack(
        reader.take(_HEADER.size)
    )
    if magic != _MAGIC or version != VERSION or windows != len(WINDOWS_MS):
        raise ValueError("these are no entity states, or of another version")
    if (entity_events, identity_events) != (limits.entity_events, limits.identity_events):
        raise ValueError("the entity states were kept under other limits")
    return next_number, _keys(reader)


def _keys(reader: _Reader) -> Iterator[Key]:
    count = 0
    while True:
        (size,) = _LENGTH.unpack(reader.take(_LENGTH.size))
        if size > _MAX_RECORD:
            raise ValueError("a record of the entity states is too long")
        record = reader.take(size)
        if record[0] == _END:
            if int.from_bytes(record[1:], "little") != count:
                raise ValueError("the entity states are incomplete")
            return
        yield _key(record)
        count += 1


def _key(record: bytes) -> Key:
    side, *sizes, number, count, kinds, events, bucket_bytes, has_gone = _KEY.unpack_from(record)
    rest = _Reader([record[_KEY.size :]])
    account, region, event_type, kind, value = (
        rest.take(size).decode("utf-8", "surrogatepass") for size in sizes
    )
    state: EntityState | IdentityState = EntityState(number) if side == _ENTITY else IdentityState(number)
    state.count, state.kinds = count, kinds
    if has_gone:
        state.gone = list(struct.unpack("<2q", rest.take(16)))
    state.times = _unpacked("q", rest.take(8 * events))
    state.sums = _unpacked("q", rest.take(8 * state.stride * (events + 1)))
    state.ids = _unpacked("I", rest.take(4 * state.width * events))
    state.recover()
    state.buckets = _rings(rest.take(bucket_bytes))
    return (account, region, event_type), kind, value, state


def _unpacked(code: str, data: bytes) -> "array[int]":
    values: array[int] = array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
