"""Which process is the server of a queue: the one that holds the lock.

The lock is the kernel's (flock), so it ends with its holder and a stopped
holder keeps it: nobody is ever robbed.  What is written in the file is for
people, and for one question: did another machine hold it?  The file is never
removed, since a second file of that name could have a second holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import NamedTuple

from cluster.errors import ServerUnavailable
from cluster.local.places import Host, host

__all__ = ["Election", "Holder", "filesystem_of", "filesystem_type", "holder"]

_ELSEWHERE = "Set CLUSTER_STATE_DIR to a directory on a local disk."
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO}
# File systems that several machines see at once; there, a name in the lock matters.
_SHARED = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "afs", "glusterfs")


class Holder(NamedTuple):
    """Who wrote the lock file last."""

    host: str
    boot_id: str
    pid: int


def holder(state_dir: str) -> Holder | None:
    """Read who holds, or held, the lock; None when nobody says so."""
    try:
        with open(os.path.join(state_dir, "lock"), encoding="utf-8", errors="replace") as file:
            name, boot_id, pid = file.read(1024).split()
        return Holder(name, boot_id, int(pid))
    except (OSError, ValueError):
        return None


class Election:
    """One attempt, and then the office, of being the server of `state_dir`.

    Args:
        state_dir: the queue's directory.
        us: this machine, as `places.host()` says.
    """

    def __init__(self, state_dir: str, us: Host | None = None) -> None:
        self._state_dir, self._path = state_dir, os.path.join(state_dir, "lock")
        self._us = us or host()
        self._fd = -1

    def won(self) -> bool:
        """Try once to become the server; False: somebody else is.

        Raises:
            ServerUnavailable: locks do not work on this file system, or another
                machine that shares it may be the server.
        """
        while self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o600)
            try:
                if not self._locked(fd):
                    os.close(fd)
                    return False
                if not _is_named(fd, self._path):
                    os.close(fd)  # it was replaced between open and lock: try the new one
                    continue
                self._sign(fd)
            except BaseException:
                with suppress(OSError):
                    os.close(fd)
                raise
            self._fd = fd
        return True

    def _locked(self, fd: int) -> bool:
        # Not `filelock`: it takes 15 ms to import, a tenth of a cold start, and this
        # lock must be on the descriptor that is compared with the path later.
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            kind = filesystem_of(self._state_dir)
            raise ServerUnavailable(
                f"files cannot be locked in {self._state_dir} (file system {kind}: "
                f"{error.strerror}), so two servers could not be told apart. {_ELSEWHERE}"
            ) from error

    def _sign(self, fd: int) -> None:
        before = holder(self._state_dir)
        if before is not None and before.host != self._us.name:
            kind = filesystem_of(self._state_dir)
            if kind in _SHARED:
                raise ServerUnavailable(
                    f"the queue in {self._state_dir} was left by process {before.pid} of machine "
                    f"{before.host}, which shares this directory ({kind}). Stop it there with "
                    f"`cluster local stop`, or give each machine its own. {_ELSEWHERE}"
                )
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{self._us.name} {self._us.boot_id} {os.getpid()}\n".encode(), 0)

    def still_ours(self) -> bool:
        """Tell whether the file we locked is still the one others would lock.

        Once this is False (a cleaner removed it), another server may be
        elected: the holder must leave at once.
        """
        return self._fd >= 0 and _is_named(self._fd, self._path)

    def resign(self) -> None:
        """Give the office up; the next candidate can win it."""
        if self._fd >= 0:
            with suppress(OSError):  # a full disk must not keep the lock
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _is_named(fd: int, path: str) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def filesystem_of(path: str) -> str:
    """Find the type of the file system that holds `path`; `unknown` where none is told."""
    return filesystem_type(path, _mounts())


def _mounts() -> str:
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def filesystem_type(path: str, mounts: str) -> str:
    """Find the type of the file system that holds `path` in the text of /proc/self/mounts."""
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount covers an earlier one
            best, kind = point, fields[2]
    return kind
