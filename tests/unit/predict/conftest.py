"""An application with a detector for events that are stored and one for events that are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from event_calls import START_MS, Api, served

from hawksnest.world import ManualWorld


@pytest.fixture
def world() -> ManualWorld:
    return ManualWorld(START_MS)


@pytest.fixture
def api(tmp_path: Path, world: ManualWorld) -> Iterator[Api]:
    with served(tmp_path, world) as made:
        made.set_up()
        yield made
