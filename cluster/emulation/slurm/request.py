"""What a job of sbatch, salloc or srun asks for, worked out from its options.

Pure.  The figures are those that were asked for; what the machine can give of
them is decided where it is submitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.emulation.slurm.times import memory, minutes

__all__ = ["DEFAULT_PARTITION", "Request", "of_values", "tasks_per_node"]

DEFAULT_PARTITION = "local"


@dataclass(frozen=True)
class Request:
    """A need.

    Attributes:
        ntasks, nodes, cpus_per_task: as they come out.
        cores: all of them together.
        memory_mib: of all nodes; 0 is no limit.
        gpus: of all nodes.
        walltime_s: 0 is the partition's.
        told: which of the counts the user gave.
        other_gres: resources beside gpus.
    """

    ntasks: int = 1
    nodes: int = 1
    cpus_per_task: int = 1
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    walltime_s: float = 0.0
    told: frozenset[str] = field(default_factory=frozenset)
    other_gres: tuple[str, ...] = ()


def _number(values: Mapping[str, str], key: str, default: int) -> int:
    match = re.match(r"\d+", values.get(key, ""))
    return int(match[0]) if match else default


def of_values(values: Mapping[str, str]) -> Request:
    """Work out a need; the values were checked."""
    per_node = _number(values, "ntasks-per-node", 0)
    nodes = max(1, _number(values, "nodes", 1))
    ntasks = _number(values, "ntasks", nodes * max(1, per_node))
    if "ntasks" in values and "nodes" in values and ntasks < nodes:
        nodes = ntasks
    cpus = _number(values, "cpus-per-task", 1)
    cores = max(ntasks * cpus, nodes, _number(values, "mincpus", 0))
    gpus, others = _gpus(values, nodes, ntasks)
    return Request(
        ntasks=ntasks,
        nodes=nodes,
        cpus_per_task=cpus,
        cores=cores,
        memory_mib=_memory(values, nodes, cores, gpus),
        gpus=gpus,
        walltime_s=minutes(values.get("time", "0")) or 0.0,
        told=frozenset(values),
        other_gres=others,
    )


def _memory(values: Mapping[str, str], nodes: int, cores: int, gpus: int) -> int:
    for key, times in (("mem", nodes), ("mem-per-cpu", cores), ("mem-per-gpu", gpus)):
        if key in values:
            return (memory(values[key]) or 0) * times
    return 0


def _gpus(values: Mapping[str, str], nodes: int, ntasks: int) -> tuple[int, tuple[str, ...]]:
    total, others = 0, []
    for key, times in (("gpus", 1), ("gpus-per-node", nodes), ("gpus-per-task", ntasks)):
        if key in values:
            total += times * sum(_count(part) for part in values[key].split(","))
    for part in values.get("gres", "").split(","):
        name = re.split("[:=]", part.removeprefix("gres/").removeprefix("gres:"))[0]
        if name == "gpu":
            total += nodes * _count(part.split("gpu", 1)[1])
        elif name and name.lower() != "none":
            others.append(name)
    return total, tuple(others)


def _count(text: str) -> int:
    match = re.search(r"(?:^|[:=])(\d+)(?:\([^)]*\))?\Z", text)
    return int(match[1]) if match else 1


def tasks_per_node(total: int, nodes: int) -> str:
    """Write how tasks or cores are spread: 2, 2(x3), 3(x2),2."""
    each, more = divmod(total, nodes)
    parts = [(each + 1, more), (each, nodes - more)]
    return ",".join(f"{n}(x{times})" if times > 1 else str(n) for n, times in parts if times)
