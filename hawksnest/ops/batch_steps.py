"""What batch jobs do: have their file checked, then store its rows, or decide them and write the results.

Every record in the journal says which run and row it is of. After a crash the journal therefore tells exactly
which rows are done, whatever the job's own notes say; none is done twice.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hawksnest import batch
from hawksnest.app import App
from hawksnest.background import Stop
from hawksnest.batch import Plan, Point, Row, Summary
from hawksnest.buckets import Buckets, below
from hawksnest.catalog import BatchImport, BatchJob, BatchPrediction, Tenant
from hawksnest.errors import Poison, ServiceError, Transient
from hawksnest.kernel.events import Event, Resolved
from hawksnest.ops.batch_rows import REPORT_HEADER, line, prepare
from hawksnest.ops.consult import decide
from hawksnest.ops.job_runs import Failed, Progress, advance
from hawksnest.ops.limits import IMPORT_BYTES, PREDICTION_BYTES
from hawksnest.ops.pace import Pace
from hawksnest.ops.requests import resolve
from hawksnest.predict import FUTURE_MAX_MS, send
from hawksnest.snapshot import DetectorSnapshot
from hawksnest.store.records import EventKey, EventSent, Outline, Predicted
from hawksnest.store.sealing import Box, DataKeyId, Reason

POINT_EVERY_S = 1.0
SMALL_BYTES = 64 << 10  # a smaller file is checked here: a child process would cost more than the work
ATTEMPTS_MAX = 2  # a child that died is started once more
_POLL_S = 0.02
_CHECK_REST_S = 0.0005  # after every frame that is only looked at
_SAID = 500  # characters of a dead child's last words
UNREADABLE = (
    "AccessDeniedException: The row was decided; the decision is sealed with a key that cannot be used."
)
_RowRecord = EventSent | Predicted | Outline


def import_rows(app: App, tenant: Tenant, job: BatchImport, folder: Path, stop: Stop) -> None:
    """Store the events of the job's file, all of it checked before the first one. Raises Failed."""
    work = _Work(app, tenant, job, folder, stop)
    summary = work.checked_file(predicts=False)
    refused = summary.failed
    if summary.broken:
        work.begin_output(line(["", "", summary.broken]) + "\n")
        work.deliver(True, whole=False)
        raise Failed(summary.broken)
    event_type = app.snapshots.event_type(tenant, job.event_type)
    point = work.point()
    if not point.checked:
        refused += work.conflicts()
        if refused * 2 > summary.total:
            work.report(summary.total, refused)
            work.deliver(True, whole=False)
            raise Failed(
                f"{refused} of {summary.total} rows are invalid; an import with more than half of its rows "
                "invalid stores nothing. The result file says what is wrong with each."
            )
        point = Point(seq=job.first_seq, checked=True)
        batch.write(folder / batch.POINT, point)

    def store(row: Row, out: batch.Text, done: "_Done") -> bool:
        if done.record(row.row) is not None:
            return True
        given = (job.event_type, row.event_id, row.entity_type, row.entity_id, row.event_at_ms, row.timestamp)
        event, resolved = Event(*given, row.given), Resolved({}, {}, row.amount, row.identities)
        label = (row.label, row.labelled_at or row.timestamp) if row.label is not None else None
        try:
            work.pace.call(row.row, lambda call: send(app, call, event_type, event, resolved, label))
        except (ServiceError, Poison) as fault:
            out.write((line([str(row.row), row.event_id, fault.message]) + "\n").encode())
            return False
        return True

    failed = work.each_row(point, store)
    work.report(summary.total, summary.failed + failed)
    work.deliver(summary.failed + failed > 0)


def predict_rows(app: App, tenant: Tenant, job: BatchPrediction, folder: Path, stop: Stop) -> None:
    """Decide the events of the job's file and write the results. Raises Failed."""
    work = _Work(app, tenant, job, folder, stop)
    summary = work.checked_file(predicts=True)
    if summary.broken:
        raise Failed(summary.broken)
    seen: list[tuple[DetectorSnapshot, DetectorSnapshot]] = []  # as built, and as used here

    def snapshot() -> DetectorSnapshot:
        place = (tenant, job.detector_id, job.detector_version)
        built = app.snapshots.peek(*place)
        if built is None:
            work.pace.block()
            built = app.snapshots.detector(*place)
        if not seen or seen[0][0] is not built:
            # The events of a batch are decided, not stored: the entity states stay as they are.
            unstored = dataclasses.replace(built.event_type, ingestion=False)
            seen[:] = [(built, dataclasses.replace(built, event_type=unstored))]
        return seen[0][1]

    def decided(row: Row, version: DetectorSnapshot) -> str:
        given = (job.event_type, row.event_id, row.entity_type, row.entity_id, row.event_at_ms, row.timestamp)
        event = Event(*given, row.given)
        try:
            resolved = resolve(version.event_type.schema, row.given)
            record = work.pace.call(row.row, lambda call: decide(app, call, version, event, resolved, {}))
        except ServiceError as fault:
            return line(["", "", "", f"{fault.code}: {fault.message}"])
        except Poison as fault:
            return line(["", "", "", f"ValidationException: {fault.message}"])
        return results(record)

    def predict(row: Row, out: batch.Text, done: "_Done") -> bool:
        record = done.record(row.row)
        if row.fault:
            text = line(["", "", "", row.fault])
        elif isinstance(record, Outline):
            text = line(["", "", "", UNREADABLE])
        else:
            text = results(record) if isinstance(record, Predicted) else decided(row, snapshot())
        out.write(f"{row.shown},{text}\n".encode())
        return True

    snapshot()  # a version that cannot be used ends the job
    point = work.point()
    if not point.written:
        point = Point(seq=job.first_seq, written=work.begin_output(summary.header + "\n"))
    work.each_row(point, predict)
    work.report(summary.total, 0)
    work.deliver(True)


def results(record: Predicted) -> str:
    """The four columns of a decided row: scores as a Python dictionary, outcomes, rules as JSON, status."""
    scores = ", ".join(f"'{score.model_id}': {score.score}" for score in record.scores)
    outcomes = list(dict.fromkeys(name for _, names in record.results for name in names))
    shown = str(outcomes) if len(outcomes) > 1 else "".join(outcomes)
    return line([f"{{{scores}}}", shown, json.dumps(dict(record.results)), "Success"])


class _Done:
    """The records that an earlier server wrote for a run after its last note, in the order of their rows."""

    def __init__(self, app: App, tenant: Tenant, pace: Pace, run: int, after: int) -> None:
        self._records: Iterator[_RowRecord] | None = self._of(app, tenant, run, after)
        self._pace = pace
        self._next = next(self._records, None)

    @staticmethod
    def _of(app: App, tenant: Tenant, run: int, after: int) -> Iterator["_RowRecord"]:
        for _, record in app.ledger.replay(after):
            if isinstance(record, EventSent | Predicted | Outline) and record.run == run:
                key = record.key if isinstance(record, Outline) else record.event.key
                if key.tenant == tenant:
                    yield record

    def record(self, row: int) -> "_RowRecord | None":
        """The record of a row, None when it is still to be done; rows are asked for in order."""
        if self._records is None:
            return None
        self._pace.block()  # the journal is read
        while self._next is not None and self._next.row < row:
            self._next = next(self._records, None)
        if self._next is None:  # the journal's end as it was found: what follows is new
            self._records = None
            return None
        return self._next if self._next.row == row else None


class _Work:
    """One run of a job, first or resumed."""

    def __init__(self, app: App, tenant: Tenant, job: BatchJob, folder: Path, stop: Stop) -> None:
        self.pace = Pace(app, tenant, stop, job.run)
        self._app = app
        self._tenant = tenant
        self._job = job
        self._folder = folder
        self._stop = stop
        self._box: Box | None = None  # what the run's files are sealed with
        self._total = self._refused = 0
        settings = app.settings
        name = f"{job.job_id}_{job.created_at_ms // 1000}_output.csv"
        self._output = below(job.output_path, name)
        self._buckets = Buckets(settings.data / "buckets", settings.s3_endpoint, settings.region)

    def report(self, processed: int, failed: int) -> None:
        """Say how far the job is."""
        now_ms = self._app.world.now_ms()
        self._stop.report = Progress(processed, failed, self._total, now_ms)

    def checked_file(self, predicts: bool) -> Summary:
        """The file's rows in frames, made now or before the last crash.

        Raises ServiceError when the tenant's encryption key cannot be used.
        """
        keys = self._app.encryption.keys
        box = keys.sealer(self._tenant)
        summary = batch.read(self._folder / batch.SUMMARY, Summary)
        if summary is None:
            self._buckets.check_target(self._output)
            plan = self._plan(predicts)
            if self._buckets.size(plan.uri) <= SMALL_BYTES:
                summary = prepare(plan, self._folder, self._stop.check, box)
            else:
                summary = self._child(plan)
        if summary.data_key:  # the key that the run began with, whatever the tenant has chosen since
            found = keys.find(DataKeyId(*self._tenant, summary.data_key))
            if isinstance(found, Reason):
                raise found.fault()
            self._box = found
        if not summary.broken:
            advance(self._app, self._tenant, self._job)
            self._total, self._refused = summary.total, 0 if predicts else summary.failed
            self.report(0, self._refused)
        return summary

    def _plan(self, predicts: bool) -> Plan:
        app, job = self._app, self._job
        settings, quotas = app.settings, app.quotas.table
        event_type = app.snapshots.event_type(self._tenant, job.event_type)
        now_ms, age_ms = app.world.now_ms(), quotas.event_age_ms
        if predicts:
            latest_ms, age_ms = batch.FOREVER_MS, None
            bytes_max = quotas.batch_prediction_bytes or PREDICTION_BYTES
        else:
            latest_ms = now_ms + FUTURE_MAX_MS
            bytes_max = quotas.batch_import_bytes or IMPORT_BYTES
        return Plan(
            predicts=predicts,
            uri=job.input_path,
            bytes_max=bytes_max,
            buckets=str((settings.data / "buckets").resolve()),
            s3_endpoint=settings.s3_endpoint,
            region=settings.region,
            event_type=event_type.name,
            specs=list(event_type.specs),
            entity_types=sorted(event_type.entity_types),
            labels=sorted(event_type.labels),
            latest_ms=latest_ms,
            earliest_ms=-batch.FOREVER_MS if age_ms is None else now_ms - age_ms,
        )

    def _child(self, plan: Plan) -> Summary:
        """Check the file in a process of its own. Raises Failed when it dies again and again."""
        batch.write(self._folder / batch.PLAN, plan)
        handed = self._app.encryption.keys.handed(self._tenant)
        command = [sys.executable, "-m", "hawksnest.worker", "prepare", str(self._folder), *handed.flag]
        for _ in range(ATTEMPTS_MAX):
            with (self._folder / "stderr.txt").open("wb") as stderr:
                child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr
                )
            try:
                handed.to(child)
                while child.poll() is None:
                    self._stop.pause(_POLL_S)
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
                if child.stdin is not None:
                    child.stdin.close()
            summary = batch.read(self._folder / batch.SUMMARY, Summary)
            if summary is not None:
                return summary
        said = (self._folder / "stderr.txt").read_text(errors="replace").strip()[-_SAID:].splitlines()
        raise Failed(
            f"The process that checks the file ended with code {child.returncode} {ATTEMPTS_MAX} times; last "
            f"words: {said[-1] if said else 'none'}"
        )

    def conflicts(self) -> int:
        """How many rows will be refused because their event is stored with another time."""
        app, (account, region) = self._app, self._tenant
        found = 0
        for _, _, rows in batch.frames(self._folder / batch.ROWS, box=self._box):
            for row in rows:
                known = app.ledger.known(EventKey(account, region, self._job.event_type, row.event_id))
                found += known is not None and known.stored and known.event_at_ms != row.event_at_ms
            self._stop.pause(_CHECK_REST_S)
        return found

    def point(self) -> Point:
        """Where to go on; the beginning when there is no note of it, or less output than it says."""
        noted = batch.read(self._folder / batch.POINT, Point)
        output = self._folder / batch.OUTPUT
        if noted is None or (output.stat().st_size if output.exists() else 0) < noted.written:
            return Point(seq=self._job.first_seq)
        return noted

    def begin_output(self, text: str) -> int:
        """Write the output's beginning; how many bytes of the file that takes."""
        with batch.Text(self._folder / batch.OUTPUT, box=self._box) as out:
            out.write(text.encode())
            out.flush()
            return out.tell()

    def each_row(self, point: Point, handle: "Callable[[Row, batch.Text, _Done], bool]") -> int:
        """Hand out every row behind the point; returns how many were refused (`handle` said False)."""
        world, failed = self._app.world, point.failed
        done = _Done(self._app, self._tenant, self.pace, self._job.run, point.seq)
        due_s = world.monotonic_s() + POINT_EVERY_S
        offset = point.offset
        with batch.Text(self._folder / batch.OUTPUT, point.written, self._box) as out:

            def one(row: Row) -> None:
                nonlocal failed
                failed += not handle(row, out, done)

            def tell(row: Row) -> None:
                nonlocal due_s
                self.report(row.row, self._refused + failed)
                if world.monotonic_s() >= due_s:
                    due_s = world.monotonic_s() + POINT_EVERY_S
                    self._note(out, offset, row.row, failed)

            for frame, _, rows in batch.frames(self._folder / batch.ROWS, point.offset, self._box):
                offset = frame
                self.pace.through((row for row in rows if row.row > point.row), one, tell)
            self.pace.sync()
        return failed

    def _note(self, out: batch.Text, offset: int, row: int, failed: int) -> None:
        self.pace.sync()  # everything up to `row` is in the journal, everything later behind it
        out.flush()
        os.fsync(out.fileno())
        point = Point(offset, row, self._app.ledger.durable_seq, failed, out.tell(), checked=True)
        batch.write(self._folder / batch.POINT, point)

    def deliver(self, anything: bool, whole: bool = True) -> None:
        """Write the result: predictions, or the refused rows of an import (nothing: an empty file).

        `whole` False: a report that cannot be written is not the reason why the job failed.
        """
        try:
            with self._buckets.create(self._output) as sink:
                for chunk in self._parts() if anything else ():
                    self._stop.check()
                    sink.write(chunk)
        except (ServiceError, Transient, OSError):
            if whole:
                raise

    def _parts(self) -> Iterable[bytes]:
        if isinstance(self._job, BatchImport):
            yield REPORT_HEADER.encode()
            yield from batch.parts(self._folder / batch.REJECTS, self._box)
        yield from batch.parts(self._folder / batch.OUTPUT, self._box)
