"""Generated rules: compiler and oracle agree, printing is stable, and hostile text gets a RuleError."""

import sys
from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

import pytest
import re2

from hawksnest.errors import RuleError
from hawksnest.kernel.lang import (
    CheckedRule,
    Fault,
    Scope,
    check,
    compile_rules,
    interpret,
    normalise_elements,
    print_rule,
)
from hawksnest.kernel.lang.pattern import plain
from hawksnest.world import seeded

SCOPE = Scope(
    {
        **dict.fromkeys(("f", "g", "m_insightscore"), "FLOAT"),
        **dict.fromkeys(("i", "j", "k"), "INTEGER"),
        **dict.fromkeys(("s", "t", "ip"), "STRING"),
        **dict.fromkeys(("b", "c"), "BOOLEAN"),
        **dict.fromkeys(("d", "e"), "DATETIME"),
    },
    {"words": "CATEGORICAL", "ips": "IP_ADDRESS", "none": "CATEGORICAL"},
)
NOW_MS = 1_704_067_200_000
INTEGERS = (0, 1, -1, 2, 7, -7, 100, 2**53 + 1, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 0.1, 1.0, 2.5, -7.0, 120.5, 1e-300, 1e200, -1.7e308, float(2**53))
TEXTS = (
    "",
    "a",
    "us",
    "US",
    "True",
    "false",
    "a@x.com",
    "a\nb",
    "ä",
    "İstanbul",
    "\ud800",
    "[",
    "a.*",
    "+1 5",
)
INSTANTS = ("2024-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2024-02-30T00:00:00Z", "0001-01-01T00:00:00Z")
ADDRESSES = ("192.0.2.1", "::ffff:192.0.2.1", "2001:DB8::1", "2001:db8:0::1", "nowhere")
PATTERNS = (
    *("a", "a.*", ".*a", ".*a.*", ".*", "", "a|us", "(?i)us", "^u", "^u.*", ".*\\.com$", ".*@(x|y)\\.com"),
    *("[a-z]+", "\\d*", ".", "(?s).*", "(us|US)", "\\+1.*", "[.]", "a$", "\\x{e4}", "a\nb", "a\n.*"),
)
LISTS = {
    "words": normalise_elements(["us", "a", "True"], "CATEGORICAL"),
    "ips": normalise_elements(ADDRESSES[1:3], "IP_ADDRESS"),
    "none": frozenset[str](),
}


class Generator:
    """Text of well-typed rules, all operators and functions in all nestings, from one seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def one(self, *texts: str) -> str:
        return self._random.choice(texts)

    def rule(self) -> str:
        return self.boolean(self._random.randint(1, 4))

    def boolean(self, depth: int) -> str:
        if depth <= 0:
            return self.one("$b", "$c", "true", "false", "$i > 1", "$f <= 2.5", '$s == "us"', "$t != null")
        shape = self._random.randrange(14)
        if shape < 4:
            return self._joined(depth)
        if shape == 4:
            return (
                f"!{self.one('$b', '$c', 'true')}"
                if self._random.random() < 0.1
                else f"!({self.boolean(depth - 1)})"
            )
        if shape < 8:
            operator = self.one("==", "!=", "<", "<=", ">", ">=")
            return f"{self.number(depth - 1)} {operator} {self.number(depth - 1)}"
        return (self._equality, self._member, self._listed, self._instants, self._match, self._null)[
            shape - 8
        ](depth)

    def _joined(self, depth: int) -> str:
        word = self.one(" and ", " or ")
        parts = [self.boolean(depth - 1) for _ in range(self._random.randint(2, 3))]
        return word.join(f"({part})" if self._random.random() < 0.6 else part for part in parts)

    def _equality(self, depth: int) -> str:
        operator = self.one("==", "!=")
        left, right = self._random.choice(
            (
                (self.text(depth), self.text(depth)),
                (f"({self.boolean(depth - 1)})", self.one('"True"', '"false"', '"no"', "true", "$b", "$s")),
                (self.one('"TRUE"', "$t", "$c"), f"({self.boolean(depth - 1)})"),
                (self.one("$d", "$e", "getcurrentdatetime()"), self.instant()),
            )
        )
        return f"{left} {operator} {right}"

    def _member(self, depth: int) -> str:
        word = self.one("in", "not in")
        value, elements = self._random.choice(
            (
                (self.number(depth - 1), "[0, 7.0, -7, 2.5, 9007199254740993]"),
                (self.text(depth), '["us", "a", ""]'),
                (f"({self.boolean(depth - 1)})", self.one("[true]", '["False", "maybe"]')),
                ("$d", '["2024-01-01T00:00:00Z"]'),
                ("null", "[1]"),
            )
        )
        return f"{value} {word} {elements}"

    def _listed(self, depth: int) -> str:
        value = self.one("$ip", self.text(depth), '"192.0.2.1"', "lowercase($ip)", "null")
        return f"{value} {self.one('in', 'not in')} {self.one('@words', '@ips', '@none')}"

    def _instants(self, depth: int) -> str:
        first, second = self.instant(), self.instant()
        if self._random.random() < 0.3:
            return f"$d {self.one('<', '>=', '>', '<=')} {second}"
        return f"{self.one('isbefore', 'isafter')}({first}, {second})"

    def _match(self, depth: int) -> str:
        pattern = self.one(*(f'"{each}"' for each in PATTERNS))
        if self._random.random() < 0.2:
            pattern = self.one("$s", "lowercase($t)", "null")
        return f"regex_match({pattern}, {self.text(depth)})"

    def _null(self, depth: int) -> str:
        operand = self.one(
            "$f", "$i", "$s", "$b", "$d", self.text(depth), "null", f"({self.number(depth - 1)})"
        )
        operator = self.one("==", "!=")
        return f"{operand} {operator} null" if self._random.random() < 0.7 else f"null {operator} {operand}"

    def number(self, depth: int) -> str:
        if depth <= 0:
            literal = str(self._random.choice((*INTEGERS[:-2], *FLOATS)))
            return self.one("$f", "$g", "$i", "$j", "$k", "$m_insightscore", literal)
        shape = self._random.randrange(8)
        if shape == 0:
            return f"-{self.number(0)}"
        if shape == 1:
            return f"getepochmilliseconds({self.instant()})"
        if shape == 2:
            return f"({self.number(depth - 1)})"
        parts = [self.number(depth - 1) for _ in range(self._random.randint(2, 3))]
        return "".join(f"{part} {self.one('+', '-', '*', '/', '%')} " for part in parts[:-1]) + parts[-1]

    def text(self, depth: int) -> str:
        inner = self.one("$s", "$t", '"us"', '"US"', '"a@x.com"', '"İ"', '"a\\"b"')
        return f"{self.one('lowercase', 'uppercase')}({inner})" if self._random.random() < 0.3 else inner

    def instant(self) -> str:
        return self.one(
            "$d", "$e", "getcurrentdatetime()", '"2024-01-01T00:00:00Z"', "$s", "uppercase($t)", "null"
        )

    def values(self) -> dict[str, object]:
        """Values of the declared types: ordinary, extreme, null, and sometimes none at all."""
        kinds = {
            "FLOAT": FLOATS,
            "INTEGER": INTEGERS,
            "STRING": (*TEXTS, *INSTANTS, *ADDRESSES, *PATTERNS, "x" * 1025, "(a{1,99}){1,9}"),
            "BOOLEAN": (True, False),
            "DATETIME": (NOW_MS, 0, -1_000, NOW_MS - 1),
        }
        chosen: dict[str, object] = {}
        for name, data_type in SCOPE.variables.items():
            if self._random.random() < 0.97:
                value = self._random.choice(kinds[data_type])
                chosen[name] = None if self._random.random() < 0.12 else value
        return chosen


def state_of(rule: CheckedRule, values: dict[str, object]) -> int | Fault:
    result = interpret(rule, values, LISTS, NOW_MS)  # type: ignore[arg-type]
    return result if isinstance(result, Fault) else 1 + result


def first_matched(states: list[int | Fault]) -> list[int | Fault]:
    """What FIRST_MATCHED makes of the states of all rules."""
    if 2 not in states:
        return states
    end = states.index(2) + 1
    return states[:end] + [0] * (len(states) - end)


def agreement(seed: int, count: int) -> Counter[str]:
    """Generate `count` rules, eight a detector, evaluate each on six events by both; count the states."""
    generator = Generator(seeded(seed))
    seen: Counter[str] = Counter()
    for _ in range(count // 8):
        rules = [check(generator.rule(), SCOPE) for _ in range(8)]
        for rule in rules:
            again = check(print_rule(rule.tree), SCOPE)
            assert again.tree == rule.tree, rule.expression
            assert print_rule(again.tree) == print_rule(rule.tree)
        every, first = compile_rules(rules, False), compile_rules(rules, True)
        for _ in range(6):
            values = generator.values()
            expected = [state_of(rule, values) for rule in rules]
            context = [(rule.expression, state) for rule, state in zip(rules, expected, strict=True)], values
            assert every.evaluate(values, LISTS, NOW_MS) == expected, context  # type: ignore[arg-type]
            assert first.evaluate(values, LISTS, NOW_MS) == first_matched(expected), context  # type: ignore[arg-type]
            seen.update(state.text if isinstance(state, Fault) else str(state) for state in expected)
    return seen


def assert_all_kinds(seen: Counter[str]) -> None:
    """A generator that makes only one kind of outcome would prove nothing."""
    total = seen.total()
    assert seen["1"] > total / 5 and seen["2"] > total / 5
    assert len(seen) == 7, seen  # matched, not, and the five kinds of fault that typed values can give


def test_compiler_and_oracle_agree_on_generated_rules() -> None:
    assert_all_kinds(agreement(seed=1, count=2_000))


@pytest.mark.full
def test_compiler_and_oracle_agree_on_many_generated_rules() -> None:
    seen = agreement(seed=2, count=20_000)
    assert_all_kinds(seen)
    sys.stdout.write(f"\n20000 generated rules, {seen.total()} evaluations, 0 differences: {dict(seen)}\n")


def test_string_operations_mean_what_re2_means() -> None:
    parts = (
        "",
        ".*",
        "^",
        "$",
        "a",
        "\\.",
        "b",
        "(a|b)",
        "(?:ab|)",
        "|",
        "[.]",
        "[a]",
        "+",
        "\n",
        "\\n",
        "\\+",
    )
    alphabet = ("", "a", "b", "ab", ".", "+", "\n", "a.", "ba", "\n\n", "aa", "a\n", ".b", "é", "|")
    texts = sorted({"".join(parts) for parts in product(alphabet, repeat=2)} | {"ab.ba", "\ud800"})
    options = re2.Options()
    options.log_errors = False
    scope = Scope({"x": "STRING"}, {})
    simplified = 0
    for pattern in sorted({"".join(each) for each in product(parts, repeat=3)}):
        try:
            compiled = re2.compile(pattern, options)
        except re2.error:
            continue
        if plain(pattern) is None:
            continue
        simplified += 1
        evaluate = compile_rules([check(f'regex_match("{pattern}", $x)', scope)], False).evaluate
        for text in texts:
            (state,) = evaluate({"x": text}, {}, 0)
            wanted = compiled.fullmatch(text.replace("\ud800", "\ufffd")) is not None
            assert state == 1 + wanted, (pattern, text)
    assert simplified > 500


def mutated(random: Random, text: str) -> str:
    """Cut, copy, swap and insert: near misses of rules rather than noise."""
    scraps = (
        "(",
        ")",
        '"',
        "'",
        "\\",
        "!",
        "not",
        "$",
        "@",
        "[",
        "]",
        "=",
        "#",
        "\n",
        " ",
        "in",
        "1",
        "1e999",
    )
    characters = list(text)
    for _ in range(random.randint(1, 2)):
        at = random.randrange(len(characters) + 1)
        match random.randrange(5):
            case 0:
                del characters[at : at + random.randint(1, 4)]
            case 1:
                characters[at:at] = list(random.choice(scraps))
            case 2:
                characters[at:at] = characters[at : at + random.randint(1, 20)] * random.randint(1, 3)
            case 3:
                characters[at : at + 1] = chr(random.choice((0, 0x7F, 0xA0, 0x201C, 0xD800, 0x1F600)))
            case _:
                characters.reverse() if random.random() < 0.05 else characters.append(random.choice(scraps))
    return "".join(characters)


def fuzz(seed: int, count: int) -> Counter[str]:
    random = seeded(seed)
    generator = Generator(random)
    golden = [path.read_text().split("\n---\n", 1)[1] for path in sorted(GOLDEN.glob("*.rule"))]
    seen: Counter[str] = Counter()
    for _ in range(count):
        text = mutated(random, random.choice(golden) if random.random() < 0.5 else generator.rule())
        try:
            rule = check(text, SCOPE)
        except RuleError as error:
            assert error.message and 1 <= error.line <= text.count("\n") + 1 and error.column >= 1
            seen["refused"] += 1
            continue
        values = generator.values()
        (state,) = compile_rules([rule], True).evaluate(values, LISTS, NOW_MS)  # type: ignore[arg-type]
        assert state == state_of(rule, values), text
        assert check(print_rule(rule.tree), SCOPE).tree == rule.tree
        seen["accepted"] += 1
    return seen


GOLDEN = Path(__file__).parent.parent / "golden" / "rules"


def test_mutated_rules_are_refused_or_agree() -> None:
    seen = fuzz(seed=3, count=10_000)
    assert seen["accepted"] > 250 and seen["refused"] > 1_000


@pytest.mark.full
def test_many_mutated_rules_are_refused_or_agree() -> None:
    sys.stdout.write(f"\nmutated rules: {dict(fuzz(seed=4, count=50_000))}\n")
