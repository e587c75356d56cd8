from math import isnan

import pytest

from hawksnest.kernel.encoders import VOCABULARY_LIMIT
from hawksnest.kernel.events import Value, VariableSpec
from hawksnest.kernel.features import FeaturePlan
from hawksnest.kernel.windows import EntityStates, footprint

TENANT = ("000000000000", "us-east-1")
NOON = 1_700_049_600_000  # 2023-11-15T12:00:00Z, a Wednesday


def numbers(spec: VariableSpec, value: Value, *seen: Value) -> dict[str, float]:
    """The features of one variable, by name."""
    plan = FeaturePlan.fit([spec], [{spec.name: each} for each in seen or (value,)], aggregates=False)
    vector = plan.vector({spec.name: value}, None, NOON)
    assert len(vector) == len(plan.names) == len(plan.sources) == len(set(plan.names))
    return {
        name.removeprefix(spec.name + "_"): number
        for name, number, source in zip(plan.names, vector, plan.sources, strict=True)
        if source == (spec.name,)
    }


def text_spec(variable_type: str) -> VariableSpec:
    return VariableSpec("v", "STRING", "", variable_type)


def test_time_of_day_and_week_go_round() -> None:
    plan = FeaturePlan.fit([], [], aggregates=False)
    assert plan.names[0] == "time_hour" and plan.vector({}, None, NOON)[0] == 12.0
    first, later = plan.vector({}, None, NOON), plan.vector({}, None, NOON + 7 * 86_400_000)
    assert first == later != plan.vector({}, None, NOON + 86_400_000)
    assert all(source == () for source in plan.sources)


def test_missing_value_is_nan_in_every_feature_of_its_variable() -> None:
    for kind in ("IP_ADDRESS", "EMAIL_ADDRESS", "USERAGENT", "PRICE", "CATEGORICAL", "FREE_FORM_TEXT"):
        assert all(map(isnan, numbers(text_spec(kind), None, "x").values()))


def test_category_codes_go_by_frequency_and_strangers_share_one() -> None:
    spec = text_spec("CATEGORICAL")
    seen = ("b", "a", "b", "c")
    codes = [numbers(spec, value, *seen)["code"] for value in ("b", "a", "c", "never seen")]
    assert codes == [0, 1, 2, 3]


def test_vocabulary_is_bounded() -> None:
    spec = text_spec("CATEGORICAL")
    seen = [f"value-{place:05d}" for place in range(VOCABULARY_LIMIT + 1)]
    assert numbers(spec, seen[VOCABULARY_LIMIT - 1], *seen)["code"] == VOCABULARY_LIMIT - 1
    assert numbers(spec, seen[VOCABULARY_LIMIT], *seen)["code"] == VOCABULARY_LIMIT


def test_price_may_be_a_string() -> None:
    assert numbers(text_spec("PRICE"), "19.99")["v"] == 19.99
    assert isnan(numbers(text_spec("PRICE"), "a lot")["v"])


def test_email_is_taken_apart() -> None:
    found = numbers(text_spec("EMAIL_ADDRESS"), "Jo.Doe+77@Example.com")
    assert found == {
        "domain": 0, "suffix": 0, "local_length": 9, "local_digit_share": 2 / 9, "has_plus": 1, "dots": 1,
        "domain_length": 11,
    }  # fmt: skip


def test_ip_is_taken_apart_and_an_invalid_one_says_so() -> None:
    found = numbers(text_spec("IP_ADDRESS"), "10.1.2.3")
    assert [found[f"octet_{place}"] for place in (1, 2, 3, 4)] == [10, 1, 2, 3]
    assert (found["valid"], found["private"], found["version"]) == (1, 1, 4)
    assert numbers(text_spec("IP_ADDRESS"), "2001:db8::1")["version"] == 6
    broken = numbers(text_spec("IP_ADDRESS"), "82:24:61:42")
    assert broken["valid"] == 0 and isnan(broken["net8"])


def test_user_agent_gives_family_system_and_version() -> None:
    spec = text_spec("USERAGENT")
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36"
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605 Version/17.0 Mobile/15E148 Safari/604.1"
    first, second = (numbers(spec, value, chrome, chrome, phone) for value in (chrome, phone))
    assert (first["family"], first["system"], first["version"], first["mobile"]) == (0, 0, 120, 0)
    assert (second["family"], second["system"], second["mobile"]) == (1, 1, 1)


def test_datetime_is_days_before_the_event() -> None:
    spec = VariableSpec("v", "DATETIME", None, "NUMERIC")
    assert numbers(spec, NOON - 86_400_000)["days_before"] == 1.0


def test_label_variable_is_no_input() -> None:
    assert numbers(text_spec("FRAUD_LABEL"), "fraud") == {}


SPECS = [
    VariableSpec("amount", "FLOAT", 0.0, "PRICE"),
    VariableSpec("ip", "STRING", "", "IP_ADDRESS"),
    VariableSpec("email", "STRING", "", "EMAIL_ADDRESS"),
]


def aggregate_features(plan: FeaturePlan, states: EntityStates, amount: float, ip: str) -> dict[str, float]:
    mark = footprint(TENANT, "payment", "customer", "ann", NOON, amount, [("IP_ADDRESS", ip)])
    vector = plan.vector({"amount": amount, "ip": ip, "email": None}, states.read(mark), NOON)
    states.fold(mark)
    return dict(zip(plan.names, vector, strict=True))


def test_aggregates_tell_what_is_new_for_the_entity() -> None:
    plan = FeaturePlan.fit(SPECS, [], aggregates=True)
    states = EntityStates()
    assert aggregate_features(plan, states, 10.0, "192.0.2.1")["ip_address_new_with_entity"] == 1
    found = aggregate_features(plan, states, 30.0, "192.0.2.1")
    assert (found["ip_address_new_with_entity"], found["user_amount_to_mean_30d"]) == (0, 3)
    found = aggregate_features(plan, states, 30.0, "192.0.2.2")
    assert (found["ip_address_new_with_entity"], found["user_ip_address_distinct_1h"]) == (1, 1)
    assert isnan(found["email_address_count_1h"]) and "user_card_bin_distinct_1h" not in found


def test_sources_name_the_variables_and_the_entity() -> None:
    plan = FeaturePlan.fit(SPECS, [], aggregates=True, identity_types=["IP_ADDRESS"])
    sources = dict(zip(plan.names, plan.sources, strict=True))
    assert sources["user_sum_1h"] == ("user", "amount")
    assert sources["ip_address_count_1h"] == ("ip",)
    assert sources["ip_address_new_with_entity"] == ("ip", "user")
    assert "email_address_count_1h" not in sources


def test_categorical_places_are_codes() -> None:
    plan = FeaturePlan.fit(SPECS, [], aggregates=True)
    assert [plan.names[place] for place in plan.categorical] == [
        "ip_net8",
        "ip_net16",
        "email_domain",
        "email_suffix",
    ]


def test_unknown_entity_makes_entity_features_missing() -> None:
    plan = FeaturePlan.fit(SPECS, [], aggregates=True)
    mark = footprint(TENANT, "payment", "customer", "unknown", NOON, 1.0, [("IP_ADDRESS", "192.0.2.1")])
    vector = plan.vector({"amount": 1.0, "ip": "192.0.2.1"}, EntityStates().read(mark), NOON)
    found = dict(zip(plan.names, vector, strict=True))
    assert isnan(found["user_count_1h"]) and isnan(found["ip_address_new_with_entity"])
    assert found["ip_address_count_1h"] == 0


def test_plan_of_another_version_is_refused() -> None:
    plan = FeaturePlan.fit(SPECS, [], aggregates=False).to_json()
    with pytest.raises(ValueError, match="version 99"):
        FeaturePlan.from_json(plan | {"version": 99})
    with pytest.raises(ValueError, match="no encoder named magic"):
        FeaturePlan.from_json(plan | {"columns": [{"name": "v", "encoder": "magic", "vocabularies": []}]})
