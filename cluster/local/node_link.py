"""The server's side of the node: start it, find it again, give orders, hear reports.

A node outlives servers: it is looked for first, and started only if nobody
answers at its socket.  Orders given while there is none are not kept: what a
node must know follows from the queue's state when it attaches.  What an earlier
node left when it died is found by `recover`, and reported here like the rest.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.errors import ServerUnavailable
from cluster.local import crash, journal, recover, requests, wire
from cluster.local import events as ev
from cluster.local.connections import Connection
from cluster.local.events import Job
from cluster.local.lifecycle import Starting, begin_daemon, host, socket_path
from cluster.local.resources import Allocation
from cluster.local.results import result_header

if TYPE_CHECKING:
    from cluster.local.serving import Server

__all__ = ["NodeLink"]

BACKOFF_S = (0.0, 0.1, 1.0, 5.0)  # before a node is started again, the more often it failed


class NodeLink:
    """What the server knows of its node."""

    def __init__(self, server: Server, starting: Starting | None = None) -> None:
        self._server = server
        self.connection: Connection | None = None
        self.pid = 0
        self._has_attached = False
        self._starting = starting
        self._envs: set[str] = set()
        self._failures = 0
        self._retry_at = 0.0
        self._survivors: recover.Survivors | None = None
        self._survivor_fds: set[int] = set()

    def connect(self, *, begin: bool = True) -> bool:
        """Reach the node, or begin to start one; tells whether it was reached."""
        self._retry_at = 0.0
        if self._starting is not None:  # it was begun before we were there
            self._server.selector.register(self._starting.fileno(), 1, "node")
            return False
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no descriptor: the server goes on without a node for a while
            self._failed(error)
            return False
        try:
            sock.connect(socket_path(self._server.state_dir, "node"))
        except OSError:
            sock.close()
            if begin:
                self._begin()
            return False
        self.connection = Connection(sock, wire.Report, self._server.selector, "node")
        self._envs, self._has_attached = set(), False
        return True

    def greet(self) -> None:
        """Attach to it, once the server knows its epoch."""
        if self.connection is not None:
            self.send(wire.Attach(wire.NODE_PROTOCOL, self._server.epoch))

    def _begin(self) -> None:
        server = self._server
        settings = {**server.given, "private": server.private}
        try:
            self._starting = begin_daemon(
                "node", server.state_dir, settings=settings, tether_fd=server.tether_fd
            )
        except ServerUnavailable as error:
            self._failed(error)
            return
        if crash.armed:
            crash.point("server.after_node_begun")
        server.selector.register(self._starting.fileno(), 1, "node")

    def on_ready(self) -> None:
        """The node that is being started, or a survivor of an earlier one, has news."""
        if self._starting is None:
            return  # `flush` looks after the survivors
        starting, self._starting = self._starting, None
        self._server.selector.unregister(starting.fileno())
        try:
            starting.finish(5.0)
        except ServerUnavailable as error:
            self._failed(error)
            return
        if self.connect(begin=False):
            self.greet()
        else:  # another one holds its place, and listens nowhere
            self._failed(ServerUnavailable("it cannot be reached; it is tried again"))

    def _failed(self, error: Exception) -> None:
        with suppress(OSError):  # a full disk
            os.write(2, f"node: {error}\n".encode())
        self._failures += 1
        wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._retry_at = time.monotonic() + wait_s

    def timeout(self) -> float:
        """Seconds until it wants a turn."""
        wait_s = self._retry_at - time.monotonic() if self._retry_at else 60.0
        survivors_s = self._survivors.timeout_s() if self._survivors else None
        return wait_s if survivors_s is None else min(wait_s, survivors_s)

    def handle(self, messages: Iterable[Any]) -> None:
        """Take the node's reports; notice when it is gone."""
        for message in messages:
            if isinstance(message, wire.Exited):
                self._exited(message)
            elif isinstance(message, wire.Started):
                self._server.event(
                    ev.Started(
                        message.job, message.attempt, message.pid, message.stdout, message.stderr
                    )
                )
            else:
                self._attached(message)
        if self.connection is not None and self.connection.closed:
            self._lost()

    def _attached(self, message: wire.Attached) -> None:
        self.pid = message.pid
        self._failures, self._has_attached = 0, True
        if message.protocol != wire.NODE_PROTOCOL:
            return  # it drains: nothing starts on it, and it leaves by itself
        if crash.armed:
            crash.point("server.before_attached")
        self._server.forget_orders()
        left = recover.examine(self._server.state_dir, living_node=message.pid)
        running = [(*finding.key, _pid_of(finding)) for finding in left]
        self._server.event(
            ev.Attached(
                (*message.running, *running),
                message.exited,
                self._server.rebooted,
                is_unclean=not journal.was_closed(self._server.state_dir, self._server.boot_before),
            )
        )
        # not noted earlier: who comes after a crash in between must know of the restart too
        self._server.queue.note("boot_id", host().boot_id)
        self._server.rebooted = False
        self._forget_survivors()
        if left:
            self._survivors = recover.Survivors(self._server.state_dir, left)
            self._limit(self._survivors)

    def _limit(self, survivors: recover.Survivors) -> None:
        for id, attempt in survivors.keys:
            job = self._server.queue.jobs.get(id)
            if job is not None and job.attempt == attempt:
                survivors.limit(
                    (id, attempt),
                    walltime_s=job.spec.walltime_s,
                    memory_mib=job.spec.memory_mib,
                    grace_s=float(self._server.settings.get("grace_s", 5.0)),
                )

    def look_after_survivors(self) -> None:
        """Report those jobs of an earlier node that have ended."""
        if self._survivors is None:
            return
        for exited in self._survivors.turn():
            self._exited(exited)
        self._watch(set(self._survivors.fds()))
        if not self._survivors.keys:
            self._forget_survivors()

    def _watch(self, fds: set[int]) -> None:
        selector = self._server.selector
        for fd in self._survivor_fds - fds:
            selector.unregister(fd)
        for fd in fds - self._survivor_fds:
            selector.register(fd, 1, "survivor")
        self._survivor_fds = fds

    def _forget_survivors(self) -> None:
        self._watch(set())
        if self._survivors is not None:
            self._survivors.close()
            self._survivors = None

    def _exited(self, message: wire.Exited) -> None:
        status, said = result_header(message.content)
        self._server.event(
            ev.Exited(
                job=message.job,
                attempt=message.attempt,
                status=message.status,
                why=message.why,
                reason=message.reason or said,
                started=message.started,
                ended=message.ended,
                cpu_s=message.cpu_s,
                peak_memory_mib=message.peak_memory_mib,
                result_status=status,
                content=message.content,
                next=(message.next_job, message.next_attempt),
            )
        )

    def _lost(self) -> None:
        assert self.connection is not None
        self.connection.close()
        self.connection, self.pid = None, 0
        self._server.queue.attached = False
        if self._server.is_gone:
            return
        if self._has_attached:
            self._begin()
        else:  # it hung up on us; at once again would be for ever
            self._failed(ServerUnavailable("it does not want this server; it is tried again"))

    def start(self, job: Job, launch: msgspec.Raw, grace_s: float, *, queued: bool) -> None:
        """Order a job to be started, now or once a job like it is over."""
        if not self._has_attached:
            return  # as in `send`; and it has not been sent the environment
        allocation = job.allocation or Allocation(job.need)
        hash = requests.environment_of(launch)
        if hash and hash not in self._envs:
            env = self._server.store.env(hash)
            self.send(wire.Keep(hash, env or {}))
            self._envs.add(hash)
        spec = job.spec
        self.send(
            wire.Start(
                job=job.id,
                attempt=job.attempt,
                label=job.label,
                name=spec.name,
                launch=launch,
                cores=spec.cores,
                memory_mib=spec.memory_mib,
                cpus=allocation.cpus,
                gpus=allocation.gpus,
                walltime_s=spec.walltime_s,
                grace_s=grace_s,
                array=job.array,
                index=job.index,
                queued=queued,
            )
        )

    def send(self, order: Any) -> None:
        """Give an order with the end of the turn; to a node that has not attached, none.

        It would speak of jobs whose fate the server is about to learn.
        """
        if self._survivors is not None and isinstance(order, wire.End | wire.Signal):
            self._to_survivor(self._survivors, order)
        if self.connection is not None and (self._has_attached or isinstance(order, wire.Attach)):
            self.connection.out.append(order)

    def _to_survivor(self, survivors: recover.Survivors, order: wire.End | wire.Signal) -> None:
        key = order.job, order.attempt
        if isinstance(order, wire.End) and order.why == wire.RECALL:
            return  # it has started
        if isinstance(order, wire.End):
            survivors.end(key, order.why, grace_s=order.grace_s)
        else:
            survivors.signal(key, order.number)

    def flush(self) -> None:
        """Send the turn's orders; come back to what failed."""
        if self.connection is not None:
            self.connection.flush()
            if self.connection.closed:
                self._lost()
        elif self._retry_at and time.monotonic() >= self._retry_at and self.connect():
            self.greet()

    def close(self, *, leave: bool) -> None:
        """Go; with `leave`, the node goes too once nothing runs."""
        self._forget_survivors()
        if leave and self._starting is not None:
            self.on_ready()  # waits for it
        if self.connection is not None:
            if leave:  # also to one that has not attached: nobody else will tell it
                self.connection.out.append(wire.Leave())
            self.connection.flush()
            self.connection.close()
            self.connection = None
        if self._starting is not None:
            self._starting.close()


def _pid_of(finding: recover.Finding) -> int:
    return finding.processes[0].pid if finding.state == "alive" else 0
