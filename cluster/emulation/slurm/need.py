"""A new job of sbatch, salloc or srun: what is wrong with it, and how it is queued."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Extra
from cluster.emulation.slurm import jobs, site
from cluster.emulation.slurm.dependency import BadDependency, One, parse, translate
from cluster.emulation.slurm.options import BadValue, check
from cluster.emulation.slurm.request import Request, of_values
from cluster.emulation.slurm.times import clock, moment
from cluster.errors import Unsatisfiable
from cluster.spec import ArraySpec, Launch, place
from cluster.states import FINAL

__all__ = [
    "Need",
    "check_values",
    "common",
    "extra",
    "fields",
    "notes",
    "refuse",
    "submit",
    "test_only",
]


@dataclass(frozen=True)
class Need:
    """What a new job is, before it is queued.

    Attributes:
        values: its options.
        request: its need.
        name, partition, account: as they come out.
        begin: not before, seconds since the epoch.
        ones, either: its conditions.
        blocked: why the pretended cluster would never start it.
    """

    values: Mapping[str, str]
    request: Request
    name: str
    partition: str
    account: str
    begin: float = 0.0
    ones: tuple[One, ...] = ()
    either: bool = False
    blocked: str = ""


def refuse(call: Call, text: str) -> Stop:
    """Say that the controller does not take it."""
    if "--test-only" in call.argv and call.command == "sbatch":
        return Stop(f"allocation failure: {text}\n", 1)
    what = {"sbatch": "Batch job submission failed", "salloc": "Job submit/allocate failed"}
    head = what.get(call.command, "Unable to allocate resources")
    return Stop(f"{call.command}: error: {head}: {text}\n", 1)


def common(call: Call, values: Mapping[str, str], default_name: str) -> Need:
    """Check options and work out what they ask for.

    Raises:
        Stop: Slurm would not take them.
    """
    check_values(call, values)
    begin = _begin(call, values)
    request = of_values(values)
    partition = _partition(call, values)
    ones, either = _conditions(call, values)
    return Need(
        values=values,
        request=request,
        name=values.get("job-name") or default_name,
        partition=partition,
        account=values.get("account") or call.machine.user,
        begin=begin,
        ones=tuple(ones),
        either=either,
        blocked=_blocked(call, values, request, partition),
    )


def check_values(call: Call, values: Mapping[str, str]) -> None:
    """End the call if the value of an option cannot be read."""
    try:
        check(values)
    except BadValue as bad:
        kind = "" if bad.text.startswith("fatal: ") else "error: "
        raise Stop(f"{call.command}: {kind}{bad.text}\n", bad.code) from None


def _begin(call: Call, values: Mapping[str, str]) -> float:
    now = time.time()
    for key in ("begin", "deadline"):
        text = values.get(key)
        if text is not None and moment(text, now) is None:
            call.err(f"Invalid time specification (pos=0): {text}\n")
            site.fail(call, f"Invalid --{key} specification", 255)
    when = moment(values.get("begin", "now"), now) or 0.0
    return when if when > now + 0.5 else 0.0


def _partition(call: Call, values: Mapping[str, str]) -> str:
    name = (values.get("partition") or site.default_partition(call)).split(",")[0]
    if not site.is_partition(call, name):
        call.err(f"{call.command}: error: invalid partition specified: {name}\n")
        raise refuse(call, "Invalid partition name specified")
    return name


def _conditions(call: Call, values: Mapping[str, str]) -> tuple[list[One], bool]:
    try:
        return parse(values.get("dependency", ""))
    except BadDependency:
        raise refuse(call, "Job dependency problem") from None


_UNKNOWN_HERE = {
    "constraint": "Invalid feature specification",
    "nodelist": "Invalid node name specified",
    "exclude": "Invalid node name specified",
    "licenses": "Invalid license specification",
    "reservation": "Requested reservation is invalid",
}


def _blocked(call: Call, need_values: Mapping[str, str], request: Request, name: str) -> str:
    """Say why the job would wait for ever; only a strict emulation lets it."""
    if not call.settings.strict:
        return ""
    host = call.machine.host
    there = call.machine.capacity()
    partition = site.partition(call, name)
    for key, what in _UNKNOWN_HERE.items():
        if need_values.get(key, host) != host:
            raise refuse(call, what)
    if request.gpus > there.get("gpus", 0) or request.other_gres:
        raise Stop(f"{call.command}: error: Invalid generic resource (gres) specification\n", 1)
    if request.memory_mib > (partition.memory_mib or there.get("memory_mib", 0)):
        call.err(f"{call.command}: error: Memory specification can not be satisfied\n")
        raise refuse(call, "Requested node configuration is not available")
    if request.cores > (partition.cores or there.get("cores", 1)):
        return "PartitionConfig"
    if request.nodes > partition.nodes:
        return "PartitionNodeLimit"
    if partition.walltime_s and request.walltime_s > partition.walltime_s:
        return "PartitionTimeLimit"
    return ""


def _settle(call: Call, need: Need) -> tuple[tuple[Any, ...], list[One]]:
    """Give the dependencies that the queue is to watch, and the conditions that still count.

    What the controller would not remember any more counts as satisfied.
    """
    ones = list(need.ones)
    same: list[str] = []
    if any(one.type == "singleton" for one in ones):
        live = call.machine.rows(states=jobs.LIVE)
        same = [row.id for row in live if row.info.name == need.name]
    now = time.time()
    known = {row.id: row for row in call.machine.rows([one.job for one in ones if one.job])}
    kept = [one for one in ones if not one.job or _counts(known.get(one.job), now)]
    if need.either and len(kept) < len(ones):
        return (), []
    return translate(kept, same), kept


def _counts(row: Any, now: float) -> bool:
    if row is None:
        return False
    return not (row.info.state in FINAL and row.info.ended < now - site.MIN_JOB_AGE_S)


def fields(call: Call, need: Need, array: ArraySpec | None = None) -> dict[str, Any]:
    """Give the fields of a `JobSpec`."""
    values, request = need.values, need.request
    dependencies, _ = _settle(call, need)
    partition = site.partition(call, need.partition)
    kill = values.get("kill-on-invalid-dep", "no").lower() in ("yes", "y")
    nice = re.match(r"-?\d+", values.get("nice", "") or ("100" if "nice" in values else "0"))
    return {
        "name": need.name.replace("\n", " ") or "sbatch",
        "cores": request.cores,
        "memory_mib": request.memory_mib,
        "gpus": request.gpus,
        "hold": "hold" in values or values.get("priority") == "0" or bool(need.blocked),
        "begin": need.begin,
        "walltime_s": request.walltime_s or partition.walltime_s,
        "priority": -int(nice[0]) if nice else 0,
        "dependencies": dependencies,
        "either": need.either,
        "on_unsatisfiable": "cancel" if kill else "pend",
        "requeue": "no-requeue" not in values,
        "comment": values.get("comment", ""),
        "array": array,
    }


def extra(call: Call, need: Need, kind: str, **more: str) -> Extra:
    """Give what is kept with the job for squeue and its like."""
    values, request = need.values, need.request
    kept = {
        "kind": kind,
        "qos": values.get("qos", "normal"),
        "ntasks": str(request.ntasks),
        "cpus_per_task": str(request.cpus_per_task),
        "dependency": values.get("dependency", ""),
        "blocked": need.blocked,
        "requeue": "0" if "no-requeue" in values else "1",
        **more,
    }
    for key in ("array", "constraint", "mail-type", "mail-user", "nice", "licenses", "wckey",
                "gres", "signal", "exclusive", "mem", "mem-per-cpu", "reservation",
                "nodelist", "exclude", "time-min"):  # fmt: skip
        if key in values:
            kept[key] = values[key] or "yes"
    if values.get("priority", "").isdigit():
        kept["priority"] = values["priority"]
    return Extra(
        partition=need.partition,
        account=need.account,
        comment=values.get("comment", ""),
        cores=request.cores,
        memory_mib=request.memory_mib,
        gpus=request.gpus,
        nodes=request.nodes,
        tasks=request.ntasks,
        cwd=os.fsdecode(call.cwd),
        submit=shlex.join([call.command, *call.argv]),
        options={name: value for name, value in kept.items() if value},
    )


def submit(call: Call, launch: Launch, spec: dict[str, Any], kept: Extra, env: Any) -> str:
    """Queue it; what does not fit is what Slurm would say."""
    strict = call.settings.strict
    if strict and kept.options.get("blocked"):
        spec = spec | {"cores": 1, "memory_mib": 0}
    try:
        return call.machine.submit(launch, spec, kept, env, clamp=not strict)
    except Unsatisfiable:
        raise refuse(call, "Requested node configuration is not available") from None


def notes(host: str, what: str = "JOB", id: bytes = b"") -> dict[str, bytes]:
    """Give the lines that slurmstepd writes into a job's output when it is ended."""
    head = b"slurmstepd-%s: error: *** %s %s ON %s CANCELLED AT %s" % (
        os.fsencode(host), what.encode(), id or place("member"), os.fsencode(host), place("time"),
    )  # fmt: skip
    oom = (
        b"slurmstepd-%s: error: Detected 1 oom-kill event(s) in StepId=%s.batch. Some of your "
        b"processes may have been killed by the cgroup out-of-memory handler.\n"
    )
    return {
        "cancel": head + b" ***\n",
        "requeue": head + b" DUE TO JOB REQUEUE ***\n",
        "walltime": head + b" DUE TO TIME LIMIT ***\n",
        "memory": oom % (os.fsencode(host), place("member")),
    }


def test_only(call: Call, need: Need) -> int:
    """Say when the job would start, as `--test-only` does."""
    if need.blocked:
        raise Stop("allocation failure: Requested node configuration is not available\n", 1)
    newest = call.machine.rows(limit=1)
    id = newest[-1].array + 1 if newest else 1
    when = clock(max(time.time(), need.begin))
    if "quiet" not in need.values:
        call.err(
            f"{call.command}: Job {id} to start at {when} using {need.request.cores} processors "
            f"on nodes {call.machine.host} in partition {need.partition}\n"
        )
    return 0
