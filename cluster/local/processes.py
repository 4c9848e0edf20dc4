"""Processes of this machine: who lives, who descends from whom, whose job it is.

Reads /proc on Linux and asks psutil elsewhere (imported only there: 4 MB and
15 ms that the node need not spend).  It sends signals, but never decides to:
the node does.  A process is named by its pid *and* its start time
in clock ticks, for pids are used again; a zombie counts as ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

IS_MACOS = sys.platform == "darwin"
HAS_PROC = sys.platform == "linux" and os.path.exists("/proc/self/stat")
TOKEN = b"CLUSTER_JOB_TOKEN"
DAEMON = b"CLUSTER_DAEMON"
_PR_SET_CHILD_SUBREAPER = 36
_SLICE_NS = 100_000  # the least there is
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20


class Process(NamedTuple):
    """What the kernel says of a process at one moment."""

    pid: int
    parent: int
    group: int
    session: int
    ticks: int
    state: str

    @property
    def lives(self) -> bool:
        """False for a zombie: it runs no more, it only waits to be reaped."""
        return self.state not in "ZX"


def look(pid: int) -> Process | None:
    """Look at one process; None when there is none."""
    if not HAS_PROC:
        return _ask_psutil(pid)
    data = _read(f"/proc/{pid}/stat")
    at = data.rfind(b")")  # the name before it may hold blanks and parentheses
    if at < 0:
        return None
    rest = data[at + 2 :].split()
    return Process(
        pid, int(rest[1]), int(rest[2]), int(rest[3]), int(rest[19]), rest[0].decode("ascii")
    )


def _ask_psutil(pid: int) -> Process | None:
    import psutil

    try:
        asked = psutil.Process(pid)
        with asked.oneshot():
            state = "Z" if asked.status() == psutil.STATUS_ZOMBIE else "R"
            ticks = int(asked.create_time() * 100)
            return Process(pid, asked.ppid(), os.getpgid(pid), os.getsid(pid), ticks, state)
    except (psutil.Error, OSError):
        return None


def _read(path: str, limit: int = 1 << 16) -> bytes:
    """Read a file of /proc; empty when it is gone or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # we are out of descriptors: that says nothing about the process
        return b""
    try:
        data = b""
        while piece := os.read(fd, limit):
            data += piece
        return data
    except OSError:
        return b""
    finally:
        os.close(fd)


def is_same(pid: int, ticks: int) -> bool:
    """Tell whether this very process still runs."""
    found = look(pid)
    return found is not None and found.lives and found.ticks == ticks


def ticks_now() -> int:
    """Give the time as `Process.ticks` counts it; 0 where that is not known.

    A process started between two calls has ticks between them.  Asking /proc
    instead costs 0.2 ms while the process is busy becoming its program.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _TICK_NS if HAS_PROC else 0


def age_s(process: Process) -> float:
    """Tell how long ago a process was started, whatever became of the wall clock."""
    if HAS_PROC:
        return max(0.0, (ticks_now() - process.ticks) * _TICK_NS / 1e9)
    return max(0.0, time.time() - process.ticks / 100)


def boot_id() -> str:
    """Name the current boot: after a reboot no pid means what it meant."""
    data = _read("/proc/sys/kernel/random/boot_id").strip()
    if data:
        return data.decode("ascii")
    import psutil

    return f"booted {int(psutil.boot_time())}"


def environment(pid: int) -> dict[bytes, bytes]:
    """Give the environment a process was started with; empty if it cannot be read."""
    if HAS_PROC:
        pairs = (item.partition(b"=") for item in _read(f"/proc/{pid}/environ").split(b"\0"))
        return {name: value for name, _, value in pairs if name}
    import psutil

    try:
        found = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}
    return {os.fsencode(name): os.fsencode(value) for name, value in found.items()}


def children(pid: int) -> list[int]:
    """Give the direct children of a process, zombies too."""
    if not HAS_PROC:
        return _children_by_psutil(pid)
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _children_by_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except (psutil.Error, OSError):
        return []


def trees(roots: Iterable[int]) -> list[Process]:
    """Give these processes and all their descendants that run, parents first.

    A server or node started inside a job is left out with all below it: it
    serves other jobs.
    """
    found: dict[int, Process] = {}
    pending = list(roots)
    while pending:
        pid = pending.pop(0)
        process = look(pid) if pid not in found else None
        if process is None or is_daemon(environment(pid)):
            continue
        found[pid] = process
        pending += children(pid)
    return [process for process in found.values() if process.lives]


def is_daemon(env: dict[bytes, bytes]) -> bool:
    """Tell a server or a node by its environment; no process of a job is one."""
    return env.get(DAEMON) in (b"server", b"node") and TOKEN not in env


def with_tokens(prefix: str) -> dict[str, list[Process]]:
    """Find every running process whose job token starts with `prefix`.

    Reads the whole process table (12 ms at 400 processes): for escalation and
    recovery, not for each job.

    Returns:
        Token to its processes; daemons are left out.
    """
    found: dict[str, list[Process]] = {}
    wanted = prefix.encode()
    for pid in _all_pids():
        env = environment(pid)
        token = env.get(TOKEN, b"")
        if not token.startswith(wanted) or is_daemon(env):
            continue
        process = look(pid)
        if process is not None and process.lives:
            found.setdefault(token.decode("utf-8", "replace"), []).append(process)
    return found


def _all_pids() -> list[int]:
    if not HAS_PROC:
        import psutil

        return psutil.pids()
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def send(process: Process, number: int) -> bool:
    """Send a signal to this very process, never to another that got its pid.

    Returns:
        False when it is gone, or not ours to signal.
    """
    try:
        if not hasattr(os, "pidfd_open"):
            if not is_same(process.pid, process.ticks):
                return False
            os.kill(process.pid, number)
            return True
        fd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # looked at after the pidfd is open: from here on the pid cannot change hands
        if not is_same(process.pid, process.ticks):
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def memory_mib(processes: Iterable[Process], *, limit_mib: float = 0.0) -> float:
    """Measure the memory that processes hold together.

    Shared pages are counted once (proportional set size) where the kernel
    tells; but while even the plain sum is below `limit_mib` that is enough,
    and much cheaper.
    """
    pids = [process.pid for process in processes]
    plain = sum(_resident(pid) for pid in pids) / _MIB
    if plain <= limit_mib:
        return plain
    return sum(_proportional(pid) for pid in pids) / _MIB


def _resident(pid: int) -> int:
    if HAS_PROC:
        fields = _read(f"/proc/{pid}/statm").split()
        return int(fields[1]) * _PAGE if len(fields) > 1 else 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return 0


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)


def become_subreaper() -> bool:
    """Have orphans below this process become its children, where the kernel can."""
    if sys.platform != "linux":
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def ask_for_short_turns(pid: int) -> None:
    """Ask the kernel to run a process soon after it wakes, for a short while at a time.

    Of programs of equal rank the one with the shorter slice goes first (EEVDF,
    Linux 6.12 and later; others take no notice).  It has no more of the
    processor than before, and what it starts has the usual slice.
    """
    call = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine)  # sched_setattr
    try:
        nice = os.getpriority(os.PRIO_PROCESS, pid)
        if sys.platform != "linux" or call is None or sys.maxsize < 2**32:
            return
        if nice < 0 or os.sched_getscheduler(pid) != os.SCHED_OTHER:
            return  # of another rank: somebody wanted that
    except OSError:
        return
    import ctypes

    # size, policy, flags (SCHED_FLAG_RESET_ON_FORK), nice, priority, slice in ns, deadline, period
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 1, nice, 0, _SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(call, pid, attributes, 0)


class Children:
    """The direct children of this process, cheap enough to read at every exit."""

    def __init__(self) -> None:
        self._fd = -1
        if HAS_PROC:
            path = Path(f"/proc/self/task/{os.getpid()}/children")
            with contextlib.suppress(OSError):  # a kernel without it: walk the table instead
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> list[int]:
        """Give their pids, zombies too."""
        if self._fd < 0:
            return _children_by_psutil(os.getpid())
        data = b""
        while piece := os.pread(self._fd, 1 << 16, len(data)):
            data += piece
        return [int(pid) for pid in data.split()]

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
