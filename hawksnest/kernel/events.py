"""Event, entity; typing, coercion and defaults of variables.

Instants are epoch milliseconds (int). A DATETIME value is an instant too; its static type tells it from an
INTEGER.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

Value = str | int | float | bool | None


class VariableSpec(NamedTuple):
    """What evaluation needs to know of a variable."""

    name: str
    data_type: str  # STRING INTEGER FLOAT BOOLEAN DATETIME
    default: Value  # already converted; None where the default is the literal <null> of a non-STRING
    variable_type: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the caller sent it. `given` keeps absent (no key), null (None) and text apart."""

    event_type: str
    event_id: str
    entity_type: str
    entity_id: str
    event_at_ms: int
    timestamp: str  # the caller's text, echoed
    given: Mapping[str, str | None]
