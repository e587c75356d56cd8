"""All 73 operations against botocore's model: what breaks it is named, what fits goes through unharmed."""

import random
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, cast

import botocore.session
import orjson
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from generated import MODEL, OPERATIONS, broken, items_of, sample

from hawksnest.client import SERVICE, TARGET_PREFIX
from hawksnest.errors import ServiceError
from hawksnest.wire.model import MODELS, fraud_detector
from hawksnest.wire.render import misfits, serialiser
from hawksnest.wire.shapes import parser, validator

VARIANTS = 12


def botocore_body(operation: str, request: dict[str, Any]) -> bytes:
    """The body that a real client would send."""
    serializer = create_serializer("json", include_validation=False)
    sent = serializer.serialize_to_request(request, MODEL.operation_model(operation))
    return cast(bytes, sent["body"])


def botocore_result(operation: str, body: bytes) -> dict[str, Any]:
    """What a real client would hand to its user."""
    answer = {"status_code": 200, "headers": {}, "body": body}
    parsed = create_parser("json").parse(answer, MODEL.operation_model(operation).output_shape)
    del parsed["ResponseMetadata"]
    return cast(dict[str, Any], parsed)


def variants(shape: Any, operation: str) -> Iterator[Any]:
    yield sample(shape)
    seed = random.Random(operation)
    for _ in range(VARIANTS):
        yield sample(shape, seed)


def test_the_model_is_the_one_of_botocore_with_its_73_operations() -> None:
    assert list(fraud_detector().operations) == OPERATIONS
    assert len(OPERATIONS) == 73
    assert fraud_detector().target_prefix == MODEL.metadata["targetPrefix"]
    assert fraud_detector().signing_name == MODEL.signing_name
    assert f"{fraud_detector().target_prefix}." == TARGET_PREFIX
    assert fraud_detector().signing_name == SERVICE


def test_the_vendored_model_is_unchanged() -> None:
    loader = botocore.session.get_session().get_component("data_loader")
    vendored = orjson.loads((MODELS / "frauddetector-2019-11-15.json").read_bytes())
    assert vendored == loader.load_service_model("frauddetector", "service-2", "2019-11-15")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_everything_broken_is_named_with_value_path_and_constraint(operation: str) -> None:
    for case in broken(operation):
        with pytest.raises(ServiceError) as raised:
            parser(operation)(orjson.dumps(case.request, default=lambda blob: b64encode(blob).decode()))
        assert (raised.value.code, raised.value.status) == ("ValidationException", 400)
        found = items_of(raised.value.message)
        assert sorted(item[1:] for item in found) == sorted(item[1:] for item in case.items), case
        for shown, path, constraint in case.items:
            if shown is not None:
                assert (shown, path, constraint) in found


def test_there_are_many_broken_requests_and_nearly_all_operations_have_some() -> None:
    counts = {operation: len(list(broken(operation))) for operation in OPERATIONS}
    # it has no members at all
    assert [operation for operation, count in counts.items() if not count] == ["GetKMSEncryptionKey"]
    assert sum(counts.values()) > 1_000


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_botocore_sends_arrives_as_it_was_given(operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    for request in variants(shape, operation) if shape else [{}]:
        assert parser(operation)(botocore_body(operation, request)) == request


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_members_and_nulls_change_nothing(operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    request = sample(shape) if shape else {}
    body = orjson.loads(botocore_body(operation, request)) | {"bogus": {"x": [None]}, "other": None}
    if shape:
        optional = [name for name in shape.members if name not in shape.required_members]
        body |= dict.fromkeys(optional)
        request = {name: value for name, value in request.items() if name not in optional}
    assert parser(operation)(orjson.dumps(body)) == request


@pytest.mark.parametrize("operation", OPERATIONS)
def test_members_of_a_wrong_json_type_are_a_serialisation_fault(operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    wrong = {
        "string": [5, True, [], {}],
        "integer": ["5", True, 5.5, 1e30, []],
        "boolean": ["true", 1, {}],
        "list": ["x", {}, 5],
        "map": ["x", [], 5],
        "structure": ["x", [], 5],
    }
    good = orjson.loads(botocore_body(operation, sample(shape))) if shape else {}
    for name, member in (shape.members if shape else {}).items():
        for value in wrong[member.type_name]:
            with pytest.raises(ServiceError) as raised:
                parser(operation)(orjson.dumps(good | {name: value}))
            assert (raised.value.code, raised.value.status) == ("SerializationException", 400)
            assert name in raised.value.message


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_fast_check_and_the_full_one_agree(operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    for request in variants(shape, operation) if shape else [{}]:
        assert validator(operation)(orjson.loads(botocore_body(operation, request))) == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_botocore_reads_what_we_answer(operation: str) -> None:
    shape = MODEL.operation_model(operation).output_shape
    for response in variants(shape, operation):
        assert misfits(operation, response) == []
        body = serialiser(operation)(response)
        assert botocore_result(operation, body) == response
        assert b"null" not in body and b": " not in body
