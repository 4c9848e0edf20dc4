"""What a job is, after every text was parsed: the two halves of a request.

Pure data.  `JobSpec` is what a scheduler decides with; `Launch` is what the
process is made from.  They are apart because a queue of 100,000 jobs keeps the
first in memory and never looks into the second.

Everything that a user names (arguments, paths, environment) is *bytes*, as the
kernel keeps it: names that are not UTF-8 reach the job byte for byte.
Seconds are floats, memory is MiB as int; text with units ends in `options`.
"""

from __future__ import annotations

import msgspec

__all__ = ["ArraySpec", "Dependency", "JobSpec", "Launch"]

DEPENDENCY_TYPES = ("afterok", "afterany", "afternotok", "after")
UNSATISFIABLE = ("cancel", "pend", "release")


class Dependency(msgspec.Struct, frozen=True, array_like=True):
    """This job starts only once `job` has reached what `type` says.

    afterok: COMPLETED.  afterany: any final state.  afternotok: any final state
    but COMPLETED.  after: started (or ended without starting).
    On an array, all its elements are meant; `job` "17_3" is one element.
    """

    job: str
    type: str = "afterok"


class ArraySpec(msgspec.Struct, frozen=True, array_like=True):
    """Many jobs from one spec.

    Attributes:
        start, count, step: the indices start, start+step, ... (count of them).
        max_running: at most so many at once; 0 is no limit.
    """

    start: int
    count: int
    step: int = 1
    max_running: int = 0


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
        retries: run again so many times after a failure.
        requeue: run again when the machine lost it.
        namespace: jobs of an emulated scheduler see only each other; "" is the
            user's own.
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
    retries: int = 0
    requeue: bool = False
    array: ArraySpec | None = None
    namespace: str = ""
    comment: str = ""
    launch: msgspec.Raw = msgspec.Raw(b"\x80")
