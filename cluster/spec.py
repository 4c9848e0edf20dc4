"""What a job is, after every text was parsed: the two halves of a request.

Pure data.  `JobSpec` is what a scheduler decides with; `Launch` is what the
process is made from.  They are apart because a queue of 100,000 jobs keeps the
first in memory and never looks into the second.

Everything that a user names (arguments, paths, environment) is *bytes*, as the
kernel keeps it: names that are not UTF-8 reach the job byte for byte.
Seconds are floats, memory is MiB as int; text with units ends in `options`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

__all__ = ["ArraySpec", "Dependency", "JobSpec", "Launch", "fill", "place"]

DEPENDENCY_TYPES = ("afterok", "afterany", "afternotok", "after")
UNSATISFIABLE = ("cancel", "pend", "release")


class Dependency(msgspec.Struct, frozen=True, array_like=True):
    """This job starts only once `job` has reached what `type` says.

    afterok: COMPLETED.  afterany: any final state.  afternotok: any final state
    but COMPLETED.  after: started (or ended without starting).  aftercorr: of two
    arrays, each element waits for the one of its own index as with afterok; else
    the same as afterok.
    On an array, all its elements are meant; `job` "17_3" is one element.
    """

    job: str
    type: str = "afterok"


class ArraySpec(msgspec.Struct, frozen=True, array_like=True):
    """Many jobs from one spec.

    Attributes:
        start, count, step: the indices start, start+step, ... (count of them).
        max_running: at most so many at once; 0 is no limit.
        listed: the indices, rising, when no step makes them; then `start` and
            `count` fit them and `step` is 1.
    """

    start: int
    count: int
    step: int = 1
    max_running: int = 0
    listed: tuple[int, ...] = ()

    def indices(self) -> Sequence[int]:
        """Give the indices by position."""
        last = self.start + self.count * self.step
        return self.listed or range(self.start, last, self.step)


class Launch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the process of a job is made.

    A command has `argv`; a function has `payload` (or `payload_file` when the
    pickle is large) and the interpreter it was pickled by.

    Attributes:
        argv: program and arguments, never a shell's text.
        payload: pickle of `(function, args, kwargs)`, see `payload.py`.
        payload_file: path of the same, when it is too large for the queue.
        calls: what the payload calls, for people: `module.function`.
        python: path of the submitter's interpreter.
        python_version: `(major, minor)` that made the payload.
        cloudpickle_version: the cloudpickle that made it.
        sys_path: the submitter's import path.
        cwd, umask: as at submit.
        env: hash of the submitter's environment (sent once, kept once).
        env_set, env_unset: what this job changes in it.
        stdout, stderr: files that the user named; empty means the queue keeps
            the output.  The two being equal means one file for both.
        append: append to those files instead of truncating them.
        grace_s: seconds between SIGTERM and SIGKILL; None is the queue's.
        warn_signal, warn_before_s: send this signal so long before walltime.
        warn_first: send it to the first process only, not to its children.
        notes: written to the job's stderr when it is ended for a reason: "cancel",
            "walltime", "memory", "requeue"; the place "time" is when.
        scratch: a directory that is made for the process before its start, and
            removed with all that is in it when nothing of the job lives any more.
        soft_memory: its memory is set apart for it, but nobody enforces it.
        fills: `stdout`, `stderr`, `scratch`, `notes` and the values of `env_set` have places
            in them for what is known only when the job starts, see `fill`.  A
            variable that becomes empty by that is not set.
    """

    argv: tuple[bytes, ...] = ()
    payload: bytes = b""
    payload_file: bytes = b""
    calls: str = ""
    python: bytes = b""
    python_version: tuple[int, int] = (0, 0)
    cloudpickle_version: str = ""
    sys_path: tuple[bytes, ...] = ()
    cwd: bytes = b"/"
    umask: int = 0o022
    env: str = ""
    env_set: dict[bytes, bytes] = {}
    env_unset: tuple[bytes, ...] = ()
    stdout: bytes = b""
    stderr: bytes = b""
    append: bool = False
    grace_s: float | None = None
    warn_signal: int = 0
    warn_before_s: float = 0.0
    fills: bool = False
    warn_first: bool = False
    notes: dict[str, bytes] = {}
    scratch: bytes = b""
    soft_memory: bool = False


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the queue decides with.

    Attributes:
        name: for people and for `list --name`; no newline, no NUL.
        kind: "command" or "function".
        key: jobs with the same key (function or name) share learned run times.
        cores, memory_mib, gpus, resources: the need; memory 0 asks for none
            and has no limit.
        priority: larger starts earlier.
        hold: stay HELD until released.
        begin: seconds since the epoch before which it does not start; 0 none.
        walltime_s: enforced limit; 0 none.
        expect_s: believed run time for planning, never enforced; 0 unknown.
        on_unsatisfiable: what happens when a dependency can never hold any
            more: "cancel" the job, leave it "pend"ing, or "release" it.
        either: one dependency that holds is enough.
        retries: run again so many times after a failure.
        requeue: run again when the machine lost it.
        codes: what some exit codes mean: "requeue" runs it again, "hold" too but
            not before it is released; -1 is a start that failed.
        namespace: jobs of an emulated scheduler see only each other; "" is the
            user's own.
        extra: kept with the job for whoever submitted it, and shown to nobody else.
        launch: a `Launch`, encoded with msgpack; the server never reads it.
    """

    name: str
    kind: str = "command"
    key: str = ""
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    resources: dict[str, int] = {}
    priority: int = 0
    hold: bool = False
    begin: float = 0.0
    walltime_s: float = 0.0
    expect_s: float = 0.0
    dependencies: tuple[Dependency, ...] = ()
    on_unsatisfiable: str = "cancel"
    either: bool = False
    retries: int = 0
    requeue: bool = False
    array: ArraySpec | None = None
    namespace: str = ""
    comment: str = ""
    extra: bytes = b""
    codes: dict[int, str] = {}
    launch: msgspec.Raw = msgspec.Raw(b"\x80")


# A place is written between NULs, which no path and no variable can hold.
_PLACE = re.compile(rb"\0([a-z]+)(\d*)\0")


def place(name: str, width: int = 0) -> bytes:
    """Write a place that is filled when the job starts, see `Launch.fills`.

    Args:
        name: "job" (the raw id), "array" (the array's id, or the job's own),
            "index" (empty outside an array), "label" (the id that people see),
            "member" (the raw id, but the array's for its first element, and so on:
            schedulers with one number for each count so), "restarts" (how often it
            was started before), "again" (the same, empty the first time) or "host".
        width: a number gets zeros in front of it up to this width.
    """
    return b"\0%s%d\0" % (name.encode(), width) if width else b"\0%s\0" % name.encode()


def fill(text: bytes, values: Mapping[str, bytes]) -> bytes:
    """Put values into the places of a text; a place without a value becomes empty."""

    def value(match: re.Match[bytes]) -> bytes:
        found = values.get(match[1].decode(), b"")
        return found.zfill(int(match[2])) if match[2] and found.isdigit() else found

    return _PLACE.sub(value, text) if b"\0" in text else text
