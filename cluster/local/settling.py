"""What the end of a job means for those that depend on it.

Pure, and without recursion: a chain of any length is settled in one loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import states
from cluster.local import verbs
from cluster.local.dependencies import MET, NEVER, WAIT, verdict
from cluster.local.events import Array, Job, Known

if TYPE_CHECKING:
    from cluster.local.queue_state import QueueState

__all__ = ["cannot", "settle", "story", "whole_story"]


def settle(queue: QueueState, now: float) -> None:
    """Tell dependents, and theirs, without recursion."""
    while queue.settled:
        target, what, story = queue.settled.popleft()
        partial = what in ("after", "element")
        ids = queue.waiters.get(target, ()) if partial else queue.waiters.pop(target, ())
        for id in list(ids):
            waiter = queue.jobs.get(id) or queue.arrays.get(id)
            if waiter is not None and waiter.unmet:
                _tell(queue, waiter, target, what, story, now)


def _tell(
    queue: QueueState, waiter: Job | Array, target: int, what: str, story: str, now: float
) -> None:
    for kind in ("afterok", "afterany", "afternotok", "after"):
        if (target, kind) not in waiter.unmet:
            continue
        if what == "after":
            answer = MET if kind == "after" else WAIT
        elif what == "element":
            answer = NEVER if kind == "afterok" else WAIT
        else:
            answer = verdict(kind, what)
        if answer == MET:
            if waiter.spec.either:
                waiter.unmet.clear()
            waiter.unmet.discard((target, kind))
            queue.write(waiter)
        elif answer != WAIT and waiter.spec.either and len(waiter.unmet) > 1:
            waiter.unmet.discard((target, kind))
            queue.write(waiter)
        elif answer != WAIT:
            if waiter.spec.on_unsatisfiable != "pend":
                waiter.unmet.discard((target, kind))
            cannot(queue, waiter, f"Dependency {story}", now)
    if not waiter.unmet:
        queue.admit(waiter, now)


def cannot(queue: QueueState, waiter: Job | Array, why: str, now: float) -> None:
    """A dependency can never hold: cancel, leave pending, or let it run."""
    if waiter.id not in queue.jobs and waiter.id not in queue.arrays:
        return  # another dependency has cancelled it already
    choice = waiter.spec.on_unsatisfiable
    queue.write(waiter)
    if choice == "release":
        return
    waiter.reason = why
    if choice == "pend":
        waiter.unmet.add((-1, "afterok"))  # nobody ever settles it
    else:
        verbs.cancel_entry(queue, waiter, why, now)


def story(known: Known) -> str:
    """Tell in a few words how a job ended, for the reason of its dependents."""
    if known.state == states.FAILED:
        if known.exitcode:
            return f"failed with exit code {known.exitcode}"
        if known.signal:
            return f"failed with signal {known.signal}"
        return "failed" + (f": {known.reason}" if known.reason else "")
    if known.state == states.COMPLETED:
        return "completed"
    if known.state == states.CANCELLED:
        return "was cancelled"
    return f"ended as {known.state}"


def whole_story(array: Array) -> str:
    bad = array.count - array.counts.get(states.COMPLETED, 0)
    if not bad:
        return "completed"
    return f"has {bad} of {array.count} elements that did not complete"
