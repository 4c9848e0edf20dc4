"""A job that waits for other jobs lends its cores, and has them back before it goes on.

Pure.  Without it two jobs on two cores that each wait for jobs of their own would
wait for ever.  Memory and gpus are not lent: the process keeps them.  Whoever
wants its cores back stands before everybody else, as an entry with id -job.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cluster.local import events as ev
from cluster.local import prefill, resources
from cluster.local.events import Job
from cluster.local.policy import Entry

if TYPE_CHECKING:
    from cluster.local.queue_state import QueueState

__all__ = ["block", "go_on", "go_on_all", "lend", "unblock", "want_back"]


def block(queue: QueueState, event: ev.Block, now: float) -> None:
    """The process of a job waits for other jobs: its cores can be lent."""
    job = queue.jobs.get(event.job)
    if job is not None and job.allocation is not None and not job.lent and not job.ending:
        queue.will_lend.add(job.id)
    queue.do(ev.Reply(event.to))


def lend(queue: QueueState) -> None:
    """Lend the cores of those that wait, once the node has nothing in advance.

    Otherwise it could start a job in the place of a lender that ends, whose
    cores others have by then.
    """
    prefill.recall(queue)
    if queue.assigned:
        return
    for job in [queue.jobs[id] for id in queue.will_lend if id in queue.jobs]:
        if job.allocation is not None and not job.lent and not job.ending:
            job.allocation = queue.pool.lend(job.allocation)
            job.lent = True
            queue.lenders.add(job.id)
            queue.write(job)
            queue.running.set_need(job.id, job.allocation.held)
    queue.will_lend.clear()


def unblock(queue: QueueState, event: ev.Unblock, now: float) -> None:
    """It wants to go on: answered once its cores are its own again."""
    job = queue.jobs.get(event.job)
    queue.will_lend.discard(event.job)
    if job is None or not job.lent:
        queue.do(ev.Reply(event.to))
        return
    queue.unblocking.setdefault(job.id, []).append(event.to)
    if -job.id not in queue.waiting:
        want_back(queue, job)


def want_back(queue: QueueState, job: Job) -> None:
    """Put a lender that wants to go on before everybody else."""
    prefill.recall(queue)
    capacity = queue.pool.capacity[0]
    need = resources.vector(queue.names, {"cores": min(job.need[0], capacity)})
    expect, _ = queue.expect(job.spec)
    queue.waiting.add(Entry(id=-job.id, need=need, expect=expect, priority=math.inf, seq=job.id))


def go_on(queue: QueueState, job: Job) -> None:
    """Its cores are free again: it may run."""
    queue.waiting.remove(-job.id)
    assert job.allocation is not None
    job.allocation = queue.pool.reclaim(job.allocation)
    job.lent = False
    queue.lenders.discard(job.id)
    queue.write(job)
    queue.running.set_need(job.id, job.allocation.held)
    for to in queue.unblocking.pop(job.id, ()):
        queue.do(ev.Reply(to))


def go_on_all(queue: QueueState) -> None:
    """Let those go on for whom there is room, though nothing may start."""
    for id in list(queue.unblocking):
        if resources.fits(queue.waiting[-id].need, queue.pool.free):
            go_on(queue, queue.jobs[id])
