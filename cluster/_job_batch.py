"""Submitting jobs together: their order, one check of all, one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster import queue
from cluster.errors import OptionsError
from cluster.request import Problems, check_main_is_there

if TYPE_CHECKING:
    from cluster.job import Job
    from cluster.schedulers.base import Scheduler

__all__ = ["ancestors", "submit_all"]


def submit_all(jobs: Sequence[Job], max_queue_len: int | None) -> None:
    """Queue jobs, those that others of them wait for first; all or none per scheduler.

    Raises:
        OptionsError: every mistake of every job; nothing was queued.
    """
    check_main_is_there()
    for job in jobs:
        if job.id is not None:
            raise OptionsError(f"job {job.id} was submitted already. Use its resubmit().")
    by_scheduler: dict[Scheduler, dict[Job, int]] = {}
    for job in _in_order(jobs):
        places = by_scheduler.setdefault(job.scheduler, {})
        places[job] = len(places)
    problems = Problems()
    requests = {
        scheduler: [job._request(problems, places) for job in places]
        for scheduler, places in by_scheduler.items()
    }
    problems.raise_all(f"job {jobs[0].name!r}" if len(jobs) == 1 else f"{len(jobs)} jobs")
    for scheduler, places in by_scheduler.items():
        mine = list(places)
        _wait_for_room(mine[0], max_queue_len)
        if scheduler.needs_files:
            for job in mine:
                job.write()
        scripts = [job.scripts for job in mine] if scheduler.needs_files else ()
        ids = scheduler.submit(requests[scheduler], scripts)
        for job, id in zip(mine, ids, strict=True):
            job._submitted(id)


def _in_order(jobs: Sequence[Job]) -> Sequence[Job]:
    """Put jobs behind those of them that they wait for."""
    here = dict.fromkeys(jobs)
    waits = {job: [other for _, other in job._after if other in here] for job in here}
    if not any(waits.values()):
        return list(here)
    from graphlib import CycleError, TopologicalSorter

    try:
        return list(TopologicalSorter(waits).static_order())
    except CycleError as error:
        names = " -> ".join(repr(job.name) for job in error.args[1])
        raise OptionsError(f"jobs wait for each other: {names}. That is a cycle.") from None


def _wait_for_room(job: Job, max_queue_len: int | None) -> None:
    wanted = job.options.get("max_queue_len") if max_queue_len is None else max_queue_len
    if queue.queue_limit(wanted):
        queue.Queue(qtype=job.qtype).wait_to_submit(wanted)


def ancestors(job: Job) -> set[Job]:
    """Give the jobs, not yet submitted, that a job waits for, and those they wait for."""
    found: set[Job] = set()
    left = [job]
    while left:
        for _, other in left.pop()._after:
            if other not in found:
                found.add(other)
                left.append(other)
    return found
