"""The data folder: one server at a time, one sentence for everything that is wrong with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from store_examples import append, event, key, predicted

from hawksnest import faults
from hawksnest.catalog import Label, Tenant
from hawksnest.config import Settings
from hawksnest.errors import UsageError
from hawksnest.store.data_folder import (
    FIRST_FORMAT,
    FORMAT,
    create_folder,
    lock_folder,
    open_catalog,
    open_store,
)
from hawksnest.store.states import footprint
from hawksnest.world import ManualWorld

WORLD = ManualWorld()
HERE = Tenant("000000000000", "us-east-1")


def settings(folder: Path) -> Settings:
    return Settings.of(data=folder)


def test_a_new_folder_gets_its_layout_and_opens_again(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "a b%20ü"
    store = open_store(settings(data), WORLD)
    with store.catalog.transaction():
        store.catalog.put(HERE, Label(name="fraud", created_at_ms=1, updated_at_ms=1))
    append(store.ledger, predicted("e", 5))
    store.states.fold(footprint(event("e")))
    before = store.states.contents()
    store.close()
    assert json.loads((data / "format.json").read_text())["format"] == FIRST_FORMAT
    assert {"journal", "states", "models", "jobs", "buckets", "stream"} <= {
        path.name for path in data.iterdir()
    }
    again = open_store(settings(data), WORLD)
    assert again.catalog.get(HERE, Label, "fraud") is not None
    assert again.ledger.known(key("e")) is not None
    assert again.states.contents() == before
    again.close()


def test_a_second_server_on_the_same_store_is_refused(tmp_path: Path) -> None:
    store = open_store(settings(tmp_path), WORLD)
    with pytest.raises(UsageError, match="Another Hawksnest server"):
        open_store(settings(tmp_path), WORLD)
    other = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from hawksnest.store.data_folder import lock_folder\n"
            "try: lock_folder(Path(sys.argv[1]))\nexcept Exception as error: sys.exit(str(error))",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Another Hawksnest server" in other.stderr
    store.close()
    os.close(lock_folder(tmp_path))


@pytest.mark.parametrize("text", [json.dumps({"format": FORMAT + 1}), json.dumps({"format": "x"})])
def test_a_folder_of_a_newer_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(UsageError, match="newer Hawksnest"):
        open_store(settings(tmp_path), WORLD)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_format_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        open_store(settings(tmp_path), WORLD)


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (
        tmp_path / "file",
        tmp_path / "file" / "below",
        Path("/proc/hawksnest"),
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(UsageError, match="cannot be written"):
            open_store(settings(bad), WORLD)


def test_a_file_that_is_no_database_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    create_folder(tmp_path, WORLD)
    (tmp_path / "hawksnest.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(UsageError, match="cannot be used"):
        open_store(settings(tmp_path), WORLD)
    os.close(lock_folder(tmp_path))


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    store = open_store(settings(tmp_path), WORLD)
    for number in range(3):
        append(store.ledger, predicted(f"e{number}", number))
    store.close()
    segment = next((tmp_path / "journal").glob("*.log"))
    raw = bytearray(segment.read_bytes())
    raw[100] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(UsageError, match="damaged"):
        open_store(settings(tmp_path), WORLD)
    os.close(lock_folder(tmp_path))


def test_a_command_beside_the_server_is_noticed(tmp_path: Path) -> None:
    store = open_store(settings(tmp_path), WORLD)
    beside = open_catalog(tmp_path, WORLD)
    with store.catalog.transaction():
        store.catalog.put(HERE, Label(name="a", created_at_ms=1, updated_at_ms=1))
    assert store.catalog.get(HERE, Label, "a") is not None
    with beside.transaction():
        beside.put(HERE, Label(name="a", created_at_ms=1, updated_at_ms=2))
    store.catalog.refresh()
    found = store.catalog.get(HERE, Label, "a")
    assert found is not None and found.updated_at_ms == 2
    beside.close()
    store.close()


@pytest.mark.parametrize("text", ["nowhere", "before_write:0", "before_write:x", "before_write:-1", ":1"])
def test_an_unknown_fail_point_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="fail-point"):
        open_store(Settings.of(data=tmp_path, fail_point=text), WORLD)


def test_fail_points_are_off_by_default() -> None:
    faults.arm("")
    assert not faults.armed


def test_a_new_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    made, given = tmp_path / "made" / "data", tmp_path / "given"
    given.mkdir(mode=0o755)
    for folder in (made, given):
        store = open_store(settings(folder), WORLD)
        with store.catalog.transaction():
            store.catalog.put(HERE, Label(name="a", created_at_ms=1, updated_at_ms=1))
        open_to_others = [
            each.name
            for each in folder.rglob("*")
            if each.stat().st_mode & 0o077 and each.name not in ("format.json",)
        ]
        store.close()
        assert open_to_others == []
    assert made.stat().st_mode & 0o777 == 0o700
    assert given.stat().st_mode & 0o777 == 0o755  # somebody's decision
