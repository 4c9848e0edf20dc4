"""Ids of PBS, `17.host`, `17[].host`, `17[3].host`, and the jobs they name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cluster.emulation.call import Call
from cluster.emulation.machine import Row

__all__ = ["Name", "index_of", "label", "lookup", "parse", "position"]

_ID = re.compile(r"(\d{1,18})(?:(\[)([\d,\-:]*)\])?(?:\.([\w.\-]+))?(?:@[\w.\-]*)?\Z", re.ASCII)


class Name(NamedTuple):
    """An id as somebody wrote it.

    Attributes:
        number: of the job or array.
        is_array: it has brackets.
        indices: between the brackets; empty for the whole array.
    """

    number: str
    is_array: bool
    indices: tuple[int, ...]
    shown: str


def parse(text: str, host: str) -> Name | None:
    """Take an id apart; None if it is none.  Whatever server it names is ours."""
    match = _ID.match(text.strip())
    if match is None:
        return None
    number, bracket, inside, server = match.groups()
    found: list[int] = []
    for piece in (inside or "").split(",") if inside else ():
        one = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", piece)
        if one is None or int(one[3] or 1) < 1:
            return None
        found += range(int(one[1]), int(one[2] or one[1]) + 1, int(one[3] or 1))
    shown = f"{number}[{inside}]" if bracket else number
    return Name(number, bool(bracket), tuple(found), f"{shown}.{server or host}")


def listed(row: Row) -> list[int]:
    """Give the indices of an array that has no one step between them; else nothing."""
    text = row.extra.options.get("indices", "")
    return [int(word) for word in text.split(",")] if text else []


def index_of(row: Row) -> int | None:
    """Give the index of an element as PBS has it."""
    if row.index is None:
        return None
    known = listed(row)
    return known[row.index] if known and row.index < len(known) else row.index


def position(row: Row, index: int) -> int:
    """Give the index of the queue for one of PBS, of an array's row."""
    known = listed(row)
    if not known:
        return index
    return known.index(index) if index in known else len(known)


def label(row: Row, host: str) -> str:
    """Write the id of a job, an array or an element."""
    if row.index is not None:
        return f"{row.array}[{index_of(row)}].{host}"
    return f"{row.array}[].{host}" if is_array(row) else f"{row.array}.{host}"


def is_array(row: Row) -> bool:
    """Tell whether it is a whole array."""
    return row.index is None and "array" in row.extra.options


def lookup(call: Call, texts: Sequence[str]) -> list[tuple[Name | None, str, list[Row]]]:
    """Find what ids name: for each its parsed form, its text, and the jobs.

    One question for all ids, a second for elements of arrays.
    """
    host = call.machine.host
    names = [(parse(text, host), text) for text in texts]
    numbers = {name.number for name, _ in names if name}
    whole = {row.id: row for row in call.machine.rows(sorted(numbers, key=int))}
    wanted = {
        f"{name.number}_{position(whole[name.number], index)}"
        for name, _ in names
        if name and name.indices and name.number in whole
        for index in name.indices[:100_000]
    }
    elements = {row.id: row for row in call.machine.rows(sorted(wanted))} if wanted else {}
    return [(name, text, _rows(name, whole, elements)) for name, text in names]


def _rows(name: Name | None, whole: dict[str, Row], elements: dict[str, Row]) -> list[Row]:
    row = whole.get(name.number) if name else None
    if name is None or row is None or is_array(row) != name.is_array:
        return []
    if not name.indices:
        return [row]
    ids: Iterable[str] = (f"{row.array}_{position(row, index)}" for index in name.indices)
    return [elements[id] for id in ids if id in elements]
