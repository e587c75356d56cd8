"""Payers with habits and attackers with ground truth: a stream of transactions that belongs to nobody.

`Simulation` makes the history that trains a model and the live stream that follows it; the truth about an
event never is in its record, it goes beside it (`Labelled`, truth topic or truth file).
"""

from hawksnest.simulate.simulation import Labelled, Simulation

__all__ = ["Labelled", "Simulation"]
