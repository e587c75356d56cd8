"""How a background job works through many small things without holding up anybody's decision.

The journal belongs to the server process, and its threads share one interpreter. So what appends runs in
slices of a millisecond on the server's event loop, between the calls: there it waits for no lock, nobody
waits for it longer than a slice, and its records leave with the calls' own syncs. What needs the disk first,
or somebody else's answer, runs in the job's thread. `benchmarks/batch.py` measures what callers notice.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from hawksnest.app import App, Call, Defer
from hawksnest.background import Stop
from hawksnest.catalog import Tenant
from hawksnest.errors import StorageFull, Transient

SLICE_S = 0.001
REST_S = 0.004  # after a slice during which there were calls
SYNC_S = 0.05  # between two syncs of our own
PATIENCE_S = 60.0  # how long a job waits for a store that is behind
_AGAIN_S = 0.05

T = TypeVar("T")


class Pace:
    """The slices of one job."""

    def __init__(self, app: App, tenant: Tenant, stop: Stop, run: int = 0) -> None:
        self._app = app
        self._tenant = tenant
        self._stop = stop
        self._run = run
        self._seq = self._due = 0  # journal sequences: appended last, and to be durable by the next sync
        self._sync_s = app.world.monotonic_s() + SYNC_S
        self._inline = False
        self._calls = 0

    def call(self, row: int, act: Callable[[Call], T]) -> T:
        """`act` with the call that a row's record is written by; only inside what `through` was given."""
        inline = self._inline
        call = Call(self._tenant, may_block=not inline, may_wait=not inline, run=self._run, row=row)
        try:
            return act(call)
        finally:
            self._seq = max(self._seq, call.seq)

    def block(self) -> None:
        """What comes next needs the disk or builds something: not on the event loop. Raises Defer there."""
        if self._inline:
            raise Defer

    def through(self, things: Iterable[T], act: Callable[[T], None], tell: Callable[[T], None]) -> None:
        """`act` on every thing, in order; `tell` after every slice, of the last that is done.

        `act` may raise Defer before any effect, then it is called again in the job's thread. Raises what
        `act` raises, StorageFull at once and other Transient faults after PATIENCE_S; Cancelled and Closing.
        """
        left = deque(things)
        patience_s = 0.0
        while left:
            first = left[0]
            try:
                last = self._app.background.on_loop(lambda: self._slice(left, act))
                if last is None:
                    last = first
                    act(first)
                    left.popleft()
            except Transient as fault:  # the projections are behind, say
                now_s = self._app.world.monotonic_s()
                patience_s = patience_s or now_s + PATIENCE_S
                if isinstance(fault, StorageFull) or now_s > patience_s:
                    raise
                self._stop.pause(_AGAIN_S)
                continue
            patience_s = 0.0
            self._sync_if_due()
            self._give_way()
            tell(last)

    def _slice(self, left: deque[T], act: Callable[[T], None]) -> T | None:
        """As many as fit; the last one done, None when the first needs a thread."""
        until_s, last = self._app.world.monotonic_s() + SLICE_S, None
        self._inline = True
        try:
            while left:
                act(left[0])
                last = left.popleft()
                if self._app.world.monotonic_s() >= until_s:
                    break
        except Defer:
            pass
        except Transient:
            if last is None:
                raise
        finally:
            self._inline = False
        return last

    def _give_way(self) -> None:
        """Rest if anybody called since the last slice. Raises Cancelled and Closing."""
        calls = self._app.background.calls
        if calls == self._calls:
            self._stop.check()
        else:
            self._calls = calls
            self._stop.pause(REST_S)

    def _sync_if_due(self) -> None:
        """What was appended before the last sync: beside calls, theirs have carried it meanwhile."""
        now_s = self._app.world.monotonic_s()
        if now_s >= self._sync_s:
            self._app.ledger.commit(self._due)
            self._due, self._sync_s = self._seq, now_s + SYNC_S

    def sync(self) -> None:
        """Make durable what was appended."""
        self._app.ledger.commit(self._seq)
