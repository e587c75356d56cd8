"""`s3://` paths from a folder and from an S3 endpoint."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hawksnest.buckets import Buckets
from hawksnest.errors import ServiceError, Transient


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    (tmp_path / "buckets" / "mine" / "a").mkdir(parents=True)
    (tmp_path / "buckets" / "mine" / "a" / "data.csv").write_bytes(b"x,y\n1,2\n")
    (tmp_path / "buckets" / "other").mkdir()
    (tmp_path / "buckets" / "other" / "secret").write_bytes(b"s")
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "buckets" / "mine" / "link").symlink_to(tmp_path / "secret")
    return Buckets(tmp_path / "buckets")


def test_object_is_the_file_of_that_key(buckets: Buckets) -> None:
    with buckets.open("s3://mine/a/data.csv") as stream:
        assert stream.read() == b"x,y\n1,2\n"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://mine/../other/secret",
        "s3://mine/../../secret",
        "s3://mine/a/../../../secret",
        "s3://mine//etc/passwd",
        "s3://mine/link",
        "s3://mine/a/..",
        "s3://mine/.",
    ],
)
def test_key_that_leads_out_of_the_bucket_is_refused(buckets: Buckets, uri: str) -> None:
    with pytest.raises(ServiceError, match="leads out"), buckets.open(uri):
        pass


@pytest.mark.parametrize(
    "uri", ["", "s3://", "s3://mine", "s3://mine/", "s3://../x", "/etc/passwd", "file:///x"]
)
def test_what_is_no_s3_path_is_refused(buckets: Buckets, uri: str) -> None:
    with pytest.raises(ServiceError, match="s3://bucket/key"), buckets.open(uri):
        pass


def test_zero_byte_in_a_key_is_refused(buckets: Buckets) -> None:
    with pytest.raises(ServiceError, match="s3://bucket/key"), buckets.open("s3://mine/a\0b"):
        pass


@pytest.mark.parametrize("uri", ["s3://mine/none", "s3://nobucket/x", "s3://mine/a"])
def test_missing_object_is_named(buckets: Buckets, uri: str) -> None:
    with pytest.raises(ServiceError, match=uri), buckets.open(uri):
        pass


class Endpoint(BaseHTTPRequestHandler):
    """As much of S3 as a read needs."""

    content = b"EVENT_TIMESTAMP,x\n" + b"2020-01-01T00:00:00Z,1\n" * 50_000

    def do_GET(self) -> None:
        found = self.path.split("?")[0] == "/bucket/some/key.csv"
        body = self.content if found else b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_object_of_an_s3_endpoint_is_streamed(tmp_path: Path, endpoint: str) -> None:
    with Buckets(tmp_path, endpoint).open("s3://bucket/some/key.csv") as stream:
        assert stream.readline() == b"EVENT_TIMESTAMP,x\n"
        assert len(stream.read()) == len(Endpoint.content) - 18


def test_missing_object_of_an_s3_endpoint_is_named(tmp_path: Path, endpoint: str) -> None:
    with (
        pytest.raises(ServiceError, match="s3://bucket/none cannot be read: the S3 endpoint says NoSuchKey"),
        Buckets(tmp_path, endpoint).open("s3://bucket/none"),
    ):
        pass


def test_endpoint_that_does_not_answer_is_a_temporary_failure(tmp_path: Path, endpoint: str) -> None:
    port = int(endpoint.rsplit(":", 1)[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as closed:
        port = closed.server_port
    with (
        pytest.raises(Transient, match="failed"),
        Buckets(tmp_path, f"http://127.0.0.1:{port}").open("s3://bucket/key"),
    ):
        pass
