"""How a background job appends to the journal without holding up anybody's decision.

The journal belongs to the server process, so rows are stored, decided and deleted in one of its threads: in
slices of two milliseconds with a short rest between them, which is when the calls of customers have the
processor. `benchmarks/batch.py` measures what they notice.
"""

from collections.abc import Callable
from typing import TypeVar

from hawksnest.app import App, Call
from hawksnest.background import Stop
from hawksnest.catalog import Tenant
from hawksnest.errors import StorageFull, Transient

SLICE_S = 0.002  # of work between two rests
REST_S = 0.0001
SYNC_S = 0.02  # between two syncs: one may take milliseconds, and those of calls carry our records too
PATIENCE_S = 60.0  # how long one step waits for a store that is behind
_AGAIN_S = 0.05

T = TypeVar("T")


class Pace:
    """Slices of one job's work."""

    def __init__(self, app: App, tenant: Tenant, stop: Stop, run: int = 0) -> None:
        self._app = app
        self._tenant = tenant
        self._stop = stop
        self._run = run
        self._seq = 0
        self._until_s = app.world.monotonic_s() + SLICE_S
        self._sync_s = app.world.monotonic_s() + SYNC_S

    def step(self, act: Callable[[Call], T], row: int = 0) -> T:
        """One small piece of work that may append; again, for a while, when the store asks to come back.

        Raises what `act` raises; StorageFull at once, other Transient faults after PATIENCE_S.
        """
        until_s = 0.0
        while True:
            call = Call(self._tenant, run=self._run, row=row)
            try:
                return act(call)
            except StorageFull:
                raise
            except Transient:
                now_s = self._app.world.monotonic_s()
                until_s = until_s or now_s + PATIENCE_S
                if now_s > until_s:
                    raise
                self._stop.pause(_AGAIN_S)
            finally:
                self._seq = max(self._seq, call.seq)

    def over(self) -> bool:
        """True when a slice has just ended. Raises Cancelled or Closing when the job is to stop."""
        now_s = self._app.world.monotonic_s()
        if now_s < self._until_s:
            return False
        if now_s >= self._sync_s:
            self.sync()
        self._stop.pause(REST_S)
        self._until_s = self._app.world.monotonic_s() + SLICE_S
        return True

    def sync(self) -> None:
        """Make durable what was appended."""
        self._sync_s = self._app.world.monotonic_s() + SYNC_S
        if self._seq:
            self._app.ledger.commit(self._seq)
            self._seq = 0
