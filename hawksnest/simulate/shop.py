"""What is bought and when: categories with typical amounts, the hours of the day, one payment as a record."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from typing import NamedTuple

from hawksnest.simulate.people import Person

MIN_AMOUNT, MAX_AMOUNT = 5, 2000

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

FIELDS = (
    "transaction_amt",
    "ip_address",
    "email_address",
    "transaction_currency",
    "event_id",
    "entity_id",
    "event_time",
    "billing_longitude",
    "billing_state",
    "user_agent",
    "billing_street",
    "billing_city",
    "card_bin",
    "customer_name",
    "product_category",
    "customer_job",
    "phone",
    "billing_latitude",
    "billing_zip",
)
"""The members of an input record, in the order of the wire."""


class Category(NamedTuple):
    """A category: its share of purchases, the median amount and its spread (sigma of the logarithm)."""

    name: str
    share: float
    median: float
    sigma: float


CATEGORIES = (
    Category("entertainment", 6, 48, 0.75),
    Category("food_dining", 9, 38, 0.65),
    Category("gas_transport", 11, 52, 0.40),
    Category("grocery_net", 5, 72, 0.60),
    Category("grocery_pos", 13, 64, 0.65),
    Category("health_fitness", 6, 58, 0.70),
    Category("home", 8, 95, 0.90),
    Category("kids_pets", 7, 55, 0.70),
    Category("misc_net", 5, 62, 1.00),
    Category("misc_pos", 5, 45, 0.95),
    Category("personal_care", 6, 40, 0.70),
    Category("travel", 4, 240, 0.90),
    Category("shopping_net", 8, 88, 0.95),
    Category("shopping_pos", 7, 76, 0.90),
)
BY_NAME = {category.name: category for category in CATEGORIES}

# What a sum means in a currency, against the dollar; amounts stay between 5 and 2000 in all of them.
LEVELS = {"usd": 1.0, "eur": 0.95, "gbp": 0.85, "cad": 1.25, "egp": 1.7}

BIG_TICKETS = (
    "travel",
    "home",
    "shopping_net",
    "shopping_pos",
    "misc_net",
    "health_fitness",
    "entertainment",
)

# Purchases per local hour, and per weekday from Monday.
_LOCAL_HOURS = (2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 14, 16, 15, 14, 14, 15, 17, 18, 18, 16, 13, 9, 5)
_WEEKDAYS = (0.92, 0.90, 0.95, 1.0, 1.15, 1.18, 0.95)
_OFFSETS = ((-5, 0.47), (-6, 0.29), (-7, 0.10), (-8, 0.13), (-10, 0.01))
_UTC_HOURS: tuple[float, ...] = tuple(
    sum(share * _LOCAL_HOURS[(hour + offset) % 24] for offset, share in _OFFSETS) for hour in range(24)
)
_EPOCH = datetime(1970, 1, 1)


def amount(random: Random, median: float, sigma: float) -> int:
    """A whole, log-normal amount between 5 and 2000."""
    value = round(median * math.exp(sigma * random.gauss(0.0, 1.0)))
    return MIN_AMOUNT if value < MIN_AMOUNT else MAX_AMOUNT if value > MAX_AMOUNT else value


def local_hour(at_us: int, utc_offset: int) -> int:
    """The hour on the wall of somebody who lives `utc_offset` hours from UTC."""
    return (at_us // HOUR_US + utc_offset) % 24


def event_time(at_us: int) -> str:
    """A naive time as the reference's producer writes it: microseconds, none printed when they are zero."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat()


class Calendar:
    """How busy each moment of a stretch of time is: instants to shares of the business and back."""

    def __init__(self, from_us: int, to_us: int) -> None:
        assert from_us < to_us
        self._edges: list[int] = [from_us, *range((from_us // HOUR_US + 1) * HOUR_US, to_us, HOUR_US), to_us]
        business = (
            (end - start) * _UTC_HOURS[start // HOUR_US % 24] * _WEEKDAYS[(start // DAY_US + 3) % 7]
            for start, end in zip(self._edges, self._edges[1:], strict=False)
        )
        sums = [0.0, *accumulate(business)]
        self._shares: list[float] = [value / sums[-1] for value in sums]

    def at(self, share: float) -> int:
        """The instant (microseconds) before which `share` (0 to 1) of all business is done."""
        index = min(bisect_right(self._shares, share), len(self._shares) - 1) - 1
        start, end = self._shares[index], self._shares[index + 1]
        within = (share - start) / (end - start)
        return self._edges[index] + int(within * (self._edges[index + 1] - self._edges[index]))

    def share(self, at_us: int) -> float:
        """The share of all business that is done at the instant."""
        index = min(bisect_right(self._edges, at_us), len(self._edges) - 1) - 1
        start, end = self._edges[index], self._edges[index + 1]
        within = min(1.0, max(0.0, (at_us - start) / (end - start)))
        return self._shares[index] + within * (self._shares[index + 1] - self._shares[index])


class Payment(NamedTuple):
    """One payment before it becomes a record; `kind` and `campaign` are the truth about it."""

    person: Person
    amount: int
    category: str
    currency: str
    ip: str
    user_agent: str
    kind: str
    campaign: str | None = None


def record(payment: Payment, event_id: str, at_us: int) -> dict[str, str | int]:
    """The input record of a payment: the 19 members of `FIELDS`, and nothing about the truth."""
    person = payment.person
    city = person.city
    return {
        "transaction_amt": payment.amount,
        "ip_address": payment.ip,
        "email_address": person.email,
        "transaction_currency": payment.currency,
        "event_id": event_id,
        "entity_id": person.entity_id,
        "event_time": event_time(at_us),
        "billing_longitude": city.longitude,
        "billing_state": city.state,
        "user_agent": payment.user_agent,
        "billing_street": person.street,
        "billing_city": city.name,
        "card_bin": person.card_bin,
        "customer_name": person.name,
        "product_category": payment.category,
        "customer_job": person.job,
        "phone": person.phone,
        "billing_latitude": city.latitude,
        "billing_zip": city.zip,
    }


def pick(random: Random, names: Sequence[str], cumulated: Sequence[float]) -> str:
    """One of `names`, weighted."""
    return names[bisect_right(cumulated, random.random() * cumulated[-1], 0, len(names) - 1)]
