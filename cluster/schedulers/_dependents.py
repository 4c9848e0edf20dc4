"""What became of jobs whose dependencies cannot hold, in the same words for every scheduler.

Pure.  Slurm ends them when told, PBS deletes them without a trace, elsewhere
their own script finds out.  The user is told which dependency it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster import states
from cluster.local.wire import JobInfo
from cluster.spec import Dependency
from cluster.states import FINAL

__all__ = ["KEPT", "MET", "NEVER", "judge", "read", "softened", "story", "verdict"]

KEPT, MET, NEVER = "kept", "met", "never"


def read(text: str) -> Dependency:
    """Read "afterok:17", as `JobInfo.dependencies` has it."""
    kind, _, job = text.partition(":")
    return Dependency(job, kind)


def verdict(kind: str, info: JobInfo) -> str:
    """Say whether a dependency on this job is met, can never be, or is still to be KEPT."""
    if info.state not in FINAL:
        if kind == "after" and info.started:
            return MET
        failed = any(s in FINAL and s != states.COMPLETED for s in info.counts)
        return NEVER if kind == "afterok" and failed else KEPT
    if kind in ("after", "afterany"):
        return MET
    return MET if (info.state == states.COMPLETED) == (kind == "afterok") else NEVER


def judge(
    dependencies: Sequence[Dependency], choice: str, ended: Callable[[str], JobInfo | None]
) -> tuple[tuple[Dependency, ...], str]:
    """Take out the dependencies that are met: a scheduler may have forgotten the job.

    Args:
        dependencies: on ids of the scheduler.
        choice: what becomes of a job that can never start, `on_unsatisfiable`.
        ended: gives a job that is known to have ended.

    Returns:
        What is still to wait for, and why the job can never start; "" if it can.
    """
    kept, never = [], ""
    for each in dependencies:
        info = ended(each.job)
        found = verdict(each.type, info) if info is not None else KEPT
        if found == KEPT:
            kept.append(each)
        elif found == NEVER and info is not None and choice != "release":
            never = never or story(info)
    return (() if never else tuple(kept)), never


def softened(dependencies: Sequence[Dependency], choice: str) -> tuple[Dependency, ...]:
    """Have a job that may run when its dependency can never hold wait for any end of it."""
    if choice != "release":
        return tuple(dependencies)
    conditional = ("afterok", "afternotok")
    return tuple(
        Dependency(d.job, "afterany") if d.type in conditional else d for d in dependencies
    )


def story(info: JobInfo) -> str:
    """Tell in a few words how a job ended: the reason of those that waited for it."""
    return f"Dependency {info.id} {_how(info)}"


def _how(info: JobInfo) -> str:
    if info.counts:
        total = sum(info.counts.values())
        bad = total - info.counts.get(states.COMPLETED, 0)
        return f"has {bad} of {total} elements that did not complete" if bad else "completed"
    if info.state == states.FAILED:
        if info.exitcode:
            return f"failed with exit code {info.exitcode}"
        return f"failed with signal {info.signal}" if info.signal else "failed"
    if info.state == states.COMPLETED:
        return "completed"
    return "was cancelled" if info.state == states.CANCELLED else f"ended as {info.state}"
