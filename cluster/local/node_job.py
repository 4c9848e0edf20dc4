"""What the node knows of one attempt of one job."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from cluster.local import memory_limit, wire
from cluster.local.journal import Key
from cluster.local.loop import Timer
from cluster.local.memory_limit import Group
from cluster.local.processes import Process
from cluster.spec import Launch, fill


class Usage(Protocol):
    """What a reaped process used; `os.wait4` and the warm pool both give it."""

    @property
    def ru_utime(self) -> float: ...
    @property
    def ru_stime(self) -> float: ...
    @property
    def ru_maxrss(self) -> int: ...


@dataclass(slots=True, eq=False)
class Job:
    """One attempt of one job.

    Attributes:
        slot: -1 until it has one and is in the journal.
        out, err: where it writes; `named` are the files the user named.
        pid: 0 while it has no process.
        status: None while its first process, the leader, lives.
        why, reason: what ended it, as `wire.Exited` says.
        failed: why a function's process will end before it began.
        tries: how often no process could be had.
        killer: the next SIGKILL.
        outside: processes with its token that are not below the node.
    """

    key: Key
    order: wire.Start
    launch: Launch
    env: wire.Env
    slot: int = -1
    out: str = ""
    err: str = ""
    pid: int = 0
    status: int | None = None
    why: str = ""
    reason: str = ""
    failed: str = ""
    started: float = 0.0
    ended: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0
    tries: int = 0
    group: Group | None = None
    timers: list[Timer] = field(default_factory=list)
    killer: Timer | None = None
    outside: list[Process] = field(default_factory=list)

    @property
    def grace_s(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return self.order.grace_s if self.launch.grace_s is None else self.launch.grace_s

    @property
    def is_function(self) -> bool:
        """A function is forked from a warm parent, a command is spawned."""
        return not self.launch.argv

    @property
    def named(self) -> tuple[bytes, bytes]:
        """Absolute paths of the files that the user named for stdout and stderr, or empty."""
        launch = self.launch
        return (
            os.fsencode(self.out) if launch.stdout else b"",
            os.fsencode(self.err) if launch.stderr else b"",
        )

    def started_report(self) -> wire.Started:
        """Tell the server where the job runs."""
        return wire.Started(
            *self.key, self.pid, self.started, os.fsencode(self.out), os.fsencode(self.err)
        )

    def exited_report(self, content: wire.Content, following: Key) -> wire.Exited:
        """Tell the server how the job ended, and which was started in its place."""
        return wire.Exited(
            *self.key,
            self.status or 0,
            self.why,
            self.reason,
            self.started,
            self.ended,
            self.cpu_s,
            self.peak_memory_mib,
            content,
            *following,
        )


@dataclass(slots=True)
class Finished:
    """A job that is over, until the server has acknowledged it."""

    report: wire.Exited
    is_shared: bool  # a process that may be of this job still lives, and may write


class Settings(msgspec.Struct, frozen=True):
    """What the configuration may change."""

    memory_interval_s: float = memory_limit.WATCH_INTERVAL_S
    warm_idle_s: float = 60.0


def named_path(launch: Launch, named: bytes) -> str:
    """Give the absolute path of a file that the user named; empty if there is none."""
    return os.path.join(os.fsdecode(launch.cwd), os.fsdecode(named)) if named else ""


def leave_note(job: Job) -> None:
    """Write into the job's stderr what its submitter wants said there about such an end."""
    note = job.launch.notes.get(job.why)
    if not note or not job.pid:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%S").encode()
    with contextlib.suppress(OSError):
        fd = os.open(job.err, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, fill(note, {"time": now}))
        finally:
            os.close(fd)
