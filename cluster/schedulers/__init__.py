"""The schedulers that jobs can be handed to, by name."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cluster.errors import OptionsError, QueueError

if TYPE_CHECKING:
    from cluster.schedulers.base import Scheduler

__all__ = ["QTYPES", "canonical", "get"]

QTYPES = ("local", "slurm", "torque", "sge", "lsf")
_SYNONYMS = {"normal": "local", "pbs": "torque", "gridengine": "sge"}


def canonical(qtype: str) -> str:
    """Give the one name of a scheduler: "normal" is "local".

    Raises:
        OptionsError: there is no scheduler of this name.
    """
    name = _SYNONYMS.get(qtype, qtype)
    if name not in QTYPES:
        raise OptionsError(f"qtype {qtype!r} is unknown. There are: {', '.join(QTYPES)}.")
    return name


@cache
def get(qtype: str) -> Scheduler:
    """Give the scheduler of this name.

    Raises:
        OptionsError: there is none of this name.
        QueueError: it is not available.
    """
    name = canonical(qtype)
    if name != qtype:
        return get(name)
    if name != "local":
        raise QueueError(
            f"qtype {name!r} is not available in this version: jobs run on this machine only. "
            "Leave qtype out, or give qtype='local'."
        )
    from cluster.schedulers.local import LocalScheduler

    return LocalScheduler()
