"""Jobs that the node may start by itself, so that a core never waits for a decision.

Pure.  When all running jobs have one shape and the next in line have it too,
the policy would start the first of these whichever job ends first.  So the node
is given a few of them in advance: they are PENDING, *assigned*, and written as
such before the node hears of them (an assigned job may have started, so after a
power cut it is treated as one that had).

    waiting --assign--> assigned --the node's own start, or promote--> running
       ^------------------- recall (hold, pause, a job of higher priority, ...)

A recalled job stays assigned until the node has said that it did not start it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import states
from cluster.local import events as ev
from cluster.local.events import Array, Job
from cluster.local.policy import place
from cluster.local.resources import Allocation, fits
from cluster.local.wire import RECALL

if TYPE_CHECKING:
    from cluster.local.queue_state import QueueState

__all__ = [
    "assume_started",
    "give_back",
    "must_yield",
    "place_of",
    "promote",
    "recall",
    "refill",
    "take_over",
]

PER_RUNNING = 8  # 16 on two cores; with 8 commands were 7 % slower (12 interleaved runs)
LIMIT = 64
OUTRUN_S = 1.0


def promote(queue: QueueState, now: float) -> None:
    """Start assigned jobs for which there is room now.

    The first is next in line.  But where the node has just been faster, the last: by
    the time it hears of this it has started the first in the place of another, and
    so the next time, and the room would stay empty as long as short jobs follow.
    """
    jobs = list(queue.assigned.values())
    if 0 <= now - queue.outrun < OUTRUN_S:
        jobs.reverse()
    for job in jobs:
        if job.ending:
            continue  # the node is asked to end it, started or not
        if job.recalled or not fits(job.need, queue.pool.free):
            return
        queue.start(job, now)


def refill(queue: QueueState, now: float) -> None:
    """Assign the next in line, if it is certain that they are."""
    limit = min(PER_RUNNING * len(queue.running), LIMIT)
    if len(queue.assigned) * 2 > limit or not len(queue.waiting):
        return  # top up in strides: each costs a row and a message
    if len(queue.shapes) != 1 or queue.lenders or queue.unblocking:
        return
    if any(job.recalled for job in queue.assigned.values()):
        return
    (need,) = queue.shapes
    if fits(need, queue.pool.free):
        return
    capacity = queue.pool.capacity
    for id in queue.waiting.front(capacity, need, limit - len(queue.assigned)):
        job = _next_of(queue, id, now)
        if job is None:
            return
        job.attempt += 1
        job.assigned = True
        queue.assigned[job.id] = job
        queue.write(job)
        queue.do(ev.StartProcess(job, queued=True))


def _next_of(queue: QueueState, id: int, now: float) -> Job | None:
    """Take a job out of the waiting ones; None if its array limits what runs."""
    entry = queue.arrays.get(id) or queue.jobs[id]
    array = queue.arrays.get(entry.array) if isinstance(entry, Job) else entry
    if array is not None and array.spec.array is not None and array.spec.array.max_running:
        return None
    if isinstance(entry, Job):
        queue.waiting.remove(id)
        return entry
    job = queue.touch(entry, entry.next)
    queue.admit(entry, now)
    return job


def place_of(queue: QueueState, entry: Job | Array) -> float:
    """Give its place among those of its priority; of a kind nobody knows, as if it were short."""
    if not queue.overtake:
        return 0.0
    spec = entry.spec
    expect, trusted = queue.expect(spec)
    is_known = trusted or queue.expectations.knows(spec.key, spec.cores)
    return place(entry.submitted, expect if is_known else 0.0, queue.overtake)


def must_yield(queue: QueueState, priority: float, place: float, seq: int) -> bool:
    """Tell whether a job of this place in the order comes before an assigned one."""
    if not queue.assigned:
        return False
    last = next(reversed(queue.assigned.values()))
    its = -last.priority, place_of(queue, last), last.array or last.id
    return (-priority, place, seq) < its


def recall(queue: QueueState) -> None:
    """Ask the node for all that it has not started."""
    for job in queue.assigned.values():
        if not job.recalled:
            job.recalled = True
            queue.do(ev.EndProcesses(job.id, job.attempt, RECALL))


def give_back(queue: QueueState, job: Job, now: float) -> None:
    """The node did not start it: it waits as before."""
    del queue.assigned[job.id]
    job.assigned = job.recalled = False
    job.attempt -= 1
    queue.write(job)
    queue.admit(job, now)


def take_over(
    queue: QueueState, key: tuple[int, int], freed: Allocation | None, now: float
) -> None:
    """The node started an assigned job in the place of one that ended."""
    job = queue.jobs.get(key[0])
    if job is None or job.attempt != key[1]:
        queue.do(ev.EndProcesses(*key, "unknown"))
        return
    cpus, gpus = (freed.cpus, freed.gpus) if freed is not None else ((), ())
    if job.allocation is not None:  # promoted at the same moment: it is where the node put it
        queue.outrun = now
        queue.pool.give_back(job.allocation)
        job.allocation = queue.pool.adopt(job.need, cpus, gpus)
    else:
        _run(queue, job, queue.pool.adopt(job.need, cpus, gpus), now)


def assume_started(queue: QueueState, job: Job, now: float) -> None:
    """It was assigned, and turned out to have been started."""
    _run(queue, job, queue.pool.adopt(job.need), now)


def _run(queue: QueueState, job: Job, allocation: Allocation, now: float) -> None:
    if job.state == states.HELD:
        job.state = states.advance(job.state, "release")  # the hold came too late
    queue.run(job, allocation, now)
