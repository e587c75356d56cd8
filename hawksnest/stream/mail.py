"""Mails about flagged events: their words, sending them over SMTP, and a server that catches them.

A mail's Message-ID is made of its events and recipient: should it ever go out twice (the process died between
the server's answer and the note of it), both copies carry the same one, and mail stores show one.
"""

import asyncio
import email
import email.policy
import re
import smtplib
import socket
import ssl
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import jinja2
import msgspec
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from hawksnest.errors import HawksnestError, Transient, UsageError
from hawksnest.stream.schema import Payment, shown
from hawksnest.world import World

SUBJECT = "FRAUD ALERT: Transaction has been flagged!"
_VALUE_CHARACTERS = 300
# Control characters, line separators and direction overrides: a value must not forge lines or headers.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Unreachable(Transient):
    """The mail server cannot be used now; no mail can be sent."""


class MailRefused(HawksnestError):
    """The server refuses this mail for good."""


class Flagged(msgspec.Struct, frozen=True):
    """One flagged event as a mail shows it; all texts are printable."""

    event_id: str
    outcome: str
    event_time: str
    entity_id: str
    amount: str
    currency: str
    scores: str
    rules: str
    detector_version: str


def flagged(payment: Payment) -> Flagged:
    """What a mail says about a decided payment."""
    fd = payment.fd
    return Flagged(
        event_id=printable(payment.event_id),
        outcome=printable(", ".join(fd.outcomes) or fd.outcome or ""),
        event_time=printable(payment.event_time),
        entity_id=printable(payment.entity_id),
        amount=printable(shown(payment.transaction_amt)),
        currency=printable(shown(payment.transaction_currency)),
        scores=printable(", ".join(f"{name} {score:g}" for name, score in fd.scores.items()) or "none"),
        rules=printable(
            "; ".join(f"{rule.rule_id} ({', '.join(rule.outcomes)})" for rule in fd.rules) or "none"
        ),
        detector_version=printable(fd.detector_version),
    )


def printable(text: str) -> str:
    """The text on one line, without control characters, of bounded length."""
    cut = text if len(text) <= _VALUE_CHARACTERS else text[: _VALUE_CHARACTERS - 1] + "…"
    return _UNPRINTABLE.sub(" ", cut)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("hawksnest.stream", "templates"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
)


def subject_of(events: Sequence[Flagged]) -> str:
    """The reference's subject; a digest tells how many there are."""
    return SUBJECT if len(events) == 1 else f"FRAUD ALERT: {len(events)} transactions have been flagged!"


def compose(
    events: Sequence[Flagged], mail_id: str, sender: str, recipient: str, written_at_ms: int
) -> EmailMessage:
    """One mail about one event, or a digest about several."""
    subject = subject_of(events)
    given = {"events": events, "digest": len(events) > 1, "subject": subject}
    message = EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = subject
    message["From"] = checked_address(sender)
    message["To"] = checked_address(recipient)
    message["Date"] = format_datetime(datetime.fromtimestamp(written_at_ms / 1000, UTC))
    message["Message-ID"] = f"<{mail_id}@{checked_address(sender).domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_TEMPLATES.get_template("alert.txt").render(given), cte="quoted-printable")
    message.add_alternative(
        _TEMPLATES.get_template("alert.html").render(given), subtype="html", cte="quoted-printable"
    )
    return message


def checked_address(text: str) -> Address:
    """A mail address. Raises UsageError, also for anything that could add a header."""
    try:
        address = Address(addr_spec=text)
    except (ValueError, IndexError, email.errors.MessageError):
        address = Address()
    if not address.username or not address.domain or not text.isascii() or _UNPRINTABLE.search(text):
        raise UsageError(f"{printable(text)!r} is no mail address.")
    return address


@dataclass(frozen=True)
class SmtpSettings:
    """Where mails go out. With `starttls` a connection that cannot be encrypted is not used."""

    host: str = "127.0.0.1"
    port: int = 25
    sender: str = "hawksnest@localhost"
    starttls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 10.0
    ca_file: str = ""  # trust anchors of its own; "": the system's


class Mailer:
    """Sends mails one after the other over one connection; one thread at a time."""

    def __init__(self, settings: SmtpSettings, world: World) -> None:
        checked_address(settings.sender)
        if settings.user and not settings.starttls and settings.host not in ("127.0.0.1", "::1", "localhost"):
            raise UsageError(f"A password is not sent to {settings.host} in the clear; switch starttls on.")
        self._settings = settings
        self._world = world
        self._context = (
            ssl.create_default_context(cafile=settings.ca_file or None) if settings.starttls else None
        )
        self._connection: smtplib.SMTP | None = None

    def send(self, events: Sequence[Flagged], mail_id: str, recipient: str) -> None:
        """Return once the server has taken the mail.

        Raises Unreachable (no mail can go out now), Transient (this one not now), MailRefused (never).
        """
        message = compose(events, mail_id, self._settings.sender, recipient, self._world.now_ms())
        try:
            connection = self._connected()
        except (smtplib.SMTPException, OSError) as fault:
            self.close()
            raise Unreachable(f"{self._settings.host}:{self._settings.port}: {_reason(fault)}") from fault
        try:
            connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as fault:
            code, _ = next(iter(fault.recipients.values()))
            self._refused(code, fault)
        except smtplib.SMTPServerDisconnected as fault:
            self.close()
            raise Unreachable(_reason(fault)) from fault
        except smtplib.SMTPResponseException as fault:
            self._refused(fault.smtp_code, fault)
        except (smtplib.SMTPException, OSError) as fault:
            self.close()
            raise Unreachable(_reason(fault)) from fault

    def _refused(self, code: int, fault: Exception) -> None:
        self.close()
        if code == 421:
            raise Unreachable(_reason(fault)) from fault
        if code >= 500:
            raise MailRefused(_reason(fault)) from fault
        raise Transient(_reason(fault)) from fault

    def _connected(self) -> smtplib.SMTP:
        if self._connection is not None:
            try:
                if self._connection.noop()[0] == 250:
                    return self._connection
            except (smtplib.SMTPException, OSError):
                pass
            self.close()
        settings = self._settings
        self._connection = smtplib.SMTP(
            settings.host,
            settings.port,
            local_hostname=socket.gethostname(),  # the library would ask the name servers
            timeout=settings.timeout_s,
        )
        if self._context is not None:
            self._connection.starttls(context=self._context)
        if settings.user:
            self._connection.login(settings.user, settings.password)
        return self._connection

    def close(self) -> None:
        """Close the connection; the next mail opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _reason(fault: Exception) -> str:
    """What went wrong, without the addresses and texts of the mail."""
    if isinstance(fault, smtplib.SMTPResponseException):
        return f"{type(fault).__name__} {fault.smtp_code}"
    return f"{type(fault).__name__} {fault}" if isinstance(fault, OSError) else type(fault).__name__


class CaughtMail(msgspec.Struct, frozen=True):
    """A mail that the catching server took."""

    message_id: str
    sender: str
    recipients: list[str]
    subject: str
    text: str
    html: str
    at_ms: int


def _content(part: Any) -> str:
    return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


class Mailbox:
    """An SMTP server on a loopback port that keeps what it gets: the newest `capacity` mails.

    A mail whose Message-ID it has is taken and not kept again, as mail stores do.
    """

    def __init__(
        self,
        world: World,
        capacity: int = 1_000,
        on_mail: Callable[[CaughtMail], None] | None = None,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self._world = world
        self._mails: deque[CaughtMail] = deque(maxlen=capacity)
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._ids_kept = 20 * capacity
        self._on_mail = on_mail
        self._tls = tls
        self._login = login
        self._lock = threading.Lock()
        self.port = 0
        self.taken = 0  # every delivery, second copies too
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="mailbox", daemon=True)

    def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; returns the port (a free one for 0)."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(port), self._loop).result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def _listen(self, port: int) -> asyncio.Server:
        return await self._loop.create_server(self._session, "127.0.0.1", port)

    def _session(self) -> Any:
        return SMTP(
            self,
            loop=self._loop,
            data_size_limit=4 << 20,
            hostname="localhost",
            tls_context=self._tls,
            require_starttls=self._tls is not None,
            authenticator=self._authenticate if self._login else None,
            auth_required=self._login is not None,
            auth_require_tls=self._tls is not None,
            timeout=300,
        )

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> Any:
        matches = isinstance(given, LoginPassword) and self._login == (
            given.login.decode(),
            given.password.decode(),
        )
        return AuthResult(success=matches, handled=False)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        """Keep the mail; called by the SMTP session."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        mail = CaughtMail(
            message_id=str(message["Message-ID"] or ""),
            sender=str(envelope.mail_from),
            recipients=[str(recipient) for recipient in envelope.rcpt_tos],
            subject=str(message["Subject"] or ""),
            text=_content(text),
            html=_content(html),
            at_ms=self._world.now_ms(),
        )
        self._keep(mail)
        return "250 OK"

    def _keep(self, mail: CaughtMail) -> None:
        identity = f"{mail.message_id} {mail.recipients}"
        with self._lock:
            self.taken += 1
            if mail.message_id and identity in self._ids:
                return
            self._ids[identity] = None
            if len(self._ids) > self._ids_kept:
                self._ids.popitem(last=False)
            self._mails.append(mail)
        if self._on_mail is not None:
            self._on_mail(mail)

    def mails(self) -> list[CaughtMail]:
        """What is kept, oldest first."""
        with self._lock:
            return list(self._mails)

    def stop(self) -> None:
        """Stop listening and close every session; no effect the second time."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
