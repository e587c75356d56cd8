import json
from math import isnan, log1p

import pytest

from hawksnest.kernel.events import VariableSpec
from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.learned import NetworkRates, TextRisk, ValueRates, sequences

NETWORKS = NetworkRates(
    {
        "unknown": -3.0,
        "levels": [
            {"keys": keys, "rates": rates}
            for keys, rates in (([198], [-2.0]), ([], []), ([50739], [1.0]), ([], []), ([], []))
        ],
        "frauds": [(198 << 24) + (51 << 16) + place for place in range(16)],
    }
)
TEXT = TextRisk({"bias": -1.0, "sequences": ["exe", "\x02ht"], "weights": [2.0, 0.25]})
RATES = ValueRates({"unknown": -3.0, "values": ["a"], "rates": [0.5]})


def test_value_that_training_never_saw_has_the_rate_of_all() -> None:
    assert (RATES.numbers("a"), RATES.numbers("b"), RATES.numbers(7)) == ((0.5,), (-3.0,), (-3.0,))


def test_network_without_a_rate_has_that_of_the_wider_one() -> None:
    assert NETWORKS.numbers("198.51.0.3")[:5] == (-2.0, -2.0, 1.0, 1.0, 1.0)
    assert NETWORKS.numbers("198.52.0.3")[:5] == (-2.0,) * 5
    assert NETWORKS.numbers("203.0.113.9")[:5] == (-3.0,) * 5


def test_distance_counts_addresses_to_the_nth_nearest_fraud() -> None:
    assert NETWORKS.numbers("198.51.0.3")[5] == 0.0
    assert NETWORKS.numbers("198.51.0.20")[5:] == (log1p(5), log1p(8), log1p(20))


def test_ipv6_has_rates_and_no_distances_and_a_broken_address_nothing() -> None:
    found = NETWORKS.numbers("2001:db8::1")
    assert found[:5] == (-3.0,) * 5 and all(map(isnan, found[5:]))
    assert all(map(isnan, NETWORKS.numbers("82:24:61:42")))


def test_text_counts_each_known_sequence_once_whatever_its_case() -> None:
    assert TEXT.numbers("http://x/a.EXE?exe") == (1.25,)
    assert TEXT.numbers("nothing") == (-1.0,)
    assert "\x02ab" in sequences("AB") and len(sequences("x" * 100_000)) < 10


def test_plan_with_learned_forms_survives_json_and_tells_where_they_are() -> None:
    specs = [
        VariableSpec("ip", "STRING", "", "IP_ADDRESS"),
        VariableSpec("url", "STRING", "", "FREE_FORM_TEXT"),
        VariableSpec("shop", "STRING", "", "CATEGORICAL"),
    ]
    values = {"ip": "198.51.0.3", "url": "http://x/a.exe", "shop": "a"}
    learned = {"ip": NETWORKS, "url": TEXT, "shop": RATES}
    plan = FeaturePlan.fit(specs, [values], aggregates=False, learned=learned)
    again = FeaturePlan.from_json(json.loads(json.dumps(plan.to_json())))
    vector = plan.vector(values, None, 0)
    assert again.vector(values, None, 0) == vector and again.names == plan.names
    for name, form in learned.items():
        assert tuple(vector[plan.learned_places(name)]) == form.numbers(values[name])
    nothing = again.vector({}, None, 0)
    assert len(nothing) == len(vector) and all(map(isnan, nothing[plan.learned_places("ip")]))


def test_plan_of_before_there_were_learned_forms_is_still_read() -> None:
    spec = VariableSpec("shop", "STRING", "", "CATEGORICAL")
    plan = FeaturePlan.fit([spec], [{"shop": "a"}], aggregates=False)
    old = FeaturePlan.from_json(plan.to_json() | {"version": 1})
    assert old.vector({"shop": "a"}, None, 0) == plan.vector({"shop": "a"}, None, 0)


def test_unknown_learned_form_is_refused() -> None:
    spec = VariableSpec("shop", "STRING", "", "CATEGORICAL")
    written = FeaturePlan.fit([spec], [], aggregates=False, learned={"shop": RATES}).to_json()
    written["columns"][0]["learned"]["kind"] = "magic"
    with pytest.raises(ValueError, match="magic"):
        FeaturePlan.from_json(written)
