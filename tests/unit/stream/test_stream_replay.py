"""Replay of files, and what the pipeline makes of them."""

import csv
import json
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from stream_support import Decider, record, values

from hawksnest.errors import UsageError
from hawksnest.stream.mapping import Mapping, load_mapping
from hawksnest.stream.pipeline import StreamOptions, run_stream
from hawksnest.stream.ports import Log
from hawksnest.stream.replay import ReplaySummary, replay
from hawksnest.world import RealWorld

MAP = """
[pipeline]
detector = "d"
event_type = "e"
entity_type = "user"

[record]
event_id = "EVENT_ID"
entity_id = "ENTITY_ID"
event_time = "EVENT_TIMESTAMP"
amount = "amt"
label = "EVENT_LABEL"
omit = ["LABEL_TIMESTAMP"]

[variables]
order_price = "amt"
customer_job = "job"
"""


def mapping(folder: Path, text: str = MAP) -> Mapping:
    path = folder / "map.toml"
    path.write_text(text)
    return load_mapping(path)


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "EVENT_ID": f"e{number}",
            "ENTITY_ID": f"u{number % 5}",
            "EVENT_TIMESTAMP": "2022-12-24T15:53:30Z",
            "LABEL_TIMESTAMP": "2022-12-25T15:53:30Z",
            "EVENT_LABEL": int(number % 10 == 0),
            "amt": number + 0.1,
            "job": "Clerk, senior" if number % 2 else None,
        }
        for number in range(count)
    ]


def write_csv(path: Path, count: int) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows(1)[0]))
        writer.writeheader()
        writer.writerows(rows(count))
    return path


def write_parquet(path: Path, count: int) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows(count)), path, row_group_size=64)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_in_are_decisions_out_and_the_label_travels_apart(log: Log, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    (write_csv if kind == "csv" else write_parquet)(path, 300)
    counts = replay(path, mapping(tmp_path), log)
    assert counts == ReplaySummary(rows=300, sent=300, labelled=300)
    sent = values(log, "transactions")
    assert all("EVENT_LABEL" not in value and "LABEL_TIMESTAMP" not in value for value in sent)
    truth = values(log, "transactions_truth")
    assert {value["event_id"] for value in truth if value["fraud"]} == {f"e{n}" for n in range(0, 300, 10)}
    options = StreamOptions(tmp_path / "state", until_end=True)
    summary = run_stream(log, Decider, mapping(tmp_path), options, threading.Event())
    assert summary.decided == 300
    decided = {value["event_id"]: value for value in values(log, "processed_transactions")}
    assert set(decided) == {f"e{number}" for number in range(300)}
    amount = decided["e7"]["transaction_amt"]
    assert amount == ("7.1" if kind == "csv" else 7.1)
    assert decided["e7"]["fd"]["scores"] == {"m_insightscore": 7.1}
    assert decided["e7"]["job"] == "Clerk, senior" and "job" not in decided["e8"]


def test_records_are_keyed_by_entity(log: Log, tmp_path: Path) -> None:
    replay(write_csv(tmp_path / "rows.csv", 10), mapping(tmp_path), log)
    reader = log.reader("transactions")
    assert reader is not None
    for each in reader.poll(10, 0.0):
        assert each.key == json.loads(each.value)["ENTITY_ID"].encode()
    reader.close()


def test_the_reference_layout_needs_no_mapping(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "reference.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, [*record(1), *(c for _, c in Mapping().variables if c not in record(1))]
        )
        writer.writeheader()
        writer.writerows(record(number) for number in range(5))
    assert replay(path, Mapping(), log).sent == 5


def test_a_limit_and_a_stop_end_a_replay(log: Log, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", 50)
    assert replay(path, mapping(tmp_path), log, limit=20).rows == 20
    stop = threading.Event()
    stop.set()
    assert replay(path, mapping(tmp_path), log, stop=stop).rows == 0


def test_a_rate_spreads_the_rows(log: Log, tmp_path: Path) -> None:
    world = RealWorld()
    began_s = world.monotonic_s()
    assert replay(write_csv(tmp_path / "rows.csv", 30), mapping(tmp_path), log, rate=100).sent == 30
    assert 0.28 <= world.monotonic_s() - began_s < 3.0
    reader = log.reader("transactions")
    assert reader is not None
    stamps = [each.produced_at_ms for each in reader.poll(50, 0.0)]
    assert 200 <= max(stamps) - min(stamps) <= 2_000
    reader.close()
    with pytest.raises(UsageError, match="above 0"):
        replay(tmp_path / "rows.csv", mapping(tmp_path), log, rate=0)


def test_a_file_without_ids_gets_the_same_ones_every_time(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "registrations.csv"
    path.write_text("ip,mail,at,EVENT_LABEL\n192.0.2.1,a@example.com,2022-05-30T00:00:18Z,legit\n" * 1)
    text = (
        '[record]\nevent_id = ""\nentity_id = "mail"\nevent_time = "at"\nlabel = "EVENT_LABEL"\n'
        '[variables]\nip_address = "ip"\n'
    )
    for _ in range(2):
        assert replay(path, mapping(tmp_path, text), log).sent == 1
    ids = {value["event_id"] for value in values(log, "transactions")}
    assert len(ids) == 1
    (truth, _) = values(log, "transactions_truth")
    assert truth == {"event_id": ids.pop(), "label": "legit", "fraud": False}


def test_parquet_types_that_json_lacks_become_text(log: Log, tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(
        [
            {
                "EVENT_ID": "e1",
                "ENTITY_ID": "u",
                "EVENT_TIMESTAMP": datetime(2022, 12, 24, 15, 53, 30, 5, UTC),
                "EVENT_LABEL": 1,
                "amt": Decimal("12.10"),
                "job": float("nan"),
            }
        ]
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert replay(tmp_path / "rows.parquet", mapping(tmp_path), log).sent == 1
    (value,) = values(log, "transactions")
    assert value == {
        "EVENT_ID": "e1",
        "ENTITY_ID": "u",
        "EVENT_TIMESTAMP": "2022-12-24T15:53:30.000005+00:00",
        "amt": "12.10",
        "job": None,
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "Cannot read"),
        ("empty.csv", b"", "is empty"),
        ("other.csv", b"a,b\n1,2\n", "has no column ENTITY_ID"),
        ("bad.parquet", b"no parquet at all", "is no Parquet file"),
        (
            "short.csv",
            b"EVENT_ID,ENTITY_ID,EVENT_TIMESTAMP,amt,job,EVENT_LABEL\ne1,u1\n",
            "line 2: 2 cells for 6 columns",
        ),
        (
            "open.csv",
            b'EVENT_ID,ENTITY_ID,EVENT_TIMESTAMP,amt,job,EVENT_LABEL\ne1,u1,"2022',
            "line",
        ),
    ],
)
def test_a_file_that_is_no_table_is_one_clear_sentence(
    log: Log, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        replay(tmp_path / name, mapping(tmp_path), log)
