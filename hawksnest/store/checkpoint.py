"""The file of a checkpoint of the entity states: `<sequence>.states`.

A header, then the chunks of `EntityStates.snapshot()`, each with its length and checksum, then an end mark.
With encryption keys about, a manifest stands before the chunks, and the states of each tenant that has a data
key follow behind them in a part of its own, every chunk sealed: states are named by entity ids, addresses and
numbers of people.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

import msgspec

from hawksnest import faults
from hawksnest.catalog import Tenant
from hawksnest.kernel.windows import EntityStates
from hawksnest.log import sync_folder
from hawksnest.store.sealing import Box, DataKeyId, Keyring

KEPT = 2

_PLAIN, _WITH_PARTS = b"HNSTSTA1", b"HNSTSTA2"
_HEADER = struct.Struct("<8sQI")
_CHUNK = struct.Struct("<II")


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What a checkpoint holds beside the states of tenants without a data key."""

    parts: list[DataKeyId] = []  # what seals each of the parts
    closed: list[DataKeyId] = []  # whose events could not be read, so are not in it
    left_out: list[Tenant] = []  # tenants whose states are not in it at all


class Restored(NamedTuple):
    """The states of a checkpoint, and the tenants of whom they are not those of all that can be read now."""

    states: EntityStates
    unfit: set[Tenant]


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(sequence, file) of the finished checkpoints, newest first."""
    return sorted(
        ((int(path.stem), path) for path in folder.glob("*.states") if path.stem.isdigit()), reverse=True
    )


def write(folder: Path, seq: int, states: EntityStates, keys: Keyring, left_out: set[Tenant]) -> None:
    """Write the states after record `seq`, but for the tenants left out; forget all but the newest."""
    path = folder / f"{seq:020d}.states"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    boxes = [box for tenant in sorted(keys.tenants() - left_out) if (box := keys.newest(tenant)) is not None]
    apart = {box.id.tenant for box in boxes} | left_out
    try:
        with temporary.open("wb") as file:
            magic = _WITH_PARTS if keys.tenants() or left_out else _PLAIN
            file.write(_header(magic, seq))
            if magic == _WITH_PARTS:
                manifest = Manifest([box.id for box in boxes], list(keys.closed), sorted(left_out))
                _write_chunks(file, iter([msgspec.msgpack.encode(manifest)]))
            _write_chunks(file, states.snapshot(lambda tenant: tenant not in apart))
            for box in boxes:
                place = _place(seq, box.id)
                part = states.snapshot(box.id.tenant.__eq__)
                _write_chunks(file, (box.seal(chunk, place) for chunk in part))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    for _, old in checkpoints(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def restore(path: Path, seq: int, keys: Keyring) -> Restored:
    """The states of a checkpoint that is whole to its last byte. Raises ValueError."""
    with path.open("rb") as file:
        manifest = _manifest(file, seq)
        states = _states(_chunks(file))
        unfit = {*manifest.left_out, *(id_.tenant for id_ in manifest.closed if id_ in keys.boxes)}
        for id_ in manifest.parts:
            box = keys.boxes.get(id_)
            if box is None:
                unfit.add(id_.tenant)
                for _ in _chunks(file):
                    pass
            else:
                states.adopt(_states(_opened(file, box, seq)), *id_.tenant)
        if file.read(1):
            raise ValueError("it goes on after its end")
        return Restored(states, unfit)


def restore_part(path: Path, seq: int, tenant: Tenant, keys: Keyring) -> EntityStates | None:
    """The states of one tenant from its part; None when there is none that is all that can be read now.

    Raises ValueError when the checkpoint is damaged.
    """
    with path.open("rb") as file:
        manifest = _manifest(file, seq)
        missed = any(id_ in keys.boxes and id_.tenant == tenant for id_ in manifest.closed)
        if missed or tenant in manifest.left_out:
            return None
        for _ in _chunks(file):
            pass
        for id_ in manifest.parts:
            box = keys.boxes.get(id_)
            if id_.tenant == tenant and box is not None:
                return _states(_opened(file, box, seq))
            for _ in _chunks(file):
                pass
    return None


def _header(magic: bytes, seq: int) -> bytes:
    return _HEADER.pack(magic, seq, crc32(magic + seq.to_bytes(8, "little")))


def _place(seq: int, id_: DataKeyId) -> bytes:
    return f"checkpoint {seq} {id_.account} {id_.region}".encode()


def _manifest(file: BinaryIO, seq: int) -> Manifest:
    """The manifest, behind the header; an empty one where there is none. Raises ValueError."""
    header = file.read(_HEADER.size)
    if header == _header(_PLAIN, seq):
        return Manifest()
    if header != _header(_WITH_PARTS, seq):
        raise ValueError("its header is damaged")
    try:
        return msgspec.msgpack.decode(b"".join(_chunks(file)), type=Manifest)
    except msgspec.MsgspecError:
        raise ValueError("its manifest is damaged") from None


def _states(chunks: Iterator[bytes]) -> EntityStates:
    """The states that all of these chunks are. Raises ValueError."""
    states = EntityStates.restore(chunks)
    if next(chunks, None) is not None:
        raise ValueError("it goes on after its end")
    return states


def _opened(file: BinaryIO, box: Box, seq: int) -> Iterator[bytes]:
    place = _place(seq, box.id)
    return (box.open(chunk, place) for chunk in _chunks(file))


def _write_chunks(file: BinaryIO, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        file.write(_CHUNK.pack(len(chunk), crc32(chunk)))
        file.write(chunk)
        if faults.armed:
            file.flush()
            faults.point("in_checkpoint")
    file.write(_CHUNK.pack(0, 0))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The chunks up to the next end mark. Raises ValueError as soon as something is wrong with them."""
    while True:
        head = file.read(_CHUNK.size)
        if len(head) < _CHUNK.size:
            raise ValueError("it ends early")
        length, crc = _CHUNK.unpack(head)
        if length == 0:
            if crc:
                raise ValueError("its end is damaged")
            return
        chunk = file.read(length)
        if len(chunk) < length or crc32(chunk) != crc:
            raise ValueError("a chunk is damaged")
        yield chunk
