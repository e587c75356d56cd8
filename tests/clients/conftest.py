"""One deployment for the clients of a test run."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
from deployment import CLIENTS, Deployment
from notebook import Project, make_project, start_worker


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    assert (CLIENTS / ".installed").exists(), "The clients are not installed: run `make clients`."
    made = Deployment(tmp_path_factory.mktemp("clients"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def project(deployment: Deployment) -> Project:
    return make_project(deployment)


@pytest.fixture(scope="session")
def workers(deployment: Deployment) -> Iterator[ProcessPoolExecutor]:
    """Eight processes with a client each, as the notebooks' multiprocessing has them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(8, context, start_worker, (deployment.where,)) as pool:
        yield pool
