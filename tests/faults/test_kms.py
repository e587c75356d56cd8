"""The KMS client against a stand-in that boto3's own client works with."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from kms_stand_in import ACCESS_KEY, SECRET, KmsStandIn, Refused

from hawksnest.catalog import Tenant
from hawksnest.errors import ServiceError, Transient, UsageError
from hawksnest.kms import REST_S, Kms
from hawksnest.world import ManualWorld, RealWorld

HERE, THERE = Tenant("000000000000", "us-east-1"), Tenant("000000000001", "us-east-1")
CONTEXT = {"hawksnest:account": HERE.account, "hawksnest:region": HERE.region}
TIMEOUT_S = 2.0


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[KmsStandIn]:
    made = KmsStandIn(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def kms(stand_in: KmsStandIn) -> Iterator[Kms]:
    made = Kms(stand_in.url, stand_in.credentials, TIMEOUT_S, RealWorld())
    yield made
    made.close()


@pytest.fixture
def boto(stand_in: KmsStandIn) -> Iterator[BaseClient]:
    client = Session().create_client(
        "kms",
        endpoint_url=stand_in.url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 0}),
    )
    yield client
    client.close()


def refused(call: object, *given: object) -> str:
    assert callable(call)
    with pytest.raises(ServiceError) as refusal:
        call(*given)
    assert refusal.value.status == 400
    assert refusal.value.message
    return refusal.value.code


def test_boto3_opens_what_was_made_here(stand_in: KmsStandIn, kms: Kms, boto: BaseClient) -> None:
    key = stand_in.create_key()
    made = kms.make(key.arn, HERE)
    opened = boto.decrypt(CiphertextBlob=made.wrapped, KeyId=key.arn, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made.plain
    with pytest.raises(ClientError, match="InvalidCiphertextException"):
        boto.decrypt(CiphertextBlob=made.wrapped, EncryptionContext={})


def test_what_boto3_made_is_opened_here(stand_in: KmsStandIn, kms: Kms, boto: BaseClient) -> None:
    key = stand_in.create_key()
    made = boto.generate_data_key(KeyId=key.arn, KeySpec="AES_256", EncryptionContext=CONTEXT)
    assert kms.unwrap(key.arn, made["CiphertextBlob"], HERE) == made["Plaintext"]


def test_a_data_key_opens_for_its_tenant_only(stand_in: KmsStandIn, kms: Kms) -> None:
    key = stand_in.create_key()
    made = kms.make(key.arn, HERE)
    assert len(made.plain) == 32
    assert kms.unwrap(key.arn, made.wrapped, HERE) == made.plain
    assert refused(kms.unwrap, key.arn, made.wrapped, THERE) == "AccessDeniedException"
    other = stand_in.create_key(2)
    assert refused(kms.unwrap, other.arn, made.wrapped, HERE) == "AccessDeniedException"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": "Disabled"}, "AccessDeniedException"),
        ({"state": "PendingDeletion"}, "AccessDeniedException"),
        ({"allowed": False}, "AccessDeniedException"),
        ({"symmetric": False}, "ValidationException"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(
    stand_in: KmsStandIn, kms: Kms, changes: dict[str, object], code: str
) -> None:
    assert refused(kms.make, stand_in.create_key(**changes).arn, HERE) == code


def test_a_key_that_is_not_there_is_not_found(stand_in: KmsStandIn, kms: Kms) -> None:
    key = stand_in.create_key()
    del stand_in.keys[key.arn]
    assert refused(kms.make, key.arn, HERE) == "ResourceNotFoundException"


@pytest.mark.parametrize("wrong", [("AKIDOTHER", SECRET), (ACCESS_KEY, "wrong")])
def test_wrong_credentials_of_the_server_are_refused(
    stand_in: KmsStandIn, tmp_path: Path, wrong: tuple[str, str]
) -> None:
    file = tmp_path / "wrong"
    file.write_text(f"[default]\naws_access_key_id = {wrong[0]}\naws_secret_access_key = {wrong[1]}\n")
    kms = Kms(stand_in.url, file, TIMEOUT_S, RealWorld())
    assert refused(kms.make, stand_in.create_key().arn, HERE) == "AccessDeniedException"
    kms.close()


def test_credentials_that_are_not_there_are_said_at_once(stand_in: KmsStandIn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kms-credentials"):
        Kms(stand_in.url, tmp_path / "none", TIMEOUT_S, RealWorld())


def test_one_bad_answer_is_tried_again(stand_in: KmsStandIn, kms: Kms) -> None:
    key = stand_in.create_key()
    stand_in.faults = [Refused("KMSInternalException", 500)]
    assert kms.make(key.arn, HERE).plain
    assert stand_in.calls == ["GenerateDataKey"] * 2


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"Plaintext": "", "CiphertextBlob": ""},
        {"Plaintext": "!!", "CiphertextBlob": "AA=="},
        {"Plaintext": base64.b64encode(bytes(16)).decode(), "CiphertextBlob": "AA=="},
        {"Plaintext": base64.b64encode(bytes(32)).decode(), "CiphertextBlob": 7},
    ],
)
def test_an_answer_that_is_none_is_no_data_key(
    stand_in: KmsStandIn, kms: Kms, answer: dict[str, object]
) -> None:
    stand_in.faults = [answer]
    with pytest.raises(Transient, match="The KMS answered"):
        kms.make(stand_in.create_key().arn, HERE)


def test_an_endpoint_that_hangs_is_given_up_in_time_and_left_alone_for_a_while(
    stand_in: KmsStandIn,
) -> None:
    world = RealWorld()
    kms = Kms(stand_in.url, stand_in.credentials, 0.4, world)
    arn = stand_in.create_key().arn
    stand_in.hanging.set()
    began_s = world.monotonic_s()
    with pytest.raises(Transient, match="no answer"):
        kms.make(arn, HERE)
    assert world.monotonic_s() - began_s < 1.5
    began_s = world.monotonic_s()
    for _ in range(50):
        with pytest.raises(Transient, match="no answer"):
            kms.unwrap(arn, b"x", HERE)
    assert world.monotonic_s() - began_s < REST_S
    kms.close()


def test_an_endpoint_that_comes_back_is_asked_again(stand_in: KmsStandIn) -> None:
    world = ManualWorld(RealWorld().now_ms())
    kms = Kms(stand_in.url, stand_in.credentials, TIMEOUT_S, world)
    arn = stand_in.create_key().arn
    stand_in.stop()
    with pytest.raises(Transient, match="ConnectionRefusedError"):
        kms.make(arn, HERE)
    stand_in.start()
    with pytest.raises(Transient, match="ConnectionRefusedError"):
        kms.make(arn, HERE)
    world.advance(REST_S)
    assert kms.make(arn, HERE).plain
    kms.close()
