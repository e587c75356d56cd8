"""`s3://bucket/key`: objects of an S3 endpoint, or files of a folder that is served as buckets."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from hawksnest.errors import Transient, invalid
from hawksnest.log import sync_folder

_URI = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{0,254})/(.+)", re.DOTALL)
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_ATTEMPTS = 4
PART_BYTES = 8 << 20  # of an upload; S3 takes 10,000 parts


class Sink(Protocol):
    """Where the bytes of a new object go."""

    def write(self, content: bytes, /) -> object: ...


class Buckets:
    """Reads and writes objects as streams; never a whole object in memory."""

    def __init__(self, folder: Path, s3_endpoint: str = "", region: str = "us-east-1") -> None:
        """`folder`: holds one folder a bucket; used when `s3_endpoint` is empty."""
        self._folder = folder
        self._s3_endpoint = s3_endpoint
        self._region = region

    @contextmanager
    def open(self, uri: str) -> Iterator[BinaryIO]:
        """The object's bytes as a stream.

        Raises ServiceError (ValidationException) for a malformed path or a missing object, Transient when the
        S3 endpoint does not answer.
        """
        if self._s3_endpoint:
            with self._object(uri) as stream:
                yield stream
        else:
            path = self.path(uri)
            try:
                file = path.open("rb")
            except OSError:
                raise invalid(f"{uri} cannot be read: there is no file {path}.") from None
            with file:
                yield cast(BinaryIO, file)

    def path(self, uri: str) -> Path:
        """Where the object lies below the folder. Raises ServiceError when the key would lead out of it."""
        bucket, key = split(uri)
        root = self._folder.resolve() / bucket
        path = (root / key).resolve()
        if not path.is_relative_to(root) or path == root:
            raise invalid(f"{uri} leads out of its bucket.")
        return path

    def size(self, uri: str) -> int:
        """Bytes of the object. Raises what `open` raises."""
        if not self._s3_endpoint:
            with self.open(uri) as stream:
                return os.fstat(stream.fileno()).st_size
        bucket, key = split(uri)
        with self._client(f"{uri} cannot be read", uri) as client:
            return int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])

    def check_target(self, uri: str) -> None:
        """Can this object be created, as far as can be told beforehand? Raises what `create` raises."""
        bucket = split(uri)[0]
        if self._s3_endpoint:
            with self._client(f"{uri} cannot be written", uri) as client:
                client.head_bucket(Bucket=bucket)
        else:
            self.path(uri)
            if not (self._folder / bucket).is_dir():
                raise invalid(f"{uri} cannot be written: there is no bucket {self._folder / bucket}.")

    @contextmanager
    def create(self, uri: str) -> Iterator[Sink]:
        """A new object in a bucket that exists; it appears, whole, when the block ends without an exception.

        Raises ServiceError (ValidationException) for a malformed path or a missing bucket, Transient when the
        S3 endpoint fails, OSError when the folder cannot be written.
        """
        if self._s3_endpoint:
            bucket, key = split(uri)
            with (
                self._client(f"{uri} cannot be written", uri) as client,
                closing(_Upload(client, bucket, key)) as upload,
            ):
                yield upload
                upload.finish()
            return
        self.check_target(uri)
        path = self.path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            with scratch.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        sync_folder(path.parent)

    @contextmanager
    def _object(self, uri: str) -> Iterator[BinaryIO]:
        bucket, key = split(uri)
        with (
            self._client(f"{uri} cannot be read", uri) as client,
            closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body,
        ):
            yield cast(BinaryIO, io.BufferedReader(body, 1 << 20))

    @contextmanager
    def _client(self, failure: str, uri: str) -> Iterator[Any]:
        """A client of the S3 endpoint; its faults become ours."""
        import boto3  # half a second to import: only where an S3 endpoint is used
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",  # not every S3 endpoint knows the newer ones
            response_checksum_validation="when_required",
        )
        client: Any = boto3.client(
            "s3", endpoint_url=self._s3_endpoint, region_name=self._region, config=config
        )
        try:
            with closing(client):
                yield client
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _FINAL:
                raise invalid(f"{failure}: the S3 endpoint says {code}.") from None
            raise Transient(f"The S3 endpoint failed for {uri}: {code}.") from None
        except BotoCoreError as error:
            raise Transient(f"The S3 endpoint {self._s3_endpoint} failed for {uri}: {error}") from None


_FINAL = ("NoSuchKey", "NoSuchBucket", "404", "AccessDenied", "403")


class _Upload:
    """An object on its way: in one request if it is small, else in parts."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._place = {"Bucket": bucket, "Key": key}
        self._buffer = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, content: bytes, /) -> None:
        """More of the object."""
        self._buffer += content
        while len(self._buffer) > PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def _send(self, part: bytes) -> None:
        if self._upload is None:
            self._upload = self._client.create_multipart_upload(**self._place)["UploadId"]
        number = len(self._parts) + 1
        answer = self._client.upload_part(**self._place, UploadId=self._upload, PartNumber=number, Body=part)
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})

    def finish(self) -> None:
        """Let the object appear."""
        if self._upload is None:
            self._client.put_object(**self._place, Body=bytes(self._buffer))
            return
        self._send(bytes(self._buffer))
        self._client.complete_multipart_upload(
            **self._place, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
        )
        self._upload = None

    def close(self) -> None:
        """Give up what was not finished."""
        if self._upload is not None:
            from botocore.exceptions import BotoCoreError, ClientError

            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**self._place, UploadId=self._upload)


def below(uri: str, name: str) -> str:
    """The object `name` in a bucket or folder: `s3://bucket`, `s3://bucket/` or `s3://bucket/folder`."""
    return f"{uri.rstrip('/')}/{name}"


def split(uri: str) -> tuple[str, str]:
    """Bucket and key. Raises ServiceError (ValidationException) when the text is not `s3://bucket/key`."""
    match = _URI.fullmatch(uri)
    if match is None or "\0" in uri:
        raise invalid(f"{uri[:200]!r} is not a path like s3://bucket/key.")
    return match[1], match[2]
