"""Acid tests A: the protocol itself, over requests signed by hand and by boto3."""

import re
from typing import Any

import orjson
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

TARGET = "AWSHawksNestServiceFacade."


def post(customer: Any, operation: str, body: bytes, signed: bool = True) -> urllib3.BaseHTTPResponse:
    """A request with botocore's signature but none of its checks."""
    url, client = customer.c.meta.endpoint_url, customer.c
    headers = {"X-Amz-Target": TARGET + operation, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", url + "/", headers=headers, data=body)
    if signed:
        credentials = client._get_credentials()
        SigV4Auth(credentials, "frauddetector", client.meta.region_name).add_auth(request)
    return urllib3.request("POST", url + "/", body=body, headers=dict(request.headers.items()), retries=False)


def code(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    fault = orjson.loads(answer.data)
    assert answer.headers["x-amzn-ErrorType"] == fault["__type"]
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-amzn-RequestId"])
    return answer.status, fault["__type"]


def test_a1_a_signed_request_is_answered(afd: Any) -> None:
    answer = post(afd, "GetLabels", b"{}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        answer.headers["x-amzn-RequestId"],
    )
    assert len(orjson.loads(answer.data)["labels"]) == 2


def test_a2_an_empty_answer_is_two_bytes(afd: Any) -> None:
    assert post(afd, "PutLabel", b'{"name":"x"}').data == b"{}"
    assert afd.body(afd.c.put_label(name="x")) == {}


def test_a3_an_unknown_operation_is_404(afd: Any) -> None:
    assert code(post(afd, "NoSuchOp", b"{}")) == (404, "UnknownOperationException")


def test_a4_broken_json_is_a_serialisation_fault(afd: Any) -> None:
    assert code(post(afd, "GetLabels", b'{"name":')) == (400, "SerializationException")


def test_a5_a_number_for_a_string_is_a_serialisation_fault(afd: Any) -> None:
    assert code(post(afd, "GetLabels", b'{"name":5}')) == (400, "SerializationException")


def test_a6_unknown_members_are_ignored(afd: Any) -> None:
    assert len(orjson.loads(post(afd, "GetLabels", b'{"name":"fraud","bogus":1}').data)["labels"]) == 1


def test_a7_nulls_are_as_good_as_nothing(afd: Any) -> None:
    assert len(orjson.loads(post(afd, "GetLabels", b'{"name":null,"nextToken":null}').data)["labels"]) == 2


def test_a8_a_request_without_authorisation_is_told_so(afd: Any) -> None:
    assert code(post(afd, "GetLabels", b"{}", signed=False)) == (403, "MissingAuthenticationTokenException")


def test_a9_a_wrong_secret_is_an_invalid_signature(afd: Any) -> None:
    wrong = Session().create_client(
        "frauddetector",
        endpoint_url=afd.c.meta.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=afd.c._get_credentials().access_key,
        aws_secret_access_key="wrong",
    )
    try:
        wrong.get_labels()
    except wrong.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidSignatureException"
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    else:
        raise AssertionError("a wrong secret was accepted")
    finally:
        wrong.close()


def test_a10_something_missing_is_400_with_a_message_and_a_request_id(afd: Any) -> None:
    assert afd.rnf(afd.c.get_labels, name="nope")


def test_a12_the_last_page_has_no_token(afd: Any) -> None:
    assert "nextToken" not in afd.c.get_labels()


def test_a13_answers_hold_no_null_and_no_epoch_times(afd: Any) -> None:
    for operation in (
        "GetLabels",
        "GetVariables",
        "GetEventTypes",
        "GetDetectors",
        "GetOutcomes",
        "GetEntityTypes",
    ):
        body = post(afd, operation, b"{}").data
        assert b"null" not in body
        times = re.findall(rb'"(?:createdTime|lastUpdatedTime)":(.)', body)
        assert times and set(times) == {b'"'}


def test_a14_a_prediction_over_256_kb_is_refused(afd: Any) -> None:
    body = orjson.dumps(afd.ev("e1", {"email": "x" * 262_144}))
    assert code(post(afd, "GetEventPrediction", body)) == (413, "RequestEntityTooLargeException")
