"""One history and the live stream after it, made once."""

from itertools import islice

import pytest
from simulated_run import DAYS, EVENTS, NOW_MS, Run

from hawksnest.simulate import Simulation


@pytest.fixture(scope="session")
def run() -> Run:
    simulation = Simulation(11, NOW_MS)
    return Run(list(simulation.history(DAYS, EVENTS)), list(islice(simulation.live(50), 2_000)))
