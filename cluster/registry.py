"""The cluster jobs that were submitted from here: one small file each, found by any process.

A scheduler forgets a job minutes after its end, and never knew where our files
of it are.  This remembers both: written once the job has its id, and once more
when its end is known.  It asks no scheduler, and decides nothing.

    <state directory>/clusters/<qtype>/<id>.json
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase

import msgspec

from cluster import files
from cluster.local import places
from cluster.local.wire import JobInfo
from cluster.states import FINAL

__all__ = ["Element", "Entry", "Registry"]

DAY_S = 86400.0
_PRUNED = ".pruned"  # its time is that of the last pruning


class Element(msgspec.Struct, frozen=True, array_like=True):
    """How one element of an array ended: what no record in a file says."""

    index: int
    state: str
    exitcode: int | None = None
    signal: int = 0
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    host: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One submitted job.

    Attributes:
        info: what was asked for; with a final state, how it ended.
        mark: the unique word of its submission.
        repeated: when that was repeated because its answer was lost; 0 it was not.
        submission: path of the script that was submitted.
        record: path of its exit record; an element's has `.<index>` behind it.
        result: path of a function's result, the same; empty for a command.
        stdout, stderr: paths; `{index}` stands for the place of an element.
        cwd: where it starts.
        words: the program and its arguments, or shell text; of a function, what it calls.
        arguments: the user's own for the submitting program.
        array: indices, (start, count, step); empty for a single job.
        indices: indices that no start and step describe.
        on_unsatisfiable: what becomes of it when a dependency can never hold.
        superseded: by id of it or its elements, the record that no longer counts:
            attempt, start and end of what was requeued since.
        absent: since when neither the queue nor the books know it; 0 they do.
        cancelled: what of it somebody here cancelled: its id, ids of elements.
        elements: of an array that has ended.
    """

    info: JobInfo
    mark: str = ""
    repeated: float = 0.0
    submission: str = ""
    record: str = ""
    result: str = ""
    stdout: str = ""
    stderr: str = ""
    cwd: str = ""
    words: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    array: tuple[int, ...] = ()
    indices: tuple[int, ...] = ()
    on_unsatisfiable: str = "cancel"
    superseded: dict[str, tuple[int, float, float]] = {}
    absent: float = 0.0
    cancelled: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()

    @property
    def id(self) -> str:
        """The id of the whole job."""
        return self.info.id

    @property
    def is_final(self) -> bool:
        """Whether its end is known."""
        return self.info.state in FINAL

    def places(self) -> tuple[int, ...]:
        """List the indices of an array; empty for a single job."""
        if self.array:
            start, count, step = self.array
            return tuple(range(start, start + count * step, step))
        return self.indices


def _encode(entry: Entry) -> bytes:
    # The standard library's: a path that is no UTF-8 has surrogates, and must not be lost.
    return json.dumps(msgspec.to_builtins(entry)).encode("ascii")


def _decode(data: bytes) -> Entry:
    return msgspec.convert(json.loads(data), Entry)


class Registry:
    """What is remembered of the jobs of one scheduler.

    Args:
        qtype: its name.
        directory: where; None is in the user's state directory.
    """

    def __init__(self, qtype: str, directory: str | None = None) -> None:
        self._qtype, self._given = qtype, directory

    @property
    def directory(self) -> str:
        """Where the files are; it is made when it is missing."""
        if self._given is not None:
            path = self._given
        else:
            path = os.path.join(_state_dir(), "clusters", self._qtype)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def _path(self, id: str) -> str:
        return os.path.join(self.directory, f"{files.safe_stem(id)}.json")

    def remember(self, entry: Entry) -> None:
        """Write what is known of a job, whole or not at all."""
        files.write_atomic(self._path(entry.id), _encode(entry), mode=0o600)

    def recall(self, id: str) -> Entry | None:
        """Give a job by its id; None if it was not submitted from here."""
        return _read(self._path(id))

    def forget(self, id: str) -> None:
        """Remove a job's file."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(id))

    def entries(self, *, name: str = "*", since: float = 0.0) -> Iterator[Entry]:
        """Give jobs, in no order.

        Args:
            name: a pattern, as of file names.
            since: only those written since then, seconds since the epoch.
        """
        with os.scandir(self.directory) as found:
            names = [e.path for e in found if e.name.endswith(".json") and _mtime(e) >= since]
        for path in names:
            entry = _read(path)
            if entry is not None and fnmatchcase(entry.info.name, name):
                yield entry

    def prune(self, days: float, *, now: float | None = None) -> int:
        """Drop jobs that ended more than `days` ago; tell how many.

        It looks at most once a day: others may call it as often as they like.
        """
        now = time.time() if now is None else now
        mark = os.path.join(self.directory, _PRUNED)
        with suppress(FileNotFoundError):
            if now - os.stat(mark).st_mtime < DAY_S:
                return 0
        with open(mark, "w"):
            os.utime(mark, (now, now))
        old = [
            entry.id
            for entry in self.entries()
            if entry.is_final and 0 < entry.info.ended < now - days * DAY_S
        ]
        for id in old:
            self.forget(id)
        return len(old)


def _state_dir() -> str:
    # Of the user, not of this machine: the login nodes of a cluster share it.
    path = places.state_dir()
    return path if os.environ.get("CLUSTER_STATE_DIR") else os.path.dirname(path)


def _mtime(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # another process has just pruned it
        return 0.0


def _read(path: str) -> Entry | None:
    try:
        with open(path, "rb") as file:
            return _decode(file.read())
    except (FileNotFoundError, ValueError, msgspec.ValidationError):
        return None  # of another version: the scheduler may still know the job
