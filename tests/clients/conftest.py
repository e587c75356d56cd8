"""One deployment for the clients of a test run."""

from collections.abc import Iterator

import pytest
from deployment import CLIENTS, Deployment


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    assert (CLIENTS / ".installed").exists(), "The clients are not installed: run `make clients`."
    made = Deployment(tmp_path_factory.mktemp("clients"))
    yield made
    made.close()
