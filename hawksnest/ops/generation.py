"""Which of the two APIs a request means: today's, or the preview of April 2020 under the same names.

Operation names and members decide, nothing else: protocol, target prefix and signing name never changed.
"""

import re
from collections.abc import Callable
from typing import Any

from hawksnest.app import Request
from hawksnest.errors import ServiceError, invalid

ONLY_PREVIEW = ("GetPrediction", "PutModel", "DeleteRuleVersion")
_OLD_MEMBERS = ("modelVersionNumber", "status", "description")  # of UpdateModelVersion
_VERSION = re.compile(r"([1-9][0-9]{0,4})\.0+\Z")
_VERSION_MEMBERS = ("detectorVersionId", "ruleVersion")


def _without_event_type(request: Request) -> bool:
    return request.get("eventTypeName") is None


def _without_training(request: Request) -> bool:
    return request.get("trainingDataSource") is None and request.get("trainingDataSchema") is None


def _changes_status(request: Request) -> bool:
    """Raises ValidationException for a request that mixes both meanings of UpdateModelVersion."""
    old = [name for name in _OLD_MEMBERS if request.get(name) is not None]
    if old and request.get("majorVersionNumber") is not None:
        raise invalid(
            f"majorVersionNumber asks for a retraining and {old[0]} for a change of the version; "
            "give one of them."
        )
    return bool(old)


_MEANS_PREVIEW: dict[str, Callable[[Request], bool]] = {
    "DeleteEvent": _without_event_type,
    "PutDetector": _without_event_type,
    "CreateModelVersion": _without_training,
    "UpdateModelVersion": _changes_status,
}


def means_preview(operation: str, request: Request) -> bool:
    """Is this a request of the preview API? Raises ValidationException when it is one of both at once."""
    if operation in ONLY_PREVIEW:
        return True
    means = _MEANS_PREVIEW.get(operation)
    return means is not None and means(request)


def with_plain_versions(request: Request) -> Request:
    """Detector and rule versions as they are written today: `1.0` of the preview is `1`."""
    changed = _plain(request)
    rule, rules = request.get("rule"), request.get("rules")
    if isinstance(rule, dict):
        changed["rule"] = _plain(rule)
    if isinstance(rules, list):
        changed["rules"] = [_plain(each) if isinstance(each, dict) else each for each in rules]
    return changed


def _plain(members: dict[str, Any]) -> dict[str, Any]:
    changed = dict(members)
    for name in _VERSION_MEMBERS:
        text = members.get(name)
        match = _VERSION.match(text) if isinstance(text, str) else None
        if match is not None:
            changed[name] = match[1]
    return changed


def todays_external_model(request: Request) -> tuple[Request, str | None]:
    """PutExternalModel of any generation in today's members, and the role's name, which only older ones have.

    The preview has `role` and `isOpaque`; the clients of July 2020 name the event type at the top.
    Raises ValidationException when members of two generations contradict each other.
    """
    changed = dict(request)
    role, given = request.get("role"), request.get("inputConfiguration")
    name = None
    if isinstance(role, dict):
        if not isinstance(role.get("arn"), str) or not isinstance(role.get("name"), str):
            raise invalid("role needs the members arn and name.")
        arn, name = role["arn"], role["name"]
        if changed.setdefault("invokeModelEndpointRoleArn", arn) != arn:
            raise invalid("role and invokeModelEndpointRoleArn name different roles.")
    if isinstance(given, dict):
        inner = dict(given)
        opaque, event_type = given.get("isOpaque"), request.get("eventTypeName")
        if isinstance(opaque, bool) and inner.setdefault("useEventVariables", not opaque) is opaque:
            raise invalid("isOpaque and useEventVariables contradict each other.")
        if event_type is not None and inner.setdefault("eventTypeName", event_type) != event_type:
            raise invalid("eventTypeName and inputConfiguration.eventTypeName differ.")
        changed["inputConfiguration"] = inner
    return changed, name


def not_of_the_preview(resource: str) -> ServiceError:
    """ValidationException: the resource was made by today's API and cannot be changed by the preview's."""
    return invalid(f"{resource} was not made by the preview API; change it with today's operations.")
