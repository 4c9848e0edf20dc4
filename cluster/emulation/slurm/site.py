"""The pretended cluster in Slurm's terms: partitions, limits, and what every command shares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from cluster.emulation.call import Call, Stop
from cluster.emulation.settings import Partition
from cluster.emulation.slurm.environment import CLUSTER
from cluster.emulation.slurm.getopt import BadOption, Options, read
from cluster.emulation.slurm.request import DEFAULT_PARTITION

__all__ = [
    "KILL_WAIT_S",
    "MIN_JOB_AGE_S",
    "NO_HET",
    "VERSION",
    "check_clusters",
    "default_partition",
    "fail",
    "folder",
    "is_partition",
    "options",
    "partition",
    "partitions",
]

VERSION = "slurm-wlm 22.05.8"
MIN_JOB_AGE_S = 300.0
KILL_WAIT_S = 5
NO_HET = "heterogeneous jobs are not emulated"


def fail(call: Call, text: str, code: int = 1, kind: str = "error") -> NoReturn:
    """End a call with an error in Slurm's form."""
    raise Stop(f"{call.command}: {kind}: {text}\n", code)


def options(
    call: Call, table: Options, *, stop: bool = False, code: int = 1, hint: bool = True
) -> tuple[list[tuple[str, str]], list[str]]:
    """Read the command line; what is wrong with it ends the call."""
    try:
        found, words = read(table, call.argv, stop=stop)
    except BadOption as error:
        more = f'Try "{call.command} --help" for more information\n' if hint else ""
        raise Stop(f"{call.command}: {error}\n{more}", code) from None
    # `:` begins the next part of one; srun has a command in each.
    if (stop and words[:1] == [":"]) or (call.command == "srun" and ":" in words):
        fail(call, NO_HET)
    return found, words


def check_clusters(call: Call, names: str) -> None:
    """Refuse other clusters than ours."""
    for name in filter(None, names.split(",")):
        if name not in (CLUSTER, "all"):
            call.err(f"{call.command}: error: No cluster '{name}' known by database.\n")
            fail(
                call,
                f"'{name}' can't be reached now, or it is an invalid entry for --cluster.  "
                "Use 'sacctmgr list clusters' to see available clusters.",
            )


def partitions(call: Call, used: Sequence[str] = ()) -> list[Partition]:
    """Give the partitions: those that were asked for, or the default and those in use."""
    if call.settings.partitions:
        return list(call.settings.partitions)
    names = dict.fromkeys([DEFAULT_PARTITION, *(name for name in used if name)])
    return [Partition(name=name) for name in names]


def default_partition(call: Call) -> str:
    """Name the partition of jobs that name none."""
    return call.settings.partitions[0].name if call.settings.partitions else DEFAULT_PARTITION


def is_partition(call: Call, name: str) -> bool:
    """Tell whether jobs may name it; without a list, any name will do."""
    known = call.settings.partitions
    return not known or any(each.name == name for each in known)


def partition(call: Call, name: str) -> Partition:
    """Give a partition by its name."""
    for each in call.settings.partitions:
        if each.name == name:
            return each
    return Partition(name=name)


def folder(call: Call, *names: str) -> str:
    """Give a directory of ours below the state directory, made if missing."""
    path = os.path.join(call.machine.state_dir, "emulation", "slurm", *names)
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path
