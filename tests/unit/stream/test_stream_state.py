"""What survives: sets of ids, offsets in work, retention of the embedded log."""

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_support import send

from hawksnest.errors import Transient, UsageError
from hawksnest.stream.consumer import Progress, hold_state
from hawksnest.stream.dedupe import SeenIds, digest
from hawksnest.stream.embedded import EmbeddedLog
from hawksnest.stream.open import open_log
from hawksnest.stream.partition import Retention
from hawksnest.stream.ports import StreamRecord


def test_only_kept_and_saved_ids_survive(tmp_path: Path) -> None:
    seen = SeenIds(tmp_path / "ids")
    assert seen.add(digest("claimed"))
    seen.keep(digest("saved"))
    seen.save()
    seen.keep(digest("kept"))
    assert not seen.add(digest("claimed")) and digest("kept") in seen
    seen.close()
    again = SeenIds(tmp_path / "ids")
    assert digest("saved") in again
    assert digest("claimed") not in again and digest("kept") not in again
    again.close()


def test_a_torn_end_is_cut(tmp_path: Path) -> None:
    seen = SeenIds(tmp_path / "ids")
    seen.keep(digest("one"))
    seen.save()
    seen.close()
    with (tmp_path / "ids").open("ab") as file:
        file.write(b"torn")
    again = SeenIds(tmp_path / "ids")
    again.keep(digest("two"))
    again.save()
    again.close()
    last = SeenIds(tmp_path / "ids")
    assert digest("one") in last and digest("two") in last
    last.close()


def test_the_oldest_ids_are_forgotten_and_file_and_memory_stay_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hawksnest.stream.dedupe._BLOCK", 1_000)
    capacity = 8_000
    seen = SeenIds(tmp_path / "ids", capacity)
    ids = [number.to_bytes(4, "big") * 4 for number in range(40_500)]
    for number, each in enumerate(ids):
        seen.keep(each)
        if number % 5_000 == 0:
            seen.save()
    seen.save()
    assert all(each in seen for each in ids[-capacity::97])
    assert not any(each in seen for each in ids[:1000])
    seen.close()
    assert (tmp_path / "ids").stat().st_size <= 2 * capacity * 16
    again = SeenIds(tmp_path / "ids", capacity)
    assert all(each in again for each in ids[-capacity::97])
    again.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.randoms())
def test_progress_never_resumes_past_unfinished_work(partitions: list[int], random: object) -> None:
    progress = Progress()
    offsets = dict.fromkeys(range(3), 0)
    records = []
    for partition in partitions:
        records.append(StreamRecord("t", partition, offsets[partition], None, b"", 0))
        offsets[partition] += 1
    progress.taken(records)
    open_ = {(record.partition, record.offset) for record in records}
    resumed = dict.fromkeys(range(3), -1)
    order = list(records)
    random.shuffle(order)  # type: ignore[attr-defined]
    for record in order:
        progress.finished(record)
        open_.discard((record.partition, record.offset))
        for last in progress.resumable():
            assert last.offset > resumed[last.partition]
            resumed[last.partition] = last.offset
        for partition in range(3):
            first_open = min(
                (offset for place, offset in open_ if place == partition), default=offsets[partition]
            )
            assert resumed[partition] == first_open - 1
    assert progress.in_work == progress.uncommitted == 0


def test_state_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    stop = threading.Event()
    with ExitStack() as first:
        assert hold_state(tmp_path, "g", stop, first)
        with ExitStack() as second:
            waiting = threading.Timer(0.1, stop.set)
            waiting.start()
            assert not hold_state(tmp_path, "g", stop, second)
            waiting.join()
    with ExitStack() as third:
        assert hold_state(tmp_path, "g", threading.Event(), third)


SMALL = Retention(size_bytes=3 << 16, hard_bytes=6 << 16, segment_bytes=1 << 16)


def fill(log: EmbeddedLog, kilobytes: int) -> None:
    producer = log.producer()
    for number in range(kilobytes):
        producer.send("t", f"{number:08d}".encode() + bytes(1_000), b"k")
        producer.flush()
    producer.close()


def kept(log: EmbeddedLog) -> list[int]:
    reader = log.reader("t")
    assert reader is not None
    found = []
    while records := reader.poll(5_000, 0.0):
        found += [record.offset for record in records]
    reader.close()
    return found


def test_old_segments_go_when_the_partition_is_large(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, retention=SMALL)
    log.create_topic("t", 1)
    fill(log, 500)
    found = kept(log)
    assert found[-1] == 499 and found == list(range(found[0], 500))
    assert 64 <= len(found) <= 5 * 64
    log.close()


def test_what_a_group_has_not_read_stays_until_the_hard_limit(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, retention=SMALL)
    log.create_topic("t", 1)
    log.consumer("t", "slow", "earliest").close()
    fill(log, 300)
    assert kept(log)[0] == 0
    fill(log, 400)
    found = kept(log)
    assert found[0] > 0 and found[-1] == 699 and len(found) <= 8 * 64
    consumer = log.consumer("t", "slow")
    assert consumer.poll(1, 0.1)[0].offset == found[0]
    assert log.lag("t", "slow") == len(found)
    consumer.close()
    log.close()


def test_old_age_deletes_what_everybody_has_read(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, retention=Retention(age_s=0.0, segment_bytes=1 << 16))
    log.create_topic("t", 1)
    fill(log, 300)
    assert kept(log)[0] > 0
    log.close()


def test_a_full_disk_is_transient_and_nothing_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EmbeddedLog(tmp_path, retention=Retention(segment_bytes=1 << 16))
    log.create_topic("t", 1)
    producer = log.producer()
    real = os.posix_fallocate
    room = {"segments": 2}

    def allocate(fd: int, offset: int, length: int) -> None:
        if room["segments"] == 0:
            raise OSError(28, "No space left on device")
        room["segments"] -= 1
        real(fd, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    for number in range(300):
        producer.send("t", f"{number:08d}".encode() + bytes(1_000), b"k")
    for _ in range(3):
        with pytest.raises(Transient, match="No space left"):
            producer.flush()
    room["segments"] = 100
    producer.flush()
    producer.close()
    assert kept(log) == list(range(300))
    log.close()


def test_kafka_is_an_extra_and_other_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="comes with the kafka extra"):
        open_log("kafka://localhost:9092")
    for address in ("redis://x", "file://", ""):
        with pytest.raises(UsageError, match=r"file://FOLDER"):
            open_log(address)
    open_log(str(tmp_path / "plain")).close()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be used"):
        open_log(f"file://{tmp_path / 'file' / 'below'}")


def test_a_topic_is_made_once_however_many_try(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path)
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        log.create_topic("t", 3)
        send(log, "t", b"x")

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = log.reader("t")
    assert reader is not None
    assert len(reader.poll(100, 0.1)) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t"]
    reader.close()
    log.close()
