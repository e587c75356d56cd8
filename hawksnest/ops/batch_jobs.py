"""Batch import and batch prediction jobs: create, get, cancel, delete."""

from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import (
    BatchImport,
    BatchJob,
    BatchPrediction,
    Detector,
    DetectorVersion,
    EventDeletion,
    EventType,
    Tenant,
)
from hawksnest.errors import invalid, not_found
from hawksnest.ops import job_runs
from hawksnest.ops.batch_steps import import_rows, predict_rows
from hawksnest.ops.changes import change, create, remove
from hawksnest.ops.describe import Listing, require
from hawksnest.ops.event_deletion import delete_events
from hawksnest.ops.limits import IMPORTS_AT_ONCE, PREDICTION_JOBS_AT_ONCE
from hawksnest.world import iso_s

PAGE = 50


def _new(app: App, call: Call, request: Request, now_ms: int) -> dict[str, Any]:
    """Members that both kinds of jobs are made of."""
    return {
        "job_id": request["jobId"],
        "input_path": request["inputPath"],
        "output_path": request["outputPath"],
        "event_type": request["eventTypeName"],
        "role_arn": request["iamRoleArn"],
        "status": job_runs.INITIALIZING,
        "run": app.catalog.next_number(call.tenant, "job-run"),
        "first_seq": app.ledger.durable_seq,
        "created_at_ms": now_ms,
        "updated_at_ms": now_ms,
    }


def create_batch_import_job(app: App, call: Call, request: Request) -> Response:
    """Store the events of a CSV file; the result file lists the rows that were refused."""
    tenant, job_id = call.tenant, request["jobId"]
    with change(app, call) as now_ms:
        event_type = require(app, tenant, EventType, request["eventTypeName"])
        if event_type.event_ingestion != "ENABLED":
            raise invalid(
                f"Event type {event_type.name} does not store events; put it with eventIngestion ENABLED "
                "first."
            )
        deletion = app.catalog.get(tenant, EventDeletion, event_type.name)
        if deletion is not None and deletion.running:
            raise invalid(f"The events of type {event_type.name} are being deleted; wait until that is done.")
        known = app.catalog.get(tenant, BatchImport, job_id)
        if known is not None and known.status == job_runs.FAILED and known.total is None:
            remove(app, call, known)  # it never got to read a row: its id is free
        elif app.catalog.next_number(tenant, f"batch-import/{job_id}") > 1:
            raise invalid(f"Batch import job {job_id} exists or existed; a job id is not used again.")
        _check_room(app, tenant, BatchImport, IMPORTS_AT_ONCE)
        job = BatchImport(**_new(app, call, request, now_ms))
        create(app, call, job, request)
    job_runs.start(app, tenant, job, import_rows)
    return {}


def create_batch_prediction_job(app: App, call: Call, request: Request) -> Response:
    """Decide the events of a CSV file with a detector version; nothing is stored but the predictions."""
    tenant, job_id = call.tenant, request["jobId"]
    with change(app, call) as now_ms:
        detector = require(app, tenant, Detector, request["detectorName"])
        version = _version(app, tenant, detector.detector_id, request.get("detectorVersion"))
        event_type = require(app, tenant, EventType, request["eventTypeName"])
        if event_type.name != detector.event_type:
            raise invalid(
                f"Detector {detector.detector_id} decides events of type {detector.event_type}, not "
                f"{event_type.name}."
            )
        if app.catalog.get(tenant, BatchPrediction, job_id) is not None:
            raise invalid(f"Batch prediction job {job_id} already exists.")
        at_once = app.quotas.table.batch_predictions_at_once or PREDICTION_JOBS_AT_ONCE
        _check_room(app, tenant, BatchPrediction, at_once)
        job = BatchPrediction(
            detector_id=detector.detector_id,
            detector_version=version,
            **_new(app, call, request, now_ms),
        )
        create(app, call, job, request)
    job_runs.start(app, tenant, job, predict_rows)
    return {}


def _version(app: App, tenant: Tenant, detector_id: str, asked: str | None) -> str:
    """The version to decide with. Raises ResourceNotFoundException."""
    if asked is not None:
        return require(app, tenant, DetectorVersion, detector_id, asked.partition(".")[0]).version
    for version in app.catalog.list(tenant, DetectorVersion, detector_id):
        if version.status == "ACTIVE":
            return version.version
    raise not_found(f"Detector {detector_id} has no ACTIVE version; name a detectorVersion.")


def _check_room(app: App, tenant: Tenant, kind: type[BatchJob], limit: int) -> None:
    """Raises ValidationException when as many jobs of the kind run as may."""
    running = [job.job_id for job in app.catalog.list(tenant, kind) if job.running]
    if len(running) >= limit:
        raise invalid(
            f"{kind.kind.replace('-', ' ').capitalize()} job {running[0]} is in progress; at most {limit} of "
            "them run at once."
        )


def _view(app: App, tenant: Tenant, job: BatchJob) -> dict[str, Any]:
    moving = job_runs.progress(app, tenant, job)
    processed, total = (moving.processed, moving.total) if moving else (job.processed, job.total)
    shown: dict[str, Any] = {
        "jobId": job.job_id,
        "status": job.status,
        "failureReason": job.failure,
        "startTime": iso_s(job.created_at_ms),
        "completionTime": None if job.finished_at_ms is None else iso_s(job.finished_at_ms),
        "inputPath": job.input_path,
        "outputPath": job.output_path,
        "eventTypeName": job.event_type,
        "iamRoleArn": job.role_arn,
        "arn": job.arn(tenant),
        "processedRecordsCount": processed,
        "totalRecordsCount": total,
    }
    if isinstance(job, BatchPrediction):
        shown["detectorName"] = job.detector_id
        shown["detectorVersion"] = job.detector_version
        beat = job.finished_at_ms or (moving.at_ms if moving else job.created_at_ms)
        shown["lastHeartbeatTime"] = iso_s(max(beat, job.created_at_ms))
    else:
        shown["failedRecordsCount"] = moving.failed if moving else job.failed
    return {name: value for name, value in shown.items() if value is not None}


_IMPORTS = Listing("GetBatchImportJobs", BatchImport, "jobId", "batchImports", PAGE, _view)
_PREDICTIONS = Listing("GetBatchPredictionJobs", BatchPrediction, "jobId", "batchPredictions", PAGE, _view)


def get_batch_import_jobs(app: App, call: Call, request: Request) -> Response:
    """One import job or all, by id, with how far they are."""
    return _IMPORTS.answer(app, call, request)


def get_batch_prediction_jobs(app: App, call: Call, request: Request) -> Response:
    """One prediction job or all, by id, with how far they are."""
    return _PREDICTIONS.answer(app, call, request)


def cancel_batch_import_job(app: App, call: Call, request: Request) -> Response:
    """Stop a running import; events imported before the stop stay."""
    job_runs.cancel(app, call, BatchImport, request["jobId"])
    return {}


def cancel_batch_prediction_job(app: App, call: Call, request: Request) -> Response:
    """Stop a running prediction job; it delivers no results."""
    job_runs.cancel(app, call, BatchPrediction, request["jobId"])
    return {}


def delete_batch_import_job(app: App, call: Call, request: Request) -> Response:
    """Forget an import job that has ended; its events stay."""
    job_runs.delete(app, call, BatchImport, request["jobId"])
    return {}


def delete_batch_prediction_job(app: App, call: Call, request: Request) -> Response:
    """Forget a prediction job that has ended; its predictions and its file stay."""
    job_runs.delete(app, call, BatchPrediction, request["jobId"])
    return {}


def resume_jobs(app: App) -> None:
    """At server start: go on with all jobs that were running when the last server ended."""
    tenants = app.catalog.tenants()
    job_runs.tidy(
        app,
        [
            (tenant, job)
            for tenant in tenants
            for kind in (BatchImport, BatchPrediction)
            for job in app.catalog.list(tenant, kind)
            if job.running
        ],
    )
    for tenant in tenants:
        job_runs.resume(app, tenant, BatchImport, import_rows)
        job_runs.resume(app, tenant, BatchPrediction, predict_rows)
        job_runs.resume(app, tenant, EventDeletion, delete_events)


BATCH_OPERATIONS = [
    Operation("CreateBatchImportJob", create_batch_import_job),
    Operation("GetBatchImportJobs", get_batch_import_jobs),
    Operation("CancelBatchImportJob", cancel_batch_import_job),
    Operation("DeleteBatchImportJob", delete_batch_import_job),
    Operation("CreateBatchPredictionJob", create_batch_prediction_job),
    Operation("GetBatchPredictionJobs", get_batch_prediction_jobs),
    Operation("CancelBatchPredictionJob", cancel_batch_prediction_job),
    Operation("DeleteBatchPredictionJob", delete_batch_prediction_job),
]
