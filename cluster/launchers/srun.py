"""srun: the ranks of a job of Slurm, each a task that Slurm itself starts and counts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cluster.errors import OptionsError
from cluster.launchers.base import Part, Ranks

__all__ = ["Srun"]


class Srun:
    """Slurm's own launcher.  MPI in it needs the site's `--mpi` (default in slurm.conf)."""

    programs: Sequence[str] = ("srun",)

    def argv(self, parts: Sequence[Part], ranks: Ranks) -> list[str]:
        """Give the command; of several programs each rank takes its own.

        Raises:
            OptionsError: this is no job of Slurm.
        """
        if ranks.shared:
            raise OptionsError(
                "launcher 'srun' starts the ranks of a job of Slurm, and this is none. "
                "Use launcher='mpi'."
            )
        found = ["srun", f"--ntasks={ranks.tasks}", "--kill-on-bad-exit=1"]
        # A step does not inherit the cores per task of its job since Slurm 22.05.
        found += [f"--cpus-per-task={ranks.cores}"]
        found += [f"--ntasks-per-node={ranks.per_node}"] if ranks.per_node else []
        found += ranks.more
        if len(parts) == 1:
            return [*found, *parts[0].argv]
        return [*found, "/bin/sh", "-c", _choice(parts)]


def _choice(parts: Sequence[Part]) -> str:
    """Write the shell text by which each rank becomes its program.

    Not srun's --multi-prog: what the file of that says is split anew, and no
    quotes keep every argument as it is.
    """
    lines, last = ["case $SLURM_PROCID in"], 0
    for part in parts:
        places = "|".join(str(last + place) for place in range(part.tasks))
        lines.append(f"{places}) exec {shlex.join(part.argv)} ;;")
        last += part.tasks
    return "\n".join([*lines, "esac"])
