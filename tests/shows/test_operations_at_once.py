"""Ten clients of two accounts and two regions on the same names; pages of listings that change meanwhile."""

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from caller import Caller
from product import COMMAND, Product, figures
from valid_requests import event, set_up

from hawksnest.client import read_credentials
from hawksnest.signing import Credentials
from hawksnest.world import seeded

CLIENTS, ROUNDS, NAMES = 10, 30, 3
KEPT = "l0"  # nobody deletes it, so every entry that was answered must be there


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("product"))
    try:
        made.serve()
        yield made
    finally:
        made.stop_all()


def key_of(served: Product, account: str) -> tuple[str, str]:
    command = [*COMMAND, "keys", "create", "--data", str(served.data), "--account", account, "--json"]
    text = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    made = {name.replace("_", "").lower(): value for name, value in json.loads(text).items()}
    return made["accesskeyid"], next(value for name, value in made.items() if "secret" in name)


def work(served: Product, credentials: Credentials, client: int) -> list[tuple[str, str, str]]:
    """(name, what was done, its outcome) in the order of this client."""
    caller, random, done = Caller(served.url, credentials), seeded(client), []
    for number in range(ROUNDS):
        name = f"l{random.randrange(NAMES)}"
        what = random.choice(("create", "add", "add", "add", "delete"))
        if what == "create":
            reply = caller.try_("CreateList", name=name, elements=[])
        elif what == "add":
            entry = f"c{client}.{number}"
            reply = caller.try_("UpdateList", name=name, elements=[entry], updateMode="APPEND")
            what = entry
        elif name == KEPT:
            reply = caller.try_("UpdateList", name=name, description="touched")
        else:
            reply = caller.try_("DeleteList", name=name)
        assert reply.status < 500, reply
        done.append((name, what, reply.code))
    caller.close()
    return done


def test_ten_clients_at_once_leave_what_some_order_explains(served: Product) -> None:
    own = read_credentials(served.credentials)
    other = key_of(served, "222222222222")
    tenants = [
        Credentials(*key, region)
        for key in ((own.access_key_id, own.secret), other)
        for region in ("us-east-1", "eu-west-1")
    ]
    with ThreadPoolExecutor(CLIENTS * len(tenants)) as threads:
        histories = [[threads.submit(work, served, each, n) for n in range(CLIENTS)] for each in tenants]
    for credentials, futures in zip(tenants, histories, strict=True):
        explain(Caller(served.url, credentials), [future.result() for future in futures])


def explain(caller: Caller, histories: list[list[tuple[str, str, str]]]) -> None:
    """The end of each list follows from what was answered."""
    there = {each["name"] for each in caller.all_of("GetListsMetadata", "lists")}
    for name in (f"l{number}" for number in range(NAMES)):
        steps = [step for history in histories for step in history if step[0] == name]
        created = sum(what == "create" and not code for _, what, code in steps)
        deleted = sum(name != KEPT and what == "delete" and not code for _, what, code in steps)
        added = {what for _, what, code in steps if what not in ("create", "delete") and not code}
        assert created <= deleted + 1, "two creations without a deletion between them"
        assert name not in there or created, "what nobody created is there"
        assert name in there or deleted or not created, "a creation is lost"
        if name in there:
            entries = set(caller.all_of("GetListElements", "elements", name=name))
            assert entries <= added, "an entry that nobody was told is there"
            if not deleted:
                assert entries == added, "an update is lost"
    caller.close()


def add_all(caller: Caller, count: int, size: int, each: Any) -> None:
    for start in range(0, count, size):
        each(caller, range(start, min(count, start + size)))


def variables(caller: Caller, numbers: range) -> None:
    entry = {"dataType": "FLOAT", "dataSource": "EVENT", "defaultValue": "0"}
    made = caller.call(
        "BatchCreateVariable", variableEntries=[{"name": f"v{n:06}", **entry} for n in numbers]
    )
    assert not made["errors"]


def walk(
    caller: Caller, operation: str, payload: str, between: Any, **request: Any
) -> tuple[list[Any], list[float]]:
    """All items, and the ms that each page took; `between` changes the listing after each page."""
    items, took_ms, token = [], [], ""
    for number in range(100_000):
        began_s = time.perf_counter()
        answer = caller.call(operation, nextToken=token, **request)
        took_ms.append((time.perf_counter() - began_s) * 1_000)
        items += answer[payload]
        between(number)
        token = answer.get("nextToken", "")
        if not token:
            return items, took_ms
    raise AssertionError("the listing has no end")


def depth_costs(took_ms: list[float]) -> tuple[float, float]:
    """Median ms of a page in the first and in the last fifth."""
    fifth = max(1, len(took_ms) // 5)
    first, last = sorted(took_ms[:fifth]), sorted(took_ms[-fifth - 1 : -1] or took_ms)
    return first[len(first) // 2], last[len(last) // 2]


def page_through(served: Product, region: str, count: int, elements: int, predictions: int) -> list[str]:
    own = read_credentials(served.credentials)
    caller = Caller(served.url, Credentials(own.access_key_id, own.secret, region))
    set_up(caller)
    lines = []
    add_all(caller, count, 25, variables)

    def touch(number: int) -> None:
        variables(caller, range(900_000 + number, 900_001 + number))
        caller.call("DeleteVariable", name=f"v{900_000 + number:06}")

    items, took_ms = walk(caller, "GetVariables", "variables", touch)
    names = [each["name"] for each in items if each["name"] < "v9"]
    assert len(set(names)) == len(names) == count + 2
    lines.append("{:,} variables: {:.2f} ms a page first, {:.2f} last".format(count, *depth_costs(took_ms)))

    caller.call("CreateList", name="deny")
    for start in range(0, elements, 10_000):
        entries = [f"e{n:06}" for n in range(start, min(elements, start + 10_000))]
        caller.call("UpdateList", name="deny", elements=entries, updateMode="APPEND")

    def stir(number: int) -> None:
        for mode in ("APPEND", "REMOVE"):
            caller.call("UpdateList", name="deny", elements=[f"z{number}"], updateMode=mode)

    items, took_ms = walk(caller, "GetListElements", "elements", stir, name="deny")
    names = [each for each in items if each.startswith("e")]
    assert len(set(names)) == len(names) == elements
    lines.append(
        "{:,} list elements: {:.2f} ms a page first, {:.2f} last".format(elements, *depth_costs(took_ms))
    )

    for number in range(predictions):
        caller.call("GetEventPrediction", detectorId="det", **event(f"p{number}"))

    def predict(number: int) -> None:
        caller.call("GetEventPrediction", detectorId="det", **event(f"x{number}"))
        caller.call("DeleteEvent", eventId=f"x{number}", eventTypeName="pay", deleteAuditHistory=True)

    items, took_ms = walk(caller, "ListEventPredictions", "eventPredictionSummaries", predict, maxResults=100)
    names = [each["eventId"] for each in items if each["eventId"].startswith("p")]
    assert len(set(names)) == len(names) == predictions
    lines.append(
        "{:,} predictions: {:.2f} ms a page first, {:.2f} last".format(predictions, *depth_costs(took_ms))
    )
    caller.close()
    return lines


def test_pages_show_every_item_once_while_others_come_and_go(served: Product) -> None:
    page_through(served, "eu-west-2", 300, 3_000, 500)


@pytest.mark.full
def test_deep_pages_cost_what_the_first_cost(served: Product) -> None:
    # With what comes and goes meanwhile: the most variables a tenant and entries a list may have.
    figures("Paging at full size", *page_through(served, "eu-west-3", 4_997, 99_999, 200_000))
