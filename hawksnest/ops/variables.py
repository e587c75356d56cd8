"""Variables: created, read and changed alone or in batches."""

import re
from collections.abc import Mapping
from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import Tenant, Variable
from hawksnest.errors import ServiceError, invalid
from hawksnest.kernel.events import default_value
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import Listing, described, missing, require
from hawksnest.ops.implicit import variable_gone, variable_made
from hawksnest.ops.limits import VARIABLE_TEXT
from hawksnest.ops.references import in_use, variable_user
from hawksnest.ops.tags import checked_tags

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,99}\Z")
_DATA_TYPES = ("STRING", "INTEGER", "FLOAT", "BOOLEAN", "DATETIME")
_DATA_SOURCES = ("EVENT", "MODEL_SCORE", "EXTERNAL_MODEL_SCORE")
_NEEDED = ("name", "dataType", "dataSource", "defaultValue")

VARIABLE_TYPES = frozenset(
    {
        *("IP_ADDRESS", "USERAGENT", "FINGERPRINT", "SESSION_ID", "ARE_CREDENTIALS_VALID"),
        *("EMAIL_ADDRESS", "PHONE_NUMBER"),
        *("BILLING_NAME", "BILLING_PHONE", "BILLING_ADDRESS_L1", "BILLING_ADDRESS_L2"),
        *("BILLING_CITY", "BILLING_STATE", "BILLING_COUNTRY", "BILLING_ZIP"),
        *("SHIPPING_NAME", "SHIPPING_PHONE", "SHIPPING_ADDRESS_L1", "SHIPPING_ADDRESS_L2"),
        *("SHIPPING_CITY", "SHIPPING_STATE", "SHIPPING_COUNTRY", "SHIPPING_ZIP"),
        *("ORDER_ID", "PRICE", "CURRENCY_CODE", "PAYMENT_TYPE", "AUTH_CODE", "AVS", "CARD_BIN"),
        *("PRODUCT_CATEGORY", "NUMERIC", "CATEGORICAL", "FREE_FORM_TEXT"),
        *("FRAUD_LABEL", "EVENT_TIMESTAMP"),  # of older clients; never model inputs
    }
)
# Other names that AWS's own texts use; the resource keeps the canonical one.
_ALIASES = {
    "VALIDCRED": "ARE_CREDENTIALS_VALID",
    "CUSTOM_CATEGORICAL": "CATEGORICAL",
    "CATEGORY": "CATEGORICAL",
    "TEXT": "FREE_FORM_TEXT",
}


def variable_type(given: str | None) -> str | None:
    """The canonical variable type. Raises ValidationException for an unknown one."""
    if given is None:
        return None
    canonical = _ALIASES.get(given, given)
    if canonical not in VARIABLE_TYPES:
        raise invalid(
            f"Variable type '{given[:64]}' is unknown; use one of {', '.join(sorted(VARIABLE_TYPES))}."
        )
    return canonical


def _check_default(name: str, default: str, data_type: str) -> None:
    """Raises ValidationException for a default that evaluation could not use."""
    _bounded(name, "defaultValue", default)
    try:
        default_value(default, data_type)
    except ValueError:
        raise invalid(
            f"defaultValue '{default[:40]}' of variable {name} is not a value of data type {data_type}."
        ) from None


def _bounded(name: str, member: str, text: str | None) -> None:
    if text is not None and len(text) > VARIABLE_TEXT:
        raise invalid(f"{member} of variable {name} is longer than {VARIABLE_TEXT} characters.")


def _new_variable(app: App, call: Call, entry: Mapping[str, Any], now_ms: int) -> Variable:
    """The variable that an entry asks for. Raises ValidationException."""
    for member in _NEEDED:
        if entry.get(member) is None:
            raise invalid(f"{member} is missing; a variable needs {', '.join(_NEEDED)}.")
    name, data_type, data_source = entry["name"], entry["dataType"], entry["dataSource"]
    if not _NAME.match(name):
        raise invalid(
            f"Variable name '{name[:100]}' must start with a-z or _ and have at most 100 characters "
            "out of a-z, 0-9 and _."
        )
    if data_type not in _DATA_TYPES:
        raise invalid(f"dataType '{data_type[:64]}' is unknown; use one of {', '.join(_DATA_TYPES)}.")
    if data_source not in _DATA_SOURCES:
        raise invalid(f"dataSource '{data_source[:64]}' is unknown; use one of {', '.join(_DATA_SOURCES)}.")
    canonical_type = variable_type(entry.get("variableType"))
    _check_default(name, entry["defaultValue"], data_type)
    _bounded(name, "description", entry.get("description"))
    if app.catalog.get(call.tenant, Variable, name) is not None:
        raise invalid(f"Variable {name} already exists.")
    return Variable(
        name=name,
        data_type=data_type,
        data_source=data_source,
        default_value=entry["defaultValue"],
        variable_type=canonical_type,
        description=entry.get("description"),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )


def _view(app: App, tenant: Tenant, variable: Variable) -> Response:
    return described(
        tenant,
        variable,
        name=variable.name,
        dataType=variable.data_type,
        dataSource=variable.data_source,
        defaultValue=variable.default_value,
        variableType=variable.variable_type,
    )


def _create(app: App, call: Call, entry: Mapping[str, Any], request: Request, now_ms: int) -> None:
    new = _new_variable(app, call, entry, now_ms)
    create(app, call, new, request)
    variable_made(app, call, new, now_ms)


def create_variable(app: App, call: Call, request: Request) -> Response:
    """Create one variable."""
    with change(app, call) as now_ms:
        _create(app, call, request, request, now_ms)
    return {}


def batch_create_variable(app: App, call: Call, request: Request) -> Response:
    """Create up to 25 variables; each entry that fails is reported, the others are created."""
    checked_tags(request.get("tags", ()))
    errors: list[Response] = []
    with change(app, call) as now_ms:
        for entry in request["variableEntries"]:
            try:
                _create(app, call, entry, request, now_ms)
            except ServiceError as fault:
                named = {"name": entry["name"]} if entry.get("name") is not None else {}
                errors.append({**named, "code": fault.status, "message": fault.message})
    return {"errors": errors}


def batch_get_variable(app: App, call: Call, request: Request) -> Response:
    """Up to 100 variables by name; each missing one is reported."""
    variables, errors = [], []
    for name in dict.fromkeys(request["names"]):
        found = app.catalog.get(call.tenant, Variable, name)
        if found is not None:
            variables.append(_view(app, call.tenant, found))
        else:
            errors.append({"name": name, "code": 404, "message": missing(Variable, name)})
    return {"variables": variables, "errors": errors}


_LISTING = Listing("GetVariables", Variable, "name", "variables", 100, _view)


def get_variables(app: App, call: Call, request: Request) -> Response:
    """One variable or all, by name; score variables included."""
    return _LISTING.answer(app, call, request)


def update_variable(app: App, call: Call, request: Request) -> Response:
    """Change default value or description, or give a variable its type; what is omitted stays."""
    with change(app, call) as now_ms:
        known = require(app, call.tenant, Variable, request["name"])
        default = request.get("defaultValue", known.default_value)
        _check_default(known.name, default, known.data_type)
        _bounded(known.name, "description", request.get("description"))
        wanted_type = variable_type(request.get("variableType")) or known.variable_type
        if known.variable_type not in (None, wanted_type):
            raise invalid(
                f"Variable {known.name} has variable type {known.variable_type}, which cannot be changed."
            )
        update(
            app,
            call,
            known,
            now_ms,
            default_value=default,
            variable_type=wanted_type,
            description=request.get("description", known.description),
        )
    return {}


def delete_variable(app: App, call: Call, request: Request) -> Response:
    """Delete a variable that no event type, model or rule uses."""
    with change(app, call) as now_ms:
        known = app.catalog.get(call.tenant, Variable, request["name"])
        if known is not None:
            user = variable_user(app, call.tenant, known)
            if user is not None:
                raise in_use(known, user)
            variable_gone(app, call, known, now_ms)
            remove(app, call, known)
    return {}


VARIABLE_OPERATIONS = [
    Operation("BatchCreateVariable", batch_create_variable),
    Operation("BatchGetVariable", batch_get_variable),
    Operation("CreateVariable", create_variable),
    Operation("GetVariables", get_variables),
    Operation("UpdateVariable", update_variable),
    Operation("DeleteVariable", delete_variable),
]
