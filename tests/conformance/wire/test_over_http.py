"""Broken requests for all 73 operations as a real boto3 sends them to a real server: refused with the
documented fault before any operation runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from generated import OPERATIONS, broken, items_of

from hawksnest.app import App
from hawksnest.background import Background
from hawksnest.config import Settings
from hawksnest.metrics import Metrics
from hawksnest.ops.registry import OPERATIONS as REGISTRY
from hawksnest.store.sqlite import Database, SqliteCatalog
from hawksnest.wire.door import Door
from hawksnest.wire.keys import KeyRing, create_key
from hawksnest.wire.server import BackgroundServer
from hawksnest.wire.site import Site
from hawksnest.world import RealWorld


@pytest.fixture(scope="module")
def boto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client without checks of its own, for a server that has nothing behind its door but a catalogue."""
    folder: Path = tmp_path_factory.mktemp("server")
    world, metrics, absent = RealWorld(), Metrics(), cast(Any, None)
    settings = Settings.of(data=folder, body_limit=4_000_000)
    catalog = SqliteCatalog(Database(folder / "hawksnest.sqlite"))
    app = App(
        settings, world, catalog, absent, absent, absent, absent, absent, absent, Background(world), absent
    )
    door = Door(app, REGISTRY, KeyRing(catalog, "frauddetector"), metrics)
    key = create_key(catalog, world, "000000000000")
    with BackgroundServer(Site(app, door, metrics)) as server:
        yield boto3.session.Session().client(
            "frauddetector",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret,
            config=Config(parameter_validation=False, retries={"max_attempts": 0}),
        )
    door.close()
    catalog.close()


def test_the_registry_has_every_operation_of_the_model() -> None:
    assert sorted(REGISTRY) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "GetKMSEncryptionKey"])
def test_broken_requests_are_refused_with_every_fault_named(boto: Any, operation: str) -> None:
    sent = 0
    for case in broken(operation):
        try:
            getattr(boto, xform_name(operation))(**case.request)
        except (TypeError, AttributeError):
            continue  # botocore cannot write a null in place of a list or structure
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationException"
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
            found = items_of(error.response["Error"]["Message"])
            assert sorted(item[1:] for item in found) == sorted(item[1:] for item in case.items)
            sent += 1
        else:
            pytest.fail(f"{operation} accepted {case.request}")
    assert sent
