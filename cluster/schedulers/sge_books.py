"""What Grid Engine's qacct prints, read, and what an end in its books means.

Pure.  Facts it relies on, seen with 8.1.9:

- A block for each start of each element, the latest last: a job that ran twice
  has two, and one that could not be started (and waits in error) has one too.
- A job that was deleted before it started is not there at all.
- `failed` tells who noticed the end.  With 0 the job's script ended by itself;
  with 100 a signal ended it, and a deletion (KILL) is such a signal.
- 37 is any limit that was enforced; which one, the job's wishes tell.
- `qdel -f` writes success with no usage: not a single page fault.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from cluster.errors import QueueError
from cluster.local.wire import JobInfo
from cluster.schedulers.dialect import Seen
from cluster.schedulers.sge_queue import limit_s, mib

__all__ = ["read_books"]

_RULE = re.compile(r"^={20,}$", re.MULTILINE)
_LINE = re.compile(r"(\w+)[ \t]+(.*)\Z", re.ASCII)
_CODE = re.compile(r"(\d{1,6})\s*(?::\s*(.*))?\Z", re.ASCII)
_CLOCK = re.compile(
    r"(?:\w{3} (?P<month>\w{3})\s+(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d) (?P<year>\d{4}))"
    r"|(?:(?P<m>\d\d)/(?P<d>\d\d)/(?P<y>\d{4}) (?P<t>\d\d:\d\d:\d\d)(?:\.\d+)?)\Z",
    re.ASCII,
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_REQUEST = re.compile(r"(?:^|[\s,])(\w+)=([^\s,]+)", re.ASCII)

# `failed`, by what it means for the job; all others: it could not be started.
_BY_ITSELF = 0
_AGAIN = (24, 25)  # it went back into the queue: no end
_APPLICATION_ERROR = 30  # its script ended with 100
_LIMIT = 37
_BY_SIGNAL = (17, 100)
_NODE_LOST_IT = (18, 19, 20, 21)
_NEAR = 0.95  # of a memory limit: it is seen from outside, some time before the end


class _Ending(NamedTuple):
    state: str
    exitcode: int | None = None
    signal: int = 0
    reason: str = ""


Record = Mapping[str, str]


def read_books(text: str) -> list[Seen]:
    """Read blocks of `qacct -j`; of several starts of a job, the last.

    A start after which the job went back into the queue is no end, and left out.

    Raises:
        QueueError: a block is torn.
    """
    latest: dict[str, Seen | None] = {}
    starts: dict[str, int] = {}
    for record in _records(text):
        id = _id(record)
        starts[id] = starts.get(id, 0) + 1
        ending = _ending(record)
        latest[id] = _seen(id, record, ending, starts[id]) if ending else None
    return [one for one in latest.values() if one is not None]


def _records(text: str) -> Iterator[Record]:
    for block in _RULE.split(text)[1:]:
        lines = (_LINE.match(line.rstrip()) for line in block.split("\n"))
        record = {match[1]: match[2].strip() for match in lines if match}
        if not {"jobnumber", "taskid", "failed", "exit_status"} <= set(record):
            if "jobnumber" in record:
                raise QueueError("qacct's answer stops in the middle of a job")
            continue  # the sums at the end of a longer answer
        yield record


def _id(record: Record) -> str:
    job, task = record["jobnumber"], record["taskid"]
    if not re.fullmatch(r"\d{1,18}", job, re.ASCII):
        raise QueueError(f"qacct tells of a job whose number is {job[:100]!r}")
    return f"{job}_{task}" if re.fullmatch(r"\d{1,9}", task, re.ASCII) else job


def _seen(id: str, record: Record, ending: _Ending, attempt: int) -> Seen:
    get = record.get
    index = id.partition("_")[2]
    asked = _asked(record)
    return Seen(
        info=JobInfo(
            id=id,
            name=get("jobname", ""),
            state=ending.state,
            index=int(index) if index else None,
            cores=int(_amount(get("slots", ""))) or 1,
            walltime_s=limit_s(asked.get("h_rt", "")),
            submitted=_time(get("qsub_time", "")),
            started=_time(get("start_time", "")),
            ended=_time(get("end_time", "")),
            attempt=attempt,
            exitcode=ending.exitcode,
            signal=ending.signal,
            reason=ending.reason,
            cpu_s=_amount(get("cpu", "")),
            # KiB, which 8.1.9 prints as if they were bytes: 4516 KiB is "4.410KB"
            peak_memory_mib=mib(get("ru_maxrss", "")) * 1024,
            host=get("hostname", ""),
        ),
        user=get("owner", ""),
        partition=get("qname", ""),
        requested=asked | {"maxvmem": get("maxvmem", "")},
    )


# ---------------------------------------------------------------- what an end means


def _ending(record: Record) -> _Ending | None:
    """Tell how it ended; None if it went back into the queue."""
    failed, words = _code(record["failed"])
    code, _ = _code(record["exit_status"].partition("(")[0])
    if failed in _AGAIN:
        return None
    if failed == _BY_ITSELF:
        return _by_itself(code, record)
    if failed == _LIMIT:
        return _at_limit(record)
    if failed in _BY_SIGNAL:
        return _by_signal(code, record)
    if failed == _APPLICATION_ERROR:
        return _Ending("FAILED", 100, 0, "exit code 100")
    if failed in _NODE_LOST_IT:
        return _Ending("NODE_FAIL", None, 0, f"its machine lost it: {words} (code {failed})")
    return _Ending("FAILED", None, 0, f"Grid Engine could not run it: {words} (code {failed})")


def _by_itself(code: int, record: Record) -> _Ending:
    used = ("ru_minflt", "ru_utime", "ru_stime", "ru_wallclock")
    if not code and not any(_amount(record.get(name, "1")) for name in used):
        return _Ending("CANCELLED", None, 0, "deleted by force (qdel -f)")
    if _signal(code):
        return _Ending("FAILED", None, _signal(code), _named(_signal(code)))
    return _Ending("FAILED", code, 0, f"exit code {code}") if code else _Ending("COMPLETED", 0)


def _at_limit(record: Record) -> _Ending:
    asked = _asked(record)
    memory = mib(asked.get("h_vmem", "")) * max(1.0, _amount(record.get("slots", "")))
    if memory and mib(record.get("maxvmem", "")) >= memory * _NEAR:
        return _Ending("OUT_OF_MEMORY", None, 9, "it used more memory than its limit, h_vmem")
    if _reached(record, "h_cpu", "cpu"):
        return _Ending("TIMEOUT", None, 9, "it used more CPU time than its limit, h_cpu")
    return _Ending("TIMEOUT", None, 9, "it ran longer than its walltime")


def _by_signal(code: int, record: Record) -> _Ending:
    signal = _signal(code)
    if signal == signals.SIGUSR1 and _reached(record, "s_rt", "ru_wallclock"):
        return _Ending("TIMEOUT", None, signal, "it ran to its soft limit, s_rt")
    if signal == signals.SIGXCPU:
        return _Ending("TIMEOUT", None, signal, "it used more CPU time than its limit")
    if signal in (signals.SIGKILL, signals.SIGTERM):
        return _Ending("CANCELLED", None, signal, f"deleted, or ended by {_named(signal)}")
    if signal:
        return _Ending("FAILED", None, signal, _named(signal))
    return _Ending("FAILED", code or None, 0, "Grid Engine does not tell how it ended")


def _reached(record: Record, limit: str, usage: str) -> bool:
    seconds = limit_s(_asked(record).get(limit, ""))
    return bool(seconds) and _amount(record.get(usage, "")) >= seconds


def _asked(record: Record) -> dict[str, str]:
    return dict(_REQUEST.findall(record.get("category", "")))


# ---------------------------------------------------------------- values


def _code(text: str) -> tuple[int, str]:
    match = _CODE.match(text.strip())
    if match is None:
        raise QueueError(f"qacct tells of an end it writes as {text[:100]!r}")
    return int(match[1]), match[2] or ""


def _signal(code: int) -> int:
    return code - 128 if 128 < code <= 128 + 64 else 0


def _named(number: int) -> str:
    try:
        return f"signal {number} ({signals.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _amount(text: str) -> float:
    """Read a number with or without its unit, `57s` or `383`."""
    match = re.match(r"\d{1,15}(\.\d{0,15})?", text.strip(), re.ASCII)
    return float(match[0]) if match else 0.0


def _time(text: str) -> float:
    """Read a local time; 0 for `-/-`."""
    match = _CLOCK.match(text)
    if match is None:
        return 0.0
    if match["month"] and match["month"] not in _MONTHS:
        return 0.0
    month = _MONTHS.index(match["month"]) + 1 if match["month"] else int(match["m"])
    year, day = match["year"] or match["y"], int(match["day"] or match["d"])
    try:
        moment = f"{year}-{month:02}-{day:02}T{match['clock'] or match['t']}"
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
