from pathlib import Path

import pytest

from hawksnest.metrics import LABELS_MAX, METRICS, Metrics, outcomes

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_every_metric_is_documented_as_it_is_declared() -> None:
    page = PAGE.read_text().splitlines()
    for name, metric in METRICS.items():
        shown = f"{name}_total" if metric.kind == "counter" else name
        assert f"| `{shown}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |" in page
    assert sum(line.startswith("| `hawksnest_") for line in page) == len(METRICS)


def test_what_is_not_declared_cannot_be_counted() -> None:
    with pytest.raises(KeyError):
        Metrics().count("hawksnest_surprises")


def test_label_values_are_bounded() -> None:
    metrics = Metrics()
    for number in range(LABELS_MAX + 50):
        metrics.count("hawksnest_decisions", f"outcome_{number}")
    text = metrics.exposition()[0].decode()
    assert 'hawksnest_decisions_total{outcome="other"} 50.0' in text
    assert text.count("hawksnest_decisions_total{") == LABELS_MAX + 1


def test_a_histogram_adds_up() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.0006, 99.0):
        metrics.answered("GetLabels", "OK", seconds)
    text = metrics.exposition()[0].decode()
    series = 'hawksnest_request_seconds_bucket{le="%s",operation="GetLabels"} %s'
    assert series % ("0.0005", "1.0") in text
    assert series % ("0.001", "2.0") in text
    assert series % ("10.0", "2.0") in text
    assert series % ("+Inf", "3.0") in text


def test_a_prediction_without_a_match_counts_as_the_empty_outcome() -> None:
    assert list(outcomes({"ruleResults": []})) == [""]
    assert list(outcomes({"ruleResults": [{"outcomes": ["a", "b"]}, {"outcomes": ["c"]}]})) == ["a", "b", "c"]
