"""Predictions: GetEventPrediction, ListEventPredictions, GetEventPredictionMetadata."""

from collections.abc import Sequence
from typing import Any

from hawksnest.app import App, Call, Defer, Operation, Request, Response
from hawksnest.catalog import DetectorVersion, EventType, Rule, Variable
from hawksnest.errors import invalid, not_found
from hawksnest.kernel.events import Value
from hawksnest.kernel.lang import expression_with_values
from hawksnest.ops.consult import MODEL_SOURCE, decide
from hawksnest.ops.paging import page_token, token_mark
from hawksnest.ops.requests import instant, the_event
from hawksnest.snapshot import DetectorSnapshot
from hawksnest.store.ports import PredictionQuery
from hawksnest.store.records import EventKey, ModelScore, Predicted, RuleTrace
from hawksnest.together import Asked, predict_all
from hawksnest.world import iso_ms, iso_s

EVALUATED, MATCHED = 1, 2  # RuleTrace.state: from 1 on the rule ran, 2 says that it matched
PAGE_DEFAULT = 10  # AWS's documented default, below its own minimum for maxResults


def get_event_prediction(app: App, call: Call, request: Request) -> Response:
    """Decide one event now: scores of the detector version's models and the rules that matched."""
    asked = _asked(app, call, request)
    record = decide(app, *asked, request.get("externalModelEndpointDataBlobs", {}))
    return _shown(call, record)


def get_event_predictions(
    app: App, calls: Sequence[Call], requests: Sequence[Request]
) -> list[Response | Exception]:
    """The same for several calls that may not block; what each would raise is in its place."""
    made: dict[int, Response | Exception] = {}
    asked: dict[int, Asked] = {}
    for place, (call, request) in enumerate(zip(calls, requests, strict=True)):
        try:
            each = _asked(app, call, request)
            if each.snapshot.externals:
                made[place] = get_event_prediction(app, call, request)
            else:
                asked[place] = each
        except Exception as fault:  # noqa: BLE001  it belongs to the one who called
            made[place] = fault
    for place, record in zip(asked, predict_all(app, list(asked.values())), strict=True):
        made[place] = record if isinstance(record, Exception) else _shown(calls[place], record)
    return [made[place] for place in range(len(calls))]


def _asked(app: App, call: Call, request: Request) -> Asked:
    admit(app, call)
    snapshot = _snapshot(app, call, request)
    event, resolved = the_event(snapshot.event_type, request)
    return Asked(call, snapshot, event, resolved)


def _shown(call: Call, record: Predicted) -> Response:
    call.headers["x-hawksnest-detector-version-id"] = record.detector_version
    return {
        "modelScores": [shown_score(score) for score in record.scores],
        "ruleResults": [{"ruleId": rule_id, "outcomes": outcomes} for rule_id, outcomes in record.results],
        "externalModelOutputs": [
            {
                "externalModel": {"modelEndpoint": each.endpoint, "modelSource": MODEL_SOURCE},
                "outputs": each.outputs,
            }
            for each in record.externals
        ],
    }


def admit(app: App, call: Call) -> None:
    """Count the call against its rate, once. Raises ServiceError (ThrottlingException)."""
    if not call.admitted:
        app.quotas.admit_prediction(call.tenant)
        call.admitted = True


def _snapshot(app: App, call: Call, request: Request) -> DetectorSnapshot:
    detector_id, version = request["detectorId"], request.get("detectorVersionId")
    snapshot = app.snapshots.peek(call.tenant, detector_id, version)
    if snapshot is None:
        if not call.may_block:
            raise Defer
        snapshot = app.snapshots.detector(call.tenant, detector_id, version)
    named = request["eventTypeName"]
    if named != snapshot.event_type.name:
        if not call.may_block:
            raise Defer
        if app.catalog.get(call.tenant, EventType, named) is None:
            raise not_found(f"Event type {named[:64]} does not exist.")
        raise invalid(
            f"Detector {detector_id} decides events of type {snapshot.event_type.name}, not {named}."
        )
    return snapshot


def shown_score(score: ModelScore) -> dict[str, Any]:
    """A model's score as answers show it."""
    return {
        "modelVersion": {
            "modelId": score.model_id,
            "modelType": score.model_type,
            "modelVersionNumber": score.version,
        },
        "scores": {f"{score.model_id}_insightscore": score.score},
    }


def list_event_predictions(app: App, call: Call, request: Request) -> Response:
    """Past predictions, newest first."""
    span = request.get("predictionTimeRange")
    from_ms = to_ms = None
    if span is not None:
        from_ms = instant(span["startTime"], "predictionTimeRange.startTime")
        to_ms = instant(span["endTime"], "predictionTimeRange.endTime")
        if from_ms > to_ms:
            raise invalid("predictionTimeRange.startTime is after predictionTimeRange.endTime.")
    filters = {
        name: request[member]["value"]
        for name, member in (
            ("event_id", "eventId"),
            ("event_type", "eventType"),
            ("detector_id", "detectorId"),
            ("detector_version", "detectorVersionId"),
        )
        if request.get(member, {}).get("value") is not None
    }
    query = PredictionQuery(**filters, from_ms=from_ms, to_ms=to_ms)
    bound = (*call.tenant, "ListEventPredictions", repr(query))
    before = token_mark(request.get("nextToken"), bound, app.world.now_ms())
    limit = request.get("maxResults", PAGE_DEFAULT)
    records, mark = app.ledger.predictions(call.tenant, query, limit, before)
    response: Response = {
        "eventPredictionSummaries": [
            {
                "eventId": record.event.key.event_id,
                "eventTypeName": record.event.key.event_type,
                "eventTimestamp": record.event.timestamp,
                "predictionTimestamp": iso_ms(record.predicted_at_ms),
                "detectorId": record.detector_id,
                "detectorVersionId": record.detector_version,
            }
            for record in records
        ]
    }
    if mark:
        response["nextToken"] = page_token(mark, bound, app.world.now_ms())
    return response


def get_event_prediction_metadata(app: App, call: Call, request: Request) -> Response:
    """Everything recorded of one prediction: inputs, scores, and what each rule did."""
    asked = request["predictionTimestamp"]
    key = EventKey(call.tenant.account, call.tenant.region, request["eventTypeName"], request["eventId"])
    record = app.ledger.prediction(key, instant(asked, "predictionTimestamp"))
    if (
        record is None
        or record.detector_id != request["detectorId"]
        or record.detector_version != request["detectorVersionId"]
        or iso_ms(record.predicted_at_ms) != asked
    ):
        raise not_found(
            f"No prediction of event {request['eventId']} by detector {request['detectorId']} version "
            f"{request['detectorVersionId']} at {asked}; take the five values from ListEventPredictions."
        )
    version = app.catalog.get(call.tenant, DetectorVersion, record.detector_id, record.detector_version)
    matched = dict(record.results)
    response: Response = {
        "eventId": record.event.key.event_id,
        "eventTypeName": record.event.key.event_type,
        "entityId": record.event.entity_id,
        "entityType": record.event.entity_type,
        "eventTimestamp": record.event.timestamp,
        "detectorId": record.detector_id,
        "detectorVersionId": record.detector_version,
        "eventVariables": _shown_values(app, call, record),
        "rules": [_shown_rule(app, call, record, line, matched) for line in record.trace],
        "ruleExecutionMode": record.execution_mode,
        "outcomes": list(dict.fromkeys(name for outcomes in matched.values() for name in outcomes)),
        "evaluatedModelVersions": [
            {
                "modelId": score.model_id,
                "modelVersion": score.version,
                "modelType": score.model_type,
                "evaluations": [
                    {
                        "outputVariableName": f"{score.model_id}_insightscore",
                        "evaluationScore": str(score.score),
                    }
                ],
            }
            for score in record.scores
        ],
        "evaluatedExternalModels": [
            {
                "modelEndpoint": each.endpoint,
                "useEventVariables": each.use_event_variables,
                "inputVariables": each.inputs,
                "outputVariables": each.outputs,
            }
            for each in record.externals
        ],
        "predictionTimestamp": asked,
    }
    if version is not None and version.created_at_ms <= record.predicted_at_ms:  # not one made anew
        response["detectorVersionStatus"] = version.status
    return response


def _shown_values(app: App, call: Call, record: Predicted) -> list[dict[str, str]]:
    scores = {f"{score.model_id}_insightscore" for score in record.scores}
    shown = []
    for name, value in record.values.items():
        variable = app.catalog.get(call.tenant, Variable, name)
        source = "MODEL_SCORE" if name in scores else variable.data_source if variable else "EVENT"
        text = record.event.given.get(name)
        if text is None:
            text = _text_of(value, variable.data_type if variable else "")
        shown.append({"name": name, "value": text, "source": source})
    return shown


def _text_of(value: Value, data_type: str) -> str:
    """A value that was not sent (default, null, score) as the text a caller would send for it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if data_type == "DATETIME" and isinstance(value, int):
        return iso_s(value)
    return str(value)


def _shown_rule(
    app: App, call: Call, record: Predicted, line: RuleTrace, matched: dict[str, list[str]]
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ruleId": line.rule_id,
        "ruleVersion": line.rule_version,
        "evaluated": line.state >= EVALUATED,
        "matched": line.state == MATCHED,
    }
    if line.state == MATCHED:
        shown["outcomes"] = matched[line.rule_id]
    rule = app.catalog.get(call.tenant, Rule, record.detector_id, line.rule_id, line.rule_version)
    # A rule may be deleted once only drafts name it, and another one made with its id and version.
    if rule is not None and rule.created_at_ms <= record.predicted_at_ms:
        variables = (app.catalog.get(call.tenant, Variable, name) for name in rule.variables)
        instants = [each.name for each in variables if each and each.data_type == "DATETIME"]
        shown["outcomes"] = list(rule.outcomes)
        shown["expression"] = rule.expression
        shown["expressionWithValues"] = expression_with_values(rule.expression, record.values, instants)
    return shown


PREDICTION_OPERATIONS = [
    Operation("GetEventPrediction", get_event_prediction, inline=True, together=get_event_predictions),
    Operation("ListEventPredictions", list_event_predictions),
    Operation("GetEventPredictionMetadata", get_event_prediction_metadata),
]
