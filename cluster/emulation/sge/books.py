"""qacct: what jobs were, from what the queue knows of those that are over."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from cluster import states
from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Row
from cluster.emulation.sge import environment, jobs, usage, values

__all__ = ["qacct", "records"]

_RULE = "=" * 62
# Who noticed the end, as `failed` tells it.
_FAILED = {
    0: "",
    19: "before writing exit_status",
    25: "rescheduling",
    26: "opening input/output file",
    30: "application error returned",
    37: "qmaster enforced h_rt, h_cpu, or h_vmem limit",
    100: "assumedly after job",
}
_UNUSED = ("ru_ixrss", "ru_ismrss", "ru_idrss", "ru_isrss")
_COUNTS = ("ru_minflt", "ru_majflt", "ru_nswap", "ru_inblock", "ru_oublock", "ru_msgsnd",
           "ru_msgrcv", "ru_nsignals", "ru_nvcsw", "ru_nivcsw")  # fmt: skip
_WITH_VALUE = ("-o", "-d", "-t", "-b", "-e", "-E", "-f", "-A", "-P", "-q", "-h", "-g", "-l", "-pe",
               "-slots")  # fmt: skip
_TOTALS = (("WALLCLOCK", 0), ("UTIME", 3), ("STIME", 3), ("CPU", 3), ("MEMORY", 3), ("IO", 3),
           ("IOW", 3))  # fmt: skip
_WIDTHS = (13, 14, 14, 14, 19, 19, 19)


def qacct(call: Call) -> int:
    """Show what is known of jobs that started."""
    chosen, job = _read(call)
    if chosen is None:
        return 0
    if job is not None:
        return _jobs(call, job, chosen)
    rows = [row for row in _all(call) if _matches(call, row, chosen)]
    call.out(_sums(call, rows, chosen))
    return 0


def _read(call: Call) -> tuple[dict[str, str] | None, str | None]:
    chosen: dict[str, str] = {}
    job: str | None = None
    words = list(call.argv)
    while words:
        word = words.pop(0)
        following = words[0] if words and not words[0].startswith("-") else None
        if word == "-help":
            call.out(usage.text("qacct"))
            return None, None
        if word == "-j":
            job = words.pop(0) if following is not None else "*"
        elif word in _WITH_VALUE:
            chosen[word[1:]] = words.pop(0) if following is not None else ""
        else:
            text = f'error: invalid option argument "{word}"\n'
            raise Stop(usage.text("qacct") + text, 1)
    return chosen, job


def _all(call: Call) -> list[Row]:
    """Give each task that started, running ones that failed before included."""
    rows = call.machine.rows(elements=True)
    return [row for row in rows if not row.is_array and records(row)]


def _matches(call: Call, row: Row, chosen: dict[str, str]) -> bool:
    owner = chosen.get("o")
    if owner and not fnmatchcase(call.machine.user, owner):
        return False
    since = time.time() - int(chosen["d"]) * 86400 if chosen.get("d", "").isdigit() else 0.0
    if row.info.ended and row.info.ended < since:
        return False
    if chosen.get("q") and not fnmatchcase(row.extra.partition, chosen["q"].partition("@")[0]):
        return False
    return not chosen.get("A") or row.extra.account == chosen["A"]


def _jobs(call: Call, job: str, chosen: dict[str, str]) -> int:
    first = job.split(",")[0]
    if re.fullmatch(r"\d+", first, re.ASCII):
        found = call.machine.rows([first], elements=True)
        rows = [row for row in found if row.array == int(first)]
        kind = "id"
    else:
        rows = [row for row in call.machine.rows(elements=True) if fnmatchcase(row.info.name, job)]
        kind = "name"
    rows = [row for row in rows if not row.is_array and _matches(call, row, chosen)]
    if chosen.get("t"):
        wanted = values.tasks(chosen["t"], "qacct")
        rows = [row for row in rows if (row.index or 1) in wanted]
    rows.sort(key=lambda row: row.info.ended or row.info.eligible)  # as they were written
    blocks = [block for row in rows for block in _blocks(call, row)]
    if not blocks:
        call.err(f"error: job {kind} {first} not found\n")
        return 1
    call.out("".join(blocks))
    return 0


# ---------------------------------------------------------------- one job


def records(row: Row) -> list[tuple[int, int]]:
    """Give (failed, exit status) of each start that is over."""
    info = row.info
    before = max(0, info.attempt - 1)
    again = [(25, 99)] * before
    if jobs.is_error(row):
        code = 100 if "status of job start" in jobs.error(row) else 0
        return [*again, (30 if code else 26, code)]
    if info.state in (states.PENDING, states.HELD):
        return [(25, 99)] * info.attempt
    if info.state not in states.FINAL or info.ending or not info.started:
        return again
    return [*again, _ending(row)]


def _ending(row: Row) -> tuple[int, int]:
    info = row.info
    if info.state == states.CANCELLED:
        return 100, 128 + signal.SIGKILL
    if info.state in (states.TIMEOUT, states.OUT_OF_MEMORY):
        return 37, 128 + signal.SIGKILL
    if info.state in (states.NODE_FAIL, states.LOST):
        return 19, 0
    if info.signal:
        return 100, 128 + info.signal
    return 0, info.exitcode or 0


def _blocks(call: Call, row: Row) -> Iterable[str]:
    group = environment.group()
    for failed, status in records(row):
        yield f"{_RULE}\n" + "".join(
            f"{name:<12} {value}\n" for name, value in _facts(call, row, group, failed, status)
        )


def _facts(call: Call, row: Row, group: str, failed: int, status: int) -> Iterable[tuple[str, str]]:
    info = row.info
    started = failed != 26
    wall = max(0.0, info.ended - info.started) if started and info.ended else 0.0
    half = info.cpu_s / 2  # nobody keeps the two apart
    yield from (
        ("qname", f"{row.extra.partition:<20}"),
        ("hostname", f"{call.machine.host:<20}"),
        ("group", f"{group:<20}"),
        ("owner", f"{call.machine.user:<20}"),
        ("project", f"{row.extra.options.get('P', 'NONE'):<20}"),
        ("department", f"{'defaultdepartment':<20}"),
        ("jobname", f"{info.name:<20}"),
        ("jobnumber", f"{row.array:<20}"),
        ("taskid", "undefined" if row.index is None else f"{row.index:<20}"),
        ("account", f"{row.extra.account:<20}"),
        ("priority", f"{info.priority:<20}"),
        ("qsub_time", values.date(info.submitted)),
        ("start_time", values.date(info.started) if started else "-/-"),
        ("end_time", values.date(info.ended or info.eligible) if started else "-/-"),
        ("granted_pe", f"{_pe(row):<20}"),
        ("slots", f"{row.extra.cores:<20}"),
        ("failed", f"{failed:<3} : {_FAILED[failed]}" if failed else f"{failed}    "),
        ("exit_status", _status(status)),
        ("ru_wallclock", f"{wall:.0f}s"),
        ("ru_utime", f"{half:.3f}s"),
        ("ru_stime", f"{half:.3f}s"),
        # of KiB, as if they were bytes: so does Grid Engine
        ("ru_maxrss", _bytes(info.peak_memory_mib * 1024 if started else 0.0)),
        *((name, "0.000B") for name in _UNUSED),
        *((name, f"{0:<20}") for name in _COUNTS),
        ("cpu", f"{info.cpu_s:.3f}s"),
        ("mem", "0.000Bs"),
        ("io", "0.000B"),
        ("iow", "0.000s"),
        ("maxvmem", _bytes(info.peak_memory_mib * (1 << 20) if started else 0.0)),
        ("arid", "undefined"),
        ("ar_sub_time", "undefined"),
        ("category", _category(row)),
    )


def _pe(row: Row) -> str:
    return row.extra.options.get("pe", "").partition(" ")[0] or "NONE"


def _status(code: int) -> str:
    if 128 < code <= 128 + 64:
        with suppress(ValueError):
            return f"{code:<20} ({signal.strsignal(code - 128)})"
    return f"{code:<20}"


def _bytes(amount: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            return f"{amount:.3f}{unit}"
        amount /= 1024
    raise AssertionError(amount)


def _category(row: Row) -> str:
    options = row.extra.options
    words = [f"{flag} {options[key]}" for flag, key in (("-q", "q"), ("-l", "l"), ("-pe", "pe"))
             if key in options]  # fmt: skip
    return " ".join(words) or "NONE"


# ---------------------------------------------------------------- sums


def _sums(call: Call, rows: Sequence[Row], chosen: dict[str, str]) -> str:
    wall = sum(max(0.0, row.info.ended - row.info.started) for row in rows if row.info.ended)
    cpu = sum(row.info.cpu_s for row in rows)
    numbers = (wall, cpu / 2, cpu / 2, cpu, 0.0, 0.0, 0.0)
    first = ""
    title = ""
    if "o" in chosen:
        if not rows:
            return ""
        width = max(5, len(call.machine.user))
        first, title = f"{call.machine.user:<{width}}", f"{'OWNER':<{width}}"
    head = title + "".join(
        f"{name:>{width}}" for (name, _), width in zip(_TOTALS, _WIDTHS, strict=True)
    )
    line = first + "".join(
        f"{number:>{width}.{digits}f}"
        for number, (_, digits), width in zip(numbers, _TOTALS, _WIDTHS, strict=True)
    )
    return ("" if title else "Total System Usage\n") + f"{head}\n{'=' * len(head)}\n{line}\n"
