"""One account as its customer sees it: boto3 over HTTP, and what a customer's script does again and again."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from hawksnest.catalog import AccessKey, Tenant
from hawksnest.wire.render import misfits
from hawksnest.world import RealWorld

Answer = dict[str, Any]
# Ends the training of a version of a tenant's model, well: (tenant, (model type, model id, version))
Finish = Callable[[Tenant, tuple[str, str, str]], None]
TRAINING = "TRAINING_IN_PROGRESS"
SESSION = Session()
VALIDATION = Config(retries={"max_attempts": 0}, max_pool_connections=4)
NO_VALIDATION = VALIDATION.merge(Config(parameter_validation=False))


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def fits(operation_model: Any, response_dict: Answer, **_: object) -> None:
    """Before boto3 reads an answer: it holds what the model says of the operation's answers, nothing else."""
    if response_dict["status_code"] == 200:
        strange = misfits(operation_model.name, json.loads(response_dict["body"]))
        assert not strange, f"{operation_model.name} answers what its shape forbids: {'; '.join(strange)}"


class Customer:
    """`c` is boto3, `raw` the same without client-side checks."""

    def __init__(self, url: str, key: AccessKey, region: str, finish: Finish | None = None) -> None:
        """`finish`: only where trainings wait until a test ends them."""
        self.where = {
            "endpoint_url": url,
            "region_name": region,
            "aws_access_key_id": key.access_key_id,
            "aws_secret_access_key": key.secret,
        }
        self.account = key.account
        self.tenant = Tenant(key.account, region)
        self.c: BaseClient = self._client(VALIDATION)
        self._raw: BaseClient | None = None
        self._finish = finish
        now = datetime.now(UTC)
        self.T = iso(now - timedelta(days=1))  # a time at which an event can be stored
        self.T2 = iso(now - timedelta(days=2))
        self.FUTURE = iso(now + timedelta(days=2))
        self.RULES = [self.rule("big"), self.rule("mid"), self.rule("free")]

    @property
    def raw(self) -> BaseClient:
        if self._raw is None:
            self._raw = self._client(NO_VALIDATION)
        return self._raw

    def _client(self, config: Config) -> BaseClient:
        client = SESSION.create_client("frauddetector", config=config, **self.where)
        client.meta.events.register("before-parse.frauddetector", fits)
        return client

    def close(self) -> None:
        for client in (self.c, self._raw):
            if client is not None:
                client.close()

    # ---- what calls answer

    @staticmethod
    def body(answer: Answer) -> Answer:
        """The answer without what boto3 adds."""
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    @staticmethod
    def done(answer: Answer) -> bool:
        """Is the body the two bytes of success?"""
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return set(answer) == {"ResponseMetadata"} and headers["content-length"] == "2"

    def ve(self, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        """The call is refused with a ValidationException; its message."""
        return self.refused("ValidationException", call, *given, **members)

    def rnf(self, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        """The call is refused with a ResourceNotFoundException; its message."""
        return self.refused("ResourceNotFoundException", call, *given, **members)

    def ce(self, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        """The call is refused with a ConflictException; its message."""
        return self.refused("ConflictException", call, *given, **members)

    @staticmethod
    def refused(code: str, call: Callable[..., Any], *given: Any, **members: Any) -> str:
        with pytest.raises(ClientError) as refusal:
            call(*given, **members)
        error, about = refusal.value.response["Error"], refusal.value.response["ResponseMetadata"]
        assert (error["Code"], about["HTTPStatusCode"]) == (code, 400), error
        assert error["Message"]
        assert about["RequestId"]
        message: str = error["Message"]
        client = getattr(call, "__self__", None)
        if isinstance(client, BaseClient) and "not available in this version" not in message:
            operation = client.meta.method_to_api_mapping[call.__name__]
            documented = client.meta.service_model.operation_model(operation).error_shapes
            assert code in {shape.name for shape in documented}, f"{operation} does not document {code}"
        return message

    @staticmethod
    def pages(call: Callable[..., Answer], payload: str, **members: Any) -> Iterator[list[Any]]:
        """The pages of a listing, in order."""
        token = ""
        for _ in range(1_000):
            answer = call(nextToken=token, **members)
            yield answer[payload]
            if "nextToken" not in answer:
                return
            token = answer["nextToken"]
        raise AssertionError("the listing has no end")

    @staticmethod
    def wait_ms(milliseconds: int) -> None:
        """Return once the clock of the server has moved on."""
        until = RealWorld().now_ms() + milliseconds
        while RealWorld().now_ms() <= until:
            time.sleep(0.001)

    # ---- what a script does

    def ev(self, event_id: str, variables: dict[str, Any], **other: Any) -> Answer:
        """Arguments of GetEventPrediction."""
        return {"detectorId": "det", **self.se(event_id, variables)} | other

    def se(self, event_id: str, variables: dict[str, Any], **other: Any) -> Answer:
        """Arguments of SendEvent."""
        return {
            "eventId": event_id,
            "eventTypeName": "pay",
            "entities": [{"entityType": "customer", "entityId": "c1"}],
            "eventTimestamp": self.T,
            "eventVariables": variables,
        } | other

    @staticmethod
    def rule(rule_id: str, version: str = "1", detector: str = "det") -> dict[str, str]:
        return {"detectorId": detector, "ruleId": rule_id, "ruleVersion": version}

    def mkrule(
        self, rule_id: str, expression: str, outcomes: list[str] | None = None, detector: str = "det"
    ) -> dict[str, str]:
        answer = self.c.create_rule(
            ruleId=rule_id,
            detectorId=detector,
            expression=expression,
            language="DETECTORPL",
            outcomes=outcomes or ["ok"],
        )
        made: dict[str, str] = answer["rule"]
        return made

    def update_rule(
        self, rule_id: str, expression: str, outcomes: list[str] | None = None, version: str = "1"
    ) -> dict[str, str]:
        answer = self.c.update_rule_version(
            rule=self.rule(rule_id, version),
            expression=expression,
            language="DETECTORPL",
            outcomes=outcomes or ["ok"],
        )
        made: dict[str, str] = answer["rule"]
        return made

    def activate(self, version: str, status: str = "ACTIVE") -> None:
        answer = self.c.update_detector_version_status(
            detectorId="det", detectorVersionId=version, status=status
        )
        assert self.done(answer)

    def set_up(self) -> None:
        """The fixture that the acid tests build on."""
        c = self.c
        c.put_entity_type(name="customer")
        c.put_label(name="fraud")
        c.put_label(name="legit")
        for name, data_type, default, variable_type in (
            ("email", "STRING", "<unknown>", "EMAIL_ADDRESS"),
            ("amt", "FLOAT", "0.0", "PRICE"),
            ("vip", "BOOLEAN", "false", "CATEGORICAL"),
        ):
            c.create_variable(
                name=name,
                dataType=data_type,
                dataSource="EVENT",
                defaultValue=default,
                variableType=variable_type,
            )
        c.put_event_type(
            name="pay",
            eventVariables=["email", "amt", "vip"],
            entityTypes=["customer"],
            labels=["fraud", "legit"],
            eventIngestion="ENABLED",
        )
        for name in ("block", "review", "ok"):
            c.put_outcome(name=name)
        c.put_detector(detectorId="det", eventTypeName="pay")
        self.mkrule("big", "$amt > 900", ["block"])
        self.mkrule("mid", "$amt > 100", ["review"])
        self.mkrule("free", '$email == "a@free.example"', ["ok", "review"])
        c.create_detector_version(detectorId="det", rules=self.RULES)
        self.activate("1")
        c.create_detector_version(detectorId="det", rules=self.RULES, ruleExecutionMode="ALL_MATCHED")

    def finish_training(self, model: dict[str, str], version: str) -> None:
        """The version's training ends well, with a small model on `email` and `amt`: at once where trainings
        wait for the test, else when the server's training process is done."""
        if self._finish is not None:
            self._finish(self.tenant, (model["modelType"], model["modelId"], version))
            return
        until = time.monotonic() + 120
        while (status := self.c.get_model_version(modelVersionNumber=version, **model)["status"]) == TRAINING:
            assert time.monotonic() < until, "the training has no end"
            time.sleep(0.05)
        assert status == "TRAINING_COMPLETE"
