"""The demo, small: the whole main job with every part real."""

import smtplib
import socket
import threading
from pathlib import Path

import pytest

from hawksnest.demo.run import DemoOptions, run_demo
from hawksnest.errors import UsageError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Quiet:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shares: list[float] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def step(self, text: str):
        self.lines.append(text)
        return lambda share, _about: self.shares.append(share)

    def live(self, counts: dict[str, int]) -> None:
        self.lines.append(str(counts))


def options(folder: Path, **given: object) -> DemoOptions:
    plan = {"rate": 60.0, "seconds": 6.0, "seed": 7, "smtp": "", "history": 18_000}
    return DemoOptions(port=free_port(), data=folder / "data", **{**plan, **given})  # type: ignore[arg-type]


def test_every_payment_is_decided_once_and_every_blocked_one_mailed(tmp_path: Path):
    screen = Quiet()
    summary = run_demo(options(tmp_path), threading.Event(), screen)
    assert summary["transactions"] > 200
    assert summary["decisions"] == summary["transactions"]
    assert (summary["lost"], summary["duplicates"], summary["dead_letters"]) == (0, 0, 0)
    assert summary["blocked"] == 0 or summary["mails"] > 0
    assert summary["latency_ms"]["p50"] is not None
    assert set(summary["fraud"]) == set(summary["rules_only"])
    assert 1.0 in screen.shares
    assert any("Detector version 1 blocks" in line for line in screen.lines)


def test_a_demo_that_is_stopped_early_says_so_and_leaves_no_process(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    given = options(tmp_path)
    with pytest.raises(Exception, match="did not start") as fault:
        run_demo(given, stop, Quiet())
    assert "logs" in str(fault.value)
    with pytest.raises(OSError):
        smtplib.SMTP("127.0.0.1", given.port, timeout=1)


def test_a_busy_port_is_one_sentence(tmp_path: Path):
    given = options(tmp_path)
    with socket.create_server(("127.0.0.1", given.port)), pytest.raises(UsageError, match=str(given.port)):
        run_demo(given, threading.Event(), Quiet())
