"""qstat -j: everything about one job, as text or XML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cluster import states
from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.sge import details_xml, environment, jobs, relations, values
from cluster.emulation.sge.options import Asked, pairs

if TYPE_CHECKING:
    from cluster.emulation.sge.submission import Plan

__all__ = ["show", "verified"]

_RULE = "=" * 62
_ENV = (("HOME", "home"), ("LOGNAME", "log_name"), ("PATH", "path"), ("SHELL", "shell"),
        ("TZ", "tz"))  # fmt: skip


def show(call: Call, words: str, *, xml: bool) -> int:
    """Show jobs by id, name or pattern; without any, why jobs wait."""
    if not words:
        call.out(_why_all(call))
        return 0
    targets = jobs.select(call.machine, [words], "qstat")
    rows = list({row.array: row for target in targets for row in target.rows}.values())
    missing = [target.word for target in targets if not target.rows]
    if xml:
        call.out(details_xml.shown(call, rows, missing))
        return 0
    if not rows:
        call.err("Following jobs do not exist: \n" + "".join(f"{word}\n" for word in missing))
        return 1
    everyone = jobs.alive_jobs(call.machine)
    for row in rows:
        call.out(f"{_RULE}\n" + "".join(_text(call, row, everyone)))
    return 0


def _line(name: str, value: object) -> str:
    return f"{name + ':':<27} {value}\n"


# ---------------------------------------------------------------- text


def _text(call: Call, row: Row, everyone: Sequence[Row]) -> Iterable[str]:
    options, info = row.extra.options, row.info
    yield _line("job_number", row.array)
    yield _line("exec_file", f"job_scripts/{row.array}")
    yield _line("submission_time", values.date(info.submitted))
    yield _line("owner", call.machine.user)
    yield from _identity(call)
    for variable, name in _ENV:
        if f"O_{variable}" in options:
            yield _line(f"sge_o_{name}", options[f"O_{variable}"])
    yield _line("sge_o_workdir", row.extra.cwd)
    yield _line("sge_o_host", call.machine.host)
    if info.begin:
        yield _line("execution_time", values.date(info.begin))
    yield from _request(call, row)
    yield from _relations(row, everyone)
    yield from _tail(call, row)


def _identity(call: Call) -> Iterable[str]:
    yield _line("uid", os.getuid())
    yield _line("group", environment.group())
    yield _line("gid", os.getgid())


def _request(call: Call, row: Row) -> Iterable[str]:
    options, info = row.extra.options, row.info
    yield _line("account", row.extra.account)
    if options.get("cwd") == "y":
        yield _line("cwd", row.extra.cwd)
    elif options.get("wd"):
        yield _line("cwd", options["wd"])
    if "e" in options:
        yield _line("stderr_path_list", _paths(options["e"]))
    if options.get("R") == "y":
        yield _line("reserve", "y")
    if options.get("j") == "y":
        yield _line("merge", "y")
    for title, key in (("hard", "l"), ("soft", "soft l")):
        if key in options:
            yield f"{title + ' resource_list:':<27} {_resources(options[key])}\n"
    if options.get("m", "n") != "n":
        yield _line("mail_options", "".join(c for c in "beas" if c in options["m"]))
    mail = options.get("M") or f"{call.machine.user}@{call.machine.host}"
    yield _line("mail_list", mail)
    yield _line("notify", "TRUE" if options.get("notify") == "y" else "FALSE")
    yield _line("job_name", info.name)
    if "o" in options:
        yield _line("stdout_path_list", _paths(options["o"]))
    if "i" in options:
        yield _line("stdin_path_list", _paths(options["i"]))
    if info.priority:
        yield _line("priority", info.priority)
    yield _line("jobshare", options.get("js", "0"))
    for title, key in (("hard_queue_list", "q"), ("soft_queue_list", "soft q"),
                       ("master hard queue_list", "masterq")):  # fmt: skip
        if key in options:
            yield _line(title, options[key])
    if "r" in options:
        yield _line("restart", options["r"])
    if "S" in options:
        yield _line("shell_list", _paths(options["S"], depth=1))
    if "P" in options:
        yield _line("project", options["P"])
    yield _line("env_list", options.get("env_list", "TERM=NONE"))
    if words := json.loads(options.get("args", "[]")):
        yield _line("job_args", ",".join(_quoted(word) for word in words))
    yield _line("script_file", options.get("script_file", ""))
    if pe := options.get("pe"):
        name, _, slots = pe.partition(" ")
        yield f"parallel environment:  {name} range: {slots}\n"


def _relations(row: Row, everyone: Sequence[Row]) -> Iterable[str]:
    options = row.extra.options
    for key, kept, title, there in (
        ("hold_jid", "waits", "jid_predecessor_list", "jid_successor_list"),
        ("hold_jid_ad", "elements", "ja_ad_predecessor_list", "ja_ad_successor_list"),
    ):
        if key == "hold_jid" and key in options:
            yield f"{title + ' (req):':<27} {options[key]}\n"
        left = [id for id in options.get(kept, "").split(",") if id and _lives(id, everyone)]
        if left:
            yield _line(title, ",".join(left))
        successors = relations.successors(row, kept, everyone)
        if successors:
            yield _line(there, ",".join(successors))


def _lives(id: str, everyone: Sequence[Row]) -> bool:
    return any(other.id == id for other in everyone)


def _tail(call: Call, row: Row) -> Iterable[str]:
    options = row.extra.options
    numbers = jobs.tasks_of(row)
    if numbers:
        yield _line("job-array tasks", values.structure(numbers))
    if options.get("tc", "0") != "0":
        yield _line("maximum concurrency", options["tc"])
    if "ac" in options:
        shown = [f"{n}={'' if v is None else v}" for n, v in pairs(options["ac"]).items()]
        yield _line("context", ",".join(shown))
    yield _line("binding", "NONE")
    yield _line("job_type", options.get("type", "NONE"))
    tasks = relations.tasks(call, row)
    running = [one for one in tasks if one.info.state in states.ACTIVE or one.info.ending]
    for one in running:
        yield f"usage {one.index or 1:9d}:            {_usage(one)}\n"
    for one in running:
        yield f"binding {one.index or 1:7d}:            NONE\n"
    for one in tasks:
        if jobs.is_error(one):
            stamp = values.clock(one.info.eligible)
            who = f"[{os.getuid()}:{one.info.pid}]"
            title = f"error reason {one.index or 1:10d}:"
            yield f"{title}      {stamp} {who}: {jobs.error(one)}\n"
    for reason in relations.reasons(row, tasks)[:1]:
        yield _line("scheduling info", reason)


def _usage(row: Row) -> str:
    cpu = int(row.info.cpu_s)
    peak = f"{row.info.peak_memory_mib:.3f}M" if row.info.peak_memory_mib else "N/A"
    spent = f"{cpu // 3600:02}:{cpu // 60 % 60:02}:{cpu % 60:02}"
    return f"cpu={spent}, mem=0.00000 GB s, io=0.00000 GB, vmem={peak}, maxvmem={peak}"


def _why_all(call: Call) -> str:
    titles = {
        "Job is in error state": "Jobs dropped because of error state",
        "Job is in hold state": "Jobs dropped because of hold state",
        "execution time not reached": "Jobs can not run because execution time not reached",
        "job dropped because of job dependencies": "Job dropped because of job dependencies",
        "not all array tasks may be started due to 'max_aj_instances'":
        "Not all array tasks may be started due to 'max_aj_instances'",
    }  # fmt: skip
    found: dict[str, list[str]] = {}
    for row in jobs.alive_jobs(call.machine):
        for reason in relations.reasons(row, relations.tasks(call, row))[:1]:
            found.setdefault(titles.get(reason, reason), []).append(row.id)
    ordered = [title for title in titles.values() if title in found]
    rest = [title for title in found if title not in ordered]
    return "\n".join(
        f"{title}\n" + "".join(f"\t{id}\n" for id in found[title]) for title in ordered + rest
    )


def _paths(text: str, depth: int = 2) -> str:
    shown = []
    for part in text.split(","):
        head, colon, tail = part.partition(":")
        host, path = (head or "NONE", tail) if colon and "/" not in head else ("NONE", part)
        shown.append(":".join([host] + ["NONE"] * (depth - 1) + [path]))
    return ",".join(shown)


def _resources(text: str) -> str:
    return ",".join(f"{n}={'TRUE' if v is None else v}" for n, v in pairs(text).items())


def _quoted(word: str) -> str:
    return f"'{word}'" if not word or any(char.isspace() for char in word) else word


# ---------------------------------------------------------------- -verify


def verified(call: Call, asked: Asked, made: Plan, rest: Sequence[str]) -> str:
    """Show a request that is not submitted, as `qsub -verify` does."""
    home, shell = call.variable("HOME") or "", call.variable("SHELL") or ""
    lines = [
        _line("job_number", "unassigned"),
        _line("owner", ""),
        _line("uid", 0),
        _line("group", ""),
        _line("gid", 0),
        _line("sge_o_home", home),
        _line("sge_o_log_name", call.machine.user),
        _line("sge_o_path", call.variable("PATH") or ""),
        _line("sge_o_shell", shell),
        _line("sge_o_workdir", os.fsdecode(call.cwd)),
        _line("sge_o_host", call.machine.host),
        _line("mail_list", f"{call.machine.user}@{call.machine.host}"),
        _line("notify", "TRUE" if asked.on("notify") else "FALSE"),
        _line("job_name", made.name),
        _line("jobshare", asked.get("js", "0")),
        _line("verify", "-verify"),
        _line("env_list", "TERM"),
        _line("script_file", rest[0] if rest else "STDIN"),
        _line("job_type", "binary" if asked.on("b") else "NONE"),
    ]
    return "".join(lines)
