"""What a job of PBS is asked to be: options of qsub, checked and merged.

Pure.  Options on the command line count more than directives; of resources,
variables and `-W`, each name by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cluster.emulation.pbs.words import pairs, split_commas

__all__ = [
    "OTHERS",
    "PRO",
    "TORQUE",
    "BadValue",
    "Indices",
    "Wishes",
    "begin",
    "check_name",
    "indices",
]

PRO = "a:A:c:C:e:fGhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
TORQUE = "a:A:b:c:C:d:D:e:EfF:hIj:k:K:l:L:m:M:nN:o:p:P:q:r:S:t:T:u:v:Vw:W:xXz"
OTHERS = {True: "d:D:w:t:F:K:", False: "J:R:"}  # of the other flavour, taken with a warning
_REPEATED = "lvW"


class BadValue(ValueError):
    """The value of an option is illegal; its text is the option's letter."""


@dataclass(frozen=True)
class Indices:
    """The indices of an array.

    Attributes:
        listed: each of them, in order.
        text: as it was asked for, without the limit.
        limit: so many at once; 0 is no limit.
    """

    listed: tuple[int, ...]
    text: str
    limit: int = 0

    @property
    def step(self) -> int:
        """The one step between all of them; 0 if there is none."""
        steps = {b - a for a, b in zip(self.listed, self.listed[1:], strict=False)}
        return next(iter(steps)) if len(steps) == 1 else int(not steps)


@dataclass
class Wishes:
    """Options by their letters; `W` and `l` taken apart.

    Attributes:
        one: the value of each option that counts once; "" for switches.
        resources: texts of `-l`, those that count more first.
        variables: of `-v`; None takes the submitter's value.
        others: of `-W`.
    """

    one: dict[str, str] = field(default_factory=dict)
    resources: list[str] = field(default_factory=list)
    variables: dict[str, str | None] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, *sources: Iterable[tuple[str, str]]) -> Wishes:
        """Merge options, those that count more first.

        Raises:
            BadValue: a value that cannot be read.
        """
        made = cls()
        for source in sources:
            options = list(source)
            once = {letter: value for letter, value in options if letter not in _REPEATED}
            made.one = {**once, **made.one}
            made.resources += [value for letter, value in options if letter == "l"]
            named: dict[str, str | None] = {}
            others: dict[str, str] = {}
            for letter, value in options:
                if letter == "v":
                    named.update(_variables(value))
                elif letter == "W":
                    others.update(_others(value))
            made.variables = {**named, **made.variables}
            made.others = {**others, **made.others}
        return made

    def has(self, letter: str) -> bool:
        """Tell whether a switch is there."""
        return letter in self.one


def _variables(text: str) -> Mapping[str, str | None]:
    found = dict(pairs(text))
    if any(not re.fullmatch(r"[^\W\d]\w*(\(\))?", name) for name in found):
        raise BadValue("v")
    return found


def _others(text: str) -> Mapping[str, str]:
    """Read `depend=afterok:1,afterany:2,block=true`: a piece without a name goes on."""
    found: dict[str, str] = {}
    last = ""
    for piece in split_commas(text):
        name, equal, value = piece.strip().partition("=")
        if equal and re.fullmatch(r"\w+", name):
            last, found[name] = name, value
        elif last:
            found[last] += "," + piece.strip()
        else:
            raise BadValue("W")
    return found


def check_name(name: str, *, is_pro: bool) -> None:
    """Refuse the name of a job.

    Raises:
        BadValue: it is none.
    """
    first = r"[A-Za-z0-9_+\-]" if is_pro else r"[A-Za-z]"
    if not re.fullmatch(first + r"[^\s\x00-\x1f]{0,229}", name):
        raise BadValue("N")


def indices(text: str, *, is_pro: bool) -> Indices:
    """Read `X-Y[:Z][%N]` of OpenPBS, or ranges and single ones of Torque.

    Raises:
        BadValue: it is neither.
    """
    letter = "J" if is_pro else "t"
    body, percent, limit = text.partition("%")
    if percent and not (limit.isdigit() and int(limit)):
        raise BadValue(letter)
    found: list[int] = []
    for piece in body.split(",") if not is_pro else [body]:
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", piece.strip(), re.ASCII)
        if match is None or (is_pro and match[2] is None):
            raise BadValue(letter)
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1 or (is_pro and last == first):
            raise BadValue(letter)
        if (last - first) // step > 1_000_000:
            raise BadValue(letter)
        found += range(first, last + 1, step)
    return Indices(tuple(sorted(set(found))), body, int(limit or 0))


def begin(text: str, now: datetime) -> float:
    """Read `[[[[CC]YY]MM]DD]hhmm[.SS]`: the next such time; give seconds since the epoch.

    Raises:
        BadValue: it is no time.
    """
    match = re.fullmatch(r"((?:(\d\d)?(\d\d))?(\d\d))?(\d\d)?(\d\d)(\d\d)(?:\.(\d\d))?", text)
    digits, _, second = text.partition(".")
    if match is None or len(digits) % 2 or not 4 <= len(digits) <= 12:
        raise BadValue("a")
    fields = [int(digits[at : at + 2]) for at in range(0, len(digits), 2)]
    hour, minute = fields[-2:]
    day = fields[-3] if len(fields) >= 3 else now.day
    month = fields[-4] if len(fields) >= 4 else now.month
    year = fields[-5] + now.year // 100 * 100 if len(fields) >= 5 else now.year
    if len(fields) == 6:
        year = fields[0] * 100 + fields[1]
    try:
        when = datetime(year, month, day, hour, minute, int(second or 0))
    except ValueError:
        raise BadValue("a") from None
    if when < now and len(fields) == 2:
        when += timedelta(days=1)
    return when.timestamp()
