"""End every process of a queue: ask, then signal, server before node before jobs.

They are found by who answers at their sockets (the kernel says) and by the
marks in their environments, so that a daemon whose socket was deleted is found
too.  Nothing is decided here about single jobs; that is the server's.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

import psutil

from cluster.errors import ServerUnavailable
from cluster.local import wire
from cluster.local.election import Election
from cluster.local.places import peer, socket_path, token
from cluster.local.processes import environment

__all__ = ["stop"]

TERM_S = 1.0  # SIGTERM to SIGKILL for a daemon that did not go when it was asked
KILL_S = 5.0  # after SIGKILL; only an uninterruptible process takes longer


def stop(state_dir: str, *, now: bool, timeout_s: float) -> bool:
    """Stop a queue; see `lifecycle.stop_everything`."""
    daemons = [*_listening(state_dir, "server"), *_listening(state_dir, "node")]
    with ExitStack() as stack:
        watches = [_Watch(pid, stack) for pid in daemons]
        asked = _ask(state_dir, now=now)
        if not now:
            return _gone(watches, timeout_s)
        if asked:
            _gone(watches, timeout_s / 4)
        # An emulation would start another server, and a server another node.
        for daemon in ("emulation", "server", "node"):
            _end([_Watch(pid, stack) for pid in _marked(_is_daemon(state_dir, daemon))])
        ended = _end_jobs(state_dir, stack)
        _remove_sockets(state_dir)
        return ended


def _ask(state_dir: str, *, now: bool) -> bool:
    """Ask the server to stop; whether there was one to ask."""
    args: dict[str, int | float | str | None] = {"now": int(now)}
    hello = wire.Hello(wire.PROTOCOL, "", os.getpid())
    try:
        connection = _connect(state_dir, "server")
    except OSError:
        return False
    with connection, suppress(OSError):
        connection.sendall(wire.frame([hello]) + wire.frame([wire.Control(1, "stop", args)]))
        while connection.recv(65536):  # until it closes: it may wait for us to read
            pass
    return True


def _connect(state_dir: str, which: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(1.0)
    try:
        connection.connect(socket_path(state_dir, which))
    except BaseException:
        connection.close()
        raise
    return connection


def _listening(state_dir: str, which: str) -> list[int]:
    try:
        with _connect(state_dir, which) as connection:
            pid, _ = peer(connection)
    except OSError:
        return []
    return [pid] if pid not in (0, os.getpid()) else []


class _Watch:
    """One process that must end; held by a pidfd where there is one."""

    def __init__(self, pid: int, stack: ExitStack) -> None:
        self.pid, self._fd = pid, -1
        if sys.platform == "linux":
            with suppress(OSError):
                self._fd = os.pidfd_open(pid)
                stack.callback(os.close, self._fd)

    def is_gone(self, timeout_s: float) -> bool:
        if sys.platform == "linux":
            if self._fd < 0:
                return True
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        else:
            with suppress(psutil.NoSuchProcess):
                psutil.wait_procs([psutil.Process(self.pid)], timeout=timeout_s)
            return not psutil.pid_exists(self.pid)

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if sys.platform == "linux":
                if self._fd >= 0:
                    signal.pidfd_send_signal(self._fd, number)
            else:
                os.kill(self.pid, number)


def _gone(watches: Iterable[_Watch], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    return all([each.is_gone(max(0.0, deadline - time.monotonic())) for each in watches])


def _end(watches: list[_Watch]) -> bool:
    for each in watches:
        each.send(signal.SIGTERM)
        each.send(signal.SIGCONT)  # a stopped one takes the signal only when it goes on
    if _gone(watches, TERM_S):
        return True
    for each in watches:
        each.send(signal.SIGKILL)
    return _gone(watches, KILL_S)


def _end_jobs(state_dir: str, stack: ExitStack) -> bool:
    """Kill what still carries the queue's mark, until a look finds nothing new."""
    mark = token(state_dir).encode() + b"."
    deadline = time.monotonic() + KILL_S
    while time.monotonic() < deadline:
        left = [_Watch(pid, stack) for pid in _marked(_is_job(mark))]
        if not left:
            return not list(_marked(_is_daemon(state_dir, "")))
        for each in left:
            each.send(signal.SIGKILL)
        _gone(left, max(0.0, deadline - time.monotonic()))
    return False


def _remove_sockets(state_dir: str) -> None:
    """Remove the sockets that a killed daemon left: nobody else would.

    Under the lock of the daemon's office, so that it is not a successor's.
    """
    server = socket_path(state_dir, "server")
    if os.path.lexists(server):
        election = Election(state_dir)
        with suppress(OSError, ServerUnavailable):
            if election.won():
                with suppress(FileNotFoundError):
                    os.unlink(server)
        election.resign()
    node = socket_path(state_dir, "node")
    if os.path.lexists(node):
        with suppress(OSError):  # it is another's, or gone
            lock = os.open(f"{state_dir}/slots", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(node)
            finally:
                os.close(lock)


_Environment = dict[bytes, bytes]


def _is_daemon(state_dir: str, which: str) -> Callable[[_Environment], bool]:
    home, kind = os.fsencode(state_dir), which.encode()

    def check(env: _Environment) -> bool:
        found = env.get(b"CLUSTER_DAEMON", b"")
        return bool(found) and env.get(b"CLUSTER_STATE_DIR") == home and kind in (b"", found)

    return check


def _is_job(mark: bytes) -> Callable[[_Environment], bool]:
    return lambda env: env.get(b"CLUSTER_JOB_TOKEN", b"").startswith(mark)


def _marked(belongs: Callable[[_Environment], bool]) -> list[int]:
    """Find our running processes with such an environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid() or process.uids().real != os.getuid():
                continue
            if belongs(environment(process.pid)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
