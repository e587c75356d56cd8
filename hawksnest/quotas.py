"""AWS's published quotas as one table, and whether this server holds its customers to them.

`--quotas none`, the default, leaves only the limits that protect the server (`ops/limits.py`); `--quotas aws`
refuses what AWS would refuse. Counts are per account and region.
"""

import threading
from dataclasses import dataclass, field

from hawksnest.catalog import (
    Detector,
    EntityType,
    EventType,
    Label,
    Model,
    Outcome,
    Resource,
    Rule,
    Tenant,
    ValueList,
    Variable,
)
from hawksnest.errors import ServiceError, UsageError
from hawksnest.world import World

DAY_MS = 86_400_000
RATES_MAX = 10_000  # tenants whose rates are remembered


@dataclass(frozen=True)
class QuotaTable:
    """Numbers that apply; None: no such quota."""

    predictions_per_s: int | None = None
    resources: dict[type[Resource], int] = field(default_factory=dict)
    drafts_per_detector: int | None = None
    versions_per_model: int | None = None
    deployed_models: int | None = None
    event_age_ms: int | None = None  # older events can be decided but not stored
    training_bytes: int | None = None
    batch_predictions_at_once: int | None = None
    batch_prediction_bytes: int | None = None
    batch_import_bytes: int | None = None


TABLES = {
    "none": QuotaTable(),
    "aws": QuotaTable(
        predictions_per_s=200,
        resources={
            Variable: 5_000,
            Rule: 5_000,
            Outcome: 5_000,
            Detector: 100,
            Label: 100,
            EventType: 100,
            EntityType: 100,
            ValueList: 100,
            Model: 50,
        },
        drafts_per_detector=100,
        versions_per_model=200,
        deployed_models=5,
        event_age_ms=548 * DAY_MS,  # 18 months
        training_bytes=5 * 1024**3,
        batch_predictions_at_once=1,
        batch_prediction_bytes=1024**3,
        batch_import_bytes=20 * 1024**3,
    ),
}


class Quotas:
    """The table that applies, and the rates so far. Safe to use from several threads."""

    def __init__(self, name: str, world: World) -> None:
        """Raises UsageError for a table that does not exist."""
        if name not in TABLES:
            raise UsageError(f"quotas is {name!r}; it takes one of {', '.join(TABLES)}.")
        self.table = TABLES[name]
        self._world = world
        self._rates: dict[Tenant, tuple[float, float]] = {}  # predictions left, and when that was so
        self._lock = threading.Lock()

    def admit_prediction(self, tenant: Tenant) -> None:
        """Count one prediction. Raises ServiceError (ThrottlingException) beyond the rate.

        A tenant that has been quiet may spend one second's predictions at once.
        """
        rate = self.table.predictions_per_s
        if rate is None:
            return
        with self._lock:
            now_s = self._world.monotonic_s()
            left, then_s = self._rates.get(tenant, (float(rate), now_s))
            left = min(float(rate), left + (now_s - then_s) * rate)
            if left < 1:
                raise ServiceError("ThrottlingException", "Rate exceeded")
            if len(self._rates) >= RATES_MAX and tenant not in self._rates:
                self._rates.pop(next(iter(self._rates)))
            self._rates[tenant] = (left - 1, now_s)

    def resources_max(self, kind: type[Resource], own: int) -> int:
        """How many resources of a kind a tenant may have, when the server itself stands for `own`."""
        return min(own, self.table.resources.get(kind, own))

    def keeps(self, event_at_ms: int, now_ms: int) -> bool:
        """Is an event recent enough to be stored?"""
        age_ms = self.table.event_age_ms
        return age_ms is None or event_at_ms >= now_ms - age_ms
