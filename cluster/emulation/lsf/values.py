"""The values of bsub's options: times, limits, counts, names of arrays, resource requirements.

Pure.
"""

from __future__ import annotations

import math
import re
import shlex
import time
from dataclasses import dataclass

from cluster.spec import ArraySpec

__all__ = [
    "BadValue",
    "Needs",
    "directives",
    "join",
    "memory_mib",
    "minutes_s",
    "moment",
    "processors",
    "requirement",
    "split_name",
]

MAX_ARRAY = 1000  # MAX_JOB_ARRAY_SIZE, by default
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_SECTIONS = ("select", "rusage", "span", "order", "same", "cu", "affinity", "vm_select")


class BadValue(ValueError):
    """A value that bsub refuses; the text is what it says of it."""


# ---------------------------------------------------------------- #BSUB


def directives(script: bytes) -> list[str]:
    """Give the words of all `#BSUB` lines of a script."""
    words: list[str] = []
    for line in script.decode("utf-8", "surrogateescape").splitlines():
        if match := re.match(r"\s*#\s?BSUB\b(.*)", line):
            words += _split(match[1])
    return words


def _split(text: str) -> list[str]:
    for candidate in (text, re.sub(r"(^|\s)#.*", "", text)):
        try:
            words = shlex.split(candidate)
        except ValueError:
            continue
        ends = [at for at, word in enumerate(words) if word.startswith("#")]
        return words[: ends[0]] if ends else words
    return text.split()


def join(words: list[str]) -> str:
    """Make one shell text of a command's words, quoting as bsub does."""
    return " ".join([*words[:1], *(_quoted(word) for word in words[1:])])


def _quoted(word: str) -> str:
    if not word:
        return "''"
    if '"' in word:
        return f"'{word}'" if "'" not in word else shlex.quote(word)
    if " " in word or "\t" in word or "\n" in word or "'" in word:
        return f'"{word}"'
    return word


# ---------------------------------------------------------------- times and limits


def minutes_s(text: str, what: str) -> float:
    """Read `[hour:]minute[/host]` as seconds.

    Args:
        what: the limit's name, for the complaint.
    """
    match = re.fullmatch(r"(?:(\d{1,7}):)?(\d{1,9})(?:/.*)?", text.strip(), re.ASCII)
    if match is None:
        raise BadValue(f"{text}: Bad {what} specification")
    return (int(match[1] or 0) * 60 + int(match[2])) * 60.0


def memory_mib(text: str, default: str, what: str = "MEMLIMIT") -> int:
    """Read a size as MiB, rounded up; `default` is the unit of a bare number."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGTPE]?)B?", text.strip().upper())
    if match is None:
        raise BadValue(f"{text}: Bad {what} specification")
    power = _UNITS[match[2] or default]
    return math.ceil(float(match[1]) * 1024.0 ** (power - 2))


def processors(text: str) -> int:
    """Read `-n min[,max]`; the smaller number is what is asked for."""
    match = re.fullmatch(r"(\d{1,7})?(?:,(\d{1,7}))?", text.strip(), re.ASCII)
    if match is None or not (match[1] or match[2]):
        raise BadValue("Bad argument for option -n")
    least = int(match[1] or 1)
    if least < 1 or (match[2] and int(match[2]) < least):
        raise BadValue("Bad argument for option -n")
    return least


def moment(text: str, now: float) -> float:
    """Read `[[[year:]month:]day:]hour:minute`: the next such time, in seconds since the epoch."""
    parts = text.strip().split(":")
    if not 2 <= len(parts) <= 5 or not all(re.fullmatch(r"\d{1,4}", part) for part in parts):
        raise BadValue(f"{text}: Bad time specification")
    *date, hour, minute = map(int, parts)
    here = time.localtime(now)
    year, month, day = [here.tm_year, here.tm_mon, here.tm_mday][: 3 - len(date)] + date
    if hour > 23 or minute > 59 or not 1 <= month <= 12 or not 1 <= day <= 31:
        raise BadValue(f"{text}: Bad time specification")
    when = time.mktime((year, month, day, hour, minute, 0, 0, 0, -1))
    if when >= now - 60 or len(date) == 3:
        return when
    later = {0: (0, 0, 1), 1: (0, 1, 0), 2: (1, 0, 0)}[len(date)]
    return time.mktime(
        (year + later[0], month + later[1], day + later[2], hour, minute, 0, 0, 0, -1)
    )


# ---------------------------------------------------------------- names


def split_name(text: str) -> tuple[str, ArraySpec | None]:
    """Read `-J name[1-10:2,20]%5`."""
    match = re.fullmatch(r"(.*)\[([^\[\]]*)\]\s*(?:%\s*(\d{1,7}))?", text, re.DOTALL)
    if match is None:
        return text, None
    indices: set[int] = set()
    for part in match[2].split(","):
        one = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9})(?:\s*:\s*(\d{1,9}))?)?\s*", part)
        if one is None:
            raise BadValue(f"{text}: Bad job array specification")
        first, last, step = int(one[1]), int(one[2] or one[1]), int(one[3] or 1)
        if first < 1 or last < first or step < 1:
            raise BadValue(f"{text}: Bad job array specification")
        if last > MAX_ARRAY:
            raise BadValue(f"{text}: Job array index too large (MAX_JOB_ARRAY_SIZE is {MAX_ARRAY})")
        indices.update(range(first, last + 1, step))
    return match[1], _array(sorted(indices), int(match[3] or 0))


def _array(indices: list[int], limit: int) -> ArraySpec:
    count = len(indices)
    step = indices[1] - indices[0] if count > 1 else 1
    if indices == list(range(indices[0], indices[0] + count * step, step)):
        return ArraySpec(indices[0], count, step, limit)
    return ArraySpec(indices[0], count, 1, limit, tuple(indices))


# ---------------------------------------------------------------- -R


@dataclass(frozen=True)
class Needs:
    """What a resource requirement asks for: memory and gpus that are set apart."""

    memory_mib: int = 0
    gpus: int = 0


def requirement(text: str) -> Needs:
    """Read the text of `-R`."""
    if not _is_balanced(text):
        raise BadValue("Bad resource requirement syntax")
    found = re.findall(r"(\w+)\s*\[((?:[^\[\]]|\[[^\]]*\])*)\]", text)
    if any(name not in _SECTIONS for name, _ in found):
        raise BadValue("Bad resource requirement syntax")
    memory, gpus = 0, 0
    for name, body in found:
        if name != "rusage":
            continue
        for item in re.split(r"[,:]|\|\|", body):
            key, equal, value = (part.strip() for part in item.partition("="))
            if key == "mem" and equal:
                try:
                    memory = memory_mib(value, "M")
                except BadValue:
                    raise BadValue("Bad resource requirement syntax") from None
            elif key in ("ngpus_physical", "ngpus_excl_p", "ngpus_shared", "ngpus", "gpu"):
                gpus = int(float(value)) if re.fullmatch(r"\d+(\.\d+)?", value) else 0
    return Needs(memory, gpus)


def _is_balanced(text: str) -> bool:
    closing = {"]": "[", ")": "(", "}": "{"}
    open_: list[str] = []
    for char in text:
        if char in closing.values():
            open_.append(char)
        elif char in closing and (not open_ or open_.pop() != closing[char]):
            return False
    return not open_
