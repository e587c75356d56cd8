import numpy as np
import pytest

from hawksnest.kernel.events import Value, VariableSpec
from hawksnest.ml.learning import FOLDS, VALUES_MAX, learn
from hawksnest.world import seeded

ROWS = 400


def taught(
    variable_type: str, values: list[Value], fraud: list[bool]
) -> tuple[list[float], list[list[float]]]:
    """First number of each value by the form that serves, and the numbers to train with."""
    spec = VariableSpec("v", "STRING", "", variable_type)
    learned, numbers = learn([spec], [{"v": each} for each in values], np.array(fraud), np.ones(len(values)))
    return [learned["v"].numbers(each)[0] for each in values if each is not None], numbers["v"].tolist()


@pytest.mark.parametrize(
    ("variable_type", "value"),
    [
        ("CATEGORICAL", "value-{}"),
        ("FINGERPRINT", "device-{}"),
        ("IP_ADDRESS", "{}.1.1.1"),
        ("FREE_FORM_TEXT", "word{0:03d} said{0:03d}"),
    ],
)
def test_no_event_sees_its_own_label(variable_type: str, value: str) -> None:
    """Turning the label of one event changes what serves, and not the event's own numbers."""
    dice = seeded(5)
    values: list[Value] = [value.format(place % 200 + 1) for place in range(ROWS)]
    fraud = [dice.random() < 0.3 for _ in range(ROWS)]
    turned = [not each if place == 57 else each for place, each in enumerate(fraud)]
    first, second = taught(variable_type, values, fraud), taught(variable_type, values, turned)
    assert first[0] != second[0]
    assert first[1][57] == second[1][57]
    block = len(np.array_split(np.arange(ROWS), FOLDS)[0])
    assert first[1][:block] == second[1][:block], "nor do the other events of that stretch of time"


def test_values_with_frauds_rank_higher_also_out_of_fold() -> None:
    values: list[Value] = ["bad" if place % 4 == 0 else "good" for place in range(ROWS)]
    fraud = [place % 4 == 0 and place % 8 == 0 for place in range(ROWS)]
    served, trained = taught("CATEGORICAL", values, fraud)
    assert served[0] > served[1]
    assert min(trained[::4]) > max(trained[1::4])


def test_missing_values_stay_missing_and_teach_nothing() -> None:
    values: list[Value] = [None if place % 3 == 0 else "a" for place in range(ROWS)]
    _, trained = taught("CATEGORICAL", values, [place % 2 == 0 for place in range(ROWS)])
    assert all(np.isnan(each[0]) == (place % 3 == 0) for place, each in enumerate(trained))


def test_variable_without_any_usable_value_still_learns_something_sound() -> None:
    for kind, odd in (("IP_ADDRESS", "no address"), ("FREE_FORM_TEXT", ""), ("CATEGORICAL", "x")):
        values: list[Value] = [odd] * ROWS
        _, trained = taught(kind, values, [place % 2 == 0 for place in range(ROWS)])
        assert all(np.isnan(each).all() or np.isfinite(each).all() for each in trained)


def test_networks_of_ipv6_are_learned_beside_those_of_ipv4() -> None:
    values: list[Value] = [
        "fe80:1:2:3::1" if place % 4 == 0 else "2001:db8::1" if place % 4 == 1 else "192.0.2.1"
        for place in range(ROWS)
    ]
    served, trained = taught("IP_ADDRESS", values, [place % 4 == 0 for place in range(ROWS)])
    assert served[0] > served[1] and served[0] > served[2]
    assert min(each[0] for each in trained[::4]) > max(each[0] for each in trained[1::4])


def test_number_of_kept_values_is_bounded() -> None:
    spec = VariableSpec("v", "STRING", "", "CATEGORICAL")
    rows = [{"v": f"value-{place}"} for place in range(VALUES_MAX + 500)]
    learned, _ = learn([spec], rows, np.arange(len(rows)) % 10 == 0, np.ones(len(rows)))
    assert len(learned["v"].content["values"]) == VALUES_MAX
