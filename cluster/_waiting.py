"""Waiting for jobs of any scheduler, with a line of progress and a word at Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cluster.errors import OptionsError, QueueError
from cluster.schedulers.base import Ending, JobInfo, Scheduler
from cluster.units import Timeout, parse_timeout

__all__ = ["Progress", "Waiting", "flatten", "id_of", "wait_for"]


class Waiting:
    """Jobs as they were given (objects, ids, lists of these), by scheduler and id.

    Args:
        jobs: the jobs.
        default: gives the scheduler of those that are told by id alone.
        elements: of an array, each element instead of its submissions.
    """

    def __init__(
        self, jobs: Any, default: Callable[[], Scheduler], *, elements: bool = False
    ) -> None:
        self.given: dict[Scheduler, dict[str, list[Any]]] = {}
        for job in flatten(jobs, elements=elements):
            scheduler = getattr(job, "scheduler", None) or default()
            self.given.setdefault(scheduler, {}).setdefault(id_of(job), []).append(job)

    def ids(self) -> list[str]:
        """List the ids, each once."""
        return [id for jobs in self.given.values() for id in jobs]

    def endings(
        self, timeout: Timeout, *, content: bool = False
    ) -> Iterator[tuple[Ending, list[Any]]]:
        """Give each job as it ends, with the objects that were given for it.

        The objects learn how their job ended, or that nobody can be asked.
        """
        limit = parse_timeout(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        for scheduler, jobs in self.given.items():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            waiting = dict(jobs)
            try:
                for ending in scheduler.endings(list(jobs), timeout=left, content=content):
                    objects = waiting.pop(ending.info.id, [])
                    for job in objects:
                        if hasattr(job, "note"):
                            job.note(ending)
                    yield ending, objects
            except QueueError:
                for job in (job for objects in waiting.values() for job in objects):
                    if hasattr(job, "note_stale"):
                        job.note_stale()
                raise


def flatten(jobs: Any, *, elements: bool = False) -> Iterator[Any]:
    """Give every job of nested lists, sets, mappings' values, generators and arrays."""
    if hasattr(jobs, "members"):
        yield from jobs.members(elements)
    elif isinstance(jobs, str | int) or hasattr(jobs, "id"):
        yield jobs
    elif isinstance(jobs, Mapping):
        yield from flatten(jobs.values(), elements=elements)
    elif isinstance(jobs, Iterable):
        for job in jobs:
            yield from flatten(job, elements=elements)
    else:
        raise OptionsError(f"{jobs!r} is no job. Give a Job, an id, or a list of these.")


def id_of(job: Any) -> str:
    """Give the id of a job, as people see it.

    Raises:
        OptionsError: the job was not submitted.
    """
    id = job if isinstance(job, str | int) else job.id
    if id is None:
        raise OptionsError(f"job {job.name!r} was not submitted. Call its submit() first.")
    return str(id)


def wait_for(waiting: Waiting, timeout: Timeout, progress: bool | None, *, content: bool) -> bool:
    """Block until all have ended; see `queue.wait`.

    Args:
        waiting: the jobs.
        timeout, progress: as in `queue.wait`.
        content: bring along what each job left.
    """
    ids = waiting.ids()
    left = dict.fromkeys(ids)
    show = Progress(len(ids), progress)
    completed = True
    try:
        for ending, _ in waiting.endings(timeout, content=content):
            left.pop(ending.info.id, None)
            completed &= ending.info.state == "COMPLETED"
            show.count(ending.info)
    except KeyboardInterrupt:
        _say_how_to_get_back(list(left))
        raise
    finally:
        show.close()
    return completed


class Progress:
    """One line on standard error that counts.

    Args:
        total: how many there are.
        wanted: show it; None shows it on a terminal, if there are several.
        what: is counted, for people.
    """

    def __init__(self, total: int, wanted: bool | None, what: str = "jobs ended") -> None:
        self._total, self._done, self._failed, self._what = total, 0, 0, what
        self._on = _on_terminal() and total > 1 if wanted is None else wanted
        self._write()

    def count(self, info: JobInfo) -> None:
        """Count a job that has ended."""
        self._failed += info.state != "COMPLETED"
        self.add(1)

    def add(self, number: int) -> None:
        """Count so many more."""
        self._done += number
        self._write()

    def _write(self) -> None:
        if self._on:
            failed = f", {self._failed} not completed" if self._failed else ""
            print(
                f"\r{self._done} of {self._total} {self._what}{failed}",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """End the line."""
        if self._on:
            print(file=sys.stderr, flush=True)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _say_how_to_get_back(ids: list[str]) -> None:
    if not _on_terminal() or not ids:
        return
    some = " ".join(ids[:8]) + (" ..." if len(ids) > 8 else "")
    what = "1 job goes on" if len(ids) == 1 else f"{len(ids)} jobs go on"
    print(
        f"\n{what}. Wait again with `cluster wait {some}`, or in Python with "
        f"cluster.Job.load({ids[0]!r}).wait(); end with `cluster cancel {some}`.",
        file=sys.stderr,
    )
