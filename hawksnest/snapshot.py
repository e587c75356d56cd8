"""Immutable snapshots of what a decision needs: compiled rules, loaded models, schema and lists.

A snapshot is built whole from one revision of the tenant's catalogue and swapped whole: the call after a
change sees it. The event loop only peeks; building happens in a thread (an operation that finds nothing fresh
raises `Defer`).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hawksnest.catalog import (
    Detector,
    DetectorVersion,
    EventDeletion,
    EventType,
    ExternalModel,
    ListContent,
    ModelKey,
    ModelVersion,
    Rule,
    Tenant,
    ValueList,
    Variable,
)
from hawksnest.errors import RuleError, ServiceError, invalid, not_found
from hawksnest.external_form import InputVariable, Output, OutputField, Template
from hawksnest.kernel.decide import Decider, DecisionRule
from hawksnest.kernel.events import EventSchema, Value, VariableSpec, default_value
from hawksnest.kernel.lang import Scope, check, normalise_elements
from hawksnest.store.ports import Catalog
from hawksnest.store.records import RuleTrace
from hawksnest.store.sealing import Keyring

if TYPE_CHECKING:
    from hawksnest.ml.artefact import ServedModel

K = TypeVar("K")
V = TypeVar("V")

TEMPLATES = {"TEXT_CSV": "csvInputTemplate", "APPLICATION_JSON": "jsonInputTemplate"}
SNAPSHOTS_MAX = 4_096
MODELS_MAX = 64
BUILDS_MAX = 10  # of one snapshot while the catalogue keeps changing under it


@dataclass(frozen=True)
class EventTypeSnapshot:
    """One event type at one catalogue revision."""

    revision: int
    name: str
    schema: EventSchema
    entity_types: frozenset[str]
    labels: frozenset[str]
    ingestion: bool  # are its events stored
    specs: tuple[VariableSpec, ...]
    deleting: bool = False  # all its events are being deleted, so none are stored


@dataclass(frozen=True)
class ScoringModel:
    """A served model and the names under which its score appears."""

    model: "ServedModel"
    key: ModelKey
    score_name: str


@dataclass(frozen=True)
class ExternalScorer:
    """An external model of a detector version. `template` is None where the caller brings the input."""

    endpoint: str
    source: str
    template: Template | None
    output: Output


@dataclass(frozen=True)
class DetectorSnapshot:
    """One detector version, ready to decide."""

    revision: int
    detector_id: str
    version: str
    execution_mode: str
    event_type: EventTypeSnapshot
    decider: Decider
    models: tuple[ScoringModel, ...]
    score_defaults: dict[str, Value]  # of the models, and what else rules name beside the event's variables
    lists: dict[str, frozenset[str]]
    list_revisions: dict[str, int]
    externals: tuple[ExternalScorer, ...] = ()
    inputs: dict[str, InputVariable] = field(default_factory=dict)  # of the externals' templates


def variable_spec(variable: Variable) -> VariableSpec:
    """What evaluation needs of the resource."""
    return VariableSpec(
        variable.name,
        variable.data_type,
        default_value(variable.default_value, variable.data_type),
        variable.variable_type,
    )


class Snapshots:
    """Cache of snapshots by tenant; bounded, the one built longest ago goes first."""

    def __init__(self, catalog: Catalog, models: Path, keys: Keyring | None = None) -> None:
        """`models`: the folder of artefacts; `keys`: what sealed ones are opened with."""
        self._catalog = catalog
        self._models_folder = models
        self._keys = keys
        self._event_types: OrderedDict[tuple[Tenant, str], EventTypeSnapshot] = OrderedDict()
        self._detectors: OrderedDict[tuple[Tenant, str, str | None], DetectorSnapshot] = OrderedDict()
        self._models: OrderedDict[str, ServedModel] = OrderedDict()
        self._deciders: OrderedDict[object, Decider] = OrderedDict()
        self._lists: OrderedDict[tuple[Tenant, str], tuple[ListContent, str, frozenset[str]]] = OrderedDict()
        self._building = threading.Lock()

    def catalog_changed(self, tenant: Tenant) -> None:
        """A tenant's resources changed. Revisions tell already; nothing to do but to exist as the hook."""

    def peek_event_type(self, tenant: Tenant, name: str) -> EventTypeSnapshot | None:
        """The fresh snapshot if it is in memory; never touches the disk."""
        found = self._event_types.get((tenant, name))
        return found if found is not None and found.revision == self._catalog.revision(tenant) else None

    def peek(self, tenant: Tenant, detector_id: str, version: str | None) -> DetectorSnapshot | None:
        """The fresh snapshot of a version (None: the ACTIVE one) if in memory; never touches the disk."""
        found = self._detectors.get((tenant, detector_id, version))
        return found if found is not None and found.revision == self._catalog.revision(tenant) else None

    def event_type(self, tenant: Tenant, name: str) -> EventTypeSnapshot:
        """The fresh snapshot, built when needed. Raises ResourceNotFoundException."""
        found = self.peek_event_type(tenant, name)
        if found is None:
            with self._building:
                found = self.peek_event_type(tenant, name) or self._whole(
                    tenant, lambda: self._build_event_type(tenant, name)
                )
        return found

    def detector(self, tenant: Tenant, detector_id: str, version: str | None) -> DetectorSnapshot:
        """The fresh snapshot of a version, built when needed; None means the ACTIVE one.

        Raises ResourceNotFoundException when the detector or version is missing, ValidationException when
        its rules or models cannot be used any more.
        """
        found = self.peek(tenant, detector_id, version)
        if found is None:
            with self._building:
                found = self.peek(tenant, detector_id, version) or self._whole(
                    tenant, lambda: self._build(tenant, detector_id, version)
                )
        return found

    def load_model(self, tenant: Tenant, key: ModelKey) -> "ServedModel":
        """The artefact of a trained version, loaded once. Raises ValidationException when there is none, and
        another ServiceError when it is sealed with a data key that cannot be had."""
        resource = self._catalog.get(tenant, ModelVersion, *key)
        if resource is None or resource.artefact is None:
            raise invalid(f"Model version {key.model_id} {key.version} has no trained artefact.")
        found = self._models.get(resource.artefact)
        if found is None:
            from hawksnest.ml.artefact import load  # heavy (LightGBM): only where a model is served

            found = load(self._models_folder / resource.artefact, tenant, self._keys)
            _remember(self._models, resource.artefact, found, MODELS_MAX)
        return found

    def _whole(self, tenant: Tenant, build: Callable[[], V]) -> V:
        """What `build` makes, or the fault it finds, of one revision: again when a change came between."""
        for _ in range(BUILDS_MAX - 1):
            revision = self._catalog.revision(tenant)
            try:
                built = build()
            except (ServiceError, AssertionError):
                if revision == self._catalog.revision(tenant):
                    raise
            else:
                if revision == self._catalog.revision(tenant):
                    return built
        return build()

    def _build_event_type(self, tenant: Tenant, name: str) -> EventTypeSnapshot:
        revision = self._catalog.revision(tenant)
        resource = self._catalog.get(tenant, EventType, name)
        if resource is None:
            raise not_found(f"Event type {name} does not exist.")
        deletion = self._catalog.get(tenant, EventDeletion, name)
        deleting = deletion is not None and deletion.running
        specs = []
        for variable_name in resource.event_variables:
            variable = self._catalog.get(tenant, Variable, variable_name)
            assert variable is not None, "an event type's variables cannot be deleted"
            specs.append(variable_spec(variable))
        built = EventTypeSnapshot(
            revision=revision,
            name=name,
            schema=EventSchema(name, specs),
            entity_types=frozenset(resource.entity_types),
            labels=frozenset(resource.labels),
            ingestion=resource.event_ingestion == "ENABLED" and not deleting,
            specs=tuple(specs),
            deleting=deleting,
        )
        _remember(self._event_types, (tenant, name), built, SNAPSHOTS_MAX)
        return built

    def _build(self, tenant: Tenant, detector_id: str, version: str | None) -> DetectorSnapshot:
        revision = self._catalog.revision(tenant)
        detector = self._catalog.get(tenant, Detector, detector_id)
        if detector is None:
            raise not_found(f"Detector {detector_id} does not exist.")
        resource = self._version(tenant, detector_id, version)
        event_type = self.peek_event_type(tenant, detector.event_type) or self._build_event_type(
            tenant, detector.event_type
        )
        models = tuple(self._scoring_model(tenant, key) for key in resource.models)
        scores = {
            variable.name: variable
            for variable in self._catalog.list(tenant, Variable)
            if variable.data_source != "EVENT"
        }
        scored = {model.score_name for model in models}
        externals = tuple(self._external(tenant, name, scores) for name in resource.external_models)
        answered = {place.variable for each in externals for place in each.output.fields}
        rules = [self._rule(tenant, detector_id, *key) for key in resource.rules]
        lists = {name: self._catalog.get(tenant, ValueList, name) for rule in rules for name in rule.lists}
        scope = Scope(
            variables={spec.name: spec.data_type for spec in event_type.specs}
            | {name: variable.data_type for name, variable in scores.items()},
            lists={name: (each.variable_type or "FREE_FORM_TEXT") for name, each in lists.items() if each},
        )
        contents = {name: self._elements(tenant, name, scope.lists[name]) for name in scope.lists}
        built = DetectorSnapshot(
            revision=revision,
            detector_id=detector_id,
            version=resource.version,
            execution_mode=resource.execution_mode,
            event_type=event_type,
            decider=self._decider(rules, resource.execution_mode, scope),
            models=models,
            score_defaults={
                name: default_value(variable.default_value, variable.data_type)
                for name, variable in scores.items()
                if name not in answered and (name in scored or any(name in rule.variables for rule in rules))
            },
            lists={name: elements for name, (_, elements) in contents.items()},
            list_revisions={name: number for name, (number, _) in contents.items()},
            externals=externals,
            inputs=self._inputs(tenant, event_type) if externals else {},
        )
        self._forget_stale(tenant, revision)
        _remember(self._detectors, (tenant, detector_id, version), built, SNAPSHOTS_MAX)
        return built

    def _forget_stale(self, tenant: Tenant, revision: int) -> None:
        """Let go of the tenant's older snapshots, which nobody would be given any more, and their models."""
        stale = [
            key for key, each in self._detectors.items() if key[0] == tenant and each.revision < revision
        ]
        for key in stale:
            del self._detectors[key]

    def _version(self, tenant: Tenant, detector_id: str, version: str | None) -> DetectorVersion:
        if version is not None:
            resource = self._catalog.get(tenant, DetectorVersion, detector_id, version)
            if resource is None:
                raise not_found(f"Detector version {detector_id} {version} does not exist.")
            return resource
        for resource in self._catalog.list(tenant, DetectorVersion, detector_id):
            if resource.status == "ACTIVE":
                return resource
        raise not_found(f"Detector {detector_id} has no ACTIVE version; activate one or name a version.")

    def _rule(self, tenant: Tenant, detector_id: str, rule_id: str, rule_version: str) -> Rule:
        rule = self._catalog.get(tenant, Rule, detector_id, rule_id, rule_version)
        if rule is None:
            raise invalid(f"Rule {rule_id} version {rule_version} of detector {detector_id} was deleted.")
        return rule

    def _scoring_model(self, tenant: Tenant, key: ModelKey) -> ScoringModel:
        resource = self._catalog.get(tenant, ModelVersion, *key)
        if resource is None or resource.status != "ACTIVE":
            raise invalid(f"Model version {key.model_id} {key.version} is not ACTIVE.")
        return ScoringModel(
            model=self.load_model(tenant, key),
            key=key,
            score_name=f"{key.model_id}_insightscore",
        )

    def _external(self, tenant: Tenant, endpoint: str, scores: dict[str, Variable]) -> ExternalScorer:
        resource = self._catalog.get(tenant, ExternalModel, endpoint)
        if resource is None or resource.status != "ASSOCIATED":
            raise invalid(f"External model {endpoint} is not ASSOCIATED.")
        given = resource.input_configuration
        template = None
        if given["useEventVariables"]:
            template = Template(given[TEMPLATES[given["format"]]], given["format"])
        fields = [
            OutputField(place, name, scores[name].data_type)
            for place, name in resource.outputs.items()
            if name in scores
        ]
        output = Output(resource.output_configuration["format"], tuple(fields))
        return ExternalScorer(endpoint, resource.model_source, template, output)

    def _inputs(self, tenant: Tenant, event_type: EventTypeSnapshot) -> dict[str, InputVariable]:
        """The event type's variables as templates need them."""
        found: dict[str, InputVariable] = {}
        for spec in event_type.specs:
            variable = self._catalog.get(tenant, Variable, spec.name)
            if variable is not None:
                default = None if spec.default is None else variable.default_value
                found[spec.name] = InputVariable(spec.data_type, default)
        return found

    def _elements(self, tenant: Tenant, name: str, variable_type: str) -> tuple[int, frozenset[str]]:
        content = self._catalog.get(tenant, ListContent, name)
        if content is None:
            return 0, frozenset()
        cached = self._lists.get((tenant, name))
        if cached is None or cached[0] != content or cached[1] != variable_type:
            cached = (content, variable_type, normalise_elements(content.elements, variable_type))
            _remember(self._lists, (tenant, name), cached, SNAPSHOTS_MAX)
        return content.revision, cached[2]

    def _decider(self, rules: list[Rule], execution_mode: str, scope: Scope) -> Decider:
        """Compiled rules, kept over revisions: most catalogue changes do not touch them."""
        used = {name for rule in rules for name in rule.variables}
        identity = (
            tuple((rule.rule_id, rule.rule_version, rule.expression, rule.outcomes) for rule in rules),
            execution_mode,
            tuple(sorted((name, scope.variables.get(name)) for name in used)),
            tuple(sorted(scope.lists.items())),
        )
        found = self._deciders.get(identity)
        if found is None:
            lines = [_decision_rule(rule, scope) for rule in rules]
            found = Decider(lines, execution_mode, line=RuleTrace)
            _remember(self._deciders, identity, found, SNAPSHOTS_MAX)
        return found


def _decision_rule(rule: Rule, scope: Scope) -> DecisionRule:
    """Raises ValidationException when what the rule names is not there, or not of its type, any more."""
    try:
        checked = check(rule.expression, scope)
    except RuleError as fault:
        raise invalid(
            f"Rule {rule.rule_id} version {rule.rule_version} can't be used any more: {fault}"
        ) from None
    return DecisionRule(rule.rule_id, rule.rule_version, rule.outcomes, checked)


def _remember(cache: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
