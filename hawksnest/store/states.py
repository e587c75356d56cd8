"""Entity states on disk: checkpoints, and folding the journal's tail into them.

A checkpoint is a file `<sequence>.states`: a header and the chunks of `EntityStates.snapshot()`, each with
its length and checksum. A child process writes it from the journal alone; the server never stops for it.
"""

import contextlib
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from hawksnest import faults
from hawksnest.config import SERVE, from_environment
from hawksnest.kernel.windows import EntityStates, Footprint
from hawksnest.kernel.windows import footprint as make_footprint
from hawksnest.log import sync_folder
from hawksnest.store.journal import EventHead, Head, JournalReader, PredictedHead, SentHead
from hawksnest.store.records import EventDeleted, Labelled, StoredEvent

EVERY_RECORDS = 100_000  # at most; a young journal gets its checkpoints sooner
FIRST_RECORDS = 20_000  # folded again in less than half a second
AT_SHUTDOWN_RECORDS = 20_000  # fewer are folded again faster than a checkpoint is written
SHUTDOWN_WAIT_S = 1.0
KEPT = 2

_MAGIC = b"HNSTSTA1"
_HEADER = struct.Struct("<8sQI")
_CHUNK = struct.Struct("<II")

_log = logging.getLogger(__name__)


class Change(NamedTuple):
    """What one record does to the entity states: first `revert`, then `fold`."""

    seq: int
    revert: Footprint | None
    fold: Footprint | None


def footprint(event: StoredEvent | EventHead) -> Footprint:
    """What a stored event leaves in the entity states."""
    return make_footprint(
        event.key.tenant,
        event.key.event_type,
        event.entity_type,
        event.entity_id,
        event.event_at_ms,
        event.amount,
        event.identities,
    )


def changes(journal: JournalReader, after: int = 0) -> Iterator[Change]:
    """What the records above `after` do to the entity states, in order.

    A stored form reverts the one it replaces, so that an event id counts once; so does a deletion.
    Predictions that were not stored and labels change nothing.
    """
    for seq, head in journal.heads(after):
        yield _change(journal, seq, head)


def _change(journal: JournalReader, seq: int, head: Head) -> Change:
    revert = fold = None
    if not isinstance(head, Labelled):
        if not isinstance(head, EventDeleted) and (isinstance(head, SentHead) or head.stored):
            fold = footprint(head.event)
        if head.replaces:
            replaced = journal.head(head.replaces)
            assert isinstance(replaced, SentHead | PredictedHead)
            revert = footprint(replaced.event)
    return Change(seq, revert, fold)


def replay_states(journal: JournalReader, states: EntityStates, after: int = 0) -> int:
    """Fold everything above `after` into the states; returns the last sequence folded."""
    for seq, revert, fold in changes(journal, after):
        if revert is not None:
            states.revert(revert)
        if fold is not None:
            states.fold(fold)
        after = seq
    return after


def load_states(folder: Path, journal: JournalReader, last_seq: int) -> tuple[EntityStates, int]:
    """The states after record `last_seq`, and the sequence of the checkpoint they were made from.

    Checkpoints that are damaged or ahead of the journal are removed; without any the whole journal is
    folded.
    """
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    for seq, path in _checkpoints(folder):
        try:
            if seq <= last_seq:
                states = _restore(path, seq)
                replay_states(journal, states, seq)
                return states, seq
            _log.warning("checkpoint %s is ahead of the journal and was removed", path.name)
        except ValueError as error:
            _log.warning("checkpoint %s was removed: %s", path.name, error)
        path.unlink()
    states = EntityStates()
    replay_states(journal, states)
    return states, 0


def write_checkpoint(data_folder: Path) -> int:
    """Write a checkpoint of the states at the journal's end; returns its sequence. Run in a child process.

    The previous checkpoint plus the journal's tail make the new one. Nothing of the server is touched.
    """
    faults.arm(from_environment(next(option for option in SERVE if option.name == "fail-point")))
    folder = data_folder / "states"
    journal = JournalReader.of(data_folder / "journal")
    try:
        states, seq = EntityStates(), 0
        for found, path in _checkpoints(folder):
            try:
                states, seq = _restore(path, found), found
                break
            except ValueError:  # the server removes it at its next start
                continue
        last = replay_states(journal, states, seq)
    finally:
        journal.close()
    if last > seq:
        _write(folder, last, states)
    return last


def _write(folder: Path, seq: int, states: EntityStates) -> None:
    path = folder / f"{seq:020d}.states"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_HEADER.pack(_MAGIC, seq, crc32(_MAGIC + seq.to_bytes(8, "little"))))
            for chunk in states.snapshot():
                file.write(_CHUNK.pack(len(chunk), crc32(chunk)))
                file.write(chunk)
                if faults.armed:
                    file.flush()
                    faults.point("in_checkpoint")
            file.write(_CHUNK.pack(0, 0))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    for _, old in _checkpoints(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def _restore(path: Path, seq: int) -> EntityStates:
    """The states of a checkpoint that is whole to its last byte. Raises ValueError."""
    chunks = _read(path, seq)
    states = EntityStates.restore(chunks)
    if next(chunks, None) is not None:
        raise ValueError("it goes on after its end")
    return states


def _read(path: Path, seq: int) -> Iterator[bytes]:
    """The chunks of a checkpoint. Raises ValueError as soon as something is wrong with it."""
    with path.open("rb") as file:
        if file.read(_HEADER.size) != _HEADER.pack(_MAGIC, seq, crc32(_MAGIC + seq.to_bytes(8, "little"))):
            raise ValueError("its header is damaged")
        while True:
            head = file.read(_CHUNK.size)
            if len(head) < _CHUNK.size:
                raise ValueError("it ends early")
            length, crc = _CHUNK.unpack(head)
            if length == 0:
                if crc or file.read(1):
                    raise ValueError("its end is damaged")
                return
            chunk = file.read(length)
            if len(chunk) < length or crc32(chunk) != crc:
                raise ValueError("a chunk is damaged")
            yield chunk


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(sequence, file) of the finished checkpoints, newest first."""
    return sorted(
        ((int(path.stem), path) for path in folder.glob("*.states") if path.stem.isdigit()), reverse=True
    )


class Checkpointer:
    """Starts the child that writes checkpoints, at most one at a time."""

    def __init__(self, data_folder: Path, last_checkpoint_seq: int, every: int = EVERY_RECORDS) -> None:
        self._data_folder = data_folder
        self._seq = last_checkpoint_seq
        self._every = every
        self._child: subprocess.Popen[bytes] | None = None

    def tick(self, durable_seq: int) -> None:
        """Start a checkpoint when `every` records, or a quarter of a young journal, came since the last."""
        if self._child is not None:
            code = self._child.poll()
            if code is None:
                return
            self._release()
            if code != 0:
                _log.warning("writing a checkpoint failed with exit code %s", code)
        if durable_seq - self._seq >= min(self._every, max(FIRST_RECORDS, durable_seq // 4)):
            self._start(durable_seq)

    def close(self, durable_seq: int) -> None:
        """A last checkpoint if it is worth it, within SHUTDOWN_WAIT_S; it can always be made up for."""
        if self._child is None and durable_seq - self._seq >= AT_SHUTDOWN_RECORDS:
            self._start(durable_seq)
        if self._child is not None:
            try:
                self._child.wait(SHUTDOWN_WAIT_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._release()

    def _release(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None

    def _start(self, durable_seq: int) -> None:
        command = [sys.executable, "-m", "hawksnest.worker", "checkpoint", str(self._data_folder)]
        with contextlib.suppress(OSError):
            # The worker ends when its standard input does: it never outlives this process.
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self._seq = durable_seq
