"""`--json` of squeue, sacct and sinfo, in the form of openapi v0.0.38."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from typing import Any

from cluster.emulation.call import Call
from cluster.emulation.slurm import jobs
from cluster.emulation.slurm.environment import CLUSTER
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.sacct_fields import Entry, state
from cluster.emulation.slurm.squeue import Conditions
from cluster.emulation.slurm.squeue_fields import NAMES, Line

__all__ = ["dump", "dump_books", "dump_nodes"]


def _meta(plugin: str, name: str) -> dict[str, Any]:
    return {
        "plugin": {"type": plugin, "name": name},
        "Slurm": {"version": {"major": 22, "micro": 8, "minor": 5}, "release": "22.05.8"},
    }


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False).replace("/", "\\/")


def dump(call: Call, form: str) -> str:
    """Write all jobs that are remembered; as squeue does, whatever else was asked."""
    now = time.time()
    rows = jobs.recent(call.machine, now)
    conditions = Conditions(call, rows)
    host, user = call.machine.host, call.machine.user
    lines = [Line(view, host, user, status=conditions.status) for view in jobs.grouped(rows, now)]
    return _text({
        "meta": _meta("openapi/v0.0.38", "Slurm OpenAPI v0.0.38"),
        "errors": [],
        "jobs": [_job(line) for line in lines],
    })  # fmt: skip


def _job(line: Line) -> dict[str, Any]:
    view, extra, options = line.view, line.view.extra, line.view.options
    waits = NAMES["dependency"].value(line)
    array = view.row.array if view.is_array else 0
    return {
        "account": extra.account,
        "array_job_id": array,
        "array_max_tasks": view.throttle,
        "array_task_id": view.row.index if array and not view.indices else None,
        "array_task_string": view.index if view.indices else "",
        "batch_flag": view.is_batch,
        "batch_host": line.host if view.ran else "",
        "cluster": CLUSTER,
        "command": extra.command,
        "comment": extra.comment,
        "cpus": extra.cores,
        "cpus_per_task": int(options.get("cpus_per_task", "1")),
        "current_working_directory": options.get("workdir") or extra.cwd,
        "dependency": "" if waits == "(null)" else waits,
        "derived_exit_code": 0,
        "eligible_time": int(view.info.eligible),
        "end_time": int(view.end),
        "exit_code": int(NAMES["exitcode"].value(line)),
        "features": options.get("constraint", ""),
        "flags": ["JOB_WAS_RUNNING"] if view.ran else [],
        "gres_detail": [],
        "group_id": os.getgid(),
        "job_id": view.raw,
        "job_resources": {"nodes": line.host, "allocated_cpus": extra.cores} if view.ran else {},
        "job_state": view.state,
        "memory_per_cpu": None,
        "memory_per_node": extra.memory_mib or None,
        "name": view.info.name,
        "node_count": extra.nodes,
        "nodes": line.host if view.ran else "",
        "partition": extra.partition,
        "priority": view.priority,
        "qos": options.get("qos", "normal"),
        "requeue": options.get("requeue", "1") == "1",
        "restart_cnt": max(0, view.info.attempt - 1),
        "standard_error": NAMES["stderr"].value(line),
        "standard_input": options.get("stdin", "/dev/null"),
        "standard_output": NAMES["stdout"].value(line),
        "start_time": int(view.info.started),
        "state_description": "",
        "state_reason": view.reason,
        "submit_time": int(view.info.submitted),
        "tasks": int(options.get("ntasks", "1")),
        "time_limit": int(view.walltime_s // 60) or None,
        "tres_alloc_str": NAMES["tresalloc"].value(line) if view.ran else "",
        "tres_req_str": NAMES["tresalloc"].value(line),
        "user_id": os.getuid(),
        "user_name": line.user,
        "wckey": options.get("wckey", ""),
    }


def dump_books(call: Call, entries: Sequence[Entry]) -> str:
    """Write jobs with their steps, as sacct does."""
    found: list[dict[str, Any]] = []
    for entry in entries:
        if entry.is_job:
            found.append(_booked(entry))
        elif found:
            found[-1]["steps"].append(_step(entry))
    return _text({
        "meta": _meta("openapi/dbv0.0.38", "Slurm OpenAPI DB v0.0.38"),
        "errors": [],
        "jobs": found,
    })  # fmt: skip


def _exit(code: int, number: int) -> dict[str, Any]:
    status = "SIGNALED" if number else "ERROR" if code else "SUCCESS"
    found: dict[str, Any] = {"status": status, "return_code": code}
    return {**found, "signal": {"signal_id": number}} if number else found


def _times(view: View) -> dict[str, int]:
    return {
        "elapsed": int(view.elapsed_s),
        "eligible": int(view.info.eligible),
        "end": int(view.info.ended),
        "start": int(view.info.started),
        "submission": int(view.info.submitted),
        "limit": int(view.walltime_s // 60),
    }


def _booked(entry: Entry) -> dict[str, Any]:
    view = entry.view
    code, number = view.exit_code
    return {
        "account": view.extra.account,
        "array": {"job_id": view.row.array if view.is_array else 0,
                  "task_id": view.row.index if not view.indices else None,
                  "task": view.index if view.indices else None},
        "cluster": CLUSTER,
        "comment": {"job": view.extra.comment},
        "exit_code": _exit(code, number),
        "group": entry.group,
        "job_id": view.raw,
        "name": view.info.name,
        "nodes": entry.host if view.ran else "None assigned",
        "partition": view.extra.partition,
        "qos": view.options.get("qos", "normal"),
        "required": {"CPUs": view.extra.cores, "memory": view.extra.memory_mib},
        "state": {"current": state(entry), "reason": view.reason},
        "steps": [],
        "time": _times(view),
        "user": entry.user,
        "working_directory": view.options.get("workdir") or view.extra.cwd,
    }  # fmt: skip


def _step(entry: Entry) -> dict[str, Any]:
    code, number = entry.view.exit_code
    if entry.step is not None:
        code, number = entry.step.code, entry.step.signal
    name = "batch" if entry.step is None else entry.step.name
    return {
        "exit_code": _exit(code, number),
        "state": state(entry),
        "step": {"id": f"{entry.view.raw}{entry.suffix}", "name": name},
        "tasks": {"count": entry.step.tasks if entry.step else 1},
    }


def dump_nodes(call: Call, partitions: Sequence[str]) -> str:
    """Write the node, as sinfo does."""
    there, free = call.machine.capacity(), call.machine.free()
    cores, memory = there.get("cores", 1), there.get("memory_mib", 0)
    busy = cores - free.get("cores", cores)
    state_ = "idle" if not busy else "allocated" if busy >= cores else "mixed"
    node = {
        "address": "127.0.0.1",
        "alloc_cpus": busy,
        "alloc_memory": memory - free.get("memory_mib", memory),
        "architecture": platform.machine(),
        "cores": 1,
        "cpus": cores,
        "free_memory": free.get("memory_mib", memory),
        "gres": f"gpu:{there['gpus']}" if there.get("gpus") else "",
        "hostname": call.machine.host,
        "idle_cpus": cores - busy,
        "name": call.machine.host,
        "partitions": list(partitions),
        "real_memory": memory,
        "reason": "",
        "slurmd_version": "22.05.8",
        "sockets": cores,
        "state": state_,
        "state_flags": [],
        "threads": 1,
    }
    meta = _meta("openapi/v0.0.38", "Slurm OpenAPI v0.0.38")
    return _text({"meta": meta, "errors": [], "nodes": [node]})
