"""What the tests of the simulator share."""

from typing import NamedTuple

from hawksnest.simulate import Labelled

NOW_MS = 1_767_225_600_000
DAYS = 20
EVENTS = 16_000


class Run(NamedTuple):
    """A history and the live stream after it."""

    history: list[Labelled]
    live: list[Labelled]
