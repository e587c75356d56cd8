"""Rules: CreateRule, GetRules, UpdateRuleVersion, UpdateRuleMetadata, DeleteRule."""

from typing import Any

from hawksnest.app import App, Call, Operation, Request, Response
from hawksnest.catalog import Detector, EventType, ListContent, Outcome, Rule, Tenant, ValueList, Variable
from hawksnest.errors import RuleError, invalid
from hawksnest.kernel.lang import CheckedRule, Scope, check
from hawksnest.ops.changes import change, create, remove, update
from hawksnest.ops.describe import described, missing, require
from hawksnest.ops.limits import LISTS_PER_RULE, VERSION_NUMBER
from hawksnest.ops.paging import Pages
from hawksnest.ops.references import in_use, rule_user

LANGUAGE = "DETECTORPL"
_PAGES = Pages("GetRules", 100)


def rule_scope(app: App, tenant: Tenant, detector: Detector) -> Scope:
    """What rules of the detector may name: variables of its event type, score variables, lists."""
    event_type = require(app, tenant, EventType, detector.event_type)
    own = set(event_type.event_variables)
    return Scope(
        variables={
            variable.name: variable.data_type
            for variable in app.catalog.list(tenant, Variable)
            if variable.name in own or variable.data_source != "EVENT"
        },
        lists={
            each.name: each.variable_type or "FREE_FORM_TEXT" for each in app.catalog.list(tenant, ValueList)
        },
    )


def _checked(app: App, tenant: Tenant, detector: Detector, expression: str) -> CheckedRule:
    """Raises ValidationException with place and hint, never with the expression."""
    try:
        checked = check(expression, rule_scope(app, tenant, detector))
    except RuleError as fault:
        raise invalid(f"The rule expression cannot be used: {fault}") from None
    if len(checked.lists) > LISTS_PER_RULE:
        raise invalid(
            f"The rule expression uses {len(checked.lists)} lists; at most {LISTS_PER_RULE} are accepted."
        )
    for name in sorted(checked.lists):
        content = app.catalog.get(tenant, ListContent, name)
        if content is None or not content.elements:
            raise invalid(f"List {name} has no entries; add some before a rule uses it.")
    return checked


def _outcomes(app: App, tenant: Tenant, given: list[str]) -> tuple[str, ...]:
    outcomes = tuple(dict.fromkeys(given))
    for name in outcomes:
        if app.catalog.get(tenant, Outcome, name) is None:
            raise invalid(missing(Outcome, name))
    return outcomes


def _new_version(
    app: App, call: Call, detector: Detector, rule_id: str, incarnation: int, request: Request, now_ms: int
) -> Response:
    """Check and store the next version of a rule. A number is never used twice while the rule lives."""
    outcomes = _outcomes(app, call.tenant, request["outcomes"])
    checked = _checked(app, call.tenant, detector, request["expression"])
    number = app.catalog.next_number(call.tenant, f"rule/{detector.detector_id}/{rule_id}/{incarnation}")
    if number > VERSION_NUMBER:
        raise invalid(f"Rule {rule_id} has used all its {VERSION_NUMBER} versions; create another rule.")
    new = Rule(
        detector_id=detector.detector_id,
        rule_id=rule_id,
        rule_version=str(number),
        expression=request["expression"],
        outcomes=outcomes,
        variables=tuple(sorted(checked.variables)),
        lists=tuple(sorted(checked.lists)),
        incarnation=incarnation,
        description=request.get("description"),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    create(app, call, new, request)
    return {"rule": {"detectorId": detector.detector_id, "ruleId": rule_id, "ruleVersion": str(number)}}


def create_rule(app: App, call: Call, request: Request) -> Response:
    """Create version 1 of a rule inside a detector."""
    detector_id, rule_id, tenant = request["detectorId"], request["ruleId"], call.tenant
    with change(app, call) as now_ms:
        detector = app.catalog.get(tenant, Detector, detector_id)
        if detector is None:
            raise invalid(missing(Detector, detector_id))
        if app.catalog.list(tenant, Rule, detector_id, rule_id):
            raise invalid(
                f"Rule {rule_id} of detector {detector_id} already exists; UpdateRuleVersion adds a version."
            )
        incarnation = app.catalog.next_number(tenant, f"rule-incarnation/{detector_id}/{rule_id}")
        return _new_version(app, call, detector, rule_id, incarnation, request, now_ms)


def _view(tenant: Tenant, rule: Rule) -> dict[str, Any]:
    return described(
        tenant,
        rule,
        ruleId=rule.rule_id,
        detectorId=rule.detector_id,
        ruleVersion=rule.rule_version,
        expression=rule.expression,
        language=LANGUAGE,
        outcomes=list(rule.outcomes),
    )


def _mark(rule: Rule) -> tuple[str, int]:
    return rule.rule_id, int(rule.rule_version)


def get_rules(app: App, call: Call, request: Request) -> Response:
    """Rule versions: all of a detector, all of a rule, or one; an unknown rule id alone gives none."""
    detector_id, rule_id, version = request["detectorId"], request.get("ruleId"), request.get("ruleVersion")
    if version is not None and rule_id is None:
        raise invalid("ruleVersion needs a ruleId.")
    require(app, call.tenant, Detector, detector_id)
    if rule_id is not None and version is not None:
        rule = require(app, call.tenant, Rule, detector_id, rule_id, version)
        return {"ruleDetails": [_view(call.tenant, rule)]}
    prefix = (detector_id,) if rule_id is None else (detector_id, rule_id)
    rules = sorted(app.catalog.list(call.tenant, Rule, *prefix), key=_mark)
    shown, more = _PAGES.page(app, call, request, rules, _mark)
    return {"ruleDetails": [_view(call.tenant, rule) for rule in shown], **more}


def _key(request: Request) -> tuple[str, str, str]:
    rule = request["rule"]
    return rule["detectorId"], rule["ruleId"], rule["ruleVersion"]


def update_rule_version(app: App, call: Call, request: Request) -> Response:
    """Create the next version of a rule; the old ones stay as they are."""
    with change(app, call) as now_ms:
        known = require(app, call.tenant, Rule, *_key(request))
        detector = require(app, call.tenant, Detector, known.detector_id)
        return _new_version(app, call, detector, known.rule_id, known.incarnation, request, now_ms)


def update_rule_metadata(app: App, call: Call, request: Request) -> Response:
    """Change the description of a rule version, whether in use or not."""
    with change(app, call) as now_ms:
        known = require(app, call.tenant, Rule, *_key(request))
        update(app, call, known, now_ms, description=request["description"])
    return {}


def delete_rule(app: App, call: Call, request: Request) -> Response:
    """Delete a rule version that no ACTIVE or INACTIVE detector version uses."""
    with change(app, call):
        known = app.catalog.get(call.tenant, Rule, *_key(request))
        if known is not None:
            user = rule_user(app, call.tenant, known)
            if user is not None:
                raise in_use(known, user)
            remove(app, call, known)
    return {}


RULE_OPERATIONS = [
    Operation("CreateRule", create_rule),
    Operation("GetRules", get_rules),
    Operation("UpdateRuleVersion", update_rule_version),
    Operation("UpdateRuleMetadata", update_rule_metadata),
    Operation("DeleteRule", delete_rule),
]
