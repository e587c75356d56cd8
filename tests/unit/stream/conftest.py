"""A log in a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hawksnest.stream.embedded import EmbeddedLog
from hawksnest.stream.ports import Log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = EmbeddedLog(tmp_path / "stream")
    yield opened
    opened.close()
