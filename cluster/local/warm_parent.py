"""One warm parent as the node sees it: what makes two jobs alike, start, requests.

It keeps no list of warm parents and decides nothing: `warm_pool.py` does.
"""

from __future__ import annotations

import array
import functools
import marshal
import os
import socket
import tempfile
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cluster.local import warm
from cluster.spec import Launch

__all__ = [
    "Key",
    "Parent",
    "Request",
    "acts_at_start",
    "encode",
    "key_of",
    "send",
    "spawn",
    "why_not_ready",
]

# These act when Python or the C library starts, too late for a fork to change them.
START_PREFIXES = (b"LD_", b"PYTHON", b"LC_", b"MALLOC_", b"GLIBC_")
START_NAMES = (b"LANG", b"LOCPATH", b"HOME")  # HOME: the user's own site-packages
OURS_PREFIX = b"CLUSTER_JOB_"  # of one job; a warm parent is started without them
CHANNEL_FD = 3  # in the warm parent
# So many functions started on one core in so short a time, and it is worth a warm parent of
# its own: that costs 70 ms and 8 MiB, and saves 0.15 ms for each job.
BUSY_STARTS, BUSY_S = 300, 3.0

_HERE = os.path.dirname(os.path.abspath(__file__))
_WARM_FILE = os.path.join(_HERE, "warm.py")
_SYSTEM_FILE = os.path.join(_HERE, "warm_system.py")
_RUNNER_FILE = os.path.join(os.path.dirname(_HERE), "runner.py")

# The files are loaded by content: their folders must not get on the import path,
# and the interpreter may have no `cluster`.
_BOOT = """\
import os, sys
os.chdir("/")
sys.path[:] = [path for path in sys.path if path]
from importlib.machinery import SourceFileLoader
from types import ModuleType
def load(name, path):
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = path
    exec(SourceFileLoader(name, path).get_code(name), vars(module))
    return module
system = load("_cluster_system", sys.argv[3])
system.fill_pools()
load("_cluster_warm", sys.argv[1]).main(
    load("_cluster_runner", sys.argv[2]), system,
    int(sys.argv[4]), float(sys.argv[5]), sys.argv[6], int(sys.argv[7]), sys.argv[8:])
"""


class Key(NamedTuple):
    python: bytes
    build: tuple[tuple[int, int], ...]  # (inode, mtime) of the interpreter and site-packages
    start: frozenset[tuple[bytes, bytes]]
    cloudpickle: bytes


@dataclass
class Request:
    job: int
    attempt: int
    launch: Launch
    environment: Mapping[bytes, bytes]
    stdout: tuple[bytes, int]
    stderr: tuple[bytes, int]
    result: bytes
    cpus: tuple[int, ...]
    deaths: int = 0


@dataclass
class Parent:
    """One warm parent, as the node sees it."""

    key: Key
    pid: int
    channel: socket.socket
    base: dict[bytes, bytes]
    sys_path: tuple[bytes, ...]
    log: Any
    core: int  # that it runs on, with all its jobs; ANY_CORE
    ready: bool = False
    ended: bool = False  # the channel is at its end
    status: int | None = None  # its wait status, once reaped
    reason: str = ""
    reaps: bool = False  # it is its jobs' parent, not the node
    running: dict[int, int | None] = field(default_factory=dict)  # pid -> status, if it reaps
    queued: deque[Request] = field(default_factory=deque)
    sent: OrderedDict[tuple[int, int], Request] = field(default_factory=OrderedDict)
    own: dict[int, Parent] = field(default_factory=dict)  # of one core each, for the same jobs
    starts: dict[int, tuple[float, int]] = field(default_factory=dict)  # since when, how many
    used: float = field(default_factory=time.monotonic)

    @property
    def is_gone(self) -> bool:
        """It takes no more requests."""
        return self.ended or self.status is not None

    def counts(self, core: int, now: float) -> bool:
        """Count a start on one core, and tell whether many come there."""
        since, count = self.starts.get(core, (now, 0))
        if now - since > BUSY_S:
            since, count = now, 0
        self.starts[core] = since, count + 1
        return count + 1 >= BUSY_STARTS


def spawn(
    key: Key,
    environment: Mapping[bytes, bytes],
    sys_path: tuple[bytes, ...],
    *,
    idle_s: float,
    core: int = warm.ANY_CORE,
) -> Parent:
    """Start a warm parent; it says later when it is ready.

    Args:
        core: the one that it and its jobs run on; `warm.ANY_CORE`: they choose.

    Raises:
        OSError: the interpreter cannot be executed.
    """
    base = {k: v for k, v in environment.items() if not k.startswith(OURS_PREFIX)}
    base |= dict.fromkeys(warm.PLACED, warm.PLACEHOLDER)
    ours, theirs = _channel()
    fork = os.environ.get("CLUSTER_WARM_FORK", "clone")
    argv = [os.fsdecode(key.python), "-c", _BOOT, _WARM_FILE, _RUNNER_FILE, _SYSTEM_FILE]
    argv += [str(CHANNEL_FD), str(idle_s), fork, str(core), *map(os.fsdecode, sys_path)]
    log = tempfile.TemporaryFile()  # noqa: SIM115  closed once it is ready
    try:
        pid = os.posix_spawn(
            key.python,
            argv,
            base,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), CHANNEL_FD),
            ],
            setsigmask=(),
            setsigdef=_all_signals(),
        )
    except OSError:
        ours.close()
        log.close()
        raise
    finally:
        theirs.close()
    return Parent(key, pid, ours, base, sys_path, log, core)


def acts_at_start(name: bytes) -> bool:
    """Tell whether an interpreter looks at this variable only when it starts."""
    return name.startswith(START_PREFIXES) or name in START_NAMES


def key_of(python: bytes, environment: Mapping[bytes, bytes], sys_path: tuple[bytes, ...]) -> Key:
    """Tell which jobs may be forks of the same process.

    Raises:
        OSError: there is no such interpreter.
    """
    start = frozenset((name, value) for name, value in environment.items() if acts_at_start(name))
    folders = [path for path in sys_path if path.endswith((b"site-packages", b"dist-packages"))]
    about = [os.stat(python), *filter(None, map(_stat, folders))]
    build = tuple((stat.st_ino, stat.st_mtime_ns) for stat in about)
    return Key(python, build, start, _find_cloudpickle(sys_path))


def _stat(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


@functools.lru_cache(maxsize=256)
def _find_cloudpickle(sys_path: tuple[bytes, ...]) -> bytes:
    for folder in sys_path:
        if os.path.isdir(os.path.join(folder or b".", b"cloudpickle")):
            return folder
    return b""


@functools.cache
def _all_signals() -> tuple[int, ...]:
    import signal

    return tuple(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})


def why_not_ready(parent: Parent) -> str:
    """Say why a warm parent died before it could serve."""
    if parent.reason:
        return parent.reason
    parent.log.seek(max(0, os.fstat(parent.log.fileno()).st_size - 4096))
    lines = parent.log.read().decode("utf-8", "replace").strip().splitlines()
    python, status = os.fsdecode(parent.key.python), parent.status or 0
    code = os.waitstatus_to_exitcode(status)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    said = f": {lines[-1]}" if lines else ""
    return f"the interpreter {python} ended with {how} while it started{said}"


# ---------------------------------------------------------------- messages


def encode(request: Request, parent: Parent) -> bytes:
    """A request, complete in itself: `warm._job` unpacks it in this order."""
    launch, environment, base = request.launch, request.environment, parent.base
    was = base.get  # a third of the time that the difference of two sets takes
    changed = {name: value for name, value in environment.items() if was(name) != value}
    is_all_there = base.keys() <= environment.keys()
    message = (
        request.job,
        request.attempt,
        environment.get(warm.TOKEN, b""),
        launch.payload,
        launch.payload_file,
        None if launch.sys_path == parent.sys_path else launch.sys_path,
        request.result,
        launch.cwd,
        launch.umask,
        changed,
        () if is_all_there else tuple(base.keys() - environment.keys()),
        request.stdout,
        request.stderr,
        request.cpus if parent.core == warm.ANY_CORE else (),
    )
    return marshal.dumps(message, warm.MARSHAL)


def send(channel: socket.socket, data: bytes) -> None:
    """Send one message; one too large for a datagram goes as a file.

    Raises:
        BlockingIOError: the channel is full.
        OSError: nobody reads it any more.
    """
    if len(data) <= warm.MAX_MESSAGE:
        channel.send(data)
        return
    with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else _memory_file() as file:
        file.write(data)
        file.flush()
        fds = array.array("i", [file.fileno()])
        channel.sendmsg([b"F"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])


def _memory_file() -> Any:
    return open(os.memfd_create("cluster-request", os.MFD_CLOEXEC), "wb")


def _channel() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart: several children may read from one."""
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:  # macOS
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    return ours, theirs
