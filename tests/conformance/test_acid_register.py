"""Every acid test is there: the numbers of `acid.txt` against the names of the tests."""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
FAMILIES = {"A": 14, "B": 24, "C": 24, "D": 16, "E": 28, "F": 27, "G": 11}
FAMILIES |= {"H": 17, "I": 25, "J": 14, "K": 13, "L": 7, "M": 11, "N": 11}
NUMBERED = re.compile(r"test_((?:[a-n]\d+_)+)")


def register() -> list[str]:
    return [line.split(" ", 1)[0] for line in (FOLDER / "acid.txt").read_text(encoding="utf-8").splitlines()]


def numbered() -> dict[str, list[ast.FunctionDef]]:
    """Number → the tests that carry it in their name."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for path in sorted(FOLDER.glob("**/test_*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef) and (match := NUMBERED.match(function.name)):
                for number in match[1].rstrip("_").split("_"):
                    found.setdefault(number.upper(), []).append(function)
    return found


def test_the_register_holds_242_numbers_once():
    expected = [f"{family}{number}" for family, count in FAMILIES.items() for number in range(1, count + 1)]
    assert register() == expected
    assert len(expected) == 242


def test_every_number_has_a_test_and_every_numbered_test_a_number():
    assert set(numbered()) == set(register())


def test_no_numbered_test_is_left_out_of_a_run():
    for number, functions in numbered().items():
        for function in functions:
            marks = {ast.unparse(mark).split("(")[0] for mark in function.decorator_list}
            assert not marks & {
                "pytest.mark.skip",
                "pytest.mark.skipif",
                "pytest.mark.xfail",
                "pytest.mark.full",
            }
            calls = {ast.unparse(each.func) for each in ast.walk(function) if isinstance(each, ast.Call)}
            assert not calls & {"pytest.skip", "pytest.xfail", "pytest.importorskip"}, number
