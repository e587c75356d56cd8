"""The population, drawn lazily: whoever pays next is somebody whose natural gap has passed, or somebody new.

A stream of 50 payments a second needs thousands of times more customers than a history of a few thousand
payments a day. Squeezing the known customers into it would make each of them look like an attack. So nobody
is ever called back early: a payer rests for the natural gap *in event time* after each visit, then waits
among the ready ones; each visit takes a ready payer by lot, and the emptier that room, the more often
somebody new comes instead. The gaps, addresses per household and so on are then the same at every rate; only
the share of new customers grows when a stream goes faster than its known customers come back.
"""

from heapq import heappop, heappush
from random import Random

from hawksnest.simulate.payer import Payer
from hawksnest.simulate.people import City, People
from hawksnest.simulate.shop import DAY_US, HOUR_US

MAX_PAYERS = 60_000  # remembered; beyond, a visit is a payer's last one
MAX_PLACES = 10_000
NEWCOMERS = 1_500  # a waiting room of this many ready payers makes every second visit a newcomer's
_TRIES = 6

HOUSEHOLD_SHARE = 0.22  # newcomers who live with others: same street and home address
DORMITORY_SHARE = 0.05  # newcomers behind a big shared address: same address, other streets


class _Place:
    """Where several payers live; the next of them shows up only after a natural gap."""

    __slots__ = ("card_bin", "city", "dormitory", "ip", "seats", "street")

    def __init__(self, random: Random, people: People, dormitory: bool) -> None:
        self.dormitory = dormitory
        self.ip = people.fixed_ip()
        self.city: City = people.city()
        self.street = people.street()
        self.card_bin = people.card_bin()
        self.seats = random.randrange(8, 26) if dormitory else random.choice((2, 2, 3, 3, 4, 5))

    def gap_us(self, random: Random) -> int:
        if self.dormitory:
            return int(6 * HOUR_US * random.lognormvariate(0.0, 0.8))
        return int(1.2 * DAY_US * random.lognormvariate(0.0, 1.0))


class Population:
    """Everybody who has paid and may come back."""

    def __init__(self, random: Random, people: People) -> None:
        self._random = random
        self._people = people
        self._ready: list[Payer] = []
        self._resting: list[tuple[int, int, Payer]] = []
        self._places: dict[bool, list[tuple[int, int, _Place]]] = {True: [], False: []}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting)

    def next_payer(self, at_us: int) -> Payer:
        """Who pays now."""
        resting, ready, random = self._resting, self._ready, self._random
        while resting and resting[0][0] <= at_us:
            ready.append(heappop(resting)[2])
        if random.random() * (len(ready) + NEWCOMERS) < NEWCOMERS:
            return self._newcomer(at_us)
        index = 0
        for _ in range(_TRIES):
            index = int(random.random() * len(ready))
            if random.random() < ready[index].inclined(at_us):
                break
        payer, ready[index] = ready[index], ready[-1]
        ready.pop()
        return payer

    def back(self, payer: Payer, at_us: int) -> None:
        """After a visit that ended now the payer rests, or never comes again."""
        if self._random.random() >= payer.leaves and len(self) < MAX_PAYERS:
            self._serial += 1
            heappush(self._resting, (at_us + payer.natural_gap_us(), self._serial, payer))

    def victim(self) -> Payer | None:
        """Somebody with a past whose card or account an attacker holds; stays a customer all the same."""
        ready = self._ready
        if not ready:
            return None
        candidates = [ready[int(self._random.random() * len(ready))] for _ in range(3)]
        return max(candidates, key=lambda payer: payer.visits)

    def _newcomer(self, at_us: int) -> Payer:
        random, people = self._random, self._people
        lot = random.random()
        if lot >= HOUSEHOLD_SHARE + DORMITORY_SHARE:
            return Payer(random, people, people.person(), people.fixed_ip(), at_us)
        place = self._place(at_us, dormitory=lot >= HOUSEHOLD_SHARE)
        if place.dormitory:
            person = people.person(place.city)
        else:
            person = people.person(place.city, place.street)
            if random.random() < 0.4:
                person.card_bin = place.card_bin
        return Payer(random, people, person, place.ip, at_us)

    def _place(self, at_us: int, dormitory: bool) -> _Place:
        """A place whose next inhabitant may show up now, or a new one."""
        places = self._places[dormitory]
        if places and places[0][0] <= at_us:
            place = heappop(places)[2]
        else:
            place = _Place(self._random, self._people, dormitory)
        place.seats -= 1
        if place.seats and len(places) < MAX_PLACES:
            self._serial += 1
            heappush(places, (at_us + place.gap_us(self._random), self._serial, place))
        return place
