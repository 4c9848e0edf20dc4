"""`qsub`: a script, a command or standard input becomes a job."""

from __future__ import annotations

import json
import os
import re
import shlex
from contextlib import suppress
from datetime import datetime

from cluster.emulation.call import Call, Stop
from cluster.emulation.machine import Extra
from cluster.emulation.pbs import depend, flavour, starting, tmpdirs, wishes
from cluster.emulation.pbs.outputs import outputs
from cluster.emulation.pbs.resources import BadResource, Request, merge, read
from cluster.emulation.pbs.state import exit_status
from cluster.emulation.pbs.wishes import BadValue, Indices, Wishes
from cluster.emulation.pbs.words import BadOption, directives, options
from cluster.emulation.settings import Partition
from cluster.errors import Unsatisfiable, WaitTimeout
from cluster.spec import ArraySpec, Launch

__all__ = ["qsub"]

_LOOK_S = 5.0  # so often a blocking qsub looks whether its caller is still there
_KNOWN_W = frozenset(
    (
        *("depend", "block", "umask", "stagein", "stageout", "sandbox", "group_list", "run_count"),
        *("cred", "x", "pwd", "release_nodes_on_stageout", "tolerate_node_failures"),
        "max_run_subjobs",
    )
)
_NO_EFFECT = frozenset(("stagein", "stageout", "sandbox"))


def qsub(call: Call) -> int:
    """Queue a job and print its id."""
    own = flavour.of(call)
    given, operands, direct = _options(call, own, call.argv)
    if any(name == "--version" for name, _ in given):
        (call.out if own.is_pro else call.err)(own.banner)
        return 0
    _refuse_unknown(call, own, given)
    script, name = _script(call, own, operands, direct=direct)
    asked = _wishes(call, own, given, script)
    if asked.has("I"):
        raise Stop(
            "qsub: interactive jobs (-I) are not emulated. Submit a script, or run the program "
            "itself: it is this machine that would run it.\n"
        )
    id = _submit(call, own, asked, script, operands if direct else [], name)
    if not asked.has("z"):
        call.out(f"{id}\n")
    tmpdirs.sweep(call.machine)
    if asked.others.get("block", "").lower() in ("true", "t", "y", "1"):
        return _wait(call, id)
    return 0


# ---------------------------------------------------------------- what was typed


def _options(
    call: Call, own: flavour.Flavour, argv: list[str]
) -> tuple[list[tuple[str, str]], list[str], bool]:
    """Read options; those of the other flavour are taken with a warning unless strict."""
    known = wishes.PRO if own.is_pro else wishes.TORQUE
    lenient = known if call.settings.strict else known + wishes.OTHERS[own.is_pro]
    try:
        given, operands, direct = options(argv, lenient, direct=True)
    except BadOption as error:
        raise flavour.usage(call, str(error)) from None
    name, other = ("OpenPBS", "Torque") if own.is_pro else ("Torque", "OpenPBS")
    for letter in sorted({letter for letter, _ in given} - set(known)):
        if not letter.startswith("--"):
            flavour.warn(
                call,
                f"{name} has no option -{letter}: done as {other} does; an error with --strict",
            )
    return given, operands, direct and own.is_pro


def _refuse_unknown(call: Call, own: flavour.Flavour, given: list[tuple[str, str]]) -> None:
    for letter, _ in given:
        if letter.startswith("--"):
            raise flavour.usage(call, f"unrecognized option '{letter}'" if own.is_pro else "")


def _script(
    call: Call, own: flavour.Flavour, operands: list[str], *, direct: bool
) -> tuple[bytes, str]:
    """Give the script's text and the job's name by default."""
    if direct and operands:
        return b"", "STDIN"
    if operands in ([], ["-"]):
        return call.read_stdin(), "STDIN"
    if len(operands) > 1 and own.is_pro:
        raise flavour.usage(call)
    try:
        text = call.read_file(operands[0])
    except OSError as error:
        if own.is_pro:
            reason = error.strerror or "No such file or directory"
            raise Stop(f"qsub: script file:: {reason}\n", 1) from None
        raise Stop(
            f"qsub: script file '{operands[0]}' cannot be loaded - {error.strerror}\n", 1
        ) from None
    name = os.path.basename(operands[0].rstrip("/")) or "STDIN"
    return text, name if own.is_pro else name[:64]


def _wishes(
    call: Call, own: flavour.Flavour, given: list[tuple[str, str]], script: bytes
) -> Wishes:
    """Merge the command line with the script's directives, and check what they say."""
    prefix = dict(given).get("C", call.variable("PBS_DPREFIX"))
    words = directives(
        script.decode("utf-8", "surrogateescape"), "#PBS" if prefix is None else prefix
    )
    inside, _, _ = _options(call, own, words)
    try:
        asked = Wishes.of(given, inside)
        _check(asked, own)
    except BadValue as error:
        raise flavour.usage(call, f"illegal -{error} value") from None
    if asked.others.keys() - _KNOWN_W and call.settings.strict:
        raise flavour.usage(call, "illegal -W value")
    without = sorted(asked.others.keys() - _KNOWN_W | asked.others.keys() & _NO_EFFECT)
    without = [f"-W {name}=" for name in without] + ["-L"] * asked.has("L")
    if without and call.settings.strict:
        raise Stop(f"qsub: {', '.join(without)}: not emulated\n")
    for what in without:
        flavour.warn(call, f"{what} is not emulated and has no effect")
    return asked


def _check(asked: Wishes, own: flavour.Flavour) -> None:
    one = asked.one
    if "N" in one:
        wishes.check_name(one["N"], is_pro=own.is_pro)
    allowed = {"j": ("oe", "eo", "n"), "r": ("y", "n")}
    for letter, values in allowed.items():
        if letter in one and one[letter] not in values:
            raise BadValue(letter)
    priority = one.get("p", "0")
    if not re.fullmatch(r"[+-]?\d{1,4}", priority) or not -1024 <= int(priority) <= 1023:
        raise BadValue("p")
    if not re.fullmatch(r"[oednD]*", one.get("k", "")):
        raise BadValue("k")
    if not re.fullmatch(r"[0-7]{1,4}", asked.others.get("umask", "0")):
        raise BadValue("W")


# ---------------------------------------------------------------- the job


def _submit(
    call: Call,
    own: flavour.Flavour,
    asked: Wishes,
    script: bytes,
    command: list[str],
    name: str,
) -> str:
    one = asked.one
    name = one.get("N", name)
    queue = _queue(call, own, one.get("q", ""))
    request = _request(call, own, asked, queue)
    array = _array(call, own, asked)
    workdir = starting.submitted(call)
    if not own.is_pro and one.get("w"):
        workdir = os.path.join(workdir, one["w"])
    cwd = call.variable("HOME") or "/"
    if "d" in one or "w" in one:
        cwd = os.path.normpath(os.path.join(starting.submitted(call), one.get("d") or one["w"]))
    files = outputs(call, own, asked, name=name, workdir=workdir, is_array=array is not None)
    variables = {
        key: (call.variable(key) if value is None else value) or ""
        for key, value in asked.variables.items()
        if value is not None or call.variable(key) is not None
    }
    listed = starting.origin(call, own, queue.name, variables, workdir)
    umask = int(asked.others["umask"], 8) if "umask" in asked.others else call.umask
    made = starting.launch(
        call, own, _argv(call, asked, script, command), request, files,
        name=name, queue=queue.name, listed=listed, indices=array, umask=umask,
        cwd=os.fsencode(cwd), grace_s=float(one["K"]) if one.get("K", "").isdigit() else None,
    )  # fmt: skip
    waits = depend.read(call, asked.others.get("depend", ""))
    spec = {
        "name": name,
        "cores": request.cores,
        "memory_mib": request.memory_mib,
        "gpus": request.gpus,
        "priority": int(one.get("p", "0")),
        "hold": "h" in one,
        "walltime_s": request.walltime_s,
        "dependencies": waits.dependencies,
        "on_unsatisfiable": "cancel",
        "requeue": one.get("r", "y") == "y",
    }
    if "a" in one:
        spec["begin"] = _begin(call, one["a"])
    if array is not None:
        step = array.step
        first, step = (array.listed[0], step) if step else (0, 1)
        spec["array"] = ArraySpec(first, len(array.listed), step, array.limit)
    extra = _extra(call, asked, request, files, array, queue.name, listed, command, workdir)
    extra.options |= waits.options
    env = starting.environment(call, whole=asked.has("V"))
    if waits.is_void:
        spec |= {"hold": True, "dependencies": ()}
    id = _queued(call, made, spec, extra, env)
    if waits.is_void:  # the real one takes the job, finds nobody to wait for, and deletes it
        call.machine.act("cancel", [id])
    label = f"{id}[].{call.machine.host}" if array else f"{id}.{call.machine.host}"
    depend.tell(call, waits, label)
    return label


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
    try:
        named = read(asked.resources)
    except BadResource as error:
        raise flavour.refuse(call, error.kind, f"Resource_List.{error.name}") from None
    request = merge(named, is_pro=own.is_pro)
    if queue.walltime_s and not request.walltime_s:
        request.walltime_s = queue.walltime_s
    too_long = queue.walltime_s and request.walltime_s > queue.walltime_s
    too_wide = call.settings.strict and queue.cores and request.cores > queue.cores
    if too_long or too_wide:
        raise flavour.refuse(call, "limit")
    return request


def _array(call: Call, own: flavour.Flavour, asked: Wishes) -> Indices | None:
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


def _extra(
    call: Call,
    asked: Wishes,
    request: Request,
    files: starting.Outputs,
    array: Indices | None,
    queue: str,
    listed: dict[str, str],
    command: list[str],
    workdir: str,
) -> Extra:
    one = asked.one
    kept = {
        "l": json.dumps(request.listed),
        "v": json.dumps(listed),
        "out": files.shown_out,
        "err": files.shown_err,
        **{letter: one[letter] for letter in "jkmMrSP" if letter in one},
    }
    if "h" in one:
        kept["holds"] = "u"
    if array is not None:
        kept["array"] = array.text
        if array.limit:
            kept["limit"] = str(array.limit)
        if not array.step:
            kept["indices"] = ",".join(map(str, array.listed))
    if "umask" in asked.others:
        kept["umask"] = asked.others["umask"]
    for name in ("stagein", "stageout", "group_list", "sandbox", "block", "x"):
        if name in asked.others:
            kept[name] = asked.others[name]
    return Extra(
        partition=queue,
        account=one.get("A", ""),
        cores=request.cores,
        memory_mib=request.memory_mib,
        gpus=request.gpus,
        nodes=request.nodes,
        tasks=request.slots,
        command=shlex.join(command),
        cwd=workdir,
        submit=" ".join(call.argv),
        options=kept,
    )


def _wait(call: Call, id: str) -> int:
    """Block until it is over, and end as it did."""
    number = id.partition(".")[0].removesuffix("[]")
    while True:
        with suppress(WaitTimeout):
            call.machine.wait([number], timeout=_LOOK_S)
            break
        if call.is_gone():
            return 1
    row = call.machine.row(number)
    status = exit_status(row, flavour.of(call)) if row else None
    return 3 if status is None else status % 256
