"""Dependencies as sbatch takes them and squeue shows them.

Pure.  A job that Slurm no longer remembers counts as satisfied; what can never
hold leaves a job pending.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cluster.spec import Dependency

__all__ = ["BadDependency", "One", "parse", "show", "translate"]

_TYPES = ("afterok", "afterany", "afternotok", "after", "aftercorr", "afterburstbuffer", "expand")
_JOB = re.compile(r"(\d{1,18})(?:_(\d+|\*))?(?:\+(\w+))?\Z")


class BadDependency(ValueError):
    """It cannot be read."""


@dataclass(frozen=True)
class One:
    """One condition: of which type, on which job ("" for a singleton)."""

    type: str
    job: str = ""


def parse(text: str) -> tuple[list[One], bool]:
    """Read `afterok:1:2,afterany:3_4` or, with `?`, one of which is enough.

    Returns:
        The conditions, and whether one of them is enough.

    Raises:
        BadDependency: it cannot be read.
    """
    if not text or text == "none":
        return [], False
    either = "?" in text
    if either and "," in text:
        raise BadDependency(text)
    found: list[One] = []
    before = ""
    for part in re.split("[?,]", text):
        kind, *jobs = part.split(":")
        if kind.lower() == "singleton" and not jobs:
            found.append(One("singleton"))
            continue
        if kind.isdigit() and before:  # afterok:1,2
            kind, jobs = before, [kind, *jobs]
        if kind.isdigit() or "_" in kind:  # the oldest form, an id alone
            kind, jobs = "afterany", [kind, *jobs]
        before = kind.lower()
        if before not in _TYPES or not jobs:
            raise BadDependency(text)
        for job in jobs:
            match = _JOB.match(job)
            if match is None:
                raise BadDependency(text)
            index = "" if match[2] in (None, "*") else f"_{match[2]}"
            found.append(One(before, match[1] + index))
    return found, either


def translate(ones: Iterable[One], same_name: Sequence[str]) -> tuple[Dependency, ...]:
    """Write conditions as the queue has them; `same_name`: whom a singleton waits for."""
    found: list[Dependency] = []
    for one in ones:
        if one.type == "singleton":
            found += [Dependency(id, "afterany") for id in same_name]
        elif one.type in ("afterburstbuffer", "expand"):
            found.append(Dependency(one.job, "after"))
        else:
            found.append(Dependency(one.job, one.type))
    return tuple(dict.fromkeys(found))


def show(text: str, status: Callable[[One], str]) -> str:
    """Write what of a dependency does not hold yet.

    Args:
        text: as it was given.
        status: "unfulfilled", "failed", or "" when it holds; with "_*" behind the
            id of an array in front of it: "*unfulfilled".
    """
    try:
        ones, either = parse(text)
    except BadDependency:
        return ""
    parts: list[str] = []
    for one in ones:
        found = status(one)
        if found:
            star = "_*" if found.startswith("*") else ""
            job = f":{one.job}{star}" if one.job else ""
            parts.append(f"{one.type}{job}({found.removeprefix('*')})")
    return ("?" if either else ",").join(parts)
