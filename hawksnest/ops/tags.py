"""Tags: TagResource, UntagResource, ListTagsForResource, and the rules that all tagging calls share."""

from collections.abc import Mapping, Sequence

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import (
    BatchImport,
    BatchPrediction,
    Detector,
    DetectorVersion,
    EntityType,
    EventType,
    ExternalModel,
    Label,
    Model,
    ModelVersion,
    Outcome,
    Resource,
    Rule,
    TagSet,
    Tenant,
    ValueList,
    Variable,
)
from hawksnest.errors import ServiceError, invalid, not_found
from hawksnest.ops.limits import TAGS
from hawksnest.ops.paging import Pages
from hawksnest.ops.versions import model_version_number

# ARN type → resource and how many parts its path has
_TAGGABLE: dict[str, tuple[type[Resource], int]] = {
    kind.kind: (kind, parts)
    for kind, parts in (
        (Variable, 1),
        (Label, 1),
        (EntityType, 1),
        (Outcome, 1),
        (EventType, 1),
        (ValueList, 1),
        (Detector, 1),
        (DetectorVersion, 2),
        (Rule, 3),
        (Model, 2),
        (ModelVersion, 3),
        (ExternalModel, 1),
        (BatchImport, 1),
        (BatchPrediction, 1),
    )
}


def checked_tags(given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tags of a request by key. Raises ValidationException for reserved, repeated or too many keys."""
    tags: dict[str, str] = {}
    for tag in given:
        key = tag["key"]
        if key.lower().startswith("aws:"):
            raise invalid(f"Tag key '{key}' is reserved: keys must not start with aws:.")
        if key in tags:
            raise invalid(f"Tag key '{key}' is given twice.")
        tags[key] = tag["value"]
    if len(tags) > TAGS:
        raise invalid(f"{len(tags)} tags given; a resource takes at most {TAGS}.")
    return tags


def _tagged(app: App, tenant: Tenant, arn: str) -> str:
    """The resource's own ARN. Raises ResourceNotFoundException when this tenant has no such resource."""
    _, _, _, region, account, path = arn.split(":", 5)
    kind_name, *key = path.split("/")
    kind, parts = _TAGGABLE.get(kind_name, (Resource, -1))
    if (account, region) == tenant and len(key) == parts:
        if kind is ModelVersion:
            key[-1] = _normalised(key[-1])
        resource = app.catalog.get(tenant, kind, *key)
        if resource is not None:
            return resource.arn(tenant)
    raise not_found(f"Resource {arn} does not exist.")


def _normalised(number: str) -> str:
    try:
        return model_version_number(number)
    except ServiceError:
        return number


def _tags(app: App, tenant: Tenant, arn: str) -> dict[str, str]:
    found = app.catalog.get(tenant, TagSet, arn)
    return dict(found.tags) if found is not None else {}


def store_tags(app: App, tenant: Tenant, arn: str, tags: dict[str, str]) -> None:
    """Replace the tags of a resource; inside a transaction."""
    if tags:
        now_ms = app.world.now_ms()
        app.catalog.put(
            tenant, TagSet(created_at_ms=now_ms, updated_at_ms=now_ms, resource_arn=arn, tags=tags)
        )
    else:
        app.catalog.delete(tenant, TagSet, arn)


def tag_resource(app: App, call: Call, request: Request) -> Response:
    """Add tags to a resource or overwrite those it has."""
    added = checked_tags(request["tags"])
    with app.catalog.transaction():
        arn = _tagged(app, call.tenant, request["resourceARN"])
        merged = _tags(app, call.tenant, arn) | added
        if len(merged) > TAGS:
            raise invalid(f"{arn} would have {len(merged)} tags; a resource takes at most {TAGS}.")
        store_tags(app, call.tenant, arn, merged)
    return {}


def untag_resource(app: App, call: Call, request: Request) -> Response:
    """Remove tags by key; keys that are not set are passed over."""
    removed = set(request["tagKeys"])
    with app.catalog.transaction():
        arn = _tagged(app, call.tenant, request["resourceARN"])
        kept = {key: value for key, value in _tags(app, call.tenant, arn).items() if key not in removed}
        store_tags(app, call.tenant, arn, kept)
    return {}


_PAGES = Pages("ListTagsForResource", TAGS)


def list_tags_for_resource(app: App, call: Call, request: Request) -> Response:
    """The tags of a resource, by key."""
    arn = _tagged(app, call.tenant, request["resourceARN"])
    tags = sorted(_tags(app, call.tenant, arn).items())
    shown, more = _PAGES.page(app, call, request, tags, lambda tag: (tag[0],))
    return {"tags": [{"key": key, "value": value} for key, value in shown], **more}


TAG_OPERATIONS = [
    Operation("TagResource", tag_resource),
    Operation("UntagResource", untag_resource),
    Operation("ListTagsForResource", list_tags_for_resource),
]
