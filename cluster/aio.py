"""Jobs in asyncio programs: submitting and waiting that never block the event loop.

    job = await cluster.aio.submit(func, args)
    value = await job
    async for job in cluster.aio.as_completed(jobs): ...

Any number of jobs, awaited in any number of event loops, are watched by one
thread over one connection.  To cancel a task that waits leaves the job alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from cluster import job as jobs_
from cluster import queue
from cluster._awaiting import in_thread, telling, value
from cluster._job_view import JobView
from cluster._waiting import Waiting, flatten
from cluster._watching import watch
from cluster.errors import ClusterError, WaitTimeout
from cluster.job import Job
from cluster.schedulers.base import Ending
from cluster.units import Timeout, parse_timeout

__all__ = ["as_completed", "cancel", "get", "submit", "submit_many", "wait"]


async def submit(command: Any, args: Any = None, **keywords: Any) -> Job:
    """Queue a function or a command; see `cluster.submit`."""
    return await in_thread(jobs_.submit, command, args, **keywords)


async def submit_many(jobs: Iterable[Any], **keywords: Any) -> list[Job]:
    """Queue many jobs at once, all of them or none; see `cluster.submit_many`."""
    return await in_thread(jobs_.submit_many, jobs, **keywords)


async def cancel(jobs: Any) -> dict[str, str]:
    """End jobs, whether they run or wait; see `cluster.cancel`."""
    return await in_thread(queue.cancel, jobs)


async def get(jobs: Any, timeout: Timeout = None) -> Any:
    """Wait for a job and give what `Job.get` gives; of many jobs, a list in their order.

    Args:
        jobs: a Job, an id, a JobArray, or lists of these.
        timeout: for all of them: seconds, or a text such as "90s"; None is no limit.

    Raises:
        WaitTimeout: a `TimeoutError`; the jobs go on.
        Exception: what a function raised; see `Job.get`.
    """
    if isinstance(jobs, Mapping) or not _is_one(jobs):
        many = [_as_job(job) for job in flatten(jobs, elements=True)]
        await wait(many, timeout)
        return [await value(job) for job in many]
    job = _as_job(jobs)
    if not isinstance(job, JobView):  # a JobArray: many jobs under one id
        await wait(job, timeout)
        return await in_thread(job.get)
    if timeout is not None:
        await wait(job, timeout)
    return await value(job)


def _is_one(jobs: Any) -> bool:
    return isinstance(jobs, str | int) or hasattr(jobs, "id")


def _as_job(job: Any) -> Any:
    if isinstance(job, str | int):
        return Job._of(str(job), queue.scheduler_for())
    return job


async def wait(jobs: Any, timeout: Timeout = None) -> bool:
    """Wait until jobs are in their final states.

    Args:
        jobs: a Job, an id, or lists of these.
        timeout: seconds, or a text such as "90s"; None is no limit.

    Returns:
        True if all of them are COMPLETED.

    Raises:
        WaitTimeout: a `TimeoutError`; the jobs go on.
        UnknownJob: an id names no job.
        QueueError: the queue could not be asked; the jobs may well go on.
    """
    completed = True
    async for ending, _ in _endings(jobs, timeout):
        completed &= ending.info.state == "COMPLETED"
    return completed


async def as_completed(jobs: Any, timeout: Timeout = None) -> AsyncIterator[Any]:
    """Give jobs back as they reach their final states, each as it was given.

    Args:
        jobs: Jobs, ids, arrays (their elements are given), or lists of these.
        timeout: for all of them: seconds, or a text such as "90s"; None is no limit.

    Raises:
        WaitTimeout: a `TimeoutError`; the jobs go on.
    """
    async for _, objects in _endings(jobs, timeout, elements=True):
        for job in objects:
            yield job


async def _endings(
    jobs: Any, timeout: Timeout, *, elements: bool = False
) -> AsyncIterator[tuple[Ending, list[Any]]]:
    arrived: asyncio.Queue[tuple[Any, Ending | ClusterError]] = asyncio.Queue()
    limit = parse_timeout(timeout)
    deadline = None if limit is None else time.monotonic() + limit
    left: dict[tuple[Any, str], list[Any]] = {}
    forget = []
    try:
        for scheduler, mine in Waiting(jobs, queue.scheduler_for, elements=elements).given.items():
            left.update({(scheduler, id): objects for id, objects in mine.items()})

            def tell(what: Ending | ClusterError, scheduler: Any = scheduler) -> None:
                arrived.put_nowait((scheduler, what))

            forget.append(watch(scheduler, list(mine), telling(tell), awaited=True))
        while left:
            scheduler, what = await _next(arrived, deadline, limit, len(left))
            if isinstance(what, ClusterError):
                raise what
            objects = left.pop((scheduler, what.info.id), [])
            for job in objects:
                if hasattr(job, "note"):
                    job.note(what)
            yield what, objects
    finally:
        for each in forget:
            each()


async def _next(
    arrived: asyncio.Queue[Any], deadline: float | None, timeout: float | None, count: int
) -> Any:
    if deadline is None or not arrived.empty():
        return await arrived.get()
    try:
        return await asyncio.wait_for(arrived.get(), max(0.0, deadline - time.monotonic()))
    except asyncio.TimeoutError:
        raise WaitTimeout(f"{count} jobs did not end within {timeout:g} s; they go on") from None
