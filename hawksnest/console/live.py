"""The live feed: a thread that follows the journal and, when a stream runs, its topics.

It reads what any reader may read; it writes nothing and commits no offsets. While nobody looks it rests:
decoding every decision for no reader would cost more than half of what deciding costs.
"""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import orjson

from hawksnest.app import App
from hawksnest.catalog import Tenant
from hawksnest.console.rollup import Names, Rollup
from hawksnest.errors import HawksnestError
from hawksnest.kernel.events import parse_timestamp
from hawksnest.store.records import Predicted
from hawksnest.stream.ports import Consumer, Log

INTERVAL_S = 0.25
RECORDS_KEPT = 200_000
BATCH = 2_000
WATCHED_S = 30.0  # how long after the last look it goes on following

logger = logging.getLogger(__name__)


class LiveFeed:
    """Figures of the live page, kept up to date in the background.

    `log` holds the topics to follow besides the journal (None: no stream here); `topics` names them:
    output, truth, alerts, dead letters.
    """

    def __init__(self, app: App, log: Log | None, topics: dict[str, str]) -> None:
        self._app = app
        self._log = log
        self._topics = topics
        self._rollup = Rollup()
        self._names: dict[tuple[Tenant, str], Names] = {}
        self._consumers: dict[str, Consumer] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._looked_s = 0.0
        self._cursor = max(0, app.ledger.durable_seq - RECORDS_KEPT)
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)

    @property
    def stopped(self) -> bool:
        """True once `stop` was called."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """End the feed's endless answers; returns at once."""
        self._stop.set()
        self._looked.set()

    def stop(self) -> None:
        """Stop following; returns when the thread has ended."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        for consumer in self._consumers.values():
            consumer.close()

    def shown(self) -> dict[str, Any]:
        """The page's figures now; the first look after a rest sees them catch up."""
        self._looked_s = self._app.world.monotonic_s()
        self._looked.set()
        with self._lock:
            return self._rollup.shown(self._app.world.now_ms())

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._app.world.monotonic_s() - self._looked_s > WATCHED_S:
                self._looked.clear()
                self._looked.wait()
                self._cursor = max(self._cursor, self._app.ledger.durable_seq - RECORDS_KEPT)
            try:
                busy = self._follow_journal() | self._follow_topics()
            except (HawksnestError, OSError):
                logger.exception("The live feed could not read; it tries again.")
                busy = False
            if not busy:
                self._stop.wait(INTERVAL_S)

    def _follow_journal(self) -> bool:
        batch = []
        for seq, record in self._app.ledger.replay(self._cursor):
            self._cursor = seq
            if isinstance(record, Predicted):
                batch.append((record, self._names_of(record)))
            if len(batch) >= BATCH or self._stop.is_set():
                break
        with self._lock:
            for record, names in batch:
                self._rollup.fold_decision(record, names)
        return len(batch) >= BATCH

    def _names_of(self, record: Predicted) -> Names:
        key = (record.event.key.tenant, record.event.key.event_type)
        found = self._names.get(key)
        if found is None:
            try:
                specs = self._app.snapshots.event_type(*key).specs
            except HawksnestError:  # the event type may be gone by now
                return Names(None, None)
            by_type = {spec.variable_type: spec.name for spec in specs}
            by_name = {spec.name for spec in specs}
            state = by_type.get("BILLING_STATE") or ("billing_state" if "billing_state" in by_name else None)
            found = Names(by_type.get("CURRENCY_CODE"), state)
            if len(self._names) < 10_000:
                self._names[key] = found
        return found

    def _follow_topics(self) -> bool:
        busy = False
        for role, values in self._new_values():
            busy = True
            with self._lock:
                for value in values:
                    self._fold(role, value)
        return busy

    def _new_values(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        if self._log is None:
            return
        for role, topic in self._topics.items():
            if role not in self._consumers:
                consumer = self._log.reader(topic)
                if consumer is None:  # the topic is not there yet
                    continue
                self._consumers[role] = consumer
            records = self._consumers[role].poll(BATCH, 0.0)
            if records:
                yield role, [orjson.loads(record.value) for record in records]

    def _fold(self, role: str, value: dict[str, Any]) -> None:
        rollup = self._rollup
        if role == "output":
            fd = value.get("fd") or {}
            if isinstance(fd.get("ttdf"), int):
                rollup.fold_latency("time_to_decision", fd["ttdf"])
            if isinstance(fd.get("frauddetector_time"), int):
                rollup.fold_latency("decision", fd["frauddetector_time"])
        elif role == "truth":
            rollup.fold_truth(str(value["event_id"]), bool(value["fraud"]))
        elif role == "alerts":
            rollup.fold_mail(_shown_mail(value))
        elif role == "dead_letters":
            rollup.dead_letters += 1


def _shown_mail(sent: dict[str, Any]) -> dict[str, Any]:
    """A record of the topic of sent mails as one line of the inbox."""
    events = sent["events"]
    first = events[0]
    about = f"{first['amount']} {first['currency'].upper()} by {first['entity_id']}: {first['rules']}"
    if len(events) > 1:
        about += f" and {len(events) - 1} more"
    return {
        "mail": sent["mail"],
        "at_ms": parse_timestamp(sent["at"]),
        "subject": sent["subject"],
        "about": about,
    }
