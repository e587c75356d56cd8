"""A served process under attack: documented refusals, nothing changed, everybody else served on."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from resource import RLIMIT_NOFILE, setrlimit
from typing import Any

import pytest
from served import REGION, WORLD, Served, deploy, until

from hawksnest.client import TARGET_PREFIX, Client
from hawksnest.errors import ServiceError
from hawksnest.ops.paging import page_token
from hawksnest.signing import Credentials, sign
from hawksnest.store.ports import PredictionQuery

STALL_S = 2.0  # how long the slowest of other people's calls may take, on a busy machine
LIST_BODY_BYTES = 36_000_000
ROLE = "arn:aws:iam::123456789012:role/afd"
EVENT: dict[str, Any] = {
    "detectorId": "det",
    "eventTypeName": "pay",
    "eventId": "attack",
    "eventTimestamp": "2026-01-01T00:00:00Z",
    "entities": [{"entityType": "customer", "entityId": "mallory"}],
    "eventVariables": {"amt": "1"},
}
HOST = b"GET %b HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


class Target:
    """The server with a key of its first account, spoken to without a client's good manners."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.client: Client = served.client()
        text = (served.data / "credentials").read_text()
        self.key_id, self.secret = re.findall(r"(?:key_id|access_key) = (\S+)", text)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.served.port), timeout=30)

    def raw(self, *pieces: bytes) -> tuple[int, bytes]:
        """Send bytes; (status, body) of the first answer."""
        with self.connect() as connection:
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except (BrokenPipeError, ConnectionResetError):
                    break  # it has answered already
            return read_answer(connection)

    def head(
        self, operation: str, body: bytes, service: str = "frauddetector", **more: str
    ) -> dict[str, str]:
        headers = {
            "host": f"127.0.0.1:{self.served.port}",
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": TARGET_PREFIX + operation,
        }
        key = Credentials(self.key_id, self.secret, more.pop("region", REGION))
        return headers | sign(key, service, headers, body, WORLD.now_ms()) | more

    def send(self, headers: dict[str, str], body: bytes, extra: bytes = b"") -> tuple[int, bytes]:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
        length = b"" if b"content-length" in extra or b"transfer" in extra else b"content-length: %d\r\n"
        if length:
            length %= len(body)
        return self.raw(b"POST / HTTP/1.1\r\n" + lines + length + extra + b"\r\n" + body)

    def call(self, operation: str, body: bytes | dict[str, Any]) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(self.head(operation, data), data)

    def page(self, path: str) -> tuple[int, bytes]:
        return self.raw(HOST % path.encode())

    def stored(self, event_id: str = "attack") -> bool:
        try:
            self.client.call("GetEvent", {"eventId": event_id, "eventTypeName": "pay"})
        except ServiceError as fault:
            assert fault.code == "ResourceNotFoundException"
            return False
        return True


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """(status, body) of one answer; (0, …) when the connection ended without any."""
    received = b""
    while True:
        head, blank, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if blank and length and len(body) >= int(length[1]):
            return int(head[9:12]), body
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return int(head[9:12] or 0), body
        received += piece


def code(answer: tuple[int, bytes]) -> str:
    """The code of a refusal."""
    found: str = json.loads(answer[1])["__type"]
    return found


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all attacks. In the end it is alive, and never had a fault of its own."""
    served = Served(tmp_path_factory.mktemp("attacked"))
    try:
        served.start()
        made = Target(served)
        deploy(made.client)
        yield made
        assert served.alive
        assert b"InternalServerException" not in made.page("/metrics")[1]
        made.client.close()
        served.stop()
        assert "Traceback" not in served.said()
        assert " failed" not in served.said()
    finally:
        served.close()


class Neighbour:
    """Calls /health all the time; `slowest_s` is what an attack did to others."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.slowest_s = 0.0
        self.calls = 0

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            began_s = WORLD.monotonic_s()
            if self._target.page("/health")[0] != 200:
                self.slowest_s = float("inf")
            self.slowest_s = max(self.slowest_s, WORLD.monotonic_s() - began_s)
            self.calls += 1

    def __enter__(self) -> "Neighbour":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


TEXT = json.dumps(EVENT).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        TEXT[:-1] + b', "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        TEXT.replace(b'"1"', b"[" * 900 + b"]" * 900),
        TEXT.replace(b'"1"', b"9" * 100_000),
        TEXT.replace(b'"1"', b"1e999"),
        TEXT.replace(b'"1"', b"NaN"),
        TEXT.replace(b"mallory", b"\xff\xfe"),
        TEXT.replace(b"mallory", b"\xc0\x80"),
        TEXT.replace(b"mallory", b"\\ud800"),
        TEXT.replace(b"mallory", b"\xed\xa0\x80"),
        TEXT.replace(b"mallory", b"a\x00b"),
        TEXT.replace(b"mallory", b"a\\u0000b"),
        TEXT.replace(b'"attack"', b'"a\\u0000b"'),
        TEXT.replace(b'"amt"', b'"__proto__"'),
        TEXT.replace(b'"amt"', b'"amt\\u0000"'),
        TEXT.replace(b"{", b"\xef\xbb\xbf{", 1),
        TEXT.decode().encode("utf-16"),
        TEXT + b"x",
        b"null",
        b'"x"',
        b"",
        json.dumps(EVENT | {"eventVariables": {f"v{n}": "1" for n in range(5_001)}}).encode(),
        json.dumps(EVENT | {"eventVariables": {"amt": "9" * 8_192}}).encode(),
        json.dumps(EVENT | {"eventVariables": {"amt": "x" * 300_000}}).encode(),
        json.dumps(EVENT | {"eventTimestamp": "2026-01-01T00:00:00+99:99"}).encode(),
        json.dumps(EVENT | {"eventTimestamp": "2026-01-01TZZ:00:00Z"}).encode(),
        json.dumps(EVENT | {"entities": EVENT["entities"] * 2}).encode(),
    ],
    ids=range(28),
)
def test_hostile_bodies_are_refused_and_change_nothing(target: Target, body: bytes) -> None:
    status, answer = target.call("GetEventPrediction", body)
    assert status in (400, 413), answer
    assert len(answer) < 4_000
    assert code((status, answer)) in (
        "SerializationException",
        "ValidationException",
        "RequestEntityTooLargeException",
    )
    assert not target.stored()


def test_names_that_mean_something_elsewhere_are_names(target: Target) -> None:
    for name in ("__proto__", "constructor", "__class__", "none", "self", "and"):
        variable = {"name": name, "dataType": "STRING", "dataSource": "EVENT", "defaultValue": "x"}
        assert target.call("CreateVariable", variable)[0] == 200
        assert code(target.call("CreateVariable", variable)) == "ValidationException"
        target.client.call("DeleteVariable", {"name": name})


def test_the_largest_numbers_are_decided_and_the_server_starts_again(target: Target) -> None:
    for number, amount in enumerate(("1e308", "-1.7e308", "1.7e308", "5e-324")):
        event = EVENT | {"eventId": f"huge{number}", "eventVariables": {"amt": amount}}
        for _ in range(2):
            target.client.call("GetEventPrediction", event)
    shown = json.loads(target.page("/console/live.json")[1])
    json.dumps(shown, allow_nan=False)
    target.client.close()
    target.served.kill()
    target.served.start()
    assert target.stored("huge0")


@pytest.mark.parametrize(
    "extra",
    [
        b"content-length: 99999999999999999999\r\n",
        b"content-length: -5\r\n",
        b"content-length: +5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length : 5\r\n",
        b"content-length: 14\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: \x0bchunked\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"content-length: 14\r\nx: a\r\n folded\r\n",
        b"content-length: 14\r\nx: a\x00b\r\n",
        b"content-length: 14\r\nx: a\rhost: b\r\n",
        b"content-length: 14\r\n" + b"a: b\r\n" * 50_000,
    ],
    ids=range(15),
)
def test_ambiguous_http_is_refused(target: Target, extra: bytes) -> None:
    body = b'{"name":"smuggled"}'
    status, _ = target.send(target.head("PutLabel", body), body, extra)
    assert status in (0, 400, 408, 413, 431)
    assert "smuggled" not in str(target.client.call("GetLabels", {}).response)


def test_pipelined_requests_are_answered_in_order(target: Target) -> None:
    with target.connect() as connection:
        first, last = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", HOST % b"/nowhere"
        connection.sendall(first * 500 + last)
        received = b""
        while piece := connection.recv(1 << 20):
            received += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200"] * 500 + [b"404"]


def tricks(target: Target) -> Iterator[tuple[str, dict[str, str], bytes, str]]:
    """(what, headers, extra lines, code) of requests that were signed for something else, or hardly."""
    body = b'{"name":"forged"}'
    good = target.head("PutLabel", body)
    signed = good["authorization"]
    lonely = signed.replace("content-type;host;x-amz-date;x-amz-target", "host")
    dateless = {name: value for name, value in good.items() if name != "x-amz-date"}
    yield "target", good | {"x-amz-target": TARGET_PREFIX + "DeleteLabel"}, b"", "InvalidSignatureException"
    yield "two targets", good, b"x-amz-target: x\r\n", "InvalidSignatureException"
    yield "two hosts", good, b"host: evil.example\r\n", "InvalidSignatureException"
    yield "two signatures", good, f"authorization: {signed}\r\n".encode(), "IncompleteSignature"
    yield "only host signed", good | {"authorization": lonely}, b"", "IncompleteSignature"
    yield "service", target.head("PutLabel", body, "s3"), b"", "InvalidSignatureException"
    yield "region", target.head("PutLabel", body, region="EU/west"), b"", "IncompleteSignature"
    yield "session", good | {"x-amz-security-token": "x"}, b"", "UnrecognizedClientException"
    yield "date", good | {"x-amz-date": "20260101T000000Z"}, b"", "InvalidSignatureException"
    yield (
        "no date",
        dateless | {"date": "Mon, 01 Jan 99999999999999 00:00:00 GMT"},
        b"",
        "IncompleteSignature",
    )
    yield "late date", dateless | {"date": "Fri, 31 Dec 9999 23:59:59 -2359"}, b"", "IncompleteSignature"
    yield (
        "key",
        good | {"authorization": signed.replace(target.key_id, "' OR 1=1 --")},
        b"",
        ("UnrecognizedClientException"),
    )
    yield "long", good | {"authorization": signed + "x" * 5_000}, b"", "InvalidSignatureException"
    yield "none", good | {"authorization": ""}, b"", "MissingAuthenticationTokenException"
    yield "bearer", good | {"authorization": "Bearer x"}, b"", "IncompleteSignature"


def test_signatures_hold_for_what_was_signed_alone(target: Target) -> None:
    body = b'{"name":"forged"}'
    for what, headers, extra, expected in tricks(target):
        status, answer = target.send(headers, body, extra)
        assert (status, code((status, answer))) == (403, expected), what
        assert target.secret.encode() not in answer
    good = target.head("PutLabel", body)
    answer = target.send(good, body.replace(b"forged", b"forgot"))
    assert code(answer) == "InvalidSignatureException"
    named = [each["name"] for each in target.client.call("GetLabels", {}).response["labels"]]
    assert named == ["fraud", "legit"]


def test_another_region_of_the_same_key_sees_nothing(target: Target) -> None:
    body = b"{}"
    for operation, member in (("GetDetectors", "detectors"), ("GetLabels", "labels")):
        answer = target.send(target.head(operation, body, region="eu-west-1"), body)
        assert json.loads(answer[1]) == {member: []}
    tagged = json.dumps(
        {"resourceARN": f"arn:aws:frauddetector:{REGION}:000000000000:detector/det", "tags": []}
    ).encode()
    answer = target.send(target.head("TagResource", tagged, region="eu-west-1"), tagged)
    assert code(answer) in ("ResourceNotFoundException", "ValidationException")


def test_paths_of_objects_stay_in_their_buckets(target: Target) -> None:
    client, bucket = target.client, target.served.data / "buckets" / "b"
    bucket.mkdir(parents=True)
    (bucket / "link").symlink_to("/etc/passwd")
    (bucket / "up").symlink_to("../../hawksnest.sqlite")
    (bucket.parent / "linked").symlink_to("/etc")
    for number, place in enumerate(
        (
            "s3://b/../../hawksnest.sqlite",
            "s3://b/link",
            "s3://b/up",
            "s3://linked/passwd",
            "s3://b//etc/passwd",
        )
    ):
        job = {"jobId": f"j{number}", "inputPath": place, "outputPath": "s3://b/out", "iamRoleArn": ROLE}
        client.call("CreateBatchImportJob", job | {"eventTypeName": "pay"})

        def ended(job_id: str = f"j{number}") -> dict[str, Any] | None:
            found: dict[str, Any] = client.call("GetBatchImportJobs", {"jobId": job_id}).response[
                "batchImports"
            ][0]
            return found if found["status"] in ("FAILED", "COMPLETE") else None

        until(ended, 20, "the job never ended")
        failed = ended()
        assert failed is not None and failed["status"] == "FAILED"
        assert "leads out of its bucket" in failed["failureReason"]
    assert code(target.call("CreateBatchImportJob", job | {"inputPath": "file:///etc/passwd"})) == (
        "ValidationException"
    )


@pytest.mark.parametrize(
    "path", ["/console/static/../pages.py", "/console/static/%2e%2e/pages.py", "/%00", "//"]
)
def test_paths_of_pages_stay_among_the_pages(target: Target, path: str) -> None:
    assert target.page(path)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "0.0.0.0", "", "localhost,x"]
)
def test_the_console_is_not_reached_by_another_name(target: Target, host: str) -> None:
    request = f"GET /console/live.json HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    assert target.raw(request.encode())[0] == 403


def test_the_live_page_has_a_bounded_number_of_viewers(target: Target) -> None:
    with ExitStack() as stack:
        viewers = [stack.enter_context(closing(target.connect())) for _ in range(40)]
        for viewer in viewers:
            viewer.sendall(HOST % b"/console/live")
        answers = [viewer.recv(12) for viewer in viewers]
        assert answers.count(b"HTTP/1.1 200") == 32
        assert answers.count(b"HTTP/1.1 503") == 8
        assert target.page("/health")[0] == 200

    def seen() -> bool:
        with target.connect() as viewer:
            viewer.sendall(HOST % b"/console/live")
            return viewer.recv(12) == b"HTTP/1.1 200"

    until(seen, 10, "viewers that went away still count")


def test_strangers_get_no_memory_for_large_bodies(target: Target) -> None:
    announced = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-amz-target: %bCreateList\r\ncontent-length: %d\r\n"
    announced %= TARGET_PREFIX.encode(), LIST_BODY_BYTES
    status, answer = target.raw(announced + b"\r\n", b"x" * 1_000)
    assert (status, code((status, answer))) == (403, "MissingAuthenticationTokenException")
    scope = f"20260101/{REGION}/frauddetector/aws4_request, SignedHeaders=host, Signature={'0' * 64}"
    unknown = f"authorization: AWS4-HMAC-SHA256 Credential=NOBODY/{scope}\r\n\r\n".encode()
    assert code(target.raw(announced + unknown, b"x" * 1_000)) == "UnrecognizedClientException"
    known = f"authorization: AWS4-HMAC-SHA256 Credential={target.key_id}/{scope}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(closing(target.connect())).sendall(announced + known + b"x")
        until(lambda: target.raw(announced + known, b"x")[0] == 503, 10, "any number is taken in")
        assert target.call("GetLabels", b"{}")[0] == 200


def test_long_lists_and_costly_rules_stop_nobody(target: Target) -> None:
    client = target.client
    patterns = ["(a+)+$", "([a-z]*)*x", "[a-z]*" * 600 + "9", "(.*a){20}b", "(x+x+)+y"]
    with Neighbour(target) as neighbour:
        rules = []
        for number, expression in enumerate(
            [*(f'regex_match("{each}", $note)' for each in patterns), "-" * 4_085 + "1 > 0"]
        ):
            made = {"ruleId": f"costly{number}", "detectorId": "det", "expression": expression}
            made |= {"language": "DETECTORPL", "outcomes": ["block"]}  # type: ignore[dict-item]
            rules.append(client.call("CreateRule", made).response["rule"])
        for deep in ("(" * 2_000 + "1" + ")" * 2_000 + " > 0", "+".join(["$amt"] * 600) + " > 1"):
            assert code(target.call("CreateRule", made | {"ruleId": "deep", "expression": deep})) == (
                "ValidationException"
            )
        version = client.call("CreateDetectorVersion", {"detectorId": "det", "rules": rules})
        named = {"detectorVersionId": version.response["detectorVersionId"]}
        for note in ("a" * 8_192, "ab" * 4_096, "x" * 8_191 + "!"):
            event = EVENT | named | {"eventId": "costly", "eventVariables": {"note": note}}
            client.call("GetEventPrediction", event)
        entries = [f"u{number}@example.com" for number in range(100_000)]
        client.call("CreateList", {"name": "long", "elements": entries})
        assert code(target.call("CreateList", {"name": "longer", "elements": [*entries, "x"]})) == (
            "ValidationException"
        )
        endless = b'{"name":"endless","elements":[' + b'"",' * (LIST_BODY_BYTES // 3 - 20) + b'""]}'
        assert code(target.call("CreateList", endless)) == "ValidationException"
    assert neighbour.calls > 5
    assert neighbour.slowest_s < STALL_S


def test_forged_page_tokens_are_refused(target: Target) -> None:
    for token in ("x", "=", "\0", "é", "A" * 100, "A" * 8_000):
        assert code(target.call("GetLabels", {"nextToken": token})) == "ValidationException"
        assert code(target.call("ListEventPredictions", {"nextToken": token})) == "ValidationException"
    account = ("000000000000", REGION)
    for mark in ("[" * 5_000, "[5]", '["\\ud800"]', "null"):
        token = page_token(mark, (*account, "GetLabels", "{}"), WORLD.now_ms())
        assert code(target.call("GetLabels", {"nextToken": token})) == "ValidationException"
    for mark in ("f" * 24 + ".1", "-1.-1", "1", "x.y"):
        bound = (*account, "ListEventPredictions", repr(PredictionQuery()))
        token = page_token(mark, bound, WORLD.now_ms())
        assert code(target.call("ListEventPredictions", {"nextToken": token})) == "ValidationException"


def test_secrets_and_values_stay_where_they_belong(target: Target) -> None:
    value = "value-of-a-customer"
    event = EVENT | {"eventId": "secret", "eventVariables": {"email": value}}
    client: Callable[..., Any] = target.client.call
    client("GetEventPrediction", event)
    for changed in (
        {"eventVariables": {"email": value * 1_000}},
        {"entities": [{"entityType": "customer", "entityId": value + " "}]},
        {"entities": [{"entityType": "customer", "entityId": value}] * 2},
    ):
        status, answer = target.call("GetEventPrediction", event | changed)
        assert status == 400 and value.encode() not in answer
    for text in (target.served.said(), target.page("/metrics")[1].decode()):
        assert value not in text and target.secret not in text
    assert target.served.data.stat().st_mode & 0o077 == 0
    held = [*target.served.data.rglob("hawksnest.sqlite*"), target.served.data / "lock"]
    assert all(each.stat().st_mode & 0o077 == 0 for each in held)


def test_more_connections_than_files_leave_room_for_calls_and_store(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        served.start(preexec=lambda: setrlimit(RLIMIT_NOFILE, (256, 700)))
        with ExitStack() as stack, served.client() as client:
            for _ in range(900):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), 10))
                connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
            deploy(client)
            for number in range(20):
                client.call("GetEventPrediction", EVENT | {"eventId": f"e{number}"})
            found = client.call("ListEventPredictions", {"maxResults": 50}).response
            assert len(found["eventPredictionSummaries"]) == 20
        served.stop()
        assert served.said() == ""
    finally:
        served.close()
