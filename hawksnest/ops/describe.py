"""Resources in their wire shapes, and the Get operations that list them or show one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hawksnest.app import App, Call, Request, Response
from hawksnest.catalog import Resource, Tenant
from hawksnest.errors import not_found
from hawksnest.ops.paging import Pages
from hawksnest.world import iso_ms

R = TypeVar("R", bound=Resource)


def noun(kind: type[Resource]) -> str:
    """`Event type`: how messages name the kind."""
    return kind.kind.replace("-", " ").capitalize()


def require(app: App, tenant: Tenant, kind: type[R], *key: str) -> R:
    """The resource. Raises ResourceNotFoundException that names it."""
    found = app.catalog.get(tenant, kind, *key)
    if found is None:
        raise not_found(missing(kind, *key))
    return found


def missing(kind: type[Resource], *key: str) -> str:
    """The sentence that says that a resource is missing."""
    return f"{noun(kind)} {' '.join(part[:100] for part in key)} does not exist."


def described(tenant: Tenant, resource: Resource, **members: Any) -> dict[str, Any]:
    """The members of a resource that have a value, with its times and ARN."""
    shown = members | {
        "description": resource.description,
        "createdTime": iso_ms(resource.created_at_ms),
        "lastUpdatedTime": iso_ms(resource.updated_at_ms),
        "arn": resource.arn(tenant),
    }
    return {name: value for name, value in shown.items() if value is not None}


@dataclass(frozen=True)
class Listing(Generic[R]):
    """A Get operation that answers one resource by its id, or pages through all of them by name."""

    operation: str
    kind: type[R]
    id_member: str
    payload: str
    page_size: int
    view: Callable[[App, Tenant, R], dict[str, Any]]

    def answer(self, app: App, call: Call, request: Request) -> Response:
        """Raises ResourceNotFoundException for an unknown id."""
        wanted = request.get(self.id_member)
        if wanted is not None:
            found = require(app, call.tenant, self.kind, wanted)
            return {self.payload: [self.view(app, call.tenant, found)]}
        pages = Pages(self.operation, self.page_size)
        everything = app.catalog.list(call.tenant, self.kind)
        shown, more = pages.page(app, call, request, everything, lambda resource: resource.key)
        return {self.payload: [self.view(app, call.tenant, resource) for resource in shown], **more}
