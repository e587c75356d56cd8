"""Regular expressions: RE2, whole value, bounded; simple ones become string operations that mean the same.

A call into RE2 costs more than all other rules of a detector together, and most patterns of real rules are
"equals", "begins with", "ends with" or "contains" in disguise.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Any, Final, NamedTuple

import re2

from hawksnest.kernel.lang.syntax import MATCH_HINT

MAX_PROGRAM: Final = 10_000
"""Instructions of a compiled literal pattern: the cost of a match is at most this times the length."""

MAX_DYNAMIC_LENGTH: Final = 1024
"""Characters of a computed pattern: anybody may have sent it."""

MAX_DYNAMIC_PROGRAM: Final = 2_000
"""Instructions of a computed pattern."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class PatternError(ValueError):
    """The pattern does not compile or is too large; the message says why."""


def _options(max_mem: int) -> Any:
    options = re2.Options()
    options.log_errors = False  # it writes to stderr, patterns included
    options.longest_match = False
    options.never_capture = True  # only yes or no is wanted: the fast automaton suffices
    options.max_mem = max_mem
    return options


_LITERAL: Final = _options(8 << 20)
_DYNAMIC: Final = _options(1 << 20)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Full match of a pattern that stands in a rule. Raises `PatternError`."""
    return _full_match(pattern, _LITERAL, MAX_PROGRAM)


@lru_cache(maxsize=64)
def dynamic_matcher(pattern: str) -> Callable[[str], bool]:
    """The same for a pattern that is computed from values, with tighter bounds."""
    if len(pattern) > MAX_DYNAMIC_LENGTH:
        raise PatternError(f"a computed pattern has at most {MAX_DYNAMIC_LENGTH} characters")
    return _full_match(_well_formed(pattern), _DYNAMIC, MAX_DYNAMIC_PROGRAM)


def _full_match(pattern: str, options: Any, max_program: int) -> Callable[[str], bool]:
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise PatternError(_reason(error)) from None
    if compiled.programsize > max_program:
        raise PatternError("the pattern is too large")
    fullmatch = compiled.fullmatch

    def matches(text: str) -> bool:
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            encoded = _well_formed(text).encode()
        # Bytes, because with text the binding computes character offsets that nobody needs.
        return fullmatch(encoded) is not None

    return matches


def _well_formed(text: str) -> str:
    """Half a surrogate pair counts as one character that no literal contains."""
    return _SURROGATE.sub("\ufffd", text)


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "invalid pattern"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


_WHY: Final = (
    (r"\(\?<?[=!]", "Look-ahead and look-behind do not exist in RE2; combine two conditions with and / !."),
    (r"\\[1-9]", "Back-references do not exist in RE2."),
    (r"[*+?}]\+", "Possessive quantifiers do not exist in RE2."),
    (r"\{[0-9,]+\}", "A repetition counts to 1000 at most, nested ones multiplied."),
    (r"^[*+?]", "A repetition needs something before it: .* is any text."),
    (r"\(\?P?<|\(\?[a-z]*\b", "RE2 knows (?i), (?s), (?m), (?:…) and (?P<name>…)."),
)


def pattern_hint(pattern: str) -> str:
    """What is unusual about a pattern that RE2 refuses."""
    for unusual, hint in _WHY:
        if re.search(unusual, pattern):
            return hint
    return "Patterns are in RE2 syntax; a backslash makes . * + ? ( ) [ ] ordinary characters."


def pattern_warning(pattern: str) -> str:
    """A sentence about a pattern that probably means something else than its author thinks; "" if none."""
    if not pattern.startswith("^") or pattern.endswith(".*"):
        return ""
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        return ""
    return f"A pattern matches the whole value: ^… without a final .* is not “begins with”. {MATCH_HINT}"


class Plain(NamedTuple):
    """A pattern that is no more than a few texts, with or without anything (`.*`) before and after."""

    texts: tuple[str, ...]
    anything_before: bool
    anything_after: bool


_MAX_TEXTS: Final = 64
_SPECIAL: Final = frozenset("\\.*+?{}[]()|^$")
_ESCAPED: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~")


def plain(pattern: str) -> Plain | None:
    """The pattern as a string operation with exactly the meaning RE2 gives it, or None.

    >>> plain(r".*@(gmail|yahoo)\\.com")
    Plain(texts=('@gmail.com', '@yahoo.com'), anything_before=True, anything_after=False)
    """
    if "\ufffd" in pattern:  # half a surrogate pair must not equal it
        return None
    body = pattern[1:] if pattern.startswith("^") else pattern
    if body.endswith("$") and not body.endswith("\\$"):
        body = body[:-1]
    before = body.startswith(".*")
    body = body[2:] if before else body
    after = body.endswith(".*") and not body.endswith("\\.*")
    body = body[:-2] if after else body
    texts = _alternatives(body) if not (before or after or body != pattern) else _sequence(body)
    if texts is None or len(texts) > _MAX_TEXTS:
        return None
    if (before or after) and any("\n" in text for text in texts):
        return None  # `.` excludes line breaks, the text would not
    if before and after and len(texts) > 1:
        return None
    return Plain(tuple(dict.fromkeys(texts)), before, after)


def _alternatives(body: str) -> list[str] | None:
    """`a|b` at the top: only where nothing else could belong to one of the alternatives."""
    if "(" in body or "|" not in body:
        return _sequence(body)
    texts: list[str] = []
    for alternative in _split(body):
        part = _sequence(alternative)
        if part is None:
            return None
        texts += part
    return texts


def _split(body: str) -> list[str]:
    """Split at each `|` that no backslash precedes; `[` and `(` are refused later or absent."""
    parts, start, position = [], 0, 0
    while position < len(body):
        if body[position] == "\\":
            position += 1
        elif body[position] == "|":
            parts.append(body[start:position])
            start = position + 1
        position += 1
    return [*parts, body[start:]]


def _sequence(body: str) -> list[str] | None:
    """All texts that a sequence of ordinary characters and groups of alternatives stands for."""
    pieces: list[list[str]] = []
    position = 0
    while position < len(body):
        if body[position] == "(":
            end = _closing(body, position)
            group = None if end < 0 else _group(body[position + 1 : end])
            if group is None:
                return None
            pieces.append(group)
            position = end + 1
        else:
            character, position = _character(body, position)
            if character is None:
                return None
            pieces.append([character])
    total = 1
    for piece in pieces:
        total *= len(piece)
        if total > _MAX_TEXTS:
            return None
    return ["".join(parts) for parts in product(*pieces)]


def _closing(body: str, start: int) -> int:
    """Place of the first `)` that no backslash precedes, or -1."""
    position = start + 1
    while position < len(body) and body[position] != ")":
        position += 2 if body[position] == "\\" else 1
    return position if position < len(body) else -1


def _group(inner: str) -> list[str] | None:
    """`a|b` or `?:a|b`; a group inside a group is left to RE2."""
    if "(" in inner:
        return None
    return _alternatives(inner.removeprefix("?:"))


def _character(body: str, position: int) -> tuple[str | None, int]:
    """One ordinary character, escaped or in brackets (`[.]`), and the place after it."""
    character = body[position]
    if character == "\\":
        escaped = body[position + 1 : position + 2]
        return (escaped if escaped in _ESCAPED else None), position + 2
    if character == "[":
        inner = body[position + 1 : position + 2]
        single = body[position + 2 : position + 3] == "]" and inner not in ("^", "\\", "[", "]", "")
        return (inner if single else None), position + 3
    return (None if character in _SPECIAL else character), position + 1
