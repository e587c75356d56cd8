"""kill -9 of a server under load: every answer stands, no decision twice, all queries equal a recount."""

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pytest
from recount import HERE, check_recount
from served import BLOCKED, Served, deploy, until

from hawksnest.client import Client
from hawksnest.config import Settings
from hawksnest.errors import ServiceError, Transient
from hawksnest.faults import POINTS
from hawksnest.store.data_folder import Store, open_store
from hawksnest.store.records import EventKey, EventSent, StoredEvent
from hawksnest.store.states import footprint
from hawksnest.world import RealWorld, iso_s, seeded

WORLD = RealWorld()
CALLERS = 4
SEED = 1
LABELLED_AT = "2026-01-01T00:00:00Z"
Values = dict[str, str]


@dataclass(frozen=True)
class Fact:
    """What the answered calls say of one event id."""

    at: str
    stored: Values | None = None
    label: str | None = None
    decided: tuple[tuple[str, ...], ...] = ()  # outcomes of its decisions, oldest first


@dataclass(frozen=True)
class Op:
    operation: str
    event_id: str
    at: str
    values: Values = field(default_factory=dict)
    label: str = ""
    history: bool = False
    idempotent: bool = False

    def request(self) -> dict[str, Any]:
        named = {"eventId": self.event_id, "eventTypeName": "pay"}
        if self.operation == "DeleteEvent":
            return named | {"deleteAuditHistory": self.history}
        if self.operation == "UpdateEventLabel":
            return named | {"assignedLabel": self.label, "labelTimestamp": LABELLED_AT}
        sent = named | {
            "eventTimestamp": self.at,
            "eventVariables": self.values,
            "entities": [{"entityType": "customer", "entityId": f"c{crc32(self.event_id.encode()) % 50}"}],
        }
        if self.operation == "GetEventPrediction":
            return sent | {"detectorId": "det"}
        return sent | ({"assignedLabel": self.label, "labelTimestamp": LABELLED_AT} if self.label else {})

    def after(self, fact: Fact) -> Fact:
        """The fact once this call has happened."""
        if self.operation == "DeleteEvent":
            decided = () if self.history else fact.decided
            return Fact(fact.at, decided=decided)
        if self.operation == "UpdateEventLabel":
            return fact if fact.stored is None else replace(fact, label=self.label)
        if self.operation == "SendEvent":
            return replace(fact, stored=self.values, label=self.label or fact.label)
        if self.idempotent and fact.decided:
            return fact
        return replace(fact, stored=self.values, decided=(*fact.decided, outcomes_of(self.values)))


def outcomes_of(values: Values) -> tuple[str, ...]:
    """What the three rules of `deploy` say, written down a second time."""
    found = []
    if values["email"] in BLOCKED or float(values["amt"]) > 900:
        found.append("block")
    if float(values["amt"]) > 500 and values["note"] != "known":
        found.append("review")
    return tuple(found)


class Caller:
    """One client thread with event ids of its own: calls on one id are in order."""

    def __init__(self, served: Served, name: str, facts: dict[str, Fact], seed: int) -> None:
        self.answered = 0
        self.in_flight: Op | None = None
        self.fault: BaseException | None = None
        self._facts = facts
        self._name = name
        self._random = seeded(seed)
        self._client = served.client()
        self._ids: list[str] = []
        self.thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        try:
            while True:
                op = self._next()
                self._call(op)
                self.answered += 1
        except Transient as fault:
            if "no answer" not in str(fault):
                self.fault = fault
            else:
                self.in_flight = op
        except BaseException as fault:  # noqa: BLE001  shown by the test's own thread
            self.fault = fault
        finally:
            self._client.close()

    def _next(self) -> Op:
        random = self._random
        dice = random.random()
        if dice < 0.55 or not self._ids:
            event_id = f"{self._name}-{len(self._ids)}"
            self._ids.append(event_id)
            at = iso_s(WORLD.now_ms() - random.randrange(86_400_000))
            operation = "GetEventPrediction" if random.random() < 0.85 else "SendEvent"
        else:
            event_id = random.choice(self._ids[-200:])
            at = self._facts[event_id].at
            operation = random.choices(
                ("GetEventPrediction", "SendEvent", "UpdateEventLabel", "DeleteEvent"), (20, 5, 10, 8)
            )[0]
        return Op(
            operation,
            event_id,
            at,
            values=values(random),
            label=random.choice(("", "fraud", "legit")) if operation == "SendEvent" else "fraud",
            history=random.random() < 0.5,
            idempotent=random.random() < 0.3,
        )

    def _call(self, op: Op) -> None:
        before = self._facts.setdefault(op.event_id, Fact(op.at))
        try:
            answer = self._client.call(op.operation, op.request(), op.idempotent).response
        except ServiceError as fault:
            assert op.operation == "UpdateEventLabel" and before.stored is None, fault
            assert fault.code == "ResourceNotFoundException"
            return
        assert op.operation != "UpdateEventLabel" or before.stored is not None
        after = op.after(before)
        if op.operation == "GetEventPrediction":
            assert outcomes_in(answer["ruleResults"]) == after.decided[-1], op
        self._facts[op.event_id] = after


def values(random: Random) -> Values:
    email = random.choice(BLOCKED) if random.random() < 0.1 else f"u{random.randrange(100)}@example.com"
    return {
        "amt": f"{random.uniform(1, 1_200):.2f}",
        "email": email,
        "ip": f"192.0.2.{random.randrange(100)}",
        "note": random.choice(("known", "new", "x" * random.randrange(1, 300))),
    }


def outcomes_in(results: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for result in results for name in result["outcomes"]))


class Auditor:
    """Runs rounds on one data folder; knows what every answered call of all rounds has said."""

    def __init__(self, folder: Path, seed: int, *options: str) -> None:
        self.served = Served(folder, *options)
        self.facts: dict[str, Fact] = {}
        self.answered = self.unclear = 0
        self._round = 0
        self._random = seeded(seed)

    def prepare(self) -> None:
        """Make the resources that all rounds use."""
        self.served.start()
        with self.served.client() as client:
            deploy(client)

    def open_store(self) -> Store:
        """The store of the server, which is not running."""
        return open_store(Settings.of(data=self.served.data), WORLD)

    def fill(self, count: int) -> None:
        """As many events as make a checkpoint due; the server is not running."""
        store = self.open_store()
        try:
            store.checkpointer._seq = 10**9  # none is made here: the server is to do it
            for number in range(count):
                key = EventKey(*HERE, "pay", f"old-{number}")
                event = StoredEvent(
                    key, number * 1_000, "t", "customer", f"c{number % 5_000}", {"amt": "1"}, 1.0
                )
                with store.ledger.turn:
                    seq = store.ledger.append(EventSent(event))
                    store.states.fold(footprint(event))
            store.ledger.commit(seq)
        finally:
            store.close()

    def random_kill(self) -> None:
        enough = self._random.randrange(20, 900)

        def kill(answered: Callable[[], int]) -> None:
            until(lambda: answered() >= enough or not self.served.alive, 60, "the load never came")
            self.served.kill()

        self._round_of(f"kill after {enough} answers", kill, "")

    def fail_point(self, name: str, passes: int) -> None:
        def kill(_: Callable[[], int]) -> None:
            if name == "in_checkpoint":  # its own process dies there, and at once the server as well
                until(lambda: "writing a checkpoint failed" in self.served.said(), 60, "no checkpoint died")
                assert list((self.served.data / "states").glob("*.tmp"))
                self.served.kill()
            else:
                self.served.died()

        self._round_of(f"{name}:{passes}", kill, f"{name}:{passes}")

    def _round_of(self, what: str, kill: Callable[[Callable[[], int]], None], point: str) -> None:
        self._round += 1
        if point:
            if self.served.alive:
                self.finish()
            self.served.start(HAWKSNEST_FAIL_POINT=point)
        callers = [
            Caller(self.served, f"r{self._round}t{number}", self.facts, self._random.randrange(2**32))
            for number in range(CALLERS)
        ]
        for caller in callers:
            caller.thread.start()
        kill(lambda: sum(caller.answered for caller in callers))
        for caller in callers:
            caller.thread.join(20)
            assert not caller.thread.is_alive()
            if caller.fault is not None:
                raise caller.fault
        answered = sum(caller.answered for caller in callers)
        assert answered > 0, f"{what}: it came too early"
        self.answered += answered
        in_flight = [caller.in_flight for caller in callers if caller.in_flight is not None]
        self.unclear += len(in_flight)
        restart_s = self.served.start()
        with self.served.client() as client:
            found = self._check_answers(client, {op.event_id: op for op in in_flight})
        sys.stdout.write(
            f"{what}: {answered} answered, {len(in_flight)} in flight; after a restart of {restart_s:.1f} s "
            f"{found} decisions of {len(self.facts)} events found\n"
        )

    def _check_answers(self, client: Client, in_flight: dict[str, Op]) -> int:
        """Everything the API says equals the facts; calls in flight may have happened or not."""
        listed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for each in listing(client):
            listed[each["eventId"]].append(each)
        assert listed.keys() <= self.facts.keys()
        for event_id, fact in self.facts.items():
            made = sorted(listed[event_id], key=lambda each: str(each["predictionTimestamp"]))
            newest = f"r{self._round}t" in event_id or self._random.random() < 0.1
            decided = tuple(outcomes_recorded(client, each) for each in made) if newest else None
            seen = self._seen(client, fact.at, event_id, len(made), decided, fact)
            op = in_flight.get(event_id)
            possible = [fact] if op is None else [fact, op.after(fact)]
            assert seen in possible, (op, seen, possible)
            self.facts[event_id] = seen
        return sum(map(len, listed.values()))

    def _seen(
        self,
        client: Client,
        at: str,
        event_id: str,
        count: int,
        decided: tuple[tuple[str, ...], ...] | None,
        fact: Fact,
    ) -> Fact:
        if decided is None:  # of an earlier round, where each was looked at: their number will do
            assert count == len(fact.decided), event_id
            return fact
        try:
            event = client.call("GetEvent", {"eventId": event_id, "eventTypeName": "pay"}).response["event"]
        except ServiceError as fault:
            assert fault.code == "ResourceNotFoundException"
            return Fact(at, decided=decided)
        assert event["eventTimestamp"] == at
        return Fact(at, event["eventVariables"], event.get("currentLabel"), decided)

    def finish(self) -> None:
        """Stop or kill the server if it runs, idle; what it leaves equals a recount of its journal."""
        if self.served.alive:
            self._random.choice((self.served.kill, self.served.stop))()
        store = self.open_store()
        try:
            records = list(store.ledger.replay())
            assert [seq for seq, _ in records] == list(range(1, len(records) + 1))
            check_recount(store, [record for _, record in records])
        finally:
            store.close()


def listing(client: Client) -> Iterator[dict[str, Any]]:
    request: dict[str, Any] = {"maxResults": 100}
    while True:
        page = client.call("ListEventPredictions", request).response
        yield from page["eventPredictionSummaries"]
        if "nextToken" not in page:
            return
        request["nextToken"] = page["nextToken"]


def outcomes_recorded(client: Client, summary: dict[str, Any]) -> tuple[str, ...]:
    names = ("eventId", "eventTypeName", "detectorId", "detectorVersionId", "predictionTimestamp")
    record = client.call("GetEventPredictionMetadata", {name: summary[name] for name in names}).response
    return tuple(record["outcomes"])


@pytest.fixture
def auditor(tmp_path: Path) -> Iterator[Auditor]:
    made = Auditor(tmp_path, SEED)
    try:
        made.prepare()
        yield made
    finally:
        made.served.close()


def test_answers_stand_when_the_server_is_killed_under_load(auditor: Auditor) -> None:
    auditor.random_kill()
    auditor.random_kill()
    auditor.fail_point("between_sync_and_answer", 300)
    auditor.fail_point("in_projection", 9)
    auditor.finish()


@pytest.mark.full
def test_twenty_kills_and_every_fail_point_of_a_server_under_load(auditor: Auditor) -> None:
    for _ in range(20):
        auditor.random_kill()
    for name in POINTS:
        if name == "in_checkpoint":
            auditor.finish()
            auditor.fill(30_000)
            auditor.fail_point(name, 1)
        else:
            for passes in (2, 300) if name != "in_projection" else (2, 20):
                auditor.fail_point(name, passes)
    auditor.finish()
    sys.stdout.write(f"all (seed {SEED}): {auditor.answered} answered, {auditor.unclear} in flight\n")
