"""The jobs of a cluster's scheduler, behind the few questions that the verbs ask.

The local queue's client answers the same ones.  Nothing is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from cluster.local.wire import Content, JobInfo
from cluster.schedulers.base import Ending
from cluster.schedulers.command import CommandScheduler
from cluster.spec import Launch

__all__ = ["ClusterJobs"]


class ClusterJobs:
    """What the verbs ask of a queue, asked of a scheduler."""

    def __init__(self, scheduler: CommandScheduler) -> None:
        self._scheduler = scheduler

    def query(
        self,
        ids: Sequence[str] | None = None,
        *,
        states: Sequence[str] = (),
        name: str = "",
        since: float = 0.0,
        limit: int = 0,
        elements: bool = False,
    ) -> list[JobInfo]:
        """Give jobs by id, or those of the queue and of the last day; one's own."""
        if ids is not None:
            found = self._scheduler.query(ids, elements=elements)
        else:
            found = self._scheduler.jobs(user=None, partition=None)
            if elements:
                found = self._scheduler.query([job.id for job in found], elements=True)
        chosen = [
            job
            for job in found
            if (not states or job.state in states or any(s in states for s in job.counts))
            and (not name or fnmatchcase(job.name, name))
            and max(job.submitted, job.ended) >= since
        ]
        return chosen[-limit:] if limit else chosen

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do `verb` to jobs; say what happened to each."""
        return self._scheduler.act(verb, ids, number)

    def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> Iterator[Ending]:
        """Give each job as it ends."""
        return self._scheduler.endings(ids, timeout=timeout)

    def fetch(self, id: str) -> Content:
        """Give what a job wrote, so far."""
        return self._scheduler.content(id)

    def describe(self, id: str) -> Launch:
        """Give how a job was started, as far as it was submitted from here."""
        entry = self._scheduler.remembered(id)
        info = next(iter(self._scheduler.query([id])), None)
        stdout, stderr = (info.stdout, info.stderr) if info else (b"", b"")
        if entry is None:
            return Launch(stdout=stdout, stderr=stderr, cwd=b"")
        is_command = entry.info.kind == "command"
        return Launch(
            argv=tuple(map(os.fsencode, entry.words)) if is_command else (),
            calls="" if is_command else " ".join(entry.words),
            cwd=os.fsencode(entry.cwd),
            stdout=stdout,
            stderr=stderr,
        )
