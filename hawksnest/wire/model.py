"""The service model: every operation with the shapes of its request and its answer.

Read straight from the vendored JSON file; importing botocore for it would cost the start-up 100 ms
(`benchmarks/wire.py`).
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson

MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One shape of the model with everything it refers to.

    `kind` is structure, list, map, string, integer, long, float, boolean or blob. `low` and `high` bound a
    number, or the length of a string, list or map.
    """

    name: str
    kind: str
    members: dict[str, "Shape"] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    key: "Shape | None" = None
    element: "Shape | None" = None  # of a list, or value of a map
    low: int | None = None
    high: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    sensitive: bool = False

    @property
    def simple(self) -> bool:
        """Has no parts of its own."""
        return self.kind not in ("structure", "list", "map")


EMPTY = Shape("Empty", "structure")


@dataclass(frozen=True, slots=True)
class WireOperation:
    """An operation as the model describes it."""

    name: str
    input: Shape
    output: Shape
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """`target_prefix` stands before the operation's name in the header X-Amz-Target."""

    target_prefix: str
    signing_name: str
    operations: dict[str, WireOperation]


def read_model(path: Path, patterns: dict[str, str] | None = None) -> ServiceModel:
    """The model in a file of botocore's format; `patterns` take the place of those of shapes by name."""
    raw = orjson.loads(path.read_bytes())
    for name, pattern in (patterns or {}).items():
        raw["shapes"][name]["pattern"] = pattern
    shapes: dict[str, Shape] = {}
    metadata = raw["metadata"]
    operations = {
        name: WireOperation(
            name,
            _shape(raw["shapes"], shapes, operation.get("input")),
            _shape(raw["shapes"], shapes, operation.get("output")),
            tuple(error["shape"] for error in operation.get("errors", ())),
        )
        for name, operation in raw["operations"].items()
    }
    signing_name = metadata.get("signingName", metadata["endpointPrefix"])
    return ServiceModel(metadata["targetPrefix"], signing_name, operations)


def _shape(raw: dict[str, Any], built: dict[str, Shape], reference: dict[str, str] | None) -> Shape:
    """The referred shape, built once. The model's shapes never contain themselves."""
    if reference is None:
        return EMPTY
    name = reference["shape"]
    if name not in built:
        given = raw[name]
        element = given.get("member") or given.get("value")
        built[name] = Shape(
            name,
            given["type"],
            members={m: _shape(raw, built, ref) for m, ref in given.get("members", {}).items()},
            required=tuple(given.get("required", ())),
            key=_shape(raw, built, given["key"]) if "key" in given else None,
            element=_shape(raw, built, element) if element else None,
            low=given.get("min"),
            high=given.get("max"),
            pattern=given.get("pattern"),
            enum=tuple(given.get("enum", ())),
            sensitive=given.get("sensitive", False),
        )
    return built[name]


@cache
def fraud_detector() -> ServiceModel:
    """The 73 operations of version 2019-11-15."""
    return read_model(MODELS / "frauddetector-2019-11-15.json")


@cache
def preview_fraud_detector() -> ServiceModel:
    """The 32 operations of the preview as of 2020-04-17, under the same version and prefix."""
    return read_model(MODELS / "frauddetector-2020-04-17.json")


@cache
def dashed_fraud_detector() -> ServiceModel:
    """Today's operations with the model ids of the preview, which may have a dash."""
    return read_model(MODELS / "frauddetector-2019-11-15.json", {"modelIdentifier": "^[0-9a-z_-]+$"})
