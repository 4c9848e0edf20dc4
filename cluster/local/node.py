"""The node: starts jobs, reaps them, ends them, and remembers how each ended.

    server ──Start, End, Signal, Ack──> node ──posix_spawn──> commands
           <──Started, Exited──────────      ──WarmPool─────> warm parents ──fork──> functions

It decides nothing: whom to start is the server's business.  It outlives
servers: without one the jobs go on, limits are enforced, and every exit is kept
until a server has acknowledged it.  It is the subreaper of everything that its
jobs start, so that nothing a job leaves behind escapes it; an exit is reported
only when all of that is gone.  It never reads what a job computed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from cluster.errors import ClusterError, ProtocolError
from cluster.local import crash, lifecycle, processes, wire
from cluster.local.execution import Execution
from cluster.local.loop import Loop, Timer
from cluster.local.node_job import Job, Settings

_log = logging.getLogger(__name__)

SERVER_GRACE_S = 2.0  # a server that is replaced is back within tenths of a second
SERVER_RETRY_MAX_S = 60.0
IDLE_S = 600.0  # without a server and with nothing to keep
ACCEPT_RETRY_S = 0.5
# While queued jobs keep the cores busy, reports wait for each other so long and
# no longer, or until as many as are queued: one transaction for 4 exits costs the
# server half as much as 4, and it must have time to send more jobs.
HELD_S = 0.010
_READ = 1 << 16  # a larger buffer is mapped and unmapped for each call


class _Link:
    """One connection; a slow reader at its other end never stops the node."""

    def __init__(self, loop: Loop, connection: socket.socket, node: Node, pid: int) -> None:
        connection.setblocking(False)
        self.pid = pid  # of the other side; 0 where that is not known
        self._loop, self._socket, self._node = loop, connection, node
        self._reader = wire.Reader(wire.Order)
        self._out = b""
        self.may_start = True
        loop.watch(connection.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._node.lost(self)
            return
        try:
            for order in self._reader.feed(data):
                self._node.obey(self, order)
        except ProtocolError:
            _log.exception("a connection was dropped")
            self._node.lost(self)

    def send(self, messages: Iterable[wire.Report]) -> None:
        """Send one frame, now or as soon as the other side reads."""
        is_waiting = bool(self._out)
        self._out += wire.frame(messages)
        if not is_waiting and self.is_open:
            self._write()
            if self._out:
                self._loop.watch_writable(self._socket.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        self._write()
        if not self._out:
            self._loop.watch_writable(self._socket.fileno(), None)

    def _write(self) -> None:
        try:
            self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:  # the end of it is read, too
            self._out = b""

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def close(self) -> None:
        if self.is_open:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()


class Node:
    """Serves one server at a time, until it may leave.

    Args:
        state_dir: as `lifecycle.state_dir()` gives it; locked by the caller.
        tether_fd: when it can be read to its end, all jobs are ended.
        start_server: makes a server when one is missed; None: never.
        settings: of the execution of jobs.
        idle_s: leave after so long without a server and with nothing to keep.

    Raises:
        OSError: the state directory cannot be written to.
    """

    def __init__(
        self,
        state_dir: str,
        *,
        tether_fd: int | None = None,
        start_server: Callable[[], None] | None = None,
        settings: Settings | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        self._state_dir, self._start_server, self._idle_s = state_dir, start_server, idle_s
        self._loop = Loop()
        self._execution = Execution(
            state_dir, self._loop, self._report, settings=settings or Settings()
        )
        self._reports: list[wire.Report | Job] = []
        self._ends = 0  # among them
        self._server: _Link | None = None
        self._epoch = 0
        self._is_leaving = self._is_leaving_now = False
        self._left_by_server = self._is_server_wanted = False
        self._absent: Timer | None = None
        self._retry_s = SERVER_GRACE_S
        self._sending: Timer | None = None
        self._verbs: dict[type, Callable[[Any], None]] = {
            wire.Keep: lambda order: self._execution.keep(order.hash, order.env),
            wire.Start: self._start,
            wire.End: lambda order: self._execution.end(
                (order.job, order.attempt), order.why, grace_s=order.grace_s
            ),
            wire.Signal: lambda order: self._execution.signal(
                (order.job, order.attempt), order.number
            ),
            wire.Ack: lambda order: self._execution.acked((order.job, order.attempt)),
            wire.Warm: self._execution.warm,
            wire.Leave: lambda order: self._leave(now=order.now),
        }
        self._is_homeless = False
        self._listen()
        processes.ask_for_short_turns(os.getpid())
        self._loop.on_signal(signal.SIGCHLD, self._execution.reap)
        self._loop.on_signal(signal.SIGTERM, lambda: self._leave(now=True))
        if tether_fd is not None:
            self._tether_fd = tether_fd
            os.set_blocking(tether_fd, False)
            os.set_inheritable(tether_fd, False)
            self._loop.watch(tether_fd, self._on_tether)
        self._expect_server()

    def run(self) -> None:
        """Serve until everything is done and the node may go."""
        try:
            self._loop.run(self._end_turn)
        finally:
            self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(lifecycle.socket_path(self._state_dir, "node"))
        self._listener.close()
        if self._server is not None:
            self._server.close()
        self._execution.close()
        self._loop.close()

    # ------------------------------------------------------------ connections

    def _listen(self) -> None:
        self._listener = lifecycle.listen(self._state_dir, "node")
        self._listener.setblocking(False)
        self._address = self._listener.getsockname()
        self._inode = os.stat(self._address).st_ino
        self._loop.watch(self._listener.fileno(), self._accept)

    def _look_home(self) -> None:
        """Listen anew if the socket was removed; go, after the jobs, if the directory was."""
        if not os.path.isdir(self._state_dir):
            self._is_homeless = self._is_leaving = self._left_by_server = True
            return
        with contextlib.suppress(OSError):
            if os.stat(self._address).st_ino == self._inode:
                return
        before = self._listener
        try:
            self._listen()
        except OSError:
            _log.exception("the socket was removed, and no other can be made; it is tried again")
            return
        self._loop.unwatch(before.fileno())
        before.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptors left: look away, or the loop would spin
            _log.exception("a connection could not be accepted")
            fd = self._listener.fileno()
            self._loop.unwatch(fd)
            self._loop.later(ACCEPT_RETRY_S, lambda: self._loop.watch(fd, self._accept))
            return
        try:
            pid, uid = lifecycle.peer(connection)
        except OSError:  # gone again
            pid, uid = 0, -1
        if uid != os.geteuid():
            connection.close()
            return
        _Link(self._loop, connection, self, pid)

    def lost(self, link: _Link) -> None:
        """A connection ended."""
        link.close()
        if link is self._server:
            self._server = None
            self._expect_server()

    def obey(self, link: _Link, order: wire.Order) -> None:
        """Do what the server says, if it is the server."""
        if isinstance(order, wire.Attach):
            self._attach(link, order)
        elif link is not self._server:
            self.lost(link)
        else:
            try:
                self._verbs[type(order)](order)
            except Exception:  # one order must not take the others with it
                _log.exception("order %.200r failed", order)

    def _attach(self, link: _Link, order: wire.Attach) -> None:
        if order.epoch < self._epoch:
            self.lost(link)
            return
        before, self._server = self._server, link
        if before is not None and before is not link:
            before.close()
        self._epoch = order.epoch
        if link.pid:
            processes.ask_for_short_turns(link.pid)
        self._execution.forget_queued()
        self._left_by_server = self._is_server_wanted = False
        self._is_leaving = self._is_leaving_now  # another server said so: this one needs us
        self._retry_s = SERVER_GRACE_S
        if self._absent is not None:
            self._absent.cancel()
        link.may_start = order.protocol == wire.NODE_PROTOCOL
        if crash.armed:
            crash.point("node.before_attached")
        jobs, unacknowledged = self._execution.jobs.values(), self._execution.unacknowledged()
        answer = wire.Attached(
            wire.NODE_PROTOCOL,
            os.getpid(),
            self._execution.boot_id,
            tuple((*job.key, job.pid) for job in jobs),
            tuple((exited.job, exited.attempt) for exited in unacknowledged),
        )
        started = [job.started_report() for job in jobs if job.pid]
        self._reports, self._ends = [answer, *unacknowledged, *started], 0

    def _expect_server(self) -> None:
        """Without a server: after a while make one, or leave."""
        if self._absent is not None:
            self._absent.cancel()
        self._look_home()
        wanted = self._execution.has_news and not self._left_by_server
        self._is_server_wanted = wanted and self._start_server is not None
        if self._is_server_wanted:
            self._absent = self._loop.later(self._retry_s, self._make_server)
        else:
            self._absent = self._loop.later(self._idle_s, self._on_idle)

    def _make_server(self) -> None:
        self._retry_s = min(2 * self._retry_s, SERVER_RETRY_MAX_S)
        self._expect_server()
        if self._start_server is not None:
            try:
                self._start_server()
            except ClusterError:
                _log.exception("no server could be started; it is tried again")

    def _on_idle(self) -> None:
        if self._execution.jobs:
            self._expect_server()
        else:
            self._leave(now=True)

    # ------------------------------------------------------------ orders

    def _start(self, order: wire.Start) -> None:
        if self._server is None or not self._server.may_start:
            _log.error("job %d.%d: that server speaks another protocol", order.job, order.attempt)
            return
        again = self._execution.start(order)
        if again is not None:  # a server that came back asks twice: it runs once
            self._report(again)

    def _report(self, report: wire.Report | Job) -> None:
        self._reports.append(report)
        self._ends += isinstance(report, wire.Exited)

    def _leave(self, *, now: bool) -> None:
        self._execution.forget_queued()
        self._is_leaving = self._left_by_server = True
        if now:
            self._is_leaving_now = True
            self._execution.end_all("cancel", "the queue was stopped")

    def _on_tether(self) -> None:
        try:
            data = os.read(self._tether_fd, 4096)
        except BlockingIOError:
            return
        if not data:
            self._loop.unwatch(self._tether_fd)
            self._leave(now=True)

    def _end_turn(self) -> None:
        self._execution.settle()
        if self._reports and self._server is not None:
            if not self._can_wait():
                self._send_reports(self._server)
        elif self._reports:
            self._reports, self._ends = [], 0  # told again to whoever attaches
            if not self._is_server_wanted:
                self._expect_server()
        if self._is_leaving and self._may_go():
            self._loop.stop()

    def _can_wait(self) -> bool:
        """Hold reports while the cores have work: the server writes several at once."""
        if self._ends >= self._execution.queued:
            return False
        now = time.monotonic()
        if self._sending is None:
            self._sending = self._loop.later(HELD_S, lambda: None)
        return now < self._sending.when

    def _send_reports(self, server: _Link) -> None:
        reports, self._reports, self._ends = self._reports, [], 0
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if crash.armed:
            crash.point("node.before_reports")
        over = {(each.job, each.attempt) for each in reports if isinstance(each, wire.Exited)}
        server.send(
            each.started_report() if isinstance(each, Job) else each
            for each in reports
            if not isinstance(each, Job) or each.key not in over
        )
        if crash.armed:
            crash.point("node.after_reports")

    def _may_go(self) -> bool:
        if self._execution.jobs:
            return False
        if self._is_homeless:
            return True  # nobody can reach us, and there is nothing to keep anything in
        if self._is_leaving_now and self._server is None:
            return True  # nobody will acknowledge: the journal keeps the exits
        return not self._execution.unacknowledged()


def main(
    state_dir: str,
    *,
    tether_fd: int | None = None,
    ready: Callable[[], object] = lambda: None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Be the node of a queue, until it may leave; at once if there is one already.

    Args:
        state_dir: as `lifecycle.state_dir()` gives it.
        tether_fd: read end of a pipe; its end ends all jobs and the node.
        ready: called when the node listens.
        settings: `node_idle_s`, and fields of `Settings`; others are ignored.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s node %(levelname)s %(message)s")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    given = dict(settings or {})
    os.makedirs(f"{state_dir}/slots", mode=0o700, exist_ok=True)
    lock = os.open(f"{state_dir}/slots", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.warning("another node serves %s", state_dir)
        return
    node = Node(
        state_dir,
        tether_fd=tether_fd,
        start_server=None if given.get("alone") else lambda: _start_server(state_dir),
        settings=msgspec.convert(
            {name: given[name] for name in Settings.__struct_fields__ if name in given}, Settings
        ),
        idle_s=float(given.get("node_idle_s", IDLE_S)),
    )
    ready()
    node.run()


def _start_server(state_dir: str) -> None:
    lifecycle.begin_daemon("server", state_dir).close()
