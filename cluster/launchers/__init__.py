"""How the ranks of a parallel program are started: mpiexec, srun, or a launcher of one's own.

    launcher="mpi"                   mpiexec, or mpirun where there is no such program
    launcher="mpiexec --verbose"     words behind the name are handed to the launcher
    launcher="mine"                  an entry point `mine` in the group `cluster.launchers`
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.errors import OptionsError
from cluster.launchers.base import Launcher, Part, Ranks, read_parts, with_more
from cluster.launchers.mpi import Mpi
from cluster.launchers.srun import Srun

__all__ = [
    "GROUP", "Launcher", "Part", "Ranks", "command", "get", "names", "programs_of", "read_parts",
]  # fmt: skip

GROUP = "cluster.launchers"  # of entry points
_OURS: dict[str, Callable[[], Launcher]] = {
    "mpi": lambda: Mpi("mpiexec", "mpirun"),
    "mpiexec": lambda: Mpi("mpiexec"),
    "mpirun": lambda: Mpi("mpirun"),
    "srun": Srun,
}


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


def command(
    argv: Sequence[str], options: Mapping[str, Any], *, shared: bool
) -> list[str]:
    """Give the command that starts the ranks of a job's program.

    Args:
        argv: the program; parts of an MPMD program with `:` between them.
        options: the job's: launcher, tasks, nodes, cores, env.
        shared: see `Ranks`.

    Raises:
        OptionsError: there is no such launcher, or the numbers do not fit.
    """
    name, *more = _words(options["launcher"])
    parts, total = read_parts(argv, options.get("tasks"))
    nodes = options.get("nodes", 1)
    ranks = Ranks(
        tasks=total,
        per_node=-(-total // nodes) if nodes > 1 else 0,
        cores=options.get("cores", 1),
        env=tuple(options.get("env") or ()),
        shared=shared,
    )
    return get(name).argv(parts, with_more(ranks, more))


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
