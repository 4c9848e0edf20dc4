"""What becomes of a job when its process exits, or its node tells what it has.

Pure.  See `queue_state` for the state it changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import states
from cluster.local import events as ev
from cluster.local import prefill
from cluster.local.events import Job
from cluster.local.wire import RECALL

if TYPE_CHECKING:
    from cluster.local.queue_state import QueueState

__all__ = ["attach", "exited", "started"]

_NAMES_OF_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU",
    25: "SIGXFSZ",
}  # fmt: skip
_SIGSTOP, _SIGCONT = 19, 18
_NOT_STORED = 74  # with it a function's process ends that could store neither result nor reason
_RESULT_OF_FUNCTION = (0, 2)  # status bytes of an envelope that can mean success
_REBOOTED = "the machine was restarted while it ran"
_MAYBE_STARTED = "the machine went down hard when it was about to start, or just had"


def attach(queue: QueueState, event: ev.Attached, now: float) -> None:
    queue.attached = True
    there = {(job, attempt) for job, attempt, _ in event.running} | set(event.exited)
    queue.next_id = max([queue.next_id, *(job + 1 for job, _ in there)])  # of a lost store, too
    for job in [j for j in queue.jobs.values() if j.allocation is not None or j.assigned]:
        if (job.id, job.attempt) not in there:
            _missing(queue, job, event, now)
        elif job.ending:
            queue.do(ev.EndProcesses(job.id, job.attempt, "cancel"))
    for id, attempt, pid in event.running:
        known = queue.jobs.get(id)
        if known is not None and known.attempt == attempt and known.assigned:
            prefill.assume_started(queue, known, now)
        if known is None or known.attempt != attempt or known.allocation is None:
            queue.do(ev.EndProcesses(id, attempt, "unknown"))
            continue
        known.pid = pid
        if known.state == states.SUSPENDED:  # the order may have been lost on the way
            queue.do(ev.SendSignal(id, attempt, _SIGSTOP))
        elif known.was_stopped:
            queue.do(ev.SendSignal(id, attempt, _SIGCONT))
    for order in queue.orders.again(queue.jobs):
        queue.do(order)


def _missing(queue: QueueState, job: Job, event: ev.Attached, now: float) -> None:
    """The node has never heard of it: its order to start was lost on the way."""
    if job.ending:
        _gone(queue, job, now)
    elif event.rebooted and job.assigned and event.is_unclean:
        prefill.assume_started(queue, job, now)
        _end(queue, job, "lose_node", _MAYBE_STARTED, now)
    elif event.rebooted and not job.assigned:
        _end(queue, job, "lose_node", _REBOOTED, now)
    elif job.assigned:
        prefill.give_back(queue, job, now)
    else:
        queue.release_cores(job, now)
        job.state = states.advance(job.state, "recall")
        job.attempt -= 1
        job.started = 0.0
        queue.write(job)
        queue.admit(job, now)


def started(queue: QueueState, event: ev.Started, now: float) -> None:
    job = queue.jobs.get(event.job)
    if job is not None and job.attempt == event.attempt:
        job.pid, job.stdout, job.stderr = event.pid, event.stdout, event.stderr


def exited(queue: QueueState, event: ev.Exited, now: float) -> None:
    """A job's processes are gone, and perhaps another took its place."""
    job = queue.jobs.get(event.job)
    queue.do(ev.Acknowledge(event.job, event.attempt))
    freed = None
    if job is not None and event.why == RECALL and job.allocation is not None:
        return  # said of it by a node that never had it: it runs
    if job is not None and job.attempt == event.attempt:
        if job.assigned and event.started:
            prefill.assume_started(queue, job, now)
        freed = job.allocation
        if freed is not None:
            _conclude(queue, job, event, now)
        elif job.ending:
            _gone(queue, job, now)
        elif job.assigned:
            prefill.give_back(queue, job, now)
    if event.next[0]:
        prefill.take_over(queue, event.next, freed, now)


def _conclude(queue: QueueState, job: Job, event: ev.Exited, now: float) -> None:
    job.cpu_s += event.cpu_s
    job.peak_memory_mib = max(job.peak_memory_mib, event.peak_memory_mib)
    job.started = event.started or job.started
    signal, code = event.status & 0x7F, event.status >> 8
    if job.ending:
        job.signal = signal
        queue.changes.contents[job.id] = event.content
        _gone(queue, job, now)
        return
    job.ended = event.ended or now
    job.exitcode = None if signal else code
    job.signal = signal
    end, reason = _judge(job, event)
    if end not in ("requeue", "hold"):
        queue.changes.contents[job.id] = event.content
    if end == "complete" and job.spec.key:
        key, cores, runs = queue.expectations.learn(
            job.spec.key, job.spec.cores, max(job.ended - job.started, 0.0)
        )
        queue.changes.run_times[f"{cores} {key}"] = list(runs)
    _end(queue, job, end, reason, now)


def _end(queue: QueueState, job: Job, end: str, reason: str, now: float) -> None:
    again = ""
    if end in ("fail", "time_out", "run_out_of_memory") and job.failures < job.spec.retries:
        job.failures += 1
        again = f"retry {job.failures} of {job.spec.retries} after: {reason}"
    elif end == "lose_node" and job.spec.requeue:
        again = f"queued again: {reason}"
    elif end in ("requeue", "hold"):
        again = reason or "queued again"
    queue.release_cores(job, now)
    if again:
        job.state = states.advance(job.state, "requeue")
        if end == "hold":
            job.state = states.advance(job.state, "hold")
        job.reason, job.eligible, job.ended = again, now, 0.0
        queue.write(job)
        queue.admit(job, now)
        return
    job.ended = job.ended or now
    queue.finish(job, end, reason, now)


def _gone(queue: QueueState, job: Job, now: float) -> None:
    """The processes of a job that was already final for people are gone."""
    queue.release_cores(job, now)
    queue.assigned.pop(job.id, None)
    job.ending = job.assigned = job.recalled = False
    job.ended = now
    queue.write(job)
    queue._close(job, now)


def _judge(job: Job, event: ev.Exited) -> tuple[str, str]:
    """Say how it ended (an event of `states`) and why, from its exit."""
    why = {
        "walltime": ("time_out", f"it ran longer than its walltime of {job.spec.walltime_s:g} s"),
        "memory": (
            "run_out_of_memory",
            event.reason or f"it used more than its {job.spec.memory_mib} MiB of memory",
        ),
        "node": ("lose_node", event.reason),
        "start": ("fail", event.reason),
        "requeue": ("requeue", "queued again on request"),
        "cancel": ("cancel", event.reason or "cancelled"),
        "unknown": ("lose_node", "its node and its queue disagreed about it"),
    }
    meant = job.spec.codes.get(-1 if event.why == "start" else event.status >> 8)
    if meant and event.why in ("", "start") and not event.status & 0x7F:
        return meant, f"Error: {event.reason or f'exit code {event.status >> 8}'}"
    if event.why in why:
        return why[event.why]
    signal, code = event.status & 0x7F, event.status >> 8
    if signal:
        name = _NAMES_OF_SIGNALS.get(signal, "")
        return "fail", f"signal {signal}" + (f" ({name})" if name else "")
    if code == _NOT_STORED and job.spec.kind == "function" and event.result_status is None:
        return "fail", "its result could not be stored: no room on the disk of the queue"
    if code:
        return "fail", event.reason or f"exit code {code}"
    if job.spec.kind == "function" and event.result_status not in _RESULT_OF_FUNCTION:
        return "fail", event.reason or "its process ended with code 0 before the function returned"
    return "complete", ""
