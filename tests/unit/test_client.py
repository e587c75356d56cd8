"""The client of our own commands against a server that misbehaves on purpose."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from hawksnest import client as client_module
from hawksnest.client import Client
from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.signing import Credentials

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "us-east-1")
Handler = Callable[[socket.socket, int], None]


def request_of(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the next request; empty when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return b"", b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head, body


def answer(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextmanager
def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Give each connection with its number to `handler`; yields the endpoint."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket, number: int) -> None:
        with connection:
            if tls is None:
                handler(connection, number)
                return
            try:
                with tls.wrap_socket(connection, server_side=True) as wrapped:
                    handler(wrapped, number)
            except OSError:
                return  # the client has refused us, or has gone

    def accept() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            threads.append(threading.Thread(target=handle, args=(connection, number)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (acceptor, *threads):
            thread.join(5)
            assert not thread.is_alive()


def keep_answering(connection: socket.socket, number: int) -> None:
    while request_of(connection)[0]:
        connection.sendall(answer(b'{"connection":%d}' % number, b"200 OK", b"X-Amzn-RequestId: abc"))


def test_calls_share_a_kept_connection_and_headers_have_lower_case_names():
    with serving(keep_answering) as endpoint, Client(endpoint, CREDENTIALS) as client:
        replies = [client.call("GetLabels", {}) for _ in range(3)]
    assert [reply.response for reply in replies] == [{"connection": 1}] * 3
    assert replies[0].headers["x-amzn-requestid"] == "abc"


def test_a_request_is_sent_in_one_piece_with_everything_signed():
    seen: list[tuple[bytes, bytes]] = []

    def once(connection: socket.socket, _: int) -> None:
        seen.append(request_of(connection))
        connection.sendall(answer(b"{}"))

    with serving(once) as endpoint, Client(endpoint, CREDENTIALS) as client:
        client.call("GetEventPrediction", {"eventId": "ä"}, idempotent=True)
    head, body = seen[0]
    assert body == '{"eventId":"ä"}'.encode()
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert b"x-amz-target: AWSHawksNestServiceFacade.GetEventPrediction" in head
    assert b"SignedHeaders=content-type;host;x-amz-date;x-amz-target;x-hawksnest-idempotent," in head


def test_a_connection_that_the_server_closed_between_calls_is_opened_again():
    gone = threading.Event()

    def one_call_each(connection: socket.socket, number: int) -> None:
        request_of(connection)
        connection.sendall(answer(b'{"connection":%d}' % number))
        connection.shutdown(socket.SHUT_RDWR)
        gone.set()

    with serving(one_call_each) as endpoint, Client(endpoint, CREDENTIALS) as client:
        assert client.call("GetLabels", {}).response == {"connection": 1}
        assert gone.wait(5)
        assert client.call("GetLabels", {}).response == {"connection": 2}


def test_a_connection_that_the_server_will_not_keep_is_not_used_again():
    def say_close(connection: socket.socket, number: int) -> None:
        request_of(connection)
        connection.sendall(answer(b'{"connection":%d}' % number, b"200 OK", b"Connection: close"))
        request_of(connection)  # a second call here would never be answered

    with serving(say_close) as endpoint, Client(endpoint, CREDENTIALS) as client:
        assert client.call("GetLabels", {}).response == {"connection": 1}
        assert client.call("GetLabels", {}).response == {"connection": 2}


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"not HTTP at all\r\n\r\n"]
)
def test_half_an_answer_is_worth_a_retry_and_the_next_call_starts_afresh(said: bytes):
    def fail_first(connection: socket.socket, number: int) -> None:
        if number > 1:
            keep_answering(connection, number)
            return
        request_of(connection)
        connection.sendall(said)

    with serving(fail_first) as endpoint, Client(endpoint, CREDENTIALS, pool=1) as client:
        with pytest.raises(Transient, match="GetLabels: no answer from 127"):
            client.call("GetLabels", {})
        assert client.call("GetLabels", {}).response == {"connection": 2}


def test_an_answer_that_does_not_come_in_time_is_worth_a_retry(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "READ_TIMEOUT_S", 0.1)

    def silent(connection: socket.socket, _: int) -> None:
        request_of(connection)
        request_of(connection)  # until the client gives up

    with (
        serving(silent) as endpoint,
        Client(endpoint, CREDENTIALS) as client,
        pytest.raises(Transient, match="TimeoutError"),
    ):
        client.call("GetLabels", {})


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "RESPONSE_LIMIT", 1_000)

    def babble(connection: socket.socket, _: int) -> None:
        request_of(connection)
        connection.sendall(answer(b"x" * 100_000))

    with (
        serving(babble) as endpoint,
        Client(endpoint, CREDENTIALS) as client,
        pytest.raises(Transient),
    ):
        client.call("GetLabels", {})


def test_nobody_listening_is_worth_a_retry():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", CREDENTIALS) as client, pytest.raises(Transient):
        client.call("GetLabels", {})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (b"400 Bad Request", b'{"__type":"com.x#ValidationException","message":"m"}', ServiceError),
        (b"400 Bad Request", b'{"__type":"ThrottlingException","message":"m"}', Transient),
        (b"500 Internal Server Error", b"<html>", Transient),
        (b"200 OK", b"[1]", ServiceError),
    ],
)
def test_faults_are_told_apart(status: bytes, body: bytes, kind: type[Exception]):
    def fail(connection: socket.socket, _: int) -> None:
        request_of(connection)
        connection.sendall(answer(body, status))

    with serving(fail) as endpoint, Client(endpoint, CREDENTIALS) as client, pytest.raises(kind) as caught:
        client.call("GetLabels", {})
    if isinstance(caught.value, ServiceError) and status.startswith(b"400"):
        assert (caught.value.code, caught.value.message) == ("ValidationException", "m")


def test_no_more_connections_than_the_pool_has():
    with serving(keep_answering) as endpoint, Client(endpoint, CREDENTIALS, pool=2) as client:
        used: set[int] = set()

        def call() -> None:
            for _ in range(20):
                used.add(client.call("GetLabels", {}).response["connection"])

        threads = [threading.Thread(target=call) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert used <= {1, 2}


def test_what_cannot_stand_in_a_header_is_refused():
    smuggled = Credentials("AKID\r\nx-evil: 1", "secret", "us-east-1")
    with (
        serving(keep_answering) as endpoint,
        Client(endpoint, smuggled) as client,
        pytest.raises(UsageError, match="plain printable ASCII"),
    ):
        client.call("GetLabels", {})


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(keep_answering, context) as endpoint:
        with Client(endpoint, CREDENTIALS) as stranger, pytest.raises(Transient, match="SSLCert"):
            stranger.call("GetLabels", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with Client(endpoint, CREDENTIALS) as client:
            replies = [client.call("GetLabels", {}).response for _ in range(3)]
    assert replies == [{"connection": 2}] * 3
