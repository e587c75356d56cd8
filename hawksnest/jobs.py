"""Trainings as child processes: started, watched, resumed after a crash, their results applied.

A training lives in a folder of its own below DATA/jobs (`spec.json`, `progress.json`, at the end
`result.json` and `artefact/`). The model version's status in the catalogue is the truth: whatever is
TRAINING_IN_PROGRESS when a server starts is run again, or its finished result is applied.
"""

import logging
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from hawksnest.catalog import EventType, Model, ModelKey, ModelVersion, Tenant, Variable
from hawksnest.config import Settings
from hawksnest.errors import Transient
from hawksnest.kernel.events import parse_timestamp
from hawksnest.log import sync_folder
from hawksnest.ml import spec
from hawksnest.store.ports import Catalog
from hawksnest.store.sealing import Keyring
from hawksnest.world import World

_log = logging.getLogger(__name__)
T = TypeVar("T")

RUNNING_MAX = 4  # children at once; more trainings wait their turn
RUNNING_PER_ACCOUNT_MAX = 3
ATTEMPTS_MAX = 2  # a child that died is started once more
_POLL_S = 0.1
_RETRY_S = 1.0
_STOP_S = 1.5  # how long children may take to stop by themselves
_STDERR_TAIL = 2_000

IN_PROGRESS = "TRAINING_IN_PROGRESS"


class _Job(NamedTuple):
    tenant: Tenant
    key: ModelKey


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    folder: Path
    attempt: int


@dataclass
class _Work:
    """What the monitor shares with the callers; guarded by `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[tuple[_Job, int]] = field(default_factory=deque)  # job, attempt
    cancelled: set[_Job] = field(default_factory=set)


class Trainings:
    """Runs trainings. Nothing here blocks a caller: one monitor thread does the work."""

    def __init__(
        self,
        settings: Settings,
        world: World,
        catalog: Catalog,
        on_change: Callable[[Tenant], None],
        keys: Keyring | None = None,
    ) -> None:
        """`on_change` is called, from the monitor thread, after a training changed its model version.

        `keys`: what children read sealed events with.
        """
        self._keys = keys if keys is not None else Keyring()
        self._settings = settings
        self._world = world
        self._catalog = catalog
        self._on_change = on_change
        self._work = _Work()
        self._children: dict[_Job, _Child] = {}  # only the monitor thread touches it
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._monitor = threading.Thread(target=self._watch, name="trainings", daemon=True)
        self._monitor.start()

    def start(self, tenant: Tenant, key: ModelKey) -> None:
        """Train a version that the catalogue already shows as TRAINING_IN_PROGRESS; returns at once."""
        job = _Job(tenant, key)
        with suppress(OSError):  # the monitor says what is wrong with the disk
            self._folder(job).mkdir(parents=True, exist_ok=True)  # what `resume` finds after a crash
        with self._work.lock:
            self._work.waiting.append((job, 1))
        self._wake.set()

    def cancel(self, tenant: Tenant, key: ModelKey) -> None:
        """Stop a training whose version is not TRAINING_IN_PROGRESS any more; returns at once."""
        with self._work.lock:
            self._work.cancelled.add(_Job(tenant, key))
        self._wake.set()

    def resume(self, tenants: Iterable[Tenant] = ()) -> None:
        """At server start: run, or apply, what was in progress when the last server ended.

        Looks at these tenants and at those with a training folder.
        """
        for tenant in sorted({*tenants, *self._tenants()}):
            for version in self._catalog.list(tenant, ModelVersion):
                if version.status == IN_PROGRESS:
                    self.start(tenant, ModelKey(*version.key))

    def progress(self, tenant: Tenant, key: ModelKey) -> tuple[float, str]:
        """How far a training is: a share 0..1 and what it is doing."""
        try:
            content = (self._folder(_Job(tenant, key)) / spec.PROGRESS).read_bytes()
            found = msgspec.json.decode(content, type=spec.Progress)
        except (OSError, msgspec.MsgspecError):
            return 0.0, "waiting to start"
        return found.share, found.text

    def close(self) -> None:
        """Stop the children within two seconds; their versions stay in progress and resume later."""
        self._closing.set()
        self._wake.set()
        self._monitor.join()

    # ------------------------------------------------------------------ the monitor thread

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(_POLL_S if self._children else _RETRY_S if self._work.waiting else None)
            self._wake.clear()
            if self._closing.is_set():
                break
            self._stop_cancelled()
            for job, child in list(self._children.items()):
                if child.process.poll() is not None:
                    del self._children[job]
                    self._guard(job, self._finish, child)
            self._start_waiting()
        self._stop(list(self._children.values()))

    def _guard(self, job: _Job, step: Callable[[_Job, T], None], argument: T) -> None:
        """A training that cannot be handled fails alone; the monitor goes on with the others."""
        try:
            try:
                step(job, argument)
            except (OSError, ValueError, AssertionError) as error:
                _log.exception("training of %s %s failed", job.key.model_id, job.key.version)
                self._fail(job, f"{type(error).__name__}: {error}")
        except Transient as error:  # a full disk, say: the catalogue takes the result later
            _log.warning("training of %s %s waits: %s", job.key.model_id, job.key.version, error)
            with self._work.lock:
                self._work.waiting.append((job, 1))

    def _stop_cancelled(self) -> None:
        with self._work.lock:
            cancelled, self._work.cancelled = self._work.cancelled, set()
            if cancelled:
                self._work.waiting = deque(each for each in self._work.waiting if each[0] not in cancelled)
        stopped = [child for job in cancelled if (child := self._children.pop(job, None))]
        self._stop(stopped)
        for job in cancelled:
            shutil.rmtree(self._folder(job), ignore_errors=True)

    def _start_waiting(self) -> None:
        with self._work.lock:
            ready, left = [], deque[tuple[_Job, int]]()
            running = [job.tenant.account for job in self._children]
            for job, attempt in self._work.waiting:
                fits = (
                    len(running) < RUNNING_MAX and running.count(job.tenant.account) < RUNNING_PER_ACCOUNT_MAX
                )
                if fits and job not in self._children:
                    ready.append((job, attempt))
                    running.append(job.tenant.account)
                else:
                    left.append((job, attempt))
            self._work.waiting = left
        for job, attempt in ready:
            self._guard(job, self._begin, attempt)

    def _begin(self, job: _Job, attempt: int) -> None:
        """Apply what an earlier child finished, else start one."""
        version = self._catalog.get(job.tenant, ModelVersion, *job.key)
        if version is None or version.status != IN_PROGRESS:
            return
        locked = self._keys.locked(job.tenant)
        if locked is not None:
            self._fail(job, locked.message)
            return
        folder = self._folder(job)
        if _created_at(folder) != version.created_at_ms:  # nothing there, or an earlier version of that name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            spec.write(folder / spec.SPEC, self._spec(job.tenant, version, folder))
        if (outcome := _outcome(folder)) is not None:
            self._apply(job, folder, outcome)
            return
        handed = self._keys.handed(job.tenant)
        with (folder / "stderr.txt").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "hawksnest.worker", "train", str(folder), *handed.flag],
                stdin=subprocess.PIPE,  # closes when this process dies, however: then the child ends too
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self._children[job] = _Child(process, folder, attempt)
        handed.to(process)

    def _finish(self, job: _Job, child: _Child) -> None:
        """The child is gone: apply its result, or start it once more, or give up with a reason."""
        if child.process.stdin:
            child.process.stdin.close()
        outcome = _outcome(child.folder)
        if outcome is not None:
            self._apply(job, child.folder, outcome)
        elif child.attempt < ATTEMPTS_MAX:
            _log.warning("training of %s %s died; starting it again", job.key.model_id, job.key.version)
            with self._work.lock:
                self._work.waiting.append((job, child.attempt + 1))
            self._wake.set()
        else:
            self._fail(job, _death(child))

    def _apply(self, job: _Job, folder: Path, outcome: spec.TrainingOutcome) -> None:
        """Move the artefact to its place and change the version, unless it was cancelled meanwhile."""
        changed = False
        with self._catalog.transaction():
            version = self._catalog.get(job.tenant, ModelVersion, *job.key)
            if version is not None and version.status == IN_PROGRESS:
                artefact = self._keep(job, version, folder) if outcome.ok else None
                self._catalog.put(
                    job.tenant,
                    replace(
                        version,
                        status="TRAINING_COMPLETE" if outcome.ok else "ERROR",
                        result=outcome.result,
                        artefact=artefact,
                        updated_at_ms=self._world.now_ms(),
                    ),
                )
                changed = True
        shutil.rmtree(folder, ignore_errors=True)
        if changed:
            self._on_change(job.tenant)

    def _keep(self, job: _Job, version: ModelVersion, folder: Path) -> str:
        """Give the artefact its final place; returns that below DATA/models.

        The creation time is part of the name because a deleted model's name may be used again, and a loaded
        artefact is known by its place.
        """
        place = Path(*job.tenant, *job.key[:2], f"{job.key.version}-{version.created_at_ms}")
        target = self._settings.data / "models" / place
        made = folder / spec.ARTEFACT
        if made.exists():  # else the last server moved it and died before its transaction ended
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            made.replace(target)
            sync_folder(target.parent)  # before the catalogue speaks of it
        return str(place)

    def _fail(self, job: _Job, reason: str) -> None:
        result = spec.failure(job.key.model_type, "The training did not finish.", reason)
        self._apply(job, self._folder(job), spec.TrainingOutcome(ok=False, result=result, reason=reason))

    def _stop(self, children: list[_Child]) -> None:
        """End children and wait until they are gone."""
        for child in children:
            child.process.terminate()
            if child.process.stdin:
                child.process.stdin.close()
        deadline = self._world.monotonic_s() + _STOP_S
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - self._world.monotonic_s()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()

    # ------------------------------------------------------------------ folders and specs

    def _folder(self, job: _Job) -> Path:
        return self._settings.data / "jobs" / Path(*job.tenant, *job.key)

    def _tenants(self) -> list[Tenant]:
        folders = (self._settings.data / "jobs").glob("*/*")
        return sorted(Tenant(folder.parent.name, folder.name) for folder in folders if folder.is_dir())

    def _spec(self, tenant: Tenant, version: ModelVersion, folder: Path) -> spec.TrainingSpec:
        """Everything the child needs to know, from the catalogue."""
        model = self._catalog.get(tenant, Model, version.model_type, version.model_id)
        assert model is not None, "a model cannot be deleted before its versions"
        names: tuple[str, ...] = tuple(version.schema["modelVariables"])
        if model.preview is None:
            known = self._catalog.get(tenant, EventType, model.event_type)
            assert known is not None, "an event type cannot be deleted before its models"
            names = known.event_variables
        found = [self._catalog.get(tenant, Variable, name) for name in names]
        labels: dict[str, Any] = version.schema.get("labelSchema") or {}
        mapper: dict[str, list[str]] = labels.get("labelMapper") or {}
        return spec.TrainingSpec(
            account=tenant.account,
            region=tenant.region,
            model_type=version.model_type,
            model_id=version.model_id,
            version=version.version,
            event_type=model.event_type,
            variables=[
                spec.TrainingVariable(each.name, each.data_type, each.variable_type or _typed(each))
                for each in found
                if each is not None
            ],
            model_variables=list(version.schema["modelVariables"]),
            fraud_labels=list(mapper.get("FRAUD", ())),
            legit_labels=list(mapper.get("LEGIT", ())),
            unlabeled=labels.get("unlabeledEventsTreatment") or "IGNORE",
            source=self._source(tenant, version),
            folder=str(folder.resolve()),
            threads=self._settings.training_threads,
            created_at_ms=version.created_at_ms,
        )

    def _columns(self, tenant: Tenant, version: ModelVersion) -> dict[str, str]:
        """Where a CSV of the preview API has time and label: it named these columns freely."""
        if version.preview is None:
            return {}
        columns = {"label_column": version.preview["labelSchema"]["labelKey"]}
        for each in version.preview["modelVariables"]:
            variable = self._catalog.get(tenant, Variable, each["name"])
            if variable is not None and variable.variable_type == "EVENT_TIMESTAMP":
                columns["time_column"] = variable.name
        return columns

    def _source(self, tenant: Tenant, version: ModelVersion) -> spec.ExternalEvents | spec.IngestedEvents:
        detail = version.source_detail
        data = self._settings.data.resolve()
        if version.training_source == "EXTERNAL_EVENTS":
            return spec.ExternalEvents(
                uri=detail["dataLocation"],
                buckets=str(data / "buckets"),
                s3_endpoint=self._settings.s3_endpoint,
                region=self._settings.region,
                **self._columns(tenant, version),
            )
        window = detail["ingestedEventsTimeWindow"]
        return spec.IngestedEvents(
            data=str(data),
            start_ms=parse_timestamp(window["startTime"]),
            end_ms=parse_timestamp(window["endTime"]),
        )


def _typed(variable: Variable) -> str | None:
    """What a variable without a type is to a training: the preview API trained on such ones too."""
    return {"FLOAT": "NUMERIC", "INTEGER": "NUMERIC"}.get(variable.data_type, "CATEGORICAL")


def _created_at(folder: Path) -> int | None:
    """Of which model version the folder is: the creation time in its spec."""
    try:
        return msgspec.json.decode((folder / spec.SPEC).read_bytes(), type=spec.TrainingSpec).created_at_ms
    except (OSError, msgspec.MsgspecError):
        return None


def _outcome(folder: Path) -> spec.TrainingOutcome | None:
    try:
        return msgspec.json.decode((folder / spec.RESULT).read_bytes(), type=spec.TrainingOutcome)
    except OSError:
        return None
    except msgspec.MsgspecError:  # torn by a power cut: train again
        return None


def _death(child: _Child) -> str:
    """Why a child died, as well as it can be told."""
    code = child.process.returncode
    cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    try:
        tail = (child.folder / "stderr.txt").read_bytes()[-_STDERR_TAIL:].decode(errors="replace").strip()
    except OSError:
        tail = ""
    last = tail.splitlines()[-1] if tail else "it said nothing"
    return f"The training process {cause} {ATTEMPTS_MAX} times; last words: {last}"
