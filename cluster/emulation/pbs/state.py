"""What PBS calls the state of a job: its letter, substate, exit status and comment.

Pure, but for the clock, which is an argument.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from cluster.emulation.machine import Row
from cluster.emulation.pbs.flavour import Flavour
from cluster.states import (
    CANCELLED,
    COMPLETED,
    FINAL,
    HELD,
    NODE_FAIL,
    OUT_OF_MEMORY,
    PENDING,
    RUNNING,
    SUSPENDED,
    TIMEOUT,
)

__all__ = ["comment", "exit_status", "holds", "is_over", "letter", "substate"]

_TERM = 15
_LIMITS = {TIMEOUT: (-29, -11), OUT_OF_MEMORY: (-27, -10), NODE_FAIL: (-4, -4)}
_EXCEEDED = {TIMEOUT: "walltime", OUT_OF_MEMORY: "mem"}
_SUBSTATES = {"Q": 10, "W": 30, "R": 42, "S": 43, "E": 51, "B": 70}
_BEGUN = (RUNNING, SUSPENDED)


def is_over(row: Row) -> bool:
    """Tell whether it is final, with all its processes gone."""
    return row.done


def waits(row: Row) -> bool:
    """Tell whether it waits for other jobs."""
    return bool(row.info.dependencies) and "Dependency: waits" in row.info.reason


def holds(row: Row) -> str:
    """Give the types of its holds: user, system (a dependency), or `n`."""
    found = row.extra.options.get("holds", "")
    if row.info.state == HELD and not found and "never" not in row.extra.options:
        found = "u"
    return found + ("s" if waits(row) else "") or "n"


def letter(row: Row, own: Flavour, now: float, *, in_live_array: bool = False) -> str:
    """Give the letter of its state.

    Args:
        in_live_array: it is an element of an array that is not over.
    """
    state = row.info.state
    if state in FINAL:
        if not row.done:
            return "E"
        if not own.is_pro:
            return "C"
        return "X" if in_live_array else "F"
    if row.info.counts:
        begun = sum(n for s, n in row.info.counts.items() if s not in (PENDING, HELD))
        if begun:
            return "B" if own.is_pro else "R"
    if state in _BEGUN:
        return "S" if state == SUSPENDED else "R"
    if "never" in row.extra.options:
        return "Q"
    if state == HELD or waits(row):
        return "H"
    return "W" if row.info.begin > now else "Q"


def exit_status(row: Row, own: Flavour) -> int | None:
    """Give its exit status as the server has it; None if it has none."""
    info = row.info
    if not row.done:
        return None
    if info.counts:
        if set(info.counts) == {CANCELLED} and not info.started:
            return None
        return int(any(s not in (COMPLETED, CANCELLED) for s in info.counts))
    if not info.started:
        return None if own.is_pro else 256 + _TERM
    if info.state in _LIMITS:
        return _LIMITS[info.state][not own.is_pro]
    if info.state == CANCELLED:
        return 256 + (info.signal or _TERM)
    if info.signal:
        return 256 + info.signal
    return info.exitcode


def substate(row: Row, mark: str) -> int:
    """Give the number that OpenPBS has beside the letter `mark`."""
    if mark == "H":
        return 22 if waits(row) else 20
    if mark not in "FX":
        return _SUBSTATES[mark]
    info = row.info
    counts: Mapping[str, int] = info.counts or {info.state: 1}
    if CANCELLED in counts:
        return 92 if _was_void(row) else 91
    return 92 if set(counts) == {COMPLETED} else 93


def _was_void(row: Row) -> bool:
    """Tell whether it was deleted because what it waited for can never be."""
    return "depend" in row.extra.options and "deleted" not in row.extra.options


def comment(row: Row, own: Flavour, host: str, vnode: str) -> str:
    """Give what the scheduler says of it; empty if that is nothing."""
    info = row.info
    if not own.is_pro:
        return f"Job started on {_at(info.started)}" if info.started else ""
    if "never" in row.extra.options and not info.started:
        return f"Can Never Run: Insufficient amount of resource: {row.extra.options['never']}"
    if info.counts:
        begun = {s for s in info.counts if s not in (PENDING, HELD)}
        if not begun or (begun == {CANCELLED} and not info.started):
            return ""
        text = f"Job Array Began at {_at(info.started or info.eligible or info.submitted)}"
    elif info.started:
        text = f"Job run at {_at(info.started)} on {vnode}"
    elif info.state == PENDING and info.reason.startswith(("Resources", "Priority")):
        return "Not Running: Insufficient amount of resource: ncpus"
    else:
        return ""
    return text + (_end(row, own, host) if row.done else "")


def _end(row: Row, own: Flavour, host: str) -> str:
    info = row.info
    if info.state in _EXCEEDED:
        return f" and exceeded resource {_EXCEEDED[info.state]}"
    if CANCELLED in (info.counts or {info.state: 1}):
        return " and terminated" + ("" if info.counts else f" by {_owner(row)}@{host}")
    return " and finished" if exit_status(row, own) == 0 else " and failed"


def _owner(row: Row) -> str:
    return row.extra.options.get("owner", "PBS Service")


def _at(when: float) -> str:
    return time.strftime("%a %b %d at %H:%M", time.localtime(when))
