"""Deciding an event whose detector version asks external models: they first, then the turn."""

import re
from typing import Any

from hawksnest.app import App, Call, Defer
from hawksnest.errors import invalid
from hawksnest.external import EndpointFault
from hawksnest.external_form import OutputFault
from hawksnest.kernel.events import Event, Resolved, Value
from hawksnest.predict import predict
from hawksnest.snapshot import DetectorSnapshot, ExternalScorer
from hawksnest.store.records import EventKey, ExternalOutput, Predicted

MODEL_SOURCE = "SAGEMAKER"
_CONTENT_TYPE = re.compile(r"[!-~][ -~]*\Z")
_DEFAULT_TYPE = "application/octet-stream"

Blobs = dict[str, dict[str, Any]]  # byteBuffer and contentType by endpoint


def decide(
    app: App, call: Call, snapshot: DetectorSnapshot, event: Event, resolved: Resolved, blobs: Blobs
) -> Predicted:
    """Decide one event, as `predict` does, after asking the version's external models in their order.

    `blobs`: the caller's inputs for endpoints that do not use event variables. Raises what `predict` raises,
    ValidationException for a blob that is missing, and ResourceUnavailableException when an endpoint fails.
    """
    if not snapshot.externals:
        return predict(app, call, snapshot, event, resolved)
    if not call.may_wait:
        raise Defer("/".join((*call.tenant, snapshot.detector_id)))
    if call.idempotent:
        known = app.ledger.known(EventKey(*call.tenant, event.event_type, event.event_id))
        if known is not None and known.decision_seq:
            return predict(app, call, snapshot, event, resolved)
    bodies = [_body(snapshot, each, event, resolved, blobs) for each in snapshot.externals]
    values: dict[str, Value] = {}
    outputs = []
    for scorer, (body, content_type, inputs) in zip(snapshot.externals, bodies, strict=True):
        answer = app.endpoints.invoke(scorer.endpoint, body, content_type)
        try:
            raw, typed = scorer.output.read(answer)
        except OutputFault as fault:
            raise EndpointFault(scorer.endpoint, str(fault)) from None
        values |= typed
        outputs.append(ExternalOutput(scorer.endpoint, scorer.template is not None, inputs, raw))
    seen = resolved._replace(rule_values={**resolved.rule_values, **values})
    return predict(app, call, snapshot, event, seen, outputs)


def _body(
    snapshot: DetectorSnapshot, scorer: ExternalScorer, event: Event, resolved: Resolved, blobs: Blobs
) -> tuple[bytes, str, dict[str, str]]:
    """What the endpoint is sent, its content type, and the event variables in it."""
    if scorer.template is not None:
        text, inputs = scorer.template.fill(snapshot.inputs, event.given, resolved.rule_values)
        return text.encode(), scorer.template.content_type, inputs
    blob = blobs.get(scorer.endpoint, {})
    if "byteBuffer" not in blob:
        raise invalid(
            f"externalModelEndpointDataBlobs has no byteBuffer for endpoint {scorer.endpoint}, which does "
            "not use event variables."
        )
    content_type = blob.get("contentType", _DEFAULT_TYPE)
    if not _CONTENT_TYPE.match(content_type):
        raise invalid(f"The contentType of the blob for endpoint {scorer.endpoint} is not a content type.")
    return blob["byteBuffer"], content_type, {}
