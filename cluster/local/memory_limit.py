"""How the memory limit of a job is enforced: by a cgroup, or by watching.

A cgroup is exact and costs nothing, but only some machines let a user make
one.  Where they do not, the node measures the job's processes twice a second
(`processes.memory_mib`).  This module finds out which, and makes, reads and
removes the cgroups.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

OFF = "CLUSTER_NO_CGROUP"  # set to 1: watch, whatever the machine allows
WATCH_INTERVAL_S = 0.5
_MIB = 1 << 20

# A command enters its cgroup before it becomes itself, so that no page escapes.
JOIN = (b"/bin/sh", b"-c", b'echo 0 > "$0" && exec "$@"')

# The same in 10 ms instead of 1, for what a shell hands on changed or not at all.  The
# environment is taken as it came: Python sets LC_CTYPE in its own where the locale is C.
_JOIN_EXACTLY = b"""\
import os, sys
with open(sys.argv[1], "w") as file:
    file.write("0")
with open("/proc/self/environ", "rb") as file:
    env = dict(pair.split(b"=", 1) for pair in file.read().split(b"\\0") if b"=" in pair)
try:
    os.execve(sys.argv[2], sys.argv[2:], env)
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""
_IDENTIFIER = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class _Version:
    """The names of the same things in the two versions of cgroups."""

    name: str
    limit: str
    swap_limit: str
    peak: str
    events: str


_V1 = _Version(
    "cgroup v1",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
)
_V2 = _Version("cgroup v2", "memory.max", "memory.swap.max", "memory.peak", "memory.events")


class Group:
    """The cgroup of one job.

    Attributes:
        ends_all: whether the kernel ends all processes at the limit, not one of them.

    Raises:
        OSError: it could not be made; nothing is left behind.
    """

    def __init__(self, parent: Path, version: _Version, name: str, limit_mib: int) -> None:
        self._path, self._version = parent / name, version
        self._path.mkdir(exist_ok=True)
        try:
            (self._path / version.limit).write_text(str(limit_mib * _MIB))
        except OSError:
            self.remove()
            raise
        no_swap = str(limit_mib * _MIB) if version is _V1 else "0"  # v1 counts memory plus swap
        with contextlib.suppress(OSError):  # absent without swap accounting
            (self._path / version.swap_limit).write_text(no_swap)
        self.ends_all = False
        if version is _V2:
            with contextlib.suppress(OSError):
                (self._path / "memory.oom.group").write_text("1")
                self.ends_all = True

    @property
    def join_file(self) -> bytes:
        """A process enters by writing 0 (or its pid) into this file."""
        return os.fsencode(self._path / "cgroup.procs")

    def add(self, pid: int) -> None:
        """Put a process into the group.

        Raises:
            OSError: the process is gone, or the group is.
        """
        (self._path / "cgroup.procs").write_text(str(pid))

    def oom_kills(self) -> int:
        """Tell how many processes the kernel ended for reaching the limit."""
        for line in self._read(self._version.events).splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
        return 0

    def peak_mib(self) -> float:
        """Tell the most memory it ever used; 0 where the kernel does not say."""
        text = self._read(self._version.peak).strip()
        return int(text) / _MIB if text else 0.0

    def _read(self, name: str) -> str:
        try:
            return (self._path / name).read_text()
        except OSError:
            return ""

    def remove(self) -> bool:
        """Remove the group; False while something is still in it."""
        try:
            self._path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def make_group(name: str, limit_mib: int) -> Group | None:
    """Make a cgroup with a limit; None where the job must be watched instead."""
    found, _ = _find_parent(os.environ.get(OFF, ""))
    if found is None:
        return None
    try:
        return Group(found[0], found[1], name, limit_mib)
    except OSError:
        return None


def remove_group(name: str) -> None:
    """Remove the cgroup that a node which died left behind, if there is one."""
    found, _ = _find_parent(os.environ.get(OFF, ""))
    if found is not None:
        with contextlib.suppress(OSError):
            (found[0] / name).rmdir()


def joining(file: bytes, argv: Sequence[bytes], env: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Give an argv that enters a cgroup and then becomes `argv`.

    Args:
        file: the group's `join_file`.
        argv: its first word is the path of the program.
        env: what the program shall see; a shell would drop a variable whose
            name it could not have given itself, an exported function say.
    """
    if all(map(_IDENTIFIER.match, env)):
        return (*JOIN, file, *argv)
    python = os.fsencode(sys.executable)
    return (python, b"-I", b"-S", b"-c", _JOIN_EXACTLY, file, *argv)


def memory_enforcement() -> tuple[str, str]:
    """Tell how limits are enforced here and why.

    Returns:
        ("cgroup v1" | "cgroup v2" | "watching", a sentence).
    """
    found, why = _find_parent(os.environ.get(OFF, ""))
    return (found[1].name if found else "watching"), why


@lru_cache(maxsize=2)
def _find_parent(off: str) -> tuple[tuple[Path, _Version] | None, str]:
    if off == "1":
        return None, f"{OFF}=1 is set"
    tried = []
    for parent, version in _candidates():
        error = _why_not(parent, version)
        if not error:
            return (parent, version), f"{parent} is writable"
        tried.append(f"{parent}: {error}")
    return None, "; ".join(tried) or "no memory controller is mounted"


def _candidates() -> list[tuple[Path, _Version]]:
    mounts = _mounts()
    found = []
    for line in _lines("/proc/self/cgroup"):
        _, controllers, inside = line.split(":", 2)
        if "memory" in controllers.split(",") and "memory" in mounts:
            found.append((_below(mounts["memory"], inside), _V1))
        elif not controllers and "" in mounts:
            own = _below(mounts[""], inside)
            # a v2 group that holds processes cannot have limited groups below it: try beside it
            found += [(own, _V2), (own.parent, _V2)]
    return found


def _mounts() -> dict[str, tuple[str, str]]:
    """Give root and mount point of the v1 memory controller ("memory") and of v2 ("")."""
    found = {}
    for line in _lines("/proc/self/mountinfo"):
        first, _, second = line.partition(" - ")
        root, point = first.split()[3:5]
        kind, _, options = second.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(","):
            found["memory"] = (root, point)
        elif kind == "cgroup2":
            found[""] = (root, point)
    return found


def _below(mount: tuple[str, str], inside: str) -> Path:
    root, point = mount
    return Path(point) / inside.removeprefix(root.rstrip("/")).lstrip("/")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _why_not(parent: Path, version: _Version) -> str:
    """Try what a job will need; empty when all of it works."""
    try:
        if version is _V2 and "memory" not in (parent / "cgroup.subtree_control").read_text():
            return "the memory controller is not enabled for groups in it"
        # a real process must be able to enter: writing a limit alone proves little
        trial = Group(parent, version, f"cluster-trial-{os.getpid()}", 1024)
    except OSError as error:
        return error.strerror or str(error)
    try:
        return _try_to_enter(trial)
    finally:
        trial.remove()


def _try_to_enter(trial: Group) -> str:
    argv = (*JOIN, trial.join_file, b"/bin/sh", b"-c", b"exit 0")
    silent = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
    try:
        pid = os.posix_spawn(argv[0], argv, {}, file_actions=silent)
    except OSError as error:
        return error.strerror or str(error)
    _, status = os.waitpid(pid, 0)
    return "" if status == 0 else "a process may not enter a group made there"
