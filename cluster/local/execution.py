"""The jobs of a node, from the order to start to the exit that is acknowledged.

    start ──> waiting ──spawned──> running ──leader reaped──> closing ──> finished ──> acked
                 └─ no process or descriptor to be had: tried again

Each step is in the journal before it is done or told.  A job is closing while
something that it left behind still lives: SIGTERM, grace, SIGKILL, again and
again until it is gone.
"""

from __future__ import annotations

import logging
import os
import resource  # noqa: F401  os.wait4 imports it, too late when no descriptor is left
import signal
import time
from collections.abc import Callable

import msgspec

from cluster.local import crash, journal, lifecycle, memory_limit, processes, scratch, spawn, wire
from cluster.local.ending import Ending
from cluster.local.journal import Key
from cluster.local.limits import Limits, exceeded
from cluster.local.loop import Loop, Timer
from cluster.local.node_job import Finished, Job, Settings, Usage, leave_note, named_path
from cluster.local.slots import Slots
from cluster.local.warm_pool import WarmPool
from cluster.spec import Launch

_log = logging.getLogger(__name__)

# When the machine has no process to give (EAGAIN) it may have one soon; 3 s in all.
RETRY_DELAYS_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
RETRY_SLOW_S = 1.0
GROUP_RETRY_S = 1.0
FLUSH_S = 0.005  # what is not urgent in the journal waits so long for what is
_MIB = 1 << 20
_RUSAGE_UNIT = 1 if processes.IS_MACOS else 1024  # ru_maxrss: bytes there, KiB here


class Execution:
    """Starts jobs, ends them, and knows when they are over.

    Args:
        state_dir: its journal, slots and outputs are used.
        loop: calls back.
        report: takes what the server is to be told; a `Job` means that it started.

    Raises:
        OSError: the state directory cannot be written to.
    """

    def __init__(
        self,
        state_dir: str,
        loop: Loop,
        report: Callable[[wire.Report | Job], None],
        *,
        settings: Settings,
    ) -> None:
        self._loop, self._report, self._settings = loop, report, settings
        self.boot_id = processes.boot_id()
        self._state_dir = state_dir
        own = processes.look(os.getpid())
        self._own_ticks = own.ticks if own else 0
        node = journal.Node(self.boot_id, os.getpid(), self._own_ticks)
        self._journal = journal.Journal(state_dir, node)
        self._slots = Slots(state_dir, self._journal.slots)
        self._spawner = spawn.Spawner()
        self._pool = WarmPool(
            on_spawned=self._on_spawned,
            on_start_failed=self._on_start_failed,
            on_reaped=self._on_reaped,
            watch=loop.watch,
            unwatch=loop.unwatch,
            idle_s=settings.warm_idle_s,
        )
        self._decode = msgspec.msgpack.Decoder(Launch).decode
        self._envs: dict[str, wire.Env] = {}
        self.jobs: dict[Key, Job] = {}
        self._queued: dict[Key, Job] = {}  # to start in the place of others
        self._leaders: dict[int, Job] = {}
        self._closing: dict[Key, Job] = {}
        self._finished: dict[Key, Finished] = {}
        self._is_unsettled = False
        self._settling: Timer | None = None
        self._flushing: Timer | None = None
        self._ending = Ending(
            lifecycle.token(state_dir),
            loop,
            jobs=self.jobs,
            leaders=self._leaders,
            pool=self._pool,
        )
        self._limits = Limits(loop, self._ending, self._end, interval_s=settings.memory_interval_s)
        processes.become_subreaper()

    @property
    def has_news(self) -> bool:
        """Whether a server will want to know something."""
        return bool(self.jobs or self._finished)

    def unacknowledged(self) -> list[wire.Exited]:
        """Give the exits that no server has acknowledged."""
        return [finished.report for finished in self._finished.values()]

    def close(self) -> None:
        """Let the warm parents go and close all files."""
        self._pool.close()
        self._journal.close()
        self._spawner.close()
        self._ending.close()

    def keep(self, name: str, env: wire.Env) -> None:
        """Remember an environment by its hash."""
        self._envs[name] = env

    def warm(self, order: wire.Warm) -> None:
        """Have a warm parent ready."""
        self._pool.prewarm(order.python, self._envs.get(order.env, {}), order.sys_path)

    # ------------------------------------------------------------ start

    def start(self, order: wire.Start) -> wire.Report | None:
        """Start a job; the rest is reported.

        Returns:
            What was reported already, when the job is known.
        """
        key = order.job, order.attempt
        if (known := self.jobs.get(key)) is not None:
            return known.started_report() if known.pid else None
        if (finished := self._finished.get(key)) is not None:
            return finished.report
        self._queued.pop(key, None)
        try:
            job = self._make_job(order)
        except ValueError as error:
            _log.exception("job %d.%d cannot be started", *key)
            now = time.time()
            reason = f"the node cannot read how to start it: {error}"
            exited = wire.Exited(*key, spawn.NOT_RUN << 8, "start", reason, now, now)
            self._finished[key] = Finished(exited, is_shared=False)
            return exited
        if order.queued:  # made ready now: when its turn comes, a core waits for it
            self._queued[key] = job
            return None
        self.jobs[key] = job
        self._launch(job)
        return None

    def _make_job(self, order: wire.Start) -> Job:
        key = order.job, order.attempt
        launch = self._decode(order.launch)
        if launch.fills:
            launch = spawn.filled(launch, order)
        if launch.env and launch.env not in self._envs:
            raise ValueError(f"its environment {launch.env} was never sent")
        fixed = {
            b"CLUSTER_STATE_DIR": os.fsencode(self._state_dir),
            processes.TOKEN: self._ending.token(key).encode(),
        }
        env = spawn.environment(self._envs.get(launch.env, {}), launch, order, fixed=fixed)
        return Job(key, order, launch, env)

    def _launch(self, job: Job) -> None:
        if self.jobs.get(job.key) is not job:
            return
        try:
            if job.slot < 0:
                self._begin(job)
            if job.is_function:
                self._launch_function(job)
            else:
                self._launch_command(job)
        except spawn.TryAgain as error:
            self._try_again(job, error)
        except spawn.StartFailed as error:
            self._fail_to_start(job, str(error), error.code)
        except Exception:  # a mistake of ours must not leave the job without an end
            _log.exception("job %d.%d could not be started", *job.key)
            if not job.pid:
                self._fail_to_start(job, "the node failed; see its log", spawn.NOT_RUN)

    def _begin(self, job: Job) -> None:
        """Give it a slot and write it down."""
        try:
            slot = self._slots.take()
        except OSError as error:
            raise spawn.not_started(error, "a file for its output") from error
        launch = job.launch
        job.out = named_path(launch, launch.stdout) or self._slots.path(slot, "out")
        job.err = named_path(launch, launch.stderr) or self._slots.path(slot, "err")
        kind = "function" if job.is_function else "command"
        if crash.armed:
            crash.point("node.before_begin")
        try:
            self._journal.begin(journal.Begin(*job.key, slot, kind, time.time(), *job.named))
        except OSError as error:
            self._slots.give_back(slot)
            raise spawn.not_started(error, "the journal") from error
        if crash.armed:
            crash.point("node.after_begin")
        job.slot = slot
        if job.order.memory_mib and not job.launch.soft_memory:
            name = f"cluster-{self._ending.token(job.key)}"
            job.group = memory_limit.make_group(name, job.order.memory_mib)

    def _launch_command(self, job: Job) -> None:
        if job.launch.scratch:
            scratch.make(job.launch.scratch)
        since = processes.ticks_now()
        pid = self._spawner.command(
            job.launch,
            job.env,
            out=job.out,
            err=job.err,
            cpus=job.order.cpus,
            join_file=job.group.join_file if job.group else b"",
        )
        self._spawned(job, pid, since)

    def _launch_function(self, job: Job) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # a slot's files are empty
        named = spawn.named_flags(job.launch)
        self._pool.start(
            *job.key,
            job.launch,
            environment=job.env,
            stdout=(os.fsencode(job.out), named if job.launch.stdout else flags),
            stderr=(os.fsencode(job.err), named if job.launch.stderr else flags),
            result=os.fsencode(self._slots.path(job.slot, "res")),
            cpus=job.order.cpus,
        )
        if crash.armed:
            crash.point("node.after_request")

    def _try_again(self, job: Job, error: spawn.TryAgain) -> None:
        # too few descriptors is our own trouble and passes; too few processes may be a limit
        if job.tries >= len(RETRY_DELAYS_S) and not error.is_ours:
            self._fail_to_start(job, f"no process could be made: {error}", spawn.NOT_RUN)
            return
        late = job.tries >= len(RETRY_DELAYS_S)
        delay_s = RETRY_SLOW_S if late else RETRY_DELAYS_S[job.tries]
        job.tries += 1
        self._loop.later(delay_s, lambda: self._launch(job))

    def _fail_to_start(self, job: Job, reason: str, code: int) -> None:
        job.why, job.reason = "start", reason
        job.started = time.time()
        self._leader_ended(job, code << 8)
        self._finish(job)

    def _on_spawned(self, number: int, attempt: int, pid: int) -> None:
        job = self.jobs.get((number, attempt))
        if job is not None and not job.pid:
            self._spawned(job, pid)

    def _on_start_failed(self, number: int, attempt: int, reason: str) -> None:
        job = self.jobs.get((number, attempt))
        if job is None:
            return
        if job.pid:
            job.failed = reason  # it exits by itself now
        else:
            self._fail_to_start(job, reason, spawn.NOT_RUN)

    def _spawned(self, job: Job, pid: int, since: int = 0) -> None:
        if crash.armed:
            crash.point("node.after_spawn")
        job.pid, job.started = pid, time.time()
        self._leaders[pid] = job
        until = processes.ticks_now()
        try:
            # A function's process may have waited long before.  That is bound enough:
            # whoever gets this number after it is gone starts later than `until`.
            since = since or self._own_ticks
            self._journal.spawned(journal.Spawned(*job.key, pid, since, until, job.started))
        except OSError:  # recovery will find it by its token
            _log.exception("job %d.%d: its pid is not in the journal", *job.key)
        if crash.armed:
            crash.point("node.after_spawned")
        self._report(job)
        if job.why:  # ended while it was being made
            self._ending.terminate(job, job.grace_s)
            return
        self._limits.begin(job)

    # ------------------------------------------------------------ end

    def end(self, key: Key, why: str, *, grace_s: float, reason: str = "") -> None:
        """End all processes of a job; the first `why` counts, and its own grace if it has one."""
        job = self.jobs.get(key)
        if self._queued.pop(key, None) is not None:
            self._report(wire.Exited(*key, 0, why))
        elif why != wire.RECALL:
            if job is not None:
                own = job.launch.grace_s
                self._end(job, why, reason, grace_s if own is None else own)
        elif job is None and key not in self._finished:  # given back, or never here
            self._report(wire.Exited(*key, 0, why))

    def forget_queued(self) -> None:
        """A server came that does not know of them, or none will: start none of them."""
        self._queued.clear()

    @property
    def queued(self) -> int:
        """How many exits start another job at once."""
        return len(self._queued)

    def _end(self, job: Job, why: str, reason: str, grace_s: float) -> None:
        if job.status is None and not job.why:
            job.why, job.reason = why, reason
            leave_note(job)
        if job.pid:
            self._ending.terminate(job, grace_s)
        elif not job.is_function or self._pool.withdraw(*job.key):
            self._leader_ended(job, int(signal.SIGTERM))
            self._finish(job)

    def end_all(self, why: str, reason: str) -> None:
        """End every job."""
        for job in list(self.jobs.values()):
            self._end(job, why, reason, job.grace_s)

    def signal(self, key: Key, number: int) -> None:
        """Send a signal to all processes of a job."""
        job = self.jobs.get(key)
        if job is not None and job.pid:
            self._ending.send(job, number)

    # ------------------------------------------------------------ reap

    def reap(self) -> None:
        """Take all children that ended; `settle` finishes what is over with them."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._on_reaped(pid, status, usage)

    def _on_reaped(self, pid: int, status: int, usage: Usage) -> None:
        self._is_unsettled = True
        if pid not in self._leaders:
            self._pool.drain()  # what it said before it ended: who it is
        self._pool.drain_of(pid)  # and what went wrong
        job = self._leaders.pop(pid, None)
        if job is not None:
            self._ending.orphans.reaped(pid)  # it may have been seen before it was named
            self._count(job, usage)
            if job.failed:
                job.why, job.reason, status = "start", job.failed, spawn.NOT_RUN << 8
            self._leader_ended(job, status)
            self._closing[job.key] = job
        elif not self._pool.reaped(pid, status, usage):
            key = self._ending.orphans.reaped(pid)
            if key in self.jobs:
                self._count(self.jobs[key], usage)

    def _count(self, job: Job, usage: Usage) -> None:
        job.cpu_s += usage.ru_utime + usage.ru_stime
        job.peak_memory_mib = max(job.peak_memory_mib, usage.ru_maxrss * _RUSAGE_UNIT / _MIB)

    def _leader_ended(self, job: Job, status: int) -> None:
        job.status, job.ended = status, time.time()
        self._limits.forget(job)
        if job.group is not None:
            job.peak_memory_mib = job.group.peak_mib() or job.peak_memory_mib
            if not job.why and job.group.oom_kills():
                job.why, job.reason = "memory", exceeded(job.order.memory_mib)
                leave_note(job)
        if job.slot < 0:  # it did not get as far as the journal
            return
        if crash.armed:
            crash.point("node.before_ended")
        try:
            self._journal.ended(
                journal.Ended(
                    *job.key,
                    status,
                    job.why,
                    job.reason,
                    job.started,
                    job.ended,
                    job.cpu_s,
                    job.peak_memory_mib,
                )
            )
        except OSError:  # the server will be told all the same
            _log.exception("job %d.%d: its end is not in the journal", *job.key)
        if crash.armed:
            crash.point("node.after_ended")

    def _flush_journal(self) -> None:
        self._flushing = None
        try:
            self._journal.flush()
        except OSError:  # recovery finds the processes by their tokens
            _log.exception("the journal cannot be written")

    def settle(self) -> None:
        """Finish the jobs of which nothing is left; end what others left."""
        if self._journal.is_behind and self._flushing is None:
            self._flushing = self._loop.later(FLUSH_S, self._flush_journal)
        if not self._queued:
            self._spawner.rest()
        if not self._is_unsettled and not self._closing:
            return
        try:
            self._ending.adopt()
        except OSError:  # no descriptor: no job is over before we know what it left
            _log.exception("what jobs left cannot be looked for; it is tried again")
            self._is_unsettled = True
            if self._settling is None:
                self._settling = self._loop.later(RETRY_SLOW_S, self._settle_again)
            return
        self._is_unsettled = False
        for job in list(self._closing.values()):
            if self._ending.is_left(job):
                self._ending.terminate(job, job.grace_s)
            else:
                self._finish(job)

    def _settle_again(self) -> None:
        self._settling = None  # the turn that this timer made ends with `settle`

    def _finish(self, job: Job) -> None:
        if job.killer is not None:
            job.killer.cancel()
        following = next(iter(self._queued), (0, 0))
        if following[0]:  # first of all: what is left to do here, it need not wait for
            self._start_in_place_of(job, self._queued.pop(following))
        if crash.armed:
            crash.point("node.before_collect")
        content = wire.Content()
        if job.pid and job.why != "start":  # else the slot may still hold another job's output
            content = self._slots.collect(
                job.slot, *job.key, named=job.named, result=job.is_function
            )
        if crash.armed:
            crash.point("node.after_collect")
        if job.group is not None:
            self._remove_group(job.group)
        if job.launch.scratch:
            scratch.remove(job.launch.scratch)
        report = job.exited_report(content, following)
        is_shared = self._ending.orphans.may_be_left_by(job.key)
        self._finished[job.key] = Finished(report, is_shared)
        self._closing.pop(job.key, None)
        del self.jobs[job.key]
        self._ending.orphans.forget(job.key)
        self._report(report)

    def _start_in_place_of(self, over: Job, job: Job) -> None:
        at = {"cpus": over.order.cpus, "gpus": over.order.gpus, "queued": False}
        order = msgspec.structs.replace(job.order, **at)
        if order.gpus:  # its environment names them
            job = self._make_job(order)
        job.order = order
        self.jobs[job.key] = job
        self._launch(job)

    def _remove_group(self, group: memory_limit.Group) -> None:
        if not group.remove():  # a page or a zombie is still counted there
            self._loop.later(GROUP_RETRY_S, lambda: self._remove_group(group))

    def acked(self, key: Key) -> None:
        """The server has stored an exit: forget it, and use its slot again."""
        if key in self.jobs:
            return
        if crash.armed:
            crash.point("node.before_acked")
        finished = self._finished.pop(key, None)
        slot = self._journal.acked(key)
        if crash.armed:
            crash.point("node.after_acked")
        if slot is None:
            return
        if finished is None:
            memory_limit.remove_group(f"cluster-{self._ending.token(key)}")
        if finished is None or finished.is_shared:  # an earlier node's, or still written to
            self._slots.retire(slot)
        else:
            self._slots.give_back(slot)
