"""What this machine offers to jobs, and which limit decided each number.

    read() ──> Facts ──> decide(facts, configured) ──> Capacity

`decide` and the readers of file contents are pure.  A limit that is not there
is left out; the smallest that is there wins; `why` names it for people.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ["Capacity", "Facts", "capacity", "cgroup_dirs", "decide", "read"]

MIB = 1 << 20
_NO_LIMIT = 1 << 60  # cgroup v1 writes "no limit" as a number just below 2**63


class Facts(NamedTuple):
    """What the system says.

    Attributes:
        cpus: ids of the CPUs this process may use.
        has_affinity: the system knows affinity (Linux); else ids mean nothing.
        memory_mib: physical memory.
        quotas: (where, cores) of each CPU quota that applies, cores a fraction.
        limits: (where, MiB) of each memory limit that applies.
        devices: indices of the GPUs that have a device file.
        visible: CUDA_VISIBLE_DEVICES; None when it is not set.
    """

    cpus: tuple[int, ...]
    has_affinity: bool = True
    memory_mib: int = 0
    quotas: tuple[tuple[str, float], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    devices: tuple[int, ...] = ()
    visible: str | None = None


class Capacity(NamedTuple):
    """What can be given to jobs at once.

    Attributes:
        cores: how many cores.
        cpus: ids that jobs can be bound to; empty: do not bind.
        memory_mib: how much memory.
        gpus: indices of the GPUs.
        resources: any other countable things, by name.
        why: for "cores", "memory" and "gpus", which limit decided.
    """

    cores: int
    cpus: tuple[int, ...]
    memory_mib: int
    gpus: tuple[int, ...]
    resources: dict[str, int]
    why: dict[str, str]


def capacity(configured: Mapping[str, Any] | None = None, *, pid: int = 0) -> Capacity:
    """Tell what this machine offers.

    Args:
        configured: see `decide`.
        pid: a process whose limits count; 0 is this one.  A server that was
            started from inside a job asks for its node's.
    """
    return decide(read(pid), configured or {})


def decide(facts: Facts, configured: Mapping[str, Any]) -> Capacity:
    """Take the smallest of all limits.  Pure.

    Args:
        facts: what the system says.
        configured: `cores`, `memory_mib`, `gpus` (a number, or indices as
            "0,2"), `resources` (name to count).  They can only lower what the
            system says, except `gpus`; with `overcommit` true they replace it.
    """
    overcommit = bool(configured.get("overcommit"))
    cores, cores_why = _cores(facts, configured.get("cores"), overcommit)
    memory, memory_why = _memory(facts, configured.get("memory_mib"), overcommit)
    gpus, gpus_why = _gpus(facts, configured.get("gpus"))
    # More jobs than CPUs, or fewer cores than CPUs by a quota: the kernel places
    # them better than a fixed binding would.
    usable = min(len(facts.cpus), int(configured.get("cores") or len(facts.cpus)))
    binds = facts.has_affinity and cores == usable
    return Capacity(
        cores,
        facts.cpus[:cores] if binds else (),
        memory,
        gpus,
        {str(name): int(count) for name, count in (configured.get("resources") or {}).items()},
        {"cores": cores_why, "memory": memory_why, "gpus": gpus_why},
    )


def _cores(facts: Facts, wanted: Any, overcommit: bool) -> tuple[int, str]:
    if wanted and overcommit:
        return int(wanted), f"{int(wanted)} configured, with overcommit"
    found = f"the {len(facts.cpus)} CPUs this process may use"
    options = [(len(facts.cpus), found)]
    for where, quota in facts.quotas:
        options.append((max(1, int(quota)), f"CPU quota of {quota:g} in {where}"))
    if wanted:
        options.append((int(wanted), f"{int(wanted)} configured"))
    return min(options, key=lambda option: option[0])


def _memory(facts: Facts, wanted: Any, overcommit: bool) -> tuple[int, str]:
    if wanted and overcommit:
        return int(wanted), f"{int(wanted)} MiB configured, with overcommit"
    options = [(facts.memory_mib, f"{facts.memory_mib} MiB of physical memory")]
    options += [(mib, f"memory limit of {mib} MiB in {where}") for where, mib in facts.limits]
    if wanted:
        options.append((int(wanted), f"{int(wanted)} MiB configured"))
    return min(options, key=lambda option: option[0])


def _gpus(facts: Facts, wanted: Any) -> tuple[tuple[int, ...], str]:
    found, why = _gpus_found(facts)
    if wanted is None or wanted == "":
        return found, why
    if isinstance(wanted, int) or str(wanted).isdigit():
        count = int(wanted)
        return (found if len(found) >= count else tuple(range(count)))[:count], (
            f"{count} configured"
        )
    return tuple(int(each) for each in str(wanted).split(",")), f"{wanted} configured"


def _gpus_found(facts: Facts) -> tuple[tuple[int, ...], str]:
    if facts.visible is None:
        return facts.devices, f"{len(facts.devices)} device files /dev/nvidia[0-9]*"
    said = f"CUDA_VISIBLE_DEVICES={facts.visible}"
    names = [each.strip() for each in facts.visible.split(",")]
    if names[0] and not all(each.lstrip("-").isdigit() for each in names if each):
        return (), f"{said} names GPUs by id; give their number with gpus in the configuration"
    found: list[int] = []
    for name in names:
        if not name or int(name) < 0:
            break  # as CUDA reads it: what follows an invalid index is invisible
        found.append(int(name))
    return tuple(found), said


# ------------------------------------------------------------- contents of files, pure


def cgroup_dirs(cgroup: str, mountinfo: str) -> dict[str, list[str]]:
    """Give the directories whose limits apply to a process, its own first.

    Args:
        cgroup: text of /proc/PID/cgroup.
        mountinfo: text of /proc/self/mountinfo.

    Returns:
        Directories for "" (version 2), "cpu" and "memory" (version 1), each up
        to where the hierarchy is mounted; a controller not mounted is left out.
    """
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    found: dict[str, list[str]] = {}
    for root, point, controllers_here in _cgroup_mounts(mountinfo):
        for controller in ("", "cpu", "memory"):
            if controller in controllers_here and controller in paths:
                found.setdefault(controller, _upwards(paths[controller], root, point))
    return found


def _cgroup_mounts(mountinfo: str) -> list[tuple[str, str, set[str]]]:
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, *rest = after.split()
        fields = before.split()
        if kind == "cgroup2":
            found.append((fields[3], fields[4], {""}))
        elif kind == "cgroup":
            found.append((fields[3], fields[4], set(rest[-1].split(","))))
    return found


def _upwards(path: str, root: str, point: str) -> list[str]:
    """Give the directory of `path` in a hierarchy mounted from `root`, and its parents."""
    inside = path == root or path.startswith(root.rstrip("/") + "/")
    relative = path[len(root.rstrip("/")) :].strip("/") if inside else ""
    names = [name for name in relative.split("/") if name]
    return ["/".join([point.rstrip("/"), *names[:count]]) for count in range(len(names), -1, -1)]


def _quota(cpu_max: str) -> float | None:
    """Read version 2's cpu.max, or version 1's quota and period joined by a blank."""
    fields = cpu_max.split()
    if not fields or fields[0] in ("max", "-1"):
        return None
    return int(fields[0]) / int(fields[1] if len(fields) > 1 else 100_000)


def _limit(text: str) -> int | None:
    """Read a memory limit in bytes as MiB."""
    if not text.strip().isdigit() or int(text) >= _NO_LIMIT:
        return None
    return int(text) // MIB


# ----------------------------------------------------------------------- the shell


def read(pid: int = 0, *, open_text: Callable[[str], str] | None = None) -> Facts:
    """Ask the system.

    Args:
        pid: the process whose limits count; 0 is this one.
        open_text: gives the text of a file, "" when it cannot be read.
    """
    text = open_text or _text
    process = f"/proc/{pid or 'self'}"
    dirs = cgroup_dirs(text(f"{process}/cgroup"), text("/proc/self/mountinfo"))
    cpus = _affinity(pid)
    return Facts(
        cpus=cpus or tuple(range(os.cpu_count() or 1)),
        has_affinity=bool(cpus),
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB,
        quotas=_quotas(dirs, text),
        limits=_limits(dirs, text),
        devices=_devices(),
        visible=_visible(pid, text),
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _affinity(pid: int) -> tuple[int, ...]:
    if sys.platform != "linux":
        return ()
    with suppress(ProcessLookupError):
        return tuple(sorted(os.sched_getaffinity(pid)))
    return tuple(sorted(os.sched_getaffinity(0)))


_Dirs = Mapping[str, Sequence[str]]


def _quotas(dirs: _Dirs, text: Callable[[str], str]) -> tuple[tuple[str, float], ...]:
    found = [(each, text(f"{each}/cpu.max")) for each in dirs.get("", ())]
    found += [
        (each, text(f"{each}/cpu.cfs_quota_us") + " " + text(f"{each}/cpu.cfs_period_us"))
        for each in dirs.get("cpu", ())
    ]
    return tuple((where, quota) for where, said in found if (quota := _quota(said)) is not None)


def _limits(dirs: _Dirs, text: Callable[[str], str]) -> tuple[tuple[str, int], ...]:
    found = [(each, text(f"{each}/memory.max")) for each in dirs.get("", ())]
    found += [(each, text(f"{each}/memory.limit_in_bytes")) for each in dirs.get("memory", ())]
    return tuple((where, limit) for where, said in found if (limit := _limit(said)) is not None)


def _devices() -> tuple[int, ...]:
    numbers = (name[6:] for name in os.listdir("/dev") if name.startswith("nvidia"))
    return tuple(sorted(int(number) for number in numbers if number.isdigit()))


def _visible(pid: int, text: Callable[[str], str]) -> str | None:
    if not pid:
        return os.environ.get("CUDA_VISIBLE_DEVICES")
    for entry in text(f"/proc/{pid}/environ").split("\0"):
        name, _, value = entry.partition("=")
        if name == "CUDA_VISIBLE_DEVICES":
            return value
    return None
