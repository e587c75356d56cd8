"""People who do not exist: names, streets, cards, addresses and devices that belong to nobody.

Facts about cities are real (data/cities.csv). Everything that could reach a person or a machine is taken
from what is set aside for that purpose: entity ids have the form of social security numbers with an area
that is never issued; card numbers begin with 0, which no payment card does; phones are 555-01xx; mail
domains end in example.com, .org, .net or .example; internet addresses are private, for benchmarks or for
documentation.

Identifiers that real customers rarely share are dealt out by a full-period walk instead of by lot, so a
stream of any rate does not make strangers collide: a share of equal card prefixes or phones that grows
with the rate would look like an attack.
"""

import csv
import math
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import NamedTuple

STREET_KINDS = (
    "Street",
    "Avenue",
    "Lane",
    "Road",
    "Drive",
    "Court",
    "Way",
    "Place",
    "Terrace",
    "Trail",
    "Square",
)
# Share of customers per mail domain. The last three are used more by attackers, but not by them alone.
MAIL_DOMAINS = (
    ("example.com", 30),
    ("example.org", 16),
    ("example.net", 18),
    ("mail.example", 12),
    ("post.example", 8),
    ("letters.example", 5),
    ("campus.example", 3),
    ("inbox.example", 3),
    ("quickmail.example", 2),
    ("freebox.example", 2),
    ("nomad.example", 1),
)
CURRENCIES = ("usd", "eur", "gbp", "cad", "egp")
CURRENCY_SHARES = (66, 12, 10, 8, 4)

_SYSTEMS = (
    ("Windows NT 10.0; Win64; x64", "", 46),
    ("Macintosh; Intel Mac OS X 10_15_7", "", 22),
    ("X11; Linux x86_64", "", 5),
    ("Linux; Android 10; K", " Mobile", 27),
)
_CHROMES = tuple((version, 6 + version - 124) for version in range(124, 143))


class City(NamedTuple):
    """A real city, its main postal code, coordinates as texts, standard offset from UTC in hours."""

    name: str
    state: str
    zip: str
    latitude: str
    longitude: str
    utc_offset: int


@lru_cache(maxsize=1)
def words() -> dict[str, tuple[str, ...]]:
    """The lists of data/words.toml: first_names, last_names, street_names, jobs."""
    text = (files("hawksnest.simulate") / "data" / "words.toml").read_text(encoding="utf-8")
    return {
        key: tuple(word.strip().replace("\n", " ") for word in value.split(";"))
        for key, value in tomllib.loads(text).items()
    }


@lru_cache(maxsize=1)
def cities() -> tuple[City, ...]:
    """All cities of data/cities.csv."""
    text = (files("hawksnest.simulate") / "data" / "cities.csv").read_text(encoding="utf-8")
    return tuple(
        City(row["city"], row["state"], row["zip"], row["latitude"], row["longitude"], int(row["utc_offset"]))
        for row in csv.DictReader(text.splitlines())
    )


@dataclass(slots=True)
class Person:
    """What a payment says about the payer; a person may move, change the card or the mailbox."""

    entity_id: str
    name: str
    job: str
    email: str
    phone: str
    street: str
    city: City
    card_bin: str


class Walk:
    """Every number below `size` once, in an order that looks random, then again."""

    def __init__(self, random: Random, size: int) -> None:
        self._size = size
        self._at = random.randrange(size)
        self._step = random.randrange(size // 3, size // 2)
        while math.gcd(self._step, size) != 1:
            self._step += 1

    def next(self) -> int:
        """The next number of the walk."""
        self._at = (self._at + self._step) % self._size
        return self._at


class People:
    """Deals out persons and the things they own. One per simulation; same seed, same people."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._cities = cities()
        self._first_names = words()["first_names"]
        self._last_names = words()["last_names"]
        self._streets = words()["street_names"]
        self._jobs = words()["jobs"]
        self._entities = Walk(random, 100 * 49 * 10_000)
        self._cards = Walk(random, 100_000)
        self._phones = Walk(random, 700 * 100 * 10)
        self._domains = [domain for domain, _ in MAIL_DOMAINS]
        self._domain_weights = _cumulated([weight for _, weight in MAIL_DOMAINS])
        self._systems = _cumulated([weight for _, _, weight in _SYSTEMS])
        self._versions = _cumulated([weight for _, weight in _CHROMES])
        self._currencies = _cumulated(list(CURRENCY_SHARES))

    def person(self, city: City | None = None, street: str | None = None) -> Person:
        """Somebody new, living in `city` and `street` if given."""
        name = self._random.choice(self._first_names)
        return Person(
            entity_id=self.entity_id(),
            name=name,
            job=self._random.choice(self._jobs),
            email=self.email(name),
            phone=self.phone(),
            street=street or self.street(),
            city=city or self.city(),
            card_bin=self.card_bin(),
        )

    def entity_id(self) -> str:
        """`9gg-kk-nnnn` with a middle group below 50: an area never issued, and not a tax number either."""
        area, rest = divmod(self._entities.next(), 490_000)
        group, serial = divmod(rest, 10_000)
        return f"{900 + area}-{group + 1:02d}-{serial:04d}"

    def card_bin(self) -> str:
        """Six digits beginning with 0, the industry digit that payment cards do not use."""
        return f"{self._cards.next():06d}"

    def phone(self) -> str:
        """A 555-01xx number; some with an extension, as call centres write them down."""
        rest, extension = divmod(self._phones.next(), 10)
        area, line = divmod(rest, 100)
        number = f"{200 + area}-555-01{line:02d}"
        return number if extension < 6 else f"1-{number}-{extension}{self._random.randrange(1000):03d}"

    def email(self, name: str, domain: str | None = None) -> str:
        """A mailbox under a domain that is reserved for examples."""
        random = self._random
        if domain is None:
            domain = random.choices(self._domains, cum_weights=self._domain_weights)[0]
        last = self._last_names[int(random.random() * len(self._last_names))]
        number = int(random.random() * 10_000)
        style = random.random()
        if style < 0.5:
            return f"{name.lower()}.{last}{number}@{domain}"
        if style < 0.8:
            return f"{name[0].lower()}{last}{number}@{domain}"
        return f"{last}{name.lower()}{number}@{domain}"

    def street(self) -> str:
        """Number, street and sometimes a suite."""
        random = self._random
        street = f"{random.randrange(1, 9999)} {random.choice(self._streets)} {random.choice(STREET_KINDS)}"
        return f"{street} Suite {random.randrange(100, 999)}" if random.random() < 0.25 else street

    def city(self) -> City:
        """Some city of the table."""
        return self._cities[int(self._random.random() * len(self._cities))]

    def fixed_ip(self) -> str:
        """The address of a home or a hotel: 10/8, 198.18/15 or 2001:db8::/32."""
        random = self._random
        lot = random.random()
        bits = random.getrandbits(24)
        if lot < 0.80:
            return f"10.{bits >> 16}.{bits >> 8 & 255}.{bits & 255}"
        if lot < 0.86:
            return f"198.{18 + (bits >> 16 & 1)}.{bits >> 8 & 255}.{bits & 255}"
        return f"2001:db8:{bits >> 8:x}:{random.getrandbits(16):x}::{1 + (bits & 255):x}"

    def mobile_ip(self) -> str:
        """The address a phone happens to have: 172.16/12."""
        bits = self._random.getrandbits(20)
        return f"172.{16 + (bits >> 16)}.{bits >> 8 & 255}.{bits & 255}"

    def any_ip(self) -> str:
        """An address as anybody may have it."""
        return self.fixed_ip() if self._random.random() < 0.7 else self.mobile_ip()

    def user_agent(self) -> str:
        """A Chrome of the last two years on one of the common systems."""
        random = self._random
        system, mobile, _ = random.choices(_SYSTEMS, cum_weights=self._systems)[0]
        version, _ = random.choices(_CHROMES, cum_weights=self._versions)[0]
        return (
            f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{version}.0.{6367 + 41 * (version - 124)}.{random.randrange(30, 210)}{mobile} "
            "Safari/537.36"
        )

    def currency(self) -> str:
        """The currency of somebody's card."""
        return self._random.choices(CURRENCIES, cum_weights=self._currencies)[0]

    def uuid4(self) -> str:
        """A version 4 UUID from the seeded generator."""
        bits = self._random.getrandbits(128)
        text = f"{bits & ~(0xF000 << 64) & ~(0xC000 << 48) | (0x4000 << 64) | (0x8000 << 48):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _cumulated(weights: list[int]) -> list[int]:
    total = 0
    sums = []
    for weight in weights:
        total += weight
        sums.append(total)
    return sums
