"""What the machine does to a server: no port, no folder, no room. One sentence, or errors that pass."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit
from typing import Any

import pytest
from served import COMMAND, Served, deploy, free_port, until

from hawksnest.client import Client
from hawksnest.config import Settings
from hawksnest.errors import Transient
from hawksnest.log import SEGMENT_BYTES
from hawksnest.store.data_folder import open_store
from hawksnest.world import RealWorld, iso_s

WORLD = RealWorld()
VARIABLES = 30  # of the long events that fill the disk


def refused(*arguments: str, **environment: str) -> str:
    """The one sentence with which `serve` refuses to start, with exit code 2."""
    result = subprocess.run(
        [*COMMAND, "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("hawksnest: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_a_busy_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        said = refused("--port", port, "--data", str(tmp_path / "data"))
    assert port in said and "Address already in use" in said
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("a file")
    for data in (in_the_way, in_the_way / "below", Path("/proc/hawksnest")):
        said = refused("--port", "0", "--data", str(data))
        assert str(data) in said and "cannot be written" in said
    assert in_the_way.read_text() == "a file"


def test_a_read_only_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if os.geteuid() == 0:  # whom modes do not stop
        if not mounted("-o", "bind", str(data), data) or not mounted("-o", "remount,ro,bind", "none", data):
            pytest.skip("mounting is not allowed here")
    else:
        data.chmod(0o500)
    try:
        assert "cannot be written" in refused("--port", "0", "--data", str(data))
    finally:
        unmount(data)


def test_a_data_folder_of_a_newer_version(tmp_path: Path) -> None:
    mark = tmp_path / "format.json"
    mark.write_text(json.dumps({"format": 999}))
    said = refused("--port", "0", "--data", str(tmp_path))
    assert "999" in said and "newer" in said
    assert [each.name for each in tmp_path.iterdir()] == ["format.json"]


def test_a_second_server_on_the_same_store(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        served.start()
        said = refused("--port", str(free_port()), "--data", str(served.data))
        assert "Another" in said and str(served.data) in said
        with served.client() as client:
            client.call("GetLabels", {})
    finally:
        served.close()


def test_an_open_door_to_other_machines(tmp_path: Path) -> None:
    said = refused("--no-auth", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "data"))
    assert "--no-auth" in said and "loopback" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "many"), ("PORT", "99999"), ("NO_AUTH", "perhaps"), ("ACCOUNT", "12"), ("QUOTAS", "some")],
)
def test_a_bad_value_of_an_environment_variable(tmp_path: Path, name: str, value: str) -> None:
    said = refused("--data", str(tmp_path / "data"), **{f"HAWKSNEST_{name}": value})
    assert value in said
    assert name.lower() in said.lower().replace("-", "_")
    assert not (tmp_path / "data").exists()


def mounted(*arguments: str | Path) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def unmount(place: Path) -> None:
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own where mounting is allowed, else an ordinary folder."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() == 0:
        mounted("-t", "tmpfs", "-o", "size=230m", "none", place)
    yield place
    unmount(place)


def fill(disk: Path, served: Served) -> Callable[[], None]:
    """Leave no room for another segment of the journal; what is given back makes room again."""
    if disk.is_mount():
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 140 << 20)  # of 230 MB; a segment takes 64
        return ballast.unlink
    assert served.process is not None
    prlimit(served.process.pid, RLIMIT_FSIZE, (SEGMENT_BYTES - 1, RLIM_INFINITY))
    pid = served.process.pid
    return lambda: prlimit(pid, RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY)) and None


def make_long_events(client: Client) -> None:
    deploy(client)
    names = [f"long{number}" for number in range(VARIABLES)]
    for name in names:
        variable = {"name": name, "dataType": "STRING", "dataSource": "EVENT", "defaultValue": "x"}
        client.call("CreateVariable", variable | {"variableType": "FREE_FORM_TEXT"})
    client.call(
        "PutEventType",
        {
            "name": "pay",
            "eventVariables": ["amt", "email", "ip", "note", *names],
            "entityTypes": ["customer"],
            "labels": ["fraud", "legit"],
            "eventIngestion": "ENABLED",
        },
    )


def long_event(number: int) -> dict[str, Any]:
    return {
        "detectorId": "det",
        "eventId": f"e{number}",
        "eventTypeName": "pay",
        "eventTimestamp": iso_s(WORLD.now_ms() - 60_000),
        "entities": [{"entityType": "customer", "entityId": "c"}],
        "eventVariables": {"amt": "950"} | {f"long{each}": "x" * 8_000 for each in range(VARIABLES)},
    }


def listed(client: Client) -> set[str]:
    found: set[str] = set()
    request: dict[str, Any] = {"maxResults": 100}
    while True:
        page = client.call("ListEventPredictions", request).response
        found.update(each["eventId"] for each in page["eventPredictionSummaries"])
        if "nextToken" not in page:
            return found
        request["nextToken"] = page["nextToken"]


def test_a_full_disk_answers_errors_loses_nothing_and_goes_on(disk: Path) -> None:
    served = Served(disk)
    try:
        served.start()
        with served.client() as client:
            make_long_events(client)
            free = fill(disk, served)
            answered: set[str] = set()
            refusal = ""
            for number in range(1_000):
                try:
                    answer = client.call("GetEventPrediction", long_event(number)).response
                except Transient as fault:
                    refusal = str(fault)
                    break
                assert answer["ruleResults"][0]["outcomes"] == ["block"]
                answered.add(f"e{number}")
            assert "ServiceUnavailable" in refusal or "room" in refusal, refusal
            assert 50 < len(answered) < 900
            for number in range(2_000, 2_010):
                with pytest.raises(Transient):
                    client.call("GetEventPrediction", long_event(number))
                client.call("GetDetectors", {})
            assert listed(client) == answered
            free()
            for number in range(3_000, 3_005):
                client.call("GetEventPrediction", long_event(number))
                answered.add(f"e{number}")
            assert listed(client) == answered
        served.kill()
        served.start()
        with served.client() as client:
            assert listed(client) == answered
        served.stop()
        assert "Traceback" not in served.said()
        store = open_store(Settings.of(data=served.data), WORLD)
        assert store.ledger.last_seq == len(answered)
        store.close()
    finally:
        served.close()


def test_not_a_byte_is_left(disk: Path) -> None:
    if not disk.is_mount():
        pytest.skip("mounting is not allowed here")
    served = Served(disk)
    crumbs = disk / "crumbs"
    try:
        served.start()
        with served.client() as client:
            make_long_events(client)
            with crumbs.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(1 << 20)):
                    pass
            answered: set[str] = set()
            labels: set[str] = set()
            for number in range(60):  # the journal has its room already, the tables have none
                with contextlib.suppress(Transient):
                    client.call("GetEventPrediction", long_event(number))
                    answered.add(f"e{number}")
                with contextlib.suppress(Transient):
                    client.call("PutLabel", {"name": f"l{number}", "description": "x" * 128})
                    labels.add(f"l{number}")
                with contextlib.suppress(Transient):
                    listed(client)
            crumbs.unlink()
            until(lambda: tried(lambda: listed(client)) == answered, 20, "it did not go on")
            named = {each["name"] for each in client.call("GetLabels", {"maxResults": 50}).response["labels"]}
            assert labels <= named
            client.call("PutLabel", {"name": "after"})
        served.kill()
        served.start()
        with served.client() as client:
            assert listed(client) == answered
        served.stop()
        assert "Traceback" not in served.said()
    finally:
        served.close()


def tried(what: Callable[[], set[str]]) -> set[str] | None:
    try:
        return what()
    except Transient:
        return None
