"""The view over a scheduler's jobs: which there are, waiting for them, room for more.

It decides nothing about jobs and keeps no connection; a scheduler answers.  A
query that fails makes what is known *stale*, never finished.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from cluster import config_file, schedulers
from cluster._waiting import Waiting, flatten, id_of, wait_for
from cluster.errors import QueueError, UnknownJob, WaitTimeout
from cluster.schedulers.base import JobInfo, Resources, Scheduler
from cluster.states import FINAL
from cluster.units import Timeout, parse_timeout

__all__ = [
    "Queue",
    "QueueError",
    "QueueJob",
    "as_completed",
    "cancel",
    "check_queue",
    "flatten",
    "get_cluster_environment",
    "id_of",
    "wait",
]

MODE: str


def __getattr__(name: str) -> Any:
    # MODE is found out when somebody first wants to know, not by the import.
    if name == "MODE":
        return get_cluster_environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_cluster_environment() -> str:
    """Find out which scheduler jobs go to, and set `MODE`.

    `$CLUSTER_QTYPE` decides, then the setting `queue.qtype`; else the first
    scheduler that answers here (Slurm, LSF, Grid Engine, Torque or PBS); else
    jobs run on this machine.

    Returns:
        A qtype, such as "local".

    Raises:
        OptionsError: the variable or the setting names no scheduler.
    """
    asked = os.environ.get("CLUSTER_QTYPE") or config_file.get("queue", "qtype")
    told = bool(asked) and asked != "auto"
    mode = schedulers.canonical(str(asked)) if told else _look_for_scheduler()
    globals()["MODE"] = mode
    return mode


@cache
def _look_for_scheduler() -> str:
    silent = {}
    for qtype in schedulers.CLIENTS:
        found = schedulers.probe(qtype)
        if found.version:
            return qtype
        if found.problem:
            silent[qtype] = found
    if silent:
        from cluster import logme

        words = "; ".join(f"{qtype}: {found.problem}" for qtype, found in silent.items())
        logme.log(
            "the programs of a scheduler are on PATH, but nobody answers them: jobs run on this "
            f"machine ({words}). qtype='local' or CLUSTER_QTYPE=local says that this is meant",
            "warn",
        )
    return "local"


def check_queue(qtype: str | None = None) -> None:
    """Raise if there is no such scheduler, or it is not available.

    Args:
        qtype: which; None is `MODE`.

    Raises:
        OptionsError: no scheduler has this name.
        QueueError: it has, and cannot be used.
    """
    scheduler_for(qtype)


def scheduler_for(qtype: str | None = None) -> Scheduler:
    """Give the scheduler of this name; None is the current one."""
    return schedulers.get(qtype or sys.modules[__name__].MODE)


# ---------------------------------------------------------------- waiting


def wait(jobs: Any, timeout: Timeout = None, progress: bool | None = None) -> bool:
    """Block until jobs are in their final states.

    While a job waits for jobs of the same queue, its cores are lent to others.
    Ctrl-C ends the waiting and leaves the jobs alone.

    Args:
        jobs: a Job, an id, or lists of these.
        timeout: seconds, or a text such as "90s"; None is no limit.
        progress: show a line that counts; None shows it on a terminal when
            there are several jobs.

    Returns:
        True if all of them are COMPLETED.

    Raises:
        WaitTimeout: a `TimeoutError`; the jobs go on.
        OptionsError: `timeout` cannot be read.
        UnknownJob: an id names no job.
        QueueError: the queue could not be asked; the jobs may well go on.
    """
    return wait_for(Waiting(jobs, scheduler_for), timeout, progress, content=False)


def wait_for_content(job: Any, timeout: Timeout) -> None:
    """Block until a job has ended; it learns what it left in the same answer."""
    wait_for(Waiting(job, scheduler_for), timeout, False, content=True)


def as_completed(jobs: Any, timeout: Timeout = None) -> Iterator[Any]:
    """Give jobs back as they reach their final states, each as it was given.

    Args:
        jobs: Jobs, ids, arrays (their elements are given), or lists of these.
        timeout: for all of them: seconds, or a text such as "90s"; None is no limit.

    Raises:
        WaitTimeout: a `TimeoutError`; the jobs go on.
    """
    for _, objects in Waiting(jobs, scheduler_for, elements=True).endings(timeout):
        yield from objects


def cancel(jobs: Any) -> dict[str, str]:
    """End jobs, whether they run or wait.  A job that has ended stays as it is.

    Returns:
        For each id, what happened, in a few words.
    """
    answers: dict[str, str] = {}
    for scheduler, ids in Waiting(jobs, scheduler_for).given.items():
        answers.update(scheduler.act("cancel", list(ids)))
    return answers


# ---------------------------------------------------------------- the queue


class QueueJob(msgspec.Struct, frozen=True):
    """A job as the queue lists it, whoever submitted it.

    Attributes:
        info: everything the scheduler said.
    """

    info: JobInfo
    scheduler: Scheduler

    @property
    def id(self) -> str:
        """Its id, as people see it."""
        return self.info.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def state(self) -> str:
        """Its state when the queue was last read."""
        return self.info.state

    @property
    def cores(self) -> int:
        """How many cores it takes."""
        return self.info.cores

    @property
    def memory_mib(self) -> int:
        """How much memory it asked for; 0 if for none."""
        return self.info.memory_mib

    @property
    def exitcode(self) -> int | None:
        """Its exit code; None while it has none."""
        return self.info.exitcode

    @property
    def reason(self) -> str:
        """Why it waits, or why it ended."""
        return self.info.reason

    @property
    def done(self) -> bool:
        """Whether its state is final."""
        return self.info.state in FINAL

    def __str__(self) -> str:
        """Give one line for people."""
        return f"{self.id} {self.name} {self.state}"


_Row = QueueJob  # in the class below, the name is an attribute


class Queue:
    """The jobs of a user: waiting, running, and lately ended.

    Reading is done by `update()`, once at the start and then when asked for.

    Attributes:
        stale: the last reading failed; what is shown is from before.
        updated: when it was last read, seconds since the epoch.
    """

    QueueError = QueueError
    QueueJob = QueueJob

    def __init__(
        self, user: str | None = None, qtype: str | None = None, partition: str | None = None
    ) -> None:
        """Open the view and read it once.

        Args:
            user: whose jobs; None is one's own.
            qtype: which scheduler; None is the current one.
            partition: only jobs there.

        Raises:
            QueueError: the scheduler is not available, or cannot be asked.
        """
        self.user, self.partition = user, partition
        self.scheduler = scheduler_for(qtype)
        self.qtype = self.scheduler.qtype
        self._jobs: dict[str, _Row] = {}
        self.stale, self.updated = True, 0.0
        self._read()

    def _read(self) -> None:
        infos = self.scheduler.jobs(user=self.user, partition=self.partition)
        self._jobs = {info.id: _Row(info, self.scheduler) for info in infos}
        self.stale, self.updated = False, time.time()

    def update(self) -> Queue:
        """Read the queue again; if that fails, keep what was known and be `stale`."""
        try:
            self._read()
        except QueueError as error:
            from cluster import logme

            self.stale = True
            logme.log(f"the queue could not be read: {error}", "warn")
        return self

    @property
    def jobs(self) -> list[_Row]:
        """All jobs, in the order of their ids."""
        return list(self._jobs.values())

    queue = jobs

    @property
    def queued(self) -> list[_Row]:
        """The jobs that wait, held ones too."""
        return [job for job in self.jobs if job.state in ("PENDING", "HELD")]

    @property
    def running(self) -> list[_Row]:
        """The jobs that run, suspended ones too."""
        return [job for job in self.jobs if job.state in ("RUNNING", "SUSPENDED")]

    @property
    def completed(self) -> list[_Row]:
        """The jobs that ended lately, however they ended."""
        return [job for job in self.jobs if job.done]

    def __iter__(self) -> Iterator[_Row]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return (isinstance(job, str | int) or hasattr(job, "id")) and id_of(job) in self._jobs

    def __getitem__(self, job: Any) -> _Row:
        """Give the job with this id.

        Raises:
            UnknownJob: a `LookupError`; no such job was there at the last `update`.
        """
        id = id_of(job)
        try:
            return self._jobs[id]
        except KeyError:
            raise UnknownJob(f"job {id} is not in this queue; update() reads it again.") from None

    def __repr__(self) -> str:
        old = ", stale" if self.stale else ""
        return (
            f"<Queue {self.qtype}: {len(self.queued)} queued, {len(self.running)} running, "
            f"{len(self.completed)} ended{old}>"
        )

    def wait(self, jobs: Any, timeout: Timeout = None) -> bool:
        """Block until jobs are in their final states; see `cluster.wait`."""
        try:
            return wait(jobs, timeout)
        finally:
            self.update()

    def can_submit(self, max_queue_len: int | None = None) -> bool:
        """Tell whether fewer jobs wait or run than `max_queue_len`.

        Args:
            max_queue_len: None is the setting `queue.max_jobs`; 0 is no limit.
        """
        limit = queue_limit(max_queue_len)
        if not limit:
            return True
        self._read()
        return len(self.queued) + len(self.running) < limit

    def wait_to_submit(self, max_queue_len: int | None = None, timeout: Timeout = None) -> None:
        """Block until fewer jobs wait or run than `max_queue_len`.

        Raises:
            WaitTimeout: `timeout` went by.
        """
        limit = parse_timeout(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        while not self.can_submit(max_queue_len):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            unfinished = [job.id for job in self.jobs if not job.done]
            if next(self.scheduler.endings(unfinished, timeout=left), None) is None:
                raise WaitTimeout(f"{len(unfinished)} jobs are still in the queue.")

    @classmethod
    def reconnect(cls, name_prefix: str, qtype: str | None = None) -> list[Any]:
        """Give one's jobs whose name begins so, whichever process submitted them, and when.

        Args:
            name_prefix: the beginning of their names.
            qtype: which scheduler; None is the current one.

        Returns:
            A `Job` each, in the order of their ids.
        """
        from glob import escape
        from importlib import import_module

        scheduler = scheduler_for(qtype)
        found = scheduler.named(f"{escape(name_prefix)}*")
        job = import_module("cluster.job").Job  # it stands on this module
        return [job._of(info.id, scheduler) for info in found]

    def resources(self) -> Resources:
        """Say what the machine or the partition has, and what of it is free."""
        return self.scheduler.resources(self.partition)


def queue_limit(max_queue_len: int | None) -> int:
    """Give the greatest number of jobs in the queue; 0 is no limit."""
    if max_queue_len is None:
        max_queue_len = config_file.get("queue", "max_jobs")
    return int(max_queue_len or 0)
