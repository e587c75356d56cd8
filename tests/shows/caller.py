"""One account on the wire: any body to any operation, and everything that can be read of it."""

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hawksnest.client import TARGET_PREFIX
from hawksnest.signing import Credentials, sign
from hawksnest.world import RealWorld

Answer = dict[str, Any]
# operation → (member that holds the items, member of an item that goes on to ask for its parts)
LISTINGS = {
    "GetBatchImportJobs": "batchImports",
    "GetBatchPredictionJobs": "batchPredictions",
    "GetDetectors": "detectors",
    "GetEntityTypes": "entityTypes",
    "GetEventTypes": "eventTypes",
    "GetExternalModels": "externalModels",
    "GetLabels": "labels",
    "GetListsMetadata": "lists",
    "GetModels": "models",
    "DescribeModelVersions": "modelVersionDetails",
    "GetOutcomes": "outcomes",
    "GetVariables": "variables",
    "ListEventPredictions": "eventPredictionSummaries",
}
PREDICTION = ("eventId", "eventTypeName", "detectorId", "detectorVersionId", "predictionTimestamp")


class Reply(NamedTuple):
    """What came back; `code` is empty for a success."""

    status: int
    code: str
    members: Answer


class Caller:
    """Signed calls of one key over one kept connection."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=60)
        self._credentials = credentials
        self._world = RealWorld()

    def send(self, operation: str, body: bytes) -> Reply:
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": self._host,
            "x-amz-target": TARGET_PREFIX + operation,
        }
        headers |= sign(self._credentials, "frauddetector", headers, body, self._world.now_ms())
        self._connection.request("POST", "/", body, headers)
        reply = self._connection.getresponse()
        members = json.loads(reply.read())
        return Reply(reply.status, members.get("__type", "").rpartition("#")[2], members)

    def try_(self, operation: str, **request: Any) -> Reply:
        return self.send(operation, json.dumps(request).encode())

    def call(self, operation: str, **request: Any) -> Answer:
        reply = self.try_(operation, **request)
        assert reply.status == 200, f"{operation} {request}: {reply}"
        return reply.members

    def close(self) -> None:
        self._connection.close()

    # ---- everything that is there

    def all_of(self, operation: str, payload: str, **request: Any) -> list[Any]:
        items, token = [], ""
        for _ in range(100_000):
            answer = self.call(operation, **request, nextToken=token)
            items += answer[payload]
            token = answer.get("nextToken", "")
            if not token:
                return items
        raise AssertionError(f"{operation} has no end")

    def state(self, events: tuple[tuple[str, str], ...] = ()) -> Answer:
        """All that the Get*, List* and Describe* operations show of the account."""
        seen: Answer = {name: self.all_of(name, payload) for name, payload in LISTINGS.items()}
        for each in seen["GetEventTypes"]:
            each.get("ingestedEventStatistics", {}).pop("lastUpdatedTime", None)  # when it was counted: now
        seen["key"] = self.call("GetKMSEncryptionKey")
        for detector in [each["detectorId"] for each in seen["GetDetectors"]]:
            versions = self.all_of("DescribeDetector", "detectorVersionSummaries", detectorId=detector)
            seen["versions", detector] = [
                self.call(
                    "GetDetectorVersion", detectorId=detector, detectorVersionId=each["detectorVersionId"]
                )
                for each in versions
            ]
            seen["rules", detector] = self.all_of("GetRules", "ruleDetails", detectorId=detector)
        for each in seen["GetListsMetadata"]:
            seen["elements", each["name"]] = self.all_of("GetListElements", "elements", name=each["name"])
        for each in seen["ListEventPredictions"]:
            members = {name: each[name] for name in PREDICTION}
            seen["prediction", each["eventId"], each["predictionTimestamp"]] = self.call(
                "GetEventPredictionMetadata", **members
            )
        for event_id, event_type in events:
            seen["event", event_id] = self.try_("GetEvent", eventId=event_id, eventTypeName=event_type)
        for each in seen["GetEventTypes"]:
            seen["deletion", each["name"]] = self.try_(
                "GetDeleteEventsByEventTypeStatus", eventTypeName=each["name"]
            )
        for arn in sorted(_arns(list(seen.values()))):
            seen["tags", arn] = self.all_of("ListTagsForResource", "tags", resourceARN=arn)
        return seen


def _arns(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["arn"]} if isinstance(value.get("arn"), str) else set()
        return found.union(*(_arns(each) for each in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_arns(each) for each in value))
    return set()
