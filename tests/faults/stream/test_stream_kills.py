"""kill -9 at random moments: the stream loses and doubles nothing, alerts mail each blocked event once."""

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hawksnest.stream.embedded import EmbeddedLog
from hawksnest.stream.mail import Mailbox
from hawksnest.world import RealWorld, seeded

STREAM = """
import sys, threading
from pathlib import Path
from hawksnest.stream.mapping import Mapping
from hawksnest.stream.open import open_log
from hawksnest.stream.pipeline import StreamOptions, run_stream

class Decider:
    def call(self, operation, request, idempotent=True):
        amount = float(request["eventVariables"]["order_price"])
        rules = [{"ruleId": "r", "outcomes": ["block"]}] if amount % 10 == 0 else []
        return {"ruleResults": rules, "modelScores": []}, {"x-hawksnest-detector-version-id": "1"}

    def close(self):
        pass

folder = Path(sys.argv[1])
options = StreamOptions(folder / "state", until_end=sys.argv[2] == "end", commit_every_s=float(sys.argv[3]))
print("up", flush=True)
run_stream(open_log(f"file://{folder}/stream"), Decider, Mapping(), options, threading.Event())
"""

ALERTS = """
import sys, threading
from pathlib import Path
from hawksnest.stream.alerts import AlertOptions, run_alerts
from hawksnest.stream.mail import Mailer, SmtpSettings
from hawksnest.stream.open import open_log
from hawksnest.world import RealWorld

folder = Path(sys.argv[1])
options = AlertOptions(
    folder / "state", ("team@example.com",), start=sys.argv[4], mails_per_minute=int(sys.argv[5]),
    digest_every_s=0.2, digest_events=15, retry_first_s=0.05, until_end=sys.argv[2] == "end",
)
mailer = Mailer(SmtpSettings(port=int(sys.argv[3])), RealWorld())
print("up", flush=True)
run_alerts(open_log(f"file://{folder}/stream"), mailer, options, threading.Event())
"""


def payment(number: int) -> bytes:
    record = {
        "transaction_amt": number,
        "ip_address": "192.0.2.1",
        "email_address": "a@example.com",
        "transaction_currency": "usd",
        "event_id": f"event-{number}",
        "entity_id": f"payer-{number % 31}",
        "event_time": "2026-01-02T03:04:05.678901",
    }
    return json.dumps(record).encode() if number % 50 != 7 else b"soup %d" % number


def decision(number: int) -> bytes:
    outcome = "block" if number % 4 == 0 else "approve"
    fd = {"ttdf": 1, "outcome": outcome, "proc_time": 1, "frauddetector_time": 0, "outcomes": [outcome]}
    fd |= {"rules": [], "scores": {}, "detector_version": "1"}
    return json.dumps(
        json.loads(payment(number + (number % 50 == 7))) | {"event_id": f"event-{number}", "fd": fd}
    ).encode()


def kill_after(command: list[str], random: Random, most_s: float) -> None:
    """Start, let it work for a random while, kill -9."""
    process = subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    threading.Event().wait(random.uniform(0.0, most_s))
    process.kill()
    process.communicate(timeout=20)


def to_the_end(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", *command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def topic(log: EmbeddedLog, name: str) -> list[dict[str, Any]]:
    reader = log.reader(name)
    found: list[dict[str, Any]] = []
    while reader is not None and (records := reader.poll(5_000, 0.0)):
        found += [json.loads(each.value) for each in records]
    if reader is not None:
        reader.close()
    return found


def kill_the_stream(folder: Path, rounds: int, per_round: int, seed: int) -> None:
    random = seeded(seed)
    log = EmbeddedLog(folder / "stream")
    producer = log.producer()
    total = 0
    for round_ in range(rounds):
        for number in range(total, total + per_round):
            producer.send("transactions", payment(number), f"payer-{number % 31}".encode())
        producer.flush()
        total += per_round
        commit_every_s = random.choice(["0.0", "0.1", "5.0"])
        kill_after([STREAM, str(folder), "on", commit_every_s], random, 0.1 if round_ % 2 else 0.4)
    to_the_end([STREAM, str(folder), "end", "0.1"])
    producer.close()
    decided = Counter(each["event_id"] for each in topic(log, "processed_transactions"))
    buried = Counter((each["partition"], each["offset"]) for each in topic(log, "transactions_dead_letter"))
    bad = sum(number % 50 == 7 for number in range(total))
    assert set(decided) == {f"event-{number}" for number in range(total) if number % 50 != 7}  # lost = 0
    assert set(decided.values()) == {1}  # duplicates = 0
    assert (len(buried), set(buried.values())) == (bad, {1})
    for payer in range(31):
        amounts = [
            each["transaction_amt"]
            for each in topic(log, "processed_transactions")
            if each["entity_id"] == f"payer-{payer}"
        ]
        assert amounts == sorted(amounts)
    log.close()


def kill_the_alerts(folder: Path, rounds: int, per_round: int, seed: int, per_minute: str) -> None:
    random = seeded(seed)
    log = EmbeddedLog(folder / "stream")
    box = Mailbox(RealWorld(), capacity=100_000)
    port = str(box.start())
    producer = log.producer()
    total = 0
    for round_ in range(rounds):
        for number in range(total, total + per_round):
            producer.send("processed_transactions", decision(number), f"payer-{number % 31}".encode())
        producer.flush()
        total += per_round
        start = "earliest" if round_ % 3 == 0 else "new"  # a replay now and then
        kill_after([ALERTS, str(folder), "on", port, start, per_minute], random, 0.6 if round_ % 2 else 0.15)
    to_the_end([ALERTS, str(folder), "end", port, "earliest", per_minute])
    producer.close()
    mailed = Counter(
        found for mail in box.mails() for found in re.findall(r"^TransactionID: (\S+)$", mail.text, re.M)
    )
    assert mailed == Counter(f"event-{number}" for number in range(total) if number % 4 == 0)
    noted = {each["mail"]: each["event_ids"] for each in topic(log, "alerts_sent")}
    assert Counter(event for events in noted.values() for event in events) == mailed
    # A second copy can only come from a death between the server's answer and the note of it.
    assert box.taken - len(box.mails()) <= rounds
    box.stop()
    log.close()


def test_a_killed_stream_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_the_stream(tmp_path, rounds=4, per_round=400, seed=1)


@pytest.mark.parametrize("per_minute", ["100000", "3"])
def test_killed_alerts_mail_every_blocked_event_once(tmp_path: Path, per_minute: str) -> None:
    kill_the_alerts(tmp_path, rounds=4, per_round=80, seed=2, per_minute=per_minute)


@pytest.mark.full
def test_a_stream_killed_forty_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_the_stream(tmp_path, rounds=40, per_round=1_000, seed=3)


@pytest.mark.full
@pytest.mark.parametrize("per_minute", ["100000", "3"])
def test_alerts_killed_thirty_times_mail_every_blocked_event_once(tmp_path: Path, per_minute: str) -> None:
    kill_the_alerts(tmp_path, rounds=30, per_round=150, seed=4, per_minute=per_minute)
