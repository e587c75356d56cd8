"""Boxes, keyrings, and sealed records in a journal."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_examples import HERE, event, key, predicted, sent

from hawksnest.catalog import Tenant
from hawksnest.errors import ServiceError
from hawksnest.log import LogReader
from hawksnest.store.journal import ClosedEvent, Journal, JournalReader
from hawksnest.store.records import (
    EventDeleted,
    EventSent,
    ExternalOutput,
    Labelled,
    ModelScore,
    Outline,
    Predicted,
    RuleTrace,
)
from hawksnest.store.sealing import Box, DataKeyId, Handed, Keyring, NotSealedHere, Reason, UnknownDataKey

THERE = Tenant("999999999999", "eu-west-1")
KEY = bytes(range(32))
LOST = Reason("AccessDeniedException", "The key is gone.")


def box(number: int = 1, tenant: Tenant = HERE, secret: bytes = KEY) -> Box:
    return Box(DataKeyId(*tenant, number), secret)


def keyring(*boxes: Box) -> Keyring:
    """The last box seals."""
    made = Keyring()
    made.admit(boxes)
    if boxes:
        made.sealing[boxes[-1].id.tenant] = boxes[-1]
    return made


RICH = Predicted(
    event=event("rich", given={"amt": "9.50", "email": "SECRET@x", "none": None}, label="fraud"),
    stored=True,
    predicted_at_ms=77,
    detector_id="det",
    detector_version="3",
    execution_mode="ALL_MATCHED",
    values={"amt": 9.5, "email": "SECRET@x"},
    scores=[ModelScore("TRANSACTION_FRAUD_INSIGHTS", "m", "1.0", 24.0, b"SECRET" * 3)],
    trace=[RuleTrace("r", "1", 3, "SECRET is no number")],
    results=[("r", ["block"])],
    list_revisions={"l": 4},
    revision=9,
    externals=[ExternalOutput("ep", True, {"a": "SECRET"}, {"b": "SECRET"})],
    run=5,
    row=6,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def journal_of(folder: Path, keys: Keyring | None, *records: Any) -> Journal:
    journal = Journal(folder, 256 << 10, keys)
    for record in records:
        journal.append(record)
    journal.log.flush()
    return journal


def test_a_box_opens_what_it_sealed_in_its_place_only() -> None:
    one, other = box(), box(2, secret=bytes(32))
    sealed = one.seal(b"data", b"place")
    assert one.open(sealed, b"place") == b"data"
    assert b"data" not in sealed
    for opener, broken, place in (
        (other, sealed, b"place"),
        (one, sealed, b"elsewhere"),
        (one, sealed[:-1], b"place"),
        (one, sealed[:5], b"place"),
        (one, b"", b"place"),
        *((one, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"place") for at in range(32)),
    ):
        with pytest.raises(NotSealedHere):
            opener.open(broken, place)


def test_the_same_is_never_sealed_alike_also_by_another_process() -> None:
    first, second = box(), box()  # what two processes have of one data key
    nonces = {each.seal(b"", b"")[:12] for each in (first, second) for _ in range(1_000)}
    assert len(nonces) == 2_000


def test_nothing_shows_the_key() -> None:
    made = box()
    assert KEY.hex() not in repr(made)
    assert repr(KEY) not in f"{made!r} {keyring(made)!r} {Handed(KEY)!r}"
    with pytest.raises(ValueError, match="32 bytes"):
        box(secret=b"short")


def handed_to_a_child(keys: Keyring, tenant: Tenant | None = None) -> bytes:
    """The line that a real child has read."""
    handed = keys.handed(tenant)
    script = "import os; from hawksnest.store.sealing import Handed; os.write(1, Handed.taken(0))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        handed.to(child)
        assert child.stdout is not None
        return child.stdout.read()


def test_a_child_gets_the_keyring_through_its_pipe() -> None:
    made = keyring(box(1, THERE), box(1), box(2, secret=bytes(32)))
    made.closed[DataKeyId(*THERE, 2)] = LOST
    made.sealing[THERE] = LOST
    assert made.handed().flag == ["--keys"]
    taken = Keyring.taken(handed_to_a_child(made), partial=True)
    assert {id_: each.key for id_, each in taken.boxes.items()} == {
        id_: each.key for id_, each in made.boxes.items()
    }
    assert taken.closed == made.closed
    assert taken.locked(THERE) == LOST
    sealer = taken.sealer(HERE)
    assert sealer is not None and sealer.id.number == 2
    with pytest.raises(UnknownDataKey):
        taken.find(DataKeyId(*HERE, 3))
    assert taken.tenants() == {HERE, THERE}


def test_a_child_gets_the_keys_of_its_tenant_only() -> None:
    made = keyring(box(1), box(1, THERE))
    taken = Keyring.taken(handed_to_a_child(made, THERE), partial=False)
    assert set(taken.boxes) == {DataKeyId(*THERE, 1)}
    assert made.handed(Tenant("0", "x")).flag == [] == Keyring().handed().flag


def test_keys_that_do_not_come_are_not_waited_for() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(EOFError):
        Handed.taken(reading)
    os.close(reading)


def test_records_of_tenants_without_a_key_are_the_same_bytes_as_ever(folder: Path) -> None:
    records = [RICH, sent("a"), Labelled(key("a"), "fraud", "x", 1), EventDeleted(key("a"), True, 1)]
    journal_of(folder, keyring(box(1, THERE)), *records).close()
    reader = LogReader(folder)
    assert [payload for _, payload in reader.read()] == [msgspec.msgpack.encode(each) for each in records]
    reader.close()


def test_sealed_records_come_back_as_they_were(folder: Path) -> None:
    records = [RICH, sent("a"), predicted("a", 5, stored=False), Labelled(key("a"), "fraud", "x", 1)]
    journal = journal_of(folder, keyring(box()), *records)
    assert [record for _, record in journal.read()] == records
    assert [journal.get(seq) for seq in range(1, 5)] == records
    assert [journal.listed(seq) for seq in range(1, 5)] == records
    in_clear = journal_of(folder.with_name("clear"), None, *records)
    assert list(journal.heads(opened=True)) == list(in_clear.heads())
    assert journal.head(1, opened=True) == in_clear.head(1)
    assert b"SECRET" not in b"".join(path.read_bytes() for path in folder.glob("*"))
    in_clear.close()
    journal.close()


def test_without_the_key_the_outline_can_be_read(folder: Path) -> None:
    journal_of(folder, keyring(box()), RICH, sent("a", 5)).close()
    closed = Keyring()
    closed.closed[DataKeyId(*HERE, 1)] = LOST
    journal = JournalReader.of(folder, closed)
    outlines = [record for _, record in journal.read()]
    assert all(isinstance(each, Outline) for each in outlines)
    for opened in (False, True):
        (_, first), (_, second) = journal.heads(opened=opened)
        plain = RICH.event
        assert isinstance(first.event, ClosedEvent) and isinstance(second.event, ClosedEvent)
        assert (first.event.key, first.event.label) == (plain.key, "fraud")
        assert len(memoryview(first.event.given)) == len(msgspec.msgpack.encode(plain.given))
        assert (first.stored, first.predicted_at_ms, first.detector_version) == (True, 77, "3")
        assert (second.event.event_at_ms, second.event.entity_id) == (5, "")
    with pytest.raises(ServiceError, match="The key is gone"):
        journal.get(1)
    listed = journal.listed(1)
    assert isinstance(listed, Predicted)
    assert (listed.event.key, listed.predicted_at_ms, listed.detector_id) == (RICH.event.key, 77, "det")
    assert (listed.event.given, listed.values, listed.event.entity_id) == ({}, {}, "")
    assert isinstance(journal.listed(2), EventSent)
    journal.close()


def test_a_data_key_that_nobody_knows_closes_the_record_with_a_reason(folder: Path) -> None:
    journal_of(folder, keyring(box()), RICH).close()
    journal = JournalReader.of(folder)
    with pytest.raises(ServiceError, match="is not in the catalogue") as refusal:
        journal.get(1)
    assert refusal.value.code == "AccessDeniedException"
    journal.close()


def test_a_record_under_another_outline_does_not_open(folder: Path) -> None:
    journal_of(folder, keyring(box()), sent("a"), sent("b")).close()
    reader = LogReader(folder)
    first, second = (list(msgspec.msgpack.decode(payload)) for _, payload in reader.read())
    reader.close()
    first[1], second[1] = second[1], first[1]
    swapped = Journal(folder.with_name("swapped"), 256 << 10, keyring(box()))
    for each in (first, second):
        swapped.log.append(msgspec.msgpack.encode(each))
    swapped.log.flush()
    assert all(isinstance(record, Outline) for _, record in swapped.read())
    with pytest.raises(ServiceError, match="not as it was sealed"):
        swapped.get(1)
    swapped.close()


def test_nothing_is_appended_for_a_tenant_that_is_locked_out(folder: Path) -> None:
    keys = keyring(box())
    keys.sealing[HERE] = LOST
    journal = journal_of(folder, keys)
    with pytest.raises(ServiceError, match="The key is gone"):
        journal.append(RICH)
    journal.append(EventDeleted(key("a"), True, 1))  # holds no values
    assert journal.log.last_seq == 1
    journal.close()
