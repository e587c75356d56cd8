"""Acid tests A11, M9, M10: the key for data at rest."""

KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"


def test_a11_a_key_that_was_never_set_is_the_default(empty):
    assert empty.body(empty.c.get_kms_encryption_key()) == {"kmsKey": {"kmsEncryptionKeyArn": "DEFAULT"}}


def test_m9_the_default_can_be_asked_for(empty):
    assert empty.done(empty.c.put_kms_encryption_key(kmsEncryptionKeyArn="DEFAULT"))
    assert empty.c.get_kms_encryption_key()["kmsKey"]["kmsEncryptionKeyArn"] == "DEFAULT"


def test_m10_what_is_no_key_is_refused(empty):
    message = empty.ve(empty.c.put_kms_encryption_key, kmsEncryptionKeyArn="not-a-key")
    assert "regular expression pattern" in message


def test_a_server_without_keys_says_how_to_get_them(empty):
    assert "--key-file or --kms-endpoint" in empty.ve(empty.c.put_kms_encryption_key, kmsEncryptionKeyArn=KEY)
    assert empty.c.get_kms_encryption_key()["kmsKey"]["kmsEncryptionKeyArn"] == "DEFAULT"


def test_what_only_begins_like_the_default_is_refused(empty):
    assert "ARN of a key" in empty.ve(empty.c.put_kms_encryption_key, kmsEncryptionKeyArn="DEFAULTS")
