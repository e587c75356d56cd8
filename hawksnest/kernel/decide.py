"""Rules of a detector version in order, FIRST_MATCHED or ALL_MATCHED, to outcomes and a trace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from hawksnest.kernel.events import Value
from hawksnest.kernel.lang import CheckedRule, Fault, compile_rules

NOT_EVALUATED: Final = 0
NOT_MATCHED: Final = 1
MATCHED: Final = 2
FAILED: Final = 3

_MODES: Final = ("FIRST_MATCHED", "ALL_MATCHED")
_MAX_KNOWN: Final = 256


@dataclass(frozen=True)
class DecisionRule:
    """One rule version of a detector version."""

    rule_id: str
    rule_version: str
    outcomes: tuple[str, ...]
    checked: CheckedRule


class Decision(NamedTuple):
    """What the rules said about one event. Equal decisions share their lists: nobody may change them.

    `trace` has one entry a rule, in the detector version's order, made by the decider's `line` of id,
    version, state (0 not evaluated, 1 not matched, 2 matched, 3 failed) and why it failed. `results` has the
    matched rules with their outcomes.
    """

    trace: list[Any]
    results: list[tuple[str, list[str]]]


class TraceLine(NamedTuple):
    """What one rule did, where the caller has no form of its own for it."""

    rule_id: str
    rule_version: str
    state: int
    fault: str


class Decider:
    """The compiled rules of a detector version; safe to share between threads."""

    def __init__(
        self,
        rules: Sequence[DecisionRule],
        execution_mode: str,
        line: Callable[[str, str, int, str], Any] = TraceLine,
    ) -> None:
        assert execution_mode in _MODES, "unknown rule execution mode"
        self._rules = tuple(rules)
        self._line = line
        checked = [rule.checked for rule in self._rules]
        self._evaluate = compile_rules(checked, first_matched=execution_mode == "FIRST_MATCHED").evaluate
        # Few combinations of states occur in practice.
        self._known: dict[tuple[int | Fault, ...], Decision] = {}

    def decide(
        self, values: Mapping[str, Value], lists: Mapping[str, frozenset[str]], now_ms: int
    ) -> Decision:
        """Evaluate the rules on typed values, normalised lists and one instant. Total: never raises.

        A rule that fails counts as not matched; its trace says why.
        """
        states = tuple(self._evaluate(values, lists, now_ms))
        known = self._known.get(states)
        if known is None:
            known = self._decision(states)
            if len(self._known) < _MAX_KNOWN:
                self._known[states] = known
        return known

    def _decision(self, states: tuple[int | Fault, ...]) -> Decision:
        trace: list[Any] = []
        results: list[tuple[str, list[str]]] = []
        for rule, state in zip(self._rules, states, strict=True):
            number, text = (state, "") if isinstance(state, int) else state
            trace.append(self._line(rule.rule_id, rule.rule_version, number, text))
            if number == MATCHED:
                results.append((rule.rule_id, list(rule.outcomes)))
        return Decision(trace, results)
