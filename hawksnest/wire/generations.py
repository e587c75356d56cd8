"""Requests and answers where today's API and the preview of April 2020 share a door."""

from collections.abc import Callable
from functools import cache

from hawksnest.errors import ServiceError
from hawksnest.ops.generation import (
    ONLY_PREVIEW,
    means_preview,
    todays_external_model,
    with_plain_versions,
)
from hawksnest.wire.model import dashed_fraud_detector, fraud_detector, preview_fraud_detector
from hawksnest.wire.shapes import Request, examined, fitting, read_json

STRICT = ("CreateModel",)  # today's model ids have no dash; those of the preview may


@cache
def parser_of_both(operation: str) -> Callable[[bytes], Request]:
    """A function from a body to clean members, in the shapes of whichever API the request means.

    A faultless request of today's API costs what it costs without this. Raises as `shapes.parser` does.
    """
    preview = preview_fraud_detector().operations.get(operation)
    old = preview.input if preview is not None else None
    only = operation in ONLY_PREVIEW  # whose versions may be written in any way
    if only:
        assert old is not None
        fits, shape = fitting(old), old
    else:
        shape = fraud_detector().operations[operation].input
        fits = fitting(shape)
    dashed = None
    if not only and operation not in STRICT:
        dashed = dashed_fraud_detector().operations[operation].input

    def parse(body: bytes) -> Request:
        request = read_json(body)
        if fits(request) and not only:
            return request  # type: ignore[no-any-return]
        if type(request) is not dict:
            return examined(shape, request)
        request = with_plain_versions(request)
        if old is not None and means_preview(operation, request):
            return examined(old, request)
        role = None
        if operation == "PutExternalModel":
            request, role = todays_external_model(request)
        try:
            clean = examined(shape, request)
        except ServiceError:
            if dashed is None:
                raise
            try:
                clean = examined(dashed, request)
            except ServiceError:
                clean = {}
            if not clean:
                raise
        return clean if role is None else {**clean, "roleName": role}

    return parse
