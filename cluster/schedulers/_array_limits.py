"""How large an array a scheduler takes, by asking it.

The site's limit is asked for once in a process; what cannot be found out counts
as no limit, for then the scheduler says itself what it refuses.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from cluster.errors import QueueError

__all__ = ["largest_index", "lowest_index"]

# How to ask, where the number stands, and what the largest index is less than it.
_ASK: dict[str, tuple[tuple[str, ...], re.Pattern[str], int]] = {
    "slurm": (("scontrol", "show", "config"), re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.M), 1),
    "sge": (("qconf", "-sconf"), re.compile(r"^max_aj_tasks\s+(\d+)", re.M), 0),
    "lsf": (("bparams", "-a"), re.compile(r"\bMAX_JOB_ARRAY_SIZE\s*=\s*(\d+)"), 0),
}
_COUNT_FROM_0 = ("local", "slurm", "torque")


def lowest_index(scheduler: Any) -> int:
    """Give the smallest index that a scheduler takes."""
    return 0 if scheduler.qtype in _COUNT_FROM_0 else 1


def largest_index(scheduler: Any) -> int:
    """Give the largest index that a scheduler takes; 0 is no limit.

    A scheduler may say so itself by an attribute `largest_index`.
    """
    told = getattr(scheduler, "largest_index", None)
    if told is not None:
        return int(told)
    if not hasattr(scheduler, "programs") or scheduler.qtype not in _ASK:
        return 0
    return _asked(scheduler.programs, scheduler.qtype)


@cache
def _asked(programs: Any, qtype: str) -> int:
    argv, pattern, less = _ASK[qtype]
    try:
        found = pattern.search(programs.run(argv).stdout)
    except QueueError:
        return 0
    return max(0, int(found[1]) - less) if found else 0
