"""AWS Signature Version 4 in request headers: what both sides of a request share, and signing."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

ALGORITHM = b"AWS4-HMAC-SHA256"
POST_ROOT = b"POST\n/\n\n"  # method, path and query as the canonical request begins


@dataclass(frozen=True)
class Credentials:
    """What a client signs with. `secret` stays out of `repr`."""

    access_key_id: str
    secret: str
    region: str

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id!r}, region={self.region!r})"


def amz_date(at_ms: int) -> str:
    """`20240102T030405Z`: how a request says when it was signed."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def derive_key(secret: str, day: bytes, region: bytes, service: bytes) -> bytes:
    """The signing key of a day, region and service."""
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, b"aws4_request"):
        key = hmac.digest(key, part, "sha256")
    return key


_derived = lru_cache(64)(derive_key)


def sign(
    credentials: Credentials, service: str, headers: Mapping[str, str], body: bytes, now_ms: int
) -> dict[str, str]:
    """The headers to add to a `POST /` with these headers (lower-case names, all of them signed)."""
    date = amz_date(now_ms)
    signed = dict(headers) | {"x-amz-date": date}
    names = sorted(signed)
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in names)
    canonical = f"{POST_ROOT.decode()}{lines}\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{date[:8]}/{credentials.region}/{service}/aws4_request"
    to_sign = f"{ALGORITHM.decode()}\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _derived(credentials.secret, date[:8].encode(), credentials.region.encode(), service.encode())
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    authorization = (
        f"{ALGORITHM.decode()} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return {"x-amz-date": date, "authorization": authorization}
