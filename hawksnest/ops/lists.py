"""Allow and deny lists: CreateList, GetListsMetadata, GetListElements, UpdateList, DeleteList."""

from collections.abc import Iterable

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import ListContent, Tenant, ValueList
from hawksnest.errors import conflict, invalid
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import Listing, described, require
from hawksnest.ops.limits import LIST_ENTRIES, LISTS
from hawksnest.ops.paging import Pages
from hawksnest.ops.references import in_use, list_user
from hawksnest.ops.variables import variable_type

_NOT_TEXT = ("NUMERIC", "ARE_CREDENTIALS_VALID", "EVENT_TIMESTAMP")  # types whose values are no strings


def _list_type(given: str | None) -> str | None:
    """Raises ValidationException unless the type's values are strings."""
    canonical = variable_type(given)
    if canonical in _NOT_TEXT:
        raise invalid(f"Variable type {canonical} is not a type of strings; a list holds only strings.")
    return canonical


def _store(app: App, call: Call, name: str, elements: Iterable[str], now_ms: int) -> None:
    """Replace the entries. Revisions are never used twice, not even after the list was deleted."""
    unique = tuple(dict.fromkeys(elements))
    if len(unique) > LIST_ENTRIES:
        raise invalid(f"List {name} would have {len(unique)} entries; at most {LIST_ENTRIES} are accepted.")
    content = ListContent(
        name=name,
        revision=app.catalog.next_number(call.tenant, f"list/{name}"),
        elements=unique,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    app.catalog.put(call.tenant, content)


def elements_of(app: App, tenant: Tenant, name: str) -> tuple[str, ...]:
    """Entries of a list in insertion order."""
    content = app.catalog.get(tenant, ListContent, name)
    return content.elements if content is not None else ()


def create_list(app: App, call: Call, request: Request) -> Response:
    """Create a list; entries that come twice are stored once."""
    name = request["name"]
    with change(app, call) as now_ms:
        if app.catalog.get(call.tenant, ValueList, name) is not None:
            raise invalid(f"List {name} already exists.")
        new = ValueList(
            name=name,
            variable_type=_list_type(request.get("variableType")),
            description=request.get("description"),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        create(app, call, new, request, LISTS)
        _store(app, call, name, request.get("elements", ()), now_ms)
    return {}


def _view(app: App, tenant: Tenant, resource: ValueList) -> Response:
    shown = described(tenant, resource, name=resource.name, variableType=resource.variable_type)
    shown["updatedTime"] = shown.pop("lastUpdatedTime")
    return shown


_LISTING = Listing("GetListsMetadata", ValueList, "name", "lists", 50, _view)


def get_lists_metadata(app: App, call: Call, request: Request) -> Response:
    """Metadata of one list or of all, by name."""
    return _LISTING.answer(app, call, request)


_PAGES = Pages("GetListElements", 500)


def get_list_elements(app: App, call: Call, request: Request) -> Response:
    """The entries of a list in insertion order."""
    require(app, call.tenant, ValueList, request["name"])
    entries = list(enumerate(elements_of(app, call.tenant, request["name"])))
    shown, more = _PAGES.page(app, call, request, entries, lambda entry: (entry[0],))
    return {"elements": [element for _, element in shown], **more}


def _updated(current: tuple[str, ...], given: list[str], mode: str) -> Iterable[str]:
    if mode == "REPLACE":
        return given
    if mode == "APPEND":
        return [*current, *given]
    removed = set(given)
    return [element for element in current if element not in removed]


def update_list(app: App, call: Call, request: Request) -> Response:
    """Change entries or description, or give a list its type; rules see the change at once."""
    name, tenant = request["name"], call.tenant
    with change(app, call) as now_ms:
        known = require(app, tenant, ValueList, name)
        wanted_type = _list_type(request.get("variableType")) or known.variable_type
        if known.variable_type not in (None, wanted_type):
            raise invalid(f"List {name} has variable type {known.variable_type}, which cannot be changed.")
        if "elements" in request:
            mode = request.get("updateMode")
            if mode is None:
                raise invalid("updateMode is missing; elements need REPLACE, APPEND or REMOVE.")
            current = elements_of(app, tenant, name)
            elements = list(_updated(current, request["elements"], mode))
            user = list_user(app, tenant, name) if current and not elements else None
            if user is not None:
                raise conflict(f"Cannot empty list {name}: it is used by {user}.")
            _store(app, call, name, elements, now_ms)
        update(
            app,
            call,
            known,
            now_ms,
            variable_type=wanted_type,
            description=request.get("description", known.description),
        )
    return {}


def delete_list(app: App, call: Call, request: Request) -> Response:
    """Delete a list that no rule version uses, with its entries."""
    with change(app, call):
        known = app.catalog.get(call.tenant, ValueList, request["name"])
        if known is not None:
            user = list_user(app, call.tenant, known.name)
            if user is not None:
                raise in_use(known, user)
            remove(app, call, known)
            app.catalog.delete(call.tenant, ListContent, known.name)
    return {}


LIST_OPERATIONS = [
    Operation("CreateList", create_list),
    Operation("GetListsMetadata", get_lists_metadata),
    Operation("GetListElements", get_list_elements),
    Operation("UpdateList", update_list),
    Operation("DeleteList", delete_list),
]
