"""Which steps of a pipeline are run again, and handing these to the queue: all, or none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

from cluster import config_file, queue
from cluster._directory import aside, remove
from cluster._handover import REFUSED
from cluster._job_batch import submit_all
from cluster._pipeline_record import Entry, Record
from cluster._pipeline_steps import Step
from cluster.errors import ClusterError, OptionsError, QueueError
from cluster.job import Job
from cluster.request import Problems

__all__ = ["hand_over", "sort_out"]


def sort_out(
    name: str,
    steps: Mapping[str, Step],
    keys: Mapping[str, str],
    entries: Mapping[str, Entry],
    forced: Set[str],
) -> list[Step]:
    """Find what of the earlier run holds, and give the steps to run.

    Args:
        name: of the pipeline.
        steps: in the order in which they can run.
        keys: of the steps as they are now.
        entries: of the steps as they were run; asked anew.
        forced: names of steps to run in any case.

    Raises:
        OptionsError: a step that has changed is still in the queue.
    """
    wanted: list[Step] = []
    busy: list[str] = []
    for step in steps.values():
        entry = entries.get(step.name)
        above = [steps[other] for other in step.after]
        same = (
            entry is not None and entry.key == keys[step.name]
            and step.name not in forced and all(_stands(other) for other in above)
        )  # fmt: skip
        step.job, step.retried, step.kept, step.unneeded = None, None, False, False
        if entry is not None and not entry.state:
            step.job = entry.open()
            if not same:
                busy.append(f"{step.name} (job {entry.job})")
        elif same and entry is not None and entry.is_kept:
            step.kept, step.job = True, entry.open()
        elif _is_unneeded(step, steps):
            step.unneeded = True
        else:
            wanted.append(step)
            if same and entry is not None and entry.is_array and entry.state != "COMPLETED":
                step.retried = entry.open()
    if busy:
        raise OptionsError(
            f"pipeline {name!r}: these steps are still in the queue, and they or what they wait "
            f"for have changed: {', '.join(busy)}. Wait for them, or end them with cancel(); "
            "nothing was queued."
        )
    return wanted


def _stands(step: Step) -> bool:
    """Whether it is as it was in the earlier run: done, not needed, or still on its way."""
    return step.kept or step.unneeded or step.job is not None


def _is_unneeded(step: Step, steps: Mapping[str, Step]) -> bool:
    """Whether what it waits for is over in a way that it was not to run after."""
    return any(
        (kind == "afternotok" and steps[other].kept)
        or (kind == "afterok" and steps[other].unneeded)
        for other, kind in step.after.items()
    )


def hand_over(
    steps: Mapping[str, Step], wanted: Sequence[Step], keys: Mapping[str, str], record: Record
) -> None:
    """Queue steps and write down that they are.

    Args:
        steps: all of them, in the order in which they can run.
        wanted: those to run, in that order.
        keys, record: as for `sort_out`.
    """
    os.makedirs(record.path.parent / "values", mode=0o700, exist_ok=True)
    if any(step.items is not None for step in wanted):
        _check(wanted)
    mark = record.begin({step.name: step.planned(keys[step.name]) for step in wanted})
    # An attempt that fails shall not leave the value of the one before it.
    with aside(path for step in wanted if step.retried is None for path in step.values):
        try:
            _queue(steps, wanted, os.fspath(record.path.parent), mark)
        except BaseException as error:
            if _take_back(wanted, error) and isinstance(error, REFUSED):
                record.give_up()
            raise
    record.handover = None
    before = [path for entry in record.entries.values() for path in entry.values]
    for step in steps.values():
        if step in wanted or step.unneeded:
            record.entries[step.name] = step.entry(keys[step.name])
    record.write()
    still = {path for entry in record.entries.values() for path in entry.values}
    remove(path for path in before if path not in still)


def _check(wanted: Sequence[Step]) -> None:
    """Find mistakes of steps behind an array, before that is queued."""
    problems = Problems()
    for step in wanted:
        if step.items is None:
            step.make(None)._request(problems)
    problems.raise_all(f"{len(wanted)} steps")


def _queue(steps: Mapping[str, Step], wanted: Sequence[Step], directory: str, mark: str) -> None:
    filedir = None if config_file.get("jobs", "filedir") else directory
    together: list[Job] = []  # an array is submitted by itself, and after those before it
    for step in wanted:
        own = None if step.model.options.get("filedir") else filedir
        waits: list[tuple[str, Any]] = [
            (kind, steps[other].job)
            for other, kind in step.after.items()
            if steps[other].job is not None and not steps[other].kept
        ]
        if step.items is None:
            job = step.make(own, mark)
            for kind, other_job in waits:
                job.after(other_job, type=kind)
            step.job = job
            together.append(job)
        else:
            _submit(together)
            step.job = step.retry_items(mark) or step.submit_items(waits, own, mark)
    _submit(together)


def _submit(jobs: list[Job]) -> None:
    if jobs:
        submit_all(jobs, None)
    jobs.clear()


def _take_back(wanted: Sequence[Step], error: BaseException) -> bool:
    """End what is queued; tell whether that could be done."""
    queued = [step.job for step in wanted if step.job is not None and step.job.id is not None]
    for step in wanted:
        step.job = None
    try:
        queue.cancel(queued)
    except ClusterError as another:
        ids = ", ".join(str(job.id) for job in queued)
        error.__cause__ = QueueError(f"these jobs are still queued: {ids} ({another})")
        return False
    return True
