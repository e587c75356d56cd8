import stat
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest

from hawksnest.client import read_credentials
from hawksnest.errors import ServiceError, UsageError
from hawksnest.signing import Credentials, sign
from hawksnest.store.sqlite import Database, SqliteCatalog
from hawksnest.wire.keys import (
    KeyRing,
    create_key,
    delete_key,
    ensure_first_key,
    list_keys,
    write_credentials,
)
from hawksnest.world import ManualWorld

ACCOUNT = "000000000000"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqliteCatalog]:
    opened = SqliteCatalog(Database(tmp_path / "hawksnest.sqlite"))
    yield opened
    opened.close()


def test_the_first_start_writes_a_key_that_aws_clients_read(
    catalog: SqliteCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    key = ensure_first_key(catalog, ManualWorld(), path, ACCOUNT, "eu-west-1")
    assert key is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    session = botocore.session.Session()
    found = session.get_credentials()
    assert found is not None
    assert (found.access_key, found.secret_key) == (key.access_key_id, key.secret)
    assert session.get_config_variable("region") == "eu-west-1"
    assert read_credentials(path) == Credentials(key.access_key_id, key.secret, "eu-west-1")


def test_later_starts_leave_keys_and_file_alone(catalog: SqliteCatalog, tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    ensure_first_key(catalog, ManualWorld(), path, ACCOUNT, "us-east-1")
    before = path.read_bytes()
    assert ensure_first_key(catalog, ManualWorld(seed=8), path, ACCOUNT, "us-east-1") is None
    assert path.read_bytes() == before


def test_a_file_without_its_key_is_replaced_at_the_next_start(catalog: SqliteCatalog, tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    write_credentials(path, Credentials("HNKALOST", "lost", "us-east-1"))
    key = ensure_first_key(catalog, ManualWorld(), path, ACCOUNT, "us-east-1")
    assert key is not None
    assert read_credentials(path).access_key_id == key.access_key_id


def test_an_unwritable_folder_is_one_sentence(catalog: SqliteCatalog, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't be written: No such file or directory\."):
        ensure_first_key(catalog, ManualWorld(), tmp_path / "none" / "credentials", ACCOUNT, "us-east-1")
    assert list_keys(catalog) == []


def test_keys_are_created_listed_and_deleted(catalog: SqliteCatalog) -> None:
    world = ManualWorld()
    first = create_key(catalog, world, "111111111111", "ci")
    world.advance(1)
    second = create_key(catalog, world, "222222222222")
    assert list_keys(catalog) == [first, second]
    delete_key(catalog, first.access_key_id)
    assert list_keys(catalog) == [second]
    with pytest.raises(UsageError, match=first.access_key_id):
        delete_key(catalog, first.access_key_id)


@pytest.mark.parametrize("account", ["", "12345678901", "1234567890123", "12345678901a", "١٢٣٤٥٦٧٨٩٠١٢"])
def test_an_account_has_twelve_digits(catalog: SqliteCatalog, account: str) -> None:
    with pytest.raises(UsageError, match="12 digits"):
        create_key(catalog, ManualWorld(), account)


def test_the_ring_notices_new_and_deleted_keys(catalog: SqliteCatalog) -> None:
    world = ManualWorld()
    ring = KeyRing(catalog, "frauddetector")

    def call(key_id: str, secret: str) -> str:
        signed = sign(
            Credentials(key_id, secret, "us-east-1"), "frauddetector", {"host": "h"}, b"", world.now_ms()
        )
        headers = {name.encode(): value.encode() for name, value in (signed | {"host": "h"}).items()}
        return ring.verifier.verify(headers, b"", world.now_ms()).account

    with pytest.raises(ServiceError, match="security token"):
        call("HNKANONE", "secret")
    key = create_key(catalog, world, "111111111111")
    assert call(key.access_key_id, key.secret) == "111111111111"
    delete_key(catalog, key.access_key_id)
    with pytest.raises(ServiceError, match="security token"):
        call(key.access_key_id, key.secret)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[default]\naws_access_key_id = x\n", "[other]\nx = y\n", "\xff"]
)
def test_a_file_without_credentials_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="holds no access key"):
        read_credentials(path)
