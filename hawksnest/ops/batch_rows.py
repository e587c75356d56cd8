"""The first half of a batch job: a customer's CSV file, read once with flat memory, to checked rows.

Runs in a child process for all but small files. A file that is broken as a whole (encoding, header, number of
fields, line ends, oversized rows) ends the job; a row with a bad value is refused alone. Rows are checked as
the calls of the API check an event.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from hawksnest import batch
from hawksnest.app import Request
from hawksnest.batch import Frames, Plan, Row, Summary
from hawksnest.buckets import Buckets
from hawksnest.errors import ServiceError, Transient, invalid
from hawksnest.kernel.events import EventSchema, parse_timestamp
from hawksnest.ops.requests import label_pair, the_event
from hawksnest.snapshot import EventTypeSnapshot
from hawksnest.store.sealing import Box
from hawksnest.world import iso_ms

NEEDED = ("EVENT_ID", "EVENT_TIMESTAMP", "ENTITY_ID", "ENTITY_TYPE")
LABELS = ("EVENT_LABEL", "LABEL_TIMESTAMP")
RESULTS = ("MODEL_SCORES", "OUTCOMES", "RULE_RESULTS", "STATUS")
REPORT_HEADER = "ROW,EVENT_ID,REASON\n"

ROW_CHARACTERS_MAX = 1 << 20
COLUMNS_MAX = 5_006  # the most variables an event takes, and the metadata
VALUE_CHARACTERS_MAX = 8_192  # as in a call
REPORT_ROWS_MAX = 100_000
_ASK_EVERY = 256  # rows between two questions whether to stop
_TEXT_MIN, _TEXT_MAX = 10, 30  # characters of a timestamp that the API can answer

_COLUMNS = (
    ("eventId", "EVENT_ID"),
    ("eventTimestamp", "EVENT_TIMESTAMP"),
    ("assignedLabel", "EVENT_LABEL"),
    ("labelTimestamp", "LABEL_TIMESTAMP"),
)
_ENTITY_ID = re.compile(r"[0-9A-Za-z_.@+-]{1,256}\Z")


class Broken(Exception):
    """The file as a whole cannot be used; the message says why and where."""


class _BrokenRow(Exception):
    """The row being read breaks the file; the message goes on after "Row N"."""


def prepare(
    plan: Plan, folder: Path, ask: Callable[[], None] = lambda: None, box: Box | None = None
) -> Summary:
    """Check the plan's file; leaves rows, rejects and summary in the folder.

    `ask` is called now and then and may raise to stop. `box`: what the files are sealed with.
    """
    frames, rejects = Frames(folder / batch.ROWS, box), Report(folder / batch.REJECTS, box)
    work = _Reading(plan, frames, rejects, ask)
    broken = ""
    try:
        work.run()
    except Broken as error:
        broken = str(error)
    except UnicodeDecodeError:
        broken = f"The file is not UTF-8 text at or soon after {work.place().lower()}."
    except _BrokenRow as error:
        broken = f"{work.place()} {error}."
    except csv.Error as error:
        broken = f"{work.place()} is not valid CSV: {error}."
    except ServiceError as error:
        broken = error.message
    except Transient as error:
        broken = str(error)
    except OSError as error:
        broken = f"The file could not be checked: {error.strerror}."
    finally:
        frames.close(whole=not broken)
        rejects.close()
    data_key = 0 if box is None else box.id.number
    summary = Summary(work.row, rejects.count, broken, work.header, data_key)
    batch.write(folder / batch.SUMMARY, summary, synced=True)
    return summary


class Report:
    """The lines of refused rows: row number, event id, reason; at most REPORT_ROWS_MAX."""

    def __init__(self, path: Path, box: Box | None = None) -> None:
        self._file = batch.Text(path, box=box)
        self.count = 0

    def add(self, row: int, event_id: str, reason: str) -> None:
        """One refused row."""
        self.count += 1
        if self.count <= REPORT_ROWS_MAX:
            self._write(str(row), event_id[:64], reason)
        elif self.count == REPORT_ROWS_MAX + 1:
            self._write("", "", f"Only the first {REPORT_ROWS_MAX} refused rows are listed.")

    def _write(self, *fields: str) -> None:
        self._file.write((line([*fields]) + "\n").encode())

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


class _Lines:
    """The lines of a text for the CSV reader: bounded, and all rows ended in the same way."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._end = ""  # of the first row
        self._size = 0  # characters of the row so far
        self._last = ""

    def __iter__(self) -> Iterator[str]:
        readline = self._text.readline
        while line := readline(ROW_CHARACTERS_MAX + 1):
            self._size += len(line)
            if self._size > ROW_CHARACTERS_MAX:
                raise _BrokenRow(f"is longer than {ROW_CHARACTERS_MAX:,} characters")
            self._last = line
            yield line

    def row_ended(self) -> None:
        """The line given last was the end of a row. Raises _BrokenRow when it ends unlike the first."""
        self._size = 0
        last = self._last
        end = "\r\n" if last.endswith("\r\n") else last[-1] if last[-1:] in ("\n", "\r") else ""
        if not self._end:
            self._end = end
        elif end != self._end and end:
            raise _BrokenRow(
                "ends with another line end than the rows before it; line ends must not be mixed"
            )


class _Reading:
    """One pass over the file."""

    def __init__(self, plan: Plan, frames: Frames, rejects: Report, ask: Callable[[], None]) -> None:
        self._plan = plan
        self._frames = frames
        self._rejects = rejects
        self._ask = ask
        self._names: list[str] = []
        self._shown: list[int] = []  # predictions: places of the columns that the output repeats
        self.header = ""
        self.row = 0
        self._event_type = EventTypeSnapshot(
            revision=0,
            name=plan.event_type,
            schema=EventSchema(plan.event_type, plan.specs),
            entity_types=frozenset(plan.entity_types),
            labels=frozenset(plan.labels),
            ingestion=True,
            specs=tuple(plan.specs),
        )

    def place(self) -> str:
        """What is being read, for a message."""
        return f"Row {self.row + 1}" if self._names else "The header"

    def run(self) -> None:
        plan = self._plan
        buckets = Buckets(Path(plan.buckets), plan.s3_endpoint, plan.region)
        size = buckets.size(plan.uri)
        if size > plan.bytes_max:
            raise Broken(f"{plan.uri} has {size:,} bytes; at most {plan.bytes_max:,} are accepted.")
        csv.field_size_limit(ROW_CHARACTERS_MAX)
        with (
            buckets.open(plan.uri) as stream,
            io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
        ):
            self._rows(text)

    def _rows(self, text: TextIO) -> None:
        lines = _Lines(text)
        reader = csv.reader(lines, strict=True)
        names = next(reader, [])
        lines.row_ended()
        self._take_header(names)
        take = self._take_decided if self._plan.predicts else self._take_stored
        width = len(names)
        for fields in reader:
            lines.row_ended()
            if not fields:
                continue
            if len(fields) != width:
                raise _BrokenRow(f"has {len(fields)} fields, the header {width}")
            self.row += 1
            take(fields)
            if self.row % _ASK_EVERY == 0:
                self._ask()

    def _take_header(self, names: list[str]) -> None:
        """Raises Broken unless the header fits the event type."""
        if len(names) > COLUMNS_MAX:
            raise Broken(f"The header names {len(names)} columns; at most {COLUMNS_MAX} are accepted.")
        absent = [name for name in NEEDED if name not in names]
        if absent:
            raise Broken(
                f"The header lacks {', '.join(absent)}; the first row must name the columns, metadata in "
                "upper case."
            )
        variables = {spec.name for spec in self._plan.specs}
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise Broken(f"The header names {name[:100]} twice.")
            seen.add(name)
            if name not in NEEDED and name not in LABELS and name not in variables:
                raise Broken(
                    f"The header names {name[:100]!r}, which is neither metadata nor a variable of event "
                    f"type {self._plan.event_type}."
                )
        given = [name for name in LABELS if name in names]
        if len(given) == 1 and not self._plan.predicts:
            lacking = LABELS[1 - LABELS.index(given[0])]
            raise Broken(f"The header names {given[0]} without {lacking}; both are needed, or none.")
        self._names = names
        self._shown = [place for place, name in enumerate(names) if name not in LABELS]
        self.header = line([*(names[place] for place in self._shown), *RESULTS])

    def _event(self, fields: list[str]) -> Row:
        """The checked event of a row. Raises ServiceError (ValidationException)."""
        texts = dict(zip(self._names, fields, strict=True))
        request, given = _request(texts)
        event, resolved = the_event(self._event_type, request)
        if not given:
            raise invalid("No variable of the row has a value.")
        if event.event_at_ms > self._plan.latest_ms:
            raise invalid(f"EVENT_TIMESTAMP {event.timestamp[:40]} is more than 24 hours in the future.")
        if event.event_at_ms < self._plan.earliest_ms:
            raise invalid(f"EVENT_TIMESTAMP {event.timestamp[:40]} is older than 18 months.")
        label = None if self._plan.predicts else label_pair(self._event_type, request)
        return Row(
            self.row,
            event.event_id,
            event.event_at_ms,
            _answerable(event.timestamp, event.event_at_ms),
            event.entity_type,
            event.entity_id,
            given,
            resolved.amount,
            resolved.identities,
            label[0] if label else None,
            _answerable(label[1], parse_timestamp(label[1])) if label else None,
        )

    def _take_stored(self, fields: list[str]) -> None:
        try:
            self._frames.add(self._event(fields))
        except ServiceError as fault:
            self._rejects.add(self.row, fields[self._names.index("EVENT_ID")], _columns(fault.message))

    def _take_decided(self, fields: list[str]) -> None:
        at = self._names.index("EVENT_TIMESTAMP")
        try:
            row = self._event(fields)
            fields[at] = iso_ms(row.event_at_ms)
            fault, members = "", row
        except ServiceError as error:
            self._rejects.count += 1
            fault, members = f"{error.code}: {_columns(error.message)}", Row(self.row)
        shown = line([fields[place] for place in self._shown])
        self._frames.add(_with(members, shown, fault))


def _request(texts: dict[str, str]) -> tuple[Request, dict[str, Any]]:
    """The row as the request that would carry its event, and the variables that have a value."""
    event_id, timestamp = texts.pop("EVENT_ID"), texts.pop("EVENT_TIMESTAMP")
    entity_type, entity_id = texts.pop("ENTITY_TYPE"), texts.pop("ENTITY_ID")
    label, labelled_at = texts.pop("EVENT_LABEL", ""), texts.pop("LABEL_TIMESTAMP", "")
    if not _ENTITY_ID.match(entity_id):
        raise invalid(
            f"ENTITY_ID '{entity_id[:64]}' must have 1 to 256 characters out of 0-9, A-Z, a-z, _.@+-; write "
            "unknown for an entity that is not known."
        )
    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    for name, text in given.items():
        if len(text) > VALUE_CHARACTERS_MAX:
            raise invalid(f"Variable {name} has more than {VALUE_CHARACTERS_MAX:,} characters.")
    request: Request = {
        "eventId": event_id,
        "eventTimestamp": timestamp,
        "entities": [{"entityType": entity_type, "entityId": entity_id}],
        "eventVariables": given,
    }
    if label:  # a label time without a label says nothing: files carry it in every row
        request["assignedLabel"] = label
        if labelled_at:
            request["labelTimestamp"] = labelled_at
    return request, given


def _columns(message: str) -> str:
    """The message with the file's names for the members of a call."""
    for member, column in _COLUMNS:
        message = message.replace(member, column)
    return message


def _answerable(text: str, at_ms: int) -> str:
    """The text itself if GetEvent may answer it, else the same instant in a form that it may."""
    return text if _TEXT_MIN <= len(text) <= _TEXT_MAX else iso_ms(at_ms)


def _with(row: Row, shown: str, fault: str) -> Row:
    return Row(
        row.row,
        row.event_id,
        row.event_at_ms,
        row.timestamp,
        row.entity_type,
        row.entity_id,
        row.given,
        shown=shown,
        fault=fault,
    )


def line(fields: list[str]) -> str:
    """One CSV line of these fields, without its end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(fields)
    return out.getvalue()
