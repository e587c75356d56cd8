"""Background jobs: how many at once, stopped when cancelled and when the server ends."""

import threading
from collections.abc import Iterator

import pytest

from hawksnest.background import Background, Cancelled, Stop
from hawksnest.world import RealWorld

LONGEST_S = 10.0


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background(RealWorld(), running_max=1)
    yield made
    made.close()


def until_stopped(began: threading.Event, ended: list[str], name: str = "job"):
    """Work that goes on until it is told to stop, and writes down how that was."""

    def work(stop: Stop) -> None:
        began.set()
        try:
            stop.pause(LONGEST_S)
        except Cancelled:
            ended.append(f"{name} cancelled")

    return work


def test_more_jobs_than_may_run_wait_their_turn(background: Background) -> None:
    first, second, ended = threading.Event(), threading.Event(), list[str]()
    background.start(("first",), until_stopped(first, ended))
    background.start(("second",), until_stopped(second, ended))
    assert first.wait(LONGEST_S)
    assert not second.is_set()
    assert background.cancel(("first",))
    assert second.wait(LONGEST_S)


def test_a_job_that_waits_is_cancelled_at_once(background: Background) -> None:
    first, second, ended = threading.Event(), threading.Event(), list[str]()
    background.start(("first",), until_stopped(first, ended))
    background.start(("second",), until_stopped(second, ended, "second"))
    assert background.cancel(("second",))
    assert second.wait(LONGEST_S)
    background.close()
    assert ended == ["second cancelled"]


def test_a_job_that_is_not_there_cannot_be_cancelled(background: Background) -> None:
    assert not background.cancel(("none",))
    assert background.report(("none",)) is None


def test_a_job_that_fails_makes_room(background: Background) -> None:
    def fail(stop: Stop) -> None:
        raise KeyError

    began = threading.Event()
    background.start(("bad",), fail)
    background.start(("good",), until_stopped(began, []))
    assert began.wait(LONGEST_S)


def test_what_a_job_reports_is_seen(background: Background) -> None:
    said = threading.Event()

    def work(stop: Stop) -> None:
        stop.report = 7
        said.set()
        stop.pause(LONGEST_S)

    background.start(("job",), work)
    assert said.wait(LONGEST_S)
    assert background.report(("job",)) == 7


def test_work_for_the_loop_runs_there_and_its_fault_comes_back(background: Background) -> None:
    loop: list[threading.Thread] = []

    def schedule(run) -> None:
        thread = threading.Thread(target=run, name="loop")
        loop.append(thread)
        thread.start()

    background.attach(schedule)
    assert background.on_loop(lambda: threading.current_thread().name) == "loop"
    with pytest.raises(ZeroDivisionError):
        background.on_loop(lambda: 1 / 0)
    for thread in loop:
        thread.join()


def test_work_for_a_loop_that_has_ended_runs_here(background: Background) -> None:
    def closed(run) -> None:
        raise RuntimeError

    background.attach(closed)
    assert background.on_loop(lambda: 1) == 1
    assert not background.attached
    background.attach(lambda run: None)  # stopped: takes work, never does it
    assert background.on_loop(lambda: 2) == 2
