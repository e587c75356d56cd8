"""Alerts: a consumer of the output topic that mails people about flagged events, once each.

An event is flagged when any of its outcomes is in the configured set. Up to a rate each gets a mail of its
own; above it, events are gathered into a digest, so that every flagged event is in exactly one mail for each
recipient. Input is committed once the mail is planned durably (`outbox.py`); sending happens beside it.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from hawksnest.errors import Poison, Transient, UsageError
from hawksnest.stream.consumer import Progress, hold_state, insist
from hawksnest.stream.dedupe import SeenIds
from hawksnest.stream.mail import (
    Flagged,
    Mailer,
    MailRefused,
    Unreachable,
    checked_address,
    flagged,
    subject_of,
)
from hawksnest.stream.outbox import Outbox, Plan, plan
from hawksnest.stream.ports import Consumer, Log, Producer, StreamRecord
from hawksnest.stream.schema import payment_of
from hawksnest.world import RealWorld, World, iso_ms

_log = logging.getLogger(__name__)

_MINUTE_S = 60.0
_OPEN_MAX = 10_000  # planned and unsent mails; beyond, reading waits
_UNCOMMITTED_MAX = 50_000  # records behind a digest that is being gathered; beyond, it goes out early
_REFUSALS_MAX = 8  # then the mail is given up
_GRACE_S = 1.3  # how long a stop waits for mails to go out


@dataclass(frozen=True)
class AlertOptions:
    """What is mailed to whom. `state` is a folder of its own; it must survive restarts."""

    state: Path
    recipients: tuple[str, ...]
    outcomes: frozenset[str] = frozenset({"block"})
    topic: str = "processed_transactions"
    sent_topic: str = "alerts_sent"
    group: str = "hawksnest-alert"
    start: str = "new"  # the first start mails no history
    mails_per_minute: int = 10  # a recipient; above, digests
    digest_every_s: float = 60.0
    digest_events: int = 500
    retry_first_s: float = 0.5
    retry_most_s: float = 300.0
    known_ids: int = 1_048_576
    until_end: bool = False  # end when everything in the topic has been mailed


@dataclass
class AlertSummary:
    """Counts of one run."""

    read: int = 0
    flagged: int = 0  # events that had to be mailed, each counted once
    repeated: int = 0  # flagged events that have their mail already
    mails: int = 0
    digests: int = 0  # of the mails
    retries: int = 0
    given_up: int = 0
    waiting: int = 0  # mails planned and not sent when the run ended


class SentAlert(msgspec.Struct, frozen=True):
    """A record of the topic of sent mails. The same `mail` may appear twice after a crash."""

    mail: str
    at: str
    recipient: str
    subject: str
    event_ids: list[str]
    events: list[Flagged]


Report = Callable[[AlertSummary], None]


def run_alerts(
    log: Log,
    mailer: Mailer,
    options: AlertOptions,
    stop: threading.Event,
    report: Report | None = None,
    world: World | None = None,
) -> AlertSummary:
    """Run until `stop` is set, then end within two seconds; what is gathered by then goes out as a digest."""
    if not options.recipients:
        raise UsageError("Nobody to alert: name at least one recipient.")
    for recipient in options.recipients:
        checked_address(recipient)
    log.create_topic(options.topic)
    log.create_topic(options.sent_topic, 1)
    with ExitStack() as stack:
        if not hold_state(options.state, options.group, stop, stack):
            return AlertSummary()
        run = _Run(log, mailer, options, stop, world or RealWorld(), stack)
        run.sender.start()
        try:
            _read(run, stop, report)
        finally:
            _end(run, stop)
    if run.sender.bug is not None:
        raise run.sender.bug
    return run.counts


def _read(run: "_Run", stop: threading.Event, report: Report | None) -> None:
    reported_s = run.world.monotonic_s()
    while not stop.is_set() and run.sender.bug is None:
        room = run.room()
        records = list(run.consumer.poll(room, 0.05)) if room > 0 else []
        if room <= 0:
            stop.wait(0.02)
        try:
            run.take(records)
            run.flush_digests(early=run.progress.uncommitted > _UNCOMMITTED_MAX)
            run.commit()
        except Transient:
            return  # stopped while the disk had no room: what is not planned is not committed
        if run.options.until_end and not records and room > 0 and run.at_end():
            return
        if report is not None and run.world.monotonic_s() - reported_s >= 1.0:
            reported_s = run.world.monotonic_s()
            report(run.snapshot())


def _end(run: "_Run", stop: threading.Event) -> None:
    with contextlib.suppress(Transient):
        run.flush_digests(early=True)
        run.commit()
    if run.options.until_end:
        while not stop.is_set() and run.sender.bug is None and len(run.outbox):
            stop.wait(0.01)
    run.sender.finish(_GRACE_S)
    run.counts = run.snapshot()


@dataclass
class _Recipient:
    """How much one recipient got lately, and what is gathered for the next digest."""

    address: str
    sent_s: deque[float] = field(default_factory=deque)
    gathered: dict[str, tuple[Flagged, StreamRecord]] = field(default_factory=dict)
    gathering_since_s: float = 0.0

    def may_get_one(self, now_s: float, per_minute: int) -> bool:
        """May the next event have a mail of its own?"""
        while self.sent_s and now_s - self.sent_s[0] >= _MINUTE_S:
            self.sent_s.popleft()
        return not self.gathered and len(self.sent_s) < per_minute


class _Run:
    """State of one run; belongs to the reading thread."""

    def __init__(
        self,
        log: Log,
        mailer: Mailer,
        options: AlertOptions,
        stop: threading.Event,
        world: World,
        stack: ExitStack,
    ) -> None:
        self.options, self.world = options, world
        self._stop = stop
        self.counts = AlertSummary()
        self.progress = Progress()
        self.consumer: Consumer = log.consumer(options.topic, options.group, options.start)
        stack.callback(self.consumer.close)
        producer = log.producer()
        stack.callback(producer.close)
        seen = SeenIds(options.state / f"{options.group}.mailed.ids", options.known_ids)
        self.outbox = Outbox(options.state / f"{options.group}.plans.jsonl", seen)
        stack.callback(self.outbox.close)
        self.sender = _Sender(self.outbox, mailer, producer, options, world)
        self._log = log
        self._recipients = [_Recipient(address) for address in options.recipients]
        self._held: dict[tuple[int, int], int] = {}  # record → recipients whose digest it waits for

    def room(self) -> int:
        """How many records may be read now."""
        return 0 if len(self.outbox) >= _OPEN_MAX else 500

    def take(self, records: list[StreamRecord]) -> None:
        """Plan or gather a mail for each flagged record."""
        light = [record._replace(value=b"") for record in records]
        self.progress.taken(light)
        self.counts.read += len(records)
        plans: list[Plan] = []
        finished: list[StreamRecord] = []
        planned: set[tuple[str, str]] = set()
        for record, place in zip(records, light, strict=True):
            event = self._flagged(record)
            waits = 0
            if event is not None:
                waits = self._assign(event, place, plans, planned)
            if waits:
                self._held[place.partition, place.offset] = waits
            else:
                finished.append(place)
        if plans:
            insist(self.outbox.add, plans, halt=self._stop)
            self.sender.wake()
        for place in finished:
            self.progress.finished(place)

    def _flagged(self, record: StreamRecord) -> Flagged | None:
        try:
            payment = payment_of(record.value)
        except Poison:
            return None  # written by something else; the pipeline's own records are always whole
        outcomes = {*payment.fd.outcomes, payment.fd.outcome}
        return flagged(payment) if outcomes & self.options.outcomes else None

    def _assign(
        self, event: Flagged, place: StreamRecord, plans: list[Plan], planned: set[tuple[str, str]]
    ) -> int:
        """Give the event its mail for every recipient; returns how many digests its record waits for."""
        waits, new = 0, False
        now_s = self.world.monotonic_s()
        for recipient in self._recipients:
            identity = (recipient.address, event.event_id)
            if identity in planned or event.event_id in recipient.gathered or self.outbox.knows(*identity):
                continue
            new = True
            if recipient.may_get_one(now_s, self.options.mails_per_minute):
                recipient.sent_s.append(now_s)
                planned.add(identity)
                plans.append(plan(recipient.address, [event], self.world.now_ms()))
                continue
            if not recipient.gathered:
                recipient.gathering_since_s = now_s
            recipient.gathered[event.event_id] = (event, place)
            waits += 1
        self.counts.flagged += new
        self.counts.repeated += not new
        return waits

    def flush_digests(self, early: bool = False) -> None:
        """Plan the digests that are due."""
        now_s = self.world.monotonic_s()
        for recipient in self._recipients:
            gathered = recipient.gathered
            due = early or now_s - recipient.gathering_since_s >= self.options.digest_every_s
            if not gathered or not (due or len(gathered) >= self.options.digest_events):
                continue
            events = [event for event, _ in gathered.values()]
            step = self.options.digest_events
            now_ms = self.world.now_ms()
            plans = [
                plan(recipient.address, events[at : at + step], now_ms) for at in range(0, len(events), step)
            ]
            insist(self.outbox.add, plans, halt=self._stop)
            recipient.gathered = {}
            recipient.sent_s.append(now_s)
            for _, place in gathered.values():
                self._release(place)
            self.sender.wake()

    def _release(self, place: StreamRecord) -> None:
        key = (place.partition, place.offset)
        self._held[key] -= 1
        if self._held[key] == 0:
            del self._held[key]
            self.progress.finished(place)

    def commit(self) -> None:
        """Commit what is planned."""
        if done := self.progress.resumable():
            insist(self.consumer.commit, done, halt=self._stop)

    def at_end(self) -> bool:
        """Has everything in the topic been read?"""
        return self._log.lag(self.options.topic, self.options.group) <= self.progress.uncommitted

    def snapshot(self) -> AlertSummary:
        """The counts of both threads."""
        sender = self.sender
        return replace(
            self.counts,
            mails=sender.mails,
            digests=sender.digests,
            retries=sender.retries,
            given_up=sender.given_up,
            waiting=len(self.outbox),
        )


@dataclass
class _Attempt:
    """When an open plan is tried next."""

    due_s: float = 0.0
    failures: int = 0
    refusals: int = 0
    taken: bool = False  # the server has the mail; what remains is the note of it


class _Sender(threading.Thread):
    """Sends open plans, oldest first; a mail that fails waits alone, an unreachable server holds all."""

    def __init__(
        self, outbox: Outbox, mailer: Mailer, producer: Producer, options: AlertOptions, world: World
    ) -> None:
        super().__init__(name="alert-sender", daemon=True)
        self.mails = self.digests = self.retries = self.given_up = 0
        self.bug: BaseException | None = None
        self._outbox, self._mailer, self._producer = outbox, mailer, producer
        self._options, self._world = options, world
        self._attempts: dict[str, _Attempt] = {}
        self._server = _Attempt()
        self._woken = threading.Event()
        self._end_s: float | None = None

    def wake(self) -> None:
        """There are new plans."""
        self._woken.set()

    def finish(self, grace_s: float) -> None:
        """Send what can be sent within the time and end; the rest goes out at the next start."""
        self._end_s = self._world.monotonic_s() + grace_s
        self._woken.set()
        self.join(grace_s + 0.2)

    def run(self) -> None:
        try:
            while not self._over():
                due = self._due()
                if due is None:
                    self._woken.wait(0.05 if self._end_s is None else 0.01)
                    self._woken.clear()
                    if self._end_s is not None and self._due() is None:
                        return
                    continue
                self._try(due)
        except Exception as bug:  # noqa: BLE001 - raised by run_alerts; the plans stay open
            self.bug = bug
        finally:
            self._mailer.close()

    def _over(self) -> bool:
        return self._end_s is not None and self._world.monotonic_s() >= self._end_s

    def _due(self) -> Plan | None:
        now_s = self._world.monotonic_s()
        if now_s < self._server.due_s:
            return None
        for each in self._outbox.open_plans():
            if now_s >= self._attempts.setdefault(each.mail_id, _Attempt()).due_s:
                return each
        return None

    def _try(self, due: Plan) -> None:
        attempt = self._attempts[due.mail_id]
        try:
            if not attempt.taken:
                self._mailer.send(due.events, due.mail_id, due.recipient)
                attempt.taken = True
                self.mails += 1
                self.digests += len(due.events) > 1
                self._server = _Attempt()
                self._publish(due)
            self._outbox.done(due)
        except Unreachable as fault:
            self._later(self._server, fault)
        except MailRefused as fault:
            self._refused(due, attempt, fault)
        except (Transient, OSError) as fault:
            self._later(attempt, fault)
        else:
            self._attempts.pop(due.mail_id, None)

    def _refused(self, due: Plan, attempt: _Attempt, fault: MailRefused) -> None:
        self._server = _Attempt()
        attempt.refusals += 1
        if attempt.refusals < _REFUSALS_MAX:
            self._later(attempt, fault)
            return
        _log.error("a mail was refused %d times and is given up: %s", attempt.refusals, fault)
        try:
            self._outbox.done(due, str(fault))
        except OSError as full:
            self._later(attempt, full)
            return
        self.given_up += 1
        self._attempts.pop(due.mail_id, None)

    def _publish(self, due: Plan) -> None:
        sent = SentAlert(
            mail=due.mail_id,
            at=iso_ms(self._world.now_ms()),
            recipient=due.recipient,
            subject=subject_of(due.events),
            event_ids=[event.event_id for event in due.events],
            events=due.events[:20],
        )
        try:
            self._producer.send(self._options.sent_topic, msgspec.json.encode(sent))
            self._producer.flush()
        except (Transient, Poison) as fault:  # the mail is out: only the page misses it
            _log.warning(
                "a sent mail was not noted in %s: %s", self._options.sent_topic, type(fault).__name__
            )

    def _later(self, attempt: _Attempt, fault: Exception) -> None:
        wait_s = min(self._options.retry_most_s, self._options.retry_first_s * 2**attempt.failures)
        attempt.failures = min(attempt.failures + 1, 30)
        attempt.due_s = self._world.monotonic_s() + wait_s
        self.retries += 1
        if attempt.failures in (1, 5) or attempt.failures % 10 == 0:
            _log.warning("mail not sent (attempt %d): %s", attempt.failures, fault)
