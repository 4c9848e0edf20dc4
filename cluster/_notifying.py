"""`notify=`: whom the end of a job is told, and the job that tells them.

A cluster's scheduler sends mail itself.  Everything else is done by a small job
that waits for the other one, so that it happens whatever becomes of the program
that submitted them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster._job_keywords import working_directory
from cluster._option_directives import is_address

if TYPE_CHECKING:
    from cluster.job import Job

__all__ = ["followers"]

# What a site may insist on for every job, and where its files stand.
_SHARED = ("partition", "account", "qos", "filedir", "suffix", "python", "venv", "extra_directives")
_LIMIT_S = 900.0  # of the job that tells


def followers(jobs: Sequence[Job]) -> list[Job]:
    """Make the jobs that tell how these ended; they are not submitted yet."""
    return [
        _follower(job, str(job.options["notify"]))
        for job in jobs
        if job.options.get("notify")
        and (job.qtype == "local" or not is_address(str(job.options["notify"])))
    ]


def _follower(job: Job, wish: str) -> Job:
    place = os.fsdecode(working_directory(job.options))
    words = ["-m", "cluster._notifier", str(job.id), job.qtype, place, wish]
    made = job._like([sys.executable, *words])
    made.options = {key: job.options[key] for key in _SHARED if key in job.options}
    made.options |= {"dir": "/", "time": _LIMIT_S}  # a file there shadows no module
    made._after = [("afterany", job)]
    made._given_name = made._name = f"notify {job.name}"[:1000]
    return made
