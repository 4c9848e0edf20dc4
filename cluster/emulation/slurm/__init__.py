"""Slurm's commands, in front of the queue of this machine.

Each command is a function in a module of its own name, but for the small ones
of the accounts in `books`.  What they share: `jobs` (a job in Slurm's words),
`options` (of sbatch, salloc and srun), `site` (partitions and limits), `table`
(what squeue and sinfo print), `times` and `indices` (how Slurm writes them).
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.emulation.families import Handler
from cluster.emulation.slurm import books
from cluster.emulation.slurm.sacct import sacct
from cluster.emulation.slurm.scancel import scancel
from cluster.emulation.slurm.scontrol import scontrol
from cluster.emulation.slurm.sinfo import sinfo
from cluster.emulation.slurm.squeue import squeue
from cluster.emulation.slurm.srun import salloc, srun
from cluster.emulation.slurm.submit import sbatch

__all__ = ["COMMANDS"]

COMMANDS: Mapping[str, Handler] = {
    "sacct": sacct,
    "sacctmgr": books.sacctmgr,
    "salloc": salloc,
    "sbatch": sbatch,
    "sbcast": books.sbcast,
    "scancel": scancel,
    "scontrol": scontrol,
    "sdiag": books.sdiag,
    "sinfo": sinfo,
    "sprio": books.sprio,
    "squeue": squeue,
    "srun": srun,
    "sshare": books.sshare,
    "sstat": books.sstat,
    "strigger": books.nothing,
}
