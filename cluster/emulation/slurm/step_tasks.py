"""What the tasks of a step are told: programs, environment, streams."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.emulation.call import Call
from cluster.emulation.machine import Row
from cluster.emulation.slurm import environment, patterns
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.request import Request, tasks_per_node

__all__ = ["Step", "tasks_of", "work_dir"]


@dataclass
class Step:
    """What is to run.

    Attributes:
        row: the job.
        values: the options of srun.
        words: the command.
        request: how many tasks.
        variables: set for the tasks, beside those of the step.
        over: readable when the job has ended; -1 when that ends srun too.
    """

    row: Row
    values: Mapping[str, str]
    words: list[str]
    request: Request
    variables: dict[bytes, bytes] = field(default_factory=dict)
    over: int = -1


def tasks_of(call: Call, step: Step, number: int) -> list[dict[str, Any]]:
    """Give what `_tasks` needs to know of each task; `number` is the step's."""
    request, values = step.request, step.values
    kept, added = environment.exported(call.env, values.get("export"))
    if values.get("export", "").upper() == "NONE":
        kept |= {name: value for name, value in call.env.items() if name.startswith(b"SLURM_")}
    base = {**kept, **added, **step.variables, **_of_step(call, step, number)}
    programs = _programs(call, step)
    out, err = _streams(call, step, number)
    return [
        {
            "argv": [os.fsencode(word) for word in programs(rank)],
            "env": base | _of_task(rank, request),
            "stdin": _stdin(call, step, rank),
            "stdout": out(rank),
            "stderr": err(rank),
        }
        for rank in range(request.ntasks)
    ]


def _of_step(call: Call, step: Step, number: int) -> dict[bytes, bytes]:
    request, host = step.request, call.machine.host
    spread = tasks_per_node(request.ntasks, request.nodes)
    found: dict[str, Any] = {
        "SLURMD_NODENAME": host,
        "SLURM_CPUS_ON_NODE": -(-step.row.extra.cores // step.row.extra.nodes),
        "SLURM_JOB_GID": os.getgid(),
        "SLURM_JOB_UID": os.getuid(),
        "SLURM_JOB_USER": call.machine.user,
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SLURM_NNODES": request.nodes,
        "SLURM_NPROCS": request.ntasks,
        "SLURM_NTASKS": request.ntasks,
        "SLURM_PRIO_PROCESS": 0,
        "SLURM_SRUN_COMM_HOST": "127.0.0.1",
        "SLURM_SRUN_COMM_PORT": 0,
        "SLURM_STEPID": number,
        "SLURM_STEP_ID": number,
        "SLURM_STEP_LAUNCHER_PORT": 0,
        "SLURM_STEP_NODELIST": host,
        "SLURM_STEP_NUM_NODES": request.nodes,
        "SLURM_STEP_NUM_TASKS": request.ntasks,
        "SLURM_STEP_TASKS_PER_NODE": spread,
        "SLURM_TASKS_PER_NODE": spread,
        "SLURM_TOPOLOGY_ADDR": host,
        "SLURM_TOPOLOGY_ADDR_PATTERN": "node",
        "SLURM_UMASK": f"{call.umask:04o}",
        "SLURM_WORKING_CLUSTER": f"{environment.CLUSTER}:127.0.0.1:6817:9728:109",
    }
    if "cpus-per-task" in step.values:
        found["SLURM_CPUS_PER_TASK"] = request.cpus_per_task
    return {name.encode(): os.fsencode(str(value)) for name, value in found.items()}


def _of_task(rank: int, request: Request) -> dict[bytes, bytes]:
    each = -(-request.ntasks // request.nodes)
    node, local = divmod(rank, each)
    last = min((node + 1) * each, request.ntasks)
    return {
        b"SLURM_PROCID": b"%d" % rank,
        b"SLURM_LOCALID": b"%d" % local,
        b"SLURM_NODEID": b"%d" % node,
        b"SLURM_GTIDS": b",".join(b"%d" % each for each in range(node * each, last)),
    }


def _programs(call: Call, step: Step) -> Callable[[int], list[str]]:
    if "multi-prog" not in step.values:
        return lambda rank: step.words
    lines: list[tuple[set[int], list[str]]] = []
    text = call.read_file(call.path(step.words[0])).decode("utf-8", "surrogateescape")
    for line in text.splitlines():
        ranks, _, command = line.strip().partition(" ")
        if ranks and not ranks.startswith("#"):
            lines.append((_ranks(ranks, step.request.ntasks), command.split()))

    def program(rank: int) -> list[str]:
        for ranks, words in lines:
            if rank in ranks:
                place = str(sorted(ranks).index(rank))
                return [w.replace("%t", str(rank)).replace("%o", place) for w in words]
        return []

    return program


def _ranks(text: str, count: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if part == "*":
            found.update(range(count))
        elif first.isdigit():
            found.update(range(int(first), int(last if dash else first) + 1))
    return found


def _stdin(call: Call, step: Step, rank: int) -> bytes | None:
    mode = step.values.get("input", "all")
    if mode == "none":
        return b"/dev/null"
    if mode.isdigit():
        return None if int(mode) == rank else b"/dev/null"
    if mode != "all":
        return os.path.join(
            work_dir(call, step), patterns.expand(mode, _places(call, step, rank, 0))
        )
    return None if step.request.ntasks == 1 or "pty" in step.values else b"-"


def work_dir(call: Call, step: Step) -> bytes:
    """Give the directory in which the tasks start."""
    return call.path(step.values["chdir"]) if step.values.get("chdir") else call.cwd or b"/"


def _places(call: Call, step: Step, rank: int, number: int) -> dict[str, bytes]:
    view = View(step.row)
    node = int(_of_task(rank, step.request)[b"SLURM_NODEID"])
    index = b"4294967294" if view.row.index is None else b"%d" % view.row.index
    return {
        "j": b"%d" % view.raw, "J": b"%d.%d" % (view.raw, number), "A": b"%d" % view.row.array,
        "a": index, "s": b"%d" % number, "t": b"%d" % rank, "n": b"%d" % node,
        "N": os.fsencode(call.machine.host), "u": os.fsencode(call.machine.user),
        "x": os.fsencode(step.row.info.name),
    }  # fmt: skip


def _streams(
    call: Call, step: Step, number: int
) -> tuple[Callable[[int], bytes | None], Callable[[int], bytes | None]]:
    out, err = step.values.get("output", "all"), step.values.get("error")

    def file(mode: str, rank: int) -> bytes | None:
        if mode in ("all", ""):
            return None
        if mode == "none":
            return b"/dev/null"
        if mode.isdigit():
            return None if int(mode) == rank else b"/dev/null"
        name = patterns.expand(mode, _places(call, step, rank, number))
        return os.path.join(work_dir(call, step), name)

    return lambda rank: file(out, rank), lambda rank: file(out if err is None else err, rank)
