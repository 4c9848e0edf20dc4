"""How the processes of a job are found, signalled, and ended to the last one.

SIGTERM to all, a grace, then SIGKILL again and again until none is left: what
forks meanwhile is found by the next round.  Only when it comes to SIGKILL is
the whole process table searched for the job's token.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping

from cluster.local import processes
from cluster.local.journal import Key
from cluster.local.loop import Loop
from cluster.local.node_job import Job
from cluster.local.orphans import Orphans
from cluster.local.warm_pool import WarmPool

_log = logging.getLogger(__name__)

KILL_AGAIN_S, KILL_AGAIN_MAX_S = 0.02, 5.0


class Ending:
    """Finds and ends the processes of jobs.

    Args:
        mark: first part of this queue's job tokens.
        loop: for the next round.
        jobs: every job that is not over.
        leaders: the first process of each job, until it is reaped.
        pool: its warm parents are no job's.
    """

    def __init__(
        self,
        mark: str,
        loop: Loop,
        *,
        jobs: Mapping[Key, Job],
        leaders: Mapping[int, Job],
        pool: WarmPool,
    ) -> None:
        self._mark, self._loop, self._pool = mark, loop, pool
        self._jobs, self._leaders = jobs, leaders
        self.orphans = Orphans(mark)
        self._children = processes.Children()

    def token(self, key: Key) -> str:
        """Give what marks the processes of a job in their environment."""
        return f"{self._mark}.{key[0]}.{key[1]}"

    def adopt(self) -> None:
        """Learn which orphans became children of the node."""
        if not self._unknown():
            return
        self._pool.drain()  # a function's process may be about to be named
        unknown = self._unknown()
        if not unknown:
            return
        strays = self.orphans.adopt(
            unknown,
            leaders={key: job.pid for key, job in self._jobs.items()},
            ours=self._ours().__contains__,
        )
        for process in strays:
            _log.warning("process %d of a job that is over is ended", process.pid)
            processes.send(process, signal.SIGKILL)

    def _unknown(self) -> list[int]:
        known, owns = self._leaders, self._pool.owns
        return [
            pid
            for pid in self._children.read()
            if pid not in known and pid not in self.orphans and not owns(pid)
        ]

    def _ours(self) -> set[int]:
        """Give the sessions of the node and of its warm parents."""
        found = (processes.look(pid) for pid in (os.getpid(), *self._pool.pids()))
        return {process.session for process in found if process is not None}

    def tree(self, job: Job) -> list[processes.Process]:
        """Give the processes of a job."""
        return processes.trees(self._roots(job))

    def _roots(self, job: Job) -> list[int]:
        self.adopt()
        leader = [job.pid] if job.pid in self._leaders else []
        return leader + self.orphans.left_by(job.key)

    def send(self, job: Job, number: int) -> list[processes.Process]:
        """Send a signal to all processes of a job, and give them.

        Raises:
            OSError: no descriptor is left to look for them; the group of a
                command has the signal even so.
        """
        # A child that we have not reaped keeps its group's number from being used
        # again; a command's leader is one, a function's may be its warm parent's.
        is_ours = job.pid in self._leaders and not job.is_function
        grouped = is_ours and self._send_group(job, number)
        roots = self._roots(job)
        tree = processes.trees(roots)
        if not is_ours and any(
            each.group == job.pid and each.pid in roots and each.parent == os.getpid()
            for each in tree
        ):
            grouped = self._send_group(job, number)
        for process in tree:
            if not grouped or process.group != job.pid:
                processes.send(process, number)
        return tree

    def _send_group(self, job: Job, number: int) -> bool:
        try:
            os.killpg(job.pid, number)
        except OSError:
            return False
        return True

    def terminate(self, job: Job, grace_s: float) -> None:
        """Begin to end a job; a second call can only make it sooner."""
        when = time.monotonic() + grace_s
        if job.killer is not None:
            if job.killer.when <= when:
                return
            job.killer.cancel()
        if grace_s <= 0:
            self._kill(job, KILL_AGAIN_S)
            return
        job.killer = self._loop.later(grace_s, lambda: self._kill(job, KILL_AGAIN_S))
        self.send(job, signal.SIGTERM)
        self.send(job, signal.SIGCONT)  # a stopped process would not see the other

    def _kill(self, job: Job, again_s: float) -> None:
        """Kill what there is, and come back until there is nothing."""
        if self._jobs.get(job.key) is not job:
            return
        later_s = min(2 * again_s, KILL_AGAIN_MAX_S)
        job.killer = self._loop.later(again_s, lambda: self._kill(job, later_s))
        tree = {process.pid for process in self.send(job, signal.SIGKILL)}
        token = self.token(job.key)
        marked = processes.with_tokens(token).get(token, [])
        job.outside = [process for process in marked if process.pid not in tree]
        for process in job.outside:
            processes.send(process, signal.SIGKILL)

    def is_left(self, job: Job) -> bool:
        """Tell whether anything of a job whose leader was reaped still lives."""
        if self.orphans.left_by(job.key):
            return True
        if job.outside:
            job.outside = [each for each in job.outside if processes.is_same(each.pid, each.ticks)]
        return bool(job.outside)

    def close(self) -> None:
        """Close the descriptor it keeps."""
        self._children.close()
