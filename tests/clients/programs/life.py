"""A detector's life with capo-frauddetector. Arguments: a prefix of names and a time. Prints JSON."""

import asyncio
import json
import os
import sys
from importlib.metadata import version
from typing import Any

from capo_frauddetector import (  # type: ignore[import-not-found]  # of its own environment
    AsyncFraudDetectorClient,
    FraudDetectorClient,
)
from capo_frauddetector.errors import ServiceError  # type: ignore[import-not-found]

PREFIX, AT = sys.argv[1:]


def name(part: str) -> str:
    return f"{PREFIX}_{part}"


def asked(event_id: str, amount: str) -> dict[str, Any]:
    return {
        "detector_id": name("detector"),
        "event_id": event_id,
        "event_type_name": name("payment"),
        "entities": [{"entity_type": name("customer"), "entity_id": "c-1"}],
        "event_timestamp": AT,
        "event_variables": {name("amount"): amount},
    }


def refused(call: Any, **given: Any) -> dict[str, Any]:
    try:
        call(**given)
    except ServiceError as fault:
        return {"name": type(fault).__name__, "code": fault.code, "message": str(fault)}
    return {}


async def at_once(endpoint: str, count: int) -> list[Any]:
    async with AsyncFraudDetectorClient(endpoint=endpoint) as client:
        asks = [
            client.get_event_prediction(**asked(f"{PREFIX}-async-{place}", str(940 + place)))
            for place in range(count)
        ]
        return [answer["rule_results"] for answer in await asyncio.gather(*asks)]


def main() -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL_FRAUDDETECTOR"]
    with FraudDetectorClient(endpoint=endpoint) as c:
        c.put_entity_type(name("customer"))
        c.put_outcome(name("block"), description="stop it")
        c.create_variable(name("amount"), "FLOAT", "EVENT", "0.0")
        c.put_event_type(name("payment"), [name("amount")], [name("customer")])
        c.put_detector(name("detector"), name("payment"))
        rule = c.create_rule(
            name("big"), name("detector"), f"${name('amount')} > 942", "DETECTORPL", [name("block")]
        )["rule"]
        made = c.create_detector_version(name("detector"), [rule])
        c.update_detector_version_status(name("detector"), made["detector_version_id"], "ACTIVE")
        seen = {
            "version": version("capo-frauddetector"),
            "rule": rule,
            "blocked": c.get_event_prediction(**asked(f"{PREFIX}-1", "950"))["rule_results"],
            "passed": c.get_event_prediction(**asked(f"{PREFIX}-2", "5"))["rule_results"],
            "outcome": c.get_outcomes(name=name("block"))["outcomes"][0]["description"],
            "missing": refused(c.get_detectors, detector_id="nobody"),
            "value": refused(c.get_event_prediction, **asked(f"{PREFIX}-3", "much")),
        }
    seen["at_once"] = asyncio.run(at_once(endpoint, 5))
    sys.stdout.write(json.dumps(seen))


main()
