"""The constants of the windows, their bounds, and the order of what a read gives."""

from typing import NamedTuple

WINDOWS_MS = (3_600_000, 86_400_000, 604_800_000, 2_592_000_000)
WINDOW_NAMES = ("1h", "1d", "7d", "30d")
SLACK_MS = 86_400_000  # reads up to this much older than a key's newest event are exact
RETAIN_MS = WINDOWS_MS[-1] + SLACK_MS  # what is older than this before a key's newest event is let go
BUCKETS = 256  # buckets a window has where events are no longer kept one by one

COUNTERPARTS = ("IP_ADDRESS", "CARD_BIN", "FINGERPRINT", "EMAIL_ADDRESS")  # counted distinct per entity
MAX_CENTS = 10**13  # amounts are clamped to ± 100 billion units of their currency
LOG_SCALE = 4096  # a log-amount is kept in steps of 1/4096


class Limits(NamedTuple):
    """How many events of one key are kept one by one; more are counted in buckets."""

    entity_events: int = 65_536
    identity_events: int = 10_000
    tracked_events: int = 128  # keys with more get running distinct counts; changes no result


LIMITS = Limits()


def _each(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{window}" for window in WINDOW_NAMES)


# Counts are events, sums and means are amounts, `_s` are seconds; NaN where there is nothing to tell.
ENTITY_READS: tuple[str, ...] = (
    *_each("count"),
    *_each("sum"),
    *_each("mean"),
    "amount_z_30d",  # how many standard deviations this event's log-amount is off the entity's
    "since_s",  # since the entity's previous event
    "age_s",  # since the entity was first seen
    *(name for kind in COUNTERPARTS for name in _each(f"{kind.lower()}_distinct")),
)
IDENTITY_READS: tuple[str, ...] = (
    *_each("count"),
    *_each("sum"),
    *_each("entities"),  # distinct entities
    "since_s",
    "age_s",
    "since_with_entity_s",  # since this identity was last used by this entity, within 30 days
)
