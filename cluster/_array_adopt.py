"""Arrays of which the jobs are queued, and whose submitter was killed before it said so.

What went into which submission is the same for the same command, items and
limits.  So it is found out anew, and nothing is submitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cluster import _array_store
from cluster._array_submit import plan_pieces, prepare
from cluster.array import JobArray, made_of
from cluster.job import Job

__all__ = ["adopt", "adopt_retry"]


def adopt(
    command: Any,
    items: Iterable[Any],
    ids: Sequence[str],
    *,
    max_running: int | None = None,
    name: str | None = None,
    qtype: str | None = None,
    profile: str | None = None,
    **keywords: Any,
) -> JobArray | None:
    """Do what `submit_array` does, with jobs that are queued already.

    Args:
        ids: of all its submissions, in the order in which they were made.

    Returns:
        None if these are not as many as it has.
    """
    model, work = prepare(command, items, max_running, name, qtype, profile, keywords)
    pieces = plan_pieces(model.scheduler, work, range(len(work["seen"])))
    if len(pieces) != len(ids):
        return None
    return made_of(model.scheduler, work, [Job._of(id, model.scheduler) for id in ids], pieces)


def adopt_retry(array: JobArray, ids: Sequence[str]) -> bool:
    """Do what `JobArray.retry_failed` does, with jobs that are queued already.

    Returns:
        False if these are not as many as it would have submitted.

    Raises:
        UnknownJob: what the array runs is not known any more.
    """
    scheduler = array.scheduler
    work = _array_store.work(_array_store.folder_of(scheduler), array.id)
    pieces = plan_pieces(scheduler, work, [element.position for element in array.failed])
    if len(pieces) != len(ids):
        return False
    array._replace([Job._of(id, scheduler) for id in ids], pieces)
    return True
