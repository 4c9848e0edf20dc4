"""How Grid Engine writes times, memory, ranges and names, and what it says of wrong ones.

Pure, and without knowledge of jobs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from cluster.emulation.call import Stop

__all__ = [
    "check_name",
    "clock",
    "date",
    "iso",
    "memory_bytes",
    "number",
    "read_date",
    "refuse",
    "seconds",
    "short",
    "slot_range",
    "structure",
    "tasks",
]

_MEMORY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([kKmMgGtT]?)\Z", re.ASCII)
_UNITS = {"": 1, "k": 1000, "K": 1 << 10, "m": 1000**2, "M": 1 << 20, "g": 1000**3, "G": 1 << 30,
          "t": 1000**4, "T": 1 << 40}  # fmt: skip
_TIME = re.compile(r"(?:(\d*):(\d*):)?(\d*)\Z", re.ASCII)
_BAD_IN_NAME = {
    ":": "Colon (':')",
    "@": "At ('@')",
    "\\": "Backslash ('\\')",
    "*": "Asterisk ('*')",
    "?": "Questionmark ('?')",
}


def refuse(text: str, code: int = 1) -> Stop:
    """Say no, as qmaster does through qsub."""
    return Stop(f"Unable to run job: {text}\nExiting.\n", code)


# ---------------------------------------------------------------- numbers


def number(text: str, program: str) -> int:
    """Read the digits that a text begins with.

    Raises:
        Stop: it begins with none.
    """
    match = re.match(r"\s*(\d+)", text, re.ASCII)
    if match is None:
        raise Stop(
            f"{program}: Numerical value invalid!\n"
            f'The initial portion of string "{text}" contains no decimal number\n',
            7,
        )
    return int(match[1])


def memory_bytes(text: str) -> float | None:
    """Read an amount of memory; None if it is none."""
    if text.upper() == "INFINITY":
        return 0.0
    match = _MEMORY.match(text)
    return float(match[1]) * _UNITS[match[2]] if match else None


def seconds(text: str) -> float | None:
    """Read `3600`, `1:00:00` or `INFINITY` (0); None if it is no time."""
    if text.upper() == "INFINITY":
        return 0.0
    match = _TIME.match(text)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return hours * 3600.0 + minutes * 60 + rest


# ---------------------------------------------------------------- tasks


def tasks(text: str, program: str) -> tuple[int, ...]:
    """Read `3`, `1-10:2` or several of them with commas; the numbers, rising.

    Raises:
        Stop: as the client says it.
    """
    found: set[int] = set()
    for part in text.split(","):
        head, _, step_text = part.partition(":")
        first_text, dash, last_text = head.partition("-")
        first = number(first_text, program)
        last = number(last_text, program) if dash else first
        step = 1
        if step_text:
            step = int(step_text) if re.fullmatch(r"-?\d+", step_text) else -1
            if step < 1:
                raise Stop(f"{program}: Negative or zero step in range is not allowed\n", 7)
        first, last = min(first, last), max(first, last)
        if (last - first) // step > 1_000_000:
            raise refuse("job rejected: you tried to submit a job with more than 75000 tasks")
        found.update(range(first, last + 1, step))
    numbers = tuple(sorted(found))
    if len(list(_runs(numbers))) > 1:
        raise Stop(f"{program}: -t option only allows one range specification\n", 7)
    return numbers


def slot_range(text: str, program: str) -> tuple[int, int]:
    """Read the slots of a parallel job, `4`, `2-8`, `2-` or `-8`: least and most (0: any).

    Raises:
        Stop: as the client, or qmaster, says it.
    """
    low, dash, high = text.partition("-")
    if not dash:
        count = number(low, program)
        if not count:
            raise refuse('"job" rejected: pe range must be greater than zero')
        return count, count
    least = number(low, program) if low else 1
    most = number(high, program) if high else 0
    return (min(least, most), max(least, most)) if most else (least, 0)


def _runs(numbers: Sequence[int]) -> Iterable[tuple[int, int, int]]:
    """Cut rising numbers into (first, last, step), as long as each can be."""
    at = 0
    while at < len(numbers):
        end = at + 1
        step = numbers[end] - numbers[at] if end < len(numbers) else 1
        while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        if end - at == 2 and end < len(numbers):
            end, step = at + 1, 1  # two are no series when a longer one may begin with the second
        yield numbers[at], numbers[end - 1], step
        at = end


def structure(numbers: Sequence[int]) -> str:
    """Write the tasks of a job, `1-4:1`; one is `3-3:1`."""
    return ",".join(f"{first}-{last}:{step}" for first, last, step in _runs(numbers))


def short(numbers: Sequence[int]) -> str:
    """Write tasks as qstat lists them, `3`, `3,4`, `1-4:1`."""
    words = []
    for first, last, step in _runs(numbers):
        if last - first > step:
            words.append(f"{first}-{last}:{step}")
        else:
            words += [str(first)] if first == last else [str(first), str(last)]
    return ",".join(words)


# ---------------------------------------------------------------- times


def clock(when: float) -> str:
    """`11/21/2026 07:31:21`."""
    return time.strftime("%m/%d/%Y %H:%M:%S", time.localtime(when))


def iso(when: float) -> str:
    """`2026-11-21T07:31:21`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))


def date(when: float) -> str:
    """`Sat Nov 21 07:31:21 2026`, in English wherever we are."""
    return time.asctime(time.localtime(when)) if when else "-/-"


def read_date(text: str, option: str, program: str) -> float:
    """Read `[[CC]YY]MMDDhhmm[.SS]`, local time.

    Raises:
        Stop: it is none.
    """
    match = re.fullmatch(r"(?:(\d\d)?(\d\d))?(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d\d))?", text, re.ASCII)
    if match:
        century, year, month, day, hour, minute, second = match.groups()
        now = datetime.now()
        full = int(f"{century or now.year // 100}{year}") if year else now.year
        try:
            return datetime(
                full, int(month), int(day), int(hour), int(minute), int(second or 0)
            ).timestamp()
        except (ValueError, OverflowError):
            pass
    raise Stop(
        "\nInvalid format of date/hour-minute field.\n"
        f'{program}: Wrong date/time format "{text}" specified to {option} option\n',
        7,
    )


# ---------------------------------------------------------------- names


def check_name(name: str, program: str = "qsub") -> None:
    """Refuse what Grid Engine does not take as the name of a job.

    Raises:
        Stop: as the client, or qmaster, says it.
    """
    if "/" in name:
        raise Stop(f"{program}: argument to -N option must not contain / \n", 2)
    if not name:
        raise refuse("job rejected cause there is no job_name in the request")
    if name[0].isdigit():
        raise refuse(f'denied: "{name}" is not a valid object name (cannot start with a digit)')
    for char, words in _BAD_IN_NAME.items():
        if char in name:
            raise refuse(f"{words} not allowed in objectname")
    if any(not 32 < ord(char) < 127 for char in name):
        raise refuse("Error reading answer list from qmaster")
