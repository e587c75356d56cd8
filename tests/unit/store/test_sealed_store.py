"""A store whose tenants choose, lose and find keys again: nothing is lost, nothing lies in clear."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from hawksnest.catalog import Tenant
from hawksnest.config import Settings
from hawksnest.errors import ServiceError, UsageError
from hawksnest.kernel.windows import EntityStates
from hawksnest.kms import EncryptionKeys, KeyFile
from hawksnest.store.data_folder import Store, open_store
from hawksnest.store.journal import JournalReader
from hawksnest.store.ports import PredictionQuery
from hawksnest.store.records import EventDeleted, EventKey, EventSent, Outline, Predicted, StoredEvent
from hawksnest.store.sealing import Handed, Keyring
from hawksnest.store.states import footprint, load_states, write_checkpoint
from hawksnest.world import RealWorld, seeded

WORLD = RealWorld()
HERE, THERE = Tenant("000000000000", "us-east-1"), Tenant("111111111111", "us-east-1")
Eventually = Callable[[Callable[[], bool]], None]


class Place:
    """A data folder, its key file, and the store while it is open."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.file = folder / "keys"
        self.arns = [KeyFile(self.file).create("us-east-1", "000000000000", WORLD) for _ in range(3)]
        self.lines = self.file.read_text().splitlines()
        self.there = {0, 1, 2}
        self.records: list[EventSent | Predicted | EventDeleted] = []  # what was appended, as it was
        self.open()

    def open(self) -> None:
        settings = Settings.of(data=self.data, key_file=str(self.file))
        self.store: Store = open_store(settings, WORLD, EncryptionKeys(settings, WORLD))

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def have(self, *numbers: int) -> None:
        """The key file has these keys from now on."""
        self.there = set(numbers)
        self.file.write_text("".join(f"{self.lines[number]}\n" for number in sorted(numbers)))

    def choose(self, tenant: Tenant, number: int | None) -> None:
        arn = "DEFAULT" if number is None else self.arns[number]
        self.store.encryption.choose(tenant, arn)

    def keep(self, tenant: Tenant, name: str, entity: str, at_ms: int, amount: float, decided: bool) -> None:
        """Store an event as `predict.py` does. Raises ServiceError when the tenant is locked out."""
        store, key = self.store, EventKey(*tenant, "pay", name)
        look = store.ledger.look(key)
        with store.ledger.turn:
            _, previous = store.ledger.settled(key, look)
            event = StoredEvent(
                key,
                at_ms,
                "t",
                "customer",
                entity,
                {"ip": "SECRET"},
                amount,
                [("IP_ADDRESS", f"ip-{entity}")],
            )
            record: EventSent | Predicted = EventSent(event)
            if decided:
                record = Predicted(event, True, len(self.records), "det", "1", "F", {}, [], [], [], {}, 1)
            store.ledger.append(record)
            if previous is not None:
                store.states.revert(footprint(previous))
            store.states.fold(footprint(event))
        self.records.append(record)

    def delete(self, tenant: Tenant, name: str) -> None:
        """Delete an event as `ops/events.py` does."""
        store, key = self.store, EventKey(*tenant, "pay", name)
        look = store.ledger.look(key)
        with store.ledger.turn:
            known, previous = store.ledger.settled(key, look)
            if known is not None and known.stored:
                record = EventDeleted(key, False, 1)
                store.ledger.append(record)
                self.records.append(record)
                if previous is not None:
                    store.states.revert(footprint(previous))

    def checkpoint(self) -> None:
        """As the child does, with what the server hands to it."""
        ledger = self.store.ledger
        ledger.commit(ledger.last_seq)
        line = self.store.encryption.keys.handed()._line
        write_checkpoint(self.data, Keyring.taken(line, partial=True) if line else None)

    def open_again(self) -> bool:
        """Are all data keys at hand?"""
        keys = self.store.encryption.keys
        return not keys.closed and not keys.locked(HERE) and not keys.locked(THERE)

    def recount(self) -> EntityStates:
        stored: dict[EventKey, StoredEvent] = {}
        for record in self.records:
            if isinstance(record, EventDeleted):
                stored.pop(record.key, None)
            else:
                stored.pop(record.event.key, None)
                stored[record.event.key] = record.event
        states = EntityStates()
        for event in stored.values():
            states.fold(footprint(event))
        return states

    def check(self) -> None:
        """With all keys at hand: records and states are as if nothing had ever been sealed."""
        ledger = self.store.ledger
        ledger.commit(ledger.last_seq)
        found = [record for _, record in ledger.replay()]
        assert len(found) == len(self.records)
        for one, other in zip(found, self.records, strict=True):
            assert not isinstance(one, Outline)
            replaces = getattr(one, "replaces", 0)  # the ledger's own addition
            assert one == msgspec.structs.replace(other, replaces=replaces)
        assert self.store.states.contents() == self.recount().contents()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr("hawksnest.store.encryption.RETRY_S", 0.01)
    monkeypatch.setattr("hawksnest.store.encryption.RETRY_MAX_S", 0.02)
    made = Place(tmp_path)
    yield made
    made.store.close()


def some(place: Place, tenant: Tenant, first: int, last: int) -> None:
    for number in range(first, last):
        place.keep(tenant, f"e{number}", f"c{number % 3}", number, 1.0, number % 2 == 0)


def on_disk(place: Place) -> bytes:
    return b"".join(path.read_bytes() for path in place.data.rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_to_keys_states_are_right_once_all_are_there(
    place: Place, eventually: Eventually, seed: int
) -> None:
    random = seeded(seed)
    for step in range(150):
        try:
            act(place, random, step)
        except ServiceError as fault:
            assert fault.code in ("AccessDeniedException", "ResourceNotFoundException", "ThrottlingException")
        if step % 50 == 49:
            place.have(0, 1, 2)
            eventually(place.open_again)
            place.check()
            place.reopen()
            place.check()


def act(place: Place, random: Random, step: int) -> None:
    tenant = random.choice((HERE, THERE))
    dice = random.random()
    if dice < 0.6:
        name, entity = f"e{random.randrange(12)}", f"c{random.randrange(4)}"
        place.keep(tenant, name, entity, step, float(step), random.random() < 0.5)
    elif dice < 0.72:
        place.delete(tenant, f"e{random.randrange(12)}")
    elif dice < 0.8:
        place.choose(tenant, random.choice((None, 0, 1, 2)))
    elif dice < 0.86:
        place.have(*(number for number in range(3) if random.random() < 0.5))
    elif dice < 0.93:
        place.checkpoint()
    else:
        place.reopen()


def test_old_records_stay_readable_whatever_key_is_chosen_later(place: Place) -> None:
    for number in (None, 0, 1, None, 0):
        place.choose(HERE, number)
        some(place, HERE, len(place.records), len(place.records) + 5)
    place.check()
    place.reopen()
    place.check()
    place.checkpoint()
    place.reopen()
    place.check()


def test_going_back_to_a_key_uses_its_data_key_again(place: Place) -> None:
    for number in (0, 1, 0, None, 1, 0):
        place.choose(HERE, number)
    assert len(place.store.encryption.keys.boxes) == 2
    sealer = place.store.encryption.keys.sealer(HERE)
    assert sealer is not None and sealer.id.number == 1
    assert place.store.encryption.chosen(HERE) == place.arns[0]


def test_on_disk_nothing_of_a_sealed_event_is_in_clear(place: Place) -> None:
    place.choose(HERE, 0)
    place.keep(HERE, "e1", "SECRETentity", 1, 1234567.25, True)
    place.keep(HERE, "e2", "SECRETentity", 2, 1234567.25, False)
    place.keep(THERE, "e1", "PLAINentity", 3, 1.0, True)
    place.checkpoint()
    place.choose(HERE, None)  # from now on in clear, but not what was sealed
    place.keep(HERE, "e3", "other", 4, 1.0, True)
    place.checkpoint()
    place.reopen()
    place.check()
    found = on_disk(place)
    assert b"SECRETentity" not in found and b"ip-SECRET" not in found
    assert found.count(b"PLAINentity") > 3


def test_a_tenant_that_lost_its_key_is_locked_out_and_nobody_else(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.choose(HERE, 0)
    some(place, HERE, 0, 6)
    some(place, THERE, 0, 6)
    place.checkpoint()
    place.have(1)
    with caplog.at_level(logging.WARNING):
        place.reopen()
    [said] = [record.message for record in caplog.records if "cannot be read" in record.message]
    assert place.arns[0] in said and "not in the server's key file" in said
    with pytest.raises(ServiceError, match="cannot be used") as refusal:
        place.keep(HERE, "new", "c", 1, 1.0, True)
    assert refusal.value.code == "AccessDeniedException"
    key = EventKey(*HERE, "pay", "e0")
    with pytest.raises(ServiceError, match="cannot be used"):
        place.store.ledger.event(key)
    listed, _ = place.store.ledger.predictions(HERE, PredictionQuery(), 50)
    assert [each.event.key.event_id for each in listed] == ["e4", "e2", "e0"]
    assert place.store.ledger.statistics(HERE, "pay").count == 6
    some(place, THERE, 6, 9)
    place.delete(HERE, "e0")
    assert place.store.ledger.event(key) is None


def test_a_tenant_that_lost_its_key_goes_on_with_another(place: Place, eventually: Eventually) -> None:
    some(place, HERE, 0, 3)
    place.choose(HERE, 0)
    some(place, HERE, 3, 6)
    place.checkpoint()
    place.have(1)
    place.reopen()
    for number in (1, None):
        place.choose(HERE, number)
        eventually(lambda: place.store.encryption.keys.locked(HERE) is None)
    place.keep(HERE, "e4", "c9", 9, 1.0, True)  # in place of one that cannot be read
    place.delete(HERE, "e5")
    place.checkpoint()
    place.reopen()
    readable = EntityStates()
    for record in [*place.records[:3], place.records[6]]:
        assert isinstance(record, EventSent | Predicted)
        readable.fold(footprint(record.event))
    assert place.store.states.contents() == readable.contents()
    place.have(0, 1, 2)
    eventually(place.open_again)
    place.check()


def test_a_key_that_cannot_be_used_changes_nothing(place: Place) -> None:
    place.choose(HERE, 0)
    place.have(0)
    with pytest.raises(ServiceError, match="not in the server's key file") as refusal:
        place.choose(HERE, 1)
    assert refusal.value.code == "ResourceNotFoundException"
    place.have()
    with pytest.raises(ServiceError):
        place.choose(HERE, 0)  # its data key is at hand, but the key is gone
    assert place.store.encryption.chosen(HERE) == place.arns[0]
    some(place, HERE, 0, 2)
    place.check()


def test_a_checkpoint_ends_before_what_a_younger_data_key_sealed(place: Place) -> None:
    some(place, HERE, 0, 4)
    place.choose(HERE, 0)
    some(place, HERE, 4, 6)
    place.store.ledger.commit(6)
    assert write_checkpoint(place.data) == 4  # by a child that was started before the key was chosen
    place.reopen()
    place.check()


def test_a_damaged_part_makes_the_checkpoint_useless_but_nothing_wrong(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.choose(HERE, 0)
    some(place, HERE, 0, 6)
    some(place, THERE, 0, 6)
    place.checkpoint()
    [path] = (place.data / "states").glob("*.states")
    whole = path.read_bytes()
    ledger = place.store.ledger
    journal = JournalReader(ledger.journal.log, place.store.encryption.keys)
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        for broken in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(broken)
            with caplog.at_level(logging.CRITICAL):
                states, seq = load_states(place.data / "states", journal, ledger.durable_seq)
            assert seq == 0, at
            assert states.contents() == place.recount().contents()


def test_an_older_version_refuses_a_folder_with_sealed_events(place: Place) -> None:
    assert '"format": 1' in (place.data / "format.json").read_text()
    place.choose(HERE, 0)
    assert '"format": 2' in (place.data / "format.json").read_text()


def test_a_key_file_that_others_may_read_is_refused_at_once(place: Place) -> None:
    place.file.chmod(0o640)
    settings = Settings.of(data=place.data, key_file=str(place.file))
    with pytest.raises(UsageError, match="chmod 600"):
        EncryptionKeys(settings, WORLD)


def test_keys_are_handed_to_children_only_where_there_are_any(place: Place) -> None:
    assert isinstance(place.store.encryption.keys.handed(), Handed)
    assert place.store.encryption.keys.handed().flag == []
    place.choose(HERE, 0)
    assert place.store.encryption.keys.handed().flag == ["--keys"]
