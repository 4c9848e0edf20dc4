"""bjobs: which jobs there are, in tables, in full, or as a format says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

from cluster.emulation.call import Call, Stop
from cluster.emulation.lsf import fields, jobs, site, watcher
from cluster.emulation.lsf.getopt import table
from cluster.emulation.lsf.jobs import View
from cluster.emulation.lsf.long import full

__all__ = ["bjobs"]

_USAGE = """\
Usage: bjobs [-h] [-V] [-w |-l] [-a] [-d] [-p] [-s] [-r] [-A]
             [-m host_name] [-q queue_name] [-u user_name | -u all]
             [-P project_name] [-N host_spec]
             [-J name_spec] [jobId | "jobId[idxList]" ...]
"""
_OPTIONS = table(
    "w W l a d p p0 p1 p2 p3 pi pe s r A X UF aff aps fwd json noheader script sum psum x hms "
    "hostfile prio sharetree rusage plan",
    "m q u P N J G app g Jd Lp o ss sla U U0 cname pac env gpu data stage t",
)
_HEADER = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
_MORE = "PROJ_NAME  CPU_USED     MEM    SWAP   PIDS    START_TIME     FINISH_TIME"
_WAITING = "JOBID   USER    STAT  QUEUE       FROM_HOST      JOB_NAME           SUBMIT_TIME\n"
_ARRAYS = "JOBID    ARRAY_SPEC  OWNER   NJOBS PEND DONE  RUN EXIT SSUSP USUSP PSUSP\n"
_COUNTED = ("PEND", "DONE", "RUN", "EXIT", "SSUSP", "USUSP", "PSUSP")
# With LSB_BJOBS_CONSISTENT_EXIT_CODE=N, the default, it is no failure that there is no job.
_NOTHING, _UNKNOWN = 0, 255


def bjobs(call: Call) -> int:
    """List jobs."""
    given, words = site.options(call, _OPTIONS, _USAGE)
    watcher.resume(call.machine)
    text = given.get("o") or ("json" in given and call.variable("LSB_BJOBS_FORMAT")) or ""
    if "json" in given and not text:
        raise Stop("bjobs: -json must be used with -o.\n" + _USAGE, _UNKNOWN)
    if "json" in given and "noheader" in given:
        raise Stop("bjobs: -json cannot be used with -noheader.\n" + _USAGE, _UNKNOWN)
    form = _parsed(text) if text or "o" in given else None
    now = time.time()
    views, missing = _select(call, given, words, now)
    shown = fields.Shown(now, call.machine.host, call.machine.user, _home(call))
    if "json" in given:
        assert form is not None
        return _as_json(call, form, views, missing, shown)
    code = 0
    if views:
        _show(call, given, views, shown)
    for word in missing:
        call.err(f"Job <{word}> is not found\n")
        code = _UNKNOWN
    if not views and not missing:
        return _say_none(call, given)
    return code


def _home(call: Call) -> str:
    return call.variable("HOME") or os.path.expanduser("~")


def _select(
    call: Call, given: dict[str, str], words: Sequence[str], now: float
) -> tuple[list[View], list[str]]:
    ids = [word for word in words if word != "0"]
    filters = {name: given[name] for name in _OPTIONS if name in given and name in _FILTERS}
    if ids:
        filters.pop("u", None)  # ids are of anybody's
        found = jobs.by_ids(call, ids, now)
        missing = [word for word in ids if not found[word]]
        unique = {view.id: view for some in found.values() for view in some}
        views = [view for view in unique.values() if jobs.fits(call, view, filters)]
        return [view for view in views if _is_wanted(view, given, by_id=True)], missing
    finished = "a" in given or "d" in given
    views = [
        view
        for view in jobs.sorted_views(jobs.chosen(call, filters, now, finished=finished))
        if _is_wanted(view, given, by_id=False)
    ]
    return views, []


_FILTERS = ("u", "m", "q", "J", "P", "G", "app", "g", "Jd", "Lp", "sla")
_KINDS = {
    "p": ("PEND", "PSUSP"), "p0": ("PEND", "PSUSP"), "p1": ("PEND", "PSUSP"),
    "p2": ("PEND", "PSUSP"), "p3": ("PEND", "PSUSP"), "pi": ("PEND",), "pe": ("PEND",),
    "r": ("RUN",), "s": ("PSUSP", "USUSP", "SSUSP"), "d": ("DONE", "EXIT"),
}  # fmt: skip


def _is_wanted(view: View, given: dict[str, str], *, by_id: bool) -> bool:
    if "a" in given:
        return True
    wanted = [stats for name, stats in _KINDS.items() if name in given]
    if wanted:
        return any(view.stat in stats for stats in wanted)
    return by_id or not view.is_over


def _say_none(call: Call, given: dict[str, str]) -> int:
    if "J" in given:
        call.err(f"Job <{given['J']}> is not found\n")
    else:
        kind = {"p": "pending", "r": "running", "s": "suspended"}
        word = next((kind[name] for name in kind if name in given), "unfinished")
        word = "DONE/EXIT" if "d" in given and "a" not in given else word
        text = "No job found" if "a" in given else f"No {word} job found"
        call.err(text + "\n")
    return _NOTHING


# ---------------------------------------------------------------- forms


def _show(call: Call, given: dict[str, str], views: list[View], shown: fields.Shown) -> None:
    form = given.get("o") or call.variable("LSB_BJOBS_FORMAT")
    if "sum" in given or "psum" in given:
        _show_sum(call, views)
    elif "A" in given:
        _show_arrays(call, views, shown)
    elif "l" in given or "UF" in given:
        for view in views:
            call.out(full(view, shown, wide="UF" in given))
    elif form and ("o" in given or not set(given) & {"w", "W", "p", "s", "aps"}):
        _show_format(call, form, views, shown, header="noheader" not in given)
    elif set(given) & {"p", "s", "p0", "p1", "p2", "p3", "pi", "pe"}:
        _show_reasons(call, views, shown, header="noheader" not in given)
    else:
        is_wide = "w" in given or "W" in given or "aps" in given
        lines = [wide(view, shown) if is_wide else narrow(view, shown) for view in views]
        header = "" if "noheader" in given else _HEADER
        if "W" in given:
            lines = [more(view, line, shown) for view, line in zip(views, lines, strict=True)]
            header = header and f"{header.rstrip()}  {_MORE}\n"
        call.out(header + "".join(lines))


def _parsed(text: str) -> fields.Format:
    try:
        return fields.parse(text)
    except fields.BadFormat as bad:
        raise Stop(f"bjobs: {bad}.\n", _UNKNOWN) from None


def _show_format(
    call: Call, text: str, views: list[View], shown: fields.Shown, *, header: bool
) -> None:
    form = _parsed(text)
    lines = [form.header()] if header else []
    call.out("".join(f"{line}\n" for line in [*lines, *(form.line(v, shown) for v in views)]))


def _as_json(
    call: Call, form: fields.Format, views: list[View], missing: list[str], shown: fields.Shown
) -> int:
    records = [form.record(view, shown) for view in views]
    records += [{"JOBID": word, "ERROR": f"Job <{word}> is not found"} for word in missing]
    found = {"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}
    call.out(json.dumps(found, indent=2, separators=(",", ":")) + "\n")
    return _UNKNOWN if missing else 0


def shortened(text: str, width: int) -> str:
    """Keep the tail of a text that is too long, behind a star."""
    return text if len(text) <= width else "*" + text[len(text) - width + 1 :]


def narrow(view: View, shown: fields.Shown) -> str:
    """Give the line or lines of a job in the default table."""
    host = shown.host[:11] if view.ran else ""
    line = (
        f"{view.number:<7} {shown.user[:7]:<7} {view.stat:<5} {view.extra.partition[:10]:<10} "
        f"{shown.host[:11]:<11} {host:<11} {shortened(view.name, 10):<10} "
        f"{fields.clock(view.info.submitted)}\n"
    )
    more = view.extra.cores - 1 if view.ran else 0
    return line + f"{'':45}{host}\n" * more


def wide(view: View, shown: fields.Shown) -> str:
    """Give the line of a job with nothing cut."""
    host = ":".join([shown.host] * view.extra.cores) if view.ran else "   -"
    return (
        f"{view.number:<7} {shown.user:<7} {view.stat:<5} {view.extra.partition:<10} "
        f"{shown.host:<11} {host:<11} {view.name:<10} {fields.clock(view.info.submitted)}\n"
    )


def more(view: View, line: str, shown: fields.Shown) -> str:
    """Add the columns of -W to a line."""

    def moment(when: float) -> str:
        return time.strftime("%m/%d-%H:%M:%S", time.localtime(when)) if when else " - "

    cpu = int(view.info.cpu_s)
    used = f"{cpu // 3600:03}:{cpu % 3600 // 60:02}:{cpu % 60:05.2f}"
    memory = f"{view.memory_mib:.0f}" if view.ran else "-"
    pids = fields.FIELDS["pids"][1](view, shown) or " - "
    return (
        f"{line.rstrip()}  {view.extra.account:<10} {used:<12} {memory:<6} {memory:<6} {pids:<7} "
        f"{moment(view.info.started):<14} {moment(view.info.ended)}\n"
    )


def _show_reasons(call: Call, views: list[View], shown: fields.Shown, *, header: bool) -> None:
    text = _WAITING if header else ""
    for view in views:
        text += (
            f"{view.number:<7} {shown.user[:7]:<7} {view.stat:<5} {view.extra.partition[:11]:<11} "
            f"{shown.host[:14]:<14} {shortened(view.name, 18):<18} "
            f"{fields.clock(view.info.submitted)}\n"
        )
        reason = view.pend_reason
        if view.stat in ("USUSP", "SSUSP"):
            text += " The job was suspended by user;\n"
        elif view.is_waiting:
            text += f" {reason}: 1 host;\n"
    call.out(text)


def _show_arrays(call: Call, views: list[View], shown: fields.Shown) -> None:
    groups: dict[int, list[View]] = {}
    for view in views:
        if view.row.index is not None:
            groups.setdefault(view.row.array, []).append(view)
    text = _ARRAYS
    for id in groups:
        every = [v for some in jobs.by_ids(call, [str(id)], shown.now).values() for v in some]
        counts = [sum(view.stat == stat for view in every) for stat in _COUNTED]
        spec = every[0].options.get("jobname", "") + every[0].options.get("array", "")
        numbers = " ".join(f"{count:{4 if at < 4 else 5}d}" for at, count in enumerate(counts))
        text += f"{id:<8} {shortened(spec, 10):<11} {shown.user[:7]:<7} {len(every):5d} {numbers}\n"
    call.out(text)


def _show_sum(call: Call, views: list[View]) -> None:
    names = ("RUN", "SSUSP", "USUSP", "UNKNOWN", "PEND", "FWD_PEND")
    slots = {name: 0 for name in names}
    for view in views:
        if view.stat in slots:
            slots[view.stat] += view.extra.cores
    call.out("".join(f"{name:<11}" for name in names).rstrip() + "\n")
    call.out("".join(f"{slots[name]:<11}" for name in names).rstrip() + "\n")
