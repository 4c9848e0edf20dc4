"""What people do to jobs: cancel, hold, release, requeue, signal, priority, ...

Pure: each verb changes the queue's state (see `queue_state`) and answers with a
short sentence.  A verb that does not apply changes nothing and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from cluster import states
from cluster.local import events as ev
from cluster.local import prefill
from cluster.local.events import Array, Job

if TYPE_CHECKING:
    from cluster.local.queue_state import QueueState

__all__ = ["VERBS", "act", "answer_holds", "assigned", "cancel_entry", "update"]

_SIGSTOP, _SIGCONT = 19, 18


def act(queue: QueueState, event: ev.Act, now: float) -> None:
    """Do a verb to all that it is meant for, and answer; a hold in doubt is answered later."""
    said = {label: _act_on(queue, event, label, now) for label in event.ids}
    if event.verb == "hold" and (doubtful := assigned(queue, event.ids)):
        queue.doubtful.append((event.to, said, doubtful))
    else:
        queue.do(ev.Reply(event.to, said))


def update(queue: QueueState, event: ev.Update, now: float) -> None:
    """Change what jobs asked for, and answer."""
    said = {label: _update_one(queue, event, label, now) for label in event.ids}
    queue.do(ev.Reply(event.to, said))


def _act_on(queue: QueueState, event: ev.Act, label: str, now: float) -> str:
    """Do `event.verb` to the job, array or element that `label` names."""
    found = queue.find(label)
    if found is None:
        known = event.known.get(label)
        return f"already {known.state}" if known else "no such job"
    if isinstance(found, tuple):
        array, position = found
        found = queue.touch(array, position)
        queue.admit(array, now)
        queue.admit(found, now)
    return VERBS[event.verb](queue, found, event.number, now)


def cancel_entry(queue: QueueState, entry: Job | Array, why: str, now: float) -> str:
    """Cancel a job, or all elements of an array that are not final."""
    if isinstance(entry, Array):
        return _cancel_array(queue, entry, why, now)
    if entry.ending:
        return f"already {entry.state}, its processes are being ended"
    runs = entry.allocation is not None or entry.assigned
    queue.finish(entry, "cancel", why, now)
    if runs:
        queue.do(ev.EndProcesses(entry.id, entry.attempt, "cancel"))
    return "cancelled"


def _cancel_array(queue: QueueState, array: Array, why: str, now: float) -> str:
    untouched = queue.untouched(array)
    array.reason = why
    if untouched:
        _settle_untouched(queue, array)
        array.rest = states.advance(array.rest, "cancel")
        array.counts[states.CANCELLED] = array.counts.get(states.CANCELLED, 0) + untouched
        array.next, array.touched = array.count, set()
        queue.count_started(array, untouched)
    array.unmet.clear()
    if array.id in queue.waiting:
        queue.waiting.remove(array.id)
    queue.write(array)
    for job in queue.live_elements(array):
        cancel_entry(queue, job, why, now)
    if untouched:
        queue.do(ev.NeverToStart(array))
    if array.id in queue.arrays:
        queue.close_array(array, now)
    return "cancelled"


def _settle_untouched(queue: QueueState, array: Array) -> None:
    """Tell those that wait for an element which has no record of its own and gets none."""
    ids: Iterable[int] = range(array.id + 1, array.id + 1 + array.count)
    ids = ids if array.count < len(queue.waiters) else list(queue.waiters)
    spec = array.spec.array
    for raw in ids:
        position = raw - array.id - 1
        is_untouched = array.next <= position < array.count and position not in array.touched
        if spec is not None and is_untouched and raw in queue.waiters:
            label = f"{array.id}_{spec.start + position * spec.step}"
            queue.settled.append((raw, states.CANCELLED, f"{label} was cancelled"))


def _cancel(queue: QueueState, entry: Job | Array, number: int, now: float) -> str:
    return cancel_entry(queue, entry, "cancelled by its owner", now)


def _each(
    verb: Callable[[QueueState, Job, int, float], str],
) -> Callable[[QueueState, Job | Array, int, float], str]:
    """Do a verb of a job to each living element of an array."""

    def on_all(queue: QueueState, entry: Job | Array, number: int, now: float) -> str:
        if isinstance(entry, Job):
            return verb(queue, entry, number, now)
        said = [verb(queue, job, number, now) for job in queue.live_elements(entry)]
        return said[0] if said else "no element of it is running"

    return on_all


def _hold(queue: QueueState, entry: Job | Array, number: int, now: float) -> str:
    return _turn(queue, entry, "hold", "held", now)


def assigned(queue: QueueState, labels: Iterable[str]) -> dict[str, set[int]]:
    """Find those that the node has in advance: it may be starting them just now."""
    found = {}
    for label in labels:
        entry = queue.find(label)
        jobs = queue.live_elements(entry) if isinstance(entry, Array) else [entry]
        if ids := {job.id for job in jobs if isinstance(job, Job) and job.assigned}:
            found[label] = ids
    return found


def answer_holds(queue: QueueState) -> None:
    """Answer the holds of jobs that the node has given back, or has started after all."""
    waiting, queue.doubtful = queue.doubtful, []
    for to, said, doubtful in waiting:
        if any(ids & queue.assigned.keys() for ids in doubtful.values()):
            queue.doubtful.append((to, said, doubtful))
            continue
        for label, ids in doubtful.items():
            jobs = [queue.jobs.get(id) for id in ids]
            if all(job is None or job.allocation is not None for job in jobs):
                said[label] = "has just started: too late to hold it"
        queue.do(ev.Reply(to, said))


def _release(queue: QueueState, entry: Job | Array, number: int, now: float) -> str:
    return _turn(queue, entry, "release", "released", now)


def _turn(queue: QueueState, entry: Job | Array, event: str, done: str, now: float) -> str:
    state = entry.rest if isinstance(entry, Array) else entry.state
    said = f"is {state}: nothing to {event}"
    if (state, event) in states.TRANSITIONS:
        state = states.advance(state, event)
        if isinstance(entry, Array):
            entry.rest = state
        else:
            entry.state = state
        queue.write(entry)
        if isinstance(entry, Job) and entry.assigned:
            prefill.recall(queue)
        queue.admit(entry, now)
        said = done
    if isinstance(entry, Array):
        for job in queue.live_elements(entry):
            _turn(queue, job, event, done, now)
    return said


def _priority(queue: QueueState, entry: Job | Array, number: int, now: float) -> str:
    entry.priority = number
    prefill.recall(queue)
    queue.write(entry)
    queue.admit(entry, now)
    if isinstance(entry, Array):
        for job in queue.live_elements(entry):
            _priority(queue, job, number, now)
    return f"priority {number}"


def _requeue(queue: QueueState, job: Job, number: int, now: float) -> str:
    if job.allocation is None or job.ending:
        return f"is {job.state}: only a running job can be queued again"
    order = ev.EndProcesses(job.id, job.attempt, "requeue")
    queue.orders.keep(order)
    queue.do(order)
    return "being ended and queued again"


def _signal(queue: QueueState, job: Job, number: int, now: float) -> str:
    if job.allocation is None:
        return f"is {job.state}: only a running job can be signalled"
    order = ev.SendSignal(job.id, job.attempt, number)
    if not queue.attached:
        queue.orders.keep_signal(order)
        return f"signal {number} is sent as soon as the node is back"
    queue.do(order)
    return f"sent signal {number}"


def _suspend(queue: QueueState, job: Job, number: int, now: float) -> str:
    return _stop_or_go(queue, job, "suspend", _SIGSTOP, "suspended")


def _resume(queue: QueueState, job: Job, number: int, now: float) -> str:
    return _stop_or_go(queue, job, "resume", _SIGCONT, "resumed")


def _stop_or_go(queue: QueueState, job: Job, event: str, signal: int, done: str) -> str:
    if (job.state, event) not in states.TRANSITIONS:
        return f"is {job.state}: nothing to {event}"
    job.state = states.advance(job.state, event)
    job.was_stopped = True
    queue.write(job)
    queue.do(ev.SendSignal(job.id, job.attempt, signal))
    return done


def _update_one(queue: QueueState, event: ev.Update, label: str, now: float) -> str:
    """Change what the job or array that `label` names asked for."""
    entry = queue.find(label)
    if entry is None:
        known = event.known.get(label)
        return f"already {known.state}" if known else "no such job"
    if isinstance(entry, tuple) or (isinstance(entry, Job) and entry.array):
        return "is an element: change its array"
    state = entry.rest if isinstance(entry, Array) else entry.state
    if set(event.fields) - {"extra", "comment"} and state not in (states.PENDING, states.HELD):
        return f"is {state}: only a job that waits can be changed"
    spec = msgspec.structs.replace(entry.spec, **event.fields)
    entries = [entry, *(queue.live_elements(entry) if isinstance(entry, Array) else ())]
    for each in entries:
        each.spec = spec
        if isinstance(each, Job) and each.assigned:
            prefill.recall(queue)
        queue.write(each)
        queue.admit(each, now)
    queue.changes.updates[entry.id] = spec
    return "changed"


VERBS: dict[str, Callable[[QueueState, Job | Array, int, float], str]] = {
    "cancel": _cancel,
    "hold": _hold,
    "release": _release,
    "priority": _priority,
    "requeue": _each(_requeue),
    "signal": _each(_signal),
    "suspend": _each(_suspend),
    "resume": _each(_resume),
}
