"""What a daemon does first and last, whichever of the two it is.

    python -I -S -c BOOT server|node <state directory> <settings, JSON>

`lifecycle.begin_daemon` starts it so; by then it is a session of its own.
Here its starter is told how it went, an error reaches the log with its
traceback, and the last daemon of a private queue removes the directory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress

from cluster.local.lifecycle import READY_FD, TETHER_FD

_LEAST_FILE_KIB = 16 * 1024  # the store's log alone takes 4 MiB before it is put into the store


class _Ready:
    """The starter's end of a pipe; it is told once, and may be gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self) -> None:
        self.say("ready")

    def say(self, word: str) -> None:
        if self._fd < 0:
            return
        with suppress(OSError):
            os.write(self._fd, word.replace("\n", " ").encode() + b"\n")
        os.close(self._fd)
        self._fd = -1


def main(argv: list[str]) -> int:
    """Run a daemon to its end.

    Args:
        argv: "server" or "node", the state directory, the settings.

    Returns:
        The exit code: 0 also when another process was elected.
    """
    which, state_dir, text = argv
    settings = json.loads(text)
    tether_fd = TETHER_FD if settings.pop("tether") else None
    private = bool(settings.pop("private", False))
    ready = _Ready(READY_FD)
    os.set_inheritable(READY_FD, False)
    if tether_fd is None:
        with suppress(OSError):
            os.close(TETHER_FD)
    else:
        os.set_inheritable(tether_fd, False)
    if settings.pop("in_job"):
        _leave_the_job()
    _leave_the_shell()
    try:
        if which == "server":
            _check_file_size(state_dir)
        _run(which, state_dir, tether_fd, private, settings, ready)
    except Exception as error:
        ready.say(f"error: {error or type(error).__name__}")  # first: a full disk has no log
        with suppress(OSError):
            print(time.strftime("%Y-%m-%d %H:%M:%S"), which, "failed:", file=sys.stderr)
            sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        ready.say("lost")
        if private:
            _remove(state_dir)
    return 0


def _run(
    which: str,
    state_dir: str,
    tether_fd: int | None,
    private: bool,
    settings: dict[str, object],
    ready: _Ready,
) -> None:
    if which == "server":
        from cluster.local import server

        server.main(state_dir, tether_fd=tether_fd, private=private, settings=settings, ready=ready)
    elif which == "emulation":
        from cluster.emulation import daemon

        daemon.main(state_dir, tether_fd=tether_fd, settings=settings, ready=ready)
    else:
        from cluster.local import node

        node.main(state_dir, tether_fd=tether_fd, ready=ready, settings=settings)


def _leave_the_job() -> None:
    """Take back the machine: we were started by a job, with its share of the cores."""
    with suppress(OSError, AttributeError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")


def _leave_the_shell() -> None:
    """Pass by the limits that our starter's shell set itself: this queue is everybody's.

    A daemon that may write 100 blocks, or jobs of another terminal that get one second of
    CPU, are not what `ulimit` was meant for there.  Descriptors and stack stay: programs
    behave differently with many.
    """
    import resource

    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NPROC"):
        with suppress(AttributeError, OSError, ValueError):
            limit = getattr(resource, name)
            _, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (hard, hard))


def _check_file_size(state_dir: str) -> None:
    """Refuse to be a server that takes jobs and then cannot write them down.

    Raises:
        ServerUnavailable: a limit that cannot be passed by keeps files small.
    """
    import resource

    from cluster.errors import ServerUnavailable

    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most != resource.RLIM_INFINITY and most < _LEAST_FILE_KIB * 1024:
        raise ServerUnavailable(
            f"no file may grow beyond {most // 1024} KiB here (ulimit -f), and those in "
            f"{state_dir} need {_LEAST_FILE_KIB} KiB. Start the queue from a shell without that "
            "limit: cluster local start"
        )


def _remove(state_dir: str) -> None:
    """Remove a private queue whose owner is gone, unless another daemon of it will."""
    from shutil import rmtree

    from cluster.errors import ClusterError
    from cluster.local.lifecycle import Election, is_orphaned, stop_everything

    with suppress(ClusterError, OSError):
        if not is_orphaned(state_dir) or not Election(state_dir).won():
            return
        stop_everything(state_dir)
        rmtree(state_dir, ignore_errors=True)
