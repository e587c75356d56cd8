"""How the records of a topic or the rows of a file map to events: the reference's layout or a TOML file.

Used by the pipeline and by replay. The reference's property-group file is accepted too.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hawksnest.errors import Poison, UsageError
from hawksnest.stream.schema import Members, instant_ms, raw_text, text_of
from hawksnest.world import iso_ms, iso_s

REFERENCE_VARIABLES: tuple[tuple[str, str], ...] = (
    ("order_price", "transaction_amt"),
    ("customer_email", "email_address"),
    ("ip_address", "ip_address"),
    ("payment_currency", "transaction_currency"),
    *(
        (name, name)
        for name in (
            "billing_longitude",
            "billing_latitude",
            "billing_zip",
            "billing_state",
            "billing_street",
            "billing_city",
            "user_agent",
            "card_bin",
            "customer_name",
            "product_category",
            "customer_job",
            "phone",
        )
    ),
)
REFERENCE_MANDATORY = ("transaction_amt", "email_address", "ip_address", "transaction_currency")
_MAX_TEXT = 8192  # the API's own limit of a variable's value
_MAX_FILE = 1_048_576


class Prepared(NamedTuple):
    """A record ready for the call."""

    members: Members
    event_id: str
    entity_id: str
    event_at_ms: int
    request: dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """Where the parts of an event stand in a record. Columns are member names of the record."""

    event_id: str = "event_id"
    entity_id: str = "entity_id"
    event_time: str = "event_time"
    time_format: str = "iso"  # iso, epoch_s, epoch_ms or a strptime pattern
    amount: str = ""  # shown in mails and on pages; "" when no column is one
    currency: str = ""
    mandatory: tuple[str, ...] = ()
    label: str = ""  # the truth: never sent, goes to a side topic
    fraud_labels: tuple[str, ...] = ("1", "1.0", "fraud", "true", "yes")  # in lower case
    omit: tuple[str, ...] = ()  # never sent either
    number_rows: bool = False  # the file has no ids: replay numbers its rows


REFERENCE_LAYOUT = Layout(
    amount="transaction_amt", currency="transaction_currency", mandatory=REFERENCE_MANDATORY
)


@dataclass(frozen=True)
class Mapping:
    """The whole configuration of one stream: who decides, which topics, which layout."""

    detector: str = "transaction_fraud_detector"
    event_type: str = "transaction_event"
    entity_type: str = "customer"
    input_topic: str = "transactions"
    output_topic: str = "processed_transactions"
    dead_letter_topic: str = ""  # "": <input topic>_dead_letter
    region: str = ""
    bootstrap_servers: str = ""
    layout: Layout = REFERENCE_LAYOUT
    variables: tuple[tuple[str, str], ...] = REFERENCE_VARIABLES  # (variable, column)
    constants: tuple[tuple[str, str], ...] = field(default=())  # (variable, text)

    @property
    def dead_letters(self) -> str:
        """The topic for records that cannot be decided."""
        return self.dead_letter_topic or f"{self.input_topic}_dead_letter"

    @property
    def truth_topic(self) -> str:
        """The side topic that carries the labels of a replay."""
        return f"{self.input_topic}_truth"

    def prepare(self, members: Members) -> Prepared:
        """The event of a record and its GetEventPrediction request. Raises Poison with the reason."""
        layout = self.layout
        event_id = _needed(members, layout.event_id)
        entity_id = _needed(members, layout.entity_id)
        event_at_ms = self.event_at_ms(_needed(members, layout.event_time))
        for column in layout.mandatory:
            _needed(members, column)
        variables = dict(self.constants)
        for variable, column in self.variables:
            text = text_of(members, column)
            if text is None:
                continue
            if len(text) > _MAX_TEXT:
                raise Poison(
                    "InvalidMember", f"Member {column} has {len(text)} characters; {_MAX_TEXT} are allowed."
                )
            variables[variable] = text
        request = {
            "detectorId": self.detector,
            "eventId": event_id,
            "eventTypeName": self.event_type,
            "entities": [{"entityType": self.entity_type, "entityId": entity_id}],
            "eventTimestamp": iso_s(event_at_ms),
            "eventVariables": variables,
        }
        return Prepared(members, event_id, entity_id, event_at_ms, request)

    def event_at_ms(self, text: str) -> int:
        """The instant of an event time in this layout. Raises Poison(InvalidEventTime)."""
        form = self.layout.time_format
        try:
            if form == "iso":
                return instant_ms(text)
            if form in ("epoch_s", "epoch_ms"):
                at_ms = round(float(text) * (1000 if form == "epoch_s" else 1))
                datetime.fromtimestamp(at_ms / 1000, UTC)  # the year must be one that can be written
                return at_ms
            at = datetime.strptime(text, form)
            return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError, OSError) as fault:
            raise Poison(
                "InvalidEventTime", f"{self.layout.event_time} is {text[:64]!r}, which is no time ({fault})."
            ) from None

    def canonical(self, prepared: Prepared) -> Members:
        """The members that every consumer relies on, under the reference's names; texts stay as they came."""
        layout, members = self.layout, prepared.members
        time = members[layout.event_time]
        out = {
            "event_id": _as_text(members[layout.event_id], prepared.event_id),
            "entity_id": _as_text(members[layout.entity_id], prepared.entity_id),
            "event_time": time if layout.time_format == "iso" else raw_text(iso_ms(prepared.event_at_ms)),
        }
        for name, column in (("transaction_amt", layout.amount), ("transaction_currency", layout.currency)):
            if column in members:
                out[name] = members[column]
        return out


def _as_text(raw: msgspec.Raw, text: str) -> msgspec.Raw:
    return raw if bytes(raw).lstrip().startswith(b'"') else raw_text(text)


def _needed(members: Members, column: str) -> str:
    text = text_of(members, column)
    if text is None:
        raise Poison("MissingMember", f"Member {column} is missing, null or empty; the record needs it.")
    return text


def load_mapping(path: Path) -> Mapping:
    """The mapping in a TOML file, or in the reference's property-group file (JSON). Raises UsageError."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise UsageError(f"{path} has more than {_MAX_FILE} bytes; a mapping is a small TOML file.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"Cannot read the mapping {path}: {fault}.") from None
    try:
        if path.suffix == ".json":
            return _from_property_groups(json.loads(text))
        return _from_toml(tomllib.loads(text))
    except (ValueError, RecursionError) as fault:
        raise UsageError(f"The mapping {path} is not valid: {fault}") from None
    except UsageError as fault:
        raise UsageError(f"The mapping {path} is not valid: {fault}") from None


class _Group(msgspec.Struct):
    PropertyGroupId: str
    PropertyMap: dict[str, str]


def _from_property_groups(data: Any) -> Mapping:
    """By group id, not by place in the list; unknown groups and keys belong to others and are left alone."""
    try:
        groups = {group.PropertyGroupId: group.PropertyMap for group in msgspec.convert(data, list[_Group])}
    except msgspec.ValidationError as fault:
        raise UsageError(f"expected a list of property groups, {fault}.") from None
    producer, consumer = groups.get("producer.config.0", {}), groups.get("consumer.config.0", {})
    if not producer:
        raise UsageError("the group producer.config.0 is missing.")
    given: dict[str, Any] = {
        "input_topic": producer.get("input.topic.name"),
        "region": producer.get("aws.region"),
        "bootstrap_servers": producer.get("bootstrap.servers"),
        "detector": producer.get("frauddetector.name"),
        "event_type": producer.get("frauddetector.event.name"),
        "entity_type": producer.get("frauddetector.entity.type"),
        "output_topic": consumer.get("output.topic.name"),
    }
    return replace(Mapping(), **{name: text for name, text in given.items() if text})


_PIPELINE_KEYS = (
    "detector",
    "event_type",
    "entity_type",
    "input_topic",
    "output_topic",
    "dead_letter_topic",
    "region",
    "bootstrap_servers",
)
_RECORD_KEYS = (
    "event_id",
    "entity_id",
    "event_time",
    "time_format",
    "amount",
    "currency",
    "mandatory",
    "label",
    "fraud_labels",
    "omit",
)


def _from_toml(data: dict[str, Any]) -> Mapping:
    _known("section", data, ("pipeline", "record", "variables", "constants"))
    pipeline = _texts("pipeline", data.get("pipeline", {}), _PIPELINE_KEYS)
    mapping = replace(Mapping(), **pipeline)
    if "record" not in data and "variables" not in data:
        return replace(mapping, constants=_pairs("constants", data.get("constants", {})))
    variables = _pairs("variables", data.get("variables", {}))
    if not variables:
        raise UsageError('[variables] is empty; name at least one, for example order_price = "amount".')
    return replace(
        mapping,
        layout=_layout(data.get("record", {})),
        variables=variables,
        constants=_pairs("constants", data.get("constants", {})),
    )


def _layout(section: Any) -> Layout:
    if not isinstance(section, dict):
        raise UsageError("[record] must be a table.")
    _known("key of [record]", section, _RECORD_KEYS)
    lists: dict[str, Any] = {
        name: _columns(name, section[name])
        for name in ("mandatory", "omit", "fraud_labels")
        if name in section
    }
    texts = _texts(
        "record", {name: value for name, value in section.items() if name not in lists}, _RECORD_KEYS
    )
    numbered = texts.get("event_id") == ""
    if numbered:
        del texts["event_id"]
    return replace(Layout(number_rows=numbered), **texts, **lists)


def _columns(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(column, str) for column in value):
        raise UsageError(f"{name} in [record] must be a list of texts.")
    return tuple(value)


def _texts(section: str, given: Any, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise UsageError(f"[{section}] must be a table.")
    _known(f"key of [{section}]", given, known)
    for name, value in given.items():
        if not isinstance(value, str):
            raise UsageError(f"{name} in [{section}] must be text in quotes.")
    return dict(given)


def _pairs(section: str, given: Any) -> tuple[tuple[str, str], ...]:
    return tuple(_texts(section, given, given if isinstance(given, dict) else ()).items())


def _known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = tuple(known)
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}."
            raise UsageError(f"{name} is no {what}; {hint}")
