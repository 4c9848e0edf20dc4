"""Deleting the files that jobs left in a directory, told by their names."""

from __future__ import annotations

import os
import sys

from cluster import files

__all__ = ["clean_dir"]


def clean_dir(
    directory: str | os.PathLike[str] = ".",
    suffix: str = "cluster",
    qtype: str | None = None,
    confirm: bool = False,
) -> set[str]:
    """Delete every file in a directory whose name says that a job left it.

    The names end in `.<suffix>`, `.<suffix>.sbatch`, `.<suffix>.out`,
    `_func.<suffix>.py` and so on (`files.endings`).  Directories are not
    entered, links not followed.

    Args:
        directory: where to look.
        suffix: the part of the names that marks them.
        qtype: only files of this scheduler; None is all of them.
        confirm: ask first, on the terminal; without one nothing is deleted.

    Returns:
        Paths of the files that were deleted.

    Raises:
        OptionsError: an empty suffix or an unknown scheduler.
    """
    found = sorted(os.fspath(p) for p in files.made_here(
        os.fspath(directory), suffix=suffix, qtype=qtype))  # fmt: skip
    if confirm and not (found and _agrees(found)):
        return set()
    return {path for path in found if files.Disk.remove(path)}


def _agrees(paths: list[str]) -> bool:
    print("\n".join(paths))
    print(f"Delete these {len(paths)} files? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
