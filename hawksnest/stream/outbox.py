"""What mails are due: every mail is planned durably before it is sent, so an event belongs to one mail.

A plan names the mail and holds its events. After a crash the open plans are sent as they were planned, with
the same Message-ID; events in any plan, open or done, are never planned again.
"""

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from hawksnest.stream.dedupe import SeenIds, digest
from hawksnest.stream.mail import Flagged

_COMPACT_BYTES = 4 << 20


class Plan(msgspec.Struct, frozen=True, tag="plan"):
    """One mail to one recipient."""

    mail_id: str
    recipient: str
    events: list[Flagged]
    planned_at_ms: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The mail was taken by the server, or given up (`reason`)."""

    mail_id: str
    reason: str = ""


_LINE = msgspec.json.Decoder(Plan | Done)


def plan(recipient: str, events: list[Flagged], now_ms: int) -> Plan:
    """A mail about these events."""
    name = digest("mail", recipient, *(event.event_id for event in events)).hex()
    return Plan(name, recipient, events, now_ms)


class Outbox:
    """Open plans and the ids of everything that was ever planned. Safe in several threads."""

    def __init__(self, path: Path, seen: SeenIds) -> None:
        self._path = path
        self._seen = seen
        self._lock = threading.Lock()
        self._open: dict[str, Plan] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._closed = False
        self._load()

    def _load(self) -> None:
        data = self._path.read_bytes()
        whole = 0
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                entry = _LINE.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                break
            whole += len(line)
            if isinstance(entry, Plan):
                self._open[entry.mail_id] = entry
                for identity in _identities(entry):
                    self._seen.add(identity)
            else:
                self._open.pop(entry.mail_id, None)
        if whole != len(data):  # a torn end: it was never reported as durable
            os.ftruncate(self._file, whole)
            os.fdatasync(self._file)

    def knows(self, recipient: str, event_id: str) -> bool:
        """Is there, or was there, a mail about this event to this recipient?"""
        return _identity(recipient, event_id) in self._seen

    def add(self, plans: Iterable[Plan]) -> None:
        """Durable on return. Raises OSError; then nothing is planned."""
        new = list(plans)
        with self._lock:
            self._append(new)
            for each in new:
                self._open[each.mail_id] = each
                for identity in _identities(each):
                    self._seen.add(identity)

    def done(self, done: Plan, reason: str = "") -> None:
        """The mail needs no more work; durable on return."""
        with self._lock:
            if self._closed:
                return
            for identity in _identities(done):
                self._seen.keep(identity)
            self._seen.save()
            self._append([Done(done.mail_id, reason)])
            self._open.pop(done.mail_id, None)
            if os.fstat(self._file).st_size > _COMPACT_BYTES and len(self._open) < 100:
                self._compact()

    def __len__(self) -> int:
        """Open plans."""
        return len(self._open)

    def open_plans(self) -> list[Plan]:
        """Oldest first."""
        with self._lock:
            return list(self._open.values())

    def _append(self, entries: Iterable[Plan | Done]) -> None:
        data = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        start = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, start)
            raise

    def _compact(self) -> None:
        """Keep the open plans; the ids of the others are in the saved set."""
        other = self._path.with_suffix(".new")
        kept = os.open(other, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        before, self._file = self._file, kept
        self._append(self._open.values())
        other.rename(self._path)
        os.close(before)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._file)
            self._seen.close()


def _identity(recipient: str, event_id: str) -> bytes:
    return digest("alert", recipient, event_id)


def _identities(each: Plan) -> list[bytes]:
    return [_identity(each.recipient, event.event_id) for event in each.events]
