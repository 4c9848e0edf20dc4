"""The node's warm parents: one per kind of interpreter, started when first wanted.

A core on which one function after the other starts gets a warm parent of its
own: what is made by a process on one core need not be moved to another, and
two forks of two processes do not wait for each other's locks.

Runs inside the node's loop: it never blocks, and never runs code of a user.

    start() --> queued --(ready)--> sent --"spawned"--> the node's own child

A request that was sent and not answered when its warm parent is gone was never
run (`warm.py` says why), so it goes to a new one; one that was answered is
the node's.  That is how a job starts at most once.
"""

from __future__ import annotations

import contextlib
import functools
import marshal
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cluster.local import node_job
from cluster.local.warm import ANY_CORE
from cluster.local.warm_parent import (
    Key,
    Parent,
    Request,
    acts_at_start,
    encode,
    key_of,
    send,
    spawn,
    why_not_ready,
)
from cluster.spec import Launch

__all__ = ["Usage", "WarmPool"]

MAX_DEATHS = 3  # warm parents that may die over one request before it is given up
MOST_OWN = 8  # cores with a warm parent of their own
OWN_IDLE_S = 15.0  # it leaves after so long without a job
LOOK_S = 1.0  # an interpreter that was replaced is noticed so much later at most
RECENT = 64
READ_SIZE = 65536


class Usage(NamedTuple):
    """What a process used, named as in the result of `os.wait4`."""

    ru_utime: float
    ru_stime: float
    ru_maxrss: int


class WarmPool:
    """Starts function jobs as forks of warm parents.

    Args:
        on_spawned: (job, attempt, pid): the process exists; nothing of the
            user has run yet.
        on_start_failed: (job, attempt, reason): nothing of the user ran, or will.
        on_reaped: (pid, status, usage), where the node is not the job's parent;
            once in a while for one that the node has reaped: to be ignored.
        watch, unwatch: have the node's loop call back when a descriptor is
            readable or at its end.
        idle_s: seconds without a job after which a warm parent leaves.
    """

    def __init__(
        self,
        *,
        on_spawned: Callable[[int, int, int], None],
        on_start_failed: Callable[[int, int, str], None],
        on_reaped: Callable[[int, int, Usage], None],
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
        idle_s: float = 60.0,
    ) -> None:
        self._on_spawned = on_spawned
        self._on_start_failed = on_start_failed
        self._on_reaped = on_reaped
        self._watch, self._unwatch = watch, unwatch
        self._idle_s = idle_s
        self._by_key: dict[Key, Parent] = {}
        self._recent: dict[tuple[bytes, str, tuple[bytes, ...]], tuple[Parent, float]] = {}
        self._by_pid: dict[int, Parent] = {}
        self._waiting: set[int] = set()  # children that wait for a request, as far as seen
        self._of_job: dict[int, Parent] = {}  # by pid

    # ------------------------------------------------------------ what the node asks

    def prewarm(
        self, python: bytes, environment: Mapping[bytes, bytes], sys_path: Sequence[bytes] = ()
    ) -> None:
        """Have a warm parent for this interpreter and environment; failures show at `start`."""
        try:
            self._parent(python, environment, tuple(sys_path))
        except OSError:
            return

    def start(
        self,
        job: int,
        attempt: int,
        launch: Launch,
        *,
        environment: Mapping[bytes, bytes],
        stdout: tuple[bytes, int],
        stderr: tuple[bytes, int],
        result: bytes,
        cpus: Sequence[int] = (),
    ) -> None:
        """Start a function job; `on_spawned` or `on_start_failed` follows.

        Args:
            environment: complete and final.
            stdout, stderr: path and os.open flags; equal paths share one
                description, opened with the flags of stdout.
            result: path of the file for the envelope.
            cpus: cores it may use; empty leaves the affinity alone.
        """
        request = Request(job, attempt, launch, environment, stdout, stderr, result, tuple(cpus))
        self._submit(request)

    def withdraw(self, job: int, attempt: int) -> bool:
        """Take a request back; True if it was not handed over and never starts."""
        for parent in self._by_pid.values():
            for request in parent.queued:
                if (request.job, request.attempt) == (job, attempt):
                    parent.queued.remove(request)
                    return True
        return False

    def drain(self) -> None:
        """Read everything that the warm parents and their jobs have sent so far."""
        for parent in list(self._by_pid.values()):
            self._read(parent)

    def drain_of(self, pid: int) -> None:
        """Read what a job that is known and has ended has sent; for others, do nothing."""
        parent = self._of_job.pop(pid, None)
        if parent is not None:
            self._read(parent)

    def owns(self, pid: int) -> bool:
        """Tell whether this child of the node is a warm parent, or waits in one for a request."""
        if pid in self._waiting or pid in self._by_pid:
            return True
        try:
            waits = os.getsid(pid) in self._by_pid  # it leaves that session once it has one
        except OSError:
            return False
        if waits:
            self._waiting.add(pid)
        return waits

    def reaped(self, pid: int, status: int, usage: node_job.Usage) -> bool:
        """Take notice that a child of the node, which is no known job, was reaped.

        Returns:
            True if it was a warm parent.
        """
        self._waiting.discard(pid)
        parent = self._by_pid.get(pid)
        if parent is None:
            return False
        parent.status = status
        with contextlib.suppress(OSError):
            parent.channel.shutdown(socket.SHUT_WR)  # so that the children that wait leave
        self._read(parent)
        self._bury(parent)
        return True

    def pids(self) -> list[int]:
        """Give the warm parents that are alive, as far as known."""
        return [pid for pid, parent in self._by_pid.items() if parent.status is None]

    def close(self) -> None:
        """Close the channels; the warm parents leave by themselves."""
        for parent in self._by_pid.values():
            self._hang_up(parent)
        self._by_key.clear()
        self._by_pid.clear()

    # ------------------------------------------------------------ requests

    def _submit(self, request: Request) -> None:
        try:
            shared = self._shared_for(request)
        except OSError as error:
            python = os.fsdecode(request.launch.python)
            reason = f"the interpreter {python} cannot be started: {error.strerror}"
            self._on_start_failed(request.job, request.attempt, reason)
            return
        parent = self._own_for(request, shared) or shared
        parent.queued.append(request)
        self._push(parent)

    def _push(self, parent: Parent) -> None:
        """Hand over what is queued, as far as the channel takes it."""
        while parent.ready and not parent.ended and parent.queued:
            request = parent.queued[0]
            try:
                send(parent.channel, encode(request, parent))
            except BlockingIOError:
                return  # each request is answered, and each answer calls here again
            except OSError:
                return  # it is dying; its end comes through the channel
            parent.queued.popleft()
            parent.sent[request.job, request.attempt] = request

    # ------------------------------------------------------------ what warm parents say

    def _read(self, parent: Parent, *, all_of_it: bool = True) -> None:
        while not parent.ended:
            try:
                data = _receive(parent.channel)
            except BlockingIOError:
                break
            if data:
                self._hear(parent, marshal.loads(data))
            else:
                parent.ended = True
                self._unwatch(parent.channel.fileno())
                self._bury(parent)
            if not all_of_it:
                break  # the loop calls again if there is more: dearer than to ask, but rare
        if parent.queued:
            self._push(parent)

    def _hear(self, parent: Parent, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "spawned":
            job, attempt, pid = rest
            self._waiting.discard(pid)
            self._of_job[pid] = parent
            if _answer(parent, job, attempt):
                if parent.reaps:
                    parent.running[pid] = None
                self._on_spawned(job, attempt, pid)
        elif kind == "dying":
            pid, status = rest
            parent.running[pid] = status
        elif kind == "failed":
            job, attempt, reason = rest
            _answer(parent, job, attempt)
            self._on_start_failed(job, attempt, reason)
        elif kind == "reaped":
            job, attempt, pid, status, *times = rest
            if _answer(parent, job, attempt):
                self._on_spawned(job, attempt, pid)
            parent.running.pop(pid, None)
            self._on_reaped(pid, status, Usage(*times))
        elif kind == "ready":
            parent.ready, parent.reaps = True, not rest[1]
            parent.log.close()
        elif kind == "broken":
            parent.reason = rest[0]

    def _bury(self, parent: Parent) -> None:
        """Once a warm parent is reaped and has nothing more to say, move its requests on."""
        if not parent.ended or parent.status is None or parent.pid not in self._by_pid:
            return
        del self._by_pid[parent.pid]
        self._waiting.clear()  # those of others will be seen again
        if self._by_key.get(parent.key) is parent:
            del self._by_key[parent.key]
        reason = "" if parent.ready else why_not_ready(parent)
        # Somebody's kill -9 says nothing about the interpreter: that is worth another try.
        is_final = bool(reason) and not os.WIFSIGNALED(parent.status)
        self._hang_up(parent)
        for pid, status in parent.running.items():
            if status is not None and not _is_child(pid):
                self._on_reaped(pid, status, Usage(0.0, 0.0, 0))
        for request in [*parent.sent.values(), *parent.queued]:
            request.deaths += 1
            if is_final or request.deaths >= MAX_DEATHS:
                died = f"its warm parents died {request.deaths} times before it began"
                why = parent.reason or reason or died
                self._on_start_failed(request.job, request.attempt, why)
            else:
                self._submit(request)

    def _hang_up(self, parent: Parent) -> None:
        if not parent.ended:
            parent.ended = True
            self._unwatch(parent.channel.fileno())
        parent.channel.close()
        parent.log.close()

    # ------------------------------------------------------------ warm parents

    def _own_for(self, request: Request, shared: Parent) -> Parent | None:
        """Give the warm parent of the one core of a job, if that has one that is ready."""
        if len(request.cpus) != 1 or not shared.ready:
            return None
        core, now = request.cpus[0], time.monotonic()
        own = shared.own.get(core)
        if own is None:
            if shared.counts(core, now) and len(shared.own) < MOST_OWN:
                with contextlib.suppress(OSError):  # the other will do
                    shared.own[core] = self._spawn(
                        shared.key, request.environment, shared.sys_path, core
                    )
        elif own.ready and own.is_gone:
            del shared.own[core], shared.starts[core]
        elif own.ready and now - shared.used < self._idle_s / 2:
            return own
        shared.used = now  # it would leave if all went another way
        return None  # also where it could not start: that is not tried again

    def _shared_for(self, request: Request) -> Parent:
        """Give the one for any core, without a look at the disk if the last was just now."""
        launch = request.launch
        changes = (*launch.env_set, *launch.env_unset)
        if not launch.env or any(map(acts_at_start, changes)):
            return self._parent(launch.python, request.environment, launch.sys_path)
        short = launch.python, launch.env, launch.sys_path
        parent, since = self._recent.get(short, (None, 0.0))
        now = time.monotonic()
        if parent is None or parent.is_gone or now - since > LOOK_S:
            parent = self._parent(launch.python, request.environment, launch.sys_path)
            if len(self._recent) >= RECENT:
                self._recent.clear()
            self._recent[short] = parent, now
        return parent

    def _parent(
        self, python: bytes, environment: Mapping[bytes, bytes], sys_path: tuple[bytes, ...]
    ) -> Parent:
        key = key_of(python, environment, sys_path)
        parent = self._by_key.get(key)
        if parent is None or parent.is_gone:
            parent = self._by_key[key] = self._spawn(key, environment, sys_path, ANY_CORE)
        return parent

    def _spawn(
        self, key: Key, environment: Mapping[bytes, bytes], sys_path: tuple[bytes, ...], core: int
    ) -> Parent:
        idle_s = self._idle_s if core == ANY_CORE else min(self._idle_s, OWN_IDLE_S)
        parent = spawn(key, environment, sys_path, idle_s=idle_s, core=core)
        self._by_pid[parent.pid] = parent
        one_message = functools.partial(self._read, parent, all_of_it=False)
        self._watch(parent.channel.fileno(), one_message)
        return parent


def _receive(channel: socket.socket) -> bytes:
    """Read one message; empty at the end.

    A peer that dies with requests unread makes the next call fail once with
    ECONNRESET, *before* what its jobs have said is given out: that is no end
    yet.  Taken for one, a job whose "spawned" is still there would run twice.

    Raises:
        BlockingIOError: nothing is there now.
    """
    for _ in range(2):
        try:
            return channel.recv(READ_SIZE)
        except ConnectionResetError:
            continue
    return b""


def _is_child(pid: int) -> bool:
    """Tell whether the node will reap this one itself, now that its parent is gone."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _answer(parent: Parent, job: int, attempt: int) -> bool:
    """Note that a request was answered; False if it had been already."""
    return parent.sent.pop((job, attempt), None) is not None
