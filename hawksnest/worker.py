"""Child processes of the server: `python -m hawksnest.worker COMMAND PATH [--keys]`.

With --keys the server writes data keys into the child's standard input before anything else.

A child lives as long as its standard input stays open: the server's end closes when the server ends, however
it does, so no child outlives it or competes with the one that the next server starts.
"""

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from hawksnest import batch
from hawksnest.catalog import Tenant
from hawksnest.errors import UsageError
from hawksnest.ml import spec as files
from hawksnest.store.journal import JournalReader
from hawksnest.store.sealing import FLAG, Handed, Keyring, Reason
from hawksnest.store.states import write_checkpoint
from hawksnest.world import RealWorld

NICENESS = 10  # decisions come first
PROGRESS_EVERY_S = 0.5
ORPHANED = 3  # exit code when the server is gone


def train(folder: Path, line: bytes) -> None:
    """Run the training of a folder: `spec.json` in, `progress.json` on the way, `result.json` at the end."""
    from hawksnest.ml.training import train as run  # numpy, scikit-learn and LightGBM: only here

    spec = msgspec.json.decode((folder / files.SPEC).read_bytes(), type=files.TrainingSpec)
    keys = _keys(line)
    with _alone(folder / "lock"), _journal(spec, keys) as journal:
        outcome = run(spec, _reporter(folder), journal, keys.newest(Tenant(spec.account, spec.region)))
        files.write(folder / files.RESULT, outcome)


def checkpoint(data_folder: Path, line: bytes) -> None:
    """Write a checkpoint of the entity states of a data folder."""
    write_checkpoint(data_folder, _keys(line, partial=True))


def prepare(folder: Path, line: bytes) -> None:
    """Check the file of a batch job: `plan.json` in, rows and `summary.json` out."""
    from hawksnest.ops.batch_rows import prepare as run

    plan = msgspec.json.decode((folder / batch.PLAN).read_bytes(), type=batch.Plan)
    box = next(iter(_keys(line).sealing.values()), None)  # of the one tenant whose job it is
    assert not isinstance(box, Reason), "a tenant that is locked out starts no job"
    with _alone(folder / "lock"):
        run(plan, folder, box=box)


def _keys(line: bytes, partial: bool = False) -> Keyring:
    return Keyring.taken(line, partial) if line else Keyring(partial)


@contextmanager
def _journal(spec: files.TrainingSpec, keys: Keyring) -> Iterator[JournalReader | None]:
    """The journal, read beside the server that writes it; None for a training that needs none."""
    if isinstance(spec.source, files.IngestedEvents):
        with closing(JournalReader.of(Path(spec.source.data) / "journal", keys)) as journal:
            yield journal
    else:
        yield None


def _reporter(folder: Path) -> Callable[[float, str], None]:
    """Writes the progress file, at most twice a second."""
    world = RealWorld()
    due = world.monotonic_s()

    def report(share: float, text: str) -> None:
        nonlocal due
        now = world.monotonic_s()
        if now >= due:
            due = now + PROGRESS_EVERY_S
            files.write(folder / files.PROGRESS, files.Progress(round(share, 3), text))

    return report


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other child works on the folder: one whose server died needs a moment to notice."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with_server() -> None:
    """Leave at once when standard input closes."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="server-watch", daemon=True).start()


COMMANDS: dict[str, Callable[[Path, bytes], None]] = {
    "train": train,
    "checkpoint": checkpoint,
    "prepare": prepare,
}


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is 0 when it did its work."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    handed = arguments[2:] == [FLAG]
    if len(arguments) != 2 + handed or arguments[0] not in COMMANDS:
        raise UsageError(f"usage: python -m hawksnest.worker {{{'|'.join(COMMANDS)}}} PATH [{FLAG}]")
    command, path = arguments[:2]
    os.nice(NICENESS)
    line = Handed.taken(0) if handed else b""
    _end_with_server()
    COMMANDS[command](Path(path), line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
