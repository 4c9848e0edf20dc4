"""What a job of the PBS family asks for: chunks and ranges, where Torque and PBS Pro part.

Pure.  It writes the words behind `-l`, `-J`, `-t` and `-v`.
"""

from __future__ import annotations

import math
from typing import Any

from cluster._option_directives import quote
from cluster.errors import OptionsError
from cluster.schedulers.torque_answers import MARK
from cluster.spec import ArraySpec

__all__ = ["pro_range", "select", "torque_indices", "with_mark"]


def with_mark(lines: list[str], mark: str) -> list[str]:
    """Put the mark into the one `-v` that there may be."""
    named = [line for line in lines if line.startswith("-v ")]
    others = [line for line in lines if not line.startswith("-v ")]
    names = [line.removeprefix("-v ") for line in named]
    return [*others, "-v " + ",".join([*names, f"{MARK}={mark}"])]


def torque_indices(spec: Any) -> str:
    """Torque knows ranges and lists, and no step."""
    if isinstance(spec, ArraySpec):
        last = spec.start + (spec.count - 1) * spec.step
        if spec.step == 1 and spec.count > 1:
            return f"{spec.start}-{last}"
        spec = range(spec.start, last + 1, spec.step)
    return ",".join(map(str, spec))


def select(values: dict[str, Any]) -> list[str]:
    """The request of PBS Pro, as chunks, one on each node; it takes them out of `values`."""
    wanted = ("cores", "nodes", "tasks", "gpus", "gpu_type", "features", "mem", "exclusive", "qos")
    asked = {name: values.pop(name) for name in wanted if name in values}
    nodes = asked.get("nodes", 1)
    slots = asked.get("tasks", nodes) * asked.get("cores", 1)
    words = [str(nodes), f"ncpus={math.ceil(slots / nodes)}"]
    if "tasks" in asked:
        words.append(f"mpiprocs={math.ceil(asked['tasks'] / nodes)}")
    if "mem" in asked:
        words.append(f"mem={asked['mem']}mb")
    if asked.get("gpus", "gpu_type" in asked):
        words.append(f"ngpus={int(asked.get('gpus', 1))}")
    words += [one if "=" in one else f"{one}=True" for one in asked.get("features", ())]
    place = ["scatter"] * (nodes > 1) + ["excl"] * bool(asked.get("exclusive"))
    if not asked.keys() - {"qos"}:
        return []
    lines = ["-l " + quote("select=" + ":".join(words), "torque")]  # place needs it, too
    return lines + ([f"-l place={':'.join(place)}"] if place else [])


def pro_range(spec: Any) -> str:
    """PBS Pro knows one range, with a step; it must end behind its start.

    Raises:
        OptionsError: the indices are no range.
    """
    if not isinstance(spec, ArraySpec):
        raise OptionsError(
            f"PBS Pro wants start-end:step for array=, not the indices {tuple(spec)}"
        )
    step = 2 if spec.count == 1 else spec.step  # 7-8:2 is 7 alone
    last = spec.start + max(1, (spec.count - 1) * step)
    return f"{spec.start}-{last}" + (f":{step}" if step != 1 else "")
