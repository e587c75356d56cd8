"""Record layouts of the pipeline's topics: payments in, decisions out, dead letters.

Members travel as the bytes they came in (`msgspec.Raw`): an amount of `12.10` leaves as `12.10`.
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec

from hawksnest.errors import Poison
from hawksnest.stream.ports import StreamRecord
from hawksnest.world import iso_ms

Members = dict[str, msgspec.Raw]

# In the order of the reference's processing job; its producer's order differs in two places.
MEMBERS = (
    "transaction_amt",
    "email_address",
    "ip_address",
    "transaction_currency",
    "event_id",
    "entity_id",
    "event_time",
    "billing_longitude",
    "billing_state",
    "user_agent",
    "billing_street",
    "billing_city",
    "card_bin",
    "customer_name",
    "product_category",
    "customer_job",
    "phone",
    "billing_latitude",
    "billing_zip",
)

_MEMBERS_OF = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{0,9}))? ?(?:([Zz])|([+-])(\d\d):?(\d\d)?)?",
    re.ASCII,
)


class MatchedRule(msgspec.Struct, frozen=True):
    """A rule that matched, with its outcomes."""

    rule_id: str
    outcomes: list[str]


class FraudDecision(msgspec.Struct, frozen=True):
    """`fd` of an output record: the reference's four members first. Times are whole milliseconds.

    `outcome` is the first outcome of the first matched rule, None when no rule matched.
    """

    ttdf: int
    outcome: str | None
    proc_time: int
    frauddetector_time: int
    outcomes: list[str]
    rules: list[MatchedRule]
    scores: dict[str, float]
    detector_version: str


class Payment(msgspec.Struct, frozen=True):
    """What consumers of the output topic read of a record; every other member is left alone."""

    event_id: str
    entity_id: str
    event_time: str
    fd: FraudDecision
    transaction_amt: msgspec.Raw = msgspec.Raw(b"null")
    transaction_currency: msgspec.Raw = msgspec.Raw(b"null")


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that cannot be decided. `key` and `value` are the original bytes in base64.

    `value_bytes` is the size of the original; `value` holds less only when a dead letter would otherwise be
    larger than the log accepts.
    """

    topic: str
    partition: int
    offset: int
    produced_at: str
    time: str
    code: str
    reason: str
    key: str | None
    value: str
    value_bytes: int


_PAYMENT_OF = msgspec.json.Decoder(Payment)
_DEAD_LETTER_OF = msgspec.json.Decoder(DeadLetter)
DEAD_VALUE_BYTES = 524_288  # more of an original is cut, so that its base64 form fits the log's record limit


def members_of(value: bytes) -> Members:
    """The members of a JSON object, each as its own bytes. Raises Poison(MalformedRecord)."""
    try:
        msgspec.json.decode(value)  # Raw members are not looked into: validate the whole text once
        return _MEMBERS_OF.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        shape = "a JSON object" if isinstance(fault, msgspec.ValidationError) else "JSON in UTF-8"
        raise Poison("MalformedRecord", f"The record is not {shape}: {str(fault)[:200]}.") from None


def text_of(members: Members, name: str) -> str | None:
    """A member as the API's text: numbers keep their digits; absent, null and "" are None.

    Raises Poison(InvalidMember) for an object or an array.
    """
    raw = members.get(name)
    if raw is None:
        return None
    data = bytes(raw).strip()
    first = data[:1]
    if first == b'"':
        return str(msgspec.json.decode(data)) or None
    if first in (b"{", b"["):
        raise Poison(
            "InvalidMember", f"Member {name[:64]} is an object or a list; send text, a number or a boolean."
        )
    return None if data == b"null" else data.decode("ascii")


def raw_text(text: str) -> msgspec.Raw:
    """A JSON string as the bytes of a member."""
    return msgspec.Raw(msgspec.json.encode(text))


def instant_ms(text: str) -> int:
    """Epoch milliseconds of `2021-04-19T11:20:42.62265`: T or blank, 0 to 9 fraction digits, Z, an offset or
    nothing (then UTC). Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("write it like 2021-04-19T11:20:42.622Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone: timezone = UTC
    if match[9]:
        shift = timedelta(hours=int(match[10]), minutes=int(match[11] or 0))
        zone = timezone(shift if match[9] == "+" else -shift)
    at = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return (at - _EPOCH) // timedelta(milliseconds=1) + int((match[7] or "").ljust(3, "0")[:3])


def decided_record(members: Members, canonical: Members, decision: FraudDecision) -> bytes:
    """The output record: the known members in the reference's order, the others as they came, `fd` last.

    `canonical` holds the names that every consumer relies on; where a layout calls them differently they are
    added.
    """
    merged = members | canonical
    out: dict[str, Any] = {name: merged[name] for name in MEMBERS if name in merged}
    for name, raw in merged.items():
        out.setdefault(name, raw)
    out.pop("fd", None)
    out["fd"] = decision
    return msgspec.json.encode(out)


def payment_of(value: bytes) -> Payment:
    """An output record, for its consumers. Raises Poison(MalformedRecord)."""
    try:
        return _PAYMENT_OF.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Poison("MalformedRecord", f"Not a decided payment: {str(fault)[:200]}.") from None


def shown(raw: msgspec.Raw) -> str:
    """A member as people read it: text without quotes, null as nothing."""
    data = bytes(raw).strip()
    if data.startswith(b'"'):
        return str(msgspec.json.decode(data))
    return "" if data == b"null" else data.decode("utf-8", "replace")


def decision_of(
    response: Mapping[str, Any], version: str, event_at_ms: int, asked_at_ms: int, answered_at_ms: int
) -> FraudDecision:
    """`fd` from GetEventPrediction's response and the three instants around it; negative times become 0."""
    rules = [
        MatchedRule(rule["ruleId"], list(rule["outcomes"])) for rule in response.get("ruleResults") or ()
    ]
    outcomes = list(dict.fromkeys(outcome for rule in rules for outcome in rule.outcomes))
    scores = {
        name: score
        for model in response.get("modelScores") or ()
        for name, score in (model.get("scores") or {}).items()
    }
    return FraudDecision(
        ttdf=max(0, answered_at_ms - event_at_ms),
        outcome=next((outcome for rule in rules[:1] for outcome in rule.outcomes), None),
        proc_time=max(0, asked_at_ms - event_at_ms),
        frauddetector_time=max(0, answered_at_ms - asked_at_ms),
        outcomes=outcomes,
        rules=rules,
        scores=scores,
        detector_version=version,
    )


def dead_letter(record: StreamRecord, fault: Poison, now_ms: int) -> bytes:
    """The dead letter of a record, as bytes for the dead-letter topic."""
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        produced_at=iso_ms(record.produced_at_ms),
        time=iso_ms(now_ms),
        code=fault.code,
        reason=fault.message[:2000],
        key=None if record.key is None else base64.b64encode(record.key[:65_536]).decode(),
        value=base64.b64encode(record.value[:DEAD_VALUE_BYTES]).decode(),
        value_bytes=len(record.value),
    )
    return msgspec.json.encode(letter)


def dead_letter_of(value: bytes) -> DeadLetter:
    """A dead letter, for tools that look at them. Raises Poison(MalformedRecord)."""
    try:
        return _DEAD_LETTER_OF.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Poison("MalformedRecord", f"Not a dead letter: {str(fault)[:200]}.") from None
