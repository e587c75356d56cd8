"""The registry is the API, and docs/coverage.md says what of it works."""

from pathlib import Path

from botocore.session import Session

from hawksnest.ops.coverage import LIMITS, coverage
from hawksnest.ops.registry import FAMILIES, OPERATIONS

PAGE = Path(__file__).parents[3] / "docs" / "coverage.md"
API = Session().get_service_model("frauddetector")


def test_the_registry_holds_every_operation_of_the_api_once():
    assert sorted(OPERATIONS) == sorted(API.operation_names)
    assert len(OPERATIONS) == 73 == sum(len(family) for family in FAMILIES.values())
    assert all(name == operation.name for name, operation in OPERATIONS.items())


def test_the_page_says_what_the_registry_says():
    assert PAGE.read_text(encoding="utf-8") == coverage(), (
        "run python -m hawksnest.ops.coverage docs/coverage.md"
    )


def test_every_available_operation_says_what_it_does():
    for operation in OPERATIONS.values():
        assert operation.missing or operation.function.__doc__, operation.name
    assert set(LIMITS) <= {name for name, operation in OPERATIONS.items() if not operation.missing}
