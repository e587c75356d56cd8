"""The pipeline: a topic of payments in, a decision about each out, through the operation a customer calls.

One thread reads and hands records to lanes (threads); all records of an entity go through one lane, so they
are decided in the order of the input. One more thread makes outputs durable and then commits. A killed
pipeline repeats at most what it had not committed: the call is idempotent by event id, and ids whose record
made it into the output topic are known (`dedupe.py`), so a reader of the output sees one decision per id.
"""

import logging
import queue
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from hawksnest.errors import Poison, ServiceError, Transient
from hawksnest.stream.consumer import Progress, hold_state, insist
from hawksnest.stream.dedupe import SeenIds, TopicIds, digest
from hawksnest.stream.mapping import Mapping as StreamMapping
from hawksnest.stream.mapping import Prepared
from hawksnest.stream.ports import Consumer, Log, Producer, StreamRecord
from hawksnest.stream.schema import dead_letter, dead_letter_of, decided_record, decision_of, members_of
from hawksnest.world import RealWorld, World, iso_ms

_log = logging.getLogger(__name__)

VERSION_HEADER = "x-hawksnest-detector-version-id"
T = TypeVar("T")
_IN_FLIGHT_BYTES = 64 << 20  # read and not committed; beyond, reading waits
_KEY_BYTES = 1_024  # of a dead letter's own key; the letter holds more of the original's
_GRACE_S = 1.2  # how long a stop waits for calls that are under way


class Caller(Protocol):
    """What the pipeline asks of a client; `hawksnest.client.Client` is one. Each lane has its own."""

    def call(
        self, operation: str, request: dict[str, Any], idempotent: bool = True
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Response and headers (lower-case names). Raises ServiceError or Transient."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class StreamOptions:
    """How a pipeline runs. `state` is a folder of its own for what must survive besides the log."""

    state: Path
    group: str = "hawksnest-stream"
    start: str = "committed"
    lanes: int = 8  # calls under way at once
    in_flight: int = 2_000  # records read and not committed: beyond, reading waits
    batch: int = 500
    commit_every_s: float = 0.1
    dead_letter_share: float = (
        0.25  # a larger share of the window stops the stream: a bad deploy, not bad data
    )
    dead_letter_window: int = 1_000
    dead_letter_minimum: int = 100
    known_ids: int = 1_048_576  # event ids remembered against a second decision record
    until_end: bool = False  # end when everything in the topic has been decided


@dataclass
class StreamSummary:
    """Counts of one run. `stopped_because`: one sentence when it stopped by itself (exit code 1)."""

    read: int = 0
    decided: int = 0
    repeated: int = 0  # the event id has its decision record already
    dead_letters: int = 0
    retries: int = 0
    skewed: int = 0  # event time after the pipeline's clock
    stopped_because: str = ""


Report = Callable[[StreamSummary], None]


def run_stream(
    log: Log,
    client_factory: Callable[[], Caller],
    mapping: StreamMapping,
    options: StreamOptions,
    stop: threading.Event,
    report: Report | None = None,
    world: World | None = None,
) -> StreamSummary:
    """Run until `stop` is set (then end within two seconds), the share of dead letters is too large, or the
    detector cannot be used at all; the summary says which. `report` gets the counts about once a second."""
    for topic in (mapping.input_topic, mapping.output_topic, mapping.dead_letters):
        log.create_topic(topic)
    with ExitStack() as stack:
        if not hold_state(options.state, options.group, stop, stack):
            return StreamSummary()
        run = _Run(log, mapping, options, world or RealWorld(), stack)
        lanes = [_Lane(run, client_factory()) for _ in range(options.lanes)]
        committer = threading.Thread(target=run.keep_committing, name="stream-commit", daemon=True)
        for thread in (committer, *lanes):
            thread.start()
        try:
            _read(run, lanes, stop, report)
        finally:
            _end(run, lanes, committer)
    if run.bug is not None:
        raise run.bug
    return run.counts


def _read(run: "_Run", lanes: list["_Lane"], stop: threading.Event, report: Report | None) -> None:
    reported_s = run.world.monotonic_s()
    while not (stop.is_set() or run.halt.is_set()):
        room = min(run.options.batch, run.options.in_flight - run.progress.uncommitted)
        if run.progress.uncommitted_bytes > _IN_FLIGHT_BYTES:
            room = 0
        if room <= 0:
            run.halt.wait(0.002)
            records = []
        else:
            records = list(run.consumer.poll(room, 0.05))
        if records:
            run.recover(stop)
            run.take(records, lanes)
        elif room > 0 and run.options.until_end and run.at_end():
            return
        if report is not None and run.world.monotonic_s() - reported_s >= 1.0:
            reported_s = run.world.monotonic_s()
            report(replace(run.counts))


def _end(run: "_Run", lanes: list["_Lane"], committer: threading.Thread) -> None:
    run.halt.set()
    deadline_s = run.world.monotonic_s() + _GRACE_S
    for lane in lanes:
        lane.work.put(None)
    for lane in lanes:
        lane.join(max(0.0, deadline_s - run.world.monotonic_s()))
    run.shut()  # what a call that hangs may still bring is dropped: it was not committed
    committer.join(0.6)


class _Lane(threading.Thread):
    """Decides the records of its entities one after the other."""

    def __init__(self, run: "_Run", client: Caller) -> None:
        super().__init__(name="stream-lane", daemon=True)
        self.work: queue.SimpleQueue[tuple[StreamRecord, Prepared | Poison] | None] = queue.SimpleQueue()
        self._run = run
        self._client = client

    def run(self) -> None:
        while (item := self.work.get()) is not None:
            if not self._run.halt.is_set():
                self._run.guarded(self._decide, *item)
        self._client.close()

    def _decide(self, record: StreamRecord, prepared: Prepared | Poison) -> None:
        run = self._run
        if isinstance(prepared, Poison):
            run.bury(record, prepared)
            return
        asked_at_ms = run.world.now_ms()
        try:
            response, headers = run.insist(self._client.call, "GetEventPrediction", prepared.request, True)
        except ServiceError as fault:
            if fault.status in (401, 403) or fault.code in (
                "AccessDeniedException",
                "ResourceNotFoundException",
            ):
                run.give_up(f"GetEventPrediction cannot be used: {fault.message}")
                return
            run.bury(record, Poison(fault.code, fault.message))
            return
        version = headers.get(VERSION_HEADER, "")
        answered_at_ms = run.world.now_ms()
        decision = decision_of(response, version, prepared.event_at_ms, asked_at_ms, answered_at_ms)
        value = decided_record(prepared.members, run.mapping.canonical(prepared), decision)
        run.emit(record, prepared, value, skewed=asked_at_ms < prepared.event_at_ms)


class _EventId(msgspec.Struct):
    event_id: str


_EVENT_ID_OF = msgspec.json.Decoder(_EventId)


def _decided_id(record: StreamRecord) -> bytes:
    try:
        return digest(_EVENT_ID_OF.decode(record.value).event_id)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Poison("MalformedRecord", str(fault)) from None


def _buried_id(record: StreamRecord) -> bytes:
    letter = dead_letter_of(record.value)
    return digest(letter.topic, letter.partition, letter.offset, letter.produced_at)


class _Run:
    """What the threads of one run share."""

    def __init__(
        self, log: Log, mapping: StreamMapping, options: StreamOptions, world: World, stack: ExitStack
    ) -> None:
        self.mapping, self.options, self.world = mapping, options, world
        self.counts = StreamSummary()
        self.progress = Progress()
        self.halt = threading.Event()
        self.bug: BaseException | None = None
        self._log = log
        self.consumer: Consumer = log.consumer(mapping.input_topic, options.group, options.start)
        stack.callback(self.consumer.close)
        self._producer: Producer = log.producer()
        stack.callback(self._producer.close)
        self._decided = self._ids(mapping.output_topic, _decided_id, options.known_ids)
        stack.callback(self._decided.close)
        self._buried = self._ids(mapping.dead_letters, _buried_id, 200_000)
        stack.callback(self._buried.close)
        self._recovered = False
        self._sending = threading.Lock()  # a claim and its send go together
        self._count = threading.Lock()  # counts and window
        self._shut = False
        self._window: deque[bool] = deque(maxlen=options.dead_letter_window)

    def _ids(self, topic: str, id_of: Callable[[StreamRecord], bytes], capacity: int) -> TopicIds:
        group = f"{self.options.group}.ids"
        seen = SeenIds(self.options.state / f"{self.options.group}.{topic}.ids", capacity)
        return TopicIds(self._log, topic, group, id_of, seen)

    def recover(self, stop: threading.Event) -> None:
        """Once, when the group has become ours: learn which decisions a predecessor wrote."""
        if not self._recovered:
            self._decided.recover(stop)
            self._buried.recover(stop)
            self._recovered = True

    def take(self, records: list[StreamRecord], lanes: list[_Lane]) -> None:
        """Hand each record to the lane of its entity; what is no event goes to any lane, to be buried."""
        self.progress.taken(records)
        self.counts.read += len(records)
        for record in records:
            item: Prepared | Poison
            try:
                item = self.mapping.prepare(members_of(record.value))
                place = zlib.crc32(item.entity_id.encode("utf-8", "surrogatepass"))
            except Poison as fault:
                item, place = fault, record.offset
            lanes[place % len(lanes)].work.put((record, item))

    def at_end(self) -> bool:
        """Is everything that the topic holds decided and committed?"""
        return (
            self.progress.uncommitted == 0
            and self._log.lag(self.mapping.input_topic, self.options.group) == 0
        )

    def guarded(self, work: Callable[..., None], *given: Any) -> None:
        """Run one step of a record; a fault of ours ends the run and is raised by `run_stream`."""
        try:
            work(*given)
        except Transient:
            assert self.halt.is_set()  # `insist` gives up for no other reason: the record stays uncommitted
        except Exception as bug:  # noqa: BLE001 - the one place that hears of a lane's death
            self.bug = bug
            self.halt.set()

    def insist(self, function: Callable[..., T], *given: object) -> T:
        """Call until it works or cannot work; Transient only when halted."""
        return insist(function, *given, halt=self.halt, on_retry=self._note_retry)

    def _note_retry(self) -> None:
        with self._count:
            self.counts.retries += 1

    def emit(self, record: StreamRecord, prepared: Prepared, value: bytes, skewed: bool) -> None:
        """Send the decision unless the output holds one for this event id."""
        try:
            new = self._send(
                self._decided,
                digest(prepared.event_id),
                self.mapping.output_topic,
                value,
                prepared.entity_id.encode(),
            )
        except Poison as fault:
            self.bury(record, fault)
            return
        with self._count:
            self.counts.decided += new
            self.counts.repeated += not new
            self.counts.skewed += skewed
            self._window.append(False)
        self.progress.finished(record)

    def bury(self, record: StreamRecord, fault: Poison) -> None:
        """Send the record to the dead letters, and stop when there are too many of them."""
        letter = dead_letter(record, fault, self.world.now_ms())
        identity = digest(record.topic, record.partition, record.offset, iso_ms(record.produced_at_ms))
        key = None if record.key is None else record.key[:_KEY_BYTES]
        self._send(self._buried, identity, self.mapping.dead_letters, letter, key)
        with self._count:
            self.counts.dead_letters += 1
            self._window.append(True)
            dead = sum(self._window)
            options, taken = self.options, len(self._window)
        self.progress.finished(record)
        if dead >= options.dead_letter_minimum and dead > options.dead_letter_share * taken:
            self.give_up(
                f"{dead} of the last {taken} records went to {self.mapping.dead_letters} "
                f"(the last one: {fault.code}); that looks like a wrong mapping or detector, not bad data."
            )

    def _send(self, ids: TopicIds, identity: bytes, topic: str, value: bytes, key: bytes | None) -> bool:
        with self._sending:
            if self._shut:
                raise Transient("the pipeline has ended")
            new = ids.claim(identity)
            if new:
                self.insist(self._producer.send, topic, value, key)
            return new

    def give_up(self, sentence: str) -> None:
        """Stop the run for a reason that a person must look at."""
        with self._count:
            self.counts.stopped_because = self.counts.stopped_because or sentence
        self.halt.set()

    def shut(self) -> None:
        """Nothing is sent from now on."""
        with self._sending:
            self._shut = True

    def keep_committing(self) -> None:
        """Make outputs durable as they come, then commit what they belong to; until shut."""
        self.guarded(self._commit_loop)

    def _commit_loop(self) -> None:
        known, committed_s, saved_s = 0, 0.0, self.world.monotonic_s()
        waiting: dict[int, StreamRecord] = {}
        while True:
            last = self._shut
            known = self.progress.wait_for_change(known, 0.0 if last else 0.05)
            done = self.progress.resumable()
            self.insist(self._producer.flush)
            waiting.update({record.partition: record for record in done})
            now_s = self.world.monotonic_s()
            if waiting and (last or now_s - committed_s >= self.options.commit_every_s):
                self.insist(self.consumer.commit, list(waiting.values()))
                waiting.clear()
                committed_s = now_s
            if self._recovered and (last or now_s - saved_s >= 5.0):
                self.insist(self._decided.catch_up)
                self.insist(self._buried.catch_up)
                saved_s = now_s
            if last:
                return
