"""A node in memory, as the server knows it: orders in, reports out, the real journal.

    Start ──> Begin in the journal ──> process ──> Spawned ──> ... reaped ──> Ended ──> report
                                                                     Ack ──> forgotten

It may be killed between any two of these.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from sim_machine import Machine
from sim_pipes import Listener, Socket

from cluster.errors import ProtocolError
from cluster.local import journal, wire
from cluster.local.journal import Key
from cluster.spec import Launch

SERVER_GRACE_S = 2.0
HELD_S = 0.004


@dataclass
class Held:
    """A job that the node has."""

    order: wire.Start
    pid: int = 0
    started: float = 0.0
    why: str = ""
    kill_at: float = 0.0

    @property
    def key(self) -> Key:
        return self.order.job, self.order.attempt


class SimNode:
    """One life of a node.

    Args:
        point: may kill it.
        wall: the clock for people.
        want_server: has a server started.
    """

    def __init__(
        self,
        rng: random.Random,
        machine: Machine,
        point: Callable[[str], None],
        wall: Callable[[], float],
        want_server: Callable[[], None],
    ) -> None:
        self._rng, self._machine, self._point, self._wall = rng, machine, point, wall
        self._want_server = want_server
        self.pid = machine.new_pid()
        self.listener = Listener()
        self.links: dict[Socket, wire.Reader] = {}
        self.server: Socket | None = None
        self._epoch = 0
        self._envs: set[str] = set()
        self.jobs: dict[Key, Held] = {}
        self.queued: dict[Key, Held] = {}
        self.finished: dict[Key, wire.Exited] = {}
        self._reports: list[wire.Report] = []
        self._out = b""
        self._may_start = True
        self.is_leaving = False
        self._missed_since = machine.now()
        self._held_since: float | None = None
        me = journal.Node(machine.boot_id(), self.pid, 0)
        self._journal = journal.Journal("/sim", me, compact_bytes=600)

    # ------------------------------------------------------------ the loop

    def _zombies(self) -> list[int]:
        found = self._machine.processes.values()
        return [each.pid for each in found if each.state == "Z" and each.parent == self.pid]

    def is_ready(self) -> bool:
        due = self.next_time()
        return (
            bool(self.listener.waiting)
            or any(link.can_read for link in self.links)
            or bool(self._out and self.server is not None and self.server.can_write)
            or bool(self._zombies())
            or (due is not None and due <= self._machine.now())
        )

    def next_time(self) -> float | None:
        """When it wants a turn by itself, on the monotonic clock."""
        due = [job.kill_at for job in self.jobs.values() if job.kill_at]
        if self.server is None and (self.jobs or self.finished) and not self.is_leaving:
            due.append(self._missed_since + SERVER_GRACE_S)
        if self._held_since is not None:
            due.append(self._held_since + HELD_S)
        return min(due, default=None)

    def turn(self) -> None:
        """Do some of what there is to do."""
        while self.listener.waiting:
            self.links[self.listener.accept()[0]] = wire.Reader(wire.Order)
        links = [link for link in self.links if link.can_read]
        if links and self._rng.random() < 0.8:
            self._read(self._rng.choice(links))
        for pid in self._zombies()[: self._rng.randint(1, 4)]:
            self._reaped(pid)
        now = self._machine.now()
        for job in list(self.jobs.values()):
            if job.kill_at and job.kill_at <= now:
                self._signal(job, signal.SIGKILL)
                job.kill_at = now + 0.1
        if self._rng.random() < 0.3:
            self._journal.flush()
        self._end_turn()

    def _end_turn(self) -> None:
        now = self._machine.now()
        if self.server is None:
            self._reports, self._out, self._held_since = [], b"", None
            if (self.jobs or self.finished) and now >= self._missed_since + SERVER_GRACE_S:
                self._missed_since = now
                if not self.is_leaving:
                    self._want_server()
            return
        if self._reports:
            if self._held_since is None:
                self._held_since = now
            if not self.queued or now >= self._held_since + HELD_S or len(self._reports) >= 16:
                self._held_since = None
                self._point("node.before_reports")
                self._out += wire.frame(self._reports)
                self._reports = []
        if self._out:
            try:
                sent = self.server.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                sent = len(self._out)
            self._out = self._out[sent:]

    @property
    def may_go(self) -> bool:
        return self.is_leaving and not self.jobs and not self.finished

    def _read(self, link: Socket) -> None:
        try:
            data = link.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._lost(link)
            return
        try:
            for order in self.links[link].feed(data):
                self._obey(link, order)
        except ProtocolError:
            self._lost(link)

    def _lost(self, link: Socket) -> None:
        link.close()
        self.links.pop(link, None)
        if link is self.server:
            self.server, self._missed_since = None, self._machine.now()

    def close(self) -> None:
        """It goes by itself."""
        self.listener.close()
        for link in list(self.links):
            link.close()
        self._journal.close()

    def break_off(self) -> None:
        """It was killed."""
        self.listener.close()
        for link in self.links:
            link.break_off()
        self._machine.orphan(self.pid)

    # ------------------------------------------------------------ orders

    def _obey(self, link: Socket, order: wire.Order) -> None:
        if isinstance(order, wire.Attach):
            self._attach(link, order)
        elif link is not self.server:
            self._lost(link)
        elif isinstance(order, wire.Keep):
            self._envs.add(order.hash)
        elif isinstance(order, wire.Start):
            self._start(order)
        elif isinstance(order, wire.End):
            self._end((order.job, order.attempt), order.why, order.grace_s)
        elif isinstance(order, wire.Signal):
            job = self.jobs.get((order.job, order.attempt))
            if job is not None:
                self._signal(job, order.number)
        elif isinstance(order, wire.Ack):
            self._acked((order.job, order.attempt))
        elif isinstance(order, wire.Leave):
            self.queued.clear()
            self.is_leaving = True

    def _attach(self, link: Socket, order: wire.Attach) -> None:
        if order.epoch < self._epoch:
            self._lost(link)
            return
        if self.server is not None and self.server is not link:
            before = self.server
            self.links.pop(before, None)
            before.close()
        self.server, self._epoch, self._out = link, order.epoch, b""
        self.queued.clear()
        self.is_leaving = False
        self._reports = [
            wire.Attached(
                wire.NODE_PROTOCOL,
                self.pid,
                self._machine.boot_id(),
                tuple((*job.key, job.pid) for job in self.jobs.values()),
                tuple(self.finished),
            ),
            *self.finished.values(),
            *(self._started(job) for job in self.jobs.values() if job.pid),
        ]

    def _started(self, job: Held) -> wire.Started:
        return wire.Started(*job.key, job.pid, job.started)

    def _start(self, order: wire.Start) -> None:
        key = order.job, order.attempt
        launch = msgspec.msgpack.decode(order.launch, type=Launch)
        if launch.env not in self._envs:
            self._machine.fault(f"job {order.job} was sent without its environment")
        if (known := self.jobs.get(key)) is not None:
            if known.pid:
                self._reports.append(self._started(known))
        elif key in self.finished:
            self._reports.append(self.finished[key])
        else:
            job = self.queued.pop(key, None) or Held(order)
            job.order = order
            if order.queued:
                self.queued[key] = job
            else:
                self._launch(job)

    def _launch(self, job: Held) -> None:
        self.jobs[job.key] = job
        self._point("node.before_begin")
        self._journal.begin(journal.Begin(*job.key, 0, "command", self._wall()))
        self._point("node.after_begin")
        job.pid = self._machine.spawn(job.key, job.order.cores, self.pid)
        self._point("node.after_spawn")
        job.started = self._wall()
        ticks = self._machine.processes[job.pid].ticks
        self._journal.spawned(journal.Spawned(*job.key, job.pid, ticks, ticks, job.started))
        self._reports.append(self._started(job))

    def _end(self, key: Key, why: str, grace_s: float) -> None:
        if self.queued.pop(key, None) is not None:
            self._reports.append(wire.Exited(*key, 0, why))
        elif why != wire.RECALL:
            if key in self.jobs:
                job = self.jobs[key]
                job.why = job.why or why
                self._signal(job, signal.SIGTERM)
                self._signal(job, signal.SIGCONT)
                until = self._machine.now() + grace_s
                job.kill_at = min(job.kill_at, until) if job.kill_at else until
        elif key not in self.jobs and key not in self.finished:
            self._reports.append(wire.Exited(*key, 0, why))

    def _signal(self, job: Held, number: int) -> None:
        process = self._machine.processes.get(job.pid)
        if process is not None:
            self._machine.kill(process, number)

    def _reaped(self, pid: int) -> None:
        process = self._machine.reap(pid)
        job = self.jobs.get(process.key)
        if job is None or job.pid != pid:
            return
        self._point("node.before_ended")
        ended = self._wall()
        self._journal.ended(
            journal.Ended(*job.key, process.status, job.why, "", job.started, ended, 0.1, 1.0)
        )
        self._point("node.after_ended")
        following = next(iter(self.queued), (0, 0))
        if following[0]:
            self._launch(self.queued.pop(following))
        report = wire.Exited(
            *job.key,
            status=process.status,
            why=job.why,
            started=job.started,
            ended=ended,
            content=wire.Content(stdout=wire.Output(f"said by {job.key}".encode())),
            next_job=following[0],
            next_attempt=following[1],
        )
        self.finished[job.key] = report
        del self.jobs[job.key]
        self._reports.append(report)

    def _acked(self, key: Key) -> None:
        if key not in self.jobs:
            self.finished.pop(key, None)
            self._journal.acked(key)
