"""The stream of payments: a dated history, then a live stream that the same and new payers go on with."""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from hawksnest.simulate.attack import Attackers
from hawksnest.simulate.payer import Payer
from hawksnest.simulate.people import People
from hawksnest.simulate.population import Population
from hawksnest.simulate.shop import DAY_US, Calendar, Payment, record
from hawksnest.world import seeded

LABEL_DELAY_MS = 2 * 86_400_000
"""The truth about a payment is known two days later; no campaign lives that long."""

DAILY_PAYMENTS = 1_500  # of a history whose length in days is not given
MIN_DAYS = 1.0
MAX_DAYS = 365.0
FRAUD_SHARE = 0.018

# The live stream holds its rate over this many seconds, within these bounds around it.
_CATCH_UP_S = 20.0
_SLOWEST, _FASTEST = 0.4, 1.6


class Labelled(NamedTuple):
    """One payment and the truth about it. `record` has the 19 members of the input topic and no more."""

    record: dict[str, str | int]
    fraud: bool
    kind: str
    """What it is: an attack's kind, or what an honest payer was doing."""
    campaign: str | None
    event_at_ms: int
    labelled_at_ms: int

    def truth(self) -> dict[str, str | bool | None]:
        """What goes to the truth topic or file."""
        return {
            "event_id": str(self.record["event_id"]),
            "fraud": self.fraud,
            "campaign": self.campaign,
            "kind": self.kind,
        }


class Simulation:
    """Payers, attackers and time. Same seed and same calls, same payments.

    `history` is read to its end first, then `live` goes on with the same people and the campaigns still
    active. Without a history everybody in the live stream is new at first.
    """

    def __init__(self, seed: int, now_ms: int, fraud_share: float = FRAUD_SHARE) -> None:
        self._random = seeded(seed)
        self._people = People(self._random)
        self._population = Population(self._random, self._people)
        self._attackers = Attackers(self._random, self._people, self._population, fraud_share)
        self._pending: list[tuple[int, int, Payment]] = []  # later payments of visits and waves
        self._serial = 0
        self._now_us = now_ms * 1000
        self._emitted = 0
        self._begun = 0  # visits and waves

    def history(self, days: float, count: int) -> Iterator[Labelled]:
        """`count` payments of the `days` days before now, oldest first."""
        calendar = Calendar(self._now_us - int(days * DAY_US), self._now_us)
        at_us = calendar.at(0.0)
        for left in range(count, 0, -1):
            # The gap to the next visit, if what is left were spread evenly over the business that is left.
            done = calendar.share(at_us)
            visits = max(1.0, left * self._begun_share())
            share = 1.0 - (1.0 - done) * (1.0 - self._random.random()) ** (1.0 / visits)
            yield self._next(due_us := min(max(calendar.at(share), at_us), self._now_us - 1))
            at_us = max(at_us, min(due_us, self._last_us))

    def live(self, rate: float, start_ms: int | None = None) -> Iterator[Labelled]:
        """Endless payments, `rate` a second on average, from `start_ms` (default: the end of the history).

        `event_at_ms` is when a payment is due; the caller waits until then, or does not wait at all.
        """
        start_us = self._now_us if start_ms is None else start_ms * 1000
        while self._pending and self._pending[0][0] < start_us:
            heappop(self._pending)  # happened between history and stream, seen by nobody
        at_us = start_us
        sent = 0
        while True:
            behind_s = (at_us - start_us) / 1e6 - sent / rate
            pace = rate * min(_FASTEST, max(_SLOWEST, self._begun_share() + behind_s / _CATCH_UP_S))
            due_us = at_us + int(self._random.expovariate(pace) * 1e6)
            yield self._next(due_us)
            at_us = self._last_us
            sent += 1

    def _begun_share(self) -> float:
        """Visits and waves for each payment so far."""
        return self._begun / self._emitted if self._emitted > 1_000 else 0.86

    def _next(self, due_us: int) -> Labelled:
        """The next payment: a pending one if due before the next visit or wave, else that one's first."""
        if self._pending and self._pending[0][0] <= due_us:
            at_us, _, payment = heappop(self._pending)
        else:
            at_us, payment = due_us, self._begin(due_us)
        self._last_us = at_us
        self._emitted += 1
        event_at_ms = at_us // 1000
        return Labelled(
            record(payment, self._people.uuid4(), at_us),
            payment.campaign is not None,
            payment.kind,
            payment.campaign,
            event_at_ms,
            event_at_ms + LABEL_DELAY_MS,
        )

    def _begin(self, at_us: int) -> Payment:
        """A visit or a wave begins; its later payments wait for their time."""
        self._begun += 1
        payments = []
        if self._random.random() * self._begun_share() < self._attackers.wave_share:
            payments = self._attackers.next_wave(at_us)
        if not payments:
            payer: Payer = self._population.next_payer(at_us)
            payments = payer.visit(at_us)
            payments += self._population.company(payer, at_us)
            self._population.back(payer, at_us + max(delay_us for delay_us, _ in payments))
        for delay_us, payment in payments[1:]:
            self._serial += 1
            heappush(self._pending, (at_us + delay_us, self._serial, payment))
        return payments[0][1]
