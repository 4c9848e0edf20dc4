"""What `Job` and `Queue` ask of a scheduler, and the words they ask it in.

A scheduler is given a `Request`: one job as the user meant it, all texts read,
all values checked.  It answers with ids (str) and with `JobInfo`.  It knows no
`Job` class.  A query that fails raises `QueueError`; it never answers "ended".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from cluster.local.wire import Content, JobInfo, Output
from cluster.spec import Dependency

if TYPE_CHECKING:
    from cluster.payload import Payload
    from cluster.script import Function, Script

__all__ = [
    "Call",
    "Command",
    "Content",
    "Ending",
    "JobInfo",
    "Output",
    "Request",
    "Resources",
    "Scheduler",
    "Scripts",
]


class Command(msgspec.Struct, frozen=True):
    """A program and its arguments, or shell text with arguments behind it.

    Attributes:
        argv: program and arguments; with `text`, the arguments alone.
        text: shell text, read by the job's shell; empty when there is none.
    """

    argv: tuple[bytes, ...]
    text: str = ""


class Call(msgspec.Struct, frozen=True):
    """A function and what it is called with."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One job, checked: what every scheduler is given.

    Attributes:
        name: for people.
        program: what to run.
        cwd: working directory, absolute.
        options: canonical keywords of `options`; seconds and MiB.
        dependencies: by id, or "@0" for the first request of the same `submit`.
        key: jobs with the same key share learned run times.
        payload: the pickled call; None for a command.
        stdout, stderr: absolute paths that the user named; empty otherwise.
    """

    name: str
    program: Command | Call
    cwd: bytes
    options: Mapping[str, Any] = field(default_factory=dict)
    dependencies: tuple[Dependency, ...] = ()
    key: str = ""
    payload: Payload | None = None
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True)
class Scripts:
    """The files of one job, as `Job.write` writes them.

    Attributes:
        submission: what is handed to the scheduler.
        exec_script: what it runs, where that is a file of its own (Slurm).
        function: the Python script of a function job.
    """

    submission: Script
    exec_script: Script | None = None
    function: Function | None = None

    def all(self) -> list[Script]:
        """List them in the order they must be written."""
        return [s for s in (self.function, self.exec_script, self.submission) if s is not None]


class Ending(msgspec.Struct, frozen=True):
    """A job that reached its final state; `content` if it was asked for and is known."""

    info: JobInfo
    content: Content | None = None


class Resources(msgspec.Struct, frozen=True):
    """What the machine (or partition) has.

    Attributes:
        cores, memory_mib, gpus, nodes: in all.
        free_cores, free_memory_mib: held by no job; None if the scheduler does not say.
        resources: named consumables.
    """

    cores: int
    memory_mib: int = 0
    gpus: int = 0
    nodes: int = 1
    free_cores: int | None = None
    free_memory_mib: int | None = None
    resources: Mapping[str, int] = msgspec.field(default_factory=dict)


class Scheduler(Protocol):
    """One scheduler of one kind.  All methods may be called from any thread.

    Attributes:
        qtype: its name, as users write it.
        needs_files: `submit` reads the job's scripts, so they are written before.
    """

    qtype: str
    needs_files: bool

    def scripts(self, request: Request, *, directory: str, stem: str, suffix: str) -> Scripts:
        """Make the text of the job's files; write none."""
        ...

    def check(self, request: Request) -> list[str]:
        """Say what of the request cannot work here, each in a sentence."""
        ...

    def preview(self, request: Request) -> str:
        """Say in text what `submit` would do."""
        ...

    def submit(
        self, requests: Sequence[Request], scripts: Sequence[Scripts | None] = ()
    ) -> list[str]:
        """Queue jobs, all or none, and give their ids in order.

        Args:
            requests: the jobs.
            scripts: their written files, one for each, if `needs_files`.
        """
        ...

    def resubmit(self, id: str) -> str:
        """Queue a job like this one, from the scheduler's own record of it."""
        ...

    def query(self, ids: Sequence[str], *, elements: bool = False) -> list[JobInfo]:
        """Ask for jobs; those it never heard of are left out.

        Args:
            ids: as people see them.
            elements: for an array, each of its elements instead of the array.
        """
        ...

    def jobs(self, *, user: str | None, partition: str | None) -> list[JobInfo]:
        """List the jobs that are not final, and those that lately became so."""
        ...

    def named(self, pattern: str) -> list[JobInfo]:
        """Give one's own jobs whose name is like `pattern`, as of file names, ended ones too."""
        ...

    def endings(
        self, ids: Sequence[str], *, timeout: float | None = None, content: bool = False
    ) -> Iterator[Ending]:
        """Give each job as it reaches its final state, until all have.

        Raises:
            WaitTimeout: `timeout` seconds went by and some have not.
            UnknownJob: it never heard of one of them.
        """
        ...

    def content(self, id: str) -> Content:
        """Give what a job wrote so far."""
        ...

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Cancel, hold, release, requeue, suspend, resume or signal jobs; say what happened."""
        ...

    def resources(self, partition: str | None = None) -> Resources:
        """Say what the machine or the partition has."""
        ...
