"""What `qsub` was asked becomes a job of the queue: launch, spec, and what is kept with it."""

from __future__ import annotations

import json
import os
import shlex
from datetime import datetime

from cluster.emulation.call import Call
from cluster.emulation.machine import Extra
from cluster.emulation.pbs import depend, flavour, starting, wishes
from cluster.emulation.pbs.outputs import outputs
from cluster.emulation.pbs.resources import BadResource, Request, merge, read
from cluster.emulation.pbs.wishes import BadValue, Indices, Wishes
from cluster.emulation.settings import Partition
from cluster.errors import Unsatisfiable
from cluster.spec import ArraySpec, Launch

__all__ = ["submit"]

_SHOWN = ("umask", "group_list", "block", "x")  # of -W


def submit(call: Call, asked: Wishes, script: bytes, command: list[str], name: str) -> str:
    """Queue a job; give its id.

    Args:
        call: of qsub.
        asked: options and directives.
        script: its text, empty for a command.
        command: program and arguments, empty for a script.
        name: of the job by default.

    Raises:
        Stop: the job is refused.
    """
    plan = _plan(call, asked, asked.one.get("N", name))
    waits = depend.read(call, asked.others.get("depend", ""))
    spec = _spec(call, asked, plan, waits)
    extra = _extra(call, asked, plan, command)
    extra.options |= waits.options
    made = starting.launch(call, plan, _argv(call, asked, script, command))
    id = _queued(call, made, spec, extra, starting.environment(call, whole=asked.has("V")))
    if waits.is_void:  # the real one takes the job, finds nobody to wait for, and deletes it
        call.machine.act("cancel", [id])
    label = f"{id}{'[]' if plan.indices else ''}.{call.machine.host}"
    depend.tell(call, waits, label)
    return label


def _plan(call: Call, asked: Wishes, name: str) -> starting.Plan:
    own, one = flavour.of(call), asked.one
    queue = _queue(call, own, one.get("q", ""))
    array = _array(call, asked)
    workdir, cwd = _places(call, own, one)
    return starting.Plan(
        flavour=own,
        name=name,
        queue=queue.name,
        request=_request(call, own, asked, queue),
        indices=array,
        outputs=outputs(call, own, asked, name=name, workdir=workdir, is_array=array is not None),
        listed=starting.origin(call, own, queue.name, _variables(call, asked), workdir),
        umask=int(asked.others["umask"], 8) if "umask" in asked.others else call.umask,
        cwd=cwd,
        grace_s=float(one["K"]) if one.get("K", "").isdigit() else None,
    )


def _places(call: Call, own: flavour.Flavour, one: dict[str, str]) -> tuple[str, str]:
    """Give the directory of submission, and the one the job starts in."""
    here = starting.submitted(call)
    workdir = os.path.join(here, one.get("w", "")) if not own.is_pro and one.get("w") else here
    given = one.get("d") or one.get("w")
    if given:
        return workdir, os.path.normpath(os.path.join(here, given))
    return workdir, call.variable("HOME") or "/"


def _variables(call: Call, asked: Wishes) -> dict[str, str]:
    found = {
        name: call.variable(name) if value is None else value
        for name, value in asked.variables.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _spec(call: Call, asked: Wishes, plan: starting.Plan, waits: depend.Waits) -> dict[str, object]:
    one, request = asked.one, plan.request
    spec: dict[str, object] = {
        "name": plan.name,
        "cores": request.cores,
        "memory_mib": request.memory_mib,
        "gpus": request.gpus,
        "priority": int(one.get("p", "0")),
        "hold": "h" in one or waits.is_void,
        "walltime_s": request.walltime_s,
        "dependencies": () if waits.is_void else waits.dependencies,
        "on_unsatisfiable": "cancel",
        "requeue": one.get("r", "y") == "y",
    }
    if "a" in one:
        spec["begin"] = _begin(call, one["a"])
    if plan.indices is not None:
        listed, step = plan.indices.listed, plan.indices.step
        first, step = (listed[0], step) if step else (0, 1)
        spec["array"] = ArraySpec(first, len(listed), step, plan.indices.limit)
    return spec


def _queued(
    call: Call,
    made: Launch,
    spec: dict[str, object],
    extra: Extra,
    env: dict[bytes, bytes],
) -> str:
    machine, strict = call.machine, call.settings.strict
    try:
        return machine.submit(made, spec, extra, env, clamp=not strict)
    except Unsatisfiable:
        if not flavour.of(call).is_pro:
            raise flavour.refuse(call, "limit", "MSG=cannot locate feasible nodes") from None
        # OpenPBS keeps it: a node that is large enough may come.
        extra.options["never"] = _short(extra, machine.capacity())
        return machine.submit(made, {**spec, "hold": True}, extra, env, clamp=True)


def _short(extra: Extra, there: dict[str, int]) -> str:
    """Say what there is too little of, for the job's comment."""
    cores, memory = there.get("cores", 0), there.get("memory_mib", 0)
    if extra.cores > cores:
        return f"ncpus (R: {extra.cores} A: {cores} T: {cores})"
    if extra.memory_mib > memory:
        return f"mem (R: {extra.memory_mib}mb A: {memory}mb T: {memory}mb)"
    return f"ngpus (R: {extra.gpus} A: {there.get('gpus', 0)} T: {there.get('gpus', 0)})"


def _queue(call: Call, own: flavour.Flavour, asked: str) -> Partition:
    """Find the queue: what was shaped, or any; a strict cluster without a shape has one."""
    name = asked.partition("@")[0]
    shaped = call.settings.partitions
    if not name:
        return shaped[0] if shaped else Partition(name=own.queue)
    for one in shaped:
        if one.name == name:
            return one
    if shaped or (call.settings.strict and name != own.queue):
        raise flavour.refuse(call, "queue")
    return Partition(name=name)


def _request(call: Call, own: flavour.Flavour, asked: Wishes, queue: Partition) -> Request:
    unknown: set[str] = set()
    try:
        named = read(asked.resources, None if call.settings.strict else unknown)
    except BadResource as error:
        raise flavour.refuse(call, error.kind, f"Resource_List.{error.name}") from None
    for name in sorted(unknown):
        flavour.warn(
            call, f"-l {name}: a resource of your site; it has no effect, an error with --strict"
        )
    request = merge(named, is_pro=own.is_pro)
    if queue.walltime_s and not request.walltime_s:
        request.walltime_s = queue.walltime_s
    too_long = queue.walltime_s and request.walltime_s > queue.walltime_s
    too_wide = call.settings.strict and queue.cores and request.cores > queue.cores
    if too_long or too_wide:
        raise flavour.refuse(call, "limit")
    return request


def _array(call: Call, asked: Wishes) -> Indices | None:
    for letter in "Jt":
        if letter in asked.one:
            try:
                return wishes.indices(asked.one[letter], is_pro=letter == "J")
            except BadValue as error:
                raise flavour.usage(call, f"illegal -{error} value") from None
    return None


def _begin(call: Call, text: str) -> float:
    try:
        return wishes.begin(text, datetime.now())
    except BadValue:
        raise flavour.usage(call, "illegal -a value") from None


def _argv(call: Call, asked: Wishes, script: bytes, command: list[str]) -> list[bytes]:
    if command:
        return [os.fsencode(word) for word in command]
    path = call.machine.spool(script, "job.SC")
    arguments = [os.fsencode(word) for word in shlex.split(asked.one.get("F", ""))]
    if script.startswith(b"#!"):
        return [path, *arguments]
    shell = asked.one.get("S", "").partition(",")[0].partition("@")[0]
    return [os.fsencode(shell or call.variable("SHELL") or "/bin/bash"), path, *arguments]


def _extra(call: Call, asked: Wishes, plan: starting.Plan, command: list[str]) -> Extra:
    one, request = asked.one, plan.request
    return Extra(
        partition=plan.queue,
        account=one.get("A", ""),
        cores=request.cores,
        memory_mib=request.memory_mib,
        gpus=request.gpus,
        nodes=request.nodes,
        tasks=request.slots,
        command=shlex.join(command),
        cwd=plan.listed["PBS_O_WORKDIR"],
        submit=" ".join(call.argv),
        options=_kept(asked, plan),
    )


def _kept(asked: Wishes, plan: starting.Plan) -> dict[str, str]:
    """Give what `qstat -f` shows of a job beside what the queue keeps."""
    one = asked.one
    kept = {
        "l": json.dumps(plan.request.listed),
        "v": json.dumps(plan.listed),
        "out": plan.outputs.shown_out,
        "err": plan.outputs.shown_err,
        **{letter: one[letter] for letter in "jkmMrSP" if letter in one},
        **{name: asked.others[name] for name in _SHOWN if name in asked.others},
    }
    if "d" in one or "w" in one:
        kept["d"] = plan.cwd
    if "h" in one:
        kept["holds"] = "u"
    if plan.indices is not None:
        kept["array"] = plan.indices.text
        if plan.indices.limit:
            kept["limit"] = str(plan.indices.limit)
        if not plan.indices.step:
            kept["indices"] = ",".join(map(str, plan.indices.listed))
    return kept
