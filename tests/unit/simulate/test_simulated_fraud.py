"""The goal of the demo, through training and scoring but without the server around them."""

import pytest

from benchmarks.simulated_fraud import medians


@pytest.mark.full
def test_model_stops_most_of_the_money_and_far_more_than_tuned_rules() -> None:
    stopped, blocked, by_rules, _ = medians([])
    assert stopped >= 0.80
    assert blocked <= 0.01
    assert stopped >= by_rules + 0.10
