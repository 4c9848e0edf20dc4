"""Tables as squeue and sinfo print them: `%.18i %9P` and `JobID:12,Name:.8`.

Pure.  A field is a heading and a function from a line to text; what letters and
names mean stands in the tables of each command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Column", "Field", "long_columns", "render", "short_columns"]

T = TypeVar("T")
_LETTER = re.compile(r"%(\.)?(\d+)?([a-zA-Z])?")
_NAME = re.compile(r"([^:,]+)(?::(\.)?(-?\d+)?([^,]*))?(?:,|\Z)")
_DEFAULT_WIDTH = 20


@dataclass(frozen=True)
class Field(Generic[T]):
    """One thing that can be shown of a line."""

    heading: str
    value: Callable[[T], str]


@dataclass(frozen=True)
class Column(Generic[T]):
    """A field as it is to be printed; `field` None is text between fields.

    Attributes:
        width: 0 is as wide as the text.
        right: justified to the right.
        text: what follows it, or stands alone.
    """

    field: Field[T] | None
    width: int = 0
    right: bool = False
    text: str = ""


def short_columns(form: str, letters: Mapping[str, Field[T]]) -> tuple[list[Column[T]], list[str]]:
    """Read a `--format`.

    Returns:
        The columns, and the letters that mean nothing.
    """
    columns: list[Column[T]] = []
    unknown: list[str] = []
    if "%all" in form:  # small letters first, bars between them
        order = sorted(letters, key=lambda letter: (letter.isupper(), letter))
        form = form.replace("%all", "|".join(f"%{letter}" for letter in order))
    at = 0
    for match in _LETTER.finditer(form):
        if match.start() > at:
            columns.append(Column(None, text=form[at : match.start()]))
        at = match.end()
        dot, width, letter = match.groups()
        if letter in letters:
            columns.append(Column(letters[letter], int(width or 0), bool(dot)))
        elif letter:
            unknown.append(letter)
        elif match[0] != "%":
            columns.append(Column(None, text=match[0]))
    if at < len(form):
        columns.append(Column(None, text=form[at:]))
    return columns, unknown


def long_columns(form: str, names: Mapping[str, Field[T]]) -> tuple[list[Column[T]], list[str]]:
    """Read a `--Format`: names with `:[.][width][text behind it]`.

    Returns:
        The columns, and the names that mean nothing.
    """
    columns: list[Column[T]] = []
    unknown: list[str] = []
    for match in _NAME.finditer(form):
        name, dot, width, behind = match.groups()
        field = names.get(name.strip().lower().replace("-", "").replace("_", ""))
        if field is None:
            unknown.append(name)
            continue
        size = _DEFAULT_WIDTH if width is None and not behind else abs(int(width or 0))
        columns.append(Column(field, size, bool(dot), behind or ""))
    return columns, unknown


def render(columns: Sequence[Column[T]], lines: Iterable[T], *, heading: bool) -> str:
    """Print a table; each line ends where its last column does."""
    rows: list[str] = []
    if heading:
        rows.append("".join(_cell(c, c.field.heading if c.field else "") for c in columns))
    rows += ["".join(_cell(c, c.field.value(each) if c.field else "") for c in columns)
             for each in lines]  # fmt: skip
    return "".join(row + "\n" for row in rows)


def _cell(column: Column[T], value: str) -> str:
    if column.width:
        value = value[: column.width]
        value = value.rjust(column.width) if column.right else value.ljust(column.width)
    return value + column.text
