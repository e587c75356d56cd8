"""`s3://bucket/key`: objects of an S3 endpoint, or files of a folder that is served as buckets."""

import io
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from hawksnest.errors import Transient, invalid

_URI = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{0,254})/(.+)", re.DOTALL)
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_ATTEMPTS = 4


class Buckets:
    """Reads objects as streams; never a whole object in memory."""

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

    @contextmanager
    def _object(self, uri: str) -> Iterator[BinaryIO]:
        import boto3  # half a second to import: only where an S3 endpoint is used
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split(uri)
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path"},
        )
        client: Any = boto3.client(
            "s3", endpoint_url=self._s3_endpoint, region_name=self._region, config=config
        )
        try:
            with closing(client), closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
                yield cast(BinaryIO, io.BufferedReader(body, 1 << 20))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "NoSuchBucket", "404", "AccessDenied", "403"):
                raise invalid(f"{uri} cannot be read: the S3 endpoint says {code}.") from None
            raise Transient(f"The S3 endpoint failed for {uri}: {code}.") from None
        except BotoCoreError as error:
            raise Transient(f"The S3 endpoint {self._s3_endpoint} failed for {uri}: {error}") from None


def split(uri: str) -> tuple[str, str]:
    """Bucket and key. Raises ServiceError (ValidationException) when the text is not `s3://bucket/key`."""
    match = _URI.fullmatch(uri)
    if match is None or "\0" in uri:
        raise invalid(f"{uri[:200]!r} is not a path like s3://bucket/key.")
    return match[1], match[2]
