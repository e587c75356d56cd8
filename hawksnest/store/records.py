"""What the journal holds: one record per fact, complete enough to replay the decision exactly.

Encoded with msgpack as tagged arrays (no member names on disk). Members are only ever appended, with a
default, so that an old journal stays readable. `replaces` is written by the ledger: the sequence of the
stored form that this record takes the place of (0: none), so that a replay needs no memory of event ids.

Events of a tenant with an encryption key are in the journal as `Sealed`: the whole record in a box, beside it
an outline of what index, searches and statistics need without the key.
"""

import msgspec

from hawksnest.catalog import Tenant


class EventKey(msgspec.Struct, frozen=True, array_like=True):
    """Identity of an event: unique in (tenant, event type)."""

    account: str
    region: str
    event_type: str
    event_id: str

    @property
    def tenant(self) -> Tenant:
        return Tenant(self.account, self.region)


class StoredEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as the caller sent it and what it means to the entity states."""

    key: EventKey
    event_at_ms: int
    timestamp: str  # the caller's text
    entity_type: str
    entity_id: str
    given: dict[str, str | None]
    amount: float | None = None  # value of the PRICE variable, if any
    identities: list[tuple[str, str]] = []  # (variable type, normalised value) of identity-like variables
    label: str | None = None
    labelled_at: str | None = None  # the caller's text
    seen_at_ms: int = 0


class ModelScore(msgspec.Struct, frozen=True, array_like=True):
    model_type: str
    model_id: str
    version: str
    score: float
    features: bytes  # little-endian doubles in the order of the artefact's feature names


class RuleTrace(msgspec.Struct, frozen=True, array_like=True):
    rule_id: str
    rule_version: str
    state: int  # 0 not evaluated, 1 not matched, 2 matched, 3 failed while evaluating
    fault: str = ""  # why it failed


class ExternalOutput(msgspec.Struct, frozen=True, array_like=True):
    """What an external model was sent and answered, as texts by variable."""

    endpoint: str
    use_event_variables: bool
    inputs: dict[str, str]
    outputs: dict[str, str]


class EventSent(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """SendEvent: an event was stored without a prediction."""

    event: StoredEvent
    replaces: int = 0
    run: int = 0  # batch job of the tenant that brought the event; 0: none
    row: int = 0  # of that job's file


class Predicted(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """GetEventPrediction: an event was decided. `stored`: it also counts as a stored event."""

    event: StoredEvent
    stored: bool
    predicted_at_ms: int  # unique per event id: the predictionTimestamp
    detector_id: str
    detector_version: str
    execution_mode: str
    values: dict[str, str | int | float | bool | None]  # every variable as the rules saw it, scores included
    scores: list[ModelScore]
    trace: list[RuleTrace]  # in detector-version order
    results: list[tuple[str, list[str]]]  # matched rules with their outcomes, as answered
    list_revisions: dict[str, int]
    revision: int  # catalogue revision the snapshot was made of
    replaces: int = 0
    externals: list[ExternalOutput] = []
    run: int = 0  # batch job of the tenant that asked for the decision; 0: none
    row: int = 0  # of that job's file


class Labelled(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """UpdateEventLabel on a stored event."""

    key: EventKey
    label: str
    labelled_at: str
    seen_at_ms: int


class EventDeleted(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """DeleteEvent; with `history` its predictions go too."""

    key: EventKey
    history: bool
    seen_at_ms: int
    replaces: int = 0


Record = EventSent | Predicted | Labelled | EventDeleted


class Outline(msgspec.Struct, frozen=True, array_like=True):
    """What of a sealed `EventSent` or `Predicted` can be read without its data key."""

    decided: bool  # it is a `Predicted`
    key: EventKey
    event_at_ms: int
    timestamp: str
    given_bytes: int  # size of `given` as the journal would hold it: what statistics count
    label: str | None
    labelled_at: str | None
    seen_at_ms: int
    replaces: int
    run: int = 0
    row: int = 0
    stored: bool = True
    predicted_at_ms: int = 0
    detector_id: str = ""
    detector_version: str = ""


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A record as the journal holds it for a tenant with an encryption key."""

    outline: msgspec.Raw  # an `Outline`; the box opens only beside it
    data_key: int  # number of the tenant's data key
    box: bytes  # the whole record, sealed
