"""The key for data at rest: GetKMSEncryptionKey, PutKMSEncryptionKey."""

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.errors import invalid
from hawksnest.store.encryption import DEFAULT


def get_kms_encryption_key(app: App, call: Call, request: Request) -> Response:
    """Which key seals the account's events in this region: an ARN, or DEFAULT when they are not sealed."""
    return {"kmsKey": {"kmsEncryptionKeyArn": app.encryption.chosen(call.tenant)}}


def put_kms_encryption_key(app: App, call: Call, request: Request) -> Response:
    """Choose the key that seals events stored and decided from now on; those there are stay as they are."""
    arn = request["kmsEncryptionKeyArn"]
    if arn != DEFAULT and arn.startswith(DEFAULT):  # AWS's own pattern lets DEFAULTS pass
        raise invalid(f"kmsEncryptionKeyArn is {arn}; it takes the ARN of a key, or DEFAULT.")
    app.encryption.choose(call.tenant, arn)
    app.snapshots.catalog_changed(call.tenant)
    return {}


ENCRYPTION_KEY_OPERATIONS = [
    Operation("GetKMSEncryptionKey", get_kms_encryption_key),
    Operation("PutKMSEncryptionKey", put_kms_encryption_key),
]
