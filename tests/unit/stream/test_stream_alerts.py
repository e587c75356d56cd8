"""Alerts against the catching mail server: one mail per flagged event, digests, retries."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from stream_support import record, send, values

from hawksnest.errors import Transient, UsageError
from hawksnest.stream.alerts import AlertOptions, AlertSummary, run_alerts
from hawksnest.stream.mail import SUBJECT, Flagged, Mailbox, Mailer, MailRefused, SmtpSettings
from hawksnest.stream.ports import Log
from hawksnest.world import RealWorld

TOPIC = "processed_transactions"
TEAM = "team@example.com"


def decided(number: int, *outcomes: str) -> dict[str, Any]:
    return record(number) | {
        "fd": {
            "ttdf": 9,
            "outcome": outcomes[0] if outcomes else None,
            "proc_time": 5,
            "frauddetector_time": 4,
            "outcomes": list(outcomes),
            "rules": [{"rule_id": "r", "outcomes": list(outcomes)}],
            "scores": {"m_insightscore": 990.0},
            "detector_version": "1",
        }
    }


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(RealWorld())
    box.start()
    yield box
    box.stop()


def mailed(mailbox: Mailbox) -> list[str]:
    """Event ids in all mails."""
    return [
        found for mail in mailbox.mails() for found in re.findall(r"^TransactionID: (\S+)$", mail.text, re.M)
    ]


def run(log: Log, state: Path, mailer: Mailer, **given: Any) -> AlertSummary:
    """Mail everything that is in the topic."""
    given = {"start": "committed", "recipients": (TEAM,), "retry_first_s": 0.02} | given
    options = AlertOptions(state / "state", until_end=True, **given)
    return run_alerts(log, mailer, options, threading.Event())


def to(mailbox: Mailbox) -> Mailer:
    return Mailer(SmtpSettings(port=mailbox.port), RealWorld())


def test_one_mail_for_each_blocked_event_and_none_for_others(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    send(log, TOPIC, decided(1, "block"), decided(2, "review"), decided(3), decided(4, "approve", "block"))
    summary = run(log, tmp_path, to(mailbox))
    assert (summary.read, summary.flagged, summary.mails, summary.waiting) == (4, 2, 2, 0)
    assert sorted(mailed(mailbox)) == ["event-1", "event-4"]
    assert {mail.subject for mail in mailbox.mails()} == {SUBJECT}
    assert log.lag(TOPIC, "hawksnest-alert") == 0


def test_other_outcomes_can_be_mailed_too(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    send(log, TOPIC, decided(1, "block"), decided(2, "review"), decided(3, "approve"))
    run(log, tmp_path, to(mailbox), outcomes=frozenset({"block", "review"}))
    assert sorted(mailed(mailbox)) == ["event-1", "event-2"]


def test_restarts_replays_and_repeated_records_mail_nothing_again(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    send(log, TOPIC, *(decided(number % 5, "block") for number in range(20)))
    assert run(log, tmp_path, to(mailbox)).repeated == 15
    assert run(log, tmp_path, to(mailbox), start="earliest").repeated == 20
    send(log, TOPIC, decided(3, "block"), decided(6, "block"))
    assert run(log, tmp_path, to(mailbox)).mails == 1
    assert sorted(mailed(mailbox)) == sorted(f"event-{number}" for number in (0, 1, 2, 3, 4, 6))
    assert mailbox.taken == 6


def test_the_first_start_mails_no_history(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    send(log, TOPIC, decided(1, "block"))
    assert run(log, tmp_path, to(mailbox), start="new").mails == 0
    send(log, TOPIC, decided(2, "block"))
    assert run(log, tmp_path, to(mailbox), start="new").mails == 1
    assert mailed(mailbox) == ["event-2"]


def test_above_the_rate_one_digest_takes_the_place_of_a_storm(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    send(log, TOPIC, *(decided(number, "block") for number in range(40)))
    summary = run(log, tmp_path, to(mailbox), mails_per_minute=10)
    assert (summary.mails, summary.digests) == (11, 1)
    assert Counter(mailed(mailbox)) == Counter(f"event-{number}" for number in range(40))
    assert [mail.subject for mail in mailbox.mails()].count(SUBJECT) == 10
    assert mailbox.mails()[-1].subject == "FRAUD ALERT: 30 transactions have been flagged!"


def test_a_digest_has_a_bound(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    send(log, TOPIC, *(decided(number, "block") for number in range(100)))
    assert run(log, tmp_path, to(mailbox), mails_per_minute=0, digest_events=30).digests == 4
    assert Counter(mailed(mailbox)) == Counter(f"event-{number}" for number in range(100))


def test_every_recipient_gets_each_event_once(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    send(log, TOPIC, *(decided(number, "block") for number in range(30)))
    both = (TEAM, "second@example.com")
    run(log, tmp_path, to(mailbox), recipients=both, mails_per_minute=5)
    for recipient in both:
        mine = [mail for mail in mailbox.mails() if mail.recipients == [recipient]]
        found = [each for mail in mine for each in re.findall(r"^TransactionID: (\S+)$", mail.text, re.M)]
        assert Counter(found) == Counter(f"event-{number}" for number in range(30))
        assert len(mine) == 6
    assert log.lag(TOPIC, "hawksnest-alert") == 0


def test_each_mail_is_noted_in_the_topic_of_sent_mails(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    send(log, TOPIC, decided(1, "block"))
    run(log, tmp_path, to(mailbox))
    (note,) = values(log, "alerts_sent")
    assert (note["event_ids"], note["subject"], note["recipient"]) == (["event-1"], SUBJECT, TEAM)
    assert note["events"][0]["amount"] == "1"
    assert note["at"].endswith("Z")


class Moody(Mailer):
    """A real mailer in front of a network that fails as told: a fault for the n-th attempt on an event."""

    def __init__(self, mailbox: Mailbox, faults: dict[str, list[Exception]]) -> None:
        super().__init__(SmtpSettings(port=mailbox.port), RealWorld())
        self._faults = faults

    def send(self, events: Sequence[Flagged], mail_id: str, recipient: str) -> None:
        waiting = self._faults.get(events[0].event_id)
        if waiting:
            raise waiting.pop(0)
        super().send(events, mail_id, recipient)


def test_a_failed_mail_is_retried_alone_and_its_neighbours_go_once(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    send(log, TOPIC, *(decided(number, "block") for number in range(5)))
    mailer = Moody(mailbox, {"event-2": [Transient("451"), MailRefused("550"), Transient("451")]})
    summary = run(log, tmp_path, mailer)
    assert (summary.mails, summary.retries) == (5, 3)
    assert mailed(mailbox)[-1] == "event-2"
    assert mailbox.taken == 5


def test_a_mail_refused_again_and_again_is_given_up_and_counted(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    send(log, TOPIC, *(decided(number, "block") for number in range(3)))
    mailer = Moody(mailbox, {"event-1": [MailRefused("550")] * 8})
    summary = run(log, tmp_path, mailer, retry_first_s=0.001)
    assert (summary.mails, summary.given_up, summary.waiting) == (2, 1, 0)


def test_a_mail_server_that_is_away_holds_everything_and_loses_nothing(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    mailer = to(mailbox)
    mailbox.stop()
    send(log, TOPIC, *(decided(number, "block") for number in range(4)))
    stop, world = threading.Event(), RealWorld()
    summaries: list[AlertSummary] = []
    options = AlertOptions(tmp_path / "state", (TEAM,), start="earliest", retry_first_s=0.02)
    thread = threading.Thread(target=lambda: summaries.append(run_alerts(log, mailer, options, stop)))
    thread.start()
    deadline_s = world.monotonic_s() + 10
    while log.lag(TOPIC, "hawksnest-alert") and world.monotonic_s() < deadline_s:
        stop.wait(0.01)
    stop.set()
    stopped_s = world.monotonic_s()
    thread.join(10)
    assert world.monotonic_s() - stopped_s < 2.0
    assert (summaries[0].mails, summaries[0].waiting) == (0, 4)
    again = Mailbox(world)
    again.start()
    assert run(log, tmp_path, to(again)).mails == 4
    assert sorted(mailed(again)) == [f"event-{number}" for number in range(4)]
    again.stop()


def test_what_was_gathered_goes_out_when_alerts_are_stopped(
    log: Log, tmp_path: Path, mailbox: Mailbox
) -> None:
    send(log, TOPIC, *(decided(number, "block") for number in range(20)))
    stop, world = threading.Event(), RealWorld()
    summaries: list[AlertSummary] = []
    options = AlertOptions(tmp_path / "state", (TEAM,), start="earliest", mails_per_minute=3)
    thread = threading.Thread(target=lambda: summaries.append(run_alerts(log, to(mailbox), options, stop)))
    thread.start()
    deadline_s = world.monotonic_s() + 10
    while len(mailbox.mails()) < 3 and world.monotonic_s() < deadline_s:
        stop.wait(0.01)
    assert len(mailbox.mails()) == 3
    stop.set()
    thread.join(10)
    assert Counter(mailed(mailbox)) == Counter(f"event-{number}" for number in range(20))
    assert summaries[0].mails == 4


def test_records_that_are_no_decisions_are_passed_over(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    send(log, TOPIC, b"soup", b"{}", b'{"fd": 7}', record(1), decided(2, "block"))
    assert run(log, tmp_path, to(mailbox)).mails == 1


def test_wrong_recipients_are_refused_at_once(log: Log, tmp_path: Path, mailbox: Mailbox) -> None:
    with pytest.raises(UsageError, match="no mail address"):
        run(log, tmp_path, to(mailbox), recipients=("a@b\nBcc: c@d",))
    with pytest.raises(UsageError, match="at least one recipient"):
        run(log, tmp_path, to(mailbox), recipients=())


def test_the_outbox_stays_small(
    log: Log, tmp_path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hawksnest.stream.outbox._COMPACT_BYTES", 2_000)
    for first in range(0, 60, 20):
        send(log, TOPIC, *(decided(number, "block") for number in range(first, first + 20)))
        run(log, tmp_path, to(mailbox))
    assert (tmp_path / "state" / "hawksnest-alert.plans.jsonl").stat().st_size < 25_000
    assert run(log, tmp_path, to(mailbox), start="earliest").repeated == 60
    assert Counter(mailed(mailbox)) == Counter(f"event-{number}" for number in range(60))
