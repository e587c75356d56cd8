from collections.abc import Mapping

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from hawksnest.catalog import AccessKey
from hawksnest.errors import ServiceError
from hawksnest.signing import Credentials, sign
from hawksnest.wire.sigv4 import (
    PREFIXES_MAX,
    Recent,
    Verifier,
    claimed_region,
    parse_authorization,
    request_date,
)
from hawksnest.world import RealWorld

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW_MS = 1_704_164_645_000  # 2024-01-02T03:04:05Z
BODY = b'{"name": "fraud"}'
KEY = AccessKey(
    created_at_ms=0, updated_at_ms=0, access_key_id="AKIDEXAMPLE", secret=SECRET, account="123456789012"
)
SCOPE = "AKIDEXAMPLE/20240102/us-east-1/frauddetector/aws4_request"
SIGNED = "content-type;host;x-amz-date;x-amz-target"
SIGNATURE = "2fb619671a886dc6e366eb81878401c9c382bada8271684c35ff6df6839c37b2"
PLAIN = {
    "content-type": "application/x-amz-json-1.1",
    "host": "127.0.0.1:8080",
    "x-amz-date": "20240102T030405Z",
    "x-amz-target": "AWSHawksNestServiceFacade.GetLabels",
}
VECTOR = PLAIN | {
    "authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={SIGNED}, Signature={SIGNATURE}"
}


def verifier() -> Verifier:
    return Verifier(lambda key_id: KEY if key_id == KEY.access_key_id else None, "frauddetector")


def raw(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def refusal(headers: Mapping[str, str], body: bytes = BODY, now_ms: int = NOW_MS) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        verifier().verify(raw(headers), body, now_ms)
    assert raised.value.status == 403
    return raised.value


def test_the_published_vector_is_accepted_again_and_again() -> None:
    checked = verifier()
    for _ in range(3):
        assert checked.verify(raw(VECTOR), BODY, NOW_MS) == ("123456789012", "us-east-1")


def test_our_client_makes_the_published_signature() -> None:
    given = {name: value for name, value in PLAIN.items() if name != "x-amz-date"}
    assert sign(Credentials("AKIDEXAMPLE", SECRET, "us-east-1"), "frauddetector", given, BODY, NOW_MS) == {
        "x-amz-date": VECTOR["x-amz-date"],
        "authorization": VECTOR["authorization"],
    }


@pytest.mark.parametrize(
    "authorization",
    [
        f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={SIGNED},Signature={SIGNATURE}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE} , SignedHeaders={SIGNED} ,  Signature={SIGNATURE} ",
        f"AWS4-HMAC-SHA256 Signature={SIGNATURE}, Credential={SCOPE}, SignedHeaders={SIGNED}",
    ],
)
def test_separators_and_order_of_the_header_do_not_matter(authorization: str) -> None:
    checked = verifier()
    for _ in range(3):
        assert checked.verify(raw(VECTOR | {"authorization": authorization}), BODY, NOW_MS)


def test_more_signed_headers_like_those_of_javascript_are_verified() -> None:
    headers = {name: value for name, value in PLAIN.items() if name != "x-amz-date"} | {
        "amz-sdk-invocation-id": "a0b1",
        "amz-sdk-request": "attempt=1; max=3",
        "content-length": str(len(BODY)),
        "x-amz-content-sha256": "f6244c11783c1876cf591a8991321d23881ac94fccd6304396ba453adc549b4f",
        "x-amz-user-agent": "aws-sdk-js/3.1138.0",
    }
    request = AWSRequest("POST", "http://127.0.0.1:8080/", headers=headers, data=BODY)
    signer = SigV4Auth(BotoCredentials("AKIDEXAMPLE", SECRET), "frauddetector", "eu-west-1")
    signer.add_auth(request)
    assert verifier().verify(raw(dict(request.headers)), BODY, RealWorld().now_ms()).region == "eu-west-1"


def test_blanks_in_signed_values_count_as_one() -> None:
    signed = sign(
        Credentials("AKIDEXAMPLE", SECRET, "us-east-1"),
        "frauddetector",
        {"host": "h", "x-a": "one two"},
        b"",
        NOW_MS,
    )
    sent = raw(signed | {"host": "h", "x-a": "  one   two "})
    checked = verifier()
    assert checked.verify(sent, b"", NOW_MS)
    assert checked.verify(sent, b"", NOW_MS)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"authorization": ""}, "MissingAuthenticationTokenException"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "IncompleteSignature"),
        ({"authorization": "AWS4-HMAC-SHA256"}, "IncompleteSignature"),
        (
            {"authorization": VECTOR["authorization"].replace("Credential=", "Credentials=")},
            "IncompleteSignature",
        ),
        ({"authorization": VECTOR["authorization"].replace("/aws4_request", "")}, "IncompleteSignature"),
        ({"authorization": VECTOR["authorization"].replace("host;", "")}, "IncompleteSignature"),
        ({"authorization": VECTOR["authorization"].replace(";x-amz-target", "")}, "IncompleteSignature"),
        (
            {"authorization": VECTOR["authorization"].replace("host;", "host;not-sent;")},
            "IncompleteSignature",
        ),
        (
            {"authorization": VECTOR["authorization"].replace("SignedHeaders", "Signed")},
            "IncompleteSignature",
        ),
        ({"authorization": VECTOR["authorization"][:-1]}, "IncompleteSignature"),
        ({"authorization": VECTOR["authorization"] + "," * 5_000}, "IncompleteSignature"),
        ({"x-amz-date": "2024-01-02"}, "IncompleteSignature"),
        ({"x-amz-date": "20241302T030405Z"}, "IncompleteSignature"),
        (
            {"authorization": VECTOR["authorization"].replace("AKIDEXAMPLE", "AKIDOTHER")},
            "UnrecognizedClientException",
        ),
        ({"x-amz-security-token": "session"}, "UnrecognizedClientException"),
        ({"authorization": VECTOR["authorization"][:-1] + "3"}, "InvalidSignatureException"),
        (
            {"authorization": VECTOR["authorization"].replace("/frauddetector/", "/s3/")},
            "InvalidSignatureException",
        ),
        (
            {"authorization": VECTOR["authorization"].replace("us-east-1", "us-west-2")},
            "InvalidSignatureException",
        ),
        (
            {"authorization": VECTOR["authorization"].replace("us-east-1", "US EAST")},
            "InvalidSignatureException",
        ),
        (
            {"authorization": VECTOR["authorization"].replace("20240102", "20240101")},
            "InvalidSignatureException",
        ),
        ({"x-amz-target": "AWSHawksNestServiceFacade.DeleteLabel"}, "InvalidSignatureException"),
        ({"host": "elsewhere:8080"}, "InvalidSignatureException"),
    ],
)
def test_what_is_wrong_with_a_signature_has_its_documented_code(change: dict[str, str], code: str) -> None:
    assert refusal(VECTOR | change).code == code


def test_another_body_is_refused() -> None:
    assert refusal(VECTOR, body=b"{}").code == "InvalidSignatureException"


def test_a_request_without_any_date_is_incomplete() -> None:
    assert refusal({name: value for name, value in VECTOR.items() if name != "x-amz-date"}).code == (
        "IncompleteSignature"
    )


def test_five_minutes_of_skew_pass_and_a_second_more_does_not() -> None:
    for skew_ms in (-300_000, 300_000):
        assert verifier().verify(raw(VECTOR), BODY, NOW_MS + skew_ms)
    assert refusal(VECTOR, now_ms=NOW_MS + 301_000).message == (
        "Signature expired: 20240102T030405Z is now earlier than 20240102T030406Z (20240102T030906Z - 5 min.)"
    )
    assert refusal(VECTOR, now_ms=NOW_MS - 301_000).message.startswith(
        "Signature not yet current: 20240102T030405Z"
    )


def test_an_unsigned_target_is_refused_even_when_the_header_list_is_known() -> None:
    credentials = Credentials("AKIDEXAMPLE", SECRET, "us-east-1")
    signed = sign(credentials, "frauddetector", {"host": "h"}, b"", NOW_MS) | {"host": "h"}
    checked = verifier()
    assert checked.verify(raw(signed), b"", NOW_MS)
    with pytest.raises(ServiceError, match="X-Amz-Target"):
        checked.verify(raw(signed | {"x-amz-target": "AWSHawksNestServiceFacade.DeleteLabel"}), b"", NOW_MS)


def test_a_forgotten_key_is_looked_up_anew() -> None:
    keys = {KEY.access_key_id: KEY}
    checked = Verifier(keys.get, "frauddetector")
    assert checked.verify(raw(VECTOR), BODY, NOW_MS)
    keys.clear()
    checked.forget()
    with pytest.raises(ServiceError, match="security token"):
        checked.verify(raw(VECTOR), BODY, NOW_MS)


def test_only_so_many_header_lists_are_kept() -> None:
    recent: Recent[int, int] = Recent(PREFIXES_MAX)
    for number in range(1, PREFIXES_MAX + 2):
        recent.put(number, number)
        assert recent.get(1 if number <= PREFIXES_MAX else 2) is not None or number > PREFIXES_MAX
    assert len(recent) == PREFIXES_MAX
    assert recent.get(1) == 1  # used last again and again, so the second went


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_header_whatsoever_fails_otherwise_than_documented(tail: bytes) -> None:
    for header in (tail, b"AWS4-HMAC-SHA256 " + tail, VECTOR["authorization"].encode()[:150] + tail):
        with pytest.raises(ServiceError):
            verifier().verify(raw(VECTOR) | {b"authorization": header}, BODY + b" ", NOW_MS)


def test_the_region_of_an_unchecked_header_is_readable() -> None:
    assert claimed_region(raw(VECTOR)) == "us-east-1"
    assert claimed_region({b"authorization": b"Bearer x"}) is None
    assert claimed_region({}) is None


def test_secrets_stay_out_of_repr() -> None:
    assert SECRET not in repr(Credentials("AKIDEXAMPLE", SECRET, "us-east-1"))
    assert parse_authorization(VECTOR["authorization"].encode())[0].access_key_id == "AKIDEXAMPLE"


@pytest.mark.parametrize("year", [b"0000", b"0001", b"9999", b"99999999999999"])
def test_a_date_of_no_calendar_is_incomplete_or_too_old(year: bytes) -> None:
    date = b"Thu, 31 Dec " + year + b" 23:59:59 -2359"
    try:
        request_date({b"date": date})
    except ServiceError as fault:
        assert fault.code == "IncompleteSignature"
