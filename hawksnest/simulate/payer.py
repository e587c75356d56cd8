"""A payer with habits: home, hours, categories, amounts, devices, cards and a natural gap between visits.

Honest people do odd things too: they travel, buy gifts and sofas, get a new phone, card, mailbox or
flat, pay three times in ten minutes, and share an address with a family or an internet address with a whole
dormitory. These are the cases that a crude rule blocks by mistake.
"""

from copy import copy
from itertools import accumulate
from random import Random

from hawksnest.simulate.people import City, People, Person
from hawksnest.simulate.shop import (
    BIG_TICKETS,
    BY_NAME,
    CATEGORIES,
    DAY_US,
    HOUR_US,
    LEVELS,
    SECOND_US,
    Payment,
    amount,
    local_hour,
    pick,
)

_NAMES = tuple(category.name for category in CATEGORIES)
_SHARES = tuple(accumulate(category.share for category in CATEGORIES))

# How often somebody comes: share of payers, median gap in hours, eagerness (how soon after the gap the next
# visit follows), chance that a visit was the last one.
_RHYTHMS = (
    (0.22, 16.0, 1.0, 0.04),
    (0.40, 60.0, 0.6, 0.10),
    (0.38, 240.0, 0.35, 0.20),
)
_RHYTHM_SUMS = tuple(accumulate(share for share, *_ in _RHYTHMS))

SESSION_SHARE = 0.09  # visits with more than one payment
TRAVEL_SHARE = 0.025
BIG_TICKET_SHARE = 0.03
GIFT_SHARE = 0.025
NEW_DEVICE_SHARE = 0.02
NEW_CARD_SHARE = 0.012
NEW_MAILBOX_SHARE = 0.004
MOVE_SHARE = 0.003


class Place:
    """Where several payers live. After a visit nobody of them pays until `free_us`."""

    __slots__ = ("card_bin", "city", "dormitory", "free_us", "ip", "members", "seats", "street")

    def __init__(self, random: Random, people: People, dormitory: bool) -> None:
        self.dormitory = dormitory
        self.ip = people.fixed_ip()
        self.city: City = people.city()
        self.street = people.street()
        self.card_bin = people.card_bin()
        self.seats = random.randrange(8, 26) if dormitory else random.choice((2, 2, 3, 3, 4, 5))
        self.members: list[Payer] = []
        self.free_us = 0

    def rest(self, random: Random, at_us: int) -> None:
        """Somebody of the place paid now; the next one follows hours to days later."""
        median_h, sigma = (3, 0.9) if self.dormitory else (14, 1.0)
        self.free_us = at_us + int(median_h * HOUR_US * random.lognormvariate(0.0, sigma))

    def vacancy_gap_us(self, random: Random) -> int:
        """Until the next inhabitant moves in."""
        median_h, sigma = (6, 0.8) if self.dormitory else (30, 1.0)
        return int(median_h * HOUR_US * random.lognormvariate(0.0, sigma))


class Payer:
    """One customer. A visit is one payment, or a few within the hour from the same device and address."""

    __slots__ = (
        "_agents",
        "_cards",
        "_currency",
        "_home_ip",
        "_hours",
        "_level",
        "_likes",
        "_mobile_ip",
        "_mobile_share",
        "_people",
        "_random",
        "_weekend",
        "eagerness",
        "gap_us",
        "last_us",
        "leaves",
        "person",
        "place",
        "visits",
    )

    def __init__(
        self,
        random: Random,
        people: People,
        person: Person,
        home_ip: str,
        at_us: int,
        place: Place | None,
    ) -> None:
        rhythm = _RHYTHMS[
            0 if (lot := random.random()) < _RHYTHM_SUMS[0] else 1 if lot < _RHYTHM_SUMS[1] else 2
        ]
        self._random = random
        self._people = people
        self.person = person
        self.place = place
        self._home_ip = home_ip
        self._mobile_ip = people.mobile_ip()
        self._mobile_share = random.choice((0.0, 0.15, 0.3, 0.6))
        self._agents = [people.user_agent() for _ in range(random.choice((1, 1, 2, 2, 3)))]
        self._cards = [person.card_bin] if random.random() < 0.75 else [person.card_bin, people.card_bin()]
        self._currency = people.currency()
        self._level = random.lognormvariate(0.0, 0.35) * LEVELS[self._currency]
        liked = [pick(random, _NAMES, _SHARES) for _ in range(random.randrange(3, 7))]
        self._likes = tuple(liked)
        self._hours = self._waking(at_us)
        self._weekend = random.random() < 0.25
        self.gap_us = int(rhythm[1] * random.lognormvariate(0.0, 0.5) * HOUR_US)
        self.eagerness = rhythm[2]
        self.leaves = rhythm[3]
        self.last_us = at_us
        self.visits = 0

    def _waking(self, at_us: int) -> tuple[int, int]:
        """First hour and number of hours of the day's shopping; holds the hour of the first visit."""
        length = self._random.randrange(8, 16)
        now = local_hour(at_us, self.person.city.utc_offset)
        return (now - self._random.randrange(length)) % 24, length

    @property
    def currency(self) -> str:
        """The currency of the payer's cards."""
        return self._currency

    def inclined(self, at_us: int) -> float:
        """How likely the payer is to shop at this hour of this day, once the gap has passed (0 to 1)."""
        first, length = self._hours
        awake = (local_hour(at_us, self.person.city.utc_offset) - first) % 24 < length
        weekend = (at_us // DAY_US + 3) % 7 >= 5
        return self.eagerness * (1.0 if awake else 0.08) * (0.5 if self._weekend and not weekend else 1.0)

    def natural_gap_us(self) -> int:
        """The least time until the payer is ready for the next visit."""
        return int(self.gap_us * self._random.lognormvariate(0.0, 0.45))

    def visit(self, at_us: int) -> list[tuple[int, Payment]]:
        """The payments of a visit with their delays (microseconds from now); the first is now."""
        self.last_us = at_us
        self.visits += 1
        kind = self._change() if self.visits > 1 else "usual"
        if kind == "travel":
            ip, agent = self._people.any_ip(), self._agents[-1]
        else:
            ip, agent = self._ip(), self._random.choice(self._agents)
        payments = [(0, self._payment(kind, ip, agent))]
        if self._random.random() < SESSION_SHARE:
            delay = 0
            for _ in range(self._random.choice((1, 1, 1, 2, 2, 3))):
                delay += int(min(3600.0, self._random.lognormvariate(4.4, 1.1)) * SECOND_US)
                payments.append((delay, self._payment(kind, ip, agent)))
        return payments

    def join(self, at_us: int) -> Payment:
        """One payment at home, beside another member of the household."""
        self.last_us = at_us
        self.visits += 1
        return self._payment("family", self._home_ip, self._random.choice(self._agents))

    def _change(self) -> str:
        """Sometimes something about the payer changes, or the visit is out of the ordinary."""
        random = self._random
        lot = random.random()
        if lot < TRAVEL_SHARE:
            return "travel"
        lot -= TRAVEL_SHARE
        if lot < NEW_DEVICE_SHARE:
            self._agents[random.randrange(len(self._agents))] = self._people.user_agent()
            self._mobile_ip = self._people.mobile_ip()
            return "new_device"
        lot -= NEW_DEVICE_SHARE
        if lot < NEW_CARD_SHARE:
            self._cards[random.randrange(len(self._cards))] = self._people.card_bin()
            return "new_card"
        lot -= NEW_CARD_SHARE
        if lot < NEW_MAILBOX_SHARE:
            self.person = copy(self.person)
            self.person.email = self._people.email(self.person.name)
            return "new_mailbox"
        lot -= NEW_MAILBOX_SHARE
        if lot < MOVE_SHARE:
            self.person = copy(self.person)
            self.person.street, self.person.city = self._people.street(), self._people.city()
            self._home_ip = self._people.fixed_ip()
            self.place = None
            return "moved"
        return "usual"

    def _ip(self) -> str:
        random = self._random
        if random.random() >= self._mobile_share:
            return self._home_ip
        if random.random() < 0.5:
            self._mobile_ip = self._people.mobile_ip()
        return self._mobile_ip

    def _payment(self, kind: str, ip: str, agent: str) -> Payment:
        random = self._random
        lot = random.random()
        if kind == "travel":
            name = random.choice(("travel", "food_dining", "entertainment", "gas_transport", "shopping_pos"))
            paid = amount(random, BY_NAME[name].median * 1.3 * self._level, BY_NAME[name].sigma)
        elif lot < BIG_TICKET_SHARE:
            kind = "big_ticket" if kind == "usual" else kind
            name = random.choice(BIG_TICKETS)
            paid = amount(random, 480 * self._level, 0.55)
        elif lot < BIG_TICKET_SHARE + GIFT_SHARE:
            kind = "gift" if kind == "usual" else kind
            name = random.choice(("shopping_net", "shopping_net", "shopping_pos", "misc_net", "kids_pets"))
            paid = amount(random, 180 * self._level, 0.6)
        else:
            name = random.choice(self._likes) if random.random() < 0.85 else pick(random, _NAMES, _SHARES)
            paid = amount(random, BY_NAME[name].median * self._level, BY_NAME[name].sigma)
        person = self.person
        if (card := self._cards[0] if random.random() < 0.8 else self._cards[-1]) != person.card_bin:
            person = copy(person)
            person.card_bin = card
        return Payment(person, paid, name, self._currency, ip, agent, kind)
