"""Event orchestration: one event per prediction to an EventBridge-compatible endpoint or a webhook.

A thread of the server follows the journal with a cursor of its own, kept in the data folder: after a crash
the last events may be sent again, with the same id. Best effort: what cannot be delivered in a bounded number
of tries is dropped and counted, so that a dead receiver never holds up anything but this thread.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import urllib3

from hawksnest.app import App
from hawksnest.catalog import DetectorVersion, EventType
from hawksnest.config import Settings
from hawksnest.errors import HawksnestError, Transient, UsageError
from hawksnest.store.records import Predicted
from hawksnest.world import iso_s

SOURCE = "aws.frauddetector"
DETAIL_TYPE = "Event Prediction Result Returned"
MODEL_SOURCE = "SAGEMAKER"

ENTRIES_MAX = 10  # of one PutEvents call
ENTRY_MAX_BYTES = 262_144  # of one event, and of all events of one call
ATTEMPTS_MAX = 5
BACKOFF_S, BACKOFF_MAX_S = 0.2, 5.0
TIMEOUT_S = 5.0
SCAN_MAX = 1_000  # records looked at between two cursors
INTERVAL_S = 0.2
RETRY_S = 1.0
STOP_S = 2.0

Envelope = dict[str, Any]
_log = logging.getLogger(__name__)


class Target(Protocol):
    """Where events go."""

    def deliver(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Send them; gives back those that were not taken. Raises Transient when none was."""


class EventBridge:
    """PutEvents of an EventBridge-compatible endpoint. Credentials: AWS's usual places."""

    def __init__(self, endpoint: str, bus: str, region: str) -> None:
        self._endpoint = endpoint
        self._bus = bus
        self._region = region
        self._client: Any = None

    def deliver(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        from botocore.exceptions import BotoCoreError, ClientError

        entries = [
            {
                "Time": envelope["time"],
                "Source": envelope["source"],
                "Resources": envelope["resources"],
                "DetailType": envelope["detail-type"],
                "Detail": _json(envelope["detail"]),
                "EventBusName": self._bus,
            }
            for envelope in envelopes
        ]
        try:
            answer = self._connected().put_events(Entries=entries)
        except ClientError as fault:
            code = fault.response.get("Error", {}).get("Code", "")
            raise Transient(f"PutEvents was refused: {code}") from None
        except BotoCoreError as fault:
            raise Transient(f"PutEvents failed: {type(fault).__name__}") from None
        if not answer.get("FailedEntryCount"):
            return []
        results = answer.get("Entries", [])
        return [
            envelope for envelope, result in zip(envelopes, results, strict=False) if result.get("ErrorCode")
        ]

    def _connected(self) -> Any:
        if self._client is None:
            import boto3  # half a second to import: only where events are sent
            from botocore.config import Config

            config = Config(
                connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1}
            )
            self._client = boto3.session.Session().client(
                "events", endpoint_url=self._endpoint, region_name=self._region, config=config
            )
        return self._client


class Webhook:
    """Each event as JSON by POST; any 2xx takes it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(num_pools=1, retries=False)

    def deliver(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        for place, envelope in enumerate(envelopes):
            try:
                answer = self._pool.request(
                    "POST",
                    self._url,
                    body=_json(envelope).encode(),
                    headers={"Content-Type": "application/json"},
                    timeout=TIMEOUT_S,
                    redirect=False,
                    preload_content=False,
                )
                answer.drain_conn()
                answer.release_conn()
                taken = 200 <= answer.status < 300
            except urllib3.exceptions.HTTPError:
                taken = False
            if not taken:
                return list(envelopes[place:])
        return []


class _Found(NamedTuple):
    seq: int
    envelope: Envelope


class EventBus:
    """Follows the journal in the background from `start` to `stop`."""

    def __init__(self, app: App, target: Target, cursor: Path) -> None:
        """`cursor`: the file that says up to where events were sent; without it the journal's end is."""
        self._app = app
        self._target = target
        self._cursor_file = cursor
        self._seq = _read_cursor(cursor, app.ledger.durable_seq)
        self._saved = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-bus", daemon=True)
        self.sent = 0
        self.dropped = 0

    @property
    def lag(self) -> int:
        """Journal records that were not looked at yet."""
        return max(0, self._app.ledger.durable_seq - self._seq)

    def start(self) -> None:
        """Begin to follow."""
        self._save()
        self._thread.start()

    def stop(self) -> None:
        """Stop within two seconds. What was not sent is sent by the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_S)

    def _run(self) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                busy = self._step()
                failing = False
            except (HawksnestError, OSError) as fault:
                if not failing:
                    _log.warning("The event bus waits: %s", fault)
                failing, busy = True, False
                self._stop.wait(RETRY_S)
            if not busy:
                self._stop.wait(INTERVAL_S)

    def _step(self) -> bool:
        """Send what the next records of the journal ask for; True: there may be more."""
        found: list[_Found] = []
        looked, reached = 0, self._seq
        for seq, record in self._app.ledger.replay(self._seq):
            looked, reached = looked + 1, seq
            if isinstance(record, Predicted) and self._wanted(record):
                found.append(_Found(seq, envelope_of(self._app, seq, record)))
            if looked >= SCAN_MAX or len(found) >= ENTRIES_MAX * 10 or self._stop.is_set():
                break
        for batch in _batches(found):
            if self._stop.is_set() or not self._send([each.envelope for each in batch]):
                self._save()
                return False
            self._seq = batch[-1].seq
        self._seq = reached
        self._save()
        return looked > 0

    def _wanted(self, record: Predicted) -> bool:
        key = record.event.key
        event_type = self._app.catalog.get(key.tenant, EventType, key.event_type)
        return event_type is not None and event_type.event_bridge_enabled

    def _send(self, envelopes: list[Envelope]) -> bool:
        """Deliver, try again, give up. False: stopped before it was clear."""
        left = [each for each in envelopes if _size(each) <= ENTRY_MAX_BYTES]
        self.dropped += len(envelopes) - len(left)
        wait_s = BACKOFF_S
        for attempt in range(1, ATTEMPTS_MAX + 1):
            before = len(left)
            try:
                left = self._target.deliver(left) if left else []
            except Transient as fault:
                if attempt == ATTEMPTS_MAX:
                    _log.warning("Events are dropped: %s.", fault)
            self.sent += before - len(left)
            if not left:
                return True
            if attempt < ATTEMPTS_MAX and self._stop.wait(wait_s):
                return False
            wait_s = min(BACKOFF_MAX_S, wait_s * 2)
        self.dropped += len(left)
        _log.warning("%d events could not be delivered in %d tries.", len(left), ATTEMPTS_MAX)
        return True

    def _save(self) -> None:
        if self._seq != self._saved:
            _write_cursor(self._cursor_file, self._seq)
            self._saved = self._seq


def open_target(settings: Settings) -> Target | None:
    """Where the settings send events; None: nowhere. Raises UsageError."""
    endpoint, webhook = settings.eventbridge_endpoint, settings.event_webhook
    if endpoint and webhook:
        raise UsageError("Both eventbridge-endpoint and event-webhook are set; events go to one of them.")
    for name, url in (("eventbridge-endpoint", endpoint), ("event-webhook", webhook)):
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise UsageError(f"{name} is {url!r}; it takes an http or https address.")
    if endpoint:
        return EventBridge(endpoint, settings.event_bus_name, settings.region)
    return Webhook(webhook) if webhook else None


def envelope_of(app: App, seq: int, record: Predicted) -> Envelope:
    """The event of a prediction, as EventBridge carries it."""
    event, key = record.event, record.event.key
    tenant = key.tenant
    name = hashlib.blake2b(
        f"{key.account}/{key.region}/{seq}/{record.predicted_at_ms}".encode(), digest_size=16
    )
    digits = name.hexdigest()
    times: dict[str, Any] = {"created_at_ms": 0, "updated_at_ms": 0}
    version = DetectorVersion(
        **times, detector_id=record.detector_id, version=record.detector_version, status="", rules=()
    )
    event_type = EventType(**times, name=key.event_type, event_variables=(), entity_types=())
    return {
        "version": "0",
        "id": "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])),
        "detail-type": DETAIL_TYPE,
        "source": SOURCE,
        "account": key.account,
        "time": iso_s(record.predicted_at_ms),
        "region": key.region,
        "resources": [event_type.arn(tenant), version.arn(tenant)],
        "detail": {
            "eventId": key.event_id,
            "eventTypeName": key.event_type,
            "eventTimestamp": event.timestamp,
            "detectorId": record.detector_id,
            "detectorVersionId": record.detector_version,
            "entities": [{"entityType": event.entity_type, "entityId": event.entity_id}],
            "eventVariables": {name: text for name, text in event.given.items() if text is not None},
            "modelScores": [
                {
                    "modelVersion": {
                        "modelId": score.model_id,
                        "modelType": score.model_type,
                        "modelVersionNumber": score.version,
                    },
                    "scores": {f"{score.model_id}_insightscore": score.score},
                }
                for score in record.scores
            ],
            "ruleResults": [{"ruleId": rule, "outcomes": outcomes} for rule, outcomes in record.results],
            "externalModelOutputs": [
                {
                    "externalModel": {"modelEndpoint": each.endpoint, "modelSource": MODEL_SOURCE},
                    "outputs": each.outputs,
                }
                for each in record.externals
            ],
        },
    }


def _batches(found: list[_Found]) -> Iterator[list[_Found]]:
    """Runs that fit into one PutEvents call."""
    batch: list[_Found] = []
    size = 0
    for each in found:
        own = _size(each.envelope)
        if batch and (len(batch) >= ENTRIES_MAX or size + own > ENTRY_MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += own
    if batch:
        yield batch


def _size(envelope: Envelope) -> int:
    return len(_json(envelope).encode())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read_cursor(path: Path, otherwise: int) -> int:
    try:
        return min(int(path.read_text()), otherwise)
    except (OSError, ValueError):
        return otherwise


def _write_cursor(path: Path, seq: int) -> None:
    """A reader, and the next start after a power cut, see the old number or the new one."""
    scratch = path.with_name(path.name + ".new")
    with scratch.open("w") as file:
        file.write(str(seq))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
