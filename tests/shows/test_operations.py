"""Every operation as specified: valid and broken requests made from the service model of botocore."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from broken_requests import MODEL, OPERATIONS, broken_body
from caller import Caller
from product import Product, figures
from valid_requests import STATE_FAULTS, Valid, event, read_back, set_up

from hawksnest.client import read_credentials
from hawksnest.world import seeded

COMMON = {
    "SerializationException",
    "ValidationException",
    "ThrottlingException",
    "RequestEntityTooLargeException",
}
MAY_MEET_A_STATE = {"CancelBatchImportJob", "CancelBatchPredictionJob", "CreateBatchImportJob"}
MAY_MEET_A_STATE |= {"CreateBatchPredictionJob", "CreateModelVersion", "UpdateModelVersion"}
MAY_MEET_A_STATE |= {"UpdateModelVersionStatus", "DeleteModelVersion"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("product"))
    try:
        made.serve("--preview-api", "off")  # else what lacks a member may be a call of the preview
        yield made
    finally:
        made.stop_all()


def tenant(served: Product, region: str) -> Caller:
    """A caller in a region where nothing was before."""
    return Caller(served.url, replace(read_credentials(served.credentials), region=region))


def documented(operation: str) -> set[str]:
    return {shape.name for shape in MODEL.operation_model(operation).error_shapes} | COMMON


def valid_requests(served: Product, count: int, region: str) -> Counter[str]:
    """Each operation gets `count` valid requests; how many succeeded or met a state."""
    seen = Counter[str]()
    for place, operation in enumerate(OPERATIONS):
        caller = tenant(served, f"{region}-{place}")  # each its own: an account takes 100 lists
        set_up(caller)
        valid = Valid(caller, seeded(4))
        for _ in range(count):
            request = valid.request(operation)
            reply = caller.try_(operation, **request)
            seen["succeeded" if reply.status == 200 else reply.code] += 1
            if reply.status == 200:
                read_back(caller, operation, request)
            else:
                assert operation in MAY_MEET_A_STATE, (operation, request, reply)
                assert reply.status == 400, (operation, request, reply)
                assert reply.code in STATE_FAULTS & documented(operation), (operation, request, reply)
        caller.close()
    return seen


def settled(caller: Caller, events: tuple[tuple[str, str], ...]) -> dict[Any, Any]:
    """The state once statistics and background work have come to rest: three readings in a row agree."""
    readings = [caller.state(events)]
    for _ in range(100):
        readings = [*readings[-2:], caller.state(events)]
        if len(readings) == 3 and readings[0] == readings[1] == readings[2]:
            return readings[0]
        time.sleep(0.05)
    moving = {
        str(key): (value, readings[1].get(key))
        for key, value in readings[2].items()
        if readings[1].get(key) != value
    }
    raise AssertionError(f"the account does not come to rest: {moving}")


def broken_requests(served: Product, count: int, every: int, region: str) -> Counter[str]:
    """Each operation gets `count` broken requests; the state is compared after `every` of them."""
    caller, seen, random = tenant(served, region), Counter[str](), seeded(5)
    set_up(caller)
    caller.call("SendEvent", **event("s1"))
    caller.call("GetEventPrediction", detectorId="det", **event("p1"))
    valid = Valid(caller, seeded(6))
    bases: dict[str, dict[str, Any]] = {operation: valid.request(operation) for operation in OPERATIONS}
    valid.call_off_trainings()
    valid.settled("Import")
    valid.settled("Prediction")
    events = (("s1", "pay"), ("p1", "pay"))
    before = settled(caller, events)
    for operation in OPERATIONS:
        for number in range(count):
            body = broken_body(operation, bases[operation], random)
            reply = caller.send(operation, body)
            seen[reply.code] += 1
            assert 400 <= reply.status < 500, (operation, body[:500], reply)
            assert reply.code in documented(operation), (operation, body[:500], reply)
            if number % every == every - 1 or number == count - 1:
                assert caller.state(events) == before, (operation, body[:500])
    caller.close()
    return seen


def test_valid_requests_of_every_operation_succeed_and_are_read_back(served: Product) -> None:
    assert valid_requests(served, 2, "eu-west-1")["succeeded"] >= 65 * 2


def test_broken_requests_of_every_operation_are_refused_and_change_nothing(served: Product) -> None:
    broken_requests(served, 30, 30, "eu-west-2")


@pytest.mark.full
def test_fifty_valid_requests_of_every_operation(served: Product) -> None:
    seen = valid_requests(served, 50, "eu-west-3")
    figures("50 valid requests of each of 73 operations", *(f"{code}: {n:,}" for code, n in seen.items()))


@pytest.mark.full
def test_two_hundred_broken_requests_of_every_operation(served: Product) -> None:
    seen = broken_requests(served, 200, 20, "eu-central-1")
    figures(
        "200 broken requests of each operation, the state read after every 20",
        *(f"{c}: {n:,}" for c, n in seen.items()),
    )
