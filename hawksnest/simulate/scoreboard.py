"""Decisions against the truth: caught, missed, false alarms, and the share of fraudulent money stopped."""

from collections.abc import Iterable
from typing import NamedTuple


class Verdict(NamedTuple):
    """One payment with the truth about it and what was decided."""

    currency: str
    amount: float
    fraud: bool
    blocked: bool


class Scoreboard:
    """Counts verdicts as they come. Money is never added across currencies.

    A share of money is computed in each currency that has seen fraud and averaged, weighted by the number of
    payments in the currency.
    """

    def __init__(self, verdicts: Iterable[Verdict] = ()) -> None:
        self.payments: dict[str, int] = {}
        self.fraud_money: dict[str, float] = {}
        self.stopped_money: dict[str, float] = {}
        self.caught = self.missed = self.false_alarms = self.legit = 0
        for verdict in verdicts:
            self.add(verdict)

    def add(self, verdict: Verdict) -> None:
        """Count one more payment. Currency codes compare case-insensitively."""
        currency = verdict.currency.lower()
        self.payments[currency] = self.payments.get(currency, 0) + 1
        if not verdict.fraud:
            self.legit += 1
            self.false_alarms += verdict.blocked
            return
        self.fraud_money[currency] = self.fraud_money.get(currency, 0.0) + verdict.amount
        if verdict.blocked:
            self.caught += 1
            self.stopped_money[currency] = self.stopped_money.get(currency, 0.0) + verdict.amount
        else:
            self.missed += 1

    @property
    def legit_blocked_share(self) -> float:
        """Blocked share of the legitimate payments (0 to 1)."""
        return self.false_alarms / self.legit if self.legit else 0.0

    @property
    def money_stopped_share(self) -> float:
        """Stopped share of the fraudulent money (0 to 1); 0 when there was no fraud."""
        weights = {
            currency: self.payments[currency] for currency, money in self.fraud_money.items() if money > 0
        }
        if not weights:
            return 0.0
        stopped = sum(
            weight * self.stopped_money.get(currency, 0.0) / self.fraud_money[currency]
            for currency, weight in weights.items()
        )
        return stopped / sum(weights.values())

    def summary(self) -> dict[str, int | float]:
        """The figures as the demo reports them."""
        return {
            "caught": self.caught,
            "missed": self.missed,
            "false_alarms": self.false_alarms,
            "money_stopped_share": self.money_stopped_share,
            "legit_blocked_share": self.legit_blocked_share,
        }
