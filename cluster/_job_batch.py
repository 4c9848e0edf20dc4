"""Submitting jobs together: their order, one check of all, one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster import queue
from cluster.errors import ClusterError, OptionsError, ServerUnavailable
from cluster.request import Problems, check_main_is_there
from cluster.schedulers.base import Call

if TYPE_CHECKING:
    from cluster.job import Job
    from cluster.schedulers.base import Request, Scheduler

__all__ = ["ancestors", "make_all", "submit_all"]


_PROGRAM = {"command", "args", "kwargs"}  # the words that say what runs, not how


def make_all(kind: type[Job], wanted: Iterable[Any], options: Mapping[str, Any]) -> list[Job]:
    """Make jobs of commands and of mappings; the keywords they share are read once."""
    made: list[Job] = []
    first: Job | None = None
    for one in wanted:
        if isinstance(one, kind):
            made.append(one)
            continue
        words = one if isinstance(one, Mapping) else {"command": one}
        if "command" not in words and "command" not in options:
            has = ", ".join(map(repr, words)) or "nothing"
            raise OptionsError(f"job {len(made)} of the list has no 'command'; it has {has}.")
        if not words.keys() <= _PROGRAM or options.keys() & _PROGRAM:
            made.append(kind(**{**options, **words}))
        elif first is None:
            first = kind(**{**options, **words})
            made.append(first)
        else:
            made.append(_another(first, words, options))
    return made


def _another(first: Job, words: Mapping[str, Any], options: Mapping[str, Any]) -> Job:
    try:
        return first._like(**words)
    except (OptionsError, TypeError):
        return type(first)(**{**options, **words})  # the same mistake, and all others beside it


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
        scheduler: _requests(places, problems) for scheduler, places in by_scheduler.items()
    }
    problems.raise_all(f"job {jobs[0].name!r}" if len(jobs) == 1 else f"{len(jobs)} jobs")
    for scheduler, places in by_scheduler.items():
        mine = list(places)
        _wait_for_room(mine[0], max_queue_len)
        if scheduler.needs_files:
            for job, made in zip(mine, requests[scheduler], strict=True):
                job._write(True, made)
        scripts = [job.scripts for job in mine] if scheduler.needs_files else ()
        try:
            ids = scheduler.submit(requests[scheduler], scripts)
        except (OptionsError, ServerUnavailable) as error:
            # Nothing was queued: the files serve nobody.  Of several jobs, some may be
            # queued still when there is suddenly no server to take them back.
            if isinstance(error, OptionsError) or len(mine) == 1:
                for job in mine:
                    job.clean()
            raise
        for job, id in zip(mine, ids, strict=True):
            job._submitted(id)
    if any(job.options.get("notify") for job in jobs):
        _submit_followers(jobs)


def _submit_followers(jobs: Sequence[Job]) -> None:
    """Queue the jobs that tell how these end; these are queued, whatever becomes of that."""
    from cluster import logme
    from cluster._notifying import followers

    try:
        made = followers(jobs)
        if made:
            submit_all(made, 0)
    except ClusterError as error:
        ids = ", ".join(str(job.id) for job in jobs[:8])
        logme.log(f"nobody will be told how job {ids} ends: {error}", "error")


def _requests(places: dict[Job, int], problems: Problems) -> list[Request]:
    made: list[Request] = []
    before = None
    for job in places:
        if before is None or not _repeats(job, *before):
            before = job, job._request(problems, places)
        made.append(before[1])
    return made


def _repeats(job: Job, other: Job, made: Request) -> bool:
    """Tell whether the request of another job says all that this one's would."""
    mine, its = job._program, other._program
    if isinstance(mine, Call):
        if not isinstance(its, Call) or mine.function is not its.function:
            return False
        if mine.args or mine.kwargs or its.args or its.kwargs:
            return False
        if made.payload is None or made.payload.is_large:
            return False
    elif mine != its:
        return False
    return (
        not (job._after or other._after)
        and job._given_name == other._given_name
        and job.options == other.options
    )


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
