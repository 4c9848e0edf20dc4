"""How the ranks of a parallel program are started: mpiexec, srun, or a launcher of one's own.

launcher="mpi"                   mpiexec, or mpirun where there is no such program
launcher="mpiexec --verbose"     words behind the name are handed to the launcher
launcher="mine"                  an entry point `mine` in the group `cluster.launchers`
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cluster.errors import OptionsError
from cluster.launchers.base import Launcher, Part, Ranks, read_parts
from cluster.launchers.mpi import Mpi
from cluster.launchers.srun import Srun

__all__ = [
    "GROUP", "Launcher", "Part", "Ranks", "argv", "get", "names", "programs_of", "read_parts",
]  # fmt: skip

GROUP = "cluster.launchers"  # of entry points
_OURS: dict[str, Callable[[], Launcher]] = {
    "mpi": lambda: Mpi("mpiexec", "mpirun"),
    "mpiexec": lambda: Mpi("mpiexec"),
    "mpirun": lambda: Mpi("mpirun"),
    "srun": Srun,
}
_MPI = re.compile(r"(.*/)?mpi(exec|run)([.-][\w.-]+)?\Z")  # /opt/mpich/bin/mpiexec.hydra


def names() -> list[str]:
    """List the launchers that there are."""
    return [*_OURS, *sorted(_theirs().keys() - _OURS.keys())]


def _theirs() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def get(name: str) -> Launcher:
    """Give the launcher of this name.

    Raises:
        OptionsError: there is none, or it cannot be loaded.
    """
    if name in _OURS:
        return _OURS[name]()
    if _MPI.match(name):
        return Mpi(name)
    point = _theirs().get(name)
    if point is None:
        raise OptionsError(f"launcher {name!r} is unknown. There are: {', '.join(names())}.")
    try:
        made: Launcher = point.load()()
    except Exception as error:  # somebody else's package may raise anything
        raise OptionsError(
            f"launcher {name!r} ({point.value}) cannot be loaded: {error!r}"
        ) from error
    return made


def argv(words: Sequence[str], line: str, ranks: Ranks, *, is_text: bool = False) -> list[str]:
    """Give the command that starts the ranks of a program.

    Args:
        words: the program; parts of an MPMD program with `:` between them.
        line: name of the launcher, and words for it.
        ranks: how they are laid out; with 0 `tasks`, the parts say how many there are.
        is_text: it is one program, whatever words it has.

    Raises:
        OptionsError: there is no such launcher, or the numbers do not fit.
    """
    name, *more = _words(line)
    if is_text:
        parts = [Part(ranks.tasks, tuple(words))]
    else:
        parts, total = read_parts(words, ranks.tasks or None)
        ranks = replace(ranks, tasks=total)
    return get(name).argv(parts, replace(ranks, more=tuple(more)))


def programs_of(line: str) -> Sequence[str]:
    """Name the programs of which a launcher needs one.

    Raises:
        OptionsError: there is no such launcher.
    """
    return get(_words(line)[0]).programs


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise OptionsError(f"launcher {line!r} cannot be read: {error}") from None
    if not words:
        raise OptionsError(f"launcher is empty. There are: {', '.join(names())}.")
    return words
