"""How the daemons of a queue come to be, and how they all go.

    client ── begin_daemon ──> python -I -S -c BOOT ──fork──> fork ──> daemon
                   ^             (its own group)      setsid            │
                   └───────────── a pipe: "ready", "lost", "error" ─────┘

A daemon holds nothing of its starter: no descriptor, no terminal, no working
directory, no signal setting, and only the environment it needs.  It imports
the very `cluster` that started it.  Where a queue lives is `places`; who is
its server is `election`; their names are given here too.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from cluster.errors import ServerUnavailable
from cluster.local.election import Election, holder
from cluster.local.places import Host, host, listen, peer, socket_path, state_dir, token

__all__ = [
    "Election",
    "Host",
    "Starting",
    "begin_daemon",
    "holder",
    "host",
    "import_path",
    "is_orphaned",
    "listen",
    "peer",
    "socket_path",
    "start_daemon",
    "state_dir",
    "stop_everything",
    "token",
]

START_S = 30.0  # a daemon is ready in 0.1 s; a machine that swaps may take long
LOG_LIMIT = 1 << 20  # bytes; a longer log is begun anew when its daemon starts
READY_FD, TETHER_FD = 3, 4
# What the daemons import from outside the standard library.
_IMPORTS = ("cluster", "msgspec", "typing_extensions", "cloudpickle", "filelock", "psutil")
# Runs before anything heavy is imported, so that the starter waits only shortly
# for the first of the three processes, and a thread-free process is forked.
BOOT = f"""
import os, sys
for fd in os.listdir("/dev/fd"):
    if int(fd) > {TETHER_FD}:
        try: os.close(int(fd))
        except OSError: pass
os.chdir("/")
os.umask(0o077)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
sys.path += sys.argv[4:]
del sys.argv[4:]
from cluster.daemon import main
sys.exit(main(sys.argv[1:]))
"""
_KEPT = frozenset(
    b"PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ TMPDIR CLUSTER_CONFIG CLUSTER_QTYPE "
    b"LD_PRELOAD LD_LIBRARY_PATH DYLD_LIBRARY_PATH CUDA_VISIBLE_DEVICES CLUSTER_CRASH_POINT "
    b"CLUSTER_NO_CGROUP".split()
)
_KEPT_PREFIXES = (b"XDG_", b"CLUSTER_CFG_")


class Starting:
    """A daemon that was started and has not said yet how it went.

    Its starter can do other things meanwhile; `fileno()` becomes readable when
    there is news.  It must be finished or closed.
    """

    def __init__(self, which: str, state_dir: str, pid: int, fd: int) -> None:
        self._which, self._state_dir = which, state_dir
        self._pid, self._fd = pid, fd
        self._said = b""

    def fileno(self) -> int:
        """Give the descriptor on which the daemon says how it went."""
        return self._fd

    def finish(self, timeout_s: float = START_S) -> str:
        """Wait until the daemon serves, or left because another one does.

        Returns:
            "ready", or "lost" when another process was elected.

        Raises:
            ServerUnavailable: it could not start, or said nothing in time.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while not self._said.endswith(b"\n"):
                _poll(self._fd, deadline)
                piece = os.read(self._fd, 4096)
                self._said += piece
                if not piece:
                    break
        except TimeoutError:
            raise ServerUnavailable(
                f"the {self._which} of the queue was started but said nothing within "
                f"{timeout_s:g} s; its log is {self._log()}"
            ) from None
        finally:
            self.close()
        said = self._said.decode("utf-8", "replace").strip()
        if said in ("ready", "lost"):
            return said
        why = said.removeprefix("error: ") or f"it ended at once. {_tail(self._log())}"
        raise ServerUnavailable(f"the {self._which} of the queue could not start: {why}")

    def close(self) -> None:
        """Stop listening to the daemon and reap the process that made it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with suppress(ChildProcessError):  # the program may ignore SIGCHLD
                os.waitpid(self._pid, 0)

    def _log(self) -> str:
        return os.path.join(self._state_dir, f"{self._which}.log")


def _poll(fd: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 2000))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return f"It left no log at {path}."
    return f"The end of {path}: " + " | ".join(lines[-3:])


def start_daemon(
    which: str,
    state_dir: str,
    *,
    settings: Mapping[str, Any] | None = None,
    tether_fd: int | None = None,
    timeout_s: float = START_S,
) -> str:
    """Start the server or the node of a queue and wait until it serves.

    Args:
        which: "server" or "node".
        state_dir: the queue's directory, as `state_dir()` gives it.
        settings: what its `main` gets; anything JSON can say.
        tether_fd: read end of a pipe; the daemon ends everything and leaves
            when its other end is closed.
        timeout_s: seconds to wait.

    Returns:
        "ready", or "lost" when another process was elected.

    Raises:
        ServerUnavailable: it could not be started.
    """
    starting = begin_daemon(which, state_dir, settings=settings, tether_fd=tether_fd)
    return starting.finish(timeout_s)


def begin_daemon(
    which: str,
    state_dir: str,
    *,
    settings: Mapping[str, Any] | None = None,
    tether_fd: int | None = None,
) -> Starting:
    """Start the server or the node of a queue and go on at once.

    Args: as `start_daemon`.

    Raises:
        ServerUnavailable: no process could be started.
    """
    if not sys.executable:
        raise ServerUnavailable("sys.executable is empty: no Python is known to run the queue with")
    in_job = _is_job_of(state_dir)
    fds: list[int] = []
    try:
        read, write = os.pipe()
        fds += [read, write]
        fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        fds.append(_open_log(os.path.join(state_dir, f"{which}.log")))
        sources = [fds[2], fds[3], fds[3], write]
        if tether_fd is None and (tether_fd := _open_tether(state_dir)) is not None:
            fds.append(tether_fd)
        sources += [] if tether_fd is None else [tether_fd]
        options = {**_kept_settings(state_dir), **(settings or {})}
        options |= {"tether": tether_fd is not None, "in_job": in_job}
        flags = ["-I", "-S", *_without_byte_code(), "-X", "utf8"]
        words = [sys.executable, *flags, "-c", BOOT, which, state_dir]
        argv = [os.fsencode(word) for word in (*words, json.dumps(options), *import_path())]
        env = daemon_environment(os.environb, which, state_dir, in_job=in_job)
        pid = _spawn(argv, env, sources)
        fds.remove(read)
    except OSError as error:
        raise ServerUnavailable(
            f"the {which} of the queue in {state_dir} cannot be started: {error.strerror}"
        ) from error
    finally:
        for fd in fds:
            os.close(fd)
    return Starting(which, state_dir, pid, read)


def _without_byte_code() -> list[str]:
    """Where files may not grow, Python would cut its own short, and read them ever after."""
    import resource

    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    return ["-B"] if limited else []


def _is_job_of(state_dir: str) -> bool:
    ours = os.environ.get("CLUSTER_STATE_DIR", "")
    return "CLUSTER_RAW_ID" in os.environ and os.path.realpath(ours) == state_dir


def _open_tether(state_dir: str) -> int | None:
    """Open the pipe whose other end the owner of a private queue holds."""
    try:
        fd = os.open(os.path.join(state_dir, "tether"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with suppress(BlockingIOError):  # there is nothing to read, and somebody who could write
        if not os.read(fd, 1):
            os.close(fd)
            raise ServerUnavailable(f"the owner of the private queue in {state_dir} has ended")
    return fd


def is_orphaned(state_dir: str) -> bool:
    """Tell whether this is a private queue whose owner has ended."""
    try:
        fd = _open_tether(state_dir)
    except ServerUnavailable:
        return True
    if fd is not None:
        os.close(fd)
    return False


def _kept_settings(state_dir: str) -> dict[str, Any]:
    """Read what a private queue was made with, so that a new server is made like the first."""
    try:
        with open(os.path.join(state_dir, "settings.json"), encoding="utf-8") as file:
            kept: dict[str, Any] = json.load(file)
        return kept
    except FileNotFoundError:
        return {}


def import_path() -> list[str]:
    """Give the directories from which the daemons import what we would import."""
    from importlib.util import find_spec

    found: dict[str, None] = {}
    for name in _IMPORTS:
        spec = find_spec(name)
        if spec is not None and spec.origin:
            folder = os.path.dirname(os.path.abspath(spec.origin))
            found[os.path.dirname(folder) if spec.submodule_search_locations else folder] = None
    return list(found)


def _open_log(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    if os.fstat(fd).st_size > LOG_LIMIT:
        os.ftruncate(fd, 0)
    return fd


def _spawn(argv: list[bytes], env: Mapping[bytes, bytes], sources: Iterable[int]) -> int:
    import fcntl
    from signal import SIGKILL, SIGSTOP

    # Copies above the targets: with standard streams closed, a source may be one.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in sources]
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(copies)],
            setpgroup=0,  # Ctrl-C in the terminal must not reach it, not even now
            setsigmask=[],
            setsigdef=[number for number in range(1, 32) if number not in (SIGKILL, SIGSTOP)],
        )
    finally:
        for fd in copies:
            os.close(fd)


def daemon_environment(
    env: Mapping[bytes, bytes], which: str, state_dir: str, *, in_job: bool
) -> dict[bytes, bytes]:
    """Reduce an environment to what a daemon needs, and name the daemon in it.

    Pure.  Nothing by which a job is recognised may stay: a daemon started from
    inside a job outlives it.
    """
    kept = {
        name: value
        for name, value in env.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    if in_job:
        kept.pop(b"CUDA_VISIBLE_DEVICES", None)  # that job's share, not the machine
    kept[b"CLUSTER_DAEMON"] = which.encode()
    kept[b"CLUSTER_STATE_DIR"] = os.fsencode(state_dir)
    return kept


def stop_everything(
    state_dir: str | os.PathLike[str], now: bool = True, *, timeout_s: float = 20.0
) -> bool:
    """Stop the server, the node and, with `now`, every job of a queue.

    Args:
        state_dir: the queue's directory.
        now: end the jobs too, and whoever does not go by itself.  Without it
            the daemons are asked to leave once no job is running.
        timeout_s: seconds to wait; with `now`, a quarter of it before signals.

    Returns:
        Whether all of them are gone.
    """
    from cluster.local.stopping import stop

    return stop(os.path.realpath(state_dir), now=now, timeout_s=timeout_s)
