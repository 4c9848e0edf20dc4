"""Times, durations, amounts of memory and signals as Slurm writes them.

Pure: the present is an argument.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

__all__ = [
    "clock",
    "duration",
    "long_duration",
    "memory",
    "minutes",
    "moment",
    "parse_signal",
    "signal_number",
    "size",
]

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
_SIGNALS = _NAMES.split()
_MEMORY = re.compile(r"(\d+)([KMGTP]?)B?\Z", re.IGNORECASE)
_KIB = {"K": 1, "": 1024, "M": 1024, "G": 1024**2, "T": 1024**3, "P": 1024**4}
_LIMIT = re.compile(r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(\d+)(?::(\d+))?(?::(\d+))?)\Z")
_FOREVER = ("-1", "INFINITE", "UNLIMITED")


def memory(text: str) -> int | None:
    """Read an amount of memory as MiB, rounded up; None if it is none."""
    match = _MEMORY.match(text)
    if match is None:
        return None
    return -(-int(match[1]) * _KIB[match[2].upper()] // 1024)


def minutes(text: str) -> float | None:
    """Read a time limit as seconds; 0 is none, None not one."""
    if text.upper() in _FOREVER:
        return 0.0
    match = _LIMIT.match(text)
    if match is None:
        return None
    if match[1] is not None:
        days, hours, mins, secs = (int(part or 0) for part in match.group(1, 2, 3, 4))
        return float(days * 86400 + hours * 3600 + mins * 60 + secs)
    first, second, third = match.group(5, 6, 7)
    if third is not None:
        return float(int(first) * 3600 + int(second) * 60 + int(third))
    return float(int(first) * 60 + int(second or 0))


def signal_number(text: str) -> int | None:
    """Read a signal's name or number; None if there is none."""
    if text.isdigit():
        return int(text) if 0 <= int(text) < 65 else None
    name = text.upper().removeprefix("SIG")
    return _SIGNALS.index(name) + 1 if name in _SIGNALS else None


def parse_signal(text: str) -> tuple[int, float, bool] | None:
    """Read `[[R][B]:]SIG[@seconds]`: number, seconds before the limit, batch shell only."""
    head, colon, rest = text.rpartition(":")
    name, at, before = rest.partition("@")
    number = signal_number(name)
    if number is None or (at and not (before.isdigit() and int(before) < 65536)):
        return None
    if colon and set(head.upper()) - {"B", "R"}:
        return None
    return number, float(before or 60), "B" in head.upper()


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NOW = re.compile(r"now(?:\s*([+-])\s*(\d+)\s*([a-z]*))?\Z", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d+)?)?\s*(am|pm)?\Z", re.IGNORECASE)
_DATES = (
    (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})\Z"), (1, 2, 3)),
    (re.compile(r"(\d{1,2})[/.](\d{1,2})(?:[/.](\d{2,4}))?\Z"), (3, 1, 2)),
    (re.compile(r"(\d\d)(\d\d)(\d\d)\Z"), (3, 1, 2)),
)
_HOURS = {"midnight": 0, "elevenses": 11, "noon": 12, "fika": 15, "teatime": 16}
_DIGITS_OF_NOW = 9  # a number so long is seconds since the epoch


def moment(text: str, now: float) -> float | None:
    """Read a point in time, seconds since the epoch; None if it is none."""
    text = text.strip()
    if text.isdigit() and len(text) >= _DIGITS_OF_NOW:
        return float(text)
    match = _NOW.match(text)
    if match:
        unit = _UNITS.get((match[3] or "s")[:1].lower())
        if unit is None:
            return None
        offset = int(match[2] or 0) * unit
        return now - offset if match[1] == "-" else now + offset
    return _date_and_clock(text, now)


def _date_and_clock(text: str, now: float) -> float | None:
    day, at = None, None
    base = datetime.fromtimestamp(now)
    for word in re.split(r"[T\s-](?=\d{1,2}:)|\s+", text):
        found, date = _clock(word), _date(word, base)
        if found is not None and at is None:
            at = found
        elif date is not None and day is None:
            day = date
        else:
            return None
    hours, mins, secs = at or (0, 0, 0)
    when = (day or base).replace(hour=hours, minute=mins, second=secs, microsecond=0)
    if day is None and when.timestamp() < now:
        when += timedelta(days=1)
    return when.timestamp()


def _clock(word: str) -> tuple[int, int, int] | None:
    if word.lower() in _HOURS:
        return _HOURS[word.lower()], 0, 0
    match = _CLOCK.match(word)
    if match is None:
        return None
    hours, mins, secs = int(match[1]), int(match[2]), int(match[3] or 0)
    if match[4]:
        hours = hours % 12 + (12 if match[4].lower() == "pm" else 0)
    return (hours, mins, secs) if hours < 24 and mins < 60 and secs < 60 else None


def _date(word: str, base: datetime) -> datetime | None:
    if word.lower() in ("today", "tomorrow"):
        return base + timedelta(days=word.lower() == "tomorrow")
    for pattern, (year, month, day) in _DATES:
        match = pattern.match(word)
        if match:
            number = int(match[year] or base.year)
            number += 2000 if number < 100 else 0
            try:
                return base.replace(year=number, month=int(match[month]), day=int(match[day]))
            except ValueError:
                return None
    return None


def clock(seconds: float, form: str = "") -> str:
    """Write a point in time; `form` is SLURM_TIME_FORMAT."""
    if form and form not in ("standard", "relative"):
        return time.strftime(form, time.localtime(seconds))
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def duration(seconds: float) -> str:
    """Write a duration as squeue does: 0:02, 1:00:00, 1-02:04:00."""
    days, hours, mins, secs = _split(seconds)
    if days:
        return f"{days}-{hours:02}:{mins:02}:{secs:02}"
    return f"{hours}:{mins:02}:{secs:02}" if hours else f"{mins}:{secs:02}"


def long_duration(seconds: float) -> str:
    """Write a duration as sacct and scontrol do: 00:00:02, 1-02:04:00."""
    days, hours, mins, secs = _split(seconds)
    return (f"{days}-" if days else "") + f"{hours:02}:{mins:02}:{secs:02}"


def _split(seconds: float) -> tuple[int, int, int, int]:
    whole = max(0, int(seconds))
    return whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60


def size(mib: int) -> str:
    """Write an amount of memory: 100M, 2G, 1500M."""
    at = 0
    while mib and mib % 1024 == 0 and at < 3:
        mib, at = mib // 1024, at + 1
    return f"{mib}{'MGTP'[at]}"
