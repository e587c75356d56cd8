"""Clock, ids and randomness: the only file that touches `time`, `uuid` or `random`."""

import os
import random
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol


class World(Protocol):
    """What the outside gives to the program. Everything below the doors gets it passed in."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""

    def monotonic_s(self) -> float:
        """Seconds of a clock that never goes back; only differences mean something."""

    def uuid(self) -> str:
        """A new UUID (version 4) as text."""

    def token(self, length: int) -> str:
        """A secret of `length` characters from A-Z, a-z and 0-9."""


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class RealWorld:
    """The machine's clock and the system's randomness."""

    def __init__(self) -> None:
        self._uuids: list[str] = []  # made in batches: one system call for many, a fifth of the time

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def uuid(self) -> str:
        while True:
            try:
                return self._uuids.pop()
            except IndexError:
                self._uuids.extend(_random_uuids(32))

    def token(self, length: int) -> str:
        system = random.SystemRandom()
        return "".join(system.choice(_ALPHABET) for _ in range(length))


def _random_uuids(count: int) -> list[str]:
    digits = os.urandom(16 * count).hex()
    texts = (digits[start : start + 32] for start in range(0, len(digits), 32))
    return [f"{t[:8]}-{t[8:12]}-4{t[13:16]}-{'89ab'[int(t[16], 16) & 3]}{t[17:20]}-{t[20:]}" for t in texts]


class ManualWorld:
    """A world that stands still until it is moved; same ids for the same seed."""

    def __init__(self, now_ms: int = 1_704_067_200_000, seed: int = 7) -> None:
        self._now_ms = now_ms
        self._random = random.Random(seed)

    def advance(self, seconds: float) -> None:
        """Move the clock; never back."""
        assert seconds >= 0
        self._now_ms += round(seconds * 1000)

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / 1000

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self, length: int) -> str:
        return "".join(self._random.choice(_ALPHABET) for _ in range(length))


def unpredictable(size: int) -> bytes:
    """Bytes for keys and nonces: the system's randomness in whatever world."""
    return os.urandom(size)


def seeded(seed: int) -> random.Random:
    """A private generator for code whose results must be reproducible (simulator, training)."""
    return random.Random(seed)


def iso_ms(at_ms: int) -> str:
    """`2021-05-21T07:12:54.032Z`: how resources show their times."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def iso_s(at_ms: int) -> str:
    """`2021-04-19T11:20:42Z`: whole seconds, as jobs and events show their times."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
