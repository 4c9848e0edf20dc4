"""From what was asked for to a job of the queue."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from cluster.emulation.call import Call
from cluster.emulation.machine import Extra, Row
from cluster.emulation.sge import environment, jobs, outputs, values
from cluster.emulation.sge.options import Asked, pairs
from cluster.emulation.sge.site import GPU_NAMES, MAX_TASKS, Site, complex_of
from cluster.spec import ArraySpec, Dependency, Launch

__all__ = ["KEPT_BY_SUBMIT", "SHELL", "Plan", "dependencies", "plan", "submit"]

SHELL = "/bin/bash"
KEPT_BY_SUBMIT = ("holds", "h", "waits", "elements", "impossible", "host")
_MIB = 1 << 20
_FOREVER_S = 10 * 365 * 86400.0
_USR1, _USR2 = 10, 12
_NOTIFY_S = 60.0  # `notify` of a queue as installed
_CODES = {99: "requeue", 100: "hold", -1: "hold"}
# What the shell's ulimit calls the limits, with what a unit of it is in bytes or seconds.
_LIMITS = {"h_vmem": ("v", 1024), "s_vmem": ("v", 1024), "h_data": ("d", 1024),
           "h_fsize": ("f", 512), "h_stack": ("s", 1024), "h_core": ("c", 512), "h_cpu": ("t", 1),
           "s_cpu": ("t", 1)}  # fmt: skip


@dataclass
class Plan:
    """What becomes of a request, before it is a job.

    Attributes:
        name, program: of the job; what it runs, for people.
        argv: what is executed.
        queue, environment: where; the parallel environment, if any.
        asked_slots, slots: as it is told, and as this machine can give.
        tasks: of an array, else empty.
        cwd, stdin, stdout, stderr, scratch, hostfile: files.
        walltime_s, limits: enforced.
        waits, elements: jobs that it waits for; task by task.
        impossible: nothing here could ever run it.
        grace_s: from SIGTERM to SIGKILL when it is deleted; 0: SIGKILL at once.
        is_login: Grid Engine would start it by a login shell.
    """

    name: str
    program: str
    argv: tuple[bytes, ...]
    queue: str
    environment: str = ""
    slots: int = 1
    tasks: tuple[int, ...] = ()
    cwd: bytes = b"/"
    stdin: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    scratch: bytes = b""
    hostfile: bytes = b""
    walltime_s: float = 0.0
    memory_mib: int = 0
    gpus: int = 0
    limits: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    elements: list[str] = field(default_factory=list)
    impossible: str = ""
    grace_s: float = 0.0
    is_login: bool = False


# ---------------------------------------------------------------- checking


def plan(
    call: Call,
    asked: Asked,
    *,
    name: str,
    program: str,
    argv: tuple[bytes, ...],
    login: bool = False,
) -> Plan:
    """Check a request, and work out what it means here.

    Raises:
        Stop: as qmaster says it.
    """
    site = Site(call)
    values.check_name(name)
    made = Plan(name, program, argv, queue="", is_login=login)
    made.tasks = _tasks(asked)
    _check(site, asked, made)
    made.queue = _queue(site, asked)
    _slots(call, site, asked, made)
    _resources(call, site, asked, made)
    made.waits = dependencies(call, asked.get("hold_jid"))
    made.elements = _elementwise(call, asked, made)
    outputs.place_files(call, asked, made)
    return made


def _tasks(asked: Asked) -> tuple[int, ...]:
    text = asked.get("t")
    if not text or text == "undefined":
        return ()
    found = values.tasks(text, "qsub")
    if found[0] < 1:
        raise values.refuse(f"job rejected: {found[0]} is an invalid task id")
    if len(found) > MAX_TASKS:
        raise values.refuse(
            f"job rejected: you tried to submit a job with more than {MAX_TASKS} tasks"
        )
    return found


def _check(site: Site, asked: Asked, made: Plan) -> None:
    if int(asked.get("p") or 0) > 0:
        raise values.refuse(
            "job rejected: positive submission priority requires operator privileges"
        )
    if asked.get("hold_jid_ad") and not made.tasks:
        raise values.refuse(
            'Can only specify "-hold_jid_ad" option with an array job (using "-t" option)'
        )
    if asked.get("masterq") and not asked.get("pe"):
        raise values.refuse(
            "job rejected: specification of master queue is not allowed for non-parallel jobs"
        )
    if not site.strict:
        return
    if asked.get("P"):
        raise values.refuse(
            f'job rejected: the requested project "{asked.get("P")}" does not exist'
        )
    if asked.get("ckpt"):
        raise values.refuse(
            f'job rejected: the requested checkpointing environment "{asked.get("ckpt")}" '
            "does not exist"
        )
    if asked.get("ar"):
        raise values.refuse(f"the advance reservation id {asked.get('ar')} is invalid")


def _queue(site: Site, asked: Asked) -> str:
    wanted = asked.get("q")
    queue = site.queue_for(wanted)
    if queue is None:
        raise values.refuse(f'Job was rejected because job requests unknown queue "{wanted}"')
    return queue


def _slots(call: Call, site: Site, asked: Asked, made: Plan) -> None:
    if not asked.get("pe"):
        return
    made.environment, _, text = asked.get("pe").partition(" ")
    names = [each for each in site.environments if fnmatchcase(each, made.environment)]
    if not names and site.strict:
        raise values.refuse(
            f'job rejected: the requested parallel environment "{made.environment}" does not exist'
        )
    least, most = values.slot_range(text, "qsub")
    here = site.slots(made.queue)
    made.slots = max(least, min(most or here, here))
    made.environment = names[0] if names else made.environment.replace("*", "mpi")
    if least > here:
        made.impossible = f'cannot run in PE "{made.environment}" because it only offers 0 slots'
    host = call.machine.host
    line = f"{host} {made.slots} {made.queue}@{host} UNDEFINED\n"
    made.hostfile = call.machine.spool(line.encode(), "pe_hostfile")


def _resources(call: Call, site: Site, asked: Asked, made: Plan) -> None:
    hard = pairs(asked.get("l"))
    soft = pairs(asked.get("soft l"))
    site.check_resources(hard)
    site.check_resources(soft)
    for name in soft:
        found = complex_of(name)
        if found and found.consumable == "YES":
            raise values.refuse(
                f'denied: soft requests on consumables like "{name}" are not supported'
            )
    known = {(found.name if (found := complex_of(name)) else name): value
             for name, value in hard.items()}  # fmt: skip
    memory = _amount(known, "h_vmem") * made.slots
    made.memory_mib = round(memory / _MIB + 0.499)
    made.gpus = max((_count(known.get(name)) for name in GPU_NAMES), default=0)
    made.walltime_s = values.seconds(known.get("h_rt") or "") or site.walltime_s(made.queue)
    for name, (letter, unit) in _LIMITS.items():
        amount = _amount(known, name) * made.slots
        if amount and (name.startswith("h_") or f"h_{name[2:]}" not in known):
            made.limits.append(f"-{letter} {max(1, int(amount // unit))}")
    there = call.machine.capacity().get("memory_mib", 0) * _MIB
    free = _amount(known, "mem_free") * made.slots
    if there and free > there:
        made.impossible = made.impossible or _too_much(site, f"mem_free={known['mem_free']}", there)


def _too_much(site: Site, wanted: str, there: float) -> str:
    offers = f"{there / (1 << 30):.3f}G"
    return (
        f'(-l {wanted}) cannot run at host "{site.host}" because it offers only '
        f"hc:{wanted.partition('=')[0]}={offers}"
    )


def _amount(known: dict[str, str | None], name: str) -> float:
    text = known.get(name) or ""
    found = complex_of(name)
    read = values.seconds(text) if found and found.type == "TIME" else values.memory_bytes(text)
    return read or 0.0


def _count(text: str | None) -> int:
    return int(text) if text and text.isdigit() else int(text is not None and text != "0")


# ---------------------------------------------------------------- other jobs


def dependencies(call: Call, text: str) -> list[str]:
    """Give the jobs that are meant and not over; unknown ones count as over."""
    words = [word for word in text.split(",") if word]
    if not words:
        return []
    found: dict[str, None] = {}
    there: list[Row] | None = None
    for word in words:
        if word.isdigit():
            row = jobs.job(call.machine, word)
            rows = [row] if row is not None and not row.done and not row.info.ended else []
        else:
            there = jobs.alive_jobs(call.machine) if there is None else there
            rows = [row for row in there if fnmatchcase(row.info.name, word)]
        found |= dict.fromkeys(row.id for row in rows)
    return list(found)


def _elementwise(call: Call, asked: Asked, made: Plan) -> list[str]:
    ids = dependencies(call, asked.get("hold_jid_ad"))
    for row in call.machine.rows(ids):
        if jobs.tasks_of(row) != made.tasks:
            raise values.refuse(
                "This array job must have the same range of sub-tasks as the dependent array "
                "job specified with -hold_jid_ad"
            )
    return ids


# ---------------------------------------------------------------- the job


def submit(call: Call, asked: Asked, made: Plan, extra: dict[str, str]) -> str:
    """Queue a planned job; give its id.

    Raises:
        QueueError: the queue could not take it.
    """
    options = {name: text for name, text in asked.values.items() if text} | extra
    options |= {"host": call.machine.host, "user": call.machine.user}
    if made.waits:
        options["waits"] = ",".join(made.waits)
    if made.elements:
        options["elements"] = ",".join(made.elements)
    if made.impossible:
        options["impossible"] = made.impossible
    if asked.on("h"):
        options["holds"] = "u"
    launch = Launch(
        argv=_limited(made),
        cwd=made.cwd,
        umask=0o022,
        stdout=made.stdout,
        stderr=made.stderr,
        append=True,
        grace_s=made.grace_s,
        fills=True,
        env_set=environment.own(call, asked, made),
        scratch=made.scratch,
        **_warning(asked, made),
    )
    fields = _fields(asked, made, bool(made.impossible) and call.settings.strict)
    kept = Extra(
        partition=made.queue,
        account=asked.get("A") or "sge",
        cores=made.slots,
        memory_mib=made.memory_mib,
        gpus=made.gpus,
        command=made.program,
        cwd=os.fsdecode(call.cwd),
        options=options,
    )
    return call.machine.submit(
        launch, fields, kept, environment.base(call, asked, login=made.is_login), clamp=True
    )


def _limited(made: Plan) -> tuple[bytes, ...]:
    argv = made.argv
    if not made.limits and not made.stdin:
        return argv
    text = "".join(f"ulimit {limit}; " for limit in made.limits)
    stdin = ' < "$0"' if made.stdin else ""
    name = os.path.join(made.cwd, os.fsencode(made.stdin or "sh"))
    return (b"/bin/sh", b"-c", f'{text}exec "$@"{stdin}'.encode(), name, *argv)


def _warning(asked: Asked, made: Plan) -> dict[str, Any]:
    """Have SIGUSR1 sent at s_rt, or SIGUSR2 before the end."""
    soft = values.seconds(pairs(asked.get("l")).get("s_rt") or "") or 0.0
    if soft and (not made.walltime_s or soft < made.walltime_s):
        made.walltime_s = made.walltime_s or soft + _FOREVER_S
        return {"warn_signal": _USR1, "warn_before_s": made.walltime_s - soft}
    if asked.on("notify") and made.walltime_s:
        return {"warn_signal": _USR2, "warn_before_s": min(_NOTIFY_S, made.walltime_s)}
    return {}


def _fields(asked: Asked, made: Plan, hold: bool) -> dict[str, Any]:
    begin = asked.get("a")
    fields: dict[str, Any] = {
        "name": made.name,
        "cores": made.slots,
        "memory_mib": made.memory_mib,
        "gpus": made.gpus,
        "priority": int(asked.get("p") or 0),
        "hold": hold or asked.on("h"),
        "begin": values.read_date(begin, "-a", "qsub") if begin else 0.0,
        "walltime_s": made.walltime_s,
        "dependencies": (
            *(Dependency(id, "afterany") for id in made.waits),
            *(Dependency(id, "aftercorr") for id in made.elements),
        ),
        "on_unsatisfiable": "release",
        "requeue": asked.on("r"),
        "codes": _CODES,
    }
    if made.tasks:
        first, step = made.tasks[0], 1
        if len(made.tasks) > 1:
            step = made.tasks[1] - first
        is_even = made.tasks == tuple(range(first, made.tasks[-1] + 1, step))
        limit = 0
        with suppress(ValueError):
            limit = int(asked.get("tc") or 0)
        fields["array"] = ArraySpec(
            first, len(made.tasks), step if is_even else 1, limit, () if is_even else made.tasks
        )
    return fields
