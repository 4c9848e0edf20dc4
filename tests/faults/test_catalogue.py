"""The documentation of faults names tests that exist, and no test of a row is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
CONTRACT = TESTS.parent / "cluster" / "testing" / "contract"
PAGE = TESTS.parent / "docs" / "faults.md"
_TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)
_NAMED = re.compile(r"`(test_\w+)`")


def defined(folder: Path, pattern: str = "test_*.py") -> set[str]:
    """All tests below a folder."""
    found = (path.read_text() for path in folder.rglob(pattern))
    return {name for text in found for name in _TEST.findall(text)}


def test_each_test_that_the_page_names_exists() -> None:
    named = set(_NAMED.findall(PAGE.read_text()))

    assert len(named) > 80
    assert named - defined(TESTS) - defined(CONTRACT, "*.py") == set()


def test_each_row_of_a_table_names_a_test() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.startswith("| fault")]

    assert len(rows) > 50
    assert [row for row in rows if not _NAMED.search(row)] == []


def test_each_test_of_a_row_is_on_the_page_or_beside_one_of_the_same_row() -> None:
    named = set(_NAMED.findall(PAGE.read_text()))
    numbers = {number for name in named for number in _numbers(name)}

    forgotten = {name for name in defined(TESTS) if not set(_numbers(name)) <= numbers}
    assert forgotten == set()


def _numbers(name: str) -> list[str]:
    """The rows in `test_row_5_...`, `test_rows_1_2_...`."""
    found = re.match(r"test_rows?_((?:\d+_|to_)+)", name)
    return re.findall(r"\d+", found[1]) if found else []
