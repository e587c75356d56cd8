"""Records as the reference's producer writes them, and a decider that stands for the server."""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hawksnest.stream.ports import Log


def record(number: int, entity: str = "", **given: Any) -> dict[str, Any]:
    """An input record; the amount is its number."""
    return {
        "transaction_amt": number,
        "ip_address": "192.0.2.1",
        "email_address": "a@example.com",
        "transaction_currency": "usd",
        "event_id": f"event-{number}",
        "entity_id": entity or f"payer-{number % 7}",
        "event_time": "2026-01-02T03:04:05.678901",
    } | given


class Decider:
    """Answers like the server, for the network's sake: blocks amounts from 900, reviews from 500."""

    def __init__(self, fault: Callable[[dict[str, Any], int], None] | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self.version = "1"
        self.closed = 0
        self._fault = fault
        self._lock = threading.Lock()

    def call(
        self, operation: str, request: dict[str, Any], idempotent: bool = True
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        assert operation == "GetEventPrediction" and idempotent
        with self._lock:
            self.calls.append(request)
            attempt = sum(call["eventId"] == request["eventId"] for call in self.calls)
        if self._fault is not None:
            self._fault(request, attempt)
        amount = float(request["eventVariables"]["order_price"])
        rules = [{"ruleId": "high", "outcomes": ["block"]}] if amount >= 900 else []
        rules += [{"ruleId": "some", "outcomes": ["review"]}] if amount >= 500 else []
        scores = [{"modelVersion": {"modelId": "m"}, "scores": {"m_insightscore": amount}}]
        return {"ruleResults": rules, "modelScores": scores}, {
            "x-hawksnest-detector-version-id": self.version
        }

    def close(self) -> None:
        self.closed += 1


def send(log: Log, topic: str, *values: bytes | dict[str, Any], keyed: bool = True) -> None:
    """Append records; dictionaries keyed by their entity."""
    producer = log.producer()
    for value in values:
        if isinstance(value, dict):
            key = str(value.get("entity_id")).encode() if keyed else None
            producer.send(topic, json.dumps(value).encode(), key)
        else:
            producer.send(topic, value)
    producer.close()


def values(log: Log, topic: str) -> list[dict[str, Any]]:
    """Everything in the topic, in the order of production."""
    reader = log.reader(topic)
    found: list[dict[str, Any]] = []
    while reader is not None and (records := reader.poll(5_000, 0.0)):
        found += [json.loads(each.value) for each in records]
    if reader is not None:
        reader.close()
    return found
