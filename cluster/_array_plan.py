"""What an array consists of: which indices go into which submission, and what each element runs.

Pure.  An element is known by three numbers: its position, which counts from 0;
the index that it sees, `$CLUSTER_ARRAY_INDEX`; and the index that the scheduler
gave it.  The last two differ only where a site's limits, or a retry, want it.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cluster import runner
from cluster._call_buffers import exchange
from cluster.script import quote

__all__ = ["Limits", "Piece", "has_places", "plan", "repack", "shell_text"]

COMMAND_BYTES = 96 * 1024  # of text in one submission: a program's argument has at most 128 KiB
ITEM_BYTES = 32 * 1024 * 1024  # of pickled items: each element reads those of its submission
_PLACE = re.compile(r"(?<!\$)\{(index|item)\}")


class Limits(NamedTuple):
    """What one submission may have.

    Attributes:
        lowest: smallest index that the scheduler takes.
        largest: largest index; 0 is no limit.
        size: bytes of items.
    """

    lowest: int
    largest: int
    size: int


@dataclass(frozen=True)
class Piece:
    """One submission.

    Attributes:
        positions: of its elements.
        first, step: the scheduler's indices of these, in order.
    """

    positions: Sequence[int]
    first: int
    step: int = 1

    def index_of(self, place: int) -> int:
        """Give the scheduler's index of an element by its place in this piece."""
        return self.first + place * self.step


def plan(
    positions: Sequence[int], seen: Sequence[int], sizes: Sequence[int], limits: Limits
) -> list[Piece]:
    """Choose submissions, as few as will do.

    Args:
        positions: rising; of these elements.
        seen: the index that each element of the array sees, by position.
        sizes: bytes of each element's item, by position; empty if there are none.
        limits: of one submission.
    """
    pieces = list(_cut(positions, sizes, limits))
    if len(pieces) == 1 and len(positions) == len(seen) and isinstance(seen, range):
        fits = not limits.largest or seen[-1] <= limits.largest
        if seen.step > 0 and seen[0] >= limits.lowest and fits:
            return [Piece(positions, seen[0], seen.step if len(seen) > 1 else 1)]
    return pieces


def _cut(positions: Sequence[int], sizes: Sequence[int], limits: Limits) -> Iterator[Piece]:
    most = limits.largest or len(positions)
    begin = size = 0
    for place, position in enumerate(positions):
        more = sizes[position] if sizes else 0
        if place > begin and (place - begin == most or size + more > limits.size):
            yield Piece(positions[begin:place], 1)
            begin, size = place, 0
        size += more
    yield Piece(positions[begin:], 1)


# ---------------------------------------------------------------- functions


def repack(
    call: bytes | memoryview, piece: Piece, seen: Sequence[int], items: Sequence[bytes] | None
) -> list[runner.Bytes]:
    """Put the items of a piece into a call; nothing is unpickled.

    Args:
        call: of `_element.call_one`; its last two buffers are the table and the items.
        piece: whose they are.
        seen, items: of all positions; None where the index is the item.

    Returns:
        The pieces of the payload.
    """
    chosen = [items[position] for position in piece.positions] if items is not None else []
    table = array("q", [piece.first, piece.step, len(piece.positions), items is not None])
    table.extend(seen[position] for position in piece.positions)
    at = 0
    if items is not None:
        table.append(0)
        for item in chosen:
            at += len(item)
            table.append(at)
    return exchange(call, [table.tobytes(), b"".join(chosen)])


# ---------------------------------------------------------------- commands


def has_places(command: str | Sequence[bytes]) -> bool:
    """Tell whether `{index}` or `{item}` stands in a command."""
    words = [command] if isinstance(command, str) else map(os.fsdecode, command)
    return any(_PLACE.search(word) for word in words)


def shell_text(
    command: str | Sequence[bytes], piece: Piece, seen: Sequence[int], items: Sequence[str] | None
) -> str:
    """Write what all elements of a piece run: the shell finds the item by the index.

    Args:
        command: shell text, or an argv, which no shell reads as text.
        piece: whose elements.
        seen, items: of all positions; the items None where the index is the item.

    Returns:
        Text for a POSIX shell.
    """
    lines = _index(piece, [seen[position] for position in piece.positions])
    if items is None:
        lines.append("cluster_item=$CLUSTER_ARRAY_INDEX")
    else:
        lines.append("case $cluster_place in")
        lines += [
            f"{place}) cluster_item={quote(items[position])} ;;"
            for place, position in enumerate(piece.positions)
        ]
        lines.append("esac")
    if isinstance(command, str):
        return "\n".join([*lines, _in_text(command)])
    words = [_in_word(os.fsdecode(word)) for word in command]
    return "\n".join([*lines, f"exec {' '.join(words)}"])


def _index(piece: Piece, seen: Sequence[int]) -> list[str]:
    """Write the place of an element in its piece, and the index that it sees."""
    step = f" / {piece.step}" if piece.step != 1 else ""
    lines = [f"cluster_place=$(( (CLUSTER_ARRAY_INDEX - {piece.first}){step} ))"]
    if all(index == piece.index_of(place) for place, index in enumerate(seen)):
        return lines
    by = seen[1] - seen[0] if len(seen) > 1 else 1
    if all(index == seen[0] + place * by for place, index in enumerate(seen)):
        lines.append(f"CLUSTER_ARRAY_INDEX=$(( cluster_place * {by} + {seen[0]} ))")
    else:
        table = [f"{place}) CLUSTER_ARRAY_INDEX={index} ;;" for place, index in enumerate(seen)]
        lines += ["case $cluster_place in", *table, "esac"]
    return [*lines, "export CLUSTER_ARRAY_INDEX"]


_VARIABLE = {"index": "${CLUSTER_ARRAY_INDEX}", "item": "${cluster_item}"}


def _in_word(word: str) -> str:
    """Write one argument: the parts between the places verbatim."""
    parts = _PLACE.split(word)
    return (
        "".join(
            f'"{_VARIABLE[part]}"' if place % 2 else quote(part) if part else ""
            for place, part in enumerate(parts)
        )
        or "''"
    )


def _in_text(text: str) -> str:
    """Put variables into shell text, such that an item is one word wherever it stands."""
    written, at, quoting = [], 0, ""
    for match in _PLACE.finditer(text):
        between = text[at : match.start()]
        quoting = _quoting(between, quoting)
        variable = _VARIABLE[match[1]]
        around = {"": f'"{variable}"', '"': variable, "'": f"'\"{variable}\"'"}[quoting]
        written += [between, around]
        at = match.end()
    return "".join([*written, text[at:]])


def _quoting(text: str, before: str) -> str:
    """Give the quotation mark that is open behind a piece of shell text; empty if none is."""
    skip = False
    for char in text:
        if skip:
            skip = False
        elif char == "\\" and before != "'":
            skip = True
        elif char in "'\"" and before in ("", char):
            before = "" if before else char
    return before
