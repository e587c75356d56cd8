"""Rules of a detector version in order, FIRST_MATCHED or ALL_MATCHED, to outcomes and a trace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hawksnest.kernel.events import Value
from hawksnest.kernel.lang import CheckedRule, compile_rules

NOT_EVALUATED: Final = 0
NOT_MATCHED: Final = 1
MATCHED: Final = 2
FAILED: Final = 3

_MODES: Final = ("FIRST_MATCHED", "ALL_MATCHED")


@dataclass(frozen=True)
class DecisionRule:
    """One rule version of a detector version."""

    rule_id: str
    rule_version: str
    outcomes: tuple[str, ...]
    checked: CheckedRule


@dataclass(frozen=True)
class Decision:
    """What the rules said about one event.

    `trace` has one entry a rule, in the detector version's order: id, version, state (0 not evaluated, 1 not
    matched, 2 matched, 3 failed) and why it failed. `results` has the matched rules with their outcomes.
    """

    trace: list[tuple[str, str, int, str]]
    results: list[tuple[str, list[str]]]


class Decider:
    """The compiled rules of a detector version; immutable."""

    def __init__(self, rules: Sequence[DecisionRule], execution_mode: str) -> None:
        assert execution_mode in _MODES, "unknown rule execution mode"
        self._rules = tuple(rules)
        self._evaluate = compile_rules(
            [rule.checked for rule in rules], first_matched=execution_mode == "FIRST_MATCHED"
        ).evaluate
        # Entries are made once: a decision only picks them.
        self._entries = tuple(
            tuple(
                (rule.rule_id, rule.rule_version, state, "")
                for state in (NOT_EVALUATED, NOT_MATCHED, MATCHED)
            )
            for rule in rules
        )

    def decide(
        self, values: Mapping[str, Value], lists: Mapping[str, frozenset[str]], now_ms: int
    ) -> Decision:
        """Evaluate the rules on typed values, normalised lists and one instant. Total: never raises.

        A rule that fails counts as not matched; its trace says why.
        """
        states = self._evaluate(values, lists, now_ms)
        trace: list[tuple[str, str, int, str]] = []
        results: list[tuple[str, list[str]]] = []
        for state, entries, rule in zip(states, self._entries, self._rules, strict=True):
            if isinstance(state, int):
                trace.append(entries[state])
                if state == MATCHED:
                    results.append((rule.rule_id, list(rule.outcomes)))
            else:
                trace.append((rule.rule_id, rule.rule_version, FAILED, state.text))
        return Decision(trace, results)
