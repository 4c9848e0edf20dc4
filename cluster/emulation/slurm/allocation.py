"""The job behind a salloc, or a srun outside of any job: it holds the cores while the caller works.

Its process is a shell that waits for a word of this thread: an exit code, with
which it ends.  If this process dies the shell reads the end of the pipe and goes.
"""

from __future__ import annotations

import os
import secrets
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Machine
from cluster.emulation.slurm import site
from cluster.emulation.slurm.need import Need, extra, fields, submit
from cluster.errors import ClusterError
from cluster.spec import Launch

__all__ = ["Allocation", "allocate"]

# $1: where it says that it began; $2: where its exit code comes from; $3: who tells it
_WAIT = """\
kill -0 "$3" 2>/dev/null || exit 1
echo up 1<>"$1"
read -r code <"$2" || exit 1
case $code in -*) kill "$code" $$ ;; esac
exit "$code"
"""
_SOON_S = 0.4  # a job that starts within this was not "queued and waiting"


class Allocation:
    """A job that waits to be given back.

    Attributes:
        id: of the job.
        over: readable when the job has ended.
    """

    def __init__(self, call: Call, id: str, began: int, tell: int, over: int) -> None:
        self._call, self._began, self._tell = call, began, tell
        self.id, self.over = id, over
        self._is_given_back = False

    def wait(self) -> None:
        """Wait until it has its cores.

        Raises:
            Stop: it was cancelled before.
            ConnectionError: the caller went away.
        """
        call = self._call
        if self._has_begun(_SOON_S):
            return
        if call.command == "salloc":
            call.err(f"salloc: Pending job allocation {self.id}\n")
        call.err(f"{call.command}: job {self.id} queued and waiting for resources\n")
        self._has_begun(None)
        call.err(f"{call.command}: job {self.id} has been allocated resources\n")

    def _has_begun(self, timeout_s: float | None) -> bool:
        poll = select.poll()
        for fd in (self._began, self.over, self._call.fileno()):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]
        if self._call.fileno() in ready:
            raise ConnectionAbortedError("the caller went away")
        if self._began in ready:
            return True
        if self.over in ready:
            raise Stop(f"{self._call.command}: Job allocation {self.id} has been revoked\n", 1)
        return False

    def give_back(self, code: int, signal: int = 0) -> None:
        """End the job with an exit code or by a signal; wait until that is known."""
        self._is_given_back = True
        with suppress(OSError):
            os.write(self._tell, b"%d\n" % (-signal if signal else code))
        self._call.machine.wait([self.id])

    def close(self) -> None:
        """Cancel it if nobody gave it back."""
        if not self._is_given_back:
            self._call.machine.act("cancel", [self.id])


@contextmanager
def allocate(call: Call, need: Need, kind: str) -> Iterator[Allocation]:
    """Queue a job that holds what is needed; it is over when the block is."""
    with ExitStack() as stack:
        folder = site.folder(call, "waiting")
        paths = [os.path.join(folder, f"{secrets.token_hex(8)}.{what}") for what in ("up", "code")]
        fds = []
        for path in paths:
            os.mkfifo(path, 0o600)
            stack.callback(os.unlink, path)
            # Both ways: neither side waits for the other to open it.
            fds.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        argv = ["/bin/sh", "-c", _WAIT, kind, *paths, str(os.getpid())]
        launch = Launch(argv=tuple(os.fsencode(word) for word in argv), cwd=b"/", grace_s=1.0)
        kept = extra(call, need, kind)
        id = submit(call, launch, fields(call, need), kept, dict(call.env))
        over, write = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, over)
        threading.Thread(target=_watch, args=(call.machine, id, write), daemon=True).start()
        allocation = Allocation(call, id, fds[0], fds[1], over)
        stack.callback(allocation.close)
        yield allocation


def _watch(machine: Machine, id: str, write: int) -> None:
    """Close the writing end when the job is over."""
    try:
        with suppress(ClusterError):
            machine.wait([id])
        machine.client.close()
    finally:
        os.close(write)
