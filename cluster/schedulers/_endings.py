"""Whether a cluster job has ended, and how: one verdict from all that was heard of it.

Pure: values in, values out.  Nothing here asks; `_tracking` says when and whom.

    exit record   what the job's own script left beside its files
    queue         what the scheduler said last, while it had the job
    books         what its accounting says, once the queue has it no more

The record decides, unless the scheduler says that it ended the job itself.  A
job that is absent from an answer has not ended: its record or the books may be
late.  It is LOST only when all of them were asked, and asked again after a
time of grace, and none knew it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cluster import states
from cluster.local.wire import JobInfo
from cluster.states import FINAL

if TYPE_CHECKING:
    from cluster.schedulers.exit_record import ExitRecord

__all__ = [
    "CANCELLED_REASON", "LOST_REASON", "OVERRULING", "Part", "Policy", "current", "recorded",
    "summary", "verdict",
]  # fmt: skip

# Said by the scheduler, these count more than the exit code of a script that was killed.
OVERRULING = frozenset({"CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"})
LOST_REASON = "neither the queue nor the accounting knows it, and it left no exit record"
CANCELLED_REASON = "cancelled by its owner"
# Slurm writes nothing down about an element, Grid Engine and PBS about no job, that
# somebody takes from the queue before it starts.
UNSTARTED_REASON = "it left the queue before it started, as a job does that somebody cancels"
_LAGGING = 5  # so many times the grace, while the books say that it still runs

# Of several elements that ended, the first of these that is there names the array's state.
_WORST = (
    states.FAILED, states.OUT_OF_MEMORY, states.TIMEOUT, states.NODE_FAIL, states.LOST,
    states.CANCELLED,
)  # fmt: skip
# Of several that have not ended, the first of these does.
_LIVELIEST = (states.RUNNING, states.SUSPENDED, states.PENDING, states.HELD)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How patient we are; all in seconds.

    Attributes:
        shortest_s, longest_s: between two questions to the queue.
        grace_s: from the first absence to LOST.
        settle_s: how long the books may take to overrule a failure's record.
    """

    shortest_s: float = 1.0
    longest_s: float = 15.0
    grace_s: float = 60.0
    settle_s: float = 5.0


@dataclass(slots=True)
class Part:
    """One single job, or one element of an array, and what was heard of it.

    Attributes:
        base: what was asked for at submit, or as little as the id.
        said: what the scheduler said last; None if it never said anything.
        in_books: `said` comes from the books, not from the queue.
        record: its exit record.
        heard: when the record was first seen.
        absent: since when the queue has not had it; 0 if it has, or was never asked.
        missed: when the queue last answered without it.
        asked: when the books last answered since then; 0 not yet.
        cancelled: somebody here told the scheduler to end it.
        final: how it ended; it stays so.
    """

    id: str
    base: JobInfo
    said: JobInfo | None = None
    in_books: bool = False
    record: ExitRecord | None = None
    heard: float = 0.0
    absent: float = 0.0
    missed: float = 0.0
    asked: float = 0.0
    cancelled: bool = False
    final: JobInfo | None = None


def verdict(part: Part, *, now: float, policy: Policy, books: bool) -> JobInfo | None:
    """Say how it ended; None if it has not, or if that is not known yet.

    Args:
        part: what was heard.
        now: seconds since the epoch.
        policy: how long to wait for what is late.
        books: the scheduler keeps books.
    """
    said, record = part.said, part.record
    ended = said is not None and said.state in FINAL
    if said is not None and said.state in OVERRULING:
        return _complete(part, said)
    if record is not None and record.unmet:
        why = f"Dependency {record.unmet} can never hold"
        return _merged(part, state=states.CANCELLED, reason=why, ended=record.end)
    if record is not None:
        waits = now - part.heard < policy.settle_s
        if record.code != 0 and books and waits and not ended:
            return None  # killed for its memory, say: the books are still to tell
        return recorded(part, record)
    if part.cancelled and record is None and _is_gone(part, ended, books):
        return _merged(part, state=states.CANCELLED, reason=CANCELLED_REASON, ended=now)
    if said is not None and ended:
        return _complete(part, said)
    if _is_lost(part, policy, books):
        if said is not None and said.state in (states.PENDING, states.HELD):
            return _merged(part, state=states.CANCELLED, reason=UNSTARTED_REASON, ended=now)
        return _merged(part, state=states.LOST, reason=LOST_REASON, ended=now)
    return None


def _is_gone(part: Part, ended: bool, books: bool) -> bool:
    # Some schedulers write down only that a signal killed it, and of a job that had not
    # started, nothing at all.
    if ended:
        return part.said is not None and part.said.state == states.FAILED
    return bool(part.absent) and not part.in_books and (part.asked > 0 or not books)


def _is_lost(part: Part, policy: Policy, books: bool) -> bool:
    if not part.absent:
        return False
    # It is the answers that must not have known it for so long: time alone says nothing.
    last = part.asked if books else part.missed
    patience = policy.grace_s * (_LAGGING if part.in_books else 1)
    return last - part.absent >= patience


def recorded(part: Part, record: ExitRecord) -> JobInfo:
    """Show a job as its exit record tells it."""
    return _merged(
        part,
        state=states.FAILED if record.code else states.COMPLETED,
        exitcode=None if record.signal else record.code,
        signal=record.signal,
        reason="",
        started=record.start,
        ended=record.end,
        host=record.host,
        attempt=max(record.attempt, 1),
    )


def _complete(part: Part, said: JobInfo) -> JobInfo:
    record = part.record
    ours = part.cancelled and said.state == states.CANCELLED
    return _merged(
        part,
        state=said.state,
        reason=CANCELLED_REASON if ours else said.reason,
        ending=False,
        started=said.started or (record.start if record else 0.0),
        ended=said.ended or (record.end if record else 0.0),
        attempt=said.attempt or (1 if said.started or record else 0),
    )


def _merged(part: Part, **fields: object) -> JobInfo:
    return msgspec.structs.replace(current(part), **fields)


def current(part: Part) -> JobInfo:
    """Give what is known of it now: what was asked for, under what was said last."""
    if part.final is not None:
        return part.final
    base, said = part.base, part.said
    if said is None:
        return base
    return msgspec.structs.replace(
        said,
        id=part.id,
        name=base.name or said.name,
        kind=base.kind,
        index=base.index if base.index is not None else said.index,
        cores=said.cores if said.cores > 1 else base.cores,
        memory_mib=said.memory_mib or base.memory_mib,
        gpus=said.gpus or base.gpus,
        resources=base.resources or said.resources,
        submitted=said.submitted or base.submitted,
        walltime_s=said.walltime_s or base.walltime_s,
        expect_s=base.expect_s,
        begin=base.begin or said.begin,
        dependencies=base.dependencies or said.dependencies,
        comment=base.comment or said.comment,
        stdout=base.stdout or said.stdout,
        stderr=base.stderr or said.stderr,
        attempt=max(said.attempt, 1 if said.started or said.state in states.ACTIVE else 0),
        counts={},
    )


def summary(base: JobInfo, elements: Sequence[JobInfo]) -> JobInfo:
    """Show an array as one job: the number of its elements in each state, and one state.

    Args:
        base: what was asked for.
        elements: all of them.
    """
    counts: dict[str, int] = {}
    for element in elements:
        counts[element.state] = counts.get(element.state, 0) + 1
    started = [e.started for e in elements if e.started]
    final = all(state in FINAL for state in counts)
    return msgspec.structs.replace(
        base,
        state=_array_state(counts),
        counts=counts,
        started=min(started, default=0.0),
        ended=max((e.ended for e in elements), default=0.0) if final else 0.0,
        reason=next((e.reason for e in elements if e.reason), ""),
    )


def _array_state(counts: Mapping[str, int]) -> str:
    if any(state not in FINAL for state in counts):
        return next(state for state in _LIVELIEST if counts.get(state))
    return next((state for state in _WORST if counts.get(state)), states.COMPLETED)
