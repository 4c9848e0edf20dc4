"""What a warm parent asks of the system: a fork that gives its child away, and a clean start.

Loaded by content like `warm.py`, so standard library only.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def raw_clone(libc: Any) -> Callable[[], tuple[int, int]] | None:
    """Give a fork() whose child belongs to our parent, or None where there is none.

    The node then reaps jobs itself, and none of Python's at-fork handlers runs
    (they cost as much as the fork).  The child is told its thread id where
    glibc keeps it, as glibc's own fork does.  Wants a glibc that does not keep
    the pid (2.25), Linux 5.3, a known processor, and a process with one thread.

    It returns the pid and a pidfd; (0, -1) in the child.
    """
    call = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)
    if sys.platform != "linux" or call is None or sys.maxsize < 2**32:
        return None
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        known = tuple(int(part) for part in version.split(".")[:2])
        threads = len(os.listdir("/proc/self/task"))
    except (ValueError, OSError):
        return None
    if name != "glibc" or known < (2, 25) or threads != 1:
        return None
    import ctypes

    syscall = libc.syscall
    syscall.restype = ctypes.c_long
    tid_at = ctypes.c_void_p(0)
    libc.prctl(40, ctypes.byref(tid_at), 0, 0, 0)  # PR_GET_TID_ADDRESS
    pidfd = ctypes.c_int(syscall(434, os.getpid(), 0))  # pidfd_open: is there such a thing?
    if not tid_at.value or pidfd.value < 0:
        return None
    os.close(pidfd.value)
    libc.__errno_location.restype = ctypes.POINTER(ctypes.c_int)
    errno_at = libc.__errno_location()
    zero, tid = ctypes.c_long(0), ctypes.c_long(tid_at.value)
    # CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT | CLONE_PIDFD | SIGCHLD
    flags = ctypes.c_long(0x01200000 | 0x8000 | 0x1000 | signal.SIGCHLD)
    last = (tid, zero) if call == 56 else (zero, tid)  # arm64 swaps tls and child_tid
    args = (ctypes.c_long(call), flags, zero, ctypes.byref(pidfd), *last)

    def fork() -> tuple[int, int]:
        pid = int(syscall(*args))
        if pid < 0:
            number = errno_at.contents.value
            raise OSError(number, os.strerror(number))
        return (pid, pidfd.value) if pid else (0, -1)

    return fork


def be_the_first_victim() -> None:
    """Have the kernel end us and our jobs, when memory is short, before the node."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            if int(file.read()) < 500:
                file.seek(0)
                file.write("500")
    except (OSError, ValueError):  # not Linux, or not allowed
        return


def restore_environment() -> None:
    """Undo what Python's start and .pth files changed: jobs get a difference to the original."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
    except OSError:
        pairs = [(name, b"=", value) for name, value in os.environb.items()]
    original = {name: value for name, _, value in pairs}
    original.pop(b"CLUSTER_JOB_TOKEN", None)
    for name in set(os.environb) - set(original):
        del os.environb[name]
    for name, value in original.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def open_fds() -> tuple[int, ...]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            found = [int(name) for name in os.listdir(folder)]
        except OSError:
            continue
        return tuple(fd for fd in found if fd > 2 and _is_open(fd))
    return ()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # the one that listed the folder
        return False
    return True
