"""Figures of the live page: a projection of the journal and, in a stream run, of the topics.

Everything is bounded; money is never added across currencies.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hawksnest.kernel.windows.limits import MAX_CENTS
from hawksnest.store.records import Predicted

BUCKET_S = 5
BUCKETS_MAX = 120
DECISIONS_SHOWN = 14
MAILS_SHOWN = 8
LATENCIES_MAX = 5_000
JOINED_MAX = 200_000
CURRENCIES_MAX = 32
AMOUNT_MAX = MAX_CENTS / 100  # larger ones would make sums that are no numbers
NO_RULE = "no rule matched"


@dataclass(frozen=True)
class Names:
    """Which variables of an event type hold what the page shows; None where it has none."""

    currency: str | None
    state: str | None


@dataclass
class Money:
    """Amounts of one currency."""

    payments: int = 0
    revenue: float = 0.0
    blocked: float = 0.0
    fraud: float = 0.0
    fraud_stopped: float = 0.0


@dataclass
class Truth:
    """Decisions against what really was fraud (known in a simulation only)."""

    fraud: int = 0
    caught: int = 0
    legit: int = 0
    false_alarms: int = 0


@dataclass(frozen=True)
class _Decided:
    blocked: bool
    amount: float
    currency: str


@dataclass
class Rollup:
    """Running figures; `fold_…` takes facts in any order, `shown` gives what the page draws."""

    outcomes: Counter[str] = field(default_factory=Counter)
    money: dict[str, Money] = field(default_factory=dict)
    blocked_by_currency: Counter[str] = field(default_factory=Counter)
    blocked_by_state: Counter[str] = field(default_factory=Counter)
    sales: "OrderedDict[int, Counter[str]]" = field(default_factory=OrderedDict)
    decisions: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=DECISIONS_SHOWN))
    mails: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAILS_SHOWN))
    mail_count: int = 0
    dead_letters: int = 0
    truth: Truth = field(default_factory=Truth)
    latencies_ms: dict[str, deque[float]] = field(default_factory=dict)
    _decided: "OrderedDict[str, _Decided]" = field(default_factory=OrderedDict)
    _early_truth: "OrderedDict[str, bool]" = field(default_factory=OrderedDict)
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=10_000))

    def fold_decision(self, record: Predicted, names: Names) -> None:
        """Count one decision of the journal."""
        outcomes = list(dict.fromkeys(name for _, found in record.results for name in found))
        outcome = outcomes[0] if outcomes else NO_RULE
        blocked = "block" in outcomes
        amount = max(-AMOUNT_MAX, min(AMOUNT_MAX, record.event.amount or 0.0))
        currency = str(record.values.get(names.currency or "", "") or "").upper() or "–"
        if currency not in self.money and len(self.money) >= CURRENCIES_MAX:
            currency = "other"
        self.outcomes[outcome] += 1
        money = self.money.setdefault(currency, Money())
        money.payments += 1
        if blocked:
            money.blocked += amount
            self.blocked_by_currency[currency] += 1
            state = str(record.values.get(names.state or "", "") or "").upper()
            if state and (state in self.blocked_by_state or len(self.blocked_by_state) < 1_000):
                self.blocked_by_state[state] += 1
        else:
            money.revenue += amount
        self._fold_sale(record.predicted_at_ms, currency, 0.0 if blocked else amount)
        self._recent.append(record.predicted_at_ms)
        self.decisions.appendleft(
            {
                "at_ms": record.predicted_at_ms,
                "event_id": record.event.key.event_id,
                "entity_id": record.event.entity_id,
                "amount": amount,
                "currency": currency,
                "score": record.scores[0].score if record.scores else None,
                "rule": record.results[0][0] if record.results else None,
                "outcome": outcome,
            }
        )
        self._join(record.event.key.event_id, _Decided(blocked, amount, currency))

    def fold_truth(self, event_id: str, fraud: bool) -> None:
        """Learn what an event really was; may come before its decision."""
        decided = self._decided.pop(event_id, None)
        if decided is None:
            self._early_truth[event_id] = fraud
            _bound(self._early_truth, JOINED_MAX)
        else:
            self._count_truth(decided, fraud)

    def fold_mail(self, mail: dict[str, Any]) -> None:
        """One mail was sent; a copy noted twice (after a crash) counts once."""
        if any(mail["mail"] == known["mail"] for known in self.mails):
            return
        self.mail_count += 1
        self.mails.appendleft(mail)

    def fold_latency(self, name: str, latency_ms: float) -> None:
        """One measured latency of a stream run."""
        self.latencies_ms.setdefault(name, deque(maxlen=LATENCIES_MAX)).append(latency_ms)

    def shown(self, now_ms: int) -> dict[str, Any]:
        """The page's figures, ready for JSON."""
        while self._recent and self._recent[0] < now_ms - 10_000:
            self._recent.popleft()
        return {
            "now_ms": now_ms,
            "transactions": sum(self.outcomes.values()),
            "per_second": round(len(self._recent) / 10, 1),
            "outcomes": dict(self.outcomes.most_common(12)),
            "money": {
                currency: {"revenue": round(each.revenue, 2), "blocked": round(each.blocked, 2)}
                for currency, each in sorted(self.money.items())
            },
            "blocked_by_currency": dict(self.blocked_by_currency.most_common(8)),
            "blocked_by_state": dict(self.blocked_by_state.most_common(8)),
            "sales": self._shown_sales(),
            "latency_ms": {name: percentiles(values) for name, values in self.latencies_ms.items()},
            "decisions": list(self.decisions),
            "mails": list(self.mails),
            "mail_count": self.mail_count,
            "dead_letters": self.dead_letters,
            "truth": self._shown_truth(),
        }

    def _fold_sale(self, at_ms: int, currency: str, amount: float) -> None:
        bucket = at_ms // (BUCKET_S * 1000) * BUCKET_S
        if bucket not in self.sales:
            self.sales[bucket] = Counter()
            while len(self.sales) > BUCKETS_MAX:
                self.sales.popitem(last=False)
        self.sales[bucket][currency] += amount  # type: ignore[assignment]  # Counter adds floats as well

    def _shown_sales(self) -> dict[str, Any]:
        buckets = sorted(self.sales)
        totals: Counter[str] = Counter()
        for counts in self.sales.values():
            totals.update(counts)
        return {
            "at_s": buckets,
            "series": {
                currency: [round(self.sales[bucket][currency], 2) for bucket in buckets]
                for currency, _ in totals.most_common(5)
            },
        }

    def _join(self, event_id: str, decided: _Decided) -> None:
        fraud = self._early_truth.pop(event_id, None)
        if fraud is None:
            self._decided[event_id] = decided
            _bound(self._decided, JOINED_MAX)
        else:
            self._count_truth(decided, fraud)

    def _count_truth(self, decided: _Decided, fraud: bool) -> None:
        money = self.money.setdefault(decided.currency, Money())
        if fraud:
            self.truth.fraud += 1
            self.truth.caught += decided.blocked
            money.fraud += decided.amount
            money.fraud_stopped += decided.amount if decided.blocked else 0.0
        else:
            self.truth.legit += 1
            self.truth.false_alarms += decided.blocked

    def _shown_truth(self) -> dict[str, Any] | None:
        truth = self.truth
        if not truth.fraud + truth.legit:
            return None
        return {
            "fraud": truth.fraud,
            "caught": truth.caught,
            "missed": truth.fraud - truth.caught,
            "false_alarms": truth.false_alarms,
            "legit_blocked_share": truth.false_alarms / truth.legit if truth.legit else None,
            "money_stopped_share": self.money_stopped_share(),
        }

    def money_stopped_share(self) -> float | None:
        """Share of fraudulent money that was blocked: per currency, averaged by number of payments."""
        shares = [
            (each.fraud_stopped / each.fraud, each.payments) for each in self.money.values() if each.fraud
        ]
        payments = sum(count for _, count in shares)
        return sum(share * count for share, count in shares) / payments if payments else None


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50 and p99 by nearest rank, and how many values they stand on."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    last = len(ordered) - 1
    return {
        "p50": ordered[round(0.50 * last)],
        "p99": ordered[round(0.99 * last)],
        "n": len(ordered),
    }


def _bound(mapping: "OrderedDict[str, Any]", limit: int) -> None:
    while len(mapping) > limit:
        mapping.popitem(last=False)
