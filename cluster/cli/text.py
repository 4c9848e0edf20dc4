"""What the commands print: safe text, tables, times, and the words for a job.

Pure: values in, lines out.  Whatever came from a user or a job (a name, a
reason, a path) goes through `safe`, so that it can neither move the cursor nor
send any other escape sequence to the terminal.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterable, Sequence
from signal import Signals
from typing import Any

from cluster.local.wire import JobInfo
from cluster.states import ALL
from cluster.units import format_memory, format_seconds

COLUMNS = ("id", "name", "state", "cores", "gpus", "memory", "time", "limit", "reason")
MORE_COLUMNS = (
    "submitted",
    "started",
    "ended",
    "expected",
    "exit",
    "priority",
    "cpu",
    "peak",
    "attempt",
    "kind",
    "pid",
    "comment",
)
_RIGHT = frozenset(
    {"cores", "gpus", "memory", "time", "limit", "priority", "cpu", "peak", "attempt", "pid"}
)
_MAY_BE_CLIPPED = ("reason", "name", "comment")
_LEAST_WIDTH = 8  # a clipped column keeps at least so much
_DROPPED_WHEN_EMPTY = frozenset({"gpus", "memory", "limit"})


def safe(text: str) -> str:
    """Write what a terminal could act on (controls, bidi marks, bad bytes) as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, see surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def path_text(path: bytes) -> str:
    """Write a path for people."""
    return safe(os.fsdecode(path))


def width(text: str) -> int:
    """Count the columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, columns: int) -> str:
    """Shorten `text` to so many columns; an ellipsis marks what is missing."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for char in text:
        used += _char_width(char)
        if used > columns:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Fill `text` with blanks to so many columns."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def table(names: Sequence[str], rows: Sequence[Sequence[str]], columns: int = 0) -> list[str]:
    """Lay out rows under their headings.

    Args:
        names: of the columns; they decide alignment and what may be clipped.
        rows: cells, already safe.
        columns: of the terminal; 0 leaves every cell whole (a file, a pipe).

    Returns:
        Lines without trailing blanks, the heading first.
    """
    cells = [[name.upper() for name in names], *rows]
    widths = [max(width(row[i]) for row in cells) for i in range(len(names))]
    if columns:
        _narrow(widths, names, columns)
    return [_line(row, names, widths) for row in cells]


def _narrow(widths: list[int], names: Sequence[str], columns: int) -> None:
    excess = sum(widths) + 2 * (len(widths) - 1) - columns
    for name in _MAY_BE_CLIPPED:
        if excess > 0 and name in names:
            at = names.index(name)
            given = min(excess, max(0, widths[at] - _LEAST_WIDTH))
            widths[at] -= given
            excess -= given


def _line(row: Sequence[str], names: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        pad(clip(cell, room), room, right=name in _RIGHT)
        for cell, name, room in zip(row, names, widths, strict=True)
    ).rstrip()


def job_table(
    jobs: Sequence[JobInfo], names: Sequence[str] | None, *, now: float, columns: int = 0
) -> list[str]:
    """Lay out jobs, one a line.

    Args:
        names: the columns wanted; None takes `COLUMNS` without those of which
            no job has anything to say (gpus, memory, limit).
        now: seconds since the epoch.
        columns: of the terminal; 0 clips nothing.
    """
    wanted = tuple(names or COLUMNS)
    rows = [[cell(job, name, now) for name in wanted] for job in jobs]
    if names is None:
        keep = [
            i
            for i, name in enumerate(wanted)
            if name not in _DROPPED_WHEN_EMPTY or any(row[i] not in ("", "-") for row in rows)
        ]
        wanted = tuple(wanted[i] for i in keep)
        rows = [[row[i] for i in keep] for row in rows]
    return table(wanted, rows, columns)


def cell(job: JobInfo, name: str, now: float) -> str:
    """Write one property of a job for a table."""
    match name:
        case "name" | "comment":
            return safe(getattr(job, name))
        case "state":
            return state_text(job)
        case "gpus":
            return str(job.gpus) if job.gpus else "-"
        case "memory":
            return format_memory(job.memory_mib) if job.memory_mib else "-"
        case "time":
            return format_seconds(int(elapsed_s(job, now))) if job.started else "-"
        case "limit":
            return format_seconds(job.walltime_s) if job.walltime_s else "-"
        case "reason":
            return reason_text(job)
        case "submitted" | "started" | "ended":
            return when(getattr(job, name), now)
        case "expected":
            return when(job.expected_start, now)
        case "exit":
            return exit_text(job)
        case "cpu":
            return f"{job.cpu_s:.1f}s"
        case "peak":
            return f"{job.peak_memory_mib:.0f}M" if job.peak_memory_mib else "-"
    return safe(str(getattr(job, name)))


def state_text(job: JobInfo) -> str:
    """Write the state; a star: its processes are still being ended."""
    return job.state + ("*" if job.ending else "")


def reason_text(job: JobInfo) -> str:
    """Say in one line why the job is where it is; "" when there is nothing to say."""
    parts = [counts_text(job.counts), " ".join(job.reason.split())]
    if not job.reason and job.state == "FAILED":
        parts.append(exit_text(job))
    if job.lent and "lent" not in job.reason.lower():
        parts.append("its cores are lent while it waits for its own jobs")
    return safe("; ".join(filter(None, parts)))


def counts_text(counts: dict[str, int]) -> str:
    """Write the states of an array's elements: `3 running, 95 pending`."""
    return ", ".join(f"{counts[s]} {s.lower()}" for s in ALL if counts.get(s))


def exit_text(job: JobInfo) -> str:
    """Write how the process ended: `exit code 3`, `signal 9 (SIGKILL)`."""
    if job.signal:
        return f"signal {job.signal} ({signal_name(job.signal)})"
    return "" if job.exitcode is None else f"exit code {job.exitcode}"


def signal_name(number: int) -> str:
    """Give `SIGKILL` for 9; the number itself where it has no name."""
    try:
        return Signals(number).name
    except ValueError:
        return str(number)


def elapsed_s(job: JobInfo, now: float) -> float:
    """Count the seconds that the job ran so far, or in all."""
    return max(0.0, (job.ended or now) - job.started) if job.started else 0.0


def when(moment: float, now: float) -> str:
    """Write a point in time as short as it stays clear."""
    if not moment:
        return "-"
    then, today = time.localtime(moment), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M:%S", then)
    return time.strftime("%b %d %H:%M" if then[0] == today[0] else "%Y-%m-%d %H:%M", then)


def why_waiting(job: JobInfo, now: float) -> str:
    """Answer why a job has not started, and what would change that; "" if it has."""
    if job.state == "HELD":
        return reason_text(job) or f"held; cluster release {job.id} lets it go"
    if job.state != "PENDING":
        return ""
    parts = [reason_text(job) or "it is next to be looked at"]
    if job.begin > now:
        parts.append(f"not before {when(job.begin, now)}")
    if job.expected_start and "expected" not in job.reason:
        parts.append(f"expected to start about {when(job.expected_start, now)}")
    return "; ".join(parts)


def fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lay out `name  value` lines; those without a value are left out."""
    kept = [(name, value) for name, value in pairs if value]
    room = max((len(name) for name, _ in kept), default=0)
    return [f"{name:{room}}  {value}" for name, value in kept]


def plain(value: Any) -> Any:
    """Make a value fit for JSON: every field of a struct, bytes as text, tuples as lists."""
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value
