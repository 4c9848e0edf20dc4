"""What a launcher is given, and the protocol that it implements.

A launcher turns programs and numbers into one command that starts their ranks.
It runs nothing: the command runs where the job does, and asks there what it
must know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cluster.errors import OptionsError

__all__ = ["Launcher", "Part", "Ranks", "read_parts"]


class Part(NamedTuple):
    """So many ranks of one program.  Several parts are one MPI program (MPMD)."""

    tasks: int
    argv: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """How ranks are laid out.

    Attributes:
        tasks: how many there are, of all parts together.
        per_node: at most so many on one machine; 0 leaves it to the launcher.
        cores: what each of them takes.
        env: names of the variables that each of them must have.
        shared: this machine is shared with other jobs of a queue that knows
            nothing of the launcher: no rank may be bound to a core, and the
            launcher's own count of cores does not matter.
        more: the user's own words for the launcher.
    """

    tasks: int = 1
    per_node: int = 0
    cores: int = 1
    env: tuple[str, ...] = ()
    shared: bool = False
    more: tuple[str, ...] = ()


class Launcher(Protocol):
    """One way to start ranks.

    Attributes:
        programs: it needs one of these on PATH; empty if that cannot be said.
    """

    programs: Sequence[str]

    def argv(self, parts: Sequence[Part], ranks: Ranks) -> list[str]:
        """Give the command that starts all ranks and ends with their exit code."""
        ...


def read_parts(words: Sequence[str], tasks: int | None) -> tuple[list[Part], int]:
    """Read `A : -n 3 B` as mpiexec does: parts with `:` between, `-n` before each program.

    Args:
        words: of the command line.
        tasks: how many ranks there are in all; None leaves that to the words.
            One part may be without `-n`: it gets those that are left.

    Returns:
        The parts, and the number of ranks.

    Raises:
        OptionsError: a part is empty, or the numbers do not fit.
    """
    found = [_read_part(part) for part in _split(words)]
    counted = sum(part.tasks for part in found)
    open = [place for place, part in enumerate(found) if not part.tasks]
    if len(open) > 1:
        raise OptionsError(
            f"{len(open)} of {len(found)} programs have no -n. Say how many ranks each of them has."
        )
    total = tasks if tasks is not None else counted + len(open)
    left = total - counted
    if left < len(open) or (left and not open):
        raise OptionsError(
            f"the programs have {counted} ranks with -n, and tasks is {total}. "
            "Let the numbers fit, or leave one of them out."
        )
    if open:
        found[open[0]] = found[open[0]]._replace(tasks=left)
    return found, total


def _split(words: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == ":":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _read_part(words: list[str]) -> Part:
    tasks = 0
    if words[:1] in (["-n"], ["-np"]) and len(words) > 1:
        if not words[1].isdigit() or not int(words[1]):
            raise OptionsError(f"{words[0]} {words[1]!r} is no number of ranks. Give 1 or more.")
        tasks, words = int(words[1]), words[2:]
    if not words:
        raise OptionsError("a program is missing beside ':'. As in: server : -n 3 worker")
    return Part(tasks, tuple(words))
