"""The life of a background job: started, shown, cancelled, resumed, ended. What it does is its step's.

The catalogue holds what lasts (status and final counts), memory what moves (progress); a job that the
catalogue shows as running when a server starts is run again from where it was.
"""

import dataclasses
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hawksnest.app import App, Call
from hawksnest.background import Cancelled, Closing, Key, Stop
from hawksnest.catalog import Job, Tenant
from hawksnest.errors import Poison, ServiceError, Transient, invalid
from hawksnest.log import LogFailed
from hawksnest.ops.changes import change, remove, update
from hawksnest.ops.describe import noun, require

_log = logging.getLogger(__name__)
J = TypeVar("J", bound=Job)

INITIALIZING, IN_PROGRESS, CANCELLING = "IN_PROGRESS_INITIALIZING", "IN_PROGRESS", "CANCEL_IN_PROGRESS"
COMPLETE, FAILED, CANCELED = "COMPLETE", "FAILED", "CANCELED"
_RETRY_S = 1.0


class Failed(Exception):
    """The job cannot do its work; the message is its failureReason."""


class Progress(NamedTuple):
    """How far a job is. `total` is None until it is known; `at_ms`: when this was so."""

    processed: int = 0
    failed: int = 0
    total: int | None = None
    at_ms: int = 0


Step = Callable[[App, Tenant, J, Path, Stop], None]
"""Does the job's work, or goes on with it, in a folder of its own; reports `Progress`; raises `Failed`."""


def start(app: App, tenant: Tenant, job: J, step: "Step[J]") -> None:
    """Run a job that the catalogue already shows as running; returns at once."""
    cancelled = job.status == CANCELLING
    app.background.start(_key(tenant, job), lambda stop: _run(app, tenant, job, step, stop), cancelled)


def progress(app: App, tenant: Tenant, job: Job) -> Progress | None:
    """What a running job last said; None when it said nothing yet or has ended."""
    found = app.background.report(_key(tenant, job)) if job.running else None
    return found if isinstance(found, Progress) else None


def cancel(app: App, call: Call, kind: type[J], job_id: str) -> None:
    """Ask a job to stop. Raises ResourceNotFoundException, and ValidationException for one that has ended."""
    with change(app, call) as now_ms:
        job = require(app, call.tenant, kind, job_id)
        if not job.running:
            raise invalid(f"{noun(kind)} job {job_id} is {job.status} and cannot be cancelled.")
        if job.status != CANCELLING:
            update(app, call, job, now_ms, status=CANCELLING)
    app.background.cancel(_key(call.tenant, job))


def delete(app: App, call: Call, kind: type[J], job_id: str) -> None:
    """Forget a job that has ended. Raises ValidationException for one that has not."""
    with change(app, call):
        job = app.catalog.get(call.tenant, kind, job_id)
        if job is None:
            return
        if job.running:
            raise invalid(f"{noun(kind)} job {job_id} is {job.status}; only a job that has ended is deleted.")
        remove(app, call, job)


def resume(app: App, tenant: Tenant, kind: type[J], step: "Step[J]") -> None:
    """At server start: go on with what was running when the last server ended."""
    for job in app.catalog.list(tenant, kind):
        if job.running:
            start(app, tenant, job, step)


def tidy(app: App, running: list[tuple[Tenant, Job]]) -> None:
    """At server start: remove the folders of jobs that are not running any more."""
    kept = {folder_of(app, tenant, job) for tenant, job in running}
    for folder in (app.settings.data / "batch").glob("*/*/*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(app: App, tenant: Tenant, job: Job) -> Path:
    """Where a run keeps its files."""
    return app.settings.data / "batch" / tenant.account / tenant.region / str(job.run)


def _key(tenant: Tenant, job: Job) -> Key:
    return (*tenant, job.kind, *job.key, str(job.run))


def _run(app: App, tenant: Tenant, job: J, step: "Step[J]", stop: Stop) -> None:
    """From start to end in the job's thread; whatever goes wrong, the job ends."""
    folder = folder_of(app, tenant, job)
    stop.report = Progress(at_ms=app.world.now_ms())
    status, reason = COMPLETE, None
    try:
        stop.check()
        folder.mkdir(parents=True, exist_ok=True)
        step(app, tenant, job, folder, stop)
    except Closing:
        raise
    except Cancelled:
        status = CANCELED
    except (Failed, ServiceError, Transient, Poison) as error:
        status, reason = FAILED, str(error)
    except OSError as error:
        status, reason = FAILED, f"{error.strerror or type(error).__name__}."
    except LogFailed:
        status, reason = FAILED, "The journal could not be written."
    except Exception:  # noqa: BLE001  a fault of ours ends the job, not the server
        _log.exception("%s %s failed", job.kind, " ".join(job.key))
        status, reason = FAILED, "Internal error; the server's log says more."
    _end(app, tenant, job, status, reason, stop)
    shutil.rmtree(folder, ignore_errors=True)


def advance(app: App, tenant: Tenant, job: Job) -> None:
    """The job has looked at its input and begins: IN_PROGRESS. Raises Cancelled when it need not."""
    with change(app, Call(tenant)) as now_ms:
        known = app.catalog.get(tenant, type(job), *job.key)
        if known is not None and known.status == INITIALIZING:
            update(app, Call(tenant), known, now_ms, status=IN_PROGRESS)
        elif known is not None and known.status == CANCELLING:  # asked before the job was under way
            raise Cancelled


def _end(app: App, tenant: Tenant, job: Job, status: str, reason: str | None, stop: Stop) -> None:
    """Write the end into the catalogue; a catalogue that cannot be written is tried again until it can."""
    done = stop.report
    assert isinstance(done, Progress)
    members: dict[str, Any] = {"status": status, "failure": reason}
    if any(each.name == "processed" for each in dataclasses.fields(job)):
        members |= {"processed": done.processed, "failed": done.failed, "total": done.total}
    waiting = False
    while True:
        try:
            with change(app, Call(tenant)) as now_ms:
                known = app.catalog.get(tenant, type(job), *job.key)
                if known is not None and known.run == job.run:
                    update(app, Call(tenant), known, now_ms, finished_at_ms=now_ms, **members)
            return
        except Transient as error:
            if not waiting:
                _log.warning("%s %s is %s but waits: %s", job.kind, " ".join(job.key), status, error)
            waiting = True
            stop.rest(_RETRY_S)
