"""The line that a cluster job leaves when its command has ended by itself.

    v=1 job=17 index=- attempt=1 code=0 start=1795247650 end=1795247655 host=n1

Written by the job's script (`cluster_scripts`), read here.  A job that was
ended from outside leaves none.  What cannot be trusted to be this job's own
record is as good as none: torn, somebody else's, of another job, of an attempt
before.  Nothing here decides what a job's state is.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

__all__ = ["ExitRecord", "parse", "path_of", "read", "signal_in"]

MAX_BYTES = 4096  # the line has about 100
SKEW_S = 120.0  # clocks of a cluster agree better than this, and attempts lie further apart
_SIGNALS = 64  # Linux has no more, and 255 is what ssh and many others fail with
_LINE = re.compile(
    r"v=1 job=(?P<job>\S+) index=(?P<index>-|\d+) attempt=(?P<attempt>\d+) code=(?P<code>\d+) "
    r"start=(?P<start>\d+) end=(?P<end>\d+) host=(?P<host>\S*)(?: unmet=(?P<unmet>\S+))?\n\Z",
    re.ASCII,
)


def signal_in(code: int | None) -> int:
    """Give the signal that an exit code stands for, as shells have it; 0 if it is none.

    No shell, and so no script of a cluster job, can tell `exit 137` from the end
    by signal 9.
    """
    return code - 128 if code is not None and 128 < code <= 128 + _SIGNALS else 0


@dataclass(frozen=True, kw_only=True)
class ExitRecord:
    """How a job ended.

    Attributes:
        job: id of the job, of the whole array for an element.
        index: place in the array; None outside one.
        attempt: 1, and one more for each time the scheduler ran it again.
        code: exit code of the command, 128 + n after signal n.
        start, end: seconds since the epoch, by the clock of the host.
        host: where it ran.
        unmet: "afterok:17" if the job did nothing, because this dependency can
            never hold any more.
    """

    job: str
    index: int | None
    attempt: int
    code: int
    start: float
    end: float
    host: str
    unmet: str = ""

    @property
    def signal(self) -> int:
        """The signal that ended the command; 0 if none did."""
        return signal_in(self.code)


def path_of(record: str, index: int | str | None = None) -> str:
    """Give the path of a job's record, or that of one element of an array.

    Args:
        record: as `cluster_scripts.Paths` has it, for the whole job.
        index: of the element; None or "" is the job itself.
    """
    return record if index in (None, "") else f"{record}.{index}"


def parse(data: bytes) -> ExitRecord | None:
    """Read a record; None if this is not a whole one."""
    match = _LINE.match(data.decode("utf-8", "surrogateescape"))
    if match is None or int(match["code"]) > 255:
        return None
    return ExitRecord(
        job=match["job"],
        index=None if match["index"] == "-" else int(match["index"]),
        attempt=int(match["attempt"]),
        code=int(match["code"]),
        start=float(match["start"]),
        end=float(match["end"]),
        host=match["host"],
        unmet=match["unmet"] or "",
    )


def read(
    path: str,
    *,
    job: str,
    index: int | None = None,
    attempt: int = 0,
    not_before: float = 0.0,
) -> ExitRecord | None:
    """Read the record of a job.

    Args:
        path: of the record, see `path_of`.
        job, index: whose it must be.
        attempt: an earlier one does not count; 0 takes any.
        not_before: when the attempt started, by the scheduler's clock; a record
            that began clearly earlier is of one before.

    Returns:
        None while there is none that counts.
    """
    data = _read_own(path)
    found = parse(data) if data is not None else None
    if found is None or (found.job, found.index) != (job, index):
        return None
    is_old = found.attempt < attempt or found.start < not_before - SKEW_S
    return None if is_old else found


def _read_own(path: str) -> bytes | None:
    """Read a plain file of this user; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb", buffering=0) as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            return None
        try:
            return file.read(MAX_BYTES)
        except OSError:  # of NFS: removed, or replaced, on the server meanwhile
            return None
