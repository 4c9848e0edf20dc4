"""File names with patterns: %j %A %a %x %u %N %t %s %4j ...

Pure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from cluster.spec import place

__all__ = ["expand", "places"]

_PATTERN = re.compile(r"%(\d*)(.)", re.DOTALL)
_NUMBERS = "AaJjnst"
_MAX_WIDTH = 10


def places(*, name: str, user: str, host: str, array: bool) -> dict[str, bytes]:
    """Give what the letters stand for in a job that has not started yet."""
    return {
        "j": place("member"),
        "J": place("member"),
        "A": place("array"),
        "a": place("index") if array else b"4294967294",
        "x": os.fsencode(name),
        "u": os.fsencode(user),
        "N": os.fsencode(host),
        "n": b"0",
        "t": b"0",
        "s": b"batch",
    }


def expand(text: str, values: Mapping[str, bytes]) -> bytes:
    """Put values into a file name; a backslash anywhere turns that off."""
    if "\\" in text:
        return os.fsencode(text.replace("\\", ""))
    pieces: list[bytes] = []
    at = 0
    for match in _PATTERN.finditer(text):
        pieces.append(os.fsencode(text[at : match.start()]))
        at = match.end()
        letter = match[2]
        if letter == "%" and not match[1]:
            pieces.append(b"%")
        elif letter in values:
            pieces.append(_padded(values[letter], letter, match[1]))
        else:
            pieces.append(os.fsencode(match[0]))
    return b"".join([*pieces, os.fsencode(text[at:])])


def _padded(value: bytes, letter: str, digits: str) -> bytes:
    width = min(int(digits or 0), _MAX_WIDTH)
    if not width or letter not in _NUMBERS:
        return value
    if value.startswith(b"\0"):
        return place(value.strip(b"\0").decode(), width)
    return value.zfill(width) if value.isdigit() else value
