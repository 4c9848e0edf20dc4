"""What a job left, as the value that `get()` gives or the error it raises.

It is given what the scheduler knows (`JobInfo`, `Content`) and asks nobody; it
reads files only where `Content` names them.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import msgspec

from cluster import payload
from cluster.errors import (
    JobCancelled,
    JobFailed,
    JobLost,
    JobNodeFail,
    JobOutOfMemory,
    JobTimeout,
)
from cluster.runner import VALUE
from cluster.schedulers.base import Content, JobInfo, Output
from cluster.schedulers.exit_record import signal_in

__all__ = [
    "CommandResult",
    "Usage",
    "exitcode",
    "failure",
    "read_bytes",
    "read_text",
    "signal",
    "tail",
    "usage",
    "value",
]

TAIL_LINES = 20
TAIL_BYTES = 4096
_ERRORS: dict[str, type[JobFailed]] = {
    "CANCELLED": JobCancelled,
    "TIMEOUT": JobTimeout,
    "OUT_OF_MEMORY": JobOutOfMemory,
    "NODE_FAIL": JobNodeFail,
    "LOST": JobLost,
}


class _ThreeParts(NamedTuple):
    exitcode: int
    stdout: str
    stderr: str


class CommandResult(_ThreeParts):
    """What a command left: `exitcode, stdout, stderr`, and apart from them `signal`.

    Attributes:
        signal: the signal that ended it (then `exitcode` is 128 + signal), or None.
    """

    signal: int | None

    def __new__(
        cls, exitcode: int, stdout: str, stderr: str, signal: int | None = None
    ) -> CommandResult:
        self = super().__new__(cls, exitcode, stdout, stderr)
        self.signal = signal
        return self


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a job used, and when.

    Attributes:
        submitted, eligible, started, ended: seconds since the epoch; None not yet.
        wall_s, cpu_s: seconds; `wall_s` of its last attempt.
        peak_memory_mib: the most it held at once.
        host: where it ran; empty before it started.
        exitcode, signal: how it ended; None where that does not apply.
        attempt: how often it was started.
    """

    submitted: float | None
    eligible: float | None
    started: float | None
    ended: float | None
    wall_s: float | None
    cpu_s: float
    peak_memory_mib: float
    host: str
    exitcode: int | None
    signal: int | None
    attempt: int


def usage(info: JobInfo) -> Usage:
    """Give the record of a job's use of the machine."""
    ran = bool(info.started and info.ended)
    return Usage(
        submitted=info.submitted or None,
        eligible=info.eligible or None,
        started=info.started or None,
        ended=info.ended or None,
        wall_s=info.ended - info.started if ran else None,
        cpu_s=info.cpu_s,
        peak_memory_mib=info.peak_memory_mib,
        host=info.host,
        exitcode=info.exitcode,
        signal=signal(info),
        attempt=info.attempt,
    )


def value(info: JobInfo, content: Content) -> Any:
    """Give what `get()` returns, or raise what it raises.

    Raises:
        JobFailed: the job was ended by somebody else than itself, or a function
            ended without leaving a value.
        Exception: whatever the function raised, with its remote traceback.
    """
    if info.state in _ERRORS or (info.kind == "command" and exitcode(info) is None):
        raise failure(info, content)
    if info.kind == "command":
        code = exitcode(info)
        assert code is not None
        stdout, stderr = read_text(content.stdout), read_text(content.stderr)
        return CommandResult(code, stdout, stderr, signal(info))
    return _function_value(info, content)


def _function_value(info: JobInfo, content: Content) -> Any:
    result = content.result
    source = os.fsdecode(result.file) if result.file else result.data
    if not source:
        raise failure(info, content)
    envelope = payload.load_envelope(source)
    if envelope.header.status == VALUE and info.state != "COMPLETED":
        raise failure(info, content)  # it crashed after its last line, in an exit function say
    last_words = tail(content.stderr)
    return payload.value(envelope, id=info.id, name=info.name, stderr_tail=last_words)


def exitcode(info: JobInfo) -> int | None:
    """Give the exit code, 128 + n after signal n; None where there is none."""
    if info.signal:
        return 128 + info.signal
    return info.exitcode


def signal(info: JobInfo) -> int | None:
    """Give the signal that ended it, or that its exit code stands for; None if there is none.

    128 + n is signal n, wherever the job ran: on a cluster nobody could tell the
    two apart.
    """
    return info.signal or signal_in(info.exitcode) or None


def failure(info: JobInfo, content: Content) -> JobFailed:
    """Make the error for a job that has no value to give."""
    kind = _ERRORS.get(info.state, JobFailed)
    return kind(
        info.id,
        info.state,
        name=info.name,
        exitcode=exitcode(info),
        signal=signal(info),
        reason=info.reason or _how_it_ended(info),
        stderr_tail=tail(content.stderr),
    )


def _how_it_ended(info: JobInfo) -> str:
    if by := signal(info):
        return f"ended by signal {by}"
    if info.exitcode is not None:
        return f"ended with exit code {info.exitcode} and left no result"
    return ""


def read_bytes(output: Output) -> bytes:
    """Read what a job wrote; a file that is gone is empty."""
    if not output.file:
        return output.data
    try:
        if not os.path.isfile(output.file):
            return b""  # a device or a pipe that the user named keeps nothing
        with open(output.file, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def read_text(output: Output) -> str:
    """Read what a job wrote as text; bytes that are not UTF-8 are kept as surrogates."""
    return read_bytes(output).decode("utf-8", "surrogateescape")


def tail(output: Output) -> str:
    """Give the last lines of what a job wrote, without reading all of it."""
    data = output.data
    if output.file and os.path.isfile(output.file):
        with open(output.file, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read()
    lines = data[-TAIL_BYTES:].decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
