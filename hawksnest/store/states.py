"""Entity states on disk: checkpoints, and folding the journal's tail into them.

A child process writes checkpoints (`checkpoint.py`) from the journal alone; the server never stops for it.
"""

import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hawksnest import faults
from hawksnest.catalog import Tenant
from hawksnest.config import SERVE, from_environment
from hawksnest.kernel.windows import EntityStates, Footprint
from hawksnest.kernel.windows import footprint as make_footprint
from hawksnest.store.checkpoint import checkpoints, restore, restore_part, write
from hawksnest.store.journal import ClosedEvent, EventHead, Head, JournalReader, PredictedHead, SentHead
from hawksnest.store.records import EventDeleted, Labelled, StoredEvent
from hawksnest.store.sealing import Keyring, UnknownDataKey

EVERY_RECORDS = 100_000  # at most; a young journal gets its checkpoints sooner
FIRST_RECORDS = 20_000  # folded again in less than half a second
AT_SHUTDOWN_RECORDS = 20_000  # fewer are folded again faster than a checkpoint is written
SHUTDOWN_WAIT_S = 1.0

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
    Predictions that were not stored and labels change nothing, nor does what is sealed and cannot be opened.
    """
    for seq, head in journal.heads(after, opened=True):
        yield change(journal, seq, head)


def change(journal: JournalReader, seq: int, head: Head) -> Change:
    """What one record, whose head was opened, does to the entity states."""
    revert = fold = None
    if not isinstance(head, Labelled):
        if not isinstance(head, EventDeleted) and (isinstance(head, SentHead) or head.stored):
            fold = _mark(head.event)
        if head.replaces:
            replaced = journal.head(head.replaces, opened=True)
            assert isinstance(replaced, SentHead | PredictedHead)
            revert = _mark(replaced.event)
    return Change(seq, revert, fold)


def _mark(event: EventHead) -> Footprint | None:
    return None if isinstance(event, ClosedEvent) else footprint(event)


def apply(states: EntityStates, change: Change, of: Callable[[tuple[str, str]], bool] | None = None) -> None:
    """Do to the states what a record does; `of`: only if it is one of these tenants'."""
    _, revert, fold = change
    if revert is not None and (of is None or of(revert[:2])):
        states.revert(revert)
    if fold is not None and (of is None or of(fold[:2])):
        states.fold(fold)


def replay_states(
    journal: JournalReader,
    states: EntityStates,
    after: int = 0,
    upto: int | None = None,
    of: Callable[[tuple[str, str]], bool] | None = None,
) -> int:
    """Fold everything above `after`, up to `upto`, into the states; returns the last sequence folded.

    `of`: only what is of these tenants (account, region). In a child, ends before the first record that is
    sealed with a data key younger than the child.
    """
    try:
        for each in changes(journal, after):
            if upto is not None and each.seq > upto:
                break
            apply(states, each, of)
            after = each.seq
    except UnknownDataKey:
        pass
    return after


def load_states(folder: Path, journal: JournalReader, last_seq: int) -> tuple[EntityStates, int]:
    """The states after record `last_seq`, and the sequence of the checkpoint they were made from.

    Checkpoints that are damaged or ahead of the journal are removed; without any the whole journal is
    folded. Of tenants that are locked out the states may be anything; `rebuilt` makes them anew.
    """
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    for seq, path in checkpoints(folder):
        try:
            if seq <= last_seq:
                states, unfit = restore(path, seq, journal.keys)
                _go_on(journal, states, seq, unfit)
                return states, seq
            _log.warning("checkpoint %s is ahead of the journal and was removed", path.name)
        except ValueError as error:
            _log.warning("checkpoint %s was removed: %s", path.name, error)
        path.unlink()
    states = EntityStates()
    replay_states(journal, states)
    return states, 0


def _go_on(journal: JournalReader, states: EntityStates, after: int, unfit: set[Tenant]) -> int:
    """Fold the journal's tail into the states of a checkpoint, and make those of `unfit` tenants anew.

    Returns the last sequence folded. Tenants that are locked out are left as they are.
    """
    if not unfit:
        return replay_states(journal, states, after)
    last = replay_states(journal, states, after, of=lambda tenant: tenant not in unfit)
    anew = {tenant for tenant in unfit if not journal.keys.locked(tenant)}
    if anew:
        fresh = EntityStates()
        replay_states(journal, fresh, 0, last, anew.__contains__)
        for tenant in anew:
            states.adopt(fresh, *tenant)
    return last


def rebuilt(
    folder: Path, journal: JournalReader, tenant: Tenant, upto: int, mine: Callable[[tuple[str, str]], bool]
) -> EntityStates:
    """The states of one tenant after record `upto`, from all of its events that can be read now.

    `mine` says whether something is the tenant's; it may raise to stop.
    """
    states, after = EntityStates(), 0
    for seq, path in checkpoints(folder):
        with contextlib.suppress(ValueError, OSError):  # damaged, or the child has removed it meanwhile
            found = restore_part(path, seq, tenant, journal.keys) if seq <= upto else None
            if found is not None:
                states, after = found, seq
                break
    replay_states(journal, states, after, upto, mine)
    return states


def write_checkpoint(data_folder: Path, keys: Keyring | None = None) -> int:
    """Write a checkpoint of the states at the journal's end; returns its sequence. Run in a child process.

    The previous checkpoint plus the journal's tail make the new one. Nothing of the server is touched.
    `keys`: what the server had when it started the child; what is sealed with a younger data key ends it.
    """
    faults.arm(from_environment(next(option for option in SERVE if option.name == "fail-point")))
    folder = data_folder / "states"
    keys = keys if keys is not None else Keyring(partial=True)
    journal = JournalReader.of(data_folder / "journal", keys)
    try:
        states, unfit, seq = EntityStates(), set[Tenant](), 0
        for found, path in checkpoints(folder):
            try:
                states, unfit = restore(path, found, keys)
                seq = found
                break
            except ValueError:  # the server removes it at its next start
                continue
        last = _go_on(journal, states, seq, unfit)
    finally:
        journal.close()
    if last > seq:
        write(folder, last, states, keys, {each for each in keys.tenants() if keys.locked(each)})
    return last


class Checkpointer:
    """Starts the child that writes checkpoints, at most one at a time."""

    def __init__(
        self,
        data_folder: Path,
        last_checkpoint_seq: int,
        every: int = EVERY_RECORDS,
        keys: Keyring | None = None,
    ) -> None:
        self._data_folder = data_folder
        self._keys = keys if keys is not None else Keyring()
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
        handed = self._keys.handed()
        with contextlib.suppress(OSError):
            # The worker ends when its standard input does: it never outlives this process.
            self._child = subprocess.Popen(
                [*command, *handed.flag], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            self._seq = durable_seq
            handed.to(self._child)
