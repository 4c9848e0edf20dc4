"""The emulation: a daemon of one queue that answers the shims of every family.

It is an ordinary client of the queue's server, in a process of its own, so that
a strange format string or a list of 100,000 jobs holds up no scheduling.  Each
call has a thread of its own.  What it knows of jobs is in the queue: it may be
killed and started again between any two calls.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.emulation import families, faults, protocol
from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Machine
from cluster.emulation.settings import Settings
from cluster.errors import ClusterError
from cluster.local import lifecycle

__all__ = ["Emulation", "ensure", "main"]

IDLE_S = 600.0
CALLS_AT_ONCE = 512  # salloc, srun and sbatch --wait hold one each
KEEPER = "keeper"  # a thread of this name has something to do yet, with no call open
_LOOK_S = 5.0


def ensure(state_dir: str) -> int:
    """Start the emulation of a queue unless it answers; for `start.py`.

    Returns:
        An exit code.
    """
    try:
        lifecycle.start_daemon("emulation", state_dir)
    except ClusterError as error:
        print(f"cluster emulate: {error}", file=sys.stderr)
        return 1
    return 0


def main(
    state_dir: str,
    *,
    tether_fd: int | None,
    settings: dict[str, Any],
    ready: Callable[[], None],
) -> None:
    """Be the emulation of `state_dir` until it is idle; return at once if another one is."""
    lock = os.open(
        os.path.join(state_dir, "emulation.lock"),
        os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
        0o600,
    )
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        with contextlib.closing(Emulation(state_dir, tether_fd=tether_fd)) as emulation:
            ready()
            emulation.serve()
    finally:
        os.close(lock)


class Emulation:
    """The listening socket and the threads behind it.

    Args:
        state_dir: of the queue.
        tether_fd: leave when the other end of this pipe is closed.
        idle_s: leave after so long without a call.
    """

    def __init__(
        self, state_dir: str, *, tether_fd: int | None = None, idle_s: float = IDLE_S
    ) -> None:
        self._state_dir, self._tether_fd, self._idle_s = state_dir, tether_fd, idle_s
        self._listener = lifecycle.listen(state_dir, "emulation")
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="call")
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._last = time.monotonic()
        self._path = lifecycle.socket_path(state_dir, "emulation")

    def serve(self) -> None:
        """Take calls until there are none for long, or nobody can find us any more."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        if self._tether_fd is not None:
            poll.register(self._tether_fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll(_LOOK_S * 1000)]
            if self._tether_fd in ready:
                return
            if self._listener.fileno() in ready:
                with contextlib.suppress(OSError):  # it went again; too many are open
                    connection, _ = self._listener.accept()
                    self._begin(connection)
            elif not os.path.exists(self._path) or self._is_idle():
                return

    def _is_idle(self) -> bool:
        if any(thread.name.startswith(KEEPER) for thread in threading.enumerate()):
            return False
        with self._lock:
            return not self._open and time.monotonic() - self._last > self._idle_s

    def _begin(self, connection: socket.socket) -> None:
        _, uid = lifecycle.peer(connection)
        if uid != os.getuid():
            connection.close()
            return
        with self._lock:
            self._open.add(connection)
            self._last = time.monotonic()
        self._threads.submit(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(ConnectionError, BrokenPipeError):
                answer(connection, self._state_dir)
        except Exception:
            traceback.print_exc()
        finally:
            with self._lock:
                self._open.discard(connection)
                self._last = time.monotonic()

    def close(self) -> None:
        """End the calls that are open, and leave."""
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._threads.shutdown(wait=False, cancel_futures=True)


def answer(connection: socket.socket, state_dir: str) -> None:
    """Hear one call and do what its command does."""
    kind, version, about = (*protocol.receive(connection), None, None)[:3]
    if kind != "call" or version != protocol.PROTOCOL or not isinstance(about, dict):
        protocol.send(connection, ("write", 2, b"cluster: another version of the emulation runs\n"))
        protocol.send(connection, ("exit", 1))
        return
    family = families.get(about["family"])
    settings = Settings.of(about["env"], family.name)
    machine = Machine(state_dir, family.name)
    call = Call(connection, about, machine, settings)
    code = 1
    try:
        code = (faults.handle(call, family, _handle) if settings.faults
                else _handle(call, family))  # fmt: skip
    except Stop as stop:
        call.err(stop.text)
        code = stop.code
    except ConnectionError:
        raise
    except ClusterError as error:
        call.err(f"{call.command}: error: {error}\n")
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        call.err(
            f"{call.command}: error: the emulation failed ({type(error).__name__}: {error}); "
            f"see {state_dir}/emulation.log\n"
        )
    call.exit(code)


def _handle(call: Call, family: families.Family) -> int:
    handler = families.handlers(family).get(call.command)
    if handler is None:
        call.err(
            f"{call.command}: error: this command of {family.title} is not emulated. "
            f"What is: {', '.join(sorted(families.handlers(family)))}.\n"
        )
        return 1
    return handler(call)
