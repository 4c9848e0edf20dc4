"""Jobs that were on their way to a scheduler when the program that submitted them was killed.

    begin -> submit -> remember -> done
          ^ killed here: `settle` finds out by the mark whether the job was taken

A file for each in the registry's directory says who submits what.  Nobody else
touches it while that program lives.
"""

from __future__ import annotations

import glob
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec

from cluster.errors import OptionsError, ServerUnavailable
from cluster.registry import Entry, Registry, _encode, _read
from cluster.schedulers import exit_record

__all__ = ["begin", "settle"]

# A program that submits goes on when ours is killed.  So long after it was begun, a
# submission that the scheduler does not show was not made.
ARRIVES_S = 10.0
LOOK_S = 2.0  # until then it is looked for so often
FORGOTTEN_S = 86400.0  # of another machine nobody knows who lives there
_ENDING = ".begun"


class _Begun(NamedTuple):
    path: str
    entry: Entry
    pid: int
    host: str

    @property
    def is_ours(self) -> bool:
        return self.host == platform.node()

    @property
    def goes_on(self) -> bool:
        """Whether the program that submits it may still be at it."""
        if not self.is_ours:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def begin(registry: Registry, entry: Entry) -> Iterator[None]:
    """Write down that a job is submitted in this block, as long as that is not certain.

    Args:
        registry: in its directory.
        entry: what will be remembered; it has no id yet.
    """
    name = f"{entry.mark}.{os.getpid()}.{platform.node()}{_ENDING}"
    path = os.path.join(registry.directory, name)
    with suppress(OSError), open(path, "wb") as file:  # the registry will complain, later
        file.write(_encode(entry))
    try:
        yield
    except (OptionsError, ServerUnavailable):
        _forget(path)  # it was refused
        raise
    _forget(path)


def settle(registry: Registry, find: Callable[[str], str], *, now: Callable[[], float]) -> None:
    """Remember the jobs that were taken though nobody lived to write that down.

    Args:
        registry: whose jobs.
        find: gives the id of the job with a mark; "" if the scheduler shows none.
        now: seconds since the epoch.

    Raises:
        QueueError: the scheduler cannot be asked.
    """
    for begun in list(_all(registry)):
        if begun.goes_on:
            continue
        began = begun.entry.info.submitted
        id = find(begun.entry.mark) or _recorded(begun.entry)
        looks = math.ceil((began + ARRIVES_S - now()) / LOOK_S) if begun.is_ours else 0
        while not id and looks > 0:
            time.sleep(LOOK_S)
            looks -= 1
            id = find(begun.entry.mark) or _recorded(begun.entry)
        if id:
            if registry.recall(id) is None:
                info = msgspec.structs.replace(begun.entry.info, id=id)
                registry.remember(msgspec.structs.replace(begun.entry, info=info))
            _forget(begun.path)
        elif begun.is_ours or now() > began + FORGOTTEN_S:
            _forget(begun.path)


def _all(registry: Registry) -> Iterator[_Begun]:
    for path in sorted(glob.glob(os.path.join(glob.escape(registry.directory), f"*{_ENDING}"))):
        mark, pid, host = os.path.basename(path).removesuffix(_ENDING).split(".", 2)
        entry = _read(path)
        if entry is not None and entry.mark == mark and pid.isdigit():
            yield _Begun(path, entry, int(pid), host)


def _recorded(entry: Entry) -> str:
    """Give the id that a job left in its exit record: the scheduler forgets what has ended."""
    for path in [entry.record, *sorted(glob.glob(f"{glob.escape(entry.record)}.*"))]:
        data = exit_record._read_own(path)
        found = exit_record.parse(data) if data is not None else None
        if found is not None and found.end >= entry.info.submitted - exit_record.SKEW_S:
            return found.job
    return ""


def _forget(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
