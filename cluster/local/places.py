"""Where a queue lives: its directory, its sockets, its mark, and that they are ours.

Everything of a queue is in one directory that nobody else may enter.  It is
made here, and refused here when somebody else could have prepared it.  Nothing
here starts or asks a process.  Imports are few on purpose: every program that
submits passes through here, and `platformdirs` alone would cost it 14 ms.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

from cluster.errors import ServerUnavailable
from cluster.local.digest import sha256

__all__ = ["Host", "host", "listen", "peer", "socket_path", "state_dir", "token"]

SOCKET_LIMIT = 100  # bytes; a socket's address holds 108 on Linux, 104 on macOS
BACKLOG = 512  # clients that may knock in one turn of the server
_ELSEWHERE = "Set CLUSTER_STATE_DIR to a directory of your own on a local disk."


class Host(NamedTuple):
    """This machine, since its last start."""

    name: str
    boot_id: str


def host() -> Host:
    """Name this machine and its last start; process ids mean nothing beyond either."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot_id = file.read().strip()
    except OSError:
        import psutil

        boot_id = f"boot-{int(psutil.boot_time())}"
    return Host(os.uname().nodename, boot_id)


def state_dir(configured: str = "") -> str:
    """Give the directory of the user's queue on this machine, made if missing.

    Args:
        configured: what the configuration says; `$CLUSTER_STATE_DIR` wins over
            it, the place that the system keeps for such state comes last.

    Returns:
        Its real path; only its owner, who is us, can enter it.

    Raises:
        ServerUnavailable: it cannot be made, or it is not safely ours.
    """
    chosen = os.environ.get("CLUSTER_STATE_DIR") or configured
    path = os.path.abspath(os.path.expanduser(chosen)) if chosen else _default_dir()
    try:
        _make(path)
        _own(path)
    except OSError as error:
        raise ServerUnavailable(
            f"the queue's directory {path} cannot be used: {error.strerror or error}. {_ELSEWHERE}"
        ) from error
    return os.path.realpath(path)


def _default_dir() -> str:
    if sys.platform == "linux":  # what platformdirs answers there, without importing it
        base = os.environ.get("XDG_STATE_HOME", "").strip()
        root = os.path.join(base or os.path.expanduser("~/.local/state"), "cluster")
    else:
        import platformdirs

        root = platformdirs.user_state_dir("cluster")
    return os.path.join(root, os.uname().nodename)


def _make(path: str) -> None:
    """Make a directory and its missing parents, each for us alone whatever the umask."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if parent == path:
            raise
        _make(parent)
        with suppress(FileExistsError):  # another process made it meanwhile
            os.mkdir(path, 0o700)


def _own(path: str, *, links: bool = True) -> None:
    """Refuse a directory that is not ours; close it to others when it is."""
    link = os.lstat(path)
    if stat.S_ISLNK(link.st_mode) and (not links or link.st_uid not in (os.getuid(), 0)):
        raise ServerUnavailable(
            f"{path} is a symbolic link made by user {link.st_uid}; it is not followed. "
            f"{_ELSEWHERE}"
        )
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        raise ServerUnavailable(f"{path} is not a directory. {_ELSEWHERE}") from None
    except PermissionError:
        raise ServerUnavailable(
            f"{path} belongs to user {os.stat(path).st_uid}, not to us. {_ELSEWHERE}"
        ) from None
    try:
        found = os.fstat(fd)
        if found.st_uid != os.getuid():
            raise ServerUnavailable(
                f"{path} belongs to user {found.st_uid}, not to us (user {os.getuid()}). "
                f"{_ELSEWHERE}"
            )
        if found.st_mode & 0o077:
            _close_to_others(path, fd, found.st_mode)
    finally:
        os.close(fd)


def _close_to_others(path: str, fd: int, mode: int) -> None:
    # CLUSTER_STATE_DIR=/tmp, said by root, must not close /tmp to everybody.
    names = os.listdir(fd)
    if mode & stat.S_ISVTX or (names and not {"lock", "server.sock", "run"} & set(names)):
        raise ServerUnavailable(
            f"{path} is open to other users and holds other files, so it cannot become the "
            f"queue's directory. Name an empty or a new one in CLUSTER_STATE_DIR."
        )
    os.fchmod(fd, 0o700)


def token(state_dir: str) -> str:
    """Give the mark that this queue's jobs carry: 16 hex digits."""
    return str(sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest())[:16]


def socket_path(state_dir: str, which: str) -> str:
    """Give the path at which a daemon of this queue listens.

    It is in the state directory unless that path is too long for a socket.
    Then it is in a short private directory, which `<state_dir>/run` points to,
    so that processes with other environments agree on it.

    Args:
        state_dir: as `state_dir()` gives it.
        which: "server" or "node".

    Raises:
        ServerUnavailable: the short directory belongs to somebody else.
    """
    path = os.path.join(state_dir, f"{which}.sock")
    if len(os.fsencode(path)) <= SOCKET_LIMIT:
        return path
    return os.path.join(_short_dir(state_dir), f"{which}.sock")


def _short_dir(state_dir: str) -> str:
    link = os.path.join(state_dir, "run")
    with suppress(OSError, ServerUnavailable):
        return _private_dir(os.readlink(link))
    runtime, mark = os.environ.get("XDG_RUNTIME_DIR", ""), token(state_dir)
    if len(os.fsencode(runtime)) <= 60 and os.path.isdir(runtime):
        with suppress(OSError, ServerUnavailable):
            return _publish(link, _private_dir(os.path.join(runtime, "cluster", mark)))
    short = os.path.join("/tmp", f"cluster-{os.getuid()}", mark)
    try:
        return _publish(link, _private_dir(short))
    except OSError as error:
        raise ServerUnavailable(
            f"no short directory for a socket: {short}: {error.strerror}. "
            f"Set CLUSTER_STATE_DIR to a path of less than 80 bytes."
        ) from error


def _private_dir(path: str) -> str:
    parent = os.path.dirname(path)
    for each in (parent, path):
        _make(each)
        _own(each, links=False)
    return path


def _publish(link: str, target: str) -> str:
    temporary = f"{link}.{os.getpid()}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    return os.readlink(link)  # two at once: both use what the later one wrote


def listen(state_dir: str, which: str) -> socket.socket:
    """Bind a daemon's socket, mode 0600, over a stale one.

    Only the process that holds the right to it (for the server: the lock) may
    call this: what lies there is taken for stale.
    """
    path = socket_path(state_dir, which)
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # from its first instant nobody else can connect
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def peer(connection: socket.socket) -> tuple[int, int]:
    """Tell who is at the other end, from the kernel: (process id, user id)."""
    if sys.platform == "linux":
        got = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", got)
    else:  # SOL_LOCAL 0, LOCAL_PEERPID 2, LOCAL_PEERCRED 1 (struct xucred: version, uid, ...)
        (pid,) = struct.unpack("i", connection.getsockopt(0, 2, 4))
        _, uid = struct.unpack("II", connection.getsockopt(0, 1, 8))
    return pid, uid
