"""The door as clients see it: boto3, our own client, and requests that no client would send."""

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from small_server import SmallServer

from hawksnest.client import Client
from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.signing import Credentials, sign

PREFIX = "AWSHawksNestServiceFacade."


def post(server: SmallServer, target: str, body: bytes, **changes: Any) -> urllib3.BaseHTTPResponse:
    """A signed request, with headers changed after signing where told."""
    headers = {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": PREFIX + target,
    }
    key = Credentials(server.key.access_key_id, server.key.secret, "us-east-1")
    headers |= sign(key, "frauddetector", headers, body, server.world.now_ms())
    headers = {name: value for name, value in (headers | changes).items() if value is not None}
    return urllib3.request("POST", server.url + "/", body=body, headers=headers, retries=False, timeout=10)


def fault(call: Callable[..., Any], **request: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return raised.value


def code_of(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    """(status, code), having checked what every fault must carry."""
    assert len(answer.headers["x-amzn-requestid"]) == 36
    code = orjson.loads(answer.data)["__type"]
    assert answer.headers["x-amzn-errortype"] == code
    return answer.status, code


def test_boto3_is_answered_with_a_request_id(shared: SmallServer) -> None:
    answer = shared.boto().get_labels(name="fraud")
    assert answer["labels"] == [{"name": "fraud", "description": "000000000000/us-east-1"}]
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"


def test_an_empty_answer_is_two_bytes(shared: SmallServer) -> None:
    assert post(shared, "PutLabel", b'{"name":"x"}').data == b"{}"


def test_floats_reach_python_as_floats(shared: SmallServer) -> None:
    answer = shared.boto().get_event_prediction(
        detectorId="d",
        eventId="e",
        eventTypeName="t",
        entities=[],
        eventTimestamp="2024-01-02T03:04:05Z",
        eventVariables={"a": "1", "b": None},
    )
    assert answer["modelScores"] == [{"scores": {"m_insightscore": 24.0}}]
    assert isinstance(answer["modelScores"][0]["scores"]["m_insightscore"], float)
    assert answer["ruleResults"] == [{"ruleId": "nulls", "outcomes": ["b"]}]


def test_a_fault_keeps_its_code_and_status(shared: SmallServer) -> None:
    error = fault(shared.boto().get_labels, name="nope")
    assert error.response["Error"] == {
        "Code": "ResourceNotFoundException",
        "Message": "Label nope does not exist.",
    }
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error.response["ResponseMetadata"]["RequestId"]


@pytest.mark.parametrize(
    ("target", "body", "changes", "status", "code"),
    [
        ("NoSuchOp", b"{}", {}, 404, "UnknownOperationException"),
        ("getlabels", b"{}", {}, 404, "UnknownOperationException"),
        ("GetLabels", b'{"name":', {}, 400, "SerializationException"),
        ("GetLabels", b'{"name":5}', {}, 400, "SerializationException"),
        ("GetLabels", b"[1]", {}, 400, "SerializationException"),
        ("GetLabels", b"\xff", {}, 400, "SerializationException"),
        ("GetLabels", b'{"name":"BAD"}', {}, 400, "ValidationException"),
        ("GetLabels", b"{}", {"authorization": None}, 403, "MissingAuthenticationTokenException"),
        ("GetLabels", b"{}", {"authorization": "nonsense"}, 403, "IncompleteSignature"),
        ("GetLabels", b"{}", {"x-amz-security-token": "x"}, 403, "UnrecognizedClientException"),
        ("GetLabels", b"{}", {"x-amz-target": PREFIX + "PutLabel"}, 403, "InvalidSignatureException"),
        ("GetLabels", b"{}", {"x-amz-target": None}, 403, "IncompleteSignature"),
        ("GetLabels", b"{}", {"x-amz-date": "20200102T030405Z"}, 403, "InvalidSignatureException"),
        ("GetLabels", b"x" * 1_048_577, {}, 413, "RequestEntityTooLargeException"),
        ("GetEventPrediction", b"x" * 262_145, {}, 413, "RequestEntityTooLargeException"),
        ("GetLabels", b"x" * 262_145, {}, 400, "SerializationException"),
        ("PutLabel", b'{"name":"full"}', {}, 503, "ServiceUnavailable"),
    ],
)
def test_bad_input_has_its_documented_answer(
    shared: SmallServer, target: str, body: bytes, changes: dict[str, Any], status: int, code: str
) -> None:
    before = shared.ledger.appended
    assert code_of(post(shared, target, body, **changes)) == (status, code)
    assert shared.ledger.appended == before


def test_unknown_members_and_nulls_are_ignored(shared: SmallServer) -> None:
    assert post(shared, "GetLabels", b'{"name":"fraud","bogus":1,"nextToken":null}').status == 200


def test_a_wrong_secret_is_an_invalid_signature(shared: SmallServer) -> None:
    error = fault(shared.boto(aws_secret_access_key="wrong").get_labels)
    assert error.response["Error"]["Code"] == "InvalidSignatureException"


def test_the_region_of_the_scope_is_the_tenants(shared: SmallServer) -> None:
    answer = shared.boto(region_name="eu-west-1").get_labels(name="x")
    assert answer["labels"][0]["description"] == "000000000000/eu-west-1"


def test_our_own_fault_is_one_traceback_without_values(
    shared: SmallServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        error = fault(shared.boto().get_labels, name="broken")
    assert error.response["Error"]["Code"] == "InternalServerException"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    request_id = error.response["ResponseMetadata"]["RequestId"]
    assert request_id in error.response["Error"]["Message"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    text = record.getMessage()
    assert request_id in text and "small_server.py" in text and "builtins.KeyError" in text
    assert "value-of-the-request" not in text.replace('secret = "value-of-the-request"', "")


def test_an_answer_that_does_not_fit_its_shape_is_our_fault(shared: SmallServer) -> None:
    assert (
        fault(shared.boto().get_labels, name="strange").response["Error"]["Code"] == "InternalServerException"
    )


def test_an_answer_leaves_only_when_its_record_is_durable(server: SmallServer) -> None:
    for number in range(1, 4):
        post(server, "PutLabel", b'{"name":"x"}')
        assert server.ledger.flushed == number


def test_inline_operations_run_on_the_loop_and_deferred_ones_in_a_thread(server: SmallServer) -> None:
    assert post(server, "PutLabel", b'{"name":"x"}').headers["x-thread"] == "server"
    deferred = post(server, "PutLabel", b'{"name":"defer"}')
    assert deferred.status == 200
    assert deferred.headers["x-thread"].startswith("operation")
    assert server.ledger.flushed == 2


def test_the_client_calls_and_sorts_faults(shared: SmallServer) -> None:
    key = Credentials(shared.key.access_key_id, shared.key.secret, "us-east-1")
    with Client(shared.url, key) as client:
        response, headers = client.call("PutLabel", {"name": "x"}, idempotent=True)
        assert (response, headers["x-hawksnest-idempotent"]) == ({}, "true")
        assert client.call("PutLabel", {"name": "x"}).headers["x-hawksnest-idempotent"] == "false"
        with pytest.raises(ServiceError) as raised:
            client.call("GetLabels", {"name": "nope"})
        assert (raised.value.code, raised.value.status) == ("ResourceNotFoundException", 400)
        for name in ("full", "broken"):
            with pytest.raises(Transient):
                client.call("PutLabel" if name == "full" else "GetLabels", {"name": name})


def test_the_client_takes_a_server_that_is_not_there_for_passing_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", Credentials("a", "b", "us-east-1")) as client,
        pytest.raises(Transient),
    ):
        client.call("GetLabels", {})


@pytest.mark.parametrize("endpoint", ["", "localhost:8420", "ftp://localhost", "http://", "http://h/path"])
def test_the_client_refuses_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(UsageError, match="must be a URL"):
        Client(endpoint, Credentials("a", "b", "us-east-1"))


def test_many_clients_at_once_share_flushes(server: SmallServer) -> None:
    key = Credentials(server.key.access_key_id, server.key.secret, "us-east-1")
    with Client(server.url, key, pool=4) as client:
        threads = [
            threading.Thread(target=lambda: [client.call("PutLabel", {"name": "x"}) for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.ledger.flushed == 400


def test_without_authentication_any_or_no_signature_passes(start: Callable[..., SmallServer]) -> None:
    server = start(no_auth=True, account="111111111111", region="eu-west-1")
    assert post(server, "GetLabels", b'{"name":"x"}', authorization=None).data.count(
        b"111111111111/eu-west-1"
    )
    answer = server.boto(region_name="ap-southeast-2", aws_secret_access_key="any").get_labels(name="x")
    assert answer["labels"][0]["description"] == "111111111111/ap-southeast-2"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]", "128.0.0.1"]
)
def test_without_authentication_the_host_must_be_loopback(shared_open: SmallServer, host: str) -> None:
    assert post(shared_open, "GetLabels", b"{}", host=host).status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8420", "127.0.0.2", "[::1]:8420"])
def test_without_authentication_every_loopback_name_will_do(shared_open: SmallServer, host: str) -> None:
    assert post(shared_open, "GetLabels", b"{}", host=host).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org", ""])
def test_without_authentication_other_addresses_are_not_listened_on(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="--no-auth"):
        SmallServer(tmp_path, no_auth=True, host=host)


def test_metrics_count_what_was_answered(server: SmallServer) -> None:
    boto = server.boto(config=Config(parameter_validation=False, retries={"max_attempts": 0}))
    boto.put_label(name="x")
    fault(boto.get_labels, name="nope")
    post(server, "GetLabels", b"{}", authorization=None)
    text = urllib3.request("GET", server.url + "/metrics").data.decode()
    assert 'hawksnest_requests_total{code="OK",operation="PutLabel"} 1.0' in text
    assert 'hawksnest_requests_total{code="ResourceNotFoundException",operation="GetLabels"} 1.0' in text
    assert 'hawksnest_request_seconds_bucket{le="+Inf",operation="PutLabel"} 1.0' in text
    assert 'hawksnest_keys_refused_total{code="MissingAuthenticationTokenException"} 1.0' in text
    assert "hawksnest_journal_sync_seconds_count 1.0" in text
    assert "hawksnest_journal_sequence 1.0" in text
    assert "hawksnest_requests_in_flight 0.0" in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 302),
        ("HEAD", "/", 302),
        ("GET", "/health", 200),
        ("GET", "/metrics", 200),
        ("PUT", "/", 405),
        ("OPTIONS", "/", 405),
        ("POST", "/health", 405),
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/api/things", 404),
        ("GET", "/console/", 404),
        ("GET", "/%2e%2e/etc/passwd", 404),
    ],
)
def test_other_paths_and_methods_have_plain_answers(
    shared: SmallServer, method: str, path: str, status: int
) -> None:
    answer = urllib3.request(method, shared.url + path, redirect=False, retries=False)
    assert answer.status == status
    assert len(answer.headers["x-amzn-requestid"]) == 36
    if status == 302:
        assert answer.headers["location"] == "/console/"
