"""sbatch: a script and its options become a job of the queue."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Extra
from cluster.emulation.slurm import environment, jobs, patterns, site
from cluster.emulation.slurm.dependency import BadDependency, One, parse, translate
from cluster.emulation.slurm.getopt import BadOption
from cluster.emulation.slurm.indices import BadArray
from cluster.emulation.slurm.indices import parse as parse_array
from cluster.emulation.slurm.options import SBATCH, BadValue, check, of_environment
from cluster.emulation.slurm.request import Request, of_values
from cluster.emulation.slurm.script import BadDirective, directives, read_script, wrapped
from cluster.emulation.slurm.times import clock, moment, parse_signal
from cluster.emulation.slurm.usage import usage
from cluster.errors import Unsatisfiable
from cluster.spec import ArraySpec, Launch, place
from cluster.states import FINAL

__all__ = ["Need", "common", "placed", "refuse", "sbatch", "settle", "submit", "test_only"]


def sbatch(call: Call) -> int:
    """Submit a batch script."""
    typed, words = site.options(call, SBATCH, stop=True, code=255)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if "help" in given or "usage" in given:
        call.out(usage("sbatch", "script [args...]", SBATCH))
        return 0
    from_env = of_environment("b", call.variable)
    command = given.get("wrap", from_env.get("wrap"))
    if command is not None:
        if words:
            site.fail(call, "Script arguments not permitted with --wrap option")
        script, path = wrapped(command), ""
    else:
        script, path = read_script(call, words)
    values = _directed(call, script, path) | from_env | given
    site.check_clusters(call, values.get("clusters", ""))
    need = common(call, values, _default_name(command, path))
    array = _array(call, values)
    if "test-only" in values:
        return test_only(call, need)
    id = _queue(call, need, script, words[1:], path, array)
    _tell(call, values, id)
    return _wait(call, id) if "wait" in values else 0


def _directed(call: Call, script: bytes, path: str) -> dict[str, str]:
    try:
        return dict(directives(script, SBATCH, path or "stdin"))
    except BadOption as error:
        raise Stop(f'sbatch: {error}\nTry "sbatch --help" for more information\n', 255) from None
    except BadDirective as error:
        raise Stop(f"sbatch: {error.text}\n", error.code) from None


def _default_name(command: str | None, path: str) -> str:
    if command is not None:
        return "wrap"
    return os.path.basename(path) if path else "sbatch"


# ---------------------------------------------------------------- shared with srun and salloc


@dataclass(frozen=True)
class Need:
    """What a new job is, before it is queued.

    Attributes:
        values: its options.
        request: its need.
        name, partition, account: as they come out.
        begin: not before, seconds since the epoch.
        dependencies, either: its conditions.
        env: what it inherits; `set` and `unset` change that.
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
    set: dict[bytes, bytes] = field(default_factory=dict)


def refuse(call: Call, text: str) -> Stop:
    """Say that the controller does not take it."""
    what = {"sbatch": "Batch job submission failed", "salloc": "Job submit/allocate failed"}
    head = what.get(call.command, "Unable to allocate resources")
    return Stop(f"{call.command}: error: {head}: {text}\n", 1)


def common(call: Call, values: Mapping[str, str], default_name: str) -> Need:
    """Check options and work out what they ask for.

    Raises:
        Stop: Slurm would not take them.
    """
    try:
        check(values)
    except BadValue as bad:
        kind = "" if bad.text.startswith("fatal: ") else "error: "
        raise Stop(f"{call.command}: {kind}{bad.text}\n", bad.code) from None
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
        blocked=_blocked(call, request, partition),
    )


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


def _blocked(call: Call, request: Request, name: str) -> str:
    """Say why the job would wait for ever; only a strict emulation lets it."""
    if not call.settings.strict:
        return ""
    there = call.machine.capacity()
    partition = site.partition(call, name)
    if request.told & {"constraint"}:
        raise refuse(call, "Invalid feature specification")
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


def settle(call: Call, need: Need) -> tuple[tuple[Any, ...], list[One]]:
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
    dependencies, _ = settle(call, need)
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
        os.fsencode(host), what.encode(), id or place("job"), os.fsencode(host), place("time"),
    )  # fmt: skip
    oom = (
        b"slurmstepd-%s: error: Detected 1 oom-kill event(s) in StepId=%s.batch. Some of your "
        b"processes may have been killed by the cgroup out-of-memory handler.\n"
    )
    return {
        "cancel": head + b" ***\n",
        "requeue": head + b" DUE TO JOB REQUEUE ***\n",
        "walltime": head + b" DUE TO TIME LIMIT ***\n",
        "memory": oom % (os.fsencode(host), place("job")),
    }


# ---------------------------------------------------------------- batch jobs


def _array(call: Call, values: Mapping[str, str]) -> ArraySpec | None:
    if not values.get("array"):
        return None
    try:
        return parse_array(values["array"])
    except BadArray:
        raise refuse(call, "Invalid job array specification") from None


def placed(call: Call, need: Need, text: str, cwd: bytes, *, array: bool) -> bytes:
    """Give the path of an output file, patterns and all."""
    values = patterns.places(
        name=need.name, user=call.machine.user, host=call.machine.host, array=array
    )
    path = patterns.expand(text, values)
    return path if path.startswith(b"/") else os.path.join(cwd, path)


def _queue(
    call: Call, need: Need, script: bytes, words: list[str], path: str, array: ArraySpec | None
) -> str:
    values, machine = need.values, call.machine
    cwd = call.path(values["chdir"]) if values.get("chdir") else call.cwd or b"/"
    default = "slurm-%A_%a.out" if array else "slurm-%j.out"
    out = values.get("output") or default
    err = values.get("error") or out
    kept_env, added = environment.exported(call.env, values.get("export"))
    threads, untouched = environment.own_threads(kept_env)
    facts = {
        "name": need.name, "partition": need.partition, "account": need.account,
        "qos": values.get("qos", "normal"), "submit_dir": os.fsdecode(call.cwd),
    }  # fmt: skip
    host, user = machine.host, machine.user
    told = environment.allocation(need.request, values, host=host, user=user, facts=facts)
    told |= environment.batch(need.request, host=host, user=user)
    if array:
        told |= environment.array_variables(values["array"])
    spooled = machine.spool(script, "slurm_script")
    argv = (spooled, *(os.fsencode(word) for word in words))
    if values.get("input"):
        source = placed(call, need, values["input"], cwd, array=False)
        argv = (b"/bin/sh", b"-c", b'in=$0; exec "$@" <"$in"', source, *argv)
    warning = parse_signal(values.get("signal", "")) or (0, 0.0, False)
    launch = Launch(
        argv=argv,
        cwd=cwd,
        umask=call.umask,
        env_set={**threads, **added, **{os.fsencode(n): v for n, v in told.items()}},
        env_unset=untouched,
        stdout=placed(call, need, out, cwd, array=bool(array)),
        stderr=placed(call, need, err, cwd, array=bool(array)),
        append=values.get("open-mode", "t").lower().startswith("a"),
        # Without `B:` the steps are signalled, which srun does.
        warn_signal=warning[0] if warning[2] else 0,
        warn_before_s=warning[1],
        warn_first=True,
        notes=notes(host),
        fills=True,
    )
    kept = extra(call, need, "batch", workdir=os.fsdecode(cwd), stdout=out, stderr=err)
    if values.get("input"):
        kept.options["stdin"] = values["input"]
    kept.command, kept.script = path, os.fsdecode(spooled)
    return submit(call, launch, fields(call, need, array), kept, kept_env)


def _tell(call: Call, values: Mapping[str, str], id: str) -> None:
    if "parsable" in values:
        call.out(f"{id};{environment.CLUSTER}\n" if values.get("clusters") else f"{id}\n")
    elif "quiet" not in values:
        more = f" on cluster {environment.CLUSTER}" if values.get("clusters") else ""
        call.out(f"Submitted batch job {id}{more}\n")


def _wait(call: Call, id: str) -> int:
    call.machine.wait([id])
    codes = [jobs.View(row).exit_code for row in jobs.find(call.machine, [id])]
    # sbatch gives the signal of a job that one ended, as a number of its own
    return max((code or number for code, number in codes), default=0)


def test_only(call: Call, need: Need) -> int:
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
