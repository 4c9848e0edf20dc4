"""Jobs whose submitter may be killed before it has written down that they are queued.

    written down: a mark, and what is about to be queued -> jobs, each with the mark -> their ids
                                                         ^ killed here: found by the mark

So nothing is run twice, and nothing that was not queued is taken for queued.
The records of pipelines and of sweeps say what a mark stands for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from glob import escape
from typing import Any

from cluster import queue
from cluster.errors import OptionsError, PayloadError, UnknownDependency, Unsatisfiable
from cluster.job import Job
from cluster.options import canonical_name
from cluster.schedulers.base import JobInfo

__all__ = ["REFUSED", "find", "marked", "new_mark"]

# After other errors a job may be queued that nobody knows.
REFUSED = (OptionsError, PayloadError, Unsatisfiable, UnknownDependency)


def new_mark(kind: str) -> str:
    """Give a mark for jobs that are about to be queued together."""
    return f"{kind}-{os.urandom(8).hex()}"


def marked(options: Mapping[str, Any], model: Job, mark: str) -> dict[str, Any]:
    """Put a mark behind the user's own remark.

    Args:
        options: keywords of jobs.
        model: such a job: it knows the remark, which a profile may have given.
        mark: of the handover.
    """
    words = {key: word for key, word in options.items() if canonical_name(key) != "comment"}
    remark = model.options.get("comment", "")
    return words | {"comment": f"{remark} {mark}".lstrip()}


def find(mark: str, qtypes: Iterable[str], name: str, *, inner: bool = True) -> list[JobInfo]:
    """Give the jobs with a mark, in the order in which they were queued.

    Args:
        mark: of the handover.
        qtypes: where they are.
        name: what they are called.
        inner: their names go on behind that, with a dot.

    Raises:
        QueueError: a scheduler cannot be asked.
    """
    pattern = f"{escape(name)}.*" if inner else escape(name)
    return [
        info
        for qtype in dict.fromkeys(qtypes)
        for info in queue.scheduler_for(qtype).named(pattern)
        if mark in info.comment
    ]
