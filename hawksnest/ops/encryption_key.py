"""The key for data at rest: GetKMSEncryptionKey, PutKMSEncryptionKey."""

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.errors import invalid

DEFAULT = "DEFAULT"


def get_kms_encryption_key(app: App, call: Call, request: Request) -> Response:
    """Which key protects data at rest: always DEFAULT, whatever the disk under the data folder does."""
    return {"kmsKey": {"kmsEncryptionKeyArn": DEFAULT}}


def put_kms_encryption_key(app: App, call: Call, request: Request) -> Response:
    """Choose the key for data at rest; only DEFAULT is accepted, because nothing would be sealed."""
    if request["kmsEncryptionKeyArn"] != DEFAULT:
        raise invalid(
            "This version of Hawksnest seals nothing with keys of a KMS; only DEFAULT is accepted. Encrypt "
            "the disk of the data folder instead."
        )
    return {}


ENCRYPTION_KEY_OPERATIONS = [
    Operation("GetKMSEncryptionKey", get_kms_encryption_key),
    Operation("PutKMSEncryptionKey", put_kms_encryption_key),
]
