"""The population, drawn lazily: whoever pays next is somebody whose natural gap has passed, or somebody new.

A stream of 50 payments a second needs thousands of times more customers than a history of a few thousand
payments a day. Squeezing the known customers into it would make each of them look like an attack. So nobody
is ever called back early: a payer rests for the natural gap *in event time* after each visit, then waits
among the ready ones; each visit takes a ready payer by lot, or somebody new: a steady share, and more when
hardly anybody is ready.

The same holds for what payers share. A family or a dormitory behind one address has its own natural gap: else
a fast stream would call many of them within a minute, and the shared address would look like a ring. So
gaps of payers and of addresses are the same at every rate; only the share of new customers grows when a
stream goes faster than its known customers come back.
"""

from heapq import heappop, heappush
from random import Random

from hawksnest.simulate.payer import Payer, Place
from hawksnest.simulate.people import People
from hawksnest.simulate.shop import SECOND_US, Payment

MAX_PAYERS = 60_000  # remembered; beyond, a visit is a payer's last one
MAX_PLACES = 10_000
NEWCOMER_SHARE = 0.32  # of the visits, where enough known payers are ready
SCARCE = 400  # with so few ready ones, half of the visits that would be theirs are newcomers' too
_TRIES = 6

HOUSEHOLD_SHARE = 0.22  # newcomers who live with others: same street and home address
COMPANY_SHARE = 0.06  # visits of such a payer after which another of the household pays within the hour
DORMITORY_SHARE = 0.05  # newcomers behind a big shared address: same address, other streets


class Population:
    """Everybody who has paid and may come back."""

    def __init__(self, random: Random, people: People) -> None:
        self._random = random
        self._people = people
        self._ready: list[Payer] = []
        self._resting: list[tuple[int, int, Payer]] = []
        self._places: dict[bool, list[tuple[int, int, Place]]] = {True: [], False: []}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting)

    def next_payer(self, at_us: int) -> Payer:
        """Who pays now."""
        resting, ready, random = self._resting, self._ready, self._random
        while resting and resting[0][0] <= at_us:
            ready.append(heappop(resting)[2])
        known = (1.0 - NEWCOMER_SHARE) * len(ready) / (len(ready) + SCARCE)
        if random.random() >= known:
            return self._newcomer(at_us)
        found = -1
        for _ in range(_TRIES):
            index = int(random.random() * len(ready))
            place = ready[index].place
            if place is None or place.free_us <= at_us:
                found = index
                if random.random() < ready[index].inclined(at_us):
                    break
        return self._newcomer(at_us) if found < 0 else self._taken(found)

    def _taken(self, index: int) -> Payer:
        """Takes a payer out of the ready ones."""
        ready = self._ready
        payer, ready[index] = ready[index], ready[-1]
        ready.pop()
        return payer

    def company(self, payer: Payer, at_us: int) -> list[tuple[int, Payment]]:
        """Sometimes another of the family, who has not paid for long enough, pays too: (delay, payment)."""
        place = payer.place
        if place is None or place.dormitory or self._random.random() >= COMPANY_SHARE:
            return []
        rested = [
            member
            for member in place.members
            if member is not payer and member.place is place and at_us - member.last_us > member.gap_us
        ]
        if not rested:
            return []
        delay_us = int(min(3600.0, self._random.lognormvariate(6.2, 1.0)) * SECOND_US)
        return [(delay_us, self._random.choice(rested).join(at_us + delay_us))]

    def back(self, payer: Payer, at_us: int) -> None:
        """After a visit that ended now the payer rests, or never comes again."""
        if payer.place is not None:
            payer.place.rest(self._random, at_us)
        if self._random.random() >= payer.leaves and len(self) < MAX_PAYERS:
            self._rest(payer, at_us)

    def _rest(self, payer: Payer, at_us: int) -> None:
        self._serial += 1
        heappush(self._resting, (at_us + payer.natural_gap_us(), self._serial, payer))

    def victim(self, at_us: int) -> Payer | None:
        """Somebody with a past whose card or account an attacker holds; comes back after a natural gap."""
        ready = self._ready
        if not ready:
            return None
        indices = [int(self._random.random() * len(ready)) for _ in range(3)]
        payer = self._taken(max(indices, key=lambda index: ready[index].visits))
        self._rest(payer, at_us)
        return payer

    def _newcomer(self, at_us: int) -> Payer:
        random, people = self._random, self._people
        lot = random.random()
        if lot >= HOUSEHOLD_SHARE + DORMITORY_SHARE:
            return Payer(random, people, people.person(), people.fixed_ip(), at_us, None)
        place = self._place(at_us, dormitory=lot >= HOUSEHOLD_SHARE)
        if place.dormitory:
            person = people.person(place.city)
        else:
            person = people.person(place.city, place.street)
            if random.random() < 0.4:
                person.card_bin = place.card_bin
        payer = Payer(random, people, person, place.ip, at_us, place)
        place.members.append(payer)
        return payer

    def _place(self, at_us: int, dormitory: bool) -> Place:
        """A place whose next inhabitant may show up now, or a new one."""
        places = self._places[dormitory]
        place = None
        if places and places[0][0] <= at_us:
            place = heappop(places)[2]
            if place.free_us > at_us:
                self._open(place, place.free_us)
                place = None
        if place is None:
            place = Place(self._random, self._people, dormitory)
        place.seats -= 1
        if place.seats and len(places) < MAX_PLACES:
            self._open(place, at_us + place.vacancy_gap_us(self._random))
        return place

    def _open(self, place: Place, from_us: int) -> None:
        """The place takes its next inhabitant from then on."""
        self._serial += 1
        heappush(self._places[place.dormitory], (from_us, self._serial, place))
