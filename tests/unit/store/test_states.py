"""Entity states come back from a checkpoint and the journal's tail exactly as they were."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_examples import append, event, key, predicted, sent

from hawksnest.kernel.windows import EntityStates
from hawksnest.store.journal import Journal, JournalReader
from hawksnest.store.ledger import JournalLedger
from hawksnest.store.records import EventDeleted, Labelled, Record
from hawksnest.store.sqlite import Database
from hawksnest.store.states import (
    Checkpointer,
    changes,
    footprint,
    load_states,
    replay_states,
    write_checkpoint,
)
from hawksnest.world import seeded


class Data:
    """A data folder with a journal, and the states that a server would hold beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "states").mkdir()
        self.database = Database(folder / "hawksnest.sqlite")
        self.ledger = JournalLedger(self.database, Journal(folder / "journal", 256 << 10))
        self.random = seeded(5)

    def grow(self, records: int) -> None:
        """Append anything about few event ids: sent, predicted, labelled, deleted."""
        made: list[Record] = []
        for number in range(records):
            name, dice = f"e{self.random.randrange(40)}", self.random.random()
            at_ms = self.random.randrange(10_000_000)
            entity = f"c{self.random.randrange(5)}"
            if dice < 0.4:
                made.append(sent(name, at_ms, entity_id=entity, amount=float(number)))
            elif dice < 0.8:
                made.append(predicted(name, number, dice < 0.7, at_ms=at_ms, entity_id=entity))
            elif dice < 0.9:
                made.append(Labelled(key(name), "fraud", "x", 1))
            else:
                made.append(EventDeleted(key(name), dice < 0.95, 1))
        append(self.ledger, *made)

    def recount(self) -> EntityStates:
        """The states of what is stored now, folded in order of arrival."""
        states = EntityStates()
        stored: dict[str, Any] = {}
        for _, record in self.ledger.replay():
            if isinstance(record, EventDeleted):
                stored.pop(record.key.event_id, None)
            elif not isinstance(record, Labelled) and getattr(record, "stored", True):
                stored.pop(record.event.key.event_id, None)
                stored[record.event.key.event_id] = record.event
        for each in stored.values():
            states.fold(footprint(each))
        return states

    def load(self) -> tuple[EntityStates, int]:
        return load_states(self.folder / "states", self.ledger.journal, self.ledger.durable_seq)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "states").iterdir())


@pytest.fixture
def data(tmp_path: Path) -> Any:
    made = Data(tmp_path)
    yield made
    made.ledger.close()
    made.database.close()


def test_replaying_counts_each_event_id_once(data: Data) -> None:
    data.grow(500)
    states = EntityStates()
    assert replay_states(data.ledger.journal, states) == 500
    assert states.contents() == data.recount().contents()


def test_replaying_in_another_process_reads_the_same(data: Data) -> None:
    data.grow(100)
    reader = JournalReader.of(data.folder / "journal")
    states = EntityStates()
    assert replay_states(reader, states) == 100
    assert states.contents() == data.recount().contents()
    reader.close()


def test_predictions_that_were_not_stored_and_labels_change_nothing(data: Data) -> None:
    append(data.ledger, predicted("a", 1, stored=False), sent("b"), Labelled(key("b"), "fraud", "x", 1))
    assert [(each.revert, each.fold) for each in changes(data.ledger.journal)] == [
        (None, None),
        (None, footprint(event("b"))),
        (None, None),
    ]


def test_a_repeated_event_id_takes_back_what_it_had_left(data: Data) -> None:
    append(
        data.ledger, sent("a", 5), predicted("a", 1, at_ms=6), EventDeleted(key("a"), True, 1), sent("a", 7)
    )
    at = [footprint(event("a", at_ms)) for at_ms in (5, 6, 7)]
    assert [(each.revert, each.fold) for each in changes(data.ledger.journal)] == [
        (None, at[0]),
        (at[0], at[1]),
        (at[1], None),
        (None, at[2]),
    ]


def test_a_checkpoint_and_the_tail_give_the_states_of_the_whole_journal(data: Data) -> None:
    data.grow(300)
    assert write_checkpoint(data.folder) == 300
    data.grow(200)
    states, seq = data.load()
    assert seq == 300
    assert states.contents() == data.recount().contents()
    assert write_checkpoint(data.folder) == 500
    assert write_checkpoint(data.folder) == 500
    data.grow(10)
    assert write_checkpoint(data.folder) == 510
    assert data.files() == [f"{500:020d}.states", f"{510:020d}.states"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    data: Data, caplog: pytest.LogCaptureFixture
) -> None:
    data.grow(100)
    write_checkpoint(data.folder)
    data.grow(100)
    write_checkpoint(data.folder)
    newest = data.folder / "states" / f"{200:020d}.states"
    whole = newest.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 12)):
        for broken in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:place]):
            newest.write_bytes(broken)
            with caplog.at_level(logging.WARNING):
                states, seq = data.load()
            assert seq == 100, place
            assert states.contents() == data.recount().contents()
            assert not newest.exists()
    assert "was removed" in caplog.text


def test_a_checkpoint_ahead_of_the_journal_is_not_used(data: Data, caplog: pytest.LogCaptureFixture) -> None:
    data.grow(50)
    write_checkpoint(data.folder)
    with caplog.at_level(logging.WARNING):
        states, seq = load_states(data.folder / "states", data.ledger.journal, 49)
    assert seq == 0
    assert states.contents() == data.recount().contents()
    assert data.files() == []
    assert "ahead of the journal" in caplog.text


def test_an_unfinished_checkpoint_is_cleared_away(data: Data) -> None:
    data.grow(5)
    (data.folder / "states" / "7.1.tmp").write_bytes(b"half")
    data.load()
    assert data.files() == []


def test_the_child_writes_a_checkpoint_while_the_journal_is_open(
    data: Data, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    data.grow(30)
    checkpointer = Checkpointer(data.folder, 0, every=25)
    checkpointer.tick(20)
    assert data.files() == []
    checkpointer.tick(30)
    eventually(lambda: data.files() == [f"{30:020d}.states"])
    checkpointer.tick(31)
    checkpointer.close(31)
    assert data.load()[1] == 30


def test_a_clean_end_writes_a_last_checkpoint_when_it_is_worth_it(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hawksnest.store.states.AT_SHUTDOWN_RECORDS", 10)
    monkeypatch.setattr("hawksnest.store.states.SHUTDOWN_WAIT_S", 20.0)
    data.grow(30)
    Checkpointer(data.folder, 21).close(30)
    assert data.files() == []
    Checkpointer(data.folder, 20).close(30)
    assert data.files() == [f"{30:020d}.states"]


def test_a_child_that_fails_is_reported_and_tried_again(
    data: Data,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    checkpointer = Checkpointer(data.folder, 0, every=1)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")
        checkpointer.tick(1)

    def reported() -> bool:
        checkpointer.tick(1)
        return "exit code 1" in caplog.text

    eventually(reported)
    checkpointer.close(1)
