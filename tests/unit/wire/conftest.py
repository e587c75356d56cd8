"""Fixtures: small servers. What they are made of is in `small_server.py`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from small_server import SmallServer


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., SmallServer]]:
    """Starts small servers; they end with the test."""
    with ExitStack() as running:

        def starter(**settings: Any) -> SmallServer:
            return running.enter_context(SmallServer(tmp_path, **settings))

        yield starter


@pytest.fixture
def server(start: Callable[..., SmallServer]) -> SmallServer:
    """A server of the test's own."""
    return start()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    """A server for tests that change nothing in it (starting one takes a quarter of a second)."""
    with SmallServer(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture(scope="module")
def shared_open(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    """The same without authentication."""
    with SmallServer(tmp_path_factory.mktemp("open"), no_auth=True) as running:
        yield running
