"""The segment log: order, durability, torn tails, damage, readers beside the writer, full disks."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawksnest.errors import Poison, StorageFull
from hawksnest.log import FIRST_SEGMENT_BYTES, LogDamaged, LogFailed, LogReader, SegmentLog
from hawksnest.segments import DATA_START, HEAD, RECORD_BYTES_MAX

SMALL = 64 << 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(folder: Path) -> Iterator[SegmentLog]:
    opened = SegmentLog(folder, SMALL)
    yield opened
    opened.close()


def fill(folder: Path, *batches: list[bytes], segment_bytes: int = SMALL) -> None:
    """Append the batches, each flushed on its own, and close."""
    log = SegmentLog(folder, segment_bytes)
    for batch in batches:
        for payload in batch:
            log.append(payload)
        log.flush()
    log.close()


def kept(folder: Path) -> list[bytes]:
    """What a writer finds when it opens the log."""
    log = SegmentLog(folder, SMALL)
    try:
        payloads = [payload for _, payload in log.read()]
        assert [seq for seq, _ in log.read()] == list(range(1, len(payloads) + 1))
        assert log.last_seq == log.durable_seq == len(payloads)
        return payloads
    finally:
        log.close()


def test_records_come_back_in_order_after_reopening(folder: Path) -> None:
    fill(folder, [b"a", b"bb"], [b"", b"dddd"])
    assert kept(folder) == [b"a", b"bb", b"", b"dddd"]


def test_append_gives_consecutive_numbers_and_flush_makes_them_durable(log: SegmentLog) -> None:
    assert [log.append(b"x"), log.append(b"y")] == [1, 2]
    assert (log.last_seq, log.durable_seq, list(log.read())) == (2, 0, [])
    assert log.flush() == 2
    assert (log.durable_seq, list(log.read(1))) == (2, [(2, b"y")])


def test_records_appended_together_follow_the_others_unless_the_segment_is_too_small(log: SegmentLog) -> None:
    assert log.append(b"a") == 1
    assert log.append_together([b"b", b"cc"]) == 2
    assert log.append_together([]) == 4
    assert log.append_together([bytes(SMALL // 2)] * 2) is None
    assert log.append(b"d") == 4
    log.flush()
    assert [payload for _, payload in log.read()] == [b"a", b"b", b"cc", b"d"]


def test_the_first_segment_of_a_large_log_is_small(folder: Path) -> None:
    payloads = [b"%4d" % number * 1_000 for number in range(1_200)]
    fill(folder, payloads, segment_bytes=2 * FIRST_SEGMENT_BYTES)
    first, second = sorted(folder.glob("*.log"))
    assert (first.stat().st_size, second.stat().st_size) == (FIRST_SEGMENT_BYTES, 2 * FIRST_SEGMENT_BYTES)
    assert kept(folder) == payloads


def test_a_record_can_be_got_before_it_is_durable(log: SegmentLog) -> None:
    log.append(b"one")
    log.flush()
    log.append(b"two")
    assert (log.get(1), log.get(2), log.get(3), log.get(0)) == (b"one", b"two", None, None)


def test_a_log_of_many_segments_reads_from_anywhere(log: SegmentLog, folder: Path) -> None:
    payloads = [str(number).encode() * (number % 900) for number in range(1, 1200)]
    for number, payload in enumerate(payloads, 1):
        assert log.append(payload) == number
        if number % 37 == 0:
            log.flush()
            log.prepare()
    log.flush()
    assert len(list(folder.glob("*.log"))) > 10
    reader = LogReader(folder)
    for start in (0, 1, 500, 1197, 1198, 1199):
        expected = list(enumerate(payloads, 1))[start:]
        assert list(log.read(start)) == expected
        assert list(reader.read(start)) == expected
    assert all(log.get(seq) == reader.get(seq) == payload for seq, payload in enumerate(payloads, 1))
    assert (reader.get(1200), reader.get(0)) == (None, None)
    reader.close()


def test_more_records_than_one_system_call_takes_are_flushed(folder: Path) -> None:
    payloads = [b"%d" % number for number in range(3_000)]
    fill(folder, payloads, segment_bytes=1 << 20)
    assert kept(folder) == payloads


def test_the_largest_record_fits_and_one_byte_more_is_refused(folder: Path) -> None:
    log = SegmentLog(folder, 2 * RECORD_BYTES_MAX)
    largest = bytes(RECORD_BYTES_MAX - HEAD.size)
    with pytest.raises(Poison, match="too large"):
        log.append(largest + b"x")
    assert log.append(largest) == 1
    log.flush()
    assert log.get(1) == largest
    assert [len(payload) for _, payload in LogReader(folder).read()] == [len(largest)]
    log.close()


def test_a_reader_in_another_hand_follows_the_tail_across_segments(log: SegmentLog, folder: Path) -> None:
    reader = LogReader(folder)
    seen: list[tuple[int, bytes]] = []
    for number in range(1, 500):
        log.append(b"%d" % number * 100)
        log.flush()
        seen += reader.read(seen[-1][0] if seen else 0)
    assert seen == [(number, b"%d" % number * 100) for number in range(1, 500)]
    reader.close()


def test_a_torn_last_record_is_cut_wherever_it_is_torn(folder: Path) -> None:
    fill(folder, [b"first", b"second"])
    segment = next(folder.glob("*.log"))
    whole = segment.read_bytes()
    begin = DATA_START + HEAD.size + len(b"first")
    end = begin + HEAD.size + len(b"second")
    for cut in range(begin, end):
        segment.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        assert kept(folder) == [b"first"], cut
        segment.write_bytes(whole[:cut])  # the file itself ends early
        assert kept(folder) == [b"first"], cut
    segment.write_bytes(whole)
    assert kept(folder) == [b"first", b"second"]


def test_a_last_record_with_any_byte_changed_is_cut(folder: Path) -> None:
    fill(folder, [b"first", b"second"])
    segment = next(folder.glob("*.log"))
    whole = segment.read_bytes()
    begin = DATA_START + HEAD.size + len(b"first")
    for place in range(begin, begin + HEAD.size + len(b"second")):
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        assert kept(folder) == [b"first"], place


def test_what_follows_the_gap_of_a_torn_batch_never_comes_back(folder: Path) -> None:
    fill(folder, [b"1"], [b"2", b"3", b"4"])
    segment = next(folder.glob("*.log"))
    raw = bytearray(segment.read_bytes())
    second = DATA_START + HEAD.size + 1
    raw[second : second + HEAD.size + 1] = bytes(
        HEAD.size + 1
    )  # its page was not written, the next ones were
    segment.write_bytes(raw)
    log = SegmentLog(folder, SMALL)
    assert log.append(b"X") == 2
    log.close()
    assert kept(folder) == [b"1", b"X"]


def test_damage_to_a_record_known_to_be_durable_is_refused(folder: Path) -> None:
    fill(folder, [b"1", b"2", b"3"], [b"4"])
    segment = next(folder.glob("*.log"))
    raw = bytearray(segment.read_bytes())
    raw[DATA_START + HEAD.size] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(LogDamaged, match="record 1"):
        SegmentLog(folder, SMALL)


def test_damage_in_an_older_segment_stops_a_reader(folder: Path) -> None:
    fill(folder, *[[b"x" * 1000] for _ in range(100)])
    segment = sorted(folder.glob("*.log"))[0]
    raw = bytearray(segment.read_bytes())
    raw[DATA_START + 5000] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(LogDamaged, match="is damaged at byte"):
        list(LogReader(folder).read())


def test_a_file_that_is_no_segment_is_refused(folder: Path) -> None:
    fill(folder, [b"1"])
    segment = next(folder.glob("*.log"))
    segment.write_bytes(b"hello" + segment.read_bytes()[5:])
    with pytest.raises(LogDamaged, match="not a segment"):
        SegmentLog(folder, SMALL)


def test_several_writers_take_turns_under_a_lock_of_their_own(folder: Path) -> None:
    first, second = SegmentLog(folder, SMALL), SegmentLog(folder, SMALL)
    for number in range(1, 400):
        writer = (first, second)[number % 3 == 0]
        assert writer.catch_up() == number - 1
        assert writer.append(b"%d" % number * 50) == number
        writer.flush()
    first.close()
    second.close()
    assert kept(folder) == [b"%d" % number * 50 for number in range(1, 400)]


def test_catching_up_cuts_what_a_killed_writer_left_half_written(folder: Path) -> None:
    log = SegmentLog(folder, SMALL)
    log.append(b"kept")
    log.flush()
    segment = next(folder.glob("*.log"))
    with segment.open("r+b") as file:
        file.seek(DATA_START + HEAD.size + 4)
        file.write(HEAD.pack(100, 1, 2, 1) + b"half")
    assert log.catch_up() == 1
    log.append(b"next")
    log.close()
    assert kept(folder) == [b"kept", b"next"]


def test_retention_drops_whole_segments_and_readers_start_at_what_is_left(folder: Path) -> None:
    fill(folder, *[[b"x" * 1000] for _ in range(300)])
    log, reader = SegmentLog(folder, SMALL), LogReader(folder)
    next(reader.read())
    log.drop_before(200)
    first = log.first_seq()
    assert 1 < first <= 200
    assert [seq for seq, _ in reader.read()] == list(range(first, 301))
    assert log.get(first - 1) is None
    log.drop_before(1_000)
    assert log.append(b"y") == 301
    log.close()
    assert [base for base, _ in log.spans()] == [log.first_seq()]


def test_a_full_disk_refuses_the_record_and_keeps_the_rest(
    log: SegmentLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageFull, match="No space"):
            while True:
                log.append(b"x" * 1000)
        accepted = log.last_seq
        log.prepare()
        with pytest.raises(StorageFull):
            log.append(b"x" * 1000)
        assert log.flush() == accepted
        assert not list(folder.glob("*.tmp"))
    assert log.append(b"there is room again") == accepted + 1
    log.flush()
    assert len(list(LogReader(folder).read())) == accepted + 1


def test_a_failed_write_stops_the_log_for_good(log: SegmentLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(b"1")
    with monkeypatch.context() as disk:

        def broken(*_: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        disk.setattr(os, "pwritev", broken)
        with pytest.raises(LogFailed, match="Input/output error"):
            log.flush()
    with pytest.raises(LogFailed):
        log.append(b"2")
    with pytest.raises(LogFailed):
        log.flush()
    assert log.failed


def test_a_short_write_is_completed(log: SegmentLog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    with monkeypatch.context() as disk:
        disk.setattr(
            os, "pwritev", lambda fd, buffers, at, flags: real(fd, [b"".join(buffers)[:7]], at, flags)
        )
        log.append(b"a" * 20)
        log.append(b"b" * 20)
        log.flush()
    assert [payload for _, payload in LogReader(folder).read()] == [b"a" * 20, b"b" * 20]


def test_threads_append_and_flush_without_losing_or_doubling_a_record(log: SegmentLog) -> None:
    def work(name: bytes) -> None:
        for number in range(300):
            log.append(name + b"%d" % number)
            if number % 7 == 0:
                log.flush()

    threads = [threading.Thread(target=work, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()
    payloads = [payload for _, payload in log.read()]
    assert sorted(payloads) == sorted(
        name + b"%d" % number for name in (b"a", b"b", b"c") for number in range(300)
    )
    for name in (b"a", b"b", b"c"):
        own = [payload for payload in payloads if payload.startswith(name)]
        assert own == [name + b"%d" % number for number in range(300)]
