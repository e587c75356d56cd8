"""Hawksnest as somebody else's program meets it: a served process, an S3 server and a model endpoint."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from hawksnest.client import read_credentials

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / ".clients"  # made by `make clients`
REGION = "us-east-1"
BUCKET = "fraud-data"
ROLE = "arn:aws:iam::000000000000:role/FraudDetector"
ENDPOINT = "sagemaker-fraud"  # the external model's name
START_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(**span: float) -> str:
    return iso(datetime.now(UTC) - timedelta(**span))


def poll(done: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """The first true value of `done`."""
    until_s = time.monotonic() + within_s
    while not (found := done()):
        assert time.monotonic() < until_s, f"{what}: not within {within_s:g} s"
        time.sleep(0.05)
    return found


class _Model(BaseHTTPRequestHandler):
    """A SageMaker endpoint: a tenth of the first number of the CSV line, with its line end."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        content = b"%.4f\n" % (float(body.split(b",")[0]) / 10)
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


class Deployment:
    """Everything a client needs: `url`, an access key, and S3 at `s3_url`."""

    def __init__(self, folder: Path) -> None:
        self._children: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self.data = folder / "data"
        self.credentials = self.data / "credentials"
        self.s3_url = f"http://127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._model = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
        self._model.daemon_threads = True
        threading.Thread(target=self._model.serve_forever, args=(0.05,), daemon=True).start()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        port = self.s3_url.rpartition(":")[2]
        self._run("s3", [str(CLIENTS / "s3" / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", port], {})
        model = f"{ENDPOINT}=http://127.0.0.1:{self._model.server_address[1]}"
        options = ["--data", str(self.data), "--s3-endpoint", self.s3_url, "--model-endpoints", model]
        port = self.url.rpartition(":")[2]
        s3_key = {"AWS_ACCESS_KEY_ID": "s3", "AWS_SECRET_ACCESS_KEY": "of the S3 server"}
        self._run("serve", [sys.executable, "-m", "hawksnest", "serve", "--port", port, *options], s3_key)
        poll(self.credentials.exists, "the server's first key", START_S)
        key = read_credentials(self.credentials)
        self.key_id, self.secret = key.access_key_id, key.secret
        self.s3 = boto3.session.Session().client(
            "s3",
            endpoint_url=self.s3_url,
            region_name=REGION,
            aws_access_key_id="s3",
            aws_secret_access_key="of the S3 server",
            config=Config(s3={"addressing_style": "path"}),
        )
        poll(self._up, "the servers' first answers", START_S)

    def _up(self) -> bool:
        for name, child in zip(("s3", "serve"), self._children, strict=True):
            assert child.poll() is None, (self._folder / f"{name}.log").read_text(errors="replace")
        with suppress(Exception):
            self.s3.create_bucket(Bucket=BUCKET)
            self.boto3().get_detectors()
            return True
        return False

    def _run(self, name: str, command: Sequence[str], more: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._children.append(
                subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | more)
            )

    def boto3(self) -> Any:
        """The newest boto3, as a customer makes its client."""
        return boto3.session.Session().client("frauddetector", **self.where)

    @property
    def where(self) -> dict[str, Any]:
        """Arguments of boto3 that lead here."""
        return {
            "endpoint_url": self.url,
            "region_name": REGION,
            "aws_access_key_id": self.key_id,
            "aws_secret_access_key": self.secret,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a client here."""
        return {
            **os.environ,
            "AWS_ENDPOINT_URL_FRAUDDETECTOR": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def close(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._model.shutdown()
        self._model.server_close()


def run(command: Sequence[str | Path], environment: dict[str, str]) -> Any:
    """What a client's program prints as JSON; its own words when it fails."""
    made = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert made.returncode == 0, made.stdout.decode() + made.stderr.decode()
    return json.loads(made.stdout)
