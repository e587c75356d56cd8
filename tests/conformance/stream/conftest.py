"""One suite for every log: a factory gives the address of an empty one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawksnest.stream.open import open_log
from hawksnest.stream.ports import Log

AddressFactory = Callable[[Path], str]


def embedded(folder: Path) -> str:
    return f"file://{folder / 'stream'}"


FACTORIES: list[AddressFactory] = [embedded]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param(tmp_path))


@pytest.fixture
def log(address: str) -> Iterator[Log]:
    opened = open_log(address)
    yield opened
    opened.close()
