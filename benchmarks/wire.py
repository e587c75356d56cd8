"""The wire's share of a GetEventPrediction with 16 variables, stage by stage.

python -m benchmarks.wire
"""

import subprocess
import sys
from collections.abc import Callable
from time import process_time
from timeit import Timer

import orjson

from hawksnest.catalog import AccessKey
from hawksnest.metrics import Metrics
from hawksnest.signing import Credentials, sign
from hawksnest.wire.door import header_map
from hawksnest.wire.model import fraud_detector
from hawksnest.wire.render import serialiser
from hawksnest.wire.shapes import parser, validator
from hawksnest.wire.sigv4 import Verifier
from hawksnest.world import RealWorld

NOW_MS = 1_704_164_645_000
REQUEST = {
    "detectorId": "payments",
    "detectorVersionId": "1",
    "eventId": "0d3b6e5a-7a52-4c52-8f51-3c1d9d4c7a11",
    "eventTypeName": "payment",
    "eventTimestamp": "2024-01-02T03:04:05Z",
    "entities": [{"entityType": "customer", "entityId": "customer-0017"}],
    "eventVariables": {f"variable_{number:02}": f"value number {number}" for number in range(16)},
}
RESPONSE = {
    "modelScores": [
        {
            "modelVersion": {
                "modelId": "m",
                "modelType": "ONLINE_FRAUD_INSIGHTS",
                "modelVersionNumber": "1.0",
            },
            "scores": {"m_insightscore": 24.0},
        }
    ],
    "ruleResults": [{"ruleId": "high_risk", "outcomes": ["block"]}],
    "externalModelOutputs": [],
}


def main() -> None:
    """Print CPU microseconds per call of each stage, best of five."""
    body = orjson.dumps(REQUEST)
    key = AccessKey(
        created_at_ms=0, updated_at_ms=0, access_key_id="AKIDEXAMPLE", secret="secret", account="0" * 12
    )
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": "127.0.0.1:8420",
        "x-amz-target": "AWSHawksNestServiceFacade.GetEventPrediction",
    }
    credentials = Credentials(key.access_key_id, key.secret, "us-east-1")
    signed = headers | sign(credentials, "frauddetector", headers, body, NOW_MS)
    sent = [(name.encode(), value.encode()) for name, value in signed.items()]
    sent += [(b"user-agent", b"Boto3"), (b"amz-sdk-request", b"attempt=1"), (b"content-length", b"900")]
    mapped = header_map(sent)
    warm = Verifier(lambda _: key, "frauddetector")

    def cold() -> None:
        warm.forget()
        warm.verify(mapped, body, NOW_MS)

    metrics = Metrics()
    stages: dict[str, Callable[[], object]] = {
        "headers to a map": lambda: header_map(sent),
        "signature, warm": lambda: warm.verify(mapped, body, NOW_MS),
        "signature, first of a client and day": cold,
        "JSON alone": lambda: orjson.loads(body),
        "parse and validate": lambda: parser("GetEventPrediction")(body),
        "validate by the full examination": lambda: validator("GetEventPrediction")(REQUEST),
        "serialise": lambda: serialiser("GetEventPrediction")(RESPONSE),
        "request id": RealWorld().uuid,
        "count and time a request": lambda: metrics.answered("GetEventPrediction", "OK", 0.001),
        "sign (our client)": lambda: sign(credentials, "frauddetector", headers, body, NOW_MS),
    }
    print(f"{'stage':42}{'µs':>8}")
    for name, stage in stages.items():
        timer = Timer(stage, timer=process_time)
        print(f"{name:42}{min(timer.repeat(5, 20_000)) / 20_000 * 1e6:8.2f}")
    for name, code in {
        "start: the model and all 73 checks": "from hawksnest.wire import shapes, model\n"
        "for name in model.fraud_detector().operations: shapes.parser(name)",
        "start: botocore.model alone": "import botocore.model",
        "start: an interpreter": "",
    }.items():
        times = [_cpu_ms(code) for _ in range(5)]
        print(f"{name:42}{min(times):8.1f} ms")
    assert len(fraud_detector().operations) == 73


def _cpu_ms(code: str) -> float:
    report = "\nimport time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, check=True, text=True)
    return float(done.stdout) * 1000


if __name__ == "__main__":
    main()
