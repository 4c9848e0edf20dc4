"""The indices of an array: `1,3,7-9:2%4` read, and written as Slurm writes them.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from cluster.spec import ArraySpec

__all__ = ["MAX_SIZE", "BadArray", "compress", "ids_of", "parse"]

MAX_SIZE = 1_000_001
_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?\Z")
_MANY = 1_000_000


class BadArray(ValueError):
    """It names no indices."""


def parse(text: str, max_size: int = MAX_SIZE) -> ArraySpec:
    """Read an array's indices.

    Raises:
        BadArray: they cannot be read, or are beyond the limit.
    """
    head, _, limit = text.strip().strip("[]").partition("%")
    found: set[int] = set()
    for part in head.split(","):
        first, last, step = _part(part)
        if last >= max_size or (last - first) // step > _MANY:
            raise BadArray(text)
        found.update(range(first, last + 1, step))
    listed = sorted(found)
    match = re.match(r"\d+", limit)
    most = int(match[0]) if match else 0
    gap = listed[1] - listed[0] if len(listed) > 1 else 1
    if listed == list(range(listed[0], listed[0] + gap * len(listed), gap)):
        return ArraySpec(listed[0], len(listed), gap, most)
    return ArraySpec(listed[0], len(listed), 1, most, tuple(listed))


def _part(part: str) -> tuple[int, int, int]:
    match = _PART.match(part.strip())
    if match is None:
        raise BadArray(part)
    first, step = int(match[1]), int(match[3] or 1)
    last = first if match[2] is None else int(match[2])
    if last < first or step < 1:
        raise BadArray(part)
    return first, last, step


def compress(indices: Sequence[int]) -> str:
    """Write indices as ranges: 0-2,5; even steps of many as 0-40:4."""
    # With fewer, or closer together, Slurm lists them.
    if len(indices) > 5 and indices[-1] - indices[0] > 10:
        gap = indices[1] - indices[0]
        if gap > 1 and all(b - a == gap for a, b in pairwise(indices)):
            return f"{indices[0]}-{indices[-1]}:{gap}"
    parts: list[str] = []
    start = before = None
    for index in [*indices, None]:
        if before is not None and index == before + 1:
            before = index
            continue
        if start is not None:
            parts.append(str(start) if start == before else f"{start}-{before}")
        start = before = index
    return ",".join(parts)


def ids_of(word: str) -> Iterable[tuple[str, list[int] | None]]:
    """Read `4`, `4_3`, `4_[1-3,7]`, `4_1,3`: each array or job, and the indices meant.

    Raises:
        BadArray: it is none of these.
    """
    match = re.fullmatch(r"(\d{1,18})(?:_(\d+|\*|\[[^\]]*\]))?", word)
    if match is None:
        raise BadArray(word)
    if match[2] is None or match[2] == "*":
        return [(match[1], None)]
    return [(match[1], list(parse(match[2]).indices()))]
