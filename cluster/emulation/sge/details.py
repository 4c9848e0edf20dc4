"""qstat -j: everything about one job, as text or XML."""

from __future__ import annotations

import grp
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster import states
from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.sge import jobs, listing_xml, values
from cluster.emulation.sge.listing_xml import tag
from cluster.emulation.sge.options import Asked, pairs

if TYPE_CHECKING:
    from cluster.emulation.sge.submission import Plan

__all__ = ["show", "verified"]

_RULE = "=" * 62
_MAIL = {"b": 1 << 19, "e": 1 << 20}  # the bits of -m
_ENV = (("HOME", "home"), ("LOGNAME", "log_name"), ("PATH", "path"), ("SHELL", "shell"),
        ("TZ", "tz"))  # fmt: skip
_DETAIL = f'<detailed_job_info  xmlns:xsd="{listing_xml.SCHEMAS}/qstat/detailed_job_info.xsd">'


def show(call: Call, words: str, *, xml: bool) -> int:
    """Show jobs by id, name or pattern; without any, why jobs wait."""
    if not words:
        call.out(_why_all(call))
        return 0
    targets = jobs.select(call.machine, [words], "qstat")
    rows = list({row.array: row for target in targets for row in target.rows}.values())
    missing = [target.word for target in targets if not target.rows]
    if xml:
        call.out(_xml(call, rows, missing))
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
    group = str(os.getgid())
    with suppress(KeyError):
        group = grp.getgrgid(os.getgid()).gr_name
    yield _line("uid", os.getuid())
    yield _line("group", group)
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
    mail = (
        options.get("M") or f"{call.machine.user}@{call.machine.host}"
    )
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
        if key in options:
            yield f"{title + ' (req):':<27} {options[key]}\n"
        left = [id for id in options.get(kept, "").split(",") if id and _lives(id, everyone)]
        if left:
            yield _line(title, ",".join(left))
        successors = _successors(row, kept, everyone)
        if successors:
            yield _line(there, ",".join(successors))


def _successors(row: Row, kept: str, everyone: Sequence[Row]) -> list[str]:
    return [
        other.id
        for other in everyone
        if str(row.array) in other.extra.options.get(kept, "").split(",")
    ]


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
    tasks = _tasks(call, row)
    running = [one for one in tasks if one.info.state in states.ACTIVE or one.info.ending]
    for one in running:
        yield f"usage {one.index or 1:9d}:            {_usage(one)}\n"
    for one in running:
        yield f"binding {one.index or 1:7d}:            NONE\n"
    for one in tasks:
        if jobs.is_error(one):
            stamp = values.clock(one.info.eligible)
            yield f"error reason {one.index or 1:10d}:      {stamp} [{os.getuid()}:{one.info.pid}]: "
            yield f"{jobs.error(one)}\n"
    for reason in _reasons(row, tasks)[:1]:
        yield _line("scheduling info", reason)


def _tasks(call: Call, row: Row) -> list[Row]:
    if row.is_array:
        return call.machine.rows([row.id], elements=True)
    return [row]


def _usage(row: Row) -> str:
    cpu = int(row.info.cpu_s)
    peak = f"{row.info.peak_memory_mib:.3f}M" if row.info.peak_memory_mib else "N/A"
    spent = f"{cpu // 3600:02}:{cpu // 60 % 60:02}:{cpu % 60:02}"
    return f"cpu={spent}, mem=0.00000 GB s, io=0.00000 GB, vmem={peak}, maxvmem={peak}"


def _reasons(row: Row, tasks: Sequence[Row]) -> list[str]:
    """Say what keeps it from starting, in Grid Engine's words."""
    info, options = row.info, row.extra.options
    if any(jobs.is_error(one) for one in tasks):
        return ["Job is in error state"]
    if info.state == states.HELD and options.get("impossible"):
        return [options["impossible"]]
    if info.state == states.HELD:
        return ["Job is in hold state"]
    if jobs.waits(row):
        return ["Job is in hold state" if options.get("elements")
                else "job dropped because of job dependencies"]  # fmt: skip
    if info.begin > info.submitted and info.state == states.PENDING and "Begin" in info.reason:
        return ["execution time not reached"]
    if row.is_array and options.get("tc", "0") != "0" and info.counts.get(states.PENDING):
        return ["not all array tasks may be started due to 'max_aj_instances'"]
    if info.state == states.PENDING and options.get("pe"):
        return [f'cannot run in PE "{options["pe"].split()[0]}" because it only offers 0 slots']
    if info.state == states.PENDING and not row.is_array:
        return [f'queue instance "{row.extra.partition}@{options.get("host", "")}" dropped '
                "because it is full"]  # fmt: skip
    return []


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
        for reason in _reasons(row, _tasks(call, row))[:1]:
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


# ---------------------------------------------------------------- XML


def _xml(call: Call, rows: Sequence[Row], missing: Sequence[str]) -> str:
    head = "<?xml version='1.0'?>\n"
    if not rows:
        names = "".join(f"    {tag('ST_name', word)}\n" for word in missing)
        return f"{head}<unknown_jobs >\n{names}</unknown_jobs>\n"
    elements = "".join(f"    <element>\n{_element(call, row)}    </element>\n" for row in rows)
    messages = "".join(_message(call, row) for row in rows)
    inner = f"      <SME_message_list>\n{messages}      </SME_message_list>\n" if messages else ""
    return (
        f"{head}{_DETAIL}\n  <djob_info>\n{elements}  </djob_info>\n"
        f"  <messages>\n    <element>\n{inner}    </element>\n  </messages>\n"
        "</detailed_job_info>\n"
    )


def _message(call: Call, row: Row) -> str:
    reasons = _reasons(row, _tasks(call, row))
    if not reasons:
        return ""
    return (
        "        <element>\n          <MES_job_number_list>\n            <ulong_sublist>\n"
        f"              {tag('ULNG_value', row.array)}\n            </ulong_sublist>\n"
        "          </MES_job_number_list>\n"
        f"          {tag('MES_message_number', 0)}\n"
        f"          {tag('MES_message', reasons[0])}\n        </element>\n"
    )


def _tree(node: tuple[str, Any], depth: int) -> str:
    """Write (name, text), or (name, children), with blanks in front."""
    name, value = node
    blanks = "  " * depth
    if isinstance(value, list):
        inner = "".join(_tree(child, depth + 1) for child in value)
        return f"{blanks}<{name}>\n{inner}{blanks}</{name}>\n"
    return f"{blanks}{tag(name, value)}\n"


def _element(call: Call, row: Row) -> str:
    return "".join(_tree(node, 3) for node in _nodes(call, row))


def _nodes(call: Call, row: Row) -> Iterable[tuple[str, object]]:
    options, info = row.extra.options, row.info
    user = call.machine.user
    group = str(os.getgid())
    with suppress(KeyError):
        group = grp.getgrgid(os.getgid()).gr_name
    yield from (
        ("JB_job_number", row.array),
        ("JB_ar", 0),
        ("JB_exec_file", f"job_scripts/{row.array}"),
        ("JB_submission_time", int(info.submitted)),
        ("JB_owner", user),
        ("JB_uid", os.getuid()),
        ("JB_group", group),
        ("JB_gid", os.getgid()),
        ("JB_account", row.extra.account),
        ("JB_merge_stderr", "true" if options.get("j") == "y" else "false"),
        ("JB_mail_list", [("element", [("MR_user", user), ("MR_host", call.machine.host)])]),
        ("JB_notify", "true" if options.get("notify") == "y" else "false"),
        ("JB_job_name", info.name),
    )
    if "o" in options:
        yield ("JB_stdout_path_list", _path_nodes(options["o"]))
    yield ("JB_jobshare", int(options.get("js", "0")))
    if "l" in options:
        yield ("JB_hard_resource_list", [_requested(n, v) for n, v in pairs(options["l"]).items()])
    if "q" in options:
        yield ("JB_hard_queue_list", [("destin_ident_list", [("QR_name", part)])
                                      for part in options["q"].split(",")])  # fmt: skip
    if "S" in options:
        yield ("JB_shell_list", _path_nodes(options["S"]))
    if "e" in options:
        yield ("JB_stderr_path_list", _path_nodes(options["e"]))
    yield ("JB_env_list", [("job_sublist", _variable(n, v)) for n, v in _env_nodes(call, row)])
    if words := json.loads(options.get("args", "[]")):
        yield ("JB_job_args", [("element", [("ST_name", word)]) for word in words])
    yield ("JB_script_file", options.get("script_file", ""))
    if tasks := [_task_node(one) for one in _tasks(call, row) if _has_started(one)]:
        yield ("JB_ja_tasks", tasks)
    yield from _more_nodes(call, row)


def _more_nodes(call: Call, row: Row) -> Iterable[tuple[str, object]]:
    options, info = row.extra.options, row.info
    if "ac" in options:
        yield ("JB_context", [("context_list", _variable(n, v or ""))
                              for n, v in pairs(options["ac"]).items()])  # fmt: skip
    if "waits" in options:
        yield ("JB_jid_predecessor_list", [("job_predecessors", [("JRE_job_number", id)])
                                           for id in options["waits"].split(",")])  # fmt: skip
    for kept, title in (("waits", "JB_jid_successor_list"),
                        ("elements", "JB_ja_ad_successor_list")):  # fmt: skip
        if successors := _successors(row, kept, jobs.alive_jobs(call.machine)):
            yield (title, [("ulong_sublist", [("JRE_job_number", id)]) for id in successors])
    if options.get("cwd") == "y":
        yield ("JB_cwd", row.extra.cwd)
    yield from (
        ("JB_deadline", 0),
        ("JB_execution_time", int(info.begin)),
        ("JB_checkpoint_attr", 0),
        ("JB_checkpoint_interval", 0),
        ("JB_reserve", "true" if options.get("R") == "y" else "false"),
        ("JB_mail_options", sum(_MAIL.get(char, 0) for char in options.get("m", ""))),
        ("JB_priority", 1024 + info.priority),
        ("JB_restart", int(options.get("r") == "y")),
        ("JB_verify", 0),
        ("JB_script_size", 0),
    )
    if pe := options.get("pe"):
        name, _, slots = pe.partition(" ")
        least, most = values.slot_range(slots, "qstat")
        yield ("JB_pe", name)
        yield ("JB_pe_range", [("ranges", _range(least, most or 9999999, 1))])
    yield from (
        ("JB_verify_suitable_queues", 0),
        ("JB_soft_wallclock_gmt", 0),
        ("JB_hard_wallclock_gmt", 0),
        ("JB_override_tickets", 0),
        ("JB_version", 0),
    )
    numbers = jobs.tasks_of(row) or (1,)
    ranges = [part.replace(":", "-").split("-") for part in values.structure(numbers).split(",")]
    yield ("JB_ja_structure", [("task_id_range", _range(*part)) for part in ranges])
    kind = (64 if options.get("type") == "binary" else 0) | (128 if jobs.tasks_of(row) else 0)
    yield ("JB_type", kind)
    yield ("JB_binding", [("element", [
        ("BN_strategy", "no_job_binding"), ("BN_type", 0), ("BN_parameter_n", 0),
        ("BN_parameter_socket_offset", 0), ("BN_parameter_core_offset", 0),
        ("BN_parameter_striding_step_size", 0), ("BN_parameter_explicit", "no_explicit_binding"),
    ])])  # fmt: skip
    yield ("JB_ja_task_concurrency", int(options.get("tc", "0")))
    yield ("JB_nurg", "0.000000")


def _range(first: object, last: object, step: object) -> list[tuple[str, object]]:
    return [("RN_min", first), ("RN_max", last), ("RN_step", step)]


def _path_nodes(text: str) -> list[tuple[str, object]]:
    return [("path_list", [("PN_path", part.partition(":")[2] or part), ("PN_host", ""),
                           ("PN_file_host", ""), ("PN_file_staging", "false")])
            for part in text.split(",")]  # fmt: skip


def _requested(name: str, value: str | None) -> tuple[str, object]:
    text = "TRUE" if value is None else value
    number = values.memory_bytes(text) or values.seconds(text) or 0.0
    return ("qstat_l_requests", [
        ("CE_name", name), ("CE_valtype", 4), ("CE_stringval", text),
        ("CE_doubleval", f"{number:f}"), ("CE_relop", 0), ("CE_consumable", 0), ("CE_dominant", 0),
        ("CE_pj_doubleval", "0.000000"), ("CE_pj_dominant", 0), ("CE_requestable", 0),
        ("CE_tagged", 0),
    ])  # fmt: skip


def _variable(name: str, value: str | None) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = [("VA_variable", name)]
    return shown if value is None else [*shown, ("VA_value", value)]


def _env_nodes(call: Call, row: Row) -> Iterable[tuple[str, str | None]]:
    options = row.extra.options
    for variable in ("HOME", "LOGNAME", "PATH", "SHELL", "MAIL"):
        if f"O_{variable}" in options:
            yield f"__SGE_PREFIX__O_{variable}", options[f"O_{variable}"]
    yield "TERM", None
    yield "__SGE_PREFIX__O_HOST", call.machine.host
    yield "__SGE_PREFIX__O_WORKDIR", row.extra.cwd
    for name, value in pairs(options.get("v", "")).items():
        yield name, value


def _has_started(row: Row) -> bool:
    return row.info.state in states.ACTIVE or row.info.ending or jobs.is_error(row)


def _task_node(row: Row) -> tuple[str, object]:
    status = 128 if not jobs.is_error(row) else 0
    node: list[tuple[str, object]] = [("JAT_status", status), ("JAT_task_number", row.index or 1)]
    if jobs.is_error(row):
        words = (
            f"{values.clock(row.info.eligible)} [{os.getuid()}:{row.info.pid}]: {jobs.error(row)}"
        )
        node.append(("JAT_message_list", [("element", [("QIM_type", 1), ("QIM_message", words)])]))
    else:
        used = {"cpu": row.info.cpu_s, "mem": 0.0, "io": 0.0, "iow": 0.0, "vmem": 0.0,
                "maxvmem": row.info.peak_memory_mib * (1 << 20)}  # fmt: skip
        node.append(("JAT_scaled_usage_list", [
            ("scaled", [("UA_name", name), ("UA_value", f"{value:.6f}")])
            for name, value in used.items()
        ]))  # fmt: skip
        node.append(("JAT_start_time", int(row.info.started)))
    return ("ulong_sublist", [*node, ("JAT_ntix", "0.500000")])


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
