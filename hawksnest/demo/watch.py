"""What the demo sees as any reader of the topics would: decisions, latencies, dead letters, sent mails."""

import threading
from typing import Any

import orjson

from hawksnest.simulate.scoreboard import Scoreboard, Verdict
from hawksnest.simulate.simulation import Labelled
from hawksnest.stream.mapping import Mapping
from hawksnest.stream.ports import Consumer, Log
from hawksnest.world import World

BATCH = 1_000
IDLE_S = 0.002
BLOCK = "block"


class Watcher:
    """Follows the output of the pipeline in a thread and scores it against the simulation's truth."""

    def __init__(self, log: Log, mapping: Mapping, world: World) -> None:
        self._log = log
        self._world = world
        self._topics = {"output": mapping.output_topic, "dead": mapping.dead_letters, "mails": "alerts_sent"}
        self._readers: dict[str, Consumer] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._lock = threading.Lock()
        self._sent: dict[str, Labelled] = {}
        self._outcomes: dict[str, list[str]] = {}
        self._latencies_ms: list[float] = []
        self._mail_ids: set[str] = set()
        self._mailed: set[str] = set()
        self.duplicates = 0
        self.dead_letters = 0

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Read what is there, then end."""
        self._stop.set()
        self._thread.join(timeout=5)
        for reader in self._readers.values():
            reader.close()

    def sent(self, payment: Labelled) -> None:
        """A payment goes out now; remember what it really is."""
        with self._lock:
            self._sent[str(payment.record["event_id"])] = payment

    @property
    def counts(self) -> dict[str, int]:
        """Figures so far."""
        with self._lock:
            blocked = sum(BLOCK in outcomes for outcomes in self._outcomes.values())
            return {
                "transactions": len(self._sent),
                "decisions": len(self._outcomes),
                "blocked": blocked,
                "mails": len(self._mail_ids),
            }

    @property
    def open_payments(self) -> int:
        """Sent and neither decided nor a dead letter."""
        with self._lock:
            return len(self._sent) - len(self._outcomes) - self.dead_letters

    @property
    def unmailed(self) -> int:
        """Blocked and not in any mail yet."""
        with self._lock:
            blocked = {event for event, outcomes in self._outcomes.items() if BLOCK in outcomes}
            return len(blocked - self._mailed)

    def scoreboard(self) -> Scoreboard:
        """Decisions against the truth."""
        with self._lock:
            return Scoreboard(
                Verdict(
                    str(payment.record["transaction_currency"]),
                    float(payment.record["transaction_amt"]),
                    payment.fraud,
                    BLOCK in self._outcomes[event_id],
                )
                for event_id, payment in self._sent.items()
                if event_id in self._outcomes
            )

    def payments(self) -> list[Labelled]:
        """Everything that was sent."""
        with self._lock:
            return list(self._sent.values())

    def latency_ms(self) -> dict[str, float | None]:
        """From produce to output readable, nearest rank."""
        with self._lock:
            ordered = sorted(self._latencies_ms)
        if not ordered:
            return {"p50": None, "p99": None}
        last = len(ordered) - 1
        return {"p50": ordered[round(0.50 * last)], "p99": ordered[round(0.99 * last)]}

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            if not self._read() and not stopping:
                self._stop.wait(IDLE_S)
            elif stopping:
                return

    def _read(self) -> bool:
        found = False
        for role, topic in self._topics.items():
            reader = self._readers.get(role) or self._log.reader(topic)
            if reader is None:
                continue
            self._readers[role] = reader
            records = reader.poll(BATCH, 0.0)
            now_ms = self._world.now_ms()
            with self._lock:
                for record in records:
                    found = True
                    self._take(role, orjson.loads(record.value), now_ms)
        return found

    def _take(self, role: str, value: dict[str, Any], now_ms: int) -> None:
        if role == "dead":
            self.dead_letters += 1
        elif role == "mails":
            self._mail_ids.add(value["mail"])
            self._mailed.update(value["event_ids"])
        elif value["event_id"] in self._outcomes:
            self.duplicates += 1
        else:
            self._outcomes[value["event_id"]] = value["fd"]["outcomes"]
            payment = self._sent.get(value["event_id"])
            if payment is not None:
                self._latencies_ms.append(max(0.0, now_ms - payment.event_at_ms))
