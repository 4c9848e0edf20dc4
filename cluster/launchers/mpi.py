"""mpiexec and mpirun, of Open MPI and of those that speak as MPICH does.

They want the same thing said in different words.  Which of them it is can
differ between here and a node, and change with a module that the job loads:
so the program is asked in the job, by a few lines of shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cluster.launchers.base import Part, Ranks

__all__ = ["Mpi", "flavour", "words"]

_OPEN_MPI = ("Open MPI", "OpenRTE", "open-mpi.org", "PRRTE")
_MISSING = (
    "{program} is not on PATH. Install Open MPI or MPICH (Debian: apt install openmpi-bin), "
    "or load their module."
)


def flavour(version: str) -> str:
    """Tell who answered `--version`: "openmpi", or "hydra" (MPICH, Intel MPI, MVAPICH)."""
    return "openmpi" if any(word in version for word in _OPEN_MPI) else "hydra"


def words(kind: str, ranks: Ranks) -> list[str]:
    """Give the words that stand before the first `-n`.

    Args:
        kind: what `flavour` gives.
        ranks: how they are laid out.
    """
    return _open_mpi(ranks) if kind == "openmpi" else _hydra(ranks)


def _open_mpi(ranks: Ranks) -> list[str]:
    found: list[str] = []
    if ranks.shared:
        # It would bind the ranks of every job here to the same first cores, and count
        # cores without hyperthreads.
        found += ["--oversubscribe", "--bind-to", "none"]
        if ranks.per_node:
            found += ["--map-by", f"ppr:{ranks.per_node}:node"]
    elif ranks.per_node:
        each = f":PE={ranks.cores}" if ranks.cores > 1 else ""
        found += ["--map-by", f"ppr:{ranks.per_node}:node{each}"]
    elif ranks.cores > 1:
        found += ["--map-by", f"slot:PE={ranks.cores}"]
    for name in ranks.env:
        found += ["-x", name]
    return [*found, *ranks.more]


def _hydra(ranks: Ranks) -> list[str]:
    found = ["-ppn", str(ranks.per_node)] if ranks.per_node else []
    if ranks.cores > 1 and not ranks.shared:
        found += ["-bind-to", f"core:{ranks.cores}"]
    return [*found, *ranks.more]  # it hands on every variable by itself


class Mpi:
    """One of the two names of the program.

    Args:
        programs: looked for in this order.
    """

    def __init__(self, *programs: str) -> None:
        self.programs: Sequence[str] = programs

    def argv(self, parts: Sequence[Part], ranks: Ranks) -> list[str]:
        """Give the command: a shell that asks the program who it is, and becomes it."""
        behind: list[str] = []
        for part in parts:
            behind += [*([":"] if behind else []), "-n", str(part.tasks), *part.argv]
        return ["/bin/sh", "-c", self._text(ranks), self.programs[0], *behind]

    def _text(self, ranks: Ranks) -> str:
        first, *others = self.programs
        lines = [f"mpi={shlex.quote(first)}"]
        lines += [
            f'command -v "$mpi" >/dev/null 2>&1 || mpi={shlex.quote(other)}' for other in others
        ]
        missing = shlex.quote(_MISSING.format(program=" or ".join(self.programs)))
        known = "|".join(f'*"{word}"*' for word in _OPEN_MPI)
        return "\n".join(
            [
                *lines,
                f'command -v "$mpi" >/dev/null 2>&1 || {{ echo {missing} >&2; exit 127; }}',
                'case "$("$mpi" --version 2>&1)" in',
                f'{known}) exec "$mpi" {_line(words("openmpi", ranks))}"$@" ;;',
                f'*) exec "$mpi" {_line(words("hydra", ranks))}"$@" ;;',
                "esac",
            ]
        )


def _line(found: Sequence[str]) -> str:
    return shlex.join(found) + " " if found else ""
