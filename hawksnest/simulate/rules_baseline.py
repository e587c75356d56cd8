"""Sensible rules without a model, tuned on labelled history: what a careful analyst would run.

Such rules see one payment: amount, currency, category, mailbox, card prefix, addresses. The tuner splits
payments by category, currency and kind of mail domain in several ways, gives each group the limit on amounts
that stops the most money for the legitimate payments it blocks, adds lists of values seen in fraud where
they proved themselves, and keeps the way that did best on stretches of the history that its limits did not
come from. The outcome is DETECTORPL that any detector can run.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import NamedTuple, Protocol

from hawksnest.simulate.scoreboard import Scoreboard, Verdict

OUTCOME = "block"
HOLDOUT = 0.2  # newest share of the history, where lists of values have to prove themselves
PARTS = 3  # stretches of time; a way of splitting is judged on each by limits from the others
MIN_FRAUDS = 4  # a group with fewer gets no rule: there is nothing to learn a limit from
LIST_CHARACTERS = 3_800  # of the newest values in a list rule; an expression has at most 4,096
DOMAIN_LIFT = 1.8  # a mail domain is risky when fraud is this many times as frequent there
_STEPS = 32  # limits tried per group
_CLOSER = 0.82  # each leaves this share of the payments above it that the one before does
_ROUNDS = 30  # halvings in the search for the price of a blocked legitimate payment

Record = Mapping[str, str | int]


class Example(Protocol):
    """A payment with the truth about it."""

    @property
    def record(self) -> Record: ...
    @property
    def fraud(self) -> bool: ...


@dataclass(frozen=True)
class Rule:
    """One rule: every condition present must hold; amounts above `above`."""

    rule_id: str
    category: str | None = None
    currency: str | None = None
    domains: tuple[str, ...] = ()
    domains_wanted: bool = True  # False: any domain but these
    above: int = 0
    member: str | None = None  # a record member that must be one of `values`
    values: tuple[str, ...] = ()
    outcome: str = OUTCOME

    def matches(self, record: Record) -> bool:
        """Does the rule match the input record? The same answer as its expression gives."""
        return (
            int(record["transaction_amt"]) > self.above
            and (self.category is None or record["product_category"] == self.category)
            and (self.currency is None or record["transaction_currency"] == self.currency)
            and (not self.domains or (_domain(record) in self.domains) == self.domains_wanted)
            and (self.member is None or record[self.member] in self.values)
        )

    @property
    def expression(self) -> str:
        """DETECTORPL over the variables that the stream sends."""
        parts = []
        if self.member is not None:
            parts.append(f"${VARIABLES[self.member]} in [{', '.join(map(_quoted, self.values))}]")
        if self.category is not None:
            parts.append(f"$product_category == {_quoted(self.category)}")
        if self.currency is not None:
            parts.append(f"$payment_currency == {_quoted(self.currency)}")
        if self.domains:
            pattern = "|".join(domain.replace(".", "\\.") for domain in self.domains)
            test = f'regex_match("(?i).*@({pattern})", $customer_email)'
            parts.append(test if self.domains_wanted else f"!{test}")
        if self.above or not parts:
            parts.append(f"$order_price > {self.above}")
        return " and ".join(parts)


VARIABLES = {
    "card_bin": "card_bin",
    "ip_address": "ip_address",
    "billing_street": "billing_street",
    "phone": "phone",
    "email_address": "customer_email",
}
"""Record members whose values may go into a list, with the variable that carries them."""


class RuleSet(NamedTuple):
    """Tuned rules, in order."""

    rules: tuple[Rule, ...]

    def blocks(self, record: Record) -> bool:
        """Would any rule block the payment?"""
        return any(rule.matches(record) for rule in self.rules)

    def score(self, examples: Iterable[Example]) -> Scoreboard:
        """How the rules do on payments whose truth is known."""
        return Scoreboard(
            Verdict(
                str(example.record["transaction_currency"]),
                int(example.record["transaction_amt"]),
                example.fraud,
                self.blocks(example.record),
            )
            for example in examples
        )


def tune(history: Sequence[Example], legit_share: float) -> RuleSet:
    """The rules that stop the most money of the labelled history (oldest first) while blocking at most
    `legit_share` (0 to 1) of its legitimate payments."""
    assert 0 < legit_share < 1
    cut = int(len(history) * (1 - HOLDOUT))
    proven, cost = _proven_lists(history[:cut], history[cut:])
    left = max(legit_share - cost, legit_share / 2)
    edges = [len(history) * part // PARTS for part in range(PARTS + 1)]

    def trial(split: _Split) -> float:
        return sum(
            _limits([*history[:start], *history[end:]], split, left)
            .score(history[start:end])
            .money_stopped_share
            for start, end in pairwise(edges)
        )

    limits = _limits(history, max(_SPLITS, key=trial), left)
    lists = (_list_rule(member, history) for member in proven)
    return RuleSet((*lists, *limits.rules))


_Group = tuple[str | None, str | None, bool | None]  # category, currency, risky mail domain; None: any
_Split = Callable[[Record, frozenset[str]], _Group]

_SPLITS: tuple[_Split, ...] = (
    lambda record, risky: (None, None, None),
    lambda record, risky: (None, str(record["transaction_currency"]), None),
    lambda record, risky: (str(record["product_category"]), None, None),
    lambda record, risky: (None, None, _domain(record) in risky),
    lambda record, risky: (None, str(record["transaction_currency"]), _domain(record) in risky),
    lambda record, risky: (str(record["product_category"]), None, _domain(record) in risky),
    lambda record, risky: (str(record["product_category"]), str(record["transaction_currency"]), None),
    lambda record, risky: (
        str(record["product_category"]),
        str(record["transaction_currency"]),
        _domain(record) in risky,
    ),
)


class _Limit(NamedTuple):
    """A limit in a group: share of all fraudulent money above it, legitimate payments above it."""

    money: float
    legit: int
    above: int


def _limits(examples: Sequence[Example], split: _Split, legit_share: float) -> RuleSet:
    """The best limits of a way of splitting, within the share of legitimate payments that may be blocked."""
    risky = _risky_domains(examples)
    worth = _worth(examples)
    groups: dict[_Group, tuple[list[tuple[int, float]], list[int]]] = {}
    for example in examples:
        record = example.record
        frauds, honest = groups.setdefault(split(record, risky), ([], []))
        amount = int(record["transaction_amt"])
        if example.fraud:
            frauds.append((amount, amount * worth[str(record["transaction_currency"])]))
        else:
            honest.append(amount)
    candidates = {group: _candidates(*both) for group, both in groups.items() if len(both[0]) >= MIN_FRAUDS}
    budget = legit_share * sum(not example.fraud for example in examples)
    domains = tuple(sorted(risky))
    return RuleSet(
        tuple(
            Rule(
                f"limit_{number}",
                category,
                currency,
                domains if risk is not None else (),
                risk is not False,
                limit.above,
            )
            for number, ((category, currency, risk), limit) in enumerate(
                sorted(_bought(candidates, budget).items(), key=str), start=1
            )
        )
    )


def _candidates(frauds: list[tuple[int, float]], honest: list[int]) -> list[_Limit]:
    """The limits worth trying in a group; the higher the amounts, the closer together."""
    honest.sort()
    frauds.sort()
    keys = [amount for amount, _ in frauds]
    amounts = sorted(keys + honest)
    limits = {0, *(amounts[int(len(amounts) * (1 - _CLOSER**step))] for step in range(1, _STEPS))}
    above = [0.0]
    for _, value in reversed(frauds):
        above.append(above[-1] + value)
    return [
        _Limit(above[len(keys) - bisect_right(keys, limit)], len(honest) - bisect_right(honest, limit), limit)
        for limit in sorted(limits)
    ]


def _bought(candidates: Mapping[_Group, list[_Limit]], budget: float) -> dict[_Group, _Limit]:
    """The limit of each group that is worth its price; the price is the lowest that keeps the budget."""

    def at(price: float) -> dict[_Group, _Limit]:
        best = {
            group: max(found, key=lambda limit: limit.money - price * limit.legit)
            for group, found in candidates.items()
            if found
        }
        return {group: limit for group, limit in best.items() if limit.money > price * limit.legit}

    low, high = 1e-9, 1.0
    for _ in range(_ROUNDS):
        middle = (low * high) ** 0.5
        if sum(limit.legit for limit in at(middle).values()) <= budget:
            high = middle
        else:
            low = middle
    return _spent(at(high), candidates, budget)


def _spent(
    bought: dict[_Group, _Limit], candidates: Mapping[_Group, list[_Limit]], budget: float
) -> dict[_Group, _Limit]:
    """What is left of the budget goes to the single changes that stop most money each, one by one."""
    nothing = _Limit(0.0, 0, 0)
    left = budget - sum(limit.legit for limit in bought.values())
    for _ in candidates:
        better = [
            (limit.money - bought.get(group, nothing).money, group, limit)
            for group, found in candidates.items()
            for limit in found
            if limit.legit - bought.get(group, nothing).legit <= left
        ]
        gain, group, limit = max(better, key=itemgetter(0), default=(0.0, None, nothing))
        if group is None or gain <= 0:
            break
        left -= limit.legit - bought.get(group, nothing).legit
        bought[group] = limit
    return bought


def _worth(examples: Sequence[Example]) -> dict[str, float]:
    """What a unit of each currency counts, so that money of different currencies is never simply added."""
    payments: Counter[str] = Counter()
    money: Counter[str] = Counter()
    for example in examples:
        currency = str(example.record["transaction_currency"])
        payments[currency] += 1
        if example.fraud:
            money[currency] += int(example.record["transaction_amt"])
    return {
        currency: payments[currency] / len(examples) / total for currency, total in money.items() if total
    }


def _risky_domains(examples: Sequence[Example]) -> frozenset[str]:
    """Mail domains where fraud is clearly more frequent than elsewhere."""
    everybody: Counter[str] = Counter()
    frauds: Counter[str] = Counter()
    for example in examples:
        domain = _domain(example.record)
        everybody[domain] += 1
        frauds[domain] += example.fraud
    share = frauds.total() / max(1, everybody.total())
    return frozenset(
        domain
        for domain, count in frauds.items()
        if count >= MIN_FRAUDS and count / everybody[domain] > DOMAIN_LIFT * share
    )


def _proven_lists(older: Sequence[Example], newer: Sequence[Example]) -> tuple[list[str], float]:
    """The members whose values in older frauds are fraud again, in at least one case of two, and the share of
    newer legitimate payments that lists of them block."""
    proven = []
    rules = []
    for member in VARIABLES:
        rule = _list_rule(member, older)
        hits = [example.fraud for example in newer if example.record[member] in rule.values]
        if hits and sum(hits) * 2 >= len(hits):
            proven.append(member)
            rules.append(rule)
    return proven, RuleSet(tuple(rules)).score(newer).legit_blocked_share


def _list_rule(member: str, seen: Sequence[Example]) -> Rule:
    """Blocks the values of the newest frauds."""
    values = dict.fromkeys(str(example.record[member]) for example in reversed(seen) if example.fraud)
    lengths = accumulate(len(value) + 4 for value in values)
    fitting = [value for value, length in zip(values, lengths, strict=True) if length <= LIST_CHARACTERS]
    return Rule(f"seen_{member}", member=member, values=tuple(fitting))


def _domain(record: Record) -> str:
    return str(record["email_address"]).rpartition("@")[2].lower()


def _quoted(text: str) -> str:
    assert '"' not in text and "\\" not in text
    return f'"{text}"'
