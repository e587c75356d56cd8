"""Signed calls that run on the event loop, as bytes on a connection: whole, in pieces, in a row, at once."""

import socket
import threading
from collections.abc import Callable

import orjson
import pytest
from small_server import SmallServer

from hawksnest.signing import Credentials, sign

TARGET = "AWSHawksNestServiceFacade.PutLabel"


def signed(server: SmallServer, name: str, *more: str) -> bytes:
    """PutLabel of that name as a whole request."""
    body = orjson.dumps({"name": name})
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": f"127.0.0.1:{server.port}",
        "x-amz-target": TARGET,
    }
    credentials = Credentials(server.key.access_key_id, server.key.secret, "us-east-1")
    headers |= sign(credentials, "frauddetector", headers, body, server.world.now_ms())
    lines = [f"{key}: {value}" for key, value in headers.items()]
    head = "\r\n".join(["POST / HTTP/1.1", *lines, f"content-length: {len(body)}", *more, "", ""])
    return head.encode() + body


def answers(connection: socket.socket, count: int) -> list[tuple[bytes, bytes]]:
    """(head, body) of that many answers."""
    received, found = b"", []
    while len(found) < count:
        head, end, rest = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or -1)
        if end and len(rest) >= length:
            found.append((head, rest[:length]))
            received = rest[length:]
            continue
        chunk = connection.recv(65_536)
        assert chunk, "the server closed the connection"
        received += chunk
    assert not received
    return found


@pytest.fixture
def connect(shared: SmallServer) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", shared.port), timeout=10)


def test_calls_in_a_row_are_answered_on_one_connection_in_the_loops_thread(
    shared: SmallServer, connect: Callable[[], socket.socket]
) -> None:
    with connect() as connection:
        for number in range(3):
            connection.sendall(signed(shared, f"l{number}"))
            ((head, body),) = answers(connection, 1)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and body == b"{}"
            assert b"x-thread: server" in head and b"\r\ndate: " in head.lower()


def test_a_request_may_come_in_pieces(shared: SmallServer, connect: Callable[[], socket.socket]) -> None:
    request = signed(shared, "pieces")
    for cut in (1, 20, request.index(b"\r\n\r\n") + 4, len(request) - 3):
        with connect() as connection:
            connection.sendall(request[:cut])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request[cut:])
            assert answers(connection, 1)[0][0].startswith(b"HTTP/1.1 200")


def test_requests_sent_without_waiting_are_answered_in_their_order(
    shared: SmallServer, connect: Callable[[], socket.socket]
) -> None:
    with connect() as connection:
        connection.sendall(signed(shared, "a") + signed(shared, "defer") + signed(shared, "full"))
        found = answers(connection, 3)
        assert [head[9:12] for head, _ in found] == [b"200", b"200", b"503"]
        assert b"x-thread: operation" in found[1][0]
        connection.sendall(signed(shared, "b"))
        assert answers(connection, 1)[0][0].startswith(b"HTTP/1.1 200")


def test_a_connection_ends_when_the_client_asks_for_it(
    shared: SmallServer, connect: Callable[[], socket.socket]
) -> None:
    with connect() as connection:
        connection.sendall(signed(shared, "last", "connection: close"))
        ((head, _),) = answers(connection, 1)
        assert b"connection: close" in head.lower()
        assert connection.recv(1) == b""


def test_a_bad_signature_concerns_nobody_else_of_the_turn(
    shared: SmallServer, connect: Callable[[], socket.socket]
) -> None:
    bad = signed(shared, "bad").replace(b'"bad"', b'"bat"')
    with connect() as one, connect() as other:
        one.sendall(bad)
        other.sendall(signed(shared, "good"))
        ((head, body),) = answers(one, 1)
        assert head.startswith(b"HTTP/1.1 403") and b"InvalidSignatureException" in body
        assert answers(other, 1)[0][0].startswith(b"HTTP/1.1 200")


def test_calls_at_once_share_flushes_and_all_are_counted_off(
    shared: SmallServer, connect: Callable[[], socket.socket]
) -> None:
    before = shared.ledger.appended
    heads: list[bytes] = []

    def work(number: int) -> None:
        with connect() as connection:
            for step in range(20):
                connection.sendall(signed(shared, f"w{number}-{step}"))
                heads.append(answers(connection, 1)[0][0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heads) == 160 and all(head.startswith(b"HTTP/1.1 200") for head in heads)
    assert shared.ledger.appended == before + 160 == shared.ledger.flushed
    assert shared.metrics.in_flight == 0


def test_a_client_that_goes_away_before_its_answer_leaves_nothing_behind(
    shared: SmallServer, connect: Callable[[], socket.socket]
) -> None:
    for _ in range(5):
        connection = connect()
        connection.sendall(signed(shared, "gone"))
        connection.close()
    with connect() as connection:
        connection.sendall(signed(shared, "here"))
        assert answers(connection, 1)[0][0].startswith(b"HTTP/1.1 200")
    assert shared.metrics.in_flight == 0
