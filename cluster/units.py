"""Times and amounts of memory: text at the edges, seconds and MiB inside.

Pure.  It reads and prints; it never guesses a unit: a string of digits alone
(`"90"`) is refused, for schedulers disagree whether it means seconds or
minutes, and so are two fields (`"10:30"`), which may be MM:SS or HH:MM.
Suffixes of memory are binary in every scheduler here (`1G` = 1024 MiB).
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

from cluster.errors import UnitsError

__all__ = [
    "Timeout",
    "format_memory",
    "format_seconds",
    "parse_memory",
    "parse_seconds",
    "parse_timeout",
]

Timeout = float | str | timedelta | None  # how long somebody waits; None is no limit

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WORDS = r"w|weeks?|d|days?|h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?"
_PIECE = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({_WORDS})(?![a-z])", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)\Z")
_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b)?\s*\Z", re.IGNORECASE)
_MIB = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024**2, "p": 1024**3}
_FORMS = "'90s', '90m', '2h', '1h30m', '[D-]HH:MM:SS', or a number of seconds (not a string)"
_MEMORY_FORMS = "'512M', '2GB', '1.5T', or a number of MiB (not a string)"


def parse_seconds(value: str | float | timedelta) -> float:
    """Read a duration.

    Args:
        value: seconds as int or float, a `timedelta`, or text: `90s`, `90m`,
            `2h`, `1h30m`, `[D-]HH:MM:SS`.

    Returns:
        Seconds.

    Raises:
        UnitsError: the text has no unit, is not one of these forms, or the
            duration is negative or not finite.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnitsError(f"{value!r} is not a time. Write {_FORMS}.")
    if isinstance(value, str):
        return _seconds_of_text(value)
    if not math.isfinite(value) or value < 0:
        raise UnitsError(f"{value!r} is not a time: it must be finite and not negative.")
    return float(value)


def parse_timeout(value: Timeout) -> float | None:
    """Read how long to wait.

    Args:
        value: as for `parse_seconds`; None and infinity are no limit.  A number
            below 0 is let through: a deadline may have gone by.

    Returns:
        Seconds, or None.

    Raises:
        UnitsError: it cannot be read; the message names `timeout`.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str | timedelta | bool | bytes):
            return parse_seconds(value)
        seconds = float(value)
    except UnitsError as error:
        raise UnitsError(f"timeout: {error}") from None
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise UnitsError(f"timeout: {value!r} is not a time. Write {_FORMS}.")
    return None if seconds == math.inf else seconds


def _seconds_of_text(text: str) -> float:
    clock = _CLOCK.match(text.strip())
    if clock:
        days, hours, minutes, seconds = clock.groups()
        return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    total, at = 0.0, 0
    stripped = text.strip()
    while at < len(stripped):
        piece = _PIECE.match(stripped, at)
        if piece is None:
            raise UnitsError(f"time {text!r} cannot be read{_why_not(stripped)}. Write {_FORMS}.")
        total += float(piece[1]) * _UNIT_S[piece[2][0].lower()]
        at = piece.end()
    if not stripped:
        raise UnitsError(f"time {text!r} is empty. Write {_FORMS}.")
    return total


def _why_not(text: str) -> str:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return ": it has no unit, and schedulers disagree on one"
    if re.fullmatch(r"\d+:\d+", text):
        return ": two fields may be MM:SS or HH:MM"
    return ""


def parse_memory(value: str | float) -> int:
    """Read an amount of memory.

    Args:
        value: MiB as int or float, or text with a suffix K, M, G, T or P
            (binary; `B` and `iB` are optional, so `2GB` is 2048 MiB).

    Returns:
        MiB, rounded up.

    Raises:
        UnitsError: the text has no unit or is not one of these forms, or the
            amount is negative or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnitsError(f"{value!r} is not an amount of memory. Write {_MEMORY_FORMS}.")
    if isinstance(value, str):
        match = _MEMORY.match(value)
        if match is None:
            raise UnitsError(f"memory {value!r} cannot be read. Write {_MEMORY_FORMS}.")
        if not match[2]:
            raise UnitsError(f"memory {value!r} has no unit. Write {_MEMORY_FORMS}.")
        return math.ceil(round(float(match[1]) * _MIB[match[2].lower()], 6))
    if not math.isfinite(value) or value < 0:
        raise UnitsError(f"memory {value!r} must be finite and not negative.")
    return math.ceil(value)


def format_seconds(seconds: float) -> str:
    """Write a duration as `[D-]HH:MM:SS`, rounded up to whole seconds."""
    whole = math.ceil(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{secs:02}"


def format_memory(mib: int) -> str:
    """Write MiB in the largest unit that keeps it exact: `2048` is `2G`."""
    for suffix, size in (("T", 1024**2), ("G", 1024)):
        if mib and mib % size == 0:
            return f"{mib // size}{suffix}"
    return f"{mib}M"
