"""qstat -xml -j: everything about jobs, as XML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from cluster import states
from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.sge import environment, jobs, listing_xml, relations, values
from cluster.emulation.sge.listing_xml import tag
from cluster.emulation.sge.options import pairs

__all__ = ["shown"]

_MAIL = {"b": 1 << 19, "e": 1 << 20}  # the bits of -m
_DETAIL = f'<detailed_job_info  xmlns:xsd="{listing_xml.SCHEMAS}/qstat/detailed_job_info.xsd">'


def shown(call: Call, rows: Sequence[Row], missing: Sequence[str]) -> str:
    """Write jobs; without any, the words that name none."""
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
    reasons = relations.reasons(row, relations.tasks(call, row))
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
    yield from (
        ("JB_job_number", row.array),
        ("JB_ar", 0),
        ("JB_exec_file", f"job_scripts/{row.array}"),
        ("JB_submission_time", int(info.submitted)),
        ("JB_owner", user),
        ("JB_uid", os.getuid()),
        ("JB_group", environment.group()),
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
    if tasks := [_task_node(one) for one in relations.tasks(call, row) if _has_started(one)]:
        yield ("JB_ja_tasks", tasks)
    yield from _more_nodes(call, row)


def _more_nodes(call: Call, row: Row) -> Iterable[tuple[str, object]]:
    options, info = row.extra.options, row.info
    if "ac" in options:
        yield ("JB_context", [("context_list", _variable(n, v or ""))
                              for n, v in pairs(options["ac"]).items()])  # fmt: skip
    if options.get("cwd") == "y":
        yield ("JB_cwd", row.extra.cwd)
    if "waits" in options:
        yield ("JB_jid_predecessor_list", [("job_predecessors", [("JRE_job_number", id)])
                                           for id in options["waits"].split(",")])  # fmt: skip
    for kept, title in (("waits", "JB_jid_successor_list"),
                        ("elements", "JB_ja_ad_successor_list")):  # fmt: skip
        if successors := relations.successors(row, kept, jobs.alive_jobs(call.machine)):
            yield (title, [("ulong_sublist", [("JRE_job_number", id)]) for id in successors])
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
    yield from pairs(options.get("v", "")).items()


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
