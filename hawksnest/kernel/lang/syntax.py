"""What to say about a text that does not parse: where, what is wrong there, and what would be right.

The reader knows SQL, Java or Python better than this language; the tables below recognise what they write.
"""

import re
from typing import Final, NamedTuple

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from hawksnest.errors import RuleError

MATCH_HINT: Final = (
    'Use regex_match(pattern, value) on the whole value: regex_match(".*\\.com", $email) is "ends with", '
    'regex_match("abc.*", …) "starts with", regex_match(".*abc.*", …) "contains".'
)
_NO_STATEMENTS: Final = "A rule is one expression that is true or false; there is no if, then or else."


class _Habit(NamedTuple):
    """Something of another language, found at the place where the parser stopped."""

    pattern: re.Pattern[str]
    message: str
    hint: str


def _habit(pattern: str, message: str, hint: str) -> _Habit:
    return _Habit(re.compile(pattern), message, hint)


_AT: Final = (
    _habit(r"=>", "=> is not an operator", "Use >=."),
    _habit(r"=<", "=< is not an operator", "Use <=."),
    _habit(r"=", "= is not an operator", "Use == to compare."),
    _habit(r"<>", "<> is not an operator", "Use !=."),
    _habit(r"<<|>>", "Bit shifts do not exist", "Use < or >."),
    _habit(r"!", "! stands where an operator is expected", "Use != or `not in`."),
    _habit(r"'", "Single quotes do not delimit strings", 'Write the text in double quotes: "US".'),
    _habit(r"[\u2018-\u201f\u00ab\u00bb`\u00b4]", "Unknown quotation mark", 'Use plain double quotes: "US".'),
    _habit(
        r"\"",
        "The string is not closed or stands in the wrong place",
        'Check the quotes; \\" is a quote inside.',
    ),
    _habit(r"&", "& is not an operator", "Use and."),
    _habit(r"\|", "| is not an operator", "Use or."),
    _habit(r"not\s+in\b", "`not in` lacks a value before it", 'Write $variable not in ["A", "B"].'),
    _habit(r"(?i:not)\b", "not is no operator by itself", 'Negate with !, as in !($country == "US").'),
    _habit(
        r"(?!and\b|or\b|in\b|null\b)(?i:and|or|in|null)\b",
        "Keywords are lower case",
        "Write and, or, in, null.",
    ),
    _habit(r"(?:and|or|in)\b", "An operand is missing here", "Both sides of an operator are needed."),
    _habit(r"(?i:is)\b", "is is not an operator", "Test with == null or != null."),
    _habit(r"(?i:if|then|else|elif|when|case|return|end)\b", "Statements do not exist here", _NO_STATEMENTS),
    _habit(
        r"(?i:like|matches|contains|includes|startswith|starts_with|endswith|ends_with|starts|ends)\b",
        "There is no such operator",
        MATCH_HINT,
    ),
    _habit(r"(?i:between)\b", "between is not an operator", "Write $x >= 1 and $x <= 9."),
    _habit(r"(?i:mod|div)\b", "There is no such operator", "Use % or /."),
    _habit(r"\$\$|\$\{", "A variable is written as $name", "Remove what stands between $ and the name."),
    _habit(
        r"\$[A-Za-z0-9_]*[A-Z]",
        "Names of variables are lower case",
        "A name has a to z, 0 to 9 and _, and begins with a letter or _.",
    ),
    _habit(
        r"\$[A-Za-z0-9_]{101}", "The name of the variable is too long", "A name has at most 100 characters."
    ),
    _habit(r"\$[A-Za-z_]", "A variable stands where an operator is expected", "Put and, or, == … before it."),
    _habit(
        r"\$", "A variable needs a name", "A name has a to z, 0 to 9 and _, and begins with a letter or _."
    ),
    _habit(
        r"@[0-9a-z_]{1,64}(?![A-Za-z0-9_-])", "A list can follow only `in` or `not in`", "Write $x in @list."
    ),
    _habit(
        r"@", "That is not a name of a list", "A list's name has a to z, 0 to 9 and _, at most 64 of them."
    ),
    _habit(r"\[", "[…] can follow only `in` or `not in`", 'Write $x in ["A", "B"].'),
    _habit(r"\]", "The list has no element here", 'Write at least one literal: ["A", "B"].'),
    _habit(r"\*\*|\^", "There is no power operator", "Multiply instead."),
    _habit(r"//|/\*|--", "That is no comment", "A comment runs from # to the end of the line."),
    _habit(r"\.[0-9]", "A number begins with a digit", "Write 0.5 for .5."),
    _habit(r"[0-9][0-9_,]*[_,][0-9]", "Digits are not grouped", "Write 1000000."),
    _habit(r"[0-9]+\.(?![0-9])", "A digit is missing after the point", "Write 1.0 or 1."),
    _habit(r"[0-9]+[A-Za-z_.]", "That is not a number", "Separate numbers and words by a space."),
    _habit(r"\.", "Values have no members", "Variables are plain values; there is no a.b."),
    _habit(r"[?:]", "There is no conditional operator", _NO_STATEMENTS),
    _habit(r";", "; does not end a rule", _NO_STATEMENTS),
    _habit(r",", "A comma only separates arguments and elements", "Write 1000.5: a point, and no grouping."),
    _habit(r"[{}]", "Braces have no meaning here", 'Lists of values are written ["A", "B"].'),
)

_BEFORE: Final = (
    _habit(r"(?i:if|when|case|return|unless)$", "Statements do not exist here", _NO_STATEMENTS),
    _habit(r"not$", "not is no operator by itself", "Use `not in`, or ! to negate: !($x == 1)."),
    _habit(r"(?!not$)(?i:not)$", "NOT is no operator", 'Negate with !, as in !($country == "US").'),
    _habit(r"(?i:true|false)$", "Booleans are lower case", "Write true or false."),
    _habit(r"(?i:null|none|nil|undefined)$", "The missing value is written null", "Write null."),
    _habit(r"in$", "`in` needs a list", 'Write $x in ["A", "B"] or $x in @list.'),
)

_WORD_BEFORE: Final = re.compile(r"(?<![A-Za-z0-9_$@])[A-Za-z_][A-Za-z0-9_]*(?=[ \t\r\n]*$)")
_COMMENT: Final = re.compile(r"#[^\n]*")
_ENDED: Final = (
    "The expression ends too early",
    "Something is missing after the last operator, or a parenthesis is not closed.",
)
_SHOWN: Final = 30


def syntax_error(error: UnexpectedInput, text: str) -> RuleError:
    """The parser's complaint as a person reads it. Shows at most one short token of the text."""
    token = error.token if isinstance(error, UnexpectedToken) else None
    at_end = token is not None and token.type == "$END"
    position = len(text) if at_end else (error.pos_in_stream or 0)
    before, rest = text[:position], text[position:]
    if at_end and not _COMMENT.sub("", text).strip():
        return _at(text, 0, "There is no expression", "Write a comparison such as $amount > 100.")
    word = _WORD_BEFORE.search(before[-200:])
    if word is not None:
        taken_for_function = isinstance(error, UnexpectedToken) and set(error.expected) == {"LPAR"}
        found = _after_word(word.group(), taken_for_function)
        if found is not None:
            return _at(text, len(before[:-200]) + word.start(), *found)
    if at_end:
        return _at(text, len(text.rstrip()), *_ENDED)
    return _at(text, position, *_unexpected(error, token, rest))


def _at(text: str, position: int, message: str, hint: str) -> RuleError:
    before = text[:position]
    return RuleError(message, before.count("\n") + 1, position - before.rfind("\n"), hint)


def _after_word(word: str, taken_for_function: bool) -> tuple[str, str] | None:
    """The trouble is a word before the place where the parser stopped, a bare name most often."""
    for habit in _BEFORE:
        if habit.pattern.match(word):
            return habit.message, habit.hint
    if not taken_for_function:
        return None
    for habit in _AT:
        if habit.pattern.fullmatch(word):
            return habit.message, habit.hint
    shown = _short(word)
    hint = (
        f'A variable is written with $ (${shown.lower()}), a text in quotes ("{shown}"), a function with (…).'
    )
    return f"{shown} is no keyword", hint


def _unexpected(error: UnexpectedInput, token: Token | None, rest: str) -> tuple[str, str]:
    if token is not None and token.type in ("COMPARE", "IN") and _operand_before(error):
        return "Comparisons cannot be chained", "Write 1 < $x and $x < 10."
    for habit in _AT:
        if habit.pattern.match(rest):
            return habit.message, habit.hint
    if token is not None:
        shown = _short(str(token))
        if token.type == "RPAR":
            return ") does not fit here", "Something is missing before it, or it closes nothing."
        if _operand_before(error):
            return f"{shown} stands where an operator is expected", "Put and, or, == … before it."
        return f"{shown} stands where a value is expected", 'A value is $variable, a number, "text" or null.'
    code = f"U+{ord(rest[0]):04X}"
    return f"The character {code} has no meaning here", "Only strings and comments may contain any character."


def _operand_before(error: UnexpectedInput) -> bool:
    """Whether the text before is complete, so that the parser would have taken `and`."""
    return isinstance(error, UnexpectedToken) and "_AND" in error.expected


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
