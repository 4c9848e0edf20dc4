"""srun: the ranks of a job of Slurm, each a task that Slurm itself starts and counts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cluster.launchers.base import Part, Ranks

__all__ = ["Srun"]


class Srun:
    """Slurm's own launcher.  MPI in it needs the site's `--mpi` (default in slurm.conf)."""

    programs: Sequence[str] = ("srun",)

    def argv(self, parts: Sequence[Part], ranks: Ranks) -> list[str]:
        """Give the command; several programs go through a file that srun reads."""
        found = ["srun", f"--ntasks={ranks.tasks}", "--kill-on-bad-exit=1"]
        # A step does not inherit the cores per task of its job since Slurm 22.05.
        found += [f"--cpus-per-task={ranks.cores}"]
        found += [f"--ntasks-per-node={ranks.per_node}"] if ranks.per_node else []
        found += ranks.more
        if len(parts) == 1:
            return [*found, *parts[0].argv]
        return ["/bin/sh", "-c", _text(found, parts), "srun"]


def _text(found: Sequence[str], parts: Sequence[Part]) -> str:
    lines, first = [], 0
    for part in parts:
        last = first + part.tasks - 1
        places = str(first) if first == last else f"{first}-{last}"
        lines.append(f"{places} {' '.join(map(_quoted, part.argv))}")
        first = last + 1
    return "\n".join(
        [
            "file=$(mktemp) || exit",
            f"printf '%s\\n' {shlex.join(lines)} > \"$file\"",
            f'{shlex.join(found)} --multi-prog "$file"',
            "code=$?",
            'rm -f -- "$file"',
            "exit $code",
        ]
    )


def _quoted(word: str) -> str:
    """Write a word of the file: srun knows both quotes and the backslash, and %t and %o."""
    plain = all(char.isalnum() or char in "-_./=:,+@" for char in word)
    escaped = "".join(f"\\{char}" if char in "\\\"'" else char for char in word)
    return word if plain and word else f'"{escaped}"'
