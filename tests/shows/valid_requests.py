"""Valid requests of all 73 operations: each builds what it needs, succeeds and is read back."""

import json
from random import Random
from typing import Any

from broken_requests import MODEL
from caller import Caller, Reply

Request = dict[str, Any]
ROLE = "arn:aws:iam::123456789012:role/afd"
OFI = "ONLINE_FRAUD_INSIGHTS"
AT = "2024-05-06T07:08:09Z"
ENTITIES = [{"entityType": "customer", "entityId": "c1"}]
LANGUAGE = {"language": "DETECTORPL"}
SCHEMA = {
    "modelVariables": ["email", "amt"],
    "labelSchema": {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}},
}
EXTERNAL = {"dataLocation": "s3://nowhere/train.csv", "dataAccessRoleArn": ROLE}
TEXTS = ("plain", "ünïcödé ✓", "日本語の説明", "x" * 128, "a\tb", "emoji \U0001f4b8", '"quoted" \\ \'', "{}")
VARIABLES = (("email", "STRING", "-", "EMAIL_ADDRESS"), ("amt", "FLOAT", "0.0", "PRICE"))
RULE = {"detectorId": "det", "ruleId": "big", "ruleVersion": "1"}
# What may be refused although the request is right: the state that the documentation names.
STATE_FAULTS = {"ValidationException", "ConflictException", "ResourceNotFoundException"}


def snake(operation: str) -> str:
    text = operation.replace("KMS", "Kms").replace("SForResource", "sForResource")
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in text).lstrip("_")


def set_up(caller: Caller) -> None:
    """What every account of these shows starts with."""
    caller.call("PutEntityType", name="customer")
    for name in ("fraud", "legit"):
        caller.call("PutLabel", name=name)
    for name, data_type, default, kind in VARIABLES:
        caller.call(
            "CreateVariable",
            name=name,
            dataType=data_type,
            dataSource="EVENT",
            defaultValue=default,
            variableType=kind,
        )
    members = {"eventVariables": ["email", "amt"], "entityTypes": ["customer"], "labels": ["fraud", "legit"]}
    caller.call("PutEventType", name="pay", eventIngestion="ENABLED", **members)
    caller.call("PutOutcome", name="ok")
    caller.call("PutDetector", detectorId="det", eventTypeName="pay")
    caller.call(
        "CreateRule", ruleId="big", detectorId="det", expression="$amt > 900", outcomes=["ok"], **LANGUAGE
    )
    caller.call("CreateDetectorVersion", detectorId="det", rules=[RULE])
    caller.call("UpdateDetectorVersionStatus", detectorId="det", detectorVersionId="1", status="ACTIVE")


def event(event_id: str, amount: str = "950") -> Request:
    return {
        "eventId": event_id,
        "eventTypeName": "pay",
        "entities": ENTITIES,
        "eventTimestamp": AT,
        "eventVariables": {"amt": amount},
    }


class Valid:
    """Makes, for an operation, one more valid request together with what it needs."""

    def __init__(self, caller: Caller, random: Random) -> None:
        self._caller, self._random, self._count = caller, random, 0
        self.call = caller.call

    def request(self, operation: str) -> Request:
        """A request that the account is ready for."""
        made: Request = getattr(self, f"for_{snake(operation)}")()
        shape = MODEL.operation_model(operation).input_shape
        if shape is not None and "description" in shape.members and self._random.random() < 0.7:
            made.setdefault("description", self.text())
        if operation.startswith(("Put", "Create")) and shape is not None and "tags" in shape.members:
            made.setdefault("tags", self.tags())
        return made

    def new(self, prefix: str = "n") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def text(self) -> str:
        return self._random.choice(TEXTS)

    def tags(self) -> list[dict[str, str]]:
        return [
            {"key": f"k{number} é", "value": self.text()[:2].strip('"a\t{}')}
            for number in range(self._random.randrange(3))
        ]

    def page(self, low: int, high: int) -> Request:
        return self._random.choice(({}, {"nextToken": ""}, {"maxResults": self._random.randint(low, high)}))

    # ---- what is put and created by its name

    def _named(self, operation: str, **members: Any) -> str:
        name = self.new()
        self.call(operation, name=name, **members)
        return name

    def for_put_label(self) -> Request:
        return {"name": self.new()}

    for_put_outcome = for_put_entity_type = for_put_label

    def for_delete_label(self) -> Request:
        return {"name": self._named("PutLabel")}

    def for_delete_outcome(self) -> Request:
        return {"name": self._named("PutOutcome")}

    def for_delete_entity_type(self) -> Request:
        return {"name": self._named("PutEntityType")}

    def for_put_event_type(self) -> Request:
        return {
            "name": self.new(),
            "eventVariables": self._random.choice((["amt"], ["email", "amt"])),
            "entityTypes": ["customer"],
            "labels": self._random.choice(([], ["fraud"])),
            "eventIngestion": self._random.choice(("ENABLED", "DISABLED")),
        }

    def for_delete_event_type(self) -> Request:
        made = self.for_put_event_type()
        self.call("PutEventType", **made)
        return {"name": made["name"]}

    def for_create_list(self) -> Request:
        return {"name": self.new(), "elements": [f"e{number}" for number in range(self._random.randrange(9))]}

    def _list(self) -> str:
        return self._named("CreateList", elements=["a", "b"])

    def for_update_list(self) -> Request:
        mode = self._random.choice(("APPEND", "REMOVE", "REPLACE"))
        return {"name": self._list(), "elements": ["b", "c"], "updateMode": mode}

    def for_delete_list(self) -> Request:
        return {"name": self._list()}

    def for_get_list_elements(self) -> Request:
        return {"name": self._list()} | self.page(500, 5000)

    def for_get_lists_metadata(self) -> Request:
        return self._random.choice((self.page(5, 50), {"name": self._list()}))

    def _variable(self) -> Request:
        data_type, default = self._random.choice(
            (("STRING", ""), ("FLOAT", "1.5"), ("INTEGER", "7"), ("BOOLEAN", "true"))
        )
        return {"name": self.new("v"), "dataType": data_type, "dataSource": "EVENT", "defaultValue": default}

    def for_create_variable(self) -> Request:
        return self._variable()

    def for_batch_create_variable(self) -> Request:
        return {"variableEntries": [self._variable() for _ in range(self._random.randint(1, 25))]}

    def _made_variable(self) -> Request:
        made = self._variable()
        self.call("CreateVariable", **made)
        return made

    def for_batch_get_variable(self) -> Request:
        return {"names": [self._made_variable()["name"], "amt"]}

    def for_update_variable(self) -> Request:
        made = self._made_variable()
        return {"name": made["name"], "defaultValue": "1" if made["dataType"] != "BOOLEAN" else "false"}

    def for_delete_variable(self) -> Request:
        return {"name": self._made_variable()["name"]}

    # ---- detectors and rules

    def for_put_detector(self) -> Request:
        return {"detectorId": self.new(), "eventTypeName": "pay"}

    def _detector(self) -> str:
        made = self.for_put_detector()
        self.call("PutDetector", **made)
        return str(made["detectorId"])

    def for_delete_detector(self) -> Request:
        return {"detectorId": self._detector()}

    def for_create_rule(self) -> Request:
        expression = self._random.choice(("$amt > 5", "1 == 1", '$email == "ü"', "$amt > 1 and $amt < 9"))
        return {
            "ruleId": self.new(),
            "detectorId": "det",
            "expression": expression,
            "outcomes": ["ok"],
            **LANGUAGE,
        }

    def _rule(self) -> Request:
        rule: Request = self.call("CreateRule", **self.for_create_rule())["rule"]
        return rule

    def for_update_rule_version(self) -> Request:
        return {"rule": self._rule(), "expression": "$amt > 6", "outcomes": ["ok"], **LANGUAGE}

    def for_update_rule_metadata(self) -> Request:
        return {"rule": self._rule(), "description": self.text()}

    def for_delete_rule(self) -> Request:
        return {"rule": self._rule()}

    def for_get_rules(self) -> Request:
        rule = self._rule()
        return {"detectorId": "det"} | self._random.choice(
            (rule, {"ruleId": rule["ruleId"]}, self.page(50, 100))
        )

    def for_create_detector_version(self) -> Request:
        mode = self._random.choice(("FIRST_MATCHED", "ALL_MATCHED"))
        return {"detectorId": "det", "rules": [self._rule(), RULE], "ruleExecutionMode": mode}

    def _version(self) -> Request:
        made = self.call("CreateDetectorVersion", **self.for_create_detector_version())
        return {name: made[name] for name in ("detectorId", "detectorVersionId")}

    for_delete_detector_version = for_get_detector_version = _version

    def for_update_detector_version(self) -> Request:
        return self._version() | {"externalModelEndpoints": [], "rules": [RULE]}

    def for_update_detector_version_metadata(self) -> Request:
        return self._version() | {"description": self.text()}

    def for_update_detector_version_status(self) -> Request:
        return self._version() | {"status": "ACTIVE"}

    def for_describe_detector(self) -> Request:
        return {"detectorId": "det"} | self.page(1000, 2500)

    def for_get_detectors(self) -> Request:
        return self._random.choice((self.page(5, 10), {"detectorId": "det"}))

    # ---- models

    def for_create_model(self) -> Request:
        return {"modelId": self.new("m"), "modelType": OFI, "eventTypeName": "pay"}

    def _model(self) -> Request:
        made = self.for_create_model()
        self.call("CreateModel", **made)
        return {"modelId": made["modelId"], "modelType": OFI}

    for_delete_model = for_update_model = _model

    def call_off_trainings(self) -> None:
        """No training runs beside the show, and there is room for the next."""
        for each in self._caller.all_of("DescribeModelVersions", "modelVersionDetails"):
            if each["status"] == "TRAINING_IN_PROGRESS":
                members = {name: each[name] for name in ("modelId", "modelType", "modelVersionNumber")}
                self._caller.try_("UpdateModelVersionStatus", **members, status="TRAINING_CANCELLED")

    def for_create_model_version(self) -> Request:
        self.call_off_trainings()
        return self._model() | {
            "trainingDataSource": "EXTERNAL_EVENTS",
            "trainingDataSchema": SCHEMA,
            "externalEventsDetail": EXTERNAL,
        }

    def _cancelled(self) -> Request:
        """A version whose training was called off, so that no training runs beside the show."""
        request = self._training()
        self._caller.try_("UpdateModelVersionStatus", **request, status="TRAINING_CANCELLED")
        return request

    def _training(self) -> Request:
        made = self.call("CreateModelVersion", **self.for_create_model_version())
        return {name: made[name] for name in ("modelId", "modelType", "modelVersionNumber")}

    for_get_model_version = for_delete_model_version = _cancelled

    def for_describe_model_versions(self) -> Request:
        return self._random.choice((self.page(1, 10), self._cancelled()))

    def for_update_model_version(self) -> Request:
        made = self._cancelled()
        return {
            "modelId": made["modelId"],
            "modelType": OFI,
            "majorVersionNumber": "1",
            "externalEventsDetail": EXTERNAL,
        }

    def for_update_model_version_status(self) -> Request:
        return self._training() | {"status": "TRAINING_CANCELLED"}

    def for_get_models(self) -> Request:
        return self._random.choice((self.page(1, 10), self._model()))

    def for_put_external_model(self) -> Request:
        return {
            "modelEndpoint": self.new("Ep-"),
            "modelSource": "SAGEMAKER",
            "invokeModelEndpointRoleArn": ROLE,
            "inputConfiguration": {"useEventVariables": False},
            "outputConfiguration": {"format": "TEXT_CSV", "csvIndexToVariableMap": {"0": self._score()}},
            "modelEndpointStatus": self._random.choice(("ASSOCIATED", "DISSOCIATED")),
        }

    def _score(self) -> str:
        return self._named(
            "CreateVariable", dataType="FLOAT", dataSource="EXTERNAL_MODEL_SCORE", defaultValue="0.0"
        )

    def for_delete_external_model(self) -> Request:
        made = self.for_put_external_model()
        self.call("PutExternalModel", **made)
        return {"modelEndpoint": made["modelEndpoint"]}

    # ---- events and predictions

    def for_send_event(self) -> Request:
        label = self._random.choice(({}, {"assignedLabel": "fraud", "labelTimestamp": AT}))
        return event(self.new("e"), self._random.choice(("0", "-1.5", "1e3", "999999999"))) | label

    def _event(self) -> Request:
        made = self.for_send_event()
        self.call("SendEvent", **made)
        return {"eventId": made["eventId"], "eventTypeName": "pay"}

    for_get_event = for_delete_event = _event

    def for_update_event_label(self) -> Request:
        return self._event() | {"assignedLabel": "legit", "labelTimestamp": AT}

    def for_get_event_prediction(self) -> Request:
        return {"detectorId": "det", "detectorVersionId": "1"} | event(self.new("e"))

    def for_get_event_prediction_metadata(self) -> Request:
        made = self.for_get_event_prediction()
        self.call("GetEventPrediction", **made)
        answer = self.call("ListEventPredictions", eventId={"value": made["eventId"]})
        [shown] = answer["eventPredictionSummaries"]
        return {name: value for name, value in shown.items() if name != "eventTimestamp"}

    def for_list_event_predictions(self) -> Request:
        filters = ({}, {"eventType": {"value": "pay"}}, {"detectorId": {"value": "det"}})
        return self._random.choice(filters) | self.page(50, 100)

    def for_delete_events_by_event_type(self) -> Request:
        made = self.for_put_event_type()
        self.call("PutEventType", **made)
        return {"eventTypeName": made["name"]}

    def for_get_delete_events_by_event_type_status(self) -> Request:
        made = self.for_delete_events_by_event_type()
        self.call("DeleteEventsByEventType", **made)
        return made

    # ---- batch jobs (there is no such file: each fails, and says so in its record)

    def for_create_batch_import_job(self) -> Request:
        job = {"inputPath": "s3://nowhere/in.csv", "outputPath": "s3://nowhere/out", "iamRoleArn": ROLE}
        return job | {"jobId": self.new("j"), "eventTypeName": "pay"}

    def for_create_batch_prediction_job(self) -> Request:
        return self.for_create_batch_import_job() | {"detectorName": "det", "detectorVersion": "1"}

    def _job(self, kind: str) -> Request:
        made = getattr(self, f"for_create_batch_{kind.lower()}_job")()
        self.settled(kind)
        self.call(f"CreateBatch{kind}Job", **made)
        return {"jobId": made["jobId"]}

    def settled(self, kind: str) -> None:
        """Wait until no job runs: there is room for one at a time."""
        payload = f"batch{kind}s"
        for _ in range(2_000):
            jobs = self._caller.all_of(f"GetBatch{kind}Jobs", payload)
            if all(each["status"] in ("FAILED", "COMPLETE", "CANCELED") for each in jobs):
                return
        raise AssertionError("a job does not end")

    def _ended(self, kind: str) -> Request:
        made = self._job(kind)
        self.settled(kind)
        return made

    def for_get_batch_import_jobs(self) -> Request:
        return self._random.choice((self.page(1, 50), self._job("Import")))

    def for_get_batch_prediction_jobs(self) -> Request:
        return self._random.choice((self.page(1, 50), self._job("Prediction")))

    def for_cancel_batch_import_job(self) -> Request:
        return self._job("Import")

    def for_cancel_batch_prediction_job(self) -> Request:
        return self._job("Prediction")

    def for_delete_batch_import_job(self) -> Request:
        return self._ended("Import")

    def for_delete_batch_prediction_job(self) -> Request:
        return self._ended("Prediction")

    # ---- readings by name or page, tags, the key

    def _one_or_page(self, name: str, low: int, high: int) -> Request:
        return self._random.choice((self.page(low, high), {"name": name}))

    def for_get_entity_types(self) -> Request:
        return self._one_or_page("customer", 5, 10)

    def for_get_event_types(self) -> Request:
        return self._one_or_page("pay", 5, 10)

    def for_get_labels(self) -> Request:
        return self._one_or_page("fraud", 10, 50)

    def for_get_outcomes(self) -> Request:
        return self._one_or_page("ok", 50, 100)

    def for_get_variables(self) -> Request:
        return self._one_or_page("amt", 50, 100)

    def for_get_external_models(self) -> Request:
        return self.page(5, 10)

    def _label_arn(self) -> str:
        arn: str = self.call("GetLabels", name=self._named("PutLabel"))["labels"][0]["arn"]
        return arn

    def for_tag_resource(self) -> Request:
        return {"resourceARN": self._label_arn(), "tags": [{"key": "a b", "value": "é"}]}

    def for_untag_resource(self) -> Request:
        made = self.for_tag_resource()
        self.call("TagResource", **made)
        return {"resourceARN": made["resourceARN"], "tagKeys": ["a b", "not-there"]}

    def for_list_tags_for_resource(self) -> Request:
        return {"resourceARN": self._label_arn()} | self._random.choice(({}, {"maxResults": 50}))

    def for_get_kms_encryption_key(self) -> Request:
        return {}

    def for_put_kms_encryption_key(self) -> Request:
        return {"kmsEncryptionKeyArn": "DEFAULT"}


# noun of an operation → (how it is read, member of the answer, member of the request that names it)
READINGS = {
    "Label": ("GetLabels", "labels", "name"),
    "Outcome": ("GetOutcomes", "outcomes", "name"),
    "EntityType": ("GetEntityTypes", "entityTypes", "name"),
    "EventType": ("GetEventTypes", "eventTypes", "name"),
    "List": ("GetListsMetadata", "lists", "name"),
    "Variable": ("GetVariables", "variables", "name"),
    "Detector": ("GetDetectors", "detectors", "detectorId"),
    "ExternalModel": ("GetExternalModels", "externalModels", "modelEndpoint"),
    "Model": ("GetModels", "models", "modelId"),
    "Event": ("GetEvent", "event", "eventId"),
    "BatchImportJob": ("GetBatchImportJobs", "batchImports", "jobId"),
    "BatchPredictionJob": ("GetBatchPredictionJobs", "batchPredictions", "jobId"),
}
ECHOED = {
    "eventIngestion",
    "eventVariables",
    "entityTypes",
    "labels",
    "description",
    "defaultValue",
    "dataType",
}


def read_back(caller: Caller, operation: str, request: Request) -> None:
    """What a changing request has left behind is what it asked for."""
    verb = next(
        (each for each in ("Put", "Create", "Update", "Delete", "Send") if operation.startswith(each)), ""
    )
    if not verb or (noun := operation.removeprefix(verb)) not in READINGS:
        return
    reading, payload, key = READINGS[noun]
    asked = {key: request[key]}
    asked |= {name: request[name] for name in ("modelType",) if noun == "Model"}
    asked |= {name: request[name] for name in ("eventTypeName",) if noun == "Event"}
    reply: Reply = caller.try_(reading, **asked)
    if verb == "Delete":
        assert reply.code == "ResourceNotFoundException", (operation, request, reply)
        return
    assert reply.status == 200, (operation, request, reply)
    shown = reply.members[payload]
    item = shown if isinstance(shown, dict) else shown[0]
    for name in ECHOED & set(request) & set(item if verb != "Update" else request):
        assert item.get(name) == request[name], (operation, request, json.dumps(item))
