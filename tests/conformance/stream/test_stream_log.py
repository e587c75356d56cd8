"""What every log must do: order, groups, commits, restarts, several processes, replays."""

import json
import signal
import subprocess
import sys
import threading

import pytest

from hawksnest.errors import Poison, UsageError
from hawksnest.stream.open import open_log
from hawksnest.stream.ports import Consumer, Log, StreamRecord
from hawksnest.world import RealWorld, iso_ms


def read_all(consumer: Consumer, count: int, deadline_s: float = 10.0) -> list[StreamRecord]:
    """Exactly `count` records, then nothing more for a moment."""
    found: list[StreamRecord] = []
    polls = 0
    while len(found) < count and polls < deadline_s / 0.2:
        found += consumer.poll(count + 10 - len(found), 0.2)
        polls += 1
    found += consumer.poll(10, 0.05)
    assert len(found) == count
    return found


def produce(log: Log, topic: str, values: list[bytes], key: bytes | None = b"k") -> None:
    producer = log.producer()
    for value in values:
        producer.send(topic, value, key)
    producer.flush()
    producer.close()


def numbers(first: int, last: int) -> list[bytes]:
    return [str(number).encode() for number in range(first, last)]


def test_records_of_one_key_come_in_the_order_they_were_sent(log: Log) -> None:
    producer = log.producer()
    for number in range(300):
        producer.send("t", str(number).encode(), f"key-{number % 7}".encode())
        if number % 50 == 0:
            producer.flush()
    producer.flush()
    consumer = log.consumer("t", "g")
    records = read_all(consumer, 300)
    for key in {record.key for record in records}:
        values = [int(record.value) for record in records if record.key == key]
        assert values == sorted(values)
        assert len({record.partition for record in records if record.key == key}) == 1
    assert len({record.partition for record in records}) > 1
    producer.close()
    consumer.close()


def test_records_without_a_key_are_spread_and_keep_the_order_of_their_producer(log: Log) -> None:
    producer = log.producer()
    for number in range(200):
        producer.send("t", str(number).encode())
        if number % 10 == 9:
            producer.flush()
    producer.close()
    consumer = log.consumer("t", "g")
    records = read_all(consumer, 200)
    assert [int(record.value) for record in records] == list(range(200))
    assert len({record.partition for record in records}) > 1
    consumer.close()


def test_key_value_and_place_arrive_as_sent(log: Log) -> None:
    before_ms = RealWorld().now_ms()
    produce(log, "t", [b"", b"\x00\xff", b"{}"], b"")
    produce(log, "t", [b"x"], None)
    consumer = log.consumer("t", "g")
    records = read_all(consumer, 4)
    assert [(record.key, record.value) for record in records] == [
        (b"", b""),
        (b"", b"\x00\xff"),
        (b"", b"{}"),
        (None, b"x"),
    ]
    assert [record.offset for record in records if record.key == b""] == [0, 1, 2]
    assert all(record.topic == "t" for record in records)
    assert all(before_ms - 1 <= record.produced_at_ms <= RealWorld().now_ms() + 5 for record in records)
    consumer.close()


def test_groups_read_independently(log: Log) -> None:
    produce(log, "t", numbers(0, 20))
    one, two = log.consumer("t", "one"), log.consumer("t", "two")
    one.commit(read_all(one, 20))
    assert len(read_all(two, 20)) == 20
    assert log.lag("t", "one") == 0
    assert log.lag("t", "two") == 20
    one.close()
    two.close()


def test_a_group_resumes_after_its_last_commit(log: Log, address: str) -> None:
    produce(log, "t", numbers(0, 30))
    consumer = log.consumer("t", "g")
    records = read_all(consumer, 30)
    consumer.commit(records[:12])
    consumer.close()
    assert log.lag("t", "g") == 18
    again = open_log(address)
    consumer = again.consumer("t", "g")
    assert [record.value for record in read_all(consumer, 18)] == numbers(12, 30)
    consumer.close()
    again.close()


def test_what_was_not_committed_is_delivered_again(log: Log) -> None:
    produce(log, "t", numbers(0, 5))
    for _ in range(2):
        consumer = log.consumer("t", "g")
        assert len(read_all(consumer, 5)) == 5
        consumer.close()


def test_only_one_member_of_a_group_gets_a_record(log: Log) -> None:
    produce(log, "t", numbers(0, 50))
    one, two = log.consumer("t", "g"), log.consumer("t", "g")
    found = []
    for _ in range(20):
        for member in (one, two):
            records = member.poll(10, 0.02)
            member.commit(records)
            found += records
    assert sorted(int(record.value) for record in found) == list(range(50))
    one.close()
    two.close()


def test_a_waiting_member_takes_over_where_the_other_stopped(log: Log) -> None:
    produce(log, "t", numbers(0, 10))
    one = log.consumer("t", "g")
    one.commit(read_all(one, 10)[:6])
    two = log.consumer("t", "g")
    one.close()
    assert [record.value for record in read_all(two, 4)] == numbers(6, 10)
    two.close()


@pytest.mark.parametrize(("start", "expected"), [("latest", []), ("earliest", numbers(0, 8)), ("new", [])])
def test_start_positions_without_a_commit(log: Log, start: str, expected: list[bytes]) -> None:
    produce(log, "t", numbers(0, 8))
    consumer = log.consumer("t", "g", start)
    assert [record.value for record in read_all(consumer, len(expected))] == expected
    produce(log, "t", [b"next"])
    assert [record.value for record in read_all(consumer, 1)] == [b"next"]
    consumer.close()


def test_a_group_that_began_at_new_misses_nothing_over_a_restart(log: Log) -> None:
    produce(log, "t", [b"old"])
    log.consumer("t", "g", "new").close()
    produce(log, "t", [b"while away"])
    consumer = log.consumer("t", "g", "new")
    assert [record.value for record in read_all(consumer, 1)] == [b"while away"]
    consumer.close()


def test_earliest_and_latest_ignore_the_commit(log: Log) -> None:
    produce(log, "t", numbers(0, 8))
    consumer = log.consumer("t", "g")
    consumer.commit(read_all(consumer, 8)[:4])
    consumer.close()
    for start, count in (("committed", 4), ("new", 4), ("earliest", 8), ("latest", 0)):
        if start in ("earliest", "latest"):
            consumer = log.consumer("t", "g", start)
            assert len(read_all(consumer, count)) == count
        else:
            consumer = log.consumer("t", "g", start)
            assert len(read_all(consumer, count)) == count
        consumer.close()


def test_start_at_a_time(log: Log) -> None:
    produce(log, "t", [b"before"])
    world = RealWorld()
    at_ms = world.now_ms() + 20
    gate = threading.Event()
    while world.now_ms() <= at_ms:
        gate.wait(0.005)
    produce(log, "t", [b"after"])
    consumer = log.consumer("t", "g", iso_ms(at_ms))
    assert [record.value for record in read_all(consumer, 1)] == [b"after"]
    consumer.close()


def test_a_start_that_is_none_is_refused(log: Log) -> None:
    with pytest.raises(UsageError, match="no start position"):
        log.consumer("t", "g", "yesterday")


def test_a_record_over_the_limit_is_refused_and_the_producer_goes_on(log: Log) -> None:
    producer = log.producer()
    producer.send("t", b"small")
    with pytest.raises(Poison, match="20000000 bytes"):
        producer.send("t", b"x" * 20_000_000)
    producer.send("t", b"x" * 1_000_000)
    producer.flush()
    consumer = log.consumer("t", "g")
    assert sorted(len(record.value) for record in read_all(consumer, 2)) == [5, 1_000_000]
    producer.close()
    consumer.close()


def test_poll_respects_its_limit_and_its_time_out(log: Log) -> None:
    produce(log, "t", numbers(0, 30))
    consumer = log.consumer("t", "g")
    assert len(consumer.poll(7, 1.0)) == 7
    assert len(read_all(consumer, 23)) == 23
    world = RealWorld()
    began_s = world.monotonic_s()
    assert consumer.poll(5, 0.1) == []
    assert 0.09 <= world.monotonic_s() - began_s < 2.0
    consumer.close()


def test_creating_a_topic_twice_changes_nothing(log: Log) -> None:
    log.create_topic("t", 2)
    produce(log, "t", numbers(0, 4))
    log.create_topic("t", 8)
    consumer = log.consumer("t", "g")
    assert len(read_all(consumer, 4)) == 4
    consumer.close()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "ü", "a" * 201, ".hidden"])
def test_names_that_could_leave_their_place_are_refused(log: Log, name: str) -> None:
    with pytest.raises(UsageError, match="no name of a topic"):
        log.create_topic(name)


def test_a_reader_outside_groups_sees_everything_and_commits_nothing(log: Log) -> None:
    assert log.reader("t") is None
    produce(log, "t", numbers(0, 6))
    readers = [log.reader("t") for _ in range(2)]
    for reader in readers:
        assert reader is not None
        reader.commit(read_all(reader, 6))
    produce(log, "t", [b"more"])
    for reader in readers:
        assert reader is not None
        assert [record.value for record in read_all(reader, 1)] == [b"more"]
        reader.close()


def test_a_replay_reads_what_another_group_has_finished(log: Log) -> None:
    produce(log, "t", numbers(0, 12))
    consumer = log.consumer("t", "g")
    first = read_all(consumer, 12)
    consumer.commit(first)
    consumer.close()
    replay = log.consumer("t", "g", "earliest")
    assert read_all(replay, 12) == first
    replay.close()


PRODUCER = """
import sys
from hawksnest.stream.open import open_log
log = open_log(sys.argv[1])
producer = log.producer()
number = 0
while number < int(sys.argv[3]):
    for _ in range(20):
        producer.send("t", f"{sys.argv[2]}:{number}".encode(), sys.argv[2].encode() + bytes([number % 5]))
        number += 1
    producer.flush()
    print(number, flush=True)
"""


def start_producer(address: str, name: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PRODUCER, address, name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_at_once_and_a_third_reads(log: Log, address: str) -> None:
    writers = [start_producer(address, name, 400) for name in "ab"]
    consumer = log.consumer("t", "g")
    records = read_all(consumer, 800, 60.0)
    for name, writer in zip("ab", writers, strict=True):
        writer.communicate(timeout=20)
        assert writer.returncode == 0
        values = [record.value.decode() for record in records if record.value.decode()[0] == name]
        assert sorted(int(value[2:]) for value in values) == list(range(400))
        for rest in range(5):
            mine = [int(value[2:]) for value in values if int(value[2:]) % 5 == rest]
            assert mine == sorted(mine)
    consumer.close()


def test_a_killed_producer_loses_nothing_flushed_and_blocks_nobody(log: Log, address: str) -> None:
    flushed = 0
    for round_ in range(3):
        writer = start_producer(address, str(round_), 1_000_000)
        assert writer.stdout is not None
        for _ in range(3 + round_):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate(timeout=20)[0].split()
        flushed += int(rest[-1]) if rest else last
        produce(log, "t", [b"alive"])
    consumer = log.consumer("t", "g")
    found: list[bytes] = []
    while records := consumer.poll(5000, 0.3):
        found += [record.value for record in records]
    assert found.count(b"alive") == 3
    assert len(found) == len(set(found)) + 2
    assert flushed <= len(found) - 3 <= flushed + 3 * 20
    consumer.close()


MEMBER = """
import json, sys
from hawksnest.stream.open import open_log
log = open_log(sys.argv[1])
consumer = log.consumer("t", "g")
while True:
    records = consumer.poll(10, 0.1)
    if records:
        print(json.dumps([int(record.value) for record in records]), flush=True)
        consumer.commit(records)
        print("committed", flush=True)
"""


def test_a_killed_member_is_replaced_and_every_record_is_seen(log: Log, address: str) -> None:
    produce(log, "t", numbers(0, 200))
    seen: list[int] = []
    for kill_after in (2, 3, 5):
        member = subprocess.Popen([sys.executable, "-c", MEMBER, address], stdout=subprocess.PIPE, text=True)
        assert member.stdout is not None
        lines = [member.stdout.readline() for _ in range(kill_after)]
        member.send_signal(signal.SIGKILL)
        lines += member.communicate(timeout=20)[0].splitlines()
        for line in lines:
            if line.startswith("["):
                with_end = line.strip()
                seen += json.loads(with_end)
    consumer = log.consumer("t", "g")
    while records := consumer.poll(100, 0.3):
        seen += [int(record.value) for record in records]
        consumer.commit(records)
    assert set(seen) == set(range(200))
    assert len(seen) - len(set(seen)) <= 3 * 10  # at most the batch that each member had not committed
    assert log.lag("t", "g") == 0
    consumer.close()
