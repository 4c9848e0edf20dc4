"""Lists of hosts: `n[1-3,07],m` taken apart and put together.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["compressed", "expanded"]

_PART = re.compile(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)*")


def expanded(text: str) -> list[str]:
    """Name each host of a list."""
    return [name for part in _PART.findall(text) for name in _expand(part)]


def _expand(part: str) -> list[str]:
    match = re.match(r"([^\[]*)\[([^\]]*)\](.*)\Z", part)
    if match is None:
        return [part]
    found = []
    for piece in match[2].split(","):
        first, dash, last = piece.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            found.append(piece)
            continue
        numbers = range(int(first), int(last if dash else first) + 1)
        found += [str(number).zfill(len(first)) for number in numbers]
    return [name for piece in found for name in _expand(f"{match[1]}{piece}{match[3]}")]


def compressed(names: Sequence[str]) -> str:
    """Write hosts as a list, numbers as ranges."""
    groups: list[tuple[str, int, list[int]]] = []
    for name in names:
        match = re.match(r"(.*?)(\d+)\Z", name)
        prefix = match[1] if match else name
        width = -1 if match is None else len(match[2]) if match[2].startswith("0") else 0
        if not groups or groups[-1][:2] != (prefix, width) or match is None:
            groups.append((prefix, width, []))
        if match is not None:
            groups[-1][2].append(int(match[2]))
    return ",".join(_group(*group) for group in groups)


def _group(prefix: str, width: int, numbers: list[int]) -> str:
    if width < 0:
        return prefix
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [
        str(a).zfill(width) if a == b else f"{str(a).zfill(width)}-{str(b).zfill(width)}"
        for a, b in spans
    ]
    inside = ",".join(texts)
    return f"{prefix}{inside}" if len(spans) == 1 and "-" not in inside else f"{prefix}[{inside}]"
