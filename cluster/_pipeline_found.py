"""What was queued by a submitter that was killed before it wrote down the jobs: see `_handover`.

Steps are known by the names of their jobs.  An array that was queued whole is
taken up as one, or as the retry that it is; parts of one serve nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from cluster import queue
from cluster._array_adopt import adopt_retry
from cluster._directory import settle_aside
from cluster._handover import find
from cluster._pipeline_record import Entry, Handover, Record
from cluster._pipeline_steps import Step
from cluster.array import JobArray
from cluster.errors import UnknownJob
from cluster.job import Job

__all__ = ["settle"]


def settle(
    record: Record, steps: Mapping[str, Step], keys: Mapping[str, str], *, alone: bool
) -> list[Job]:
    """Put the jobs of a handover that came to no end into the record, which is not written.

    Args:
        record: as it was left.
        steps: as they are now.
        keys: of these; of a step that has changed, no array is made anew.
        alone: nobody is in the middle of that handover: values are put in order, too.

    Returns:
        Jobs that are parts of arrays and belong to no step: not all of the array
        was queued, or nobody knows any more what it is made of.

    Raises:
        QueueError: a scheduler cannot be asked.
    """
    handover = record.handover
    if handover is None:
        return []
    found, loose = _find(record.name, handover), []
    for name, entry in handover.steps.items():
        ids = found.get(name, [])
        if ids and entry.is_array:
            array, step = None, steps[name] if keys.get(name) == entry.key else None
            with suppress(UnknownJob):
                array = _array(entry, ids, step)
            if array is None:
                scheduler = queue.scheduler_for(entry.qtype)
                loose += [Job._of(id, scheduler) for id in ids]
                ids = []
            else:
                ids = [array.id]
        if alone:
            settle_aside(entry.values, back=not ids)
        if ids:
            entry.job, record.entries[name] = ids[0], entry
    record.handover = None
    return loose


def _find(pipeline: str, handover: Handover) -> dict[str, list[str]]:
    """Give the ids of the jobs of each step, in the order in which they were queued."""
    found: dict[str, list[str]] = {}
    qtypes = [entry.qtype for entry in handover.steps.values()]
    for info in find(handover.mark, qtypes, pipeline):
        found.setdefault(info.name.removeprefix(f"{pipeline}."), []).append(info.id)
    return found


def _array(entry: Entry, ids: Sequence[str], step: Step | None) -> JobArray | None:
    """Give the array that these jobs are, or of which they are the retry."""
    if entry.job:
        array = entry.open()
        if not isinstance(array, JobArray):
            return None
        known = set(ids) <= {part.id for part in array.parts}
        return array if known or adopt_retry(array, ids) else None
    try:
        return JobArray.load(ids[0], entry.qtype)
    except UnknownJob:
        return step.adopt_items(ids) if step is not None else None
