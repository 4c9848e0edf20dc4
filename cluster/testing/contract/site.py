"""The scheduler under test, and how its jobs are made to wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster.errors import ClusterError, OptionsError, QueueError
from cluster.states import FINAL

__all__ = ["Gate", "Site", "gate", "over_time", "the_site_is_left_clean"]

# A job that waits for a file, and gives up before it is a nuisance.
_WAIT = 'n=0; until [ -e "$1" ] || [ "$n" -gt 3000 ]; do sleep 0.05; n=$((n+1)); done; exit "$2"'


@dataclass
class Site:
    """One scheduler, as the suite needs to know it.

    Attributes:
        qtype: its name.
        folder: a directory that its machines see too, for files of jobs.
        missing: what it cannot do, a sentence each; see `dialect.Dialect`.
        options: keywords that every job here needs.
        patience_s: within this time a short job has begun and ended.
        walltime_s: a limit for a job that is to exceed it, and
        over_time_s: within this time it was ended for it.
        requeue_s: within this time a job that was queued again has begun.
        memory_mib: a limit for a job that is to exceed it.
        many: how many jobs are queued at once.
    """

    qtype: str
    folder: Path
    missing: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    patience_s: float = 60.0
    walltime_s: float = 1.0
    over_time_s: float = 30.0
    requeue_s: float = 60.0
    memory_mib: int = 200
    many: int = 200
    jobs: list[cluster.Job] = field(default_factory=list)

    def words(self, **options: Any) -> dict[str, Any]:
        """Give the keywords of every job of this scheduler, and others."""
        return {"qtype": self.qtype, "filedir": self.folder, **self.options, **options}

    def job(self, command: Any, args: Any = None, **options: Any) -> cluster.Job:
        """Make a job of this scheduler."""
        job = cluster.Job(command, args, **self.words(**options))
        self.jobs.append(job)
        return job

    def submit(self, command: Any, args: Any = None, **options: Any) -> cluster.Job:
        """Queue a job of this scheduler."""
        return self.job(command, args, **options).submit()

    def until(
        self, condition: Callable[[], bool], what: str, within_s: float | None = None
    ) -> None:
        """Wait for something to become true."""
        patience_s = within_s or self.patience_s
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"after {patience_s:g} s: not yet {what}"
            time.sleep(0.05)

    def until_state(self, job: cluster.Job, state: str) -> None:
        """Wait for a job to be in a state."""
        self.until(lambda: job.state == state or job.done, f"{state}: {job}")
        assert job.state == state, str(job)

    def end(self, *jobs: cluster.Job) -> list[str | None]:
        """Wait for jobs, however they end; give their states."""
        cluster.wait(jobs, self.patience_s)
        return [job.state for job in jobs]

    @contextmanager
    def can(self, key: str) -> Iterator[None]:
        """Go through the block; if this scheduler cannot do it, the block must tell the user."""
        if key not in self.missing:
            yield
            return
        with pytest.raises((OptionsError, QueueError)) as caught:
            yield
        assert self.missing[key] in str(caught.value)


class Gate:
    """Jobs that run until it is opened."""

    def __init__(self, site: Site, path: Path) -> None:
        self._site, self._path = site, path

    def command(self, code: int = 0) -> list[str]:
        """Give a command that waits for the gate, and ends with this code."""
        return ["/bin/sh", "-c", _WAIT, "gate", str(self._path), str(code)]

    def submit(self, code: int = 0, **options: Any) -> cluster.Job:
        """Queue a job that waits for the gate."""
        return self._site.submit(self.command(code), name="gate", **options)

    def running(self, code: int = 0, **options: Any) -> cluster.Job:
        """Queue one, and wait until it runs."""
        job = self.submit(code, **options)
        self._site.until_state(job, "RUNNING")
        return job

    def open(self) -> None:
        """Let them all go on."""
        self._path.touch()


@pytest.fixture
def gate(site: Site) -> Iterator[Gate]:
    """A gate that is open after the test, so that no job waits for ever."""
    path = site.folder / f"gate-{os.urandom(4).hex()}"
    gate = Gate(site, path)
    yield gate
    gate.open()


@pytest.fixture(scope="module", autouse=True)
def over_time(site: Site) -> Iterator[cluster.Job | None]:
    """A job that exceeds its walltime: begun first and looked at last, for it takes its time."""
    if "walltime" in site.missing:
        yield None
        return
    job = site.submit(["sleep", "600"], name="over time", time=site.walltime_s)
    yield job
    if not _has_ended(job):
        job.cancel()
        site.end(job)


@pytest.fixture(autouse=True)
def the_site_is_left_clean(site: Site) -> Iterator[None]:
    """End what a test has not ended."""
    before = len(site.jobs)
    yield
    left = [job for job in site.jobs[before:] if job.id is not None and not _has_ended(job)]
    for job in left:
        job.cancel()
    site.end(*left)
    del site.jobs[before:]


def _has_ended(job: cluster.Job) -> bool:
    try:
        return job.state in FINAL
    except ClusterError:
        return False
