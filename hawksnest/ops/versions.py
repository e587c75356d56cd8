"""Version numbers as they appear on the wire."""

import re

from hawksnest.errors import invalid
from hawksnest.ops.limits import MODEL_VERSION_MAJOR, MODEL_VERSION_MINOR

_MODEL_VERSION = re.compile(r"([1-9][0-9]{0,3})\.([0-9]{1,2})\Z")


def model_version_number(text: str) -> str:
    """The one way a model version is written: `1.00` is `1.0`, `1.1` is `1.10`.

    Raises ValidationException for what is no version number.
    """
    match = _MODEL_VERSION.match(text)
    if match is None:
        raise invalid(f"'{text[:16]}' is not a model version number like 1.0.")
    major, minor = match.groups()
    return _written(int(major), int(minor.ljust(2, "0")))


def model_version_parts(number: str) -> tuple[int, int]:
    """(major, minor) of a number as `model_version_number` writes it; orders versions."""
    major, minor = number.split(".")
    return int(major), int(minor)


def major_version(major: int) -> str:
    """`3.0`. Raises ValidationException beyond the largest number."""
    if major > MODEL_VERSION_MAJOR:
        raise invalid(f"A model takes at most {MODEL_VERSION_MAJOR} major versions; create another model.")
    return _written(major, 0)


def minor_version(major: int, minor: int) -> str:
    """`3.07`. Raises ValidationException beyond the largest number."""
    if minor > MODEL_VERSION_MINOR:
        raise invalid(
            f"Major version {major} has used all its {MODEL_VERSION_MINOR} minor versions; "
            "use CreateModelVersion for a new major version."
        )
    return _written(major, minor)


def _written(major: int, minor: int) -> str:
    return f"{major}.{minor:02d}" if minor else f"{major}.0"
