"""Children that the node did not start: whose are they?

What a job leaves behind when it ends (daemons, background children, whatever
left its session) becomes a child of the node, the subreaper.  It is told by
its job token; by its session or group, where it wiped its environment; else by
exclusion: it belongs to one of the jobs that ran when it was first seen, and
is over when the last of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from cluster.local import processes
from cluster.local.journal import Key

_Found = frozenset[Key]
_NOBODYS: _Found = frozenset()
_UNNAMED = b"--"  # what a child of a warm parent shows before it has its job's token


class Orphans:
    """The adopted children, and the jobs each may belong to.

    Args:
        mark: first part of the token of this queue's jobs.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode() + b"."
        self._jobs_of: dict[int, _Found] = {}

    def __contains__(self, pid: int) -> bool:
        return pid in self._jobs_of

    def adopt(
        self,
        pids: Iterable[int],
        *,
        leaders: Mapping[Key, int],
        ours: Callable[[int], bool],
    ) -> list[processes.Process]:
        """Find out whose these new children are.

        Args:
            pids: children of the node that it does not know.
            leaders: pid (0: not known yet) of each job that is not over.
            ours: whether a session is the node's own or a warm parent's; who is
                still in one is no job's.

        Returns:
            Those of a job of this queue that is long over: to be ended at once.
        """
        strays = []
        for pid in pids:
            process = processes.look(pid)
            # A zombie has no environment to be told by, and is only to be reaped: it
            # may be a function's process that its warm parent has not named yet.
            if process is None or not process.lives or ours(process.session):
                continue
            jobs, is_stray = self._identify(process, leaders)
            if jobs is not None:
                self._jobs_of[pid] = jobs
            if is_stray:
                strays.append(process)
        return strays

    def _identify(
        self, process: processes.Process, leaders: Mapping[Key, int]
    ) -> tuple[_Found | None, bool]:
        """Give the jobs it may belong to (None: ask again later), and whether it is a stray."""
        env = processes.environment(process.pid)
        token = env.get(processes.TOKEN, b"")
        if token.startswith(self._mark):
            key = _key_of(token[len(self._mark) :])
            if key is not None and key in leaders:
                return (frozenset((key,)), False) if leaders[key] else (None, False)
            return _NOBODYS, True
        if token.startswith(_UNNAMED):
            return None, False
        if token or processes.is_daemon(env):
            return _NOBODYS, False  # another queue's
        for key, pid in leaders.items():
            if pid and pid in (process.session, process.group):
                return frozenset((key,)), False
        return frozenset(key for key, pid in leaders.items() if pid), False

    def left_by(self, key: Key) -> list[int]:
        """Give the orphans that belong to this job and to no other."""
        if not self._jobs_of:
            return []
        return [pid for pid, jobs in self._jobs_of.items() if jobs == {key}]

    def may_be_left_by(self, key: Key) -> bool:
        """Tell whether some orphan may be this job's, or another's."""
        return any(key in jobs for jobs in self._jobs_of.values())

    def reaped(self, pid: int) -> Key | None:
        """Forget one that is gone; give its job where that is known."""
        jobs = self._jobs_of.pop(pid, _NOBODYS)
        return next(iter(jobs)) if len(jobs) == 1 else None

    def forget(self, key: Key) -> None:
        """A job is over: what may have been its is one of the others'."""
        for pid, jobs in self._jobs_of.items():
            if key in jobs:
                self._jobs_of[pid] = jobs - {key}


def _key_of(text: bytes) -> Key | None:
    job, _, attempt = text.partition(b".")
    if job.isdigit() and attempt.isdigit():
        return int(job), int(attempt)
    return None
