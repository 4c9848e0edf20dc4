"""The program inside a warm parent: one fresh process per function job.

Python and cloudpickle are loaded here once; a job is a fork of this process.
It is run by content, in the submitter's interpreter, which may have nothing of
ours installed: standard library only.  Each module imported here makes every
fork dearer.  It never runs code of a user; its children do.

    here --clone(CLONE_PARENT)--> a child that waits
    node --request--> that child --spawned--> node
                              \\--its seat---> here: the next child, please

A few children are forked ahead and wait for a request themselves, on one
channel that they share; it keeps messages apart, so one of them has it whole.
Who takes a request says "spawned" before anything else, and leaves if it
cannot.  So when every copy of this end is closed, a request without that
answer has not been run, and the node may give it to another warm parent.  No
other case is told apart: if a child dies while it waits, with a request in its
hand or without, this process leaves too, and the channel comes to its end.

Most of what a job costs is memory pages: each one that it writes to, were it
only a reference count, is copied (2.5 us).  Hence the odd economies below.
"""

from __future__ import annotations

import _socket
import gc
import os
import signal
import sys
import time
from gc import enable as enable_gc
from marshal import dumps, loads

# By name: to look into a module costs a job the pages of the module, its dict and more.
from os import _exit, chdir, close, dup2, fsdecode, getpid, putenv, setsid, umask, unsetenv
from os import open as open_file
from os import write as write_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any, NoReturn

MARSHAL = 2  # every Python writes and reads it; the node's may be another than ours
MAX_MESSAGE = 64 * 1024  # a larger request comes as a file descriptor
# The token of a warm parent, and what else each job has of its own, is replaced in
# place: setenv() costs a job 16 pages.
PLACEHOLDER = b"-" * 64
TOKEN = b"CLUSTER_JOB_TOKEN"
PLACED = (TOKEN, b"CLUSTER_JOB_ID", b"CLUSTER_JOB_NAME", b"CLUSTER_RAW_ID")
DRY_RUNS = 20
MINOR = b"%d" % sys.version_info[1]
ANCILLARY = _socket.CMSG_SPACE(4)  # room for one descriptor
SEATS = 2  # children that wait; one more is forked as soon as one of them has a request
FILE_FLAGS = os.O_CLOEXEC | os.O_NOCTTY
RESTLESS_MS = 2  # with no request by then, there is time to have pages copied beforehand
ANY_CORE = -1
FORK_TRIES, FORK_PAUSE_S = 10, 0.05  # a full process table is often a matter of a moment

runner: ModuleType
run_call: Callable[..., int]  # of it
leave: Callable[[int], NoReturn]
system: ModuleType  # warm_system.py
channel: _socket.socket
token: memoryview | None = None  # ours, in the block that /proc/PID/environ shows
places: dict[bytes, memoryview] = {}  # of variables there
spare_fds: tuple[int, ...] = ()  # what a job must not inherit
variables: dict[bytes, bytes]  # behind os.environ
libc: Any = None
main_thread: Any = None  # threading's, if that is loaded
random: Any = None  # the module, if it is loaded
own_path: list[str] = []  # where this interpreter looks for modules by itself


def _after_fork() -> None:
    """Do what at-fork handlers do, or should do, and somebody could notice."""
    if main_thread is not None:
        main_thread._native_id = getpid()
    if random is not None:
        random.seed()


# ---------------------------------------------------------------- the job


def _job(request: tuple[Any, ...], taken: tuple[int, bytes] = (-1, b"")) -> NoReturn:
    """Become the process that `request` describes, then run its call.

    Args:
        taken: what to write to which descriptor once the node knows.
    """
    job, attempt, token_, payload, payload_file, sys_path, result = request[:7]
    if token is not None:  # first: whoever looks for this job's processes shall find it
        token[:] = token_.ljust(len(PLACEHOLDER), b"\0")
    _send(("spawned", job, attempt, getpid()))
    if taken[1]:
        _tell(*taken)
    try:
        setsid()
        _become(*request[7:])
        if payload_file:
            os.stat(payload_file)
    except OSError as error:
        what = _name(error.filename) or "a call of the system"
        _send(("failed", job, attempt, f"{what}: {error.strerror}"))
        _exit(1)
    except _Unfit as unfit:
        _send(("failed", job, attempt, str(unfit)))
        _exit(1)
    close(channel.detach())  # else the object would one day close a descriptor of the job
    if sys_path is not None:
        _set_path(sys_path)
    enable_gc()
    call = fsdecode(payload_file) if payload_file else payload
    leave(run_call(call, result, job=job, attempt=attempt))


def _set_path(paths: Iterable[bytes]) -> None:
    """Look for modules where the submitter does; of another Python's libraries, in our own."""
    places = [os.fsdecode(path) for path in paths]
    fitting = [place for place in places if _minor_of(place) in (b"", MINOR)]
    if len(fitting) < len(places):
        fitting += [place for place in own_path if place not in fitting]
    sys.path[:] = fitting


def _minor_of(place: str) -> bytes:
    """Give the version in `/usr/lib/python3.11/site-packages`: 11; empty if there is none."""
    _, found, behind = os.fsencode(place).rpartition(b"/python3.")
    number = behind.partition(b"/")[0]
    return number if found and number.isdigit() else b""


class _Unfit(Exception):
    """The process cannot be made as asked; the text says why."""


def _become(
    cwd: bytes,
    mask: int,
    set_: dict[bytes, bytes],
    unset: tuple[bytes, ...],
    stdout: tuple[bytes, int],
    stderr: tuple[bytes, int],
    cpus: tuple[int, ...],
) -> None:
    umask(mask)
    try:
        chdir(cwd)
    except OSError as error:
        raise _Unfit(
            f"the working directory {_name(cwd)} cannot be entered: {error.strerror}"
        ) from None
    if cpus:
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as error:
            raise _Unfit(f"it cannot run on cores {list(cpus)}: {error.strerror}") from None
    _open_as(1, *stdout)
    if stderr[0] == stdout[0]:
        dup2(1, 2)
    else:
        _open_as(2, *stderr)
    # What os.environb[name] = value does, without the calls around it.
    for name in unset:
        unsetenv(name)
        del variables[name]
    for name in set_:
        value = variables[name] = set_[name]
        place = places.get(name)
        if place is None or len(value) >= len(PLACEHOLDER):
            putenv(name, value)
        else:
            place[:] = value.ljust(len(PLACEHOLDER), b"\0")
    if b"TZ" in set_ or b"TZ" in unset:
        time.tzset()


def _open_as(fd: int, path: bytes, flags: int) -> None:
    try:
        opened = open_file(path, flags | FILE_FLAGS, 0o666)
    except OSError as error:
        raise _Unfit(f"{_name(path)} cannot be opened for writing: {error.strerror}") from None
    dup2(opened, fd)
    close(opened)


def _name(path: Any) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace") if path is not None else ""


# ---------------------------------------------------------------- the channel


def _tell(waker: int, seat: bytes) -> None:
    """Ask for a child to wait in our place."""
    try:
        write_to(waker, seat)
    except OSError:  # the warm parent is gone
        return
    finally:
        close(waker)


def _send(message: tuple[Any, ...]) -> None:
    """Tell the node; without a node there is nothing to do here."""
    try:
        channel.send(dumps(message, MARSHAL))
    except OSError:
        _exit(1)


def _receive() -> tuple[Any, ...] | None:
    """Give the next request; None at the end of the channel."""
    try:
        data, ancillary, _, _ = channel.recvmsg(MAX_MESSAGE, ANCILLARY)
    except ConnectionError:  # the node went with answers of ours unread
        return None
    if not data:
        return None
    if ancillary:
        fd = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        with open(fd, "rb", buffering=0) as file:
            file.seek(0)
            data = file.read()
    message: tuple[Any, ...] = loads(data)
    return message


def _serve_by_clone(clone: Callable[[], tuple[int, int]], idle_s: float) -> None:
    """Keep children waiting until nobody wants any, or one of them dies.

    Raises:
        OSError: the system would not make a process.
    """
    import select

    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    poll, requests = select.poll(), select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(channel.fileno(), select.POLLRDHUP)
    poll.poll(0)  # what the loader looks up at a first call is not looked up by each child
    requests.register(channel.fileno(), select.POLLIN)
    words = [bytes((seat,)) for seat in range(SEATS)]
    pidfds = [-1] * SEATS  # of who waits on each seat
    rehearsal = runner.a_call()

    def wait(seat: int) -> NoReturn:
        for fd in (wake, *spare_fds, *pidfds):
            if fd >= 0:
                close(fd)
        _after_fork()
        if not requests.poll(RESTLESS_MS):
            runner.finish(run_call(rehearsal, b"/dev/null"))
        request = _receive()
        if request is None:
            _exit(0)
        _job(request, (waker, words[seat]))

    idle_ms = idle_s * 1000
    taken: Iterable[int] = range(SEATS)
    while True:
        for seat in taken:
            old, pidfds[seat] = pidfds[seat], -1
            if old >= 0:
                os.close(old)
            try:
                pid, pidfd = clone()
            except OSError:
                pid, pidfd = _try_again(clone)
            if not pid:
                try:
                    wait(seat)
                finally:
                    os._exit(1)  # never into the code of a warm parent
            pidfds[seat] = pidfd
            if pidfd != old:  # as a rule it has the number that was just closed
                if old >= 0:
                    poll.unregister(old)
                poll.register(pidfd, select.POLLIN)
        poll.poll(idle_ms)
        try:
            taken = os.read(wake, SEATS)
        except BlockingIOError:  # idle, or the node went, or a child died that had not taken any
            return


def _try_again(fork: Callable[[], Any]) -> Any:
    """Call `fork`, until the system has room for a process."""
    for _ in range(FORK_TRIES - 1):
        try:
            return fork()
        except OSError:
            time.sleep(FORK_PAUSE_S)
    return fork()


def _serve_by_fork(idle_s: float) -> None:
    """Fork jobs, reap them and report how they ended, until nobody wants any."""
    import select

    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(channel.fileno(), select.POLLIN)
    running: dict[int, tuple[int, int]] = {}

    def fork() -> int:
        pid = os.fork()
        if not pid:
            _after_fork()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (*spare_fds, wake, waker):
                os.close(fd)
        return pid

    while True:
        ready = poll.poll(idle_s * 1000)
        if not ready and not running:
            return
        fds = {fd for fd, _ in ready}
        if wake in fds:
            os.read(wake, 4096)
            _report_ends(running)
        if channel.fileno() in fds:
            request = _receive()
            if request is None:
                return
            try:
                pid = _try_again(fork)
            except OSError as error:
                reason = f"no process could be made for it: {error.strerror}"
                _send(("failed", *request[:2], reason))
                continue
            if not pid:
                try:
                    _job(request)
                finally:
                    os._exit(1)
            running[pid] = request[:2]


def _report_ends(running: dict[int, tuple[int, int]]) -> None:
    while running:
        # Told before it is reaped: if we die in between, its status is not lost with us.
        seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return
        number = seen.si_status
        told = number << 8 if seen.si_code == os.CLD_EXITED else number
        _send(("dying", seen.si_pid, told))
        pid, status, usage = os.wait4(seen.si_pid, 0)
        job, attempt = running.pop(pid, (0, 0))
        times = (usage.ru_utime, usage.ru_stime, usage.ru_maxrss)
        _send(("reaped", job, attempt, pid, status, *times))


# ---------------------------------------------------------------- start


def main(
    runner_module: ModuleType,
    system_module: ModuleType,
    fd: int,
    idle_s: float,
    fork: str,
    core: int,
    sys_path: list[str],
) -> NoReturn:
    """Get ready, say so, serve.

    `fork` is "os" for os.fork, else the best there is; `core` that of all our jobs, or ANY_CORE.
    """
    global runner, run_call, leave, system, channel, variables, libc, token, places, spare_fds
    global main_thread, random, own_path
    runner, system, channel = runner_module, system_module, _socket.socket(fileno=fd)
    run_call, leave, variables = runner.run_call, runner.leave, vars(os.environ)["_data"]
    os.set_inheritable(fd, False)
    if os.getsid(0) != os.getpid():
        os.setsid()
    system.be_the_first_victim()
    if core != ANY_CORE and (reason := system.why_not_on(core)):
        _send(("broken", reason))
        os._exit(1)
    own_path = list(sys.path)
    if sys_path:
        _set_path(map(os.fsencode, sys_path))
    try:
        import cloudpickle  # noqa: F401
    except ImportError as error:
        where = "" if error.name == "cloudpickle" else f" ({error})"
        text = f"cloudpickle is missing for {sys.executable}{where}: install it there"
        _send(("broken", f"{text} (pip install cloudpickle)"))
        os._exit(1)
    try:
        import ctypes
    except ImportError:  # a Python built without it
        clone = None
    else:
        libc = ctypes.PyDLL(None)  # without use_errno, which costs each fork more than its error
        fflush = libc.fflush
        vars(runner)["flush_c"] = lambda: fflush(None)
        places = system.places_of(libc, PLACED, PLACEHOLDER)
        token = places.get(TOKEN)
        clone = None if fork == "os" else system.raw_clone(libc)
    sys.argv = [""]
    main_thread = getattr(sys.modules.get("threading"), "_main_thread", None)
    if not hasattr(main_thread, "_native_id"):
        main_thread = None
    _take_over_logging()
    system.restore_environment()
    _rehearse()
    random = sys.modules.get("random")
    gc.collect()
    system.fill_pools()
    _forget_ourselves()
    gc.disable()
    gc.freeze()
    spare_fds = tuple(fd for fd in system.open_fds() if fd != channel.fileno())
    _send(("ready", os.getpid(), clone is not None))
    if clone is None:
        _serve_by_fork(idle_s)
    else:
        try:
            _serve_by_clone(clone, idle_s)
        except OSError as error:
            _send(("broken", f"no process could be made: {error.strerror}"))
    os._exit(0)


def _take_over_logging() -> None:
    """End logging by ourselves, at the same point, and only where a job used it.

    It registers an exit function when it is imported, and the mere call costs a
    job as much as the rest of its end.
    """
    import atexit

    logging = sys.modules.get("logging")
    if logging is None or atexit._ncallbacks() != 1:  # that one is logging's
        return
    atexit._clear()  # not unregister(): what that leaves still counts as one
    handlers = logging._handlerList
    at_first = list(handlers)

    def end_logging() -> None:
        if handlers != at_first:
            logging.shutdown()

    vars(runner)["end_logging"] = end_logging


def _forget_ourselves() -> None:
    """Leave `__main__` as bare as in a fresh interpreter."""
    names = vars(sys.modules["__main__"])
    for name in [name for name in names if not name.startswith("__")]:
        del names[name]


def _rehearse() -> None:
    """Go the way of a job: caches are filled here once instead of in each fork."""
    global channel
    null = (b"/dev/null", os.O_WRONLY)
    names = {b"CLUSTER_REHEARSAL%d" % number: b"%d" % number for number in range(20)}
    placed = dict.fromkeys(PLACED, b"1")
    request = (1, 1, PLACEHOLDER, runner.a_call(), b"", None, *null)
    keep = channel
    channel, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    log, sys_path, mask = os.dup(2), list(sys.path), umask(0o077)
    cpus = system.affinity()
    for _ in range(DRY_RUNS):
        far.send(dumps(request, MARSHAL))
        _, _, token_, call, _, _, result, _ = _receive() or request
        if token is not None:
            token[:] = token_.ljust(len(PLACEHOLDER), b"\0")
        _send(("spawned", 1, 1, getpid()))
        far.recv(100)
        _after_fork()
        _become(b"/", 0o077, names | placed, (), null, null, cpus)
        _set_path([os.fsencode(path) for path in sys_path])
        enable_gc()
        run_call(call, result, job=1, attempt=1)
        runner.finish(0)
        _become(b"/", mask, {}, tuple(names), null, null, ())
    for place in places.values():
        place[:] = PLACEHOLDER
    os.dup2(log, 2)
    os.close(log)
    far.close()
    channel.close()
    channel = keep
