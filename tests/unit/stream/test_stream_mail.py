"""Mails: their words, their safety, and the servers they go through."""

import email
import email.policy
import ssl
from collections.abc import Iterator
from email.message import EmailMessage

import msgspec
import pytest
import trustme

from hawksnest.errors import UsageError
from hawksnest.stream.mail import (
    SUBJECT,
    CaughtMail,
    Flagged,
    Mailbox,
    Mailer,
    SmtpSettings,
    Unreachable,
    compose,
    flagged,
    subject_of,
)
from hawksnest.stream.schema import FraudDecision, MatchedRule, Payment
from hawksnest.world import ManualWorld

WORLD = ManualWorld()


def payment(**given: str) -> Payment:
    fd = FraudDecision(
        ttdf=12,
        outcome="block",
        proc_time=5,
        frauddetector_time=7,
        outcomes=["block"],
        rules=[MatchedRule("high_score", ["block"])],
        scores={"m_insightscore": 987.0},
        detector_version="3",
    )
    texts = {"event_id": "e-1", "entity_id": "269-37-3393", "event_time": "2021-05-21T07:12:54.03265"} | given
    return Payment(
        **texts, fd=fd, transaction_amt=msgspec.Raw(b"12.10"), transaction_currency=msgspec.Raw(b'"usd"')
    )


def parts(message: EmailMessage) -> tuple[str, str]:
    again = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    assert isinstance(again, EmailMessage)
    text, html = again.get_body(("plain",)), again.get_body(("html",))
    assert text is not None and html is not None
    return text.get_content(), html.get_content()


def test_a_mail_has_the_five_labelled_lines_in_order_then_score_and_rules() -> None:
    message = compose([flagged(payment())], "id1", "hawk@example.com", "team@example.com", WORLD.now_ms())
    text, html = parts(message)
    lines = text.splitlines()
    assert lines[2:10] == [
        "TransactionID: e-1",
        "Outcome: block",
        "Timestamp: 2021-05-21T07:12:54.03265",
        "EntityID: 269-37-3393",
        "transaction Amount: 12.10",
        "Currency: usd",
        "Score: m_insightscore 987",
        "Matched rules: high_score (block)",
    ]
    labels = [
        "TransactionID:",
        "Outcome:",
        "Timestamp:",
        "EntityID:",
        "transaction Amount:",
        "Score:",
        "Matched rules:",
    ]
    places = [html.index(label) for label in labels]
    assert places == sorted(places)
    assert message["Subject"] == SUBJECT == "FRAUD ALERT: Transaction has been flagged!"
    assert message["Message-ID"] == "<id1@example.com>"
    assert message["Date"] == "Mon, 01 Jan 2024 00:00:00 +0000"


def test_a_digest_lists_every_event() -> None:
    events = [flagged(payment(event_id=f"e-{number}")) for number in range(30)]
    message = compose(events, "id1", "hawk@example.com", "team@example.com", WORLD.now_ms())
    for part in parts(message):
        for number in range(30):
            assert f"e-{number}" in part
    assert message["Subject"] == subject_of(events) == "FRAUD ALERT: 30 transactions have been flagged!"


def test_values_cannot_forge_lines_headers_or_markup() -> None:
    nasty = "x\r\nBcc: all@example.com\r\n\r\nOutcome: approve\u2028<script>alert(1)</script>\u202e"
    event = flagged(payment(entity_id=nasty, event_time="y" * 5000))
    message = compose([event], "id1", "hawk@example.com", "team@example.com", WORLD.now_ms())
    text, html = parts(message)
    assert message["Bcc"] is None
    assert [line for line in text.splitlines() if line.startswith(("Outcome", "Bcc"))] == ["Outcome: block"]
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.parametrize(
    "address", ["", "nobody", "a@", "@b", "a@b\r\nBcc: c@d", "a@b, c@d", "<a@b>", "ä@example.com"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="no mail address"):
        compose([flagged(payment())], "id1", "hawk@example.com", address, WORLD.now_ms())
    with pytest.raises(UsageError, match="no mail address"):
        Mailer(SmtpSettings(sender=address), WORLD)


def test_a_password_is_not_sent_in_the_clear_over_a_network() -> None:
    with pytest.raises(UsageError, match="in the clear"):
        Mailer(SmtpSettings(host="mail.example.com", user="u", password="p"), WORLD)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(WORLD, capacity=5)
    box.start()
    yield box
    box.stop()


def one(number: int) -> list[Flagged]:
    return [flagged(payment(event_id=f"e-{number}"))]


def test_the_catching_server_keeps_what_it_gets_and_drops_second_copies(mailbox: Mailbox) -> None:
    mailer = Mailer(SmtpSettings(port=mailbox.port), WORLD)
    for number in (1, 2, 1):
        mailer.send(one(number), f"id{number}", "team@example.com")
    mailer.close()
    assert [mail.message_id for mail in mailbox.mails()] == ["<id1@localhost>", "<id2@localhost>"]
    assert mailbox.taken == 3
    mail = mailbox.mails()[0]
    assert (mail.sender, mail.recipients, mail.subject) == (
        "hawksnest@localhost",
        ["team@example.com"],
        SUBJECT,
    )
    assert "TransactionID: e-1" in mail.text and "e-1" in mail.html


def test_the_catching_server_is_bounded_and_calls_back() -> None:
    seen: list[CaughtMail] = []
    box = Mailbox(WORLD, capacity=5, on_mail=seen.append)
    mailer = Mailer(SmtpSettings(port=box.start()), WORLD)
    for number in range(8):
        mailer.send(one(number), f"id{number}", "team@example.com")
    mailer.close()
    box.stop()
    assert len(seen) == 8
    assert [mail.message_id[1:4] for mail in box.mails()] == [f"id{number}" for number in range(3, 8)]


def test_a_server_that_is_not_there_is_unreachable_and_its_return_is_noticed(mailbox: Mailbox) -> None:
    mailer = Mailer(SmtpSettings(port=mailbox.port), WORLD)
    mailer.send(one(1), "id1", "team@example.com")
    mailbox.stop()
    with pytest.raises(Unreachable):
        mailer.send(one(2), "id2", "team@example.com")
    again = Mailbox(WORLD)
    again.start(mailbox.port)
    mailer.send(one(2), "id2", "team@example.com")
    assert len(again.mails()) == 1
    mailer.close()
    again.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_starttls_and_login(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    anchors = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(anchors)
    box = Mailbox(WORLD, tls=context, login=("user", "secret"))
    box.start()
    good = SmtpSettings(port=box.port, starttls=True, user="user", password="secret", ca_file=str(anchors))
    mailer = Mailer(good, WORLD)
    mailer.send(one(1), "id1", "team@example.com")
    mailer.close()
    for settings in (
        SmtpSettings(port=box.port, starttls=True, user="user", password="wrong", ca_file=str(anchors)),
        SmtpSettings(port=box.port, starttls=True, user="user", password="secret"),  # not trusted
    ):
        mailer = Mailer(settings, WORLD)
        with pytest.raises(Unreachable):
            mailer.send(one(2), "id2", "team@example.com")
        mailer.close()
    assert len(box.mails()) == 1
    box.stop()
