"""Every error this package raises on purpose, as one tree.

    ClusterError
    ├── OptionsError (ValueError)         a keyword or its value is wrong; nothing was queued
    │   └── UnitsError                    a time or an amount of memory cannot be read
    ├── Unsatisfiable (ValueError)        the request can never run on this machine
    ├── UnknownDependency (LookupError)   a dependency names a job that does not exist
    ├── UnknownJob (LookupError)          an id names no job
    ├── PayloadError (TypeError)          a function, argument or result cannot be pickled or read
    ├── ConfigError (ValueError)          a configuration file or profile is wrong
    │   └── UnknownProfile (LookupError)  there is no profile of this name
    ├── InvalidTransition                 an event that the job's state does not allow
    ├── CommandFailed                     a program we ran ended with an error
    ├── QueueError                        the queue could not be asked or refused
    │   ├── ServerUnavailable             no server, and none could be started
    │   ├── ServerTimeout (TimeoutError)  the server is there and does not answer
    │   └── ProtocolError                 the other side speaks another version
    ├── WaitTimeout (TimeoutError)        a wait ended before its jobs did
    ├── JobStuck                          a wait for jobs that will not start by themselves
    └── JobFailed                         `get()` of a job that has no value to give
        ├── JobCancelled
        ├── JobTimeout
        ├── JobOutOfMemory
        ├── JobNodeFail
        └── JobLost

A class exists only where somebody would catch it alone.  A message names the
thing, says what happened, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "ClusterError",
    "CommandFailed",
    "ConfigError",
    "InvalidTransition",
    "JobCancelled",
    "JobFailed",
    "JobLost",
    "JobNodeFail",
    "JobOutOfMemory",
    "JobStuck",
    "JobTimeout",
    "OptionsError",
    "PayloadError",
    "ProtocolError",
    "QueueError",
    "ServerTimeout",
    "ServerUnavailable",
    "UnitsError",
    "UnknownDependency",
    "UnknownJob",
    "UnknownProfile",
    "Unsatisfiable",
    "WaitTimeout",
]


class ClusterError(Exception):
    """Root of all errors of this package."""


class OptionsError(ClusterError, ValueError):
    """A keyword or its value is wrong; nothing was queued."""


class UnitsError(OptionsError):
    """A time or an amount of memory cannot be read without guessing."""


class Unsatisfiable(ClusterError, ValueError):
    """The request asks for more than the machine has; it could never start."""


class UnknownDependency(ClusterError, LookupError):
    """A dependency names a job that does not exist."""


class UnknownJob(ClusterError, LookupError):
    """An id names no job of this queue."""


class PayloadError(ClusterError, TypeError):
    """A function, an argument or a result cannot be pickled or read back."""


class ConfigError(ClusterError, ValueError):
    """A configuration file or profile is wrong."""


class UnknownProfile(ConfigError, LookupError):
    """A job is to have the keywords of a profile that does not exist."""


class InvalidTransition(ClusterError):
    """An event that the job's state does not allow.

    Attributes:
        state: the state the job is in.
        event: the event that has no entry for it in `states.TRANSITIONS`.
    """

    def __init__(self, state: str, event: str, history: Sequence[str] = ()) -> None:
        self.state, self.event, self.history = state, event, tuple(history)
        story = f" (so far: {' -> '.join(self.history)})" if self.history else ""
        super().__init__(f"a job that is {state} cannot {event}{story}")


class CommandFailed(ClusterError):
    """A program that we ran ended with an error.

    Attributes:
        argv: what was run.
        code: its exit code; 128 + n when signal n ended it.
        stderr: what it wrote to standard error.
    """

    def __init__(self, argv: Sequence[str], code: int, stderr: str = "", advice: str = "") -> None:
        self.argv, self.code, self.stderr = tuple(argv), code, stderr
        said = f': "{stderr.strip()}"' if stderr.strip() else ""
        tail = f"\n{advice}" if advice else ""
        super().__init__(f"{' '.join(self.argv)} failed with code {code}{said}{tail}")


class QueueError(ClusterError):
    """The queue could not be asked, or it refused."""


class ServerUnavailable(QueueError):
    """There is no server, and none could be started."""


class ServerTimeout(QueueError, TimeoutError):
    """The server is there and does not answer."""


class ProtocolError(QueueError):
    """The other side speaks another version, or not our protocol at all."""


class WaitTimeout(ClusterError, TimeoutError):
    """A wait ended before its jobs did; the jobs go on."""


class JobStuck(ClusterError):
    """A wait for jobs that will not start by themselves; they are still in the queue.

    Attributes:
        reasons: by id, what keeps each of them.
        held: ids of the jobs that could not be started; others wait for these.
    """

    def __init__(self, reasons: Mapping[str, str], held: Iterable[str] = ()) -> None:
        self.reasons, self.held = dict(reasons), tuple(held) or tuple(reasons)
        more = len(self.reasons) - 1
        first, why = next(iter(self.reasons.items()), ("", ""))
        others = f" {more} more are kept like it." if more else ""
        what = "them" if more else "it"
        which, causes = (" ".join(list(ids)[:8]) for ids in (self.reasons, self.held))
        super().__init__(
            f"job {first} will not start by itself: {why}.{others}\n"
            f"When the cause is gone, `cluster release {causes}` lets {what} try again; "
            f"`cluster cancel {which}` ends {what}."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reasons, self.held)


class JobFailed(ClusterError):
    """A job ended without a value to give.

    Attributes:
        id: the job's id.
        state: its final state.
        exitcode: its exit code, or None when it has none.
        signal: the signal that ended it, or None.
        reason: why, in a sentence.
        stderr_tail: the last lines it wrote to standard error.
    """

    def __init__(
        self,
        id: str,
        state: str,
        *,
        name: str = "",
        exitcode: int | None = None,
        signal: int | None = None,
        reason: str = "",
        stderr_tail: str = "",
    ) -> None:
        self.id, self.state, self.name = id, state, name
        self.exitcode, self.signal = exitcode, signal
        self.reason, self.stderr_tail = reason, stderr_tail
        label = f"job {id}" + (f" ({name})" if name else "")
        text = f"{label} is {state}" + (f": {reason}" if reason else "")
        if stderr_tail.strip() not in text:  # what a function raised stands in both
            text += "\nThe end of its standard error:\n" + stderr_tail.rstrip()
        super().__init__(text)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_job_failed, (type(self), self.__dict__.copy()))


def _rebuild_job_failed(cls: type[JobFailed], data: dict[str, object]) -> JobFailed:
    return cls(**data)  # type: ignore[arg-type]


class JobCancelled(JobFailed):
    """The job was cancelled, by somebody or because a dependency can never hold."""


class JobTimeout(JobFailed):
    """The job reached its walltime and was ended."""


class JobOutOfMemory(JobFailed):
    """The job used more memory than it asked for and was ended."""


class JobNodeFail(JobFailed):
    """The machine, or the process that watched the job, went away."""


class JobLost(JobFailed):
    """The scheduler no longer knows the job and the job left no record."""
