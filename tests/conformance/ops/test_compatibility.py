"""The registry is the API, and docs/compatibility.md says what the server really checks and limits."""

from pathlib import Path

from botocore.session import Session

from hawksnest.ops import limits
from hawksnest.ops.preview import PREVIEW_OPERATIONS
from hawksnest.ops.registry import FAMILIES, OPERATIONS
from hawksnest.wire.compatibility import LACKS, LIMITS, compatibility, differences

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"
API = Session().get_service_model("frauddetector")
NOT_LISTED = {"VERSION_NUMBER", "MODEL_VERSION_MAJOR", "MODEL_VERSION_MINOR", "ROLE_ARN"}  # shapes say these


def test_the_registry_holds_every_operation_of_the_api_once():
    assert sorted(OPERATIONS) == sorted(API.operation_names)
    assert len(OPERATIONS) == 73 == sum(len(family) for family in FAMILIES.values())
    assert all(name == operation.name for name, operation in OPERATIONS.items())


def test_the_page_says_what_the_server_uses():
    assert PAGE.read_text(encoding="utf-8") == compatibility(), (
        "run python -m hawksnest.wire.compatibility docs/compatibility.md"
    )


def test_every_operation_says_what_it_does():
    for operation in [*OPERATIONS.values(), *PREVIEW_OPERATIONS]:
        assert not operation.missing
        assert operation.function.__doc__, operation.name
    assert set(LACKS) <= set(OPERATIONS)


def test_differences_are_of_operations_that_there_are_and_say_everything():
    for each in differences():
        assert set(each.operations) <= {"all", *OPERATIONS}
        assert each.aws and each.here and each.why
    assert len({each.here for each in differences()}) == len(differences())


def test_every_limit_is_on_the_page():
    assert set(LIMITS) | NOT_LISTED == {name for name in vars(limits) if name.isupper()}
