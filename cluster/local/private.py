"""A queue that lives and dies with the program that made it.

The same daemons, in a temporary directory.  The program holds the writing end
of the pipe `tether` in it; when the program is gone, however it went, the
daemons read its end, end all jobs and remove the directory.  The cores are
shared with nobody: two queues on one machine do not know of each other.
"""

from __future__ import annotations

import json
import os
import shutil
import weakref
from types import TracebackType
from typing import Any

from cluster.errors import ServerUnavailable
from cluster.local import lifecycle
from cluster.local.client import Client, get_client

__all__ = ["PrivateQueue"]

_tethers: set[int] = set()


class PrivateQueue:
    """A queue of one's own; `with` ends it, and so does the end of the process.

    Args:
        cores, memory_mib, gpus, resources: what its jobs share; None is what
            this machine offers.  More cores than there are need
            `overcommit=True`.
        settings: other settings of the server.

    Attributes:
        state_dir: its directory; `get_client(state_dir)` reaches it too.
    """

    def __init__(
        self,
        *,
        cores: int | None = None,
        memory_mib: int | None = None,
        gpus: int | None = None,
        resources: dict[str, int] | None = None,
        **settings: Any,
    ) -> None:
        chosen = {"cores": cores, "memory_mib": memory_mib, "gpus": gpus, "resources": resources}
        settings |= {name: value for name, value in chosen.items() if value is not None}
        self.state_dir, tether = _make(settings | {"private": True})
        self._close = weakref.finalize(self, _end, self.state_dir, tether, os.getpid())
        try:
            lifecycle.start_daemon("server", self.state_dir)
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> Client:
        """This thread's client of it."""
        return get_client(self.state_dir)

    def close(self) -> None:
        """End its jobs and daemons and remove its directory.  Again does nothing."""
        self._close()

    def __enter__(self) -> PrivateQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _make(settings: dict[str, Any]) -> tuple[str, int]:
    base = os.environ.get("TMPDIR", "/tmp")
    if len(os.fsencode(base)) > 60:  # a socket's path has room for 100 bytes
        base = "/tmp"
    path = os.path.realpath(os.path.join(base, f"cluster-{os.urandom(6).hex()}"))
    try:
        os.mkdir(path, 0o700)
        with open(os.path.join(path, "settings.json"), "w", encoding="utf-8") as file:
            json.dump(settings, file)
        os.mkfifo(os.path.join(path, "tether"), 0o600)
        # Both ways: a pipe cannot be opened for writing alone before it is read.
        fd = os.open(os.path.join(path, "tether"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise ServerUnavailable(
            f"a private queue cannot be made in {path}: {error.strerror}. Set TMPDIR."
        ) from error
    _tethers.add(fd)
    return path, fd


def _end(state_dir: str, tether: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child ends nothing of its parent's
    get_client(state_dir).close()
    lifecycle.stop_everything(state_dir)
    _tethers.discard(tether)
    os.close(tether)
    shutil.rmtree(state_dir, ignore_errors=True)


def _after_fork() -> None:
    # While a child held it, the queue would outlive its owner.
    for fd in _tethers:
        os.close(fd)
    _tethers.clear()


os.register_at_fork(after_in_child=_after_fork)
