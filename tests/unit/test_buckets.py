"""`s3://` paths from a folder and from an S3 endpoint."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hawksnest.buckets import PART_BYTES, Buckets, below
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


class WritableEndpoint(Endpoint):
    """As much of S3 as writing needs: objects in one piece or in parts, in the bucket `bucket`."""

    objects: dict[str, bytes]
    parts: dict[int, bytes]
    requests: list[str]
    refuse_part = 0

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_object(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(self.command)
        part = re.search(r"partNumber=(\d+)", query)
        if not path.startswith("/bucket"):
            self.answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif self.command == "HEAD":
            known = self.objects.get(path)
            size = str(len(known)) if known is not None else "0"
            if path == "/bucket" or known is not None:
                self.send_response(200)
                self.send_header("Content-Length", size)
                self.end_headers()
            else:
                self.answer(404)
        elif self.command == "POST" and query.startswith("uploads"):
            self.answer(200, b"<R><UploadId>one</UploadId></R>")
        elif self.command == "PUT" and part is not None:
            if int(part[1]) == self.refuse_part:
                self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            else:
                self.parts[int(part[1])] = body
                self.answer(200, ETag=f'"{part[1]}"')
        elif self.command == "POST":
            named = [int(number) for number in re.findall(rb"<PartNumber>(\d+)<", body)]
            self.objects[path] = b"".join(self.parts[number] for number in named)
            self.answer(200, b"<R><ETag>x</ETag></R>")
        elif self.command == "DELETE":
            self.parts.clear()
            self.answer(204)
        else:
            self.objects[path] = body
            self.answer(200, ETag='"x"')

    do_PUT = do_POST = do_HEAD = do_DELETE = handle_object  # noqa: N815


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    WritableEndpoint.objects, WritableEndpoint.parts, WritableEndpoint.requests = {}, {}, []
    WritableEndpoint.refuse_part = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), WritableEndpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
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


# ---- writing


def test_a_written_object_is_there_when_it_is_whole(buckets: Buckets, tmp_path: Path) -> None:
    path = tmp_path / "buckets" / "mine" / "new" / "out.csv"
    with buckets.create("s3://mine/new/out.csv") as sink:
        sink.write(b"a,b\n")
        assert not path.exists()
        sink.write(b"1,2\n")
    assert path.read_bytes() == b"a,b\n1,2\n"
    assert buckets.size("s3://mine/new/out.csv") == 8


def test_an_object_given_up_leaves_nothing(buckets: Buckets, tmp_path: Path) -> None:
    with pytest.raises(KeyError), buckets.create("s3://mine/new/out.csv") as sink:
        sink.write(b"a,b\n")
        raise KeyError
    assert list((tmp_path / "buckets" / "mine" / "new").iterdir()) == []


@pytest.mark.parametrize("uri", ["s3://nobucket/out.csv", "s3://mine/../other/out.csv", "s3://mine"])
def test_what_cannot_be_written_is_refused_beforehand(buckets: Buckets, uri: str) -> None:
    with pytest.raises(ServiceError):
        buckets.check_target(uri)
    with pytest.raises(ServiceError), buckets.create(uri):
        pass


@pytest.mark.parametrize("folder", ["s3://b", "s3://b/", "s3://b/f", "s3://b/f/"])
def test_a_name_is_put_below_a_bucket_or_a_folder(folder: str) -> None:
    assert below(folder, "x.csv") == ("s3://b/f/x.csv" if "f" in folder else "s3://b/x.csv")


def test_a_small_object_goes_to_an_s3_endpoint_in_one_piece(tmp_path: Path, endpoint: str) -> None:
    buckets = Buckets(tmp_path, endpoint)
    buckets.check_target("s3://bucket/out.csv")
    with buckets.create("s3://bucket/out.csv") as sink:
        sink.write(b"a,b\n")
        sink.write(b"1,2\n")
    assert WritableEndpoint.objects == {"/bucket/out.csv": b"a,b\n1,2\n"}
    assert buckets.size("s3://bucket/out.csv") == 8


def test_a_large_object_goes_to_an_s3_endpoint_in_parts(tmp_path: Path, endpoint: str) -> None:
    line = b"0123456789abcdef" * 4096
    count = 2 * PART_BYTES // len(line) + 3
    with Buckets(tmp_path, endpoint).create("s3://bucket/out.csv") as sink:
        for _ in range(count):
            sink.write(line)
    assert WritableEndpoint.objects == {"/bucket/out.csv": line * count}
    assert [len(part) for part in WritableEndpoint.parts.values()][:2] == [PART_BYTES, PART_BYTES]


def test_an_upload_that_is_refused_is_given_up(tmp_path: Path, endpoint: str) -> None:
    WritableEndpoint.refuse_part = 2
    with (
        pytest.raises(ServiceError, match="cannot be written: the S3 endpoint says AccessDenied"),
        Buckets(tmp_path, endpoint).create("s3://bucket/out.csv") as sink,
    ):
        sink.write(bytes(PART_BYTES * 2 + 1))
    assert WritableEndpoint.objects == {}
    assert WritableEndpoint.requests[-1] == "DELETE"


def test_a_missing_bucket_of_an_s3_endpoint_is_named(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ServiceError, match=r"s3://none/out\.csv cannot be written: the S3 endpoint says"):
        Buckets(tmp_path, endpoint).check_target("s3://none/out.csv")
