"""kill -9 of a process that appends: everything acknowledged is there, nothing twice, all counts right."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from recount import HERE, check_recount, key_of

from hawksnest.catalog import Label
from hawksnest.config import Settings
from hawksnest.faults import POINTS
from hawksnest.store.data_folder import Store, open_store
from hawksnest.world import RealWorld, seeded

CHILD = Path(__file__).parent / "store_child.py"
FEW_ROUNDS, MANY_ROUNDS = 2, 20
LONGEST_S = 60.0


class Auditor:
    """Remembers what was acknowledged over all rounds, and checks a reopened store against it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.acknowledged: dict[int, tuple[str, int]] = {}
        self.labels: set[str] = set()
        self.last_seq = 0

    def run(self, first: int, fail_point: str, acknowledgements: int) -> int:
        """Run the child; kill it after so many acknowledgements unless it dies before. Its exit code."""
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(self.data), str(first), fail_point],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"HAWKSNEST_FAIL_POINT": fail_point},
        )
        watchdog = threading.Timer(LONGEST_S, child.kill)
        watchdog.start()
        assert child.stdout is not None and child.stderr is not None
        with child.stdout, child.stderr:
            seen = 0
            # There it is the child's child that dies; this one goes on until that has happened.
            in_checkpoint = fail_point.startswith("in_checkpoint")
            for line in child.stdout:
                if not line.endswith("\n"):
                    break  # torn by the kill: the caller never got this answer
                self.hear(*line.split())
                seen += 1
                if seen >= acknowledgements and (not in_checkpoint or (seen % 50 == 0 and self.begun())):
                    child.send_signal(signal.SIGKILL)
            errors = child.stderr.read()
        code = child.wait()
        watchdog.cancel()
        watchdog.join()
        assert code == -signal.SIGKILL, errors
        return seen

    def begun(self) -> bool:
        """Has a checkpoint been cut off in the middle?"""
        return any((self.data / "states").glob("*.tmp"))

    def hear(self, seq: str, name: str, predicted_at_ms: str) -> None:
        if seq == "0":
            self.labels.add(name)
        else:
            assert int(seq) not in self.acknowledged, "one sequence, two records"
            self.acknowledged[int(seq)] = (name, int(predicted_at_ms))

    def check(self) -> None:
        store = open_store(Settings.of(data=self.data), RealWorld())
        try:
            self.check_store(store)
        finally:
            store.close()

    def check_store(self, store: Store) -> None:
        records = list(store.ledger.replay())
        assert [seq for seq, _ in records] == list(range(1, len(records) + 1))
        assert len(records) >= max(self.acknowledged, default=0), "an acknowledged record is lost"
        assert len(records) >= self.last_seq
        self.last_seq = len(records)
        by_seq = dict(records)
        for seq, (event_id, predicted_at_ms) in self.acknowledged.items():
            record = by_seq[seq]
            assert key_of(record).event_id == event_id
            assert getattr(record, "predicted_at_ms", 0) == predicted_at_ms
        for name in self.labels:
            assert store.catalog.get(HERE, Label, name) is not None, "an acknowledged resource is lost"
        check_recount(store, [record for _, record in records])


def rounds(data: Path, count: int, seed: int, fail_points: list[str]) -> None:
    auditor, random = Auditor(data), seeded(seed)
    for number in range(count):
        auditor.run(1 + number * 1_000_000, "", random.randrange(1, 1_500))
        auditor.check()
    for number, fail_point in enumerate(fail_points, count):
        enough = 3_000 if fail_point.startswith("in_checkpoint") else 50_000
        seen = auditor.run(1 + number * 1_000_000, fail_point, enough)
        if fail_point.startswith("in_checkpoint"):  # it is the child's child that dies there
            assert auditor.begun()
        else:
            assert seen < enough, "the fail point was never reached"
        auditor.check()


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    rounds(tmp_path, FEW_ROUNDS, 1, [])


@pytest.mark.parametrize("name", POINTS)
def test_nothing_acknowledged_is_lost_at_a_fail_point(tmp_path: Path, name: str) -> None:
    rounds(tmp_path, 0, 2, [f"{name}:{1 if name == 'in_checkpoint' else 17}"])


@pytest.mark.full
def test_twenty_kills_and_every_fail_point_on_one_folder(tmp_path: Path) -> None:
    points = [
        f"{name}:{number}"
        for name in POINTS
        if name != "in_checkpoint"
        for number in ((1, 2, 7) if name == "in_projection" else (1, 2, 17, 60))  # batches of it are large
    ]
    rounds(tmp_path, MANY_ROUNDS, 3, [*points, "in_checkpoint:1"])


def test_a_torn_write_under_the_last_acknowledgement_is_cut(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path)
    auditor.run(1, "", 100)
    auditor.check()
    newest = sorted((tmp_path / "journal").glob("*.log"))[-1]
    raw = newest.read_bytes()
    used = len(raw.rstrip(b"\0"))
    torn = raw[used - 300 : used - 100]  # half a record, as a crash leaves it
    newest.write_bytes(raw[: used + 8] + torn + raw[used + 8 + len(torn) :])
    auditor.check()
    auditor.run(1_000_001, "", 100)
    auditor.check()


def test_the_examples_of_the_child_meet_every_kind_of_record(tmp_path: Path) -> None:
    auditor = Auditor(tmp_path)
    auditor.run(1, "", 600)
    store = open_store(Settings.of(data=tmp_path), RealWorld())
    kinds = {type(record).__name__ for _, record in store.ledger.replay()}
    replaced = sum(bool(getattr(record, "replaces", 0)) for _, record in store.ledger.replay())
    store.close()
    assert kinds == {"EventSent", "Predicted", "Labelled", "EventDeleted"}
    assert replaced > 20
