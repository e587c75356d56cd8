"""What an event leaves in the entity states."""

from collections.abc import Iterable
from functools import lru_cache
from math import isfinite, log1p
from typing import NamedTuple

from hawksnest.kernel.windows.limits import LOG_SCALE, MAX_CENTS

UNKNOWN_ENTITY = "unknown"
COUNT_BIT = 1 << 40  # the number of amounts sits above the sum of their logs in one integer


class Footprint(NamedTuple):
    """An event as the entity states see it; build it with `footprint`."""

    account: str
    region: str
    event_type: str
    entity_type: str
    entity_id: str | None  # None: the entity is unknown and has no state
    event_at_ms: int
    amount: float | None
    identities: tuple[tuple[str, str], ...]  # (variable type, normalised value), each pair once


def footprint(
    tenant: tuple[str, str],
    event_type: str,
    entity_type: str,
    entity_id: str,
    event_at_ms: int,
    amount: float | None = None,
    identities: Iterable[tuple[str, str]] = (),
) -> Footprint:
    """What an event of the tenant (account, region) leaves. Entity id "unknown", in any case, is nobody."""
    known = None if len(entity_id) == 7 and entity_id.lower() == UNKNOWN_ENTITY else entity_id
    account, region = tenant
    pairs = tuple(dict.fromkeys(map(tuple, identities)))
    return Footprint(account, region, event_type, entity_type, known, event_at_ms, amount, pairs)  # type: ignore[arg-type]


class Money(NamedTuple):
    """An amount as exact integers that can be summed in any order."""

    cents: int
    log: int  # COUNT_BIT + log-amount in steps of 1/LOG_SCALE; 0 without an amount
    log_square: int


NO_MONEY = Money(0, 0, 0)


@lru_cache(maxsize=4_096)  # an event's amount is wanted once to read and once to fold
def money(amount: float | None) -> Money:
    """Hundredths, clamped to ± MAX_CENTS, and log(1 + |amount|); nothing where there is no finite amount."""
    if amount is None or not isfinite(amount):
        return NO_MONEY
    most = MAX_CENTS / 100
    cents = round(max(-most, min(most, amount)) * 100)  # clamped first: 1e308 · 100 would be no number
    log = round(log1p(abs(cents) / 100) * LOG_SCALE)
    return Money(cents, COUNT_BIT + log, log * log)
