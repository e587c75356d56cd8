"""What one process has in hand, and what one call carries. Built by `main.py`, passed down, never global."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hawksnest.catalog import Tenant
from hawksnest.config import Settings
from hawksnest.store.ports import Catalog, Ledger
from hawksnest.world import World

if TYPE_CHECKING:
    from hawksnest.background import Background
    from hawksnest.external import Endpoints
    from hawksnest.jobs import Trainings
    from hawksnest.kernel.windows import EntityStates
    from hawksnest.quotas import Quotas
    from hawksnest.snapshot import Snapshots
    from hawksnest.store.encryption import Encryption


@dataclass(frozen=True)
class App:
    """Ports and loaded state of a server."""

    settings: Settings
    world: World
    catalog: Catalog
    ledger: Ledger
    states: "EntityStates"
    snapshots: "Snapshots"
    trainings: "Trainings"
    endpoints: "Endpoints"
    quotas: "Quotas"
    background: "Background"
    encryption: "Encryption"


@dataclass(slots=True)
class Call:
    """One call of an operation: who, and what the door must know before it answers."""

    tenant: Tenant
    request_id: str = ""
    idempotent: bool = False  # header x-hawksnest-idempotent: a repeated event id gets its recorded answer
    may_block: bool = True  # False on the event loop: an operation that would block raises Defer instead
    may_wait: bool = True  # False in the threads that all share: to wait for others' answers raises Defer
    seq: int = 0  # the answer may leave once this journal sequence is durable
    run: int = 0  # of the batch job that this call is part of; 0: none
    row: int = 0  # of that job's file
    admitted: bool = False  # it has been counted against the quota of its rate
    headers: dict[str, str] = field(default_factory=dict)  # extra response headers


class Defer(Exception):
    """Raised by an operation before any effect when `may_block` is False: call again from a thread.

    With a `lane`, raised when `may_wait` is False: call again from a thread of that lane, where waiting for
    somebody else's answer holds up nobody outside the lane.
    """

    def __init__(self, lane: str = "") -> None:
        super().__init__(lane)
        self.lane = lane


Request = dict[str, Any]
Response = dict[str, Any]
OperationFunction = Callable[[App, Call, Request], Response]
# The same for several calls, none of which may block; what each would raise is in its place.
TogetherFunction = Callable[[App, Sequence[Call], Sequence[Request]], list[Response | Exception]]


@dataclass(frozen=True)
class Operation:
    """One row of the registry. `inline`: short enough for the event loop (may raise Defer)."""

    name: str  # AWS's name, GetEventPrediction
    function: OperationFunction
    inline: bool = False
    together: TogetherFunction | None = None  # cheaper for several calls than one after the other
    missing: bool = False  # answers that it is not available yet
    both: bool = False  # its requests may be those of the preview API, or write versions and ids as that did
