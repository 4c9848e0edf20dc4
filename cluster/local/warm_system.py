"""What a warm parent asks of the system: a fork that gives its child away, and a clean start.

Loaded by content like `warm.py`, so standard library only.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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
    tid = ctypes.byref(ctypes.c_int.from_address(tid_at.value))
    # CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT | CLONE_PIDFD | SIGCHLD
    flags = 0x01200000 | 0x8000 | 0x1000 | signal.SIGCHLD
    last = (tid, 0) if call == 56 else (0, tid)  # arm64 swaps tls and child_tid
    # Small ints and what byref() gives are passed as they are; anything else is
    # wrapped at each call, and both processes pay for the pages of the wrapper.
    args = (call, flags, 0, ctypes.byref(pidfd), *last)

    def fork() -> tuple[int, int]:
        pid: int = syscall(*args)
        if pid < 0:
            number = errno_at.contents.value
            raise OSError(number, os.strerror(number))
        return (pid, pidfd.value) if pid else (0, -1)

    return fork


def places_of(libc: Any, names: Iterable[bytes], content: bytes) -> dict[bytes, memoryview]:
    """Find where environment variables stand, in the block that /proc/PID/environ shows.

    As memoryviews, for a call through ctypes costs a job 25 pages.  Only those
    that are there with this content.
    """
    import ctypes

    libc.getenv.restype = ctypes.c_void_p
    found = {}
    for name in names:
        at = libc.getenv(name)
        if at and ctypes.string_at(at, len(content)) == content:
            found[name] = memoryview((ctypes.c_char * len(content)).from_address(at)).cast("B")
    return found


POOL_SIZE, POOL_HEADER = 16384, 48  # of CPython's allocator (Objects/obmalloc.c), from 3.10 on
IN_ORDER = 4  # blocks one after the other, from its beginning on, tell a new pool from holes
LARGEST = 512  # larger blocks come from malloc
MOST = 1 << 17  # bytes of one size: where another allocator is in use, no new pool ever begins

filling: list[Any] = []


def fill_pools() -> None:
    """Use up the free blocks between objects, so that the next objects stand side by side.

    A child pays for each page that it writes to.  What is allocated together
    after this is on few pages, where it would have gone into holes all over the
    heap.  The fillers are kept for ever.
    """
    for size in range(16, LARGEST + 1, 16):
        near, last, in_order = IN_ORDER * size, 0, 0  # near: these loops need blocks too
        for number in range(MOST // size):
            filler = _object_of(size, number)
            filling.append(filler)
            at = id(filler)
            if in_order and 0 < at - last <= near:
                in_order += 1
            else:
                in_order = int(at % POOL_SIZE - POOL_HEADER < near)
            if in_order == IN_ORDER:
                break
            last = at


def _object_of(size: int, number: int) -> Any:
    """Make an object that takes a block of so many bytes."""
    if size == 16:
        return object()
    if size == 32:
        return (1 << 59) + number
    return bytes(size - 33)


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
    for name in set(os.environb) - set(original):
        del os.environb[name]
    for name, value in original.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def why_not_on(core: int) -> str:
    """Run on this core only from now on; if that cannot be, say why."""
    try:
        os.sched_setaffinity(0, (core,))
    except (AttributeError, OSError) as error:
        return f"it cannot run on core {core}: {error}"
    return ""


def affinity() -> tuple[int, ...]:
    """Give the cores that this process may run on; none where it may not choose among them."""
    try:
        cores = tuple(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError):
        return ()
    return cores


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
