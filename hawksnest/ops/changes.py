"""How resources of the catalogue are created, changed and removed: whole, or not at all."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hawksnest.app import App, Call, Request
from hawksnest.catalog import Resource, TagSet
from hawksnest.errors import invalid
from hawksnest.ops.limits import PER_KIND
from hawksnest.ops.tags import checked_tags, store_tags

R = TypeVar("R", bound=Resource)


@contextmanager
def change(app: App, call: Call) -> Iterator[int]:
    """One change of the tenant's catalogue, checks included; gives its instant (milliseconds).

    A ServiceError raised inside leaves everything as it was.
    """
    with app.catalog.transaction():
        yield app.world.now_ms()
    app.snapshots.catalog_changed(call.tenant)


def create(app: App, call: Call, resource: Resource, request: Request, limit: int | None = PER_KIND) -> None:
    """Store a new resource with the tags of the request.

    Raises ValidationException when the tenant has `limit` of them; None: another bound holds.
    """
    tags = checked_tags(request.get("tags", ()))
    if limit is not None:
        limit = app.quotas.resources_max(type(resource), limit)
    if limit is not None and len(app.catalog.list(call.tenant, type(resource))) >= limit:
        raise invalid(f"There are {limit} resources of type {resource.kind} already; no more are accepted.")
    app.catalog.put(call.tenant, resource)
    store_tags(app, call.tenant, resource.arn(call.tenant), tags)


def update(app: App, call: Call, resource: R, now_ms: int, **members: Any) -> R:
    """Store the resource with other members and a new time of change; its tags stay."""
    changed = dataclasses.replace(resource, updated_at_ms=now_ms, **members)
    app.catalog.put(call.tenant, changed)
    return changed


def remove(app: App, call: Call, resource: Resource) -> None:
    """Delete the resource; its tags die with it."""
    app.catalog.delete(call.tenant, type(resource), *resource.key)
    app.catalog.delete(call.tenant, TagSet, resource.arn(call.tenant))
