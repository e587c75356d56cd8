"""Velocity: what an event's entity and identities did before it. The contract is docs/windows.md.

One `EntityStates` serves, trains and replays: read the event, decide, fold the event. Windows are
(at − w, at] over what has been folded; sums are exact integers, so the order of arrival changes no total.
"""

from hawksnest.kernel.windows.footprint import Footprint, footprint
from hawksnest.kernel.windows.limits import (
    COUNTERPARTS,
    ENTITY_READS,
    IDENTITY_READS,
    LIMITS,
    WINDOW_NAMES,
    WINDOWS_MS,
    Limits,
)
from hawksnest.kernel.windows.states import EntityStates, Reads

__all__ = [
    "COUNTERPARTS",
    "ENTITY_READS",
    "IDENTITY_READS",
    "LIMITS",
    "WINDOWS_MS",
    "WINDOW_NAMES",
    "EntityStates",
    "Footprint",
    "Limits",
    "Reads",
    "footprint",
]
