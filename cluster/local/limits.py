"""The limits of running jobs: walltime by the clock, memory by measuring.

Memory is measured only where no cgroup enforces it; of a cgroup that ends one process of
a job, the others are ended here, or they might wait for it for ever.  Times are on the
monotonic clock: a change of the wall clock ends no job, and the time a laptop
sleeps does not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from cluster.local import processes
from cluster.local.ending import Ending
from cluster.local.journal import Key
from cluster.local.loop import Loop
from cluster.local.node_job import Job

End = Callable[[Job, str, str, float], None]


class Limits:
    """Watches the limits of jobs and has them ended.

    Args:
        loop: calls back.
        ending: finds and signals the processes of a job.
        end: takes job, why, reason, grace in seconds.
        interval_s: between two measurements of memory.
    """

    def __init__(self, loop: Loop, ending: Ending, end: End, *, interval_s: float) -> None:
        self._loop, self._ending, self._end = loop, ending, end
        self._interval_s = interval_s
        self._watched: dict[Key, Job] = {}
        self._is_watching = False

    def begin(self, job: Job) -> None:
        """The job has its process now."""
        if job.order.walltime_s:
            self._limit_time(job, job.order.walltime_s)
        if job.order.memory_mib and not job.launch.soft_memory:
            self._limit_memory(job)

    def forget(self, job: Job) -> None:
        """Its first process ended."""
        for timer in job.timers:
            timer.cancel()
        self._watched.pop(job.key, None)

    def _limit_time(self, job: Job, limit_s: float) -> None:
        reason = f"it reached its walltime of {limit_s:g} s"
        job.timers.append(
            self._loop.later(limit_s, lambda: self._end(job, "walltime", reason, job.grace_s))
        )
        number, before_s = job.launch.warn_signal, job.launch.warn_before_s
        if number and before_s <= limit_s:
            job.timers.append(self._loop.later(limit_s - before_s, lambda: self._warn(job, number)))

    def _warn(self, job: Job, number: int) -> None:
        if not job.launch.warn_first:
            self._ending.send(job, number)
        elif job.status is None:  # not reaped yet: the number is still its own
            with suppress(OSError):
                os.kill(job.pid, number)

    def _limit_memory(self, job: Job) -> None:
        if job.group is not None and job.is_function:
            try:
                job.group.add(job.pid)
            except OSError:
                job.group.remove()
                job.group = None
        if job.group is None or not job.group.ends_all:
            self._watched[job.key] = job
            if not self._is_watching:
                self._is_watching = True
                self._loop.later(self._interval_s, self._measure)

    def _measure(self) -> None:
        self._is_watching = bool(self._watched)
        if self._is_watching:  # first of all, so that no error below ends the watching
            self._loop.later(self._interval_s, self._measure)
        for job in list(self._watched.values()):
            if reason := self._excess(job):
                del self._watched[job.key]
                self._end(job, "memory", reason, 0.0)

    def _excess(self, job: Job) -> str:
        limit_mib = job.order.memory_mib
        if job.group is not None:
            return exceeded(limit_mib) if job.group.oom_kills() else ""
        used_mib = processes.memory_mib(self._ending.tree(job), limit_mib=limit_mib)
        job.peak_memory_mib = max(job.peak_memory_mib, used_mib)
        if used_mib <= limit_mib:
            return ""
        return f"it used {used_mib:.0f} MiB of memory, its limit is {limit_mib} MiB"


def exceeded(limit_mib: int) -> str:
    """Say why a job was ended whose cgroup was full."""
    return f"it needed more memory than {limit_mib} MiB"
