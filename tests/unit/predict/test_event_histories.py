"""Any history of sends, predictions, labels and deletions: what is answered, and what entity states hold."""

import threading
from pathlib import Path
from random import Random

import pytest
from event_calls import START_MS, TYPES, Api, answers, decision, event, recounted, served, stored_only

from hawksnest.world import ManualWorld, seeded

IDS = [f"e{number}" for number in range(9)]
HOUR_MS = 3_600_000


def step(api: Api, random: Random, now_ms: int) -> str:
    """One call about one of few ids, so that they meet in every order; the code of its fault."""
    event_id = random.choice(IDS)
    event_type = "pay" if random.random() < 0.8 else "off"
    at_ms = START_MS + int(event_id[1:]) * HOUR_MS
    if random.random() < 0.15:
        at_ms += random.choice((-20 * 24, 1, 1_000)) * HOUR_MS  # another time; the last is too far ahead
    members = {
        "at_ms": at_ms,
        "entity": random.choice(("c1", "c2", "unknown")),
        "eventVariables": {
            "amt": random.choice(("1", "2.5", "950")),
            "email": random.choice((None, "a@a.example", "b@b.example")),
            "ip": random.choice((None, "192.0.2.1", "null")),
        },
    }
    named = {"eventId": event_id, "eventTypeName": event_type}
    kind = random.randrange(10)
    if kind < 3:
        labelled = {"assignedLabel": random.choice(("fraud", "legit")), "labelTimestamp": "2024-01-01"}
        return api.tried(
            "SendEvent", **event(event_id, event_type, **members), **random.choice(({}, labelled))
        )
    if kind < 7:
        idempotent = random.random() < 0.3
        return api.tried(
            "GetEventPrediction", idempotent=idempotent, **decision(event_id, event_type, **members)
        )
    if kind < 8:
        return api.tried("UpdateEventLabel", **named, assignedLabel="fraud", labelTimestamp="2024-01-02")
    if kind < 9:
        return api.tried("DeleteEvent", **named, deleteAuditHistory=random.random() < 0.5)
    ingestion = random.choice(("ENABLED", "ENABLED", "DISABLED"))
    api.put_event_type("pay", ingestion)
    return ""


@pytest.mark.parametrize("seed", range(4))
def test_states_and_answers_equal_a_recount_also_after_reopening(tmp_path: Path, seed: int) -> None:
    random, world = seeded(seed), ManualWorld(START_MS)
    codes: set[str] = set()
    with served(tmp_path, world) as api:
        api.set_up()
    for _ in range(3):
        with served(tmp_path, world) as api:
            for _ in range(120):
                if random.random() < 0.5:
                    world.advance(random.choice((0.001, 60.0)))
                codes.add(step(api, random, world.now_ms()))
            before, held = answers(api, IDS), api.app.states.contents()
            assert held == recounted(api.app)
            assert held == stored_only(api.app, before)
        with served(tmp_path, world) as api:
            assert answers(api, IDS) == before
            assert api.app.states.contents() == held
    assert codes == {"", "ConflictException", "ResourceNotFoundException", "ValidationException"}


def test_calls_from_many_threads_about_few_ids_leave_states_that_equal_a_recount(tmp_path: Path) -> None:
    faults: list[str] = []
    kinds: set[str] = set()

    def work(seed: int) -> None:
        random = seeded(seed)
        try:
            for _ in range(120):
                kinds.add(step(api, random, START_MS))
        except BaseException as fault:  # noqa: BLE001  told to the test below
            faults.append(repr(fault))

    with served(tmp_path) as api:
        api.set_up()
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert "InternalServerException" not in kinds
        before, held = answers(api, IDS), api.app.states.contents()
        assert held == recounted(api.app)
        assert held == stored_only(api.app, before)
        for _, listed, _ in before.values():
            times = [each["predictionTimestamp"] for each in listed]
            assert times == sorted(set(times), reverse=True)
    with served(tmp_path) as api:
        assert answers(api, IDS) == before
        assert api.app.states.contents() == held


def test_idempotent_calls_from_many_threads_are_decided_once(tmp_path: Path) -> None:
    made: list[object] = []

    def work(amount: str) -> None:
        for number in range(20):
            for event_type in TYPES:
                request = decision(f"e{number}", event_type, eventVariables={"amt": amount})
                made.append((event_type, number, repr(api("GetEventPrediction", idempotent=True, **request))))

    with served(tmp_path) as api:
        api.set_up()
        threads = [threading.Thread(target=work, args=(amount,)) for amount in ("1", "950", "950", "1")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 4 * 20 * len(TYPES)
        assert len(set(made)) == 20 * len(TYPES)
        found = answers(api, [f"e{number}" for number in range(20)])
        assert all(len(listed) == 1 for _, listed, _ in found.values())
