"""Attackers, with the truth about what they do: five kinds of campaigns, each with its own infrastructure.

A campaign lives less than two days, because banks report by then and its addresses, cards and mailboxes are
burnt; so no campaign is ever both labelled in a history and still active after it. It comes in waves:
payments seconds apart, then nothing until its own natural gap has passed. Waves are a share of all visits, at
any rate, and like payers they are taken from campaigns that are ready, or a new one begins.

Nothing an attacker uses is special by itself: addresses, mailboxes, devices, card prefixes, amounts and
hours come from the same sources as everybody's. Only how they are combined and repeated tells them apart.
"""

from abc import ABC, abstractmethod
from copy import copy
from heapq import heappop, heappush
from itertools import accumulate
from random import Random

from hawksnest.simulate.payer import Payer
from hawksnest.simulate.people import CURRENCIES, CURRENCY_SHARES, MAIL_DOMAINS, People, Person
from hawksnest.simulate.population import Population
from hawksnest.simulate.shop import (
    DAY_US,
    HOUR_US,
    LEVELS,
    MAX_AMOUNT,
    MIN_AMOUNT,
    SECOND_US,
    Payment,
    amount,
)

CARD_TESTING = "card_testing"
STOLEN_CARD = "stolen_card"
ACCOUNT_TAKEOVER = "account_takeover"
RING = "ring"
SLOW_EVASION = "slow_evasion"

LIFETIME_US = int(1.8 * DAY_US)
MAX_CAMPAIGNS = 1_000  # resting ones of a kind

# What sells again fast, and what an attacker buys to look like everybody else.
_SHIPPED = ("shopping_net", "shopping_net", "misc_net", "shopping_pos", "travel", "home", "entertainment")
_PLAIN = ("grocery_net", "misc_net", "shopping_net", "misc_pos", "health_fitness", "food_dining", "kids_pets")
_BURNER_DOMAINS = tuple(domain for domain, _ in MAIL_DOMAINS[-3:])

Wave = list[tuple[int, Payment]]  # delays in microseconds from now; the first is 0


class Campaign(ABC):
    """One attack from its first payment to its end."""

    kind: str

    def __init__(self, random: Random, people: People, serial: int, at_us: int) -> None:
        self.random = random
        self.people = people
        self.name = f"{self.kind}-{serial}"
        self.ends_us = at_us + LIFETIME_US
        self.waves_left = 1

    @abstractmethod
    def wave(self) -> Wave:
        """The payments of the next wave."""

    @abstractmethod
    def gap_us(self) -> int:
        """How long the campaign lies low after a wave."""

    def burner(self, name: str) -> str:
        """A mailbox opened for the purpose; a third of them at domains that ask no questions."""
        domain = self.random.choice(_BURNER_DOMAINS) if self.random.random() < 0.3 else None
        return self.people.email(name, domain)

    def spaced(self, payments: list[Payment], low_s: float, high_s: float) -> Wave:
        """The payments one after another, `low_s` to `high_s` seconds apart."""
        delay = 0
        wave = []
        for payment in payments:
            wave.append((delay, payment))
            delay += int(self.random.uniform(low_s, high_s) * SECOND_US)
        return wave

    def payment(
        self, person: Person, paid: int, category: str, currency: str, ip: str, agent: str
    ) -> Payment:
        """A payment of this campaign."""
        return Payment(person, paid, category, currency, ip, agent, self.kind, self.name)


class CardTesting(Campaign):
    """Small payments from one device: a list of stolen cards, or numbers guessed within one prefix."""

    kind = CARD_TESTING

    def __init__(self, random: Random, people: People, serial: int, at_us: int) -> None:
        super().__init__(random, people, serial, at_us)
        self._ips = [people.any_ip() for _ in range(random.choice((1, 1, 2)))]
        self._agent = people.user_agent()
        self._card_bin = people.card_bin() if random.random() < 0.5 else None
        self._category = random.choice(_PLAIN)
        self._currency = random.choices(CURRENCIES, CURRENCY_SHARES)[0]
        self._median = random.uniform(7, 22)
        self.waves_left = random.choice((1, 1, 2))

    def wave(self) -> Wave:
        payments = []
        for _ in range(self.random.randrange(8, 17)):
            person = self.people.person()
            person.card_bin = self._card_bin or person.card_bin
            paid = amount(self.random, self._median, 0.4)
            ip = self.random.choice(self._ips)
            payments.append(self.payment(person, paid, self._category, self._currency, ip, self._agent))
        return self.spaced(payments, 1, 5)

    def gap_us(self) -> int:
        return int(self.random.uniform(1, 8) * HOUR_US)


class StolenCard(Campaign):
    """A victim's card emptied as fast as it goes, from elsewhere, for goods that can be sold."""

    kind = STOLEN_CARD

    def __init__(self, random: Random, people: People, serial: int, at_us: int, victim: Payer) -> None:
        super().__init__(random, people, serial, at_us)
        self._person = copy(victim.person)
        if random.random() < 0.6:
            self._person.email = self.burner(self._person.name)
        if random.random() < 0.3:
            self._person.phone = people.phone()
        self._currency = victim.currency
        self._ip = people.any_ip()
        self._agent = people.user_agent()
        self._categories = random.sample(_SHIPPED, 3)
        self._median = random.uniform(240, 620) * LEVELS[self._currency]

    def wave(self) -> Wave:
        return self.spaced(
            [
                self.payment(
                    self._person,
                    amount(self.random, self._median, 0.5),
                    self.random.choice(self._categories),
                    self._currency,
                    self._ip,
                    self._agent,
                )
                for _ in range(self.random.randrange(5, 10))
            ],
            3,
            14,
        )

    def gap_us(self) -> int:
        return int(self.random.uniform(1, 6) * HOUR_US)


class AccountTakeover(Campaign):
    """Somebody else in a known account: other device, address and mailbox, then a few expensive things."""

    kind = ACCOUNT_TAKEOVER

    def __init__(self, random: Random, people: People, serial: int, at_us: int, victim: Payer) -> None:
        super().__init__(random, people, serial, at_us)
        self._person = copy(victim.person)
        self._person.email = self.burner(self._person.name)
        if random.random() < 0.4:
            self._person.phone = people.phone()
        self._currency = victim.currency
        self._ip = people.any_ip()
        self._agent = people.user_agent()
        self._median = random.uniform(320, 800) * LEVELS[self._currency]
        self.waves_left = random.choice((1, 2, 2))

    def wave(self) -> Wave:
        return self.spaced(
            [
                self.payment(
                    self._person,
                    amount(self.random, self._median, 0.45),
                    self.random.choice(_SHIPPED),
                    self._currency,
                    self._ip,
                    self._agent,
                )
                for _ in range(self.random.choice((2, 2, 3, 3, 4)))
            ],
            8,
            30,
        )

    def gap_us(self) -> int:
        return int(self.random.uniform(2, 14) * HOUR_US)


class Ring(Campaign):
    """Fresh customers that share devices, streets, phones and internet addresses."""

    kind = RING

    def __init__(self, random: Random, people: People, serial: int, at_us: int) -> None:
        super().__init__(random, people, serial, at_us)
        homes = [(people.city(), people.street()) for _ in range(random.choice((1, 2)))]
        phones = [people.phone() for _ in range(random.choice((2, 3, 4)))]
        cards = [people.card_bin() for _ in range(random.choice((2, 3, 4)))]
        self._members = []
        for _ in range(random.randrange(10, 17)):
            person = people.person(*random.choice(homes))
            person.phone = random.choice(phones)
            person.card_bin = random.choice(cards)
            person.email = self.burner(person.name)
            self._members.append((person, people.currency()))
        self._ips = [people.any_ip() for _ in range(random.choice((1, 1, 2)))]
        self._agents = [people.user_agent() for _ in range(random.choice((1, 2)))]
        self._median = random.uniform(150, 450)
        self.waves_left = random.randrange(2, 6)

    def wave(self) -> Wave:
        members = self.random.sample(self._members, self.random.randrange(6, 11))
        return self.spaced(
            [
                self.payment(
                    person,
                    amount(self.random, self._median * LEVELS[currency], 0.5),
                    self.random.choice(_SHIPPED if self.random.random() < 0.7 else _PLAIN),
                    currency,
                    self.random.choice(self._ips),
                    self.random.choice(self._agents),
                )
                for person, currency in members
            ],
            3,
            15,
        )

    def gap_us(self) -> int:
        return int(self.random.uniform(2, 12) * HOUR_US)


class SlowEvasion(Campaign):
    """Many mules, each paying rarely and just below a limit, who share addresses and card prefixes."""

    kind = SLOW_EVASION

    def __init__(self, random: Random, people: People, serial: int, at_us: int) -> None:
        super().__init__(random, people, serial, at_us)
        self._ips = [people.any_ip() for _ in range(random.choice((1, 2, 3)))]
        self._cards = [people.card_bin() for _ in range(random.choice((1, 2)))]
        self._limit = random.choice((100, 150, 200, 250, 300, 500))
        self._mules = []
        for _ in range(random.randrange(10, 22)):
            person = people.person()
            person.card_bin = random.choice(self._cards)
            self._mules.append((person, people.currency(), people.user_agent()))
        self._turn = 0
        self.waves_left = random.randrange(6, 14)

    def wave(self) -> Wave:
        payments = []
        for _ in range(self.random.choice((2, 2, 3, 4))):
            person, currency, agent = self._mules[self._turn % len(self._mules)]
            self._turn += 1
            paid = int(self._limit * self.random.uniform(0.72, 0.995) * LEVELS[currency])
            payments.append(
                self.payment(
                    person,
                    max(MIN_AMOUNT, min(MAX_AMOUNT, paid)),
                    self.random.choice(_PLAIN + _SHIPPED),
                    currency,
                    self.random.choice(self._ips),
                    agent,
                )
            )
        return self.spaced(payments, 12, 45)

    def gap_us(self) -> int:
        return int(self.random.uniform(0.5, 5) * HOUR_US)


# Share of the fraudulent payments, and payments in a wave on average.
_KINDS: dict[str, tuple[float, float]] = {
    CARD_TESTING: (0.30, 12.0),
    STOLEN_CARD: (0.25, 7.0),
    ACCOUNT_TAKEOVER: (0.12, 2.8),
    RING: (0.23, 8.0),
    SLOW_EVASION: (0.10, 2.75),
}
KINDS = tuple(_KINDS)


class Attackers:
    """All campaigns. `share` is the share of fraudulent payments among all payments."""

    def __init__(self, random: Random, people: People, population: Population, share: float) -> None:
        self._random = random
        self._people = people
        self._population = population
        self._resting: dict[str, list[tuple[int, int, Campaign]]] = {kind: [] for kind in KINDS}
        self._serial = 0
        waves = [part / size for part, size in _KINDS.values()]
        self._waves = tuple(accumulate(waves))
        self.wave_share = share * self._waves[-1]
        """Waves for each payment of the stream."""

    def next_wave(self, at_us: int) -> Wave:
        """The wave that begins now; empty when there is nobody to rob yet."""
        lot = self._random.random() * self._waves[-1]
        kind = next(kind for kind, limit in zip(KINDS, self._waves, strict=True) if lot < limit)
        campaign = self._ready(kind, at_us) or self._begin(kind, at_us)
        if campaign is None:
            return []
        wave = campaign.wave()
        campaign.waves_left -= 1
        wakes_us = at_us + wave[-1][0] + campaign.gap_us()
        resting = self._resting[kind]
        if campaign.waves_left > 0 and wakes_us < campaign.ends_us and len(resting) < MAX_CAMPAIGNS:
            heappush(resting, (wakes_us, self._serial, campaign))
            self._serial += 1
        return wave

    def _ready(self, kind: str, at_us: int) -> Campaign | None:
        resting = self._resting[kind]
        while resting and resting[0][0] <= at_us:
            campaign = heappop(resting)[2]
            if at_us < campaign.ends_us:
                return campaign
        return None

    def _begin(self, kind: str, at_us: int) -> Campaign | None:
        self._serial += 1
        given = (self._random, self._people, self._serial, at_us)
        if kind == CARD_TESTING:
            return CardTesting(*given)
        if kind == RING:
            return Ring(*given)
        if kind == SLOW_EVASION:
            return SlowEvasion(*given)
        victim = self._population.victim(at_us)
        if victim is None:
            return None
        return StolenCard(*given, victim) if kind == STOLEN_CARD else AccountTakeover(*given, victim)
