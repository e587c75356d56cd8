"""What a server counts, declared in one table and exported in Prometheus's text form.

Counting is plain arithmetic on dictionaries (a decision counts in about a microsecond); the Prometheus
library only comes in when somebody asks for `/metrics`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

LABELS_MAX = 2_000  # combinations of label values kept per metric; the rest counts as "other"
LATENCY_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SYNC_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)


class Declared(NamedTuple):
    """One metric: its kind (counter, gauge, histogram), meaning, and labels."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: dict[str, Declared] = {
    "hawksnest_requests": Declared(
        "counter", "Calls of the API, by operation and code (OK or the error's).", ("operation", "code")
    ),
    "hawksnest_request_seconds": Declared(
        "histogram",
        "Time from the headers of a call to its answer. High at the top only: look at the journal's syncs.",
        ("operation",),
        LATENCY_BOUNDS_S,
    ),
    "hawksnest_requests_in_flight": Declared("gauge", "Calls being answered now."),
    "hawksnest_decisions": Declared(
        "counter", "Predictions answered, by outcome; one that matched several counts for each.", ("outcome",)
    ),
    "hawksnest_journal_sync_seconds": Declared(
        "histogram",
        "Time of one write and sync of the journal. Above eager-sync-ms syncs move to a thread.",
        (),
        SYNC_BOUNDS_S,
    ),
    "hawksnest_journal_syncs_in_thread": Declared("gauge", "1 while journal syncs run in their own thread."),
    "hawksnest_journal_sequence": Declared("gauge", "Durable end of the journal: its last sequence number."),
    "hawksnest_event_bus_lag": Declared(
        "gauge", "Journal records that the event bus has not looked at yet; growing: its receiver is slow."
    ),
    "hawksnest_event_bus_dropped": Declared(
        "gauge", "Events that could not be delivered since the start, or were too large."
    ),
    "hawksnest_keys_refused": Declared("counter", "Requests refused by authentication, by code.", ("code",)),
}


class Histogram:
    """Counts per bound, sum and number of what was observed."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The counters of one process. Used on the event loop only; gauges may be read from elsewhere."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                self._counters[name] = {}
            elif metric.kind == "histogram":
                self._histograms[name] = {}
        self.in_flight = 0
        self._gauges["hawksnest_requests_in_flight"] = lambda: self.in_flight
        self._requests = self._counters["hawksnest_requests"]
        self._latency = self._histograms["hawksnest_request_seconds"]

    def answered(self, operation: str, code: str, seconds: float) -> None:
        """A call of a known operation was answered."""
        key = (operation, code)
        counts = self._requests
        counts[key] = counts.get(key, 0) + 1
        histogram = self._latency.get((operation,))
        if histogram is None:
            histogram = self.histogram("hawksnest_request_seconds", operation)
        histogram.observe(seconds)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a declared counter."""
        counts = self._counters[name]
        if labels not in counts and len(counts) >= LABELS_MAX:
            labels = ("other",) * len(labels)
        counts[labels] = counts.get(labels, 0) + by

    def histogram(self, name: str, *labels: str) -> Histogram:
        """A declared histogram, for whoever observes often."""
        family = self._histograms[name]
        if labels not in family:
            if len(family) >= LABELS_MAX:
                labels = ("other",) * len(labels)
            family.setdefault(labels, Histogram(METRICS[name].bounds))
        return family[labels]

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Say how a declared gauge is read when somebody asks."""
        assert METRICS[name].kind == "gauge"
        self._gauges[name] = read

    def exposition(self) -> tuple[bytes, str]:
        """(text, content type) of `/metrics`."""
        # Imported when asked for: 60 ms that no start-up needs.
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterable[Any]:
        """Everything counted, as Prometheus's client library wants it."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, metric in METRICS.items():
            if metric.kind == "counter":
                counter = CounterMetricFamily(name, metric.help, labels=metric.labels)
                for labels, count in list(self._counters[name].items()):
                    counter.add_metric(labels, count)
                yield counter
            elif metric.kind == "gauge":
                if name in self._gauges:
                    yield GaugeMetricFamily(name, metric.help, value=self._gauges[name]())
            else:
                family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for labels, histogram in list(self._histograms[name].items()):
                    family.add_metric(labels, _buckets(histogram), sum_value=histogram.total)
                yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    reached, buckets = 0, []
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        reached += count
        buckets.append((bound, float(reached)))
    return buckets


def outcomes(response: Mapping[str, Any]) -> Iterable[str]:
    """Outcomes of a prediction as `hawksnest_decisions` counts them."""
    results = response["ruleResults"]
    if not results:
        return ("",)
    return [outcome for result in results for outcome in result["outcomes"]]
