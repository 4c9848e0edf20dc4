"""Make the process of a command: where it runs, what it sees, what went wrong.

`posix_spawn` is vfork below: its cost does not grow with the node, and it
needs no code of ours in the child.  What it cannot set (cwd, umask, affinity,
the OOM score) is set on the node just before, inherited, and put back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

from cluster.local import memory_limit
from cluster.local.processes import DAEMON, TOKEN
from cluster.local.wire import Env, Start
from cluster.spec import Launch, fill, place

# Libraries that start a thread per core of the machine unless told otherwise.
THREADS = (
    b"OMP_NUM_THREADS",
    b"OPENBLAS_NUM_THREADS",
    b"MKL_NUM_THREADS",
    b"NUMEXPR_NUM_THREADS",
    b"VECLIB_MAXIMUM_THREADS",
    b"BLIS_NUM_THREADS",
    b"NUMBA_NUM_THREADS",
)
NOT_FOUND, NOT_RUN = 127, 126  # as a shell says them
JOB_OOM_SCORE = b"500"  # when memory is short the kernel should take a job, not the node
_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
_STDIN = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)


class StartFailed(Exception):
    """The process could not be made, and would not be the next time either.

    Attributes:
        code: 126 or 127, as a shell would exit.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class TryAgain(Exception):
    """The machine lacks something at the moment (processes, descriptors, memory).

    Attributes:
        is_ours: it is descriptors, so the node is short of them, not the job.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(_reason(error))
        self.is_ours = error.errno in (errno.EMFILE, errno.ENFILE)


def not_started(error: OSError, what: str) -> StartFailed | TryAgain:
    """Say that a job could not be started for want of `what`."""
    if error.errno in _PASSING:
        return TryAgain(error)
    return StartFailed(NOT_RUN, f"{what} could not be written: {_reason(error)}")


def environment(base: Env, launch: Launch, start: Start, *, fixed: Env) -> Env:
    """Build what a job sees: the submitter's, then ours, then what the job asked for.

    Args:
        base: the environment at submit.
        launch, start: the job.
        fixed: what is the same for all jobs of this node, and the job's token.
    """
    cores = b"%d" % start.cores
    env = {**base, **_threads(cores), **fixed}
    env[b"CLUSTER_JOB_ID"] = start.label.encode()
    env[b"CLUSTER_JOB_NAME"] = start.name.encode("utf-8", "surrogateescape")
    env[b"CLUSTER_CORES"] = cores
    env[b"CLUSTER_RAW_ID"] = b"%d" % start.job
    if start.memory_mib:
        env[b"CLUSTER_MEMORY_MIB"] = b"%d" % start.memory_mib
    if start.index is not None:
        env[b"CLUSTER_ARRAY_ID"] = b"%d" % start.array
        env[b"CLUSTER_ARRAY_INDEX"] = b"%d" % start.index
    if start.gpus:
        env[b"CUDA_VISIBLE_DEVICES"] = b",".join(b"%d" % gpu for gpu in start.gpus)
    for name in launch.env_unset:
        env.pop(name, None)
    if launch.env_set:
        env.update(launch.env_set)
        env[TOKEN] = fixed[TOKEN]  # how we find the job's processes: not theirs to change
    env.pop(DAEMON, None)
    return env


def filled(launch: Launch, start: Start) -> Launch:
    """Put what is known now into the places of a launch."""
    values = {
        "job": b"%d" % start.job,
        "array": b"%d" % (start.array or start.job),
        "index": b"" if start.index is None else b"%d" % start.index,
        "label": start.label.encode(),
        "restarts": b"%d" % (start.attempt - 1),
        "member": b"%d" % (start.job - 1 if start.array else start.job),
        "again": b"%d" % (start.attempt - 1) if start.attempt > 1 else b"",
        "host": os.fsencode(os.uname().nodename),
    }
    return msgspec.structs.replace(
        launch,
        stdout=fill(launch.stdout, values),
        stderr=fill(launch.stderr, values),
        scratch=fill(launch.scratch, values),
        notes={
            why: fill(note, values | {"time": place("time")}) for why, note in launch.notes.items()
        },
        env_set={
            name: text
            for name, value in launch.env_set.items()
            if (text := fill(value, values)) or not value
        },
    )


@cache
def _threads(cores: bytes) -> Env:
    return dict.fromkeys(THREADS, cores)


class Spawner:
    """Makes processes; holds what the node must be put back to."""

    def __init__(self) -> None:
        # whatever this process ignores (SIGPIPE: Python does) no job should
        self._defaults = [
            number
            for number in signal.valid_signals()
            if signal.getsignal(number) is signal.SIG_IGN
        ]
        self._cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._oom_fd, self._oom_score = -1, b"0"
        self._is_raised = False
        with contextlib.suppress(OSError):
            self._oom_fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._oom_score = os.pread(self._oom_fd, 16, 0).strip()

    def command(
        self,
        launch: Launch,
        env: Mapping[bytes, bytes],
        *,
        out: str,
        err: str,
        cpus: Sequence[int] = (),
        join_file: bytes = b"",
    ) -> int:
        """Start a command in its own session and give its pid.

        Args:
            launch: what to run; its `stdout`, `stderr` if it names them.
            env: complete.
            out, err: files of the slot, for what `launch` does not name.
            cpus: affinity; empty leaves it.
            join_file: the `cgroup.procs` it shall enter first; empty for none.

        Raises:
            StartFailed: with a sentence that names what is wrong.
            TryAgain: later.
        """
        umask = os.umask(launch.umask)
        opened: list[int] = []
        try:
            if not self._is_raised:
                self._set_oom_score(JOB_OOM_SCORE)
                self._is_raised = True
            _enter(launch.cwd)
            if cpus:
                _set_affinity(cpus)
            actions = _file_actions(launch, out, err, opened)
            path, argv = _find_program(launch.argv, env), launch.argv
            if join_file:
                argv = memory_limit.joining(join_file, (path, *argv[1:]), env)
                path = argv[0]
            return self._spawn(path, argv, env, actions)
        finally:
            if cpus:
                _set_affinity(self._cpus)
            os.chdir("/")
            os.umask(umask)
            for fd in opened:
                os.close(fd)

    def _spawn(
        self, path: bytes, argv: tuple[bytes, ...], env: Mapping[bytes, bytes], actions: _Actions
    ) -> int:
        try:
            return os.posix_spawn(
                path,
                argv,
                env,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=self._defaults,
            )
        except OSError as error:
            raise _explain(error, path) from error
        except ValueError as error:  # a NUL, or "=" in a variable's name
            raise StartFailed(NOT_RUN, f"{_show(path)} cannot be run: {error}") from error

    def rest(self) -> None:
        """Take back what stays as it is between jobs that follow each other at once."""
        if self._is_raised:
            self._set_oom_score(self._oom_score)
            self._is_raised = False

    def _set_oom_score(self, score: bytes) -> None:
        if self._oom_fd >= 0:
            with contextlib.suppress(OSError):  # not allowed: then the kernel chooses by size alone
                os.pwrite(self._oom_fd, score, 0)

    def close(self) -> None:
        """Close the descriptor it keeps."""
        if self._oom_fd >= 0:
            os.close(self._oom_fd)
            self._oom_fd = -1


def _enter(cwd: bytes) -> None:
    try:
        os.chdir(cwd)
    except (OSError, ValueError) as error:
        text = f"working directory {_show(cwd)}: {_reason(error)}"
        raise StartFailed(NOT_RUN, text) from error


def _set_affinity(cpus: Sequence[int] | set[int]) -> None:
    with contextlib.suppress(OSError, AttributeError, ValueError):
        # a core that went away, or a system without affinity: run anyway
        os.sched_setaffinity(0, cpus)


_Actions = list[tuple[object, ...]]


def _file_actions(launch: Launch, out: str, err: str, opened: list[int]) -> _Actions:
    actions: _Actions = [_STDIN]
    for fd, named, slot in ((1, launch.stdout, out), (2, launch.stderr, err)):
        if fd == 2 and named and named == launch.stdout:
            actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        elif named:
            actions.append((os.POSIX_SPAWN_DUP2, _open_named(named, launch, opened), fd))
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            actions.append((os.POSIX_SPAWN_OPEN, fd, slot, flags, 0o600))
    return actions


def named_flags(launch: Launch) -> int:
    """Give how the files that a user named are opened."""
    how = os.O_APPEND if launch.append else os.O_TRUNC | os.O_APPEND
    return os.O_WRONLY | os.O_CREAT | how


def _open_named(path: bytes, launch: Launch, opened: list[int]) -> int:
    # opened by the node, without blocking: a named pipe nobody reads would stop it in vfork
    try:
        flags = named_flags(launch) | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(path, flags, 0o666)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _PASSING:
            raise TryAgain(error) from error
        raise StartFailed(NOT_RUN, f"output file {_show(path)}: {_reason(error)}") from error
    opened.append(fd)
    os.set_blocking(fd, True)
    return fd


def _find_program(argv: Sequence[bytes], env: Mapping[bytes, bytes]) -> bytes:
    """Find the program as the job would: on its own PATH, from its own cwd (ours, now)."""
    if not argv or not argv[0]:
        raise StartFailed(NOT_FOUND, "the command is empty")
    name = argv[0]
    if b"/" in name:
        return name
    refused = b""
    for folder in env.get(b"PATH", b"/usr/local/bin:/bin:/usr/bin").split(b":"):
        path = (folder or b".") + b"/" + name
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(mode) and os.access(path, os.X_OK):
            return path
        refused = refused or path
    if refused:
        raise StartFailed(NOT_RUN, f"{_show(refused)} is not an executable file")
    raise StartFailed(NOT_FOUND, f"{_show(name)} is not on the job's PATH")


def _explain(error: OSError, path: bytes) -> Exception:
    if error.errno in _PASSING:
        return TryAgain(error)
    if error.errno == errno.E2BIG:
        return StartFailed(NOT_RUN, "the arguments and the environment are too long for the kernel")
    if error.errno == errno.ENOENT and os.path.exists(path):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            first = file.readline(256)
            if first.startswith(b"#!"):
                interpreter = _show(first[2:].strip())
                return StartFailed(NOT_RUN, f"{_show(path)}: no interpreter {interpreter}")
    if error.errno == errno.ENOEXEC:
        text = f"{_show(path)} is neither a program nor a script that starts with #!"
        return StartFailed(NOT_RUN, text)
    missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    return StartFailed(NOT_FOUND if missing else NOT_RUN, f"{_show(path)}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _show(path: bytes) -> str:
    return os.fsdecode(path).encode("utf-8", "replace").decode("utf-8")
