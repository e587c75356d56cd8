"""Settings: one table for options, environment and their page."""

from pathlib import Path

import pytest

from hawksnest.config import SERVE, TABLES, Option, Settings, from_environment, settings_page
from hawksnest.errors import UsageError

PORT = next(option for option in SERVE if option.name == "port")
NO_AUTH = next(option for option in SERVE if option.name == "no-auth")


def test_an_option_takes_its_environment_twin():
    assert from_environment(PORT, {"HAWKSNEST_PORT": "9000"}) == 9000
    assert from_environment(PORT, {}) == 8420


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("NO", False), ("", False)])
def test_flags_are_words_or_digits(text, value):
    assert from_environment(NO_AUTH, {"HAWKSNEST_NO_AUTH": text}) is value


def test_a_value_that_does_not_fit_names_the_variable_and_what_would():
    with pytest.raises(UsageError, match=r"HAWKSNEST_PORT is 'many'; it takes a value like 8420"):
        from_environment(PORT, {"HAWKSNEST_PORT": "many"})


def test_one_variable_means_one_thing():
    """Commands may share an option; then default and meaning are the same, or the twins differ."""
    seen: dict[str, Option] = {}
    for table in TABLES.values():
        for option in table:
            other = seen.setdefault(option.variable, option)
            assert other.parse is option.parse, option.variable
            assert other.name == option.name, option.variable


def test_settings_hold_every_option_of_serve():
    assert set(Settings.__dataclass_fields__) == {option.name.replace("-", "_") for option in SERVE}


def test_the_page_of_settings_is_the_table():
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text() == settings_page(), "run `python -m hawksnest.config`"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65_536),
        ("region", "../x"),
        ("account", "12"),
        ("body_limit", -1),
        ("body_limit", 1 << 30),
        ("eager_sync_ms", float("nan")),
        ("model_timeout_s", 0.0),
        ("training_threads", 0),
        ("s3_endpoint", "nowhere"),
    ],
)
def test_a_value_out_of_bounds_is_named(name, value):
    with pytest.raises(UsageError, match=f"{name.replace('_', '-')} is .*; it takes"):
        Settings.of(**{name: value})


def test_the_defaults_are_within_their_bounds():
    for table in TABLES.values():
        for option in table:
            option.check(option.default)
