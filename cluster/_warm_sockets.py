"""What warm workers and their executor say to each other: sockets, messages, outcomes.

The words are described in `_worker`, which is the other side.
"""

from __future__ import annotations

import array
import os
import pickle
import selectors
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from cluster import _remote_error, _worker, outcome
from cluster._worker import LEAVING, RAISED, STARTED, VALUE
from cluster.errors import ClusterError, JobFailed, PayloadError
from cluster.job import Job
from cluster.schedulers.base import Content, Ending

__all__ = [
    "CALL",
    "LEAVING",
    "STARTED",
    "TOKEN_BYTES",
    "Sockets",
    "Worker",
    "failure_of",
    "settle",
]

CALL, _FUNCTION, _ANSWER = map(struct.Struct, (_worker.CALL, _worker.FUNCTION, _worker.ANSWER))
TOKEN_BYTES = 16
_GREETING_S = 10.0  # whoever connects has its first words ready


class Worker:
    """One job that serves calls.

    Attributes:
        job: the job.
        socket: its connection; None before it has come and after it has gone.
        call: number of the call that it is making.
        since: when that began, monotonic.
        served: how many it has made.
        is_leaving: it takes no more calls.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.socket: socket.socket | None = None
        self.call: int | None = None
        self.since = 0.0
        self.served = 0
        self.is_leaving = False
        self.inbox = bytearray()

    def tell(self, number: int, function: bytes) -> None:
        """Send it a function."""
        if self.socket is None:
            return
        try:
            self.socket.sendall(_FUNCTION.pack(len(function), number) + function)
        except OSError:  # it has ended: its job says why
            return

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """Take the whole messages out of the inbox: kind, number of the call, body."""
        at = 0
        while len(self.inbox) - at >= _ANSWER.size:
            kind, number, size = _ANSWER.unpack_from(self.inbox, at)
            end = at + _ANSWER.size + size
            if len(self.inbox) < end:
                break
            yield kind, number, bytes(self.inbox[at + _ANSWER.size : end])
            at = end
        del self.inbox[:at]


class Sockets:
    """All sockets of one executor, in a private directory.

    Args:
        called: a worker wants to connect.
    """

    def __init__(self, called: Callable[[], None]) -> None:
        self.folder = tempfile.mkdtemp(prefix="cluster-exec-")  # 0700: nobody else gets in
        self.path = os.path.join(self.folder, "socket")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._ours, self._theirs = _pair()
        self._ours.setblocking(False)
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)
        self._buffer = bytearray(1 << 18)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, called)
        self._selector.register(
            self._wake_in, selectors.EVENT_READ, lambda: os.read(self._wake_in, 4096)
        )

    def serve(self, timeout: float | None) -> None:
        """Wait for something to happen, and let it be dealt with."""
        for key, _ in self._selector.select(timeout):
            key.data()

    def wake(self) -> None:
        """End the waiting, from another thread."""
        try:
            os.write(self._wake_out, b"!")
        except BlockingIOError:
            return  # it has been called often enough

    # ------------------------------------------------------------ calls

    def put(self, message: bytes) -> None:
        """Put a message where the next free worker takes it.

        Raises:
            BlockingIOError: there is no room.
        """
        self._ours.send(message)

    def take_back(self) -> list[bytes]:
        """Take back what no worker has taken."""
        held = []
        try:
            while True:
                held.append(self._theirs.recv(1 << 17, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return held

    # ------------------------------------------------------------ workers

    def greet(self, known: Mapping[bytes, Worker]) -> Worker | None:
        """Take in the worker that connects, and give it the socket with the calls."""
        sock, _ = self._listener.accept()
        sock.settimeout(_GREETING_S)
        try:
            worker = known.get(sock.recv(TOKEN_BYTES, socket.MSG_WAITALL))
            if worker is not None:
                rights = array.array("i", [self._theirs.fileno()])
                sock.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:  # it has just ended: its job says why
            worker = None
        if worker is None:
            sock.close()
            return None
        sock.settimeout(None)
        worker.socket = sock
        return worker

    def listen_to(self, worker: Worker, called: Callable[[], None]) -> None:
        """Have `called` whenever the worker says something."""
        assert worker.socket is not None
        self._selector.register(worker.socket, selectors.EVENT_READ, called)

    def hear(self, worker: Worker) -> Iterator[tuple[int, int, bytes]]:
        """Read what a worker says: whole messages; when it has gone, hang up."""
        if worker.socket is None:
            return
        try:
            size = worker.socket.recv_into(self._buffer)
        except OSError:
            size = 0
        if not size:
            self._selector.unregister(worker.socket)
            worker.socket.close()
            worker.socket = None
            return
        worker.inbox += memoryview(self._buffer)[:size]
        yield from worker.messages()

    def close(self) -> None:
        """Close all of them, and remove their directory."""
        for sock in (self._listener, self._ours, self._theirs):
            sock.close()
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)
        shutil.rmtree(self.folder, ignore_errors=True)


def _pair() -> tuple[socket.socket, socket.socket]:
    kind = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
    try:
        return socket.socketpair(socket.AF_UNIX, kind)
    except OSError:  # macOS has them for the internet only
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


# ---------------------------------------------------------------- outcomes


def settle(future: Future[Any], worker: Worker, kind: int, body: bytes) -> None:
    """Give a future what a worker answered."""
    try:
        if kind == VALUE:
            future.set_result(pickle.loads(body))
            return
        error = _error(worker.job, kind, body)
    except Exception as failure:  # the value's classes may raise anything
        error = PayloadError(f"the call's value cannot be unpickled here: {failure!r}")
    future.set_exception(error)


def _error(job: Job, kind: int, body: bytes) -> BaseException:
    if kind != RAISED:
        reason = body.decode("utf-8", "replace")
        return JobFailed(str(job.id), "FAILED", name=job.name, reason=reason)
    rows = pickle.loads(body)  # plain values only, made by the runner
    error = _remote_error.rebuild(rows)
    if error is not None:
        return error
    reason = f"a call raised {rows['type']}: {rows['text']}\n{rows['formatted'].rstrip()}"
    return JobFailed(str(job.id), "FAILED", name=job.name, reason=reason)


def failure_of(job: Job, what: Ending | ClusterError) -> Exception:
    """Make the error of the call that a worker was making when it ended."""
    if isinstance(what, ClusterError):
        return what
    content = what.content
    if content is None:
        try:
            content = job.scheduler.content(str(job.id))
        except ClusterError:
            content = Content()
    if what.info.state == "COMPLETED":
        return JobFailed(str(job.id), "FAILED", name=job.name, reason="the worker left early")
    return outcome.failure(what.info, content)
