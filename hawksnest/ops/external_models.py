"""External models: PutExternalModel, GetExternalModels, DeleteExternalModel."""

import re
from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import DetectorVersion, EventType, ExternalModel, Tenant, Variable
from hawksnest.errors import conflict, invalid
from hawksnest.external_form import CSV_FORMAT, Template
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import Listing, described, missing
from hawksnest.ops.limits import EXTERNAL_OUTPUTS, ROLE_ARN
from hawksnest.ops.references import external_model_user, in_use, output_user
from hawksnest.snapshot import TEMPLATES

_COLUMN = re.compile(r"(0|[1-9][0-9]{0,3})\Z")
_SCORE = "EXTERNAL_MODEL_SCORE"


def put_external_model(app: App, call: Call, request: Request) -> Response:
    """Register or change an endpoint of a model outside: what it is sent and what its answer fills."""
    endpoint, tenant = request["modelEndpoint"], call.tenant
    role = request["invokeModelEndpointRoleArn"]
    if len(role) > ROLE_ARN:
        raise invalid(f"invokeModelEndpointRoleArn is longer than {ROLE_ARN} characters.")
    with change(app, call) as now_ms:
        known = app.catalog.get(tenant, ExternalModel, endpoint)
        new = ExternalModel(
            model_endpoint=endpoint,
            model_source=request["modelSource"],
            role_arn=role,
            role_name=request.get("roleName"),
            status=request["modelEndpointStatus"],
            input_configuration=request["inputConfiguration"],
            output_configuration=request["outputConfiguration"],
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        _check_input(app, tenant, new)
        _check_output(app, tenant, new)
        if known is None:
            create(app, call, new, request)
            return {}
        _check_users(app, tenant, new)
        update(
            app,
            call,
            known,
            now_ms,
            **{
                name: getattr(new, name)
                for name in (
                    "model_source",
                    "role_arn",
                    "role_name",
                    "status",
                    "input_configuration",
                    "output_configuration",
                )
            },
        )
    return {}


def template_of(external: ExternalModel) -> Template | None:
    """The template that fills the input; None where the caller brings it."""
    given = external.input_configuration
    if not given["useEventVariables"]:
        return None
    return Template(given[TEMPLATES[given["format"]]], given["format"])


def _check_input(app: App, tenant: Tenant, external: ExternalModel) -> None:
    """Raises ValidationException unless format, template and event type fit together."""
    given = external.input_configuration
    name = given.get("eventTypeName")
    event_type = None if name is None else app.catalog.get(tenant, EventType, name)
    if name is not None and event_type is None:
        raise invalid(missing(EventType, name))
    if not given["useEventVariables"]:
        return
    if name is None and external.role_name is None:
        raise invalid("inputConfiguration.eventTypeName is missing; useEventVariables needs it.")
    if "format" not in given:
        raise invalid("inputConfiguration.format is missing; useEventVariables needs it.")
    member = TEMPLATES[given["format"]]
    if member not in given:
        raise invalid(f"inputConfiguration.{member} is missing; format {given['format']} needs it.")
    variables = {
        each.name: each.data_type
        for each in app.catalog.list(tenant, Variable)
        if each.data_source == "EVENT" and (event_type is None or each.name in event_type.event_variables)
    }
    template = template_of(external)
    assert template is not None
    for placeholder in template.names:
        if placeholder not in variables:
            place = "this account" if event_type is None else f"event type {event_type.name}"
            raise invalid(f"{member} names {{{{{placeholder[:100]}}}}}, which is no variable of {place}.")
    try:
        template.check(variables)
    except ValueError:
        raise invalid(f"{member} does not give JSON when its variables are filled in.") from None


def _check_output(app: App, tenant: Tenant, external: ExternalModel) -> None:
    """Raises ValidationException unless every output has a variable that may carry it."""
    outputs = external.outputs
    given = external.output_configuration
    if not outputs:
        member = "csvIndexToVariableMap" if given["format"] == CSV_FORMAT else "jsonKeyToVariableMap"
        raise invalid(f"outputConfiguration.{member} is missing or empty; format {given['format']} needs it.")
    if len(outputs) > EXTERNAL_OUTPUTS:
        raise invalid(f"{len(outputs)} outputs are mapped; at most {EXTERNAL_OUTPUTS} are accepted.")
    if len(set(outputs.values())) != len(outputs):
        raise invalid("Two outputs are mapped to the same variable.")
    for place, name in outputs.items():
        if given["format"] == CSV_FORMAT and not _COLUMN.match(place):
            raise invalid(
                f"csvIndexToVariableMap has the key '{place[:20]}'; keys are column indexes from 0."
            )
        variable = app.catalog.get(tenant, Variable, name)
        if variable is None:
            raise invalid(missing(Variable, name))
        if variable.data_source != _SCORE:
            raise invalid(
                f"Variable {name} has data source {variable.data_source}; outputs go to variables with "
                f"{_SCORE}."
            )


def _check_users(app: App, tenant: Tenant, new: ExternalModel) -> None:
    """Raises ConflictException when a detector version could not use the changed model any more."""
    user = external_model_user(app, tenant, new.model_endpoint)
    if user is None:
        return
    if new.status != "ASSOCIATED":
        raise conflict(f"Cannot dissociate external model {new.model_endpoint}: it is used by {user}.")
    known = app.catalog.get(tenant, ExternalModel, new.model_endpoint)
    assert known is not None
    before, after = known.input_configuration, new.input_configuration
    if before.get("eventTypeName") != after.get("eventTypeName"):
        raise conflict(
            f"Cannot change the event type of external model {new.model_endpoint}: it is used by {user}."
        )
    gone = set(known.outputs.values()) - set(new.outputs.values())
    for version in app.catalog.list(tenant, DetectorVersion):
        if new.model_endpoint in version.external_models:
            for name in sorted(gone):
                rule = output_user(app, tenant, name)
                if rule is not None:
                    raise conflict(
                        f"Cannot take output {name} from external model {new.model_endpoint}: {rule} uses it."
                    )


def _view(app: App, tenant: Tenant, external: ExternalModel) -> Response:
    shown: dict[str, Any] = described(
        tenant,
        external,
        modelEndpoint=external.model_endpoint,
        modelSource=external.model_source,
        invokeModelEndpointRoleArn=external.role_arn,
        inputConfiguration=external.input_configuration,
        outputConfiguration=external.output_configuration,
        modelEndpointStatus=external.status,
    )
    if external.role_name is not None:  # made through the preview API: with the members that it knew
        shown["role"] = {"arn": external.role_arn, "name": external.role_name}
        shown["inputConfiguration"] = {
            **external.input_configuration,
            "isOpaque": not external.input_configuration["useEventVariables"],
        }
    return shown


_LISTING = Listing("GetExternalModels", ExternalModel, "modelEndpoint", "externalModels", 10, _view)


def get_external_models(app: App, call: Call, request: Request) -> Response:
    """One external model or all, by endpoint name."""
    return _LISTING.answer(app, call, request)


def delete_external_model(app: App, call: Call, request: Request) -> Response:
    """Forget an endpoint that no detector version uses, and the variables that only it fills."""
    tenant = call.tenant
    with change(app, call):
        known = app.catalog.get(tenant, ExternalModel, request["modelEndpoint"])
        if known is None:
            return {}
        user = external_model_user(app, tenant, known.model_endpoint)
        others = {
            name
            for other in app.catalog.list(tenant, ExternalModel)
            if other.key != known.key
            for name in other.outputs.values()
        }
        going = [name for name in known.outputs.values() if name not in others]
        user = user or next((found for name in going if (found := output_user(app, tenant, name))), None)
        if user is not None:
            raise in_use(known, user)
        for name in going:
            variable = app.catalog.get(tenant, Variable, name)
            if variable is not None:
                remove(app, call, variable)
        remove(app, call, known)
    return {}


EXTERNAL_MODEL_OPERATIONS = [
    Operation("PutExternalModel", put_external_model),
    Operation("GetExternalModels", get_external_models),
    Operation("DeleteExternalModel", delete_external_model),
]
