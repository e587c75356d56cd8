"""Version numbers of models."""

import pytest

from hawksnest.errors import ServiceError
from hawksnest.ops.versions import major_version, minor_version, model_version_number, model_version_parts


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("1.0", "1.0"),
        ("1.00", "1.0"),
        ("1.01", "1.01"),
        ("1.1", "1.10"),
        ("1.10", "1.10"),
        ("9999.99", "9999.99"),
    ],
)
def test_a_version_is_written_in_one_way(given, written):
    assert model_version_number(given) == written


@pytest.mark.parametrize("given", ["", "1", "0.1", "1.", "1.000", "10000.0", "1.0\n", "x.0"])
def test_what_is_no_version_is_refused(given):
    with pytest.raises(ServiceError):
        model_version_number(given)


def test_versions_are_ordered_by_number():
    numbers = ["10.0", "2.0", "1.10", "1.02", "1.0"]
    assert sorted(numbers, key=model_version_parts) == ["1.0", "1.02", "1.10", "2.0", "10.0"]


def test_numbers_end_where_the_shape_ends():
    assert major_version(9_999) == "9999.0"
    assert minor_version(1, 99) == "1.99"
    with pytest.raises(ServiceError):
        major_version(10_000)
    with pytest.raises(ServiceError):
        minor_version(1, 100)
