"""Stored events as training data: point-in-time aggregates, labels as known, one row an event."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from training_samples import START_MS, VARIABLES, spec_for

from hawksnest.kernel.events import EventSchema, VariableSpec
from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.windows import EntityStates
from hawksnest.ml.dataset import FRAUD, LEGIT, UNLABELED
from hawksnest.ml.replay import History
from hawksnest.ml.spec import IngestedEvents, TrainingSpec
from hawksnest.ml.training import train
from hawksnest.ml.validation import Report, Unusable
from hawksnest.store.journal import Journal
from hawksnest.store.records import EventDeleted, EventKey, EventSent, Labelled, Predicted, StoredEvent
from hawksnest.store.states import footprint
from hawksnest.world import seeded

SCHEMA = EventSchema(
    "registration", [VariableSpec(each.name, each.data_type, None, each.variable_type) for each in VARIABLES]
)


def key(event_id: str, event_type: str = "registration") -> EventKey:
    return EventKey("000000000000", "us-east-1", event_type, event_id)


def stored(
    event_id: str, minute: float, entity: str = "e1", label: str | None = None, **given: str
) -> StoredEvent:
    texts = {"ip": "198.18.0.1", "email": "a@example.org", "amt": "10", "country": "A"} | given
    resolved = SCHEMA.resolve(texts)
    at_ms = START_MS + round(minute * 60_000)
    return StoredEvent(
        key(event_id), at_ms, "", "customer", entity, dict(texts), resolved.amount, resolved.identities, label
    )


def predicted(event: StoredEvent, kept: bool = True, replaces: int = 0) -> Predicted:
    return Predicted(event, kept, 0, "d", "1", "FIRST_MATCHED", {}, [], [], [], {}, 1, replaces)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal", segment_bytes=1 << 22)
    yield journal
    journal.close()


def history(folder: Path, journal: Journal, start: float = 0, end: float = 1e6, **changes: Any) -> History:
    journal.log.flush()
    return History(spec(folder, start, end, **changes), source(folder, start, end), journal)


def source(folder: Path, start: float, end: float) -> IngestedEvents:
    return IngestedEvents(str(folder), START_MS + round(start * 60_000), START_MS + round(end * 60_000))


def spec(folder: Path, start: float = 0, end: float = 1e6, **changes: Any) -> TrainingSpec:
    made = spec_for(folder, b"", source=source(folder, start, end), model_type="TRANSACTION_FRAUD_INSIGHTS")
    return msgspec.structs.replace(made, **changes)


def quiet(share: float, text: str) -> None:
    pass


def test_labels_are_those_known_at_the_end(tmp_path: Path, journal: Journal) -> None:
    journal.append(EventSent(stored("a", 1, label="legit")))
    journal.append(predicted(stored("b", 2)))
    journal.append(EventSent(stored("c", 3)))
    journal.append(Labelled(key("a"), "fraud", "", 0))
    journal.append(Labelled(key("b"), "legit", "", 0))
    journal.append(Labelled(key("b", "other"), "fraud", "", 0))
    dataset = history(tmp_path, journal).dataset(Report(), quiet)
    assert dataset.labels == [FRAUD, LEGIT, UNLABELED]
    assert dataset.entities == ["e1"] * 3


def test_event_sent_again_is_one_row_in_its_newest_form_and_a_deleted_one_is_none(
    tmp_path: Path, journal: Journal
) -> None:
    first = journal.append(EventSent(stored("a", 1, amt="10")))
    journal.append(predicted(stored("b", 2, amt="20")))
    journal.append(predicted(stored("a", 1, amt="30"), replaces=first))
    journal.append(EventDeleted(key("b"), False, 0, 2))
    journal.append(predicted(stored("c", 3), kept=False))  # ingestion was off: no stored event
    dataset = history(tmp_path, journal).dataset(Report(), quiet)
    assert [dataset.model_values(row)["amt"] for row in range(len(dataset.times))] == [30.0]


def test_events_of_others_and_outside_the_window_are_no_rows(tmp_path: Path, journal: Journal) -> None:
    for minute in range(6):
        journal.append(EventSent(stored(f"a{minute}", minute)))
    other = stored("x", 3)
    for foreign in (key("x", "other"), EventKey("1", "us-east-1", "registration", "x")):
        journal.append(EventSent(msgspec.structs.replace(other, key=foreign)))
    dataset = history(tmp_path, journal, 2, 4).dataset(Report(), quiet)
    assert dataset.times == [START_MS + minute * 60_000 for minute in (2, 3, 4)]


def test_no_event_in_the_window_is_an_error(tmp_path: Path, journal: Journal) -> None:
    journal.append(EventSent(stored("a", 1)))
    with pytest.raises(Unusable, match="No ingested events found for training"):
        history(tmp_path, journal, 10, 20).dataset(Report(), quiet)


def test_records_written_after_the_first_reading_are_left_for_the_next_training(
    tmp_path: Path, journal: Journal
) -> None:
    journal.append(EventSent(stored("a", 1)))
    found = history(tmp_path, journal)
    journal.append(EventSent(stored("b", 2)))
    journal.log.flush()
    assert len(found.dataset(Report(), quiet).times) == 1


def test_vectors_are_bit_for_bit_those_that_serving_computes(tmp_path: Path, journal: Journal) -> None:
    """Serving, in the order of the hot path: revert what is replaced, read, score, fold."""
    dice = seeded(11)
    states, newest, seqs = EntityStates(), {}, {}
    served: dict[str, tuple[Any, Any]] = {}  # event id → event, reads
    for number in range(1_500):
        event_id = f"e{dice.randrange(1_200)}"
        previous = newest.get(event_id)
        if previous is not None and dice.random() < 0.2:
            states.revert(footprint(previous))
            journal.append(EventDeleted(key(event_id), False, 0, seqs.pop(event_id)))
            del newest[event_id], served[event_id]
            continue
        minute = number * 7 + dice.randrange(-2_000, 10) if previous is None else 0  # some come late
        event = stored(
            event_id,
            minute,
            dice.choice(["unknown", *(f"c{each}" for each in range(20))]),
            ip=f"198.18.0.{dice.randrange(30)}",
            email=f"u{dice.randrange(40)}@example.org",
            amt=str(dice.randrange(1, 500)),
        )
        if previous is not None:
            event = msgspec.structs.replace(event, event_at_ms=previous.event_at_ms)
            states.revert(footprint(previous))
        served[event_id] = event, states.read(footprint(event))
        seqs[event_id] = journal.append(predicted(event, replaces=seqs.get(event_id, 0)))
        states.fold(footprint(event))
        newest[event_id] = event
    found = history(tmp_path, journal, -1e5, 1e6)
    dataset = found.dataset(Report(), quiet)
    plan = FeaturePlan.fit(
        dataset.specs(), [dataset.model_values(row) for row in range(len(dataset.times))], aggregates=True
    )
    wanted = np.ones(len(dataset.times), bool)
    (vectors,) = found.vectors([plan], dataset, wanted, quiet)
    in_order = sorted(served, key=seqs.__getitem__)
    assert len(in_order) == len(vectors) > 600
    for event_id, vector in zip(in_order, vectors, strict=True):
        event, reads = served[event_id]
        expected = plan.vector(SCHEMA.resolve(event.given).model_values, reads, event.event_at_ms)
        assert np.array(expected).tobytes() == vector.tobytes()


def payments(journal: Journal, count: int, payers: int, seed: int = 3) -> None:
    """Payers with an amount of their own; fraud is five times that, in a value anybody else pays too."""
    dice = seeded(seed)
    usual = [dice.lognormvariate(4, 1.0) for _ in range(payers)]
    for number in range(count):
        payer = dice.randrange(payers)
        bad = number > payers and dice.random() < 0.12
        amount = usual[payer] * (5 if bad else 1) * dice.uniform(0.8, 1.25)
        event = stored(
            f"p{number}",
            number,
            f"c{payer}",
            label="fraud" if bad else "legit",
            ip=f"198.18.{payer % 250}.{payer // 250}",
            email=f"payer{payer}@example.org",
            amt=f"{amount:.2f}",
            country=dice.choice("ABCDEF"),
        )
        journal.append(EventSent(event))
    journal.log.flush()


def test_aggregates_find_what_the_event_alone_does_not_show(tmp_path: Path, journal: Journal) -> None:
    payments(journal, 5_000, 260)
    auc = {}
    for model_type, member in (("ONLINE_FRAUD_INSIGHTS", "ofi"), ("TRANSACTION_FRAUD_INSIGHTS", "tfi")):
        outcome = train(spec(tmp_path, model_type=model_type), quiet, journal)
        assert outcome.ok, outcome.reason
        result = outcome.result["trainingResultV2"]
        auc[member] = result["trainingMetricsV2"][member]["modelPerformance"]["auc"]
        assert ("aggregatedVariablesImportanceMetrics" in result) == (member == "tfi")
    assert auc["tfi"] > 0.98 > auc["ofi"]
    groups = result["aggregatedVariablesImportanceMetrics"]["logOddsMetrics"]
    assert groups[0]["variableNames"] == ["amt", "user"]
    messages = result["dataValidationMetrics"]["fileLevelMessages"]
    assert [each["title"] for each in messages] == ["Fewer than 1500 unique entities."]


def test_fewer_than_a_hundred_entities_with_fraud_is_an_error(tmp_path: Path, journal: Journal) -> None:
    payments(journal, 1_000, 90)
    outcome = train(spec(tmp_path), quiet, journal)
    assert not outcome.ok
    messages = outcome.result["trainingResult"]["dataValidationMetrics"]["fileLevelMessages"]
    assert [each["title"] for each in messages if each["type"] == "ERROR"] == [
        "Fewer than 100 entities have fraudulent events.",
        "Fewer than 100 entities have legitimate events.",
    ]


def some_unlabelled(journal: Journal) -> None:
    """600 events, every third without a label."""
    dice = seeded(5)
    for number in range(600):
        label = ("fraud" if dice.random() < 0.4 else "legit") if number % 3 else None
        event = stored(
            f"p{number}",
            number,
            label=label,
            ip=f"198.18.0.{number % 200}",
            email=f"u{number}@example.org",
            amt=str((500 if label == "fraud" else 100) + dice.randrange(100)),
            country=dice.choice("AB"),
        )
        journal.append(EventSent(event))
    journal.log.flush()


@pytest.mark.parametrize(("treatment", "rows"), [("IGNORE", 400), ("FRAUD", 600), ("LEGIT", 600)])
def test_unlabelled_events_are_used_as_asked(
    tmp_path: Path, journal: Journal, treatment: str, rows: int
) -> None:
    some_unlabelled(journal)
    asked = spec(tmp_path, model_type="ONLINE_FRAUD_INSIGHTS", unlabeled=treatment)
    outcome = train(asked, quiet, journal)
    assert outcome.ok, outcome.reason
    card = msgspec.json.decode((Path(asked.folder) / "artefact" / "card.json").read_bytes())
    assert card["data"]["rows"] == rows
    assert card["data"]["held_out"] == round((400 if treatment == "IGNORE" else 600) * 0.15)


def test_under_auto_unlabelled_events_teach_but_do_not_measure(tmp_path: Path, journal: Journal) -> None:
    some_unlabelled(journal)
    asked = spec(tmp_path, model_type="ONLINE_FRAUD_INSIGHTS", unlabeled="AUTO")
    assert train(asked, quiet, journal).ok
    card = msgspec.json.decode((Path(asked.folder) / "artefact" / "card.json").read_bytes())
    assert card["data"]["held_out"] == round(400 * 0.15)
    assert 400 < card["data"]["rows"] < 600  # those newer than the first held-out event are not used
