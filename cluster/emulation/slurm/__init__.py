"""Slurm's commands, in front of the queue of this machine.

Each command is a function in a module of its own name; what they share is in
`jobs` (a job in Slurm's words), `options` (of sbatch, salloc and srun), `table`
(what squeue and sinfo print), `times` and `indices` (how Slurm writes them).
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.emulation.families import Handler
from cluster.emulation.slurm.sacct import sacct
from cluster.emulation.slurm.scancel import scancel
from cluster.emulation.slurm.squeue import squeue
from cluster.emulation.slurm.srun import salloc, srun
from cluster.emulation.slurm.submit import sbatch

__all__ = ["COMMANDS"]

COMMANDS: Mapping[str, Handler] = {
    "sacct": sacct,
    "salloc": salloc,
    "sbatch": sbatch,
    "scancel": scancel,
    "squeue": squeue,
    "srun": srun,
}
