"""DETECTORPL, the rule language: check, compile, interpret, explain.

`check` parses an expression and gives it types; `compile_rules` makes one function of all rules of a detector
version; `interpret` is the oracle that the compiler is tested against.
"""

from hawksnest.kernel.lang.checker import MAX_LISTS, CheckedRule, Scope, check
from hawksnest.kernel.lang.compiler import RuleSet, Trace, compile_rules
from hawksnest.kernel.lang.explain import expression_with_values
from hawksnest.kernel.lang.fault import Fault
from hawksnest.kernel.lang.functions import FUNCTIONS, Function
from hawksnest.kernel.lang.interpreter import interpret
from hawksnest.kernel.lang.parser import MAX_DEPTH, MAX_LENGTH
from hawksnest.kernel.lang.tree import print_rule
from hawksnest.kernel.lang.value import normalise_elements

__all__ = [
    "FUNCTIONS",
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MAX_LISTS",
    "CheckedRule",
    "Fault",
    "Function",
    "RuleSet",
    "Scope",
    "Trace",
    "check",
    "compile_rules",
    "expression_with_values",
    "interpret",
    "normalise_elements",
    "print_rule",
]
