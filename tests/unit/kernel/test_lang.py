"""The rule language: messages, functions, limits, lists, and values that are not what they should be."""

import doctest
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from hawksnest.errors import RuleError
from hawksnest.kernel.events import Value
from hawksnest.kernel.lang import (
    FUNCTIONS,
    MAX_DEPTH,
    MAX_LENGTH,
    CheckedRule,
    Fault,
    Scope,
    check,
    compile_rules,
    explain,
    expression_with_values,
    interpret,
    normalise_elements,
    pattern,
    print_rule,
    value,
)

SCOPE = Scope(
    {
        "amount": "FLOAT",
        "qty": "INTEGER",
        "country": "STRING",
        "email": "STRING",
        "zip": "STRING",
        "ip": "STRING",
        "flag": "BOOLEAN",
        "ts": "DATETIME",
        "signup": "DATETIME",
        "pay_insightscore": "FLOAT",
    },
    {"bad_ips": "IP_ADDRESS", "words": "CATEGORICAL", "more": "", "even_more": "CATEGORICAL"},
)
NOW_MS = 1_704_067_200_000


def result(
    expression: str,
    values: Mapping[str, Value] | None = None,
    lists: Mapping[str, frozenset[str]] | None = None,
) -> bool | str:
    """Whether the rule matches, or why it fails; compiler and oracle have to agree."""
    rule = check(expression, SCOPE)
    expected = interpret(rule, values or {}, lists or {}, NOW_MS)
    (state,) = compile_rules([rule], first_matched=True).evaluate(values or {}, lists or {}, NOW_MS)
    assert state == (expected if isinstance(expected, Fault) else 1 + expected)
    return expected.text if isinstance(expected, Fault) else expected


# (expression, line, column, part of the message, part of the hint)
REFUSED = (
    ('$country = "US"', 1, 10, "= is not an operator", "=="),
    ("$qty => 1", 1, 6, "=> is not an operator", ">="),
    ("$qty <> 1", 1, 6, "<> is not an operator", "!="),
    ("$country == 'US'", 1, 13, "Single quotes", "double quotes"),
    ("$country == “US”", 1, 13, "quotation mark", "double quotes"),
    ('not ($country == "US")', 1, 1, "not", "!("),
    ("$qty == 1 and not $flag", 1, 15, "not", "!("),
    ("$country not $email", 1, 10, "not", "not in"),
    ('endsWith($email, ".com")', 1, 1, "There is no function endsWith", "regex_match"),
    ('$email contains "x"', 1, 8, "no such operator", "regex_match"),
    ("exists($email)", 1, 1, "There is no function exists", "!= null"),
    ('lower($email) == "x"', 1, 1, "There is no function lower", "lowercase"),
    ("isbefor($ts, $ts)", 1, 1, "There is no function isbefor", "isbefore"),
    ("foobar($ts)", 1, 1, "There is no function foobar", "The functions are regex_match"),
    ("$qty == 1 && $qty == 2", 1, 11, "& is not an operator", "Use and"),
    ("$qty == 1 || $qty == 2", 1, 11, "| is not an operator", "Use or"),
    ("$qty == 1 AND $qty == 2", 1, 11, "Keywords are lower case", "and"),
    ("if $qty > 1 then true else false", 1, 1, "Statements do not exist", "no if"),
    ("$country is null", 1, 10, "is is not an operator", "== null"),
    ("$country == NULL", 1, 13, "null", "Write null"),
    ("$flag == True", 1, 10, "lower case", "true"),
    ("amount > 100", 1, 1, "amount is no keyword", "$amount"),
    ("$country == US", 1, 13, "US is no keyword", '"US"'),
    ("$Amount > 100", 1, 1, "lower case", "a to z"),
    ("$amont > 100", 1, 1, "no variable $amont", "Did you mean $amount?"),
    ("$xyzzy > 100", 1, 1, "no variable $xyzzy", "event type"),
    ("$ip in @bad_ipz", 1, 8, "no list @bad_ipz", "Did you mean @bad_ips?"),
    ("$ip in @nowhere", 1, 8, "no list @nowhere", "CreateList"),
    ("$ip == @bad_ips", 1, 8, "A list can follow only", "in @list"),
    ("$qty in [5, 10", 1, 15, "ends too early", "not closed"),
    ("$qty in []", 1, 10, "no element", "at least one"),
    ('$qty in [7, "7"]', 1, 13, "an INTEGER and a STRING", "one type"),
    ("$qty in (5, 10)", 1, 6, "`in` needs a list", "["),
    ("$qty in @words", 1, 1, "An INTEGER cannot be in a list", "$x in [5, 10]"),
    ("1 < $qty < 10", 1, 10, "cannot be chained", "and"),
    ("!$qty == 5", 1, 1, "! negates true and false", "!($x == 5)"),
    ("$zip == 12345", 1, 9, "A STRING is not compared with an INTEGER", '"12345"'),
    ('$qty == "5"', 1, 9, "An INTEGER is not compared with a STRING", "Write 5 without quotes"),
    ("$flag == 1", 1, 10, "A BOOLEAN is not compared with an INTEGER", "true"),
    ('$country < "ZZ"', 1, 1, "A STRING has no order", "=="),
    ('$country + "A" == "USA"', 1, 1, "+ needs a number, not a STRING", "FLOAT or INTEGER"),
    ("$ts + 1 > 2", 1, 1, "+ needs a number, not a DATETIME", "getepochmilliseconds"),
    ("$qty + null > 1", 1, 8, "+ needs a number, not null", "== null"),
    ("$amount + 1", 1, 1, "yields a FLOAT", "Compare it"),
    ("null", 1, 1, "yields null", ""),
    ("$amount and $flag", 1, 1, "and joins true and false, not a FLOAT", "$amount =="),
    ("regex_match($email)", 1, 1, "takes two arguments, not 1", "Example"),
    ("getcurrentdatetime(1) == $ts", 1, 1, "takes no arguments, not 1", "Example"),
    ('lowercase($qty) == "7"', 1, 11, "takes a STRING here, not an INTEGER", "Example"),
    ('isbefore("2019-11-30", $ts)', 1, 10, "not an instant", "2024-01-31T08:00:00Z"),
    ("isbefore($qty, $ts)", 1, 10, "takes an instant, not an INTEGER", "DATETIME"),
    ('$ts == "2024-13-01T00:00:00Z"', 1, 8, "not an instant", "UTC"),
    ('regex_match("(?!x)y", "y")', 1, 13, "not accepted", "Look-ahead"),
    ('regex_match("(a)\\1", "aa")', 1, 13, "not accepted", "Back-references"),
    ('regex_match("a*+", "aa")', 1, 13, "not accepted", "Possessive"),
    ('regex_match("a{1001}", "aa")', 1, 13, "not accepted", "1000"),
    ('regex_match("[", $email)', 1, 13, "not accepted", "RE2"),
    ('regex_match("(\\pL{1,9}){1,90}", $email)', 1, 13, "too large", ""),
    ("$qty > .5", 1, 8, "begins with a digit", "0.5"),
    ("$qty > 1,000", 1, 9, "comma", "no grouping"),
    ("$qty > 12abc", 1, 8, "not a number", "space"),
    ("$qty == 99999999999999999999", 1, 9, "64 bits", "point"),
    ("$amount > 1e999", 1, 11, "too large", ""),
    ("$qty == 5;", 1, 10, "; does not end", ""),
    ("$qty == 5)", 1, 10, ") does not fit", ""),
    ("$qty == 1 or", 1, 13, "ends too early", ""),
    ("and $qty == 1", 1, 1, "operand is missing", ""),
    ('$country == "US', 1, 13, "not closed", "quotes"),
    ("$qty == 1\n  and $qty ~ 2", 2, 12, "U+007E", ""),
    ("$qty == 1 # note = 'x'\nand\n$amont > 2", 3, 1, "no variable $amont", "$amount"),
    ("# only a comment", 1, 1, "no expression", ""),
    ("  \n ", 1, 1, "no expression", ""),
    ("", 1, 1, "empty", ""),
    ('$country == "\ud800"', 1, 14, "Unicode", ""),
)


@pytest.mark.parametrize(("expression", "line", "column", "message", "hint"), REFUSED)
def test_refusal_tells_place_reason_and_remedy(
    expression: str, line: int, column: int, message: str, hint: str
) -> None:
    with pytest.raises(RuleError) as caught:
        check(expression, SCOPE)
    error = caught.value
    assert (error.line, error.column) == (line, column), error
    assert message in error.message
    assert hint in error.hint
    assert f"(line {line}, column {column})" in str(error)


def test_message_does_not_repeat_the_expression() -> None:
    secret = "s3cr3t" * 20
    for text in (f'$country == "{secret}" and $qty == "{secret}"', f"$country == {secret}", f'"{secret}'):
        with pytest.raises(RuleError) as caught:
            check(text, SCOPE)
        assert secret not in str(caught.value)


def test_length_is_bounded() -> None:
    fits = "1 == 5"
    assert check(fits + " " * (MAX_LENGTH - len(fits)), SCOPE)
    with pytest.raises(RuleError, match="4097 characters"):
        check(fits + " " * (MAX_LENGTH - len(fits) + 1), SCOPE)


NESTED = (
    lambda levels: "(" * levels + "$flag" + ")" * levels,
    lambda levels: "!" * levels + "$flag",
    lambda levels: "-" * levels + "$qty == 1",
    lambda levels: "1" + "+1" * levels + " > 0",
    lambda levels: "lowercase(" * levels + "$zip" + ")" * levels + ' == "x"',
    lambda levels: "!(" * (levels // 2) + "$flag" + ")" * (levels // 2),
)


@pytest.mark.parametrize("nested", NESTED)
def test_depth_is_bounded_and_what_is_allowed_evaluates(nested) -> None:  # type: ignore[no-untyped-def]
    rule = check(nested(MAX_DEPTH - 2), SCOPE)
    assert check(print_rule(rule.tree), SCOPE).tree == rule.tree
    values: dict[str, Value] = {"flag": True, "qty": 1, "zip": "x"}
    (state,) = compile_rules([rule], True).evaluate(values, {}, NOW_MS)
    assert state == 1 + interpret(rule, values, {}, NOW_MS)
    for levels in (MAX_DEPTH + 2, 350, 2_000):
        if len(nested(levels)) <= MAX_LENGTH:
            with pytest.raises(RuleError, match="nested too deeply"):
                check(nested(levels), SCOPE)


@pytest.mark.parametrize("shape", ["(", "!", "-", "lowercase(", "$qty in [", '"', "[", "$qty ==", "1+"])
def test_hostile_text_is_refused(shape: str) -> None:
    with pytest.raises(RuleError):
        check((shape * MAX_LENGTH)[:MAX_LENGTH], SCOPE)


def test_long_chain_of_or_is_no_nesting() -> None:
    chain = " or ".join(f"$qty == {number}" for number in range(250))
    assert result(chain, {"qty": 249}) is True


def test_rule_may_use_three_lists() -> None:
    three = "$ip in @bad_ips or $zip in @words or $zip in @more"
    assert check(f"{three} or $ip in @bad_ips", SCOPE).lists == ("bad_ips", "words", "more")
    with pytest.raises(RuleError, match="one list too many"):
        check(f"{three} or $zip in @even_more", SCOPE)


def test_checked_rule_names_what_it_uses_and_is_frozen() -> None:
    rule = check('$qty > 1 and $zip in @words or $amount > $qty and "$country @more" != "x" # $email', SCOPE)
    assert (rule.variables, rule.lists) == (("qty", "zip", "amount"), ("words",))
    with pytest.raises(FrozenInstanceError):
        rule.expression = "1 == 1"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("expression", "warned"),
    [
        ('!$flag == "True"', True),
        ("!$flag in [true]", True),
        ('(!$flag) == "True"', False),
        ("!($qty == 5)", False),
        ('regex_match("^abc", $email)', True),
        ('regex_match("^abc.*", $email)', False),
        ('regex_match("^abc$", $email)', False),
        ('$flag == "yes"', True),
        ('$flag == "TRUE"', False),
        ("$qty > null", True),
        ("$qty == null", False),
    ],
)
def test_warnings(expression: str, warned: bool) -> None:
    assert bool(check(expression, SCOPE).warnings) is warned


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda function: function.name)
def test_example_of_each_function_is_a_rule(function) -> None:  # type: ignore[no-untyped-def]
    values: dict[str, Value] = {
        "email": "joe@example.com",
        "country": "US",
        "signup": NOW_MS - 1,
    }
    assert result(function.example, values) in (True, False)
    assert function.about.endswith(".")


def test_regex_match_is_on_the_whole_value_and_false_for_null() -> None:
    assert result('regex_match("mystring", $email)', {"email": "mystring"}) is True
    assert result('regex_match("mystring", $email)', {"email": "mystrings"}) is False
    assert result('regex_match(".*", $email)', {"email": None}) is False
    assert result('regex_match(".*com", $email)', {"email": "a\n.com"}) is False
    assert result('regex_match("(?s).*com", $email)', {"email": "a\n.com"}) is True


def test_computed_pattern_that_does_not_compile_is_a_fault() -> None:
    assert result("regex_match($zip, $email)", {"zip": "a+", "email": "aaa"}) is True
    assert "pattern" in str(result("regex_match($zip, $email)", {"zip": "[", "email": "aaa"}))
    assert "pattern" in str(result("regex_match($zip, $email)", {"zip": "a" * 1025, "email": "aaa"}))
    assert result("regex_match($zip, $email)", {"zip": None, "email": "aaa"}) is False


def test_regex_engine_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuleError):
        check('regex_match("(((", $email)', SCOPE)
    result("regex_match($zip, $email)", {"zip": "(?!a)", "email": "a"})
    assert capfd.readouterr() == ("", "")


def test_case_functions_and_null() -> None:
    assert result('lowercase($country) == "us"', {"country": "US"}) is True
    assert result('uppercase($country) == "STRASSE"', {"country": "straße"}) is True
    assert result("lowercase($country) == null", {"country": None}) is True


def test_instants_compare_as_instants() -> None:
    at_ms = 1_685_923_200_000
    assert result('$ts == "2023-06-05T00:00:00Z"', {"ts": at_ms}) is True
    assert result('$ts in ["2023-06-05T00:00:00Z"]', {"ts": at_ms}) is True
    assert result('$ts < "2023-06-05T00:00:01Z"', {"ts": at_ms}) is True
    assert result("isbefore($ts, $zip)", {"ts": at_ms, "zip": "2024-01-01T00:00:00Z"}) is True
    assert "not an instant" in str(result("isbefore($ts, $zip)", {"ts": at_ms, "zip": "tomorrow"}))
    assert result("isbefore($ts, $signup)", {"ts": at_ms}) is False
    assert result('getcurrentdatetime() == "2024-01-01T00:00:00Z"') is True


def test_numbers_overflow_into_a_fault_and_integers_do_not() -> None:
    assert result("$amount * $amount > 1", {"amount": 1e200}) == "the result is too large"
    assert result("1 / $amount > 1", {"amount": 1e-320}) == "the result is too large"
    assert result("$qty * $qty - $qty * $qty + 1 == 1", {"qty": 2**63 - 1}) is True
    assert result("$qty == 9007199254740993.0", {"qty": 2**53 + 1}) is False
    assert result("$amount % 0.0 == 1", {"amount": 1.0}) == "division by zero"
    assert result("-7.5 % 2 == -1.5") is True


def test_null_in_every_position() -> None:
    assert result("$amount > 1") is False
    assert result("!($amount > 1)") is True
    assert result("$amount <= $pay_insightscore") is False
    assert result("$amount == $pay_insightscore") is True
    assert result('$country in ["US"]') is False
    assert result("$country not in @words", {}, {"words": frozenset({"US"})}) is True
    assert result("-$amount < 1") == "arithmetic with null"
    assert result("$flag") is False
    assert result("!$flag") is True
    assert result("($flag and $flag) == false") is True
    assert result("$qty > 1 or $amount + 1 > 0", {"qty": 2}) is True


def test_lists_of_addresses_compare_addresses_and_others_text() -> None:
    addresses = normalise_elements(["::ffff:192.0.2.1", "2001:DB8:0::1", "not an ip"], "IP_ADDRESS")
    assert addresses == {"192.0.2.1", "2001:db8::1", "not an ip"}
    lists = {"bad_ips": addresses, "words": normalise_elements(["::1", "A"], "CATEGORICAL")}
    for text in ("192.0.2.1", "::ffff:c000:201", "2001:0db8::0001", "not an ip"):
        assert result("$ip in @bad_ips", {"ip": text}, lists) is True
        assert result("$ip not in @bad_ips", {"ip": text}, lists) is False
    assert result("$ip in @bad_ips", {"ip": "192.0.2.2"}, lists) is False
    assert result("$ip in @bad_ips", {"ip": "x" * 8192}, lists) is False
    assert result("$ip in @words", {"ip": "0::1"}, lists) is False
    assert result("$ip in @words", {"ip": "a"}, lists) is False
    assert result("$ip in @more", {"ip": "a"}, lists) is False  # missing is empty


def test_evaluation_is_total_on_values_of_the_wrong_type() -> None:
    expressions = (
        *("$amount > 1", "$amount * 2 > 1", "-$qty % 2 == 1", "$flag", "$ip in @bad_ips", "$zip in @words"),
        *('regex_match(".*a", $zip)', 'regex_match("(?i)a", $zip)', 'lowercase($zip) == "a"', "$qty in [1]"),
        *(
            "isbefore($ts, $zip)",
            "$ts < $signup",
            "getepochmilliseconds($zip) > 1",
            "regex_match($zip, $email)",
        ),
    )
    rules = [check(expression, SCOPE) for expression in expressions]
    for wrong in ("text", 5, 2.5, True, float("nan"), float("inf"), [], {}, object()):
        values = dict.fromkeys(SCOPE.variables, wrong)
        trace = compile_rules(rules, False).evaluate(values, {}, NOW_MS)  # type: ignore[arg-type]
        assert len(trace) == len(rules)


def test_names_in_a_rule_never_become_code() -> None:
    scope = Scope({"get": "STRING", "trace": "STRING", "__import__": "STRING", "v0": "FLOAT"}, {"values": ""})
    rule = check('$get == "x" or $trace in @values or $__import__ == "a" or $v0 > 1', scope)
    assert compile_rules([rule], True).evaluate({"v0": 2.0}, {}, NOW_MS) == [2]


def test_first_matched_stops_and_all_matched_goes_on() -> None:
    rules = [check(text, SCOPE) for text in ("$qty > 5", "1 / $qty > 0.5", "$qty < 2", "$qty == 1", "1 == 1")]
    first, every = compile_rules(rules, True), compile_rules(rules, False)
    assert first.evaluate({"qty": 1}, {}, NOW_MS) == [1, 2, 0, 0, 0]
    assert every.evaluate({"qty": 1}, {}, NOW_MS) == [1, 2, 2, 2, 2]
    assert first.evaluate({"qty": 0}, {}, NOW_MS) == [1, Fault(3, "division by zero"), 2, 0, 0]
    assert compile_rules([], True).evaluate({}, {}, NOW_MS) == []


def test_many_rules_compile_into_one_function() -> None:
    rules = [check(f"$qty == {number} and $amount > {number}", SCOPE) for number in range(1_000)]
    trace = compile_rules(rules, True).evaluate({"qty": 990, "amount": 1000.0}, {}, NOW_MS)
    assert trace.index(2) == 990 and trace[991:] == [0] * 9


def test_escapes_of_strings_reach_the_regex_engine() -> None:
    assert result('$zip == "a\\"b"', {"zip": 'a"b'}) is True
    assert result('$zip == "a\\.b"', {"zip": "a\\.b"}) is True
    assert result('regex_match("a\\\\b", $zip)', {"zip": "a\\b"}) is True
    assert result('$zip == "# no comment"', {"zip": "# no comment"}) is True


@pytest.mark.parametrize(
    ("expression", "canonical"),
    [
        ("(($qty)) ==1", "$qty == 1"),
        ("($qty+1)*2 - -3>0", "($qty + 1) * 2 - -3 > 0"),
        ("$qty - ($qty - 1) == 1", "$qty - ($qty - 1) == 1"),
        ('$flag or ($flag and !($flag == "True"))', '$flag or $flag and !($flag == "True")'),
        ("!$flag == true", "(!$flag) == true"),
        ("$qty not  in [ -1,2.50 ]", "$qty not in [-1, 2.5]"),
        ("- - 5 == 5 # five", "5 == 5"),
        ('lowercase( $zip )!="\\""', 'lowercase($zip) != "\\""'),
    ],
)
def test_canonical_text(expression: str, canonical: str) -> None:
    rule = check(expression, SCOPE)
    assert print_rule(rule.tree) == canonical
    assert check(canonical, SCOPE).tree == rule.tree


def test_expression_with_values_shows_what_the_rule_saw() -> None:
    text = '$amount > $qty and $country != "$qty" or $ts == null or $flag or $zip == $email # $qty'
    values: dict[str, Value] = {
        "amount": 120.5,
        "qty": -7,
        "country": 'U"S',
        "ts": 1_685_923_200_000,
        "flag": True,
        "zip": None,
    }
    shown = expression_with_values(check(text, SCOPE), values)
    assert shown == (
        '120.5 > -7 and "U\\"S" != "$qty" or "2023-06-05T00:00:00Z" == null or true or null == $email # $qty'
    )
    assert expression_with_values("$qty > 1", values) == "-7 > 1"
    assert expression_with_values("$ts == null", values, {"ts"}) == '"2023-06-05T00:00:00Z" == null'


def test_parsing_works_from_a_deep_stack() -> None:
    def deeper(levels: int) -> CheckedRule:
        return deeper(levels - 1) if levels else check("!(" * 49 + "$flag" + ")" * 49, SCOPE)

    rule = deeper((sys.getrecursionlimit() - 100) // 3)
    assert interpret(rule, {"flag": True}, {}, NOW_MS) is False


@pytest.mark.parametrize("module", [explain, pattern, value], ids=lambda module: module.__name__)
def test_documented_examples(module) -> None:  # type: ignore[no-untyped-def]
    failed, attempted = doctest.testmod(module)
    assert attempted and not failed


def test_reference_page_has_every_function_as_in_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
    for function in FUNCTIONS.values():
        assert f"| `{function.example}` | {function.about} |" in page
