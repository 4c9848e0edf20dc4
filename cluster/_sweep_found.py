"""What was queued by a submitter that was killed before it wrote down the jobs: see `_handover`.

Jobs of their own are known by their names.  Arrays have all runs of the handover
in its order, those that were queued first the first ones: nothing else need be
known of them, for what a sweep runs may have changed since.
"""

from __future__ import annotations

from cluster import queue
from cluster._directory import settle_aside
from cluster._handover import find
from cluster._sweep_record import KEPT, Handover, Record

__all__ = ["settle"]


def settle(record: Record, *, alone: bool, for_good: bool = False) -> None:
    """Put the jobs of a handover that came to no end into the record, which is not written.

    Args:
        record: as it was left.
        alone: nobody is in the middle of that handover: values are put in order, too.
        for_good: what is not found was not queued; else it may still be found later.

    Raises:
        QueueError: a scheduler cannot be asked.
    """
    handover = record.handover
    if handover is None:
        return
    jobs = _elements(record, handover) if handover.is_array else _singles(record, handover)
    if alone:
        for key in handover.runs:
            paths = [record.path(record.runs[key], ending) for ending in KEPT]
            settle_aside(paths, back=key not in jobs)
    record.queued(jobs)
    if for_good or len(jobs) == len(handover.runs):
        record.end(len(jobs))


def _elements(record: Record, handover: Handover) -> dict[str, str]:
    """Give the ids of elements, by key of run."""
    parts = [info.id for info in find(handover.mark, [handover.qtype], record.name, inner=False)]
    if not parts:
        return {}
    elements = queue.scheduler_for(handover.qtype).query(parts, elements=True)
    # The last submissions may be missing.
    return {key: info.id for key, info in zip(handover.runs, elements, strict=False)}


def _singles(record: Record, handover: Handover) -> dict[str, str]:
    """Give the ids of jobs, by key of run."""
    found = {info.name: info.id for info in find(handover.mark, [handover.qtype], record.name)}
    names = {key: f"{record.name}.{record.runs[key].number}" for key in handover.runs}
    return {key: found[name] for key, name in names.items() if name in found}
