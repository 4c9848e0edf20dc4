"""Going on without the jobs whose records in the store cannot be read.

Their rows stay as they are; from now on they are LOST, and who depends on them
is told so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from cluster import states
from cluster.local import settling
from cluster.local.events import Job
from cluster.local.queue_state import QueueState
from cluster.local.rows import DAMAGED
from cluster.local.store import Store

__all__ = ["lose", "sort_out"]


def sort_out(jobs: Iterable[Job]) -> tuple[list[Job], list[Job]]:
    """Tell whole records from damaged ones, and from elements of a damaged array."""
    found = list(jobs)
    broken = {job.id for job in found if job.state == states.LOST}
    damaged = [job for job in found if job.id in broken or job.array in broken]
    return [job for job in found if job.id not in broken and job.array not in broken], damaged


def lose(queue: QueueState, store: Store, damaged: list[Job], now: float) -> None:
    """Make damaged records final and settle their dependents."""
    if not damaged:
        return
    for job in damaged:
        print(f"job {job.id} is LOST: {job.reason or DAMAGED}", file=sys.stderr, flush=True)
        queue.settled.append((job.id, states.LOST, f"was lost: {DAMAGED}"))
    store.close_records([job.id for job in damaged], states.LOST, now)
    settling.settle(queue, now)
