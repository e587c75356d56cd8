"""A key management service that speaks AWS KMS's wire protocol and really encrypts, for tests.

It checks signatures with botocore's own signer, and boto3's client works with it (`test_kms.py`).
"""

import base64
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ACCESS_KEY, SECRET = "AKIDKMS", "kms-secret-kms-secret"
ACCOUNT = "111122223333"


class Refused(Exception):
    """An error of the service: its code."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


@dataclass
class Key:
    arn: str
    material: bytes = field(default_factory=lambda: os.urandom(32))
    state: str = "Enabled"  # Disabled, PendingDeletion
    symmetric: bool = True
    allowed: bool = True


class KmsStandIn:
    """Runs from `start` to `stop`, on one port; `keys` and what it does wrong can be changed meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, Key] = {}
        self.calls: list[str] = []
        self.data_keys: list[bytes] = []  # in clear, as they were given out
        self.faults: list[
            Refused | dict[str, Any]
        ] = []  # answers to the next calls, instead of the right one
        self.hanging = threading.Event()
        self.released = threading.Event()
        self.credentials = folder / "kms-credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET}\n"
        )
        self._server: ThreadingHTTPServer | None = None
        self.start()
        self.port = self._running().server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> tuple[str, ...]:
        """What `hawksnest serve` needs to use it."""
        return ("--kms-endpoint", self.url, "--kms-credentials", str(self.credentials))

    def create_key(self, number: int = 1, **other: Any) -> Key:
        arn = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/00000000-0000-4000-8000-{number:012d}"
        key = self.keys[arn] = Key(arn, **other)
        return key

    def _running(self) -> ThreadingHTTPServer:
        assert self._server is not None
        return self._server

    def start(self) -> None:
        """Answer again, on the same port as before."""
        stand_in = self

        class Handler(_Handler):
            kms = stand_in

        self.released.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", getattr(self, "port", 0)), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Be gone: connections are refused."""
        if self._server is not None:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    # what the service does ------------------------------------------------------------------------------

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Refused):
                raise fault
            return fault
        if operation == "GenerateDataKey":
            return self._generate(request)
        if operation == "Decrypt":
            return self._decrypt(request)
        raise Refused("UnknownOperationException", 404)

    def _key(self, arn: str) -> Key:
        key = self.keys.get(arn)
        if key is None:
            raise Refused("NotFoundException")
        if not key.allowed:
            raise Refused("AccessDeniedException")
        if key.state == "Disabled":
            raise Refused("DisabledException")
        if key.state == "PendingDeletion":
            raise Refused("KMSInvalidStateException")
        if not key.symmetric:
            raise Refused("InvalidKeyUsageException")
        return key

    def _generate(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["KeyId"])
        if request.get("KeySpec") != "AES_256":
            raise Refused("ValidationException")
        plain, nonce = os.urandom(32), os.urandom(12)
        self.data_keys.append(plain)
        sealed = AESGCM(key.material).encrypt(nonce, plain, _context(request))
        blob = len(key.arn).to_bytes(1) + key.arn.encode() + nonce + sealed
        return {
            "CiphertextBlob": base64.b64encode(blob).decode(),
            "Plaintext": base64.b64encode(plain).decode(),
            "KeyId": key.arn,
        }

    def _decrypt(self, request: dict[str, Any]) -> dict[str, Any]:
        blob = base64.b64decode(request["CiphertextBlob"])
        arn = blob[1 : 1 + blob[0]].decode("latin-1")
        if request.get("KeyId", arn) != arn:
            raise Refused("IncorrectKeyException")
        key = self._key(arn)
        rest = blob[1 + blob[0] :]
        try:
            plain = AESGCM(key.material).decrypt(rest[:12], rest[12:], _context(request))
        except InvalidTag:
            raise Refused("InvalidCiphertextException") from None
        return {
            "Plaintext": base64.b64encode(plain).decode(),
            "KeyId": arn,
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }


def _context(request: dict[str, Any]) -> bytes:
    return json.dumps(request.get("EncryptionContext", {}), sort_keys=True).encode()


class _Handler(BaseHTTPRequestHandler):
    kms: KmsStandIn
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.kms.hanging.is_set():
            self.kms.released.wait(30)
            self.close_connection = True
            return
        status, answer = 200, {}
        try:
            self._check_signature(body)
            prefix, _, operation = self.headers["x-amz-target"].partition(".")
            assert (prefix, self.headers["content-type"]) == ("TrentService", "application/x-amz-json-1.1")
            answer = self.kms.answer(operation, json.loads(body))
        except Refused as refusal:
            status = refusal.status
            answer = {"__type": refusal.code, "message": f"{refusal.code} it is."}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _check_signature(self, body: bytes) -> None:
        authorization = self.headers.get("authorization", "")
        parts = dict(
            part.strip().split("=", 1) for part in authorization.partition(" ")[2].split(",") if "=" in part
        )
        access_key, day, region, service, _ = parts["Credential"].split("/")
        if access_key != ACCESS_KEY:
            raise Refused("UnrecognizedClientException")
        signed = {name: self.headers[name] for name in parts["SignedHeaders"].split(";")}
        request = AWSRequest("POST", f"http://{self.headers['host']}/", signed, body)
        request.context["timestamp"] = self.headers["x-amz-date"]
        auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET), service, region)
        right = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        if service != "kms" or not self.headers["x-amz-date"].startswith(day) or right != parts["Signature"]:
            raise Refused("InvalidSignatureException")

    def log_message(self, *_: object) -> None:
        """Say nothing."""
