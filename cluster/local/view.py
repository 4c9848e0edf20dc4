"""What people see of a job: one `JobInfo`, and why it is not running yet.

Pure: it reads the queue's state and changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from cluster import states
from cluster.local import resources
from cluster.local.dependencies import element
from cluster.local.events import Array, Job
from cluster.local.policy import Reservation
from cluster.local.queue_state import QueueState, array_state
from cluster.local.wire import JobInfo
from cluster.spec import JobSpec

__all__ = ["Head", "array_info", "element_info", "final_info", "job_info", "why_pending"]


class Head:
    """Who starts first of those that wait, and when: found out at most once for many jobs."""

    def __init__(self, queue: QueueState, now: float) -> None:
        self._queue, self._now = queue, now

    @cached_property
    def reservation(self) -> Reservation | None:
        """The id and the believed start."""
        queue, now = self._queue, self._now
        return queue.waiting.reservation(
            now, queue.pool.capacity, queue.pool.free, queue.running.ends(now)
        )


def job_info(
    job: Job, queue: QueueState, now: float, host: str, head: Head | None = None
) -> JobInfo:
    """Show a job that lives in the queue; `head` saves work where many are shown."""
    expected = 0.0
    reason = job.reason
    if job.state in (states.PENDING, states.HELD):
        expected = _expected_start(job, queue, now, head or Head(queue, now))
        reason = why_pending(job, queue, now, expected)
    elif job.lent:
        reason = "Lent: it waits for jobs, its cores are lent to others"
    return _info(job, host, reason=reason, expected_start=expected)


def final_info(job: Job, host: str) -> JobInfo:
    """Show a job that is final, as the store has it."""
    return _info(job, host, reason=job.reason, expected_start=0.0)


def _info(job: Job, host: str, *, reason: str, expected_start: float) -> JobInfo:
    spec = job.spec
    attempt = job.attempt - job.assigned  # the attempt of an assigned job is still to come
    return JobInfo(
        id=job.label,
        state=job.state,
        index=job.index,
        priority=job.priority,
        submitted=job.submitted,
        eligible=job.eligible,
        started=job.started,
        ended=job.ended,
        expected_start=expected_start,
        attempt=attempt,
        exitcode=job.exitcode,
        signal=job.signal,
        reason=reason,
        ending=job.ending,
        lent=job.lent,
        cpu_s=job.cpu_s,
        peak_memory_mib=job.peak_memory_mib,
        host=host if attempt else "",
        pid=job.pid,
        gpu_indices=job.allocation.gpus if job.allocation else (),
        stdout=job.stdout,
        stderr=job.stderr,
        **_of_spec(spec),  # type: ignore[arg-type]
    )


def _of_spec(spec: JobSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "kind": spec.kind,
        "cores": spec.cores,
        "memory_mib": spec.memory_mib,
        "gpus": spec.gpus,
        "resources": spec.resources,
        "begin": spec.begin,
        "walltime_s": spec.walltime_s,
        "expect_s": spec.expect_s,
        "dependencies": tuple(f"{d.type}:{d.job}" for d in spec.dependencies),
        "comment": spec.comment,
        "namespace": spec.namespace,
        "extra": spec.extra,
    }


def array_info(array: Array, queue: QueueState | None, now: float, host: str) -> JobInfo:
    """Show an array as one row, with the number of its elements in each state."""
    counts = {state: n for state, n in array.counts.items() if n}
    reason = array.reason
    if queue is not None and array.id in queue.arrays:
        rest = queue.untouched(array)
        if rest:
            counts[array.rest] = counts.get(array.rest, 0) + rest
        for job in queue.live_elements(array):
            counts[job.state] = counts.get(job.state, 0) + 1
        if rest and array.rest in (states.PENDING, states.HELD):
            reason = why_pending(array, queue, now, 0.0)
    return JobInfo(
        id=str(array.id),
        state=array_state(array),
        counts=counts,
        priority=array.priority,
        submitted=array.submitted,
        eligible=array.eligible,
        ended=array.ended,
        reason=reason,
        host=host,
        **_of_spec(array.spec),  # type: ignore[arg-type]
    )


def element_info(array: Array, index: int, queue: QueueState | None, now: float) -> JobInfo | None:
    """Show an element that was never touched; None if the array has no such index."""
    if array.spec.array is None or element(array.spec.array, index) is None:
        return None
    pending = queue is not None and array.rest in (states.PENDING, states.HELD)
    return JobInfo(
        id=f"{array.id}_{index}",
        state=array.rest,
        index=index,
        priority=array.priority,
        submitted=array.submitted,
        eligible=array.eligible,
        ended=array.ended,
        reason=why_pending(array, queue, now, 0.0) if queue and pending else array.reason,
        **_of_spec(array.spec),  # type: ignore[arg-type]
    )


def why_pending(entry: Job | Array, queue: QueueState, now: float, expected: float) -> str:
    """Say in one sentence what keeps a job from starting."""
    state = entry.rest if isinstance(entry, Array) else entry.state
    prefix = f"{entry.reason}; " if isinstance(entry, Job) and entry.reason else ""
    if state == states.HELD:
        return f"{prefix}Held: `cluster release {_label(entry)}` lets it go"
    if any(target < 0 for target, _ in entry.unmet):
        return f"{entry.reason}; it waits for ever, as asked"
    if entry.unmet:
        targets = sorted({target for target, _ in entry.unmet})
        named = ", ".join(_name_of(target, queue) for target in targets[:5])
        more = f" and {len(targets) - 5} more" if len(targets) > 5 else ""
        return f"{prefix}Dependency: waits for {named}{more}"
    if entry.spec.begin > now:
        return f"{prefix}Begin: not before {_clock(entry.spec.begin, now)}"
    if queue.paused:
        return f"{prefix}Paused: `cluster local resume` lets jobs start"
    if not queue.attached:
        return f"{prefix}Node: the process that starts jobs is not there yet"
    limited = _array_limit(entry, queue)
    return prefix + (limited or _short(entry, queue, now, expected))


def _label(entry: Job | Array) -> str:
    return str(entry.id) if isinstance(entry, Array) else entry.label


def _name_of(raw: int, queue: QueueState) -> str:
    job = queue.jobs.get(raw)
    if job is not None:
        return job.label
    if raw in queue.arrays:
        return str(raw)
    for array in queue.arrays.values():
        position = raw - array.id - 1
        if array.spec.array is not None and 0 <= position < array.count:
            return f"{array.id}_{array.spec.array.indices()[position]}"
    return str(raw)


def _array_limit(entry: Job | Array, queue: QueueState) -> str:
    array = entry if isinstance(entry, Array) else queue.arrays.get(entry.array)
    limit = array.spec.array.max_running if array and array.spec.array else 0
    if array and limit and array.running >= limit:
        return f"Array limit: {array.running} of at most {limit} elements are running"
    return ""


def _short(entry: Job | Array, queue: QueueState, now: float, expected: float) -> str:
    never = resources.short(queue.names, entry.need, queue.pool.capacity)
    if never:
        return f"Resources: {never[0].partition(',')[0]}, the queue's capacity is smaller now"
    short = resources.short(queue.names, entry.need, queue.pool.free)
    when = f"; expected start {_clock(expected, now)}" if expected else ""
    if short:
        return f"Resources: {', '.join(short)}{when}"
    return f"Priority: others are before it{when}"


def _expected_start(job: Job, queue: QueueState, now: float, head: Head) -> float:
    if job.assigned:
        end = next(queue.running.ends(now), None)
        return end[0] if end and job is next(iter(queue.assigned.values())) else 0.0
    if job.id not in queue.waiting:
        return 0.0
    first = head.reservation
    return first[1] if first and first[0] == job.id else 0.0


def _clock(when: float, now: float) -> str:
    local = datetime.fromtimestamp(when)
    if local.date() == datetime.fromtimestamp(now).date():
        return f"{local:%H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"
