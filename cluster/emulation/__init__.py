"""This machine as a Slurm, PBS, Grid Engine or LSF cluster, for any program.

    with cluster.emulate("slurm") as env:
        subprocess.run(["sbatch", "job.sh"], env=env)

The scheduler's own commands stand first on the PATH of `env` and of nothing
else.  Their jobs go to the queue of this machine, in a namespace of that
scheduler; nothing is installed, and no real command is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cluster.emulation import families, shims
from cluster.emulation.settings import VARIABLE, Partition, Settings, read_partition
from cluster.errors import ServerUnavailable
from cluster.local import lifecycle
from cluster.local.private import PrivateQueue
from cluster.units import parse_memory

__all__ = ["emulate", "prepare"]


@contextmanager
def emulate(
    family: str,
    *,
    cores: int | None = None,
    memory: str | int | None = None,
    gpus: int | None = None,
    partitions: Sequence[str | Partition] = (),
    strict: bool = False,
    private: bool = False,
    faults: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, str]]:
    """Pretend that this machine is a cluster.

    Args:
        family: "slurm", "pbs", "torque", "sge" or "lsf".
        cores, memory, gpus: what the cluster has; implies `private`.  Memory
            is a number of MiB or a text with a unit.
        partitions: "NAME:cores=N:memory=4GB:nodes=N:time=2h" each; implies
            `private`.  Without any, each exists on first use.
        strict: unsupported flags are errors, and what this machine cannot
            hold is refused as the real scheduler would.
        private: a queue that ends with the block, jobs and all; else jobs go
            to the user's own queue, and stay.
        faults: what goes wrong on purpose; see the pytest plug-in.

    Yields:
        The environment in which the scheduler's commands are found.

    Raises:
        OptionsError: there is no such family, or a partition cannot be read.
        ServerUnavailable: the queue could not be started.
    """
    found = families.get(family)
    read = tuple(read_partition(p) if isinstance(p, str) else p for p in partitions)
    settings = Settings(
        family=found.name, strict=strict, partitions=read, faults=dict(faults or {})
    )
    shaped = {
        "cores": cores,
        "memory_mib": None if memory is None else parse_memory(memory),
        "gpus": gpus,
    }
    asked: dict[str, Any] = {name: value for name, value in shaped.items() if value is not None}
    if not (private or asked or read):
        yield prepare(lifecycle.state_dir(), found, settings)
        return
    with PrivateQueue(**asked, overcommit=True) as queue:
        yield prepare(queue.state_dir, found, settings)


def prepare(state_dir: str, family: families.Family, settings: Settings) -> dict[str, str]:
    """Have a family's commands ready; give the environment in which they are found.

    Raises:
        ServerUnavailable: they cannot be written, or their daemon not started.
    """
    try:
        bin = shims.make(state_dir, family)
    except OSError as error:
        raise ServerUnavailable(
            f"the commands of {family.title} cannot be written to {state_dir}: {error.strerror}"
        ) from error
    lifecycle.start_daemon("emulation", state_dir)
    home = shims.folder(state_dir, family.name)
    env = dict(os.environ)
    before = env.get("BASH_ENV", "")
    mine = os.path.join(home, "env.bash")
    env |= {
        "PATH": bin + os.pathsep + env.get("PATH", os.defpath),
        "BASH_ENV": mine,
        "CLUSTER_STATE_DIR": state_dir,
        "CLUSTER_QTYPE": family.qtype,
        VARIABLE: settings.text(),
    }
    # Within another emulation it is that one's, and would read itself without end.
    if before and before != mine and VARIABLE not in os.environ:
        env["CLUSTER_EMULATION_BASH_ENV"] = before
    for name, value in family.variables.items():
        env[name] = value.replace("{home}", home)
    return env
