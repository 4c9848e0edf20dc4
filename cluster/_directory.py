"""The directory of a pipeline or a sweep: one process at a time submits from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import files
from cluster.errors import ClusterError, OptionsError

__all__ = ["aside", "away", "locked", "remove", "settle_aside", "write_json"]

LOCK_S = 60.0  # another process submits from it; handing over thousands of jobs takes a while


def write_json(path: Path, content: Any) -> None:
    """Write a file that people can read, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    data = text.encode("utf-8", "surrogateescape")
    files.write_atomic(os.fspath(path), data + b"\n")


@contextmanager
def locked(directory: Path, what: str) -> Iterator[None]:
    """Keep other processes from submitting from the same directory.

    Raises:
        OptionsError: the directory cannot be made.
        ClusterError: another process submits from it, and does not come to an end.
    """
    from filelock import FileLock, Timeout

    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OptionsError(
            f"directory {os.fspath(directory)!r} of {what} cannot be made: {error.strerror}. "
            "Give another directory=."
        ) from error
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=LOCK_S)
    except Timeout:
        raise ClusterError(
            f"another process has been submitting {what} for {LOCK_S:g} s. Look at it, or wait."
        ) from None
    try:
        yield
    finally:
        lock.release()


def remove(paths: Iterable[str]) -> None:
    """Delete files, those that are there."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


@contextmanager
def aside(paths: Iterable[str]) -> Iterator[None]:
    """Take files away; they come back if the block raises, and are deleted if not.

    What is left of it if the program is killed in the block, `settle_aside` settles.
    """
    moved = [path for path in paths if os.path.exists(path)]
    for path in moved:
        os.replace(path, away(path))
    try:
        yield
    except BaseException:
        for path in moved:
            os.replace(away(path), path)
        raise
    remove(away(path) for path in moved)


def away(path: str) -> str:
    """Give the place of a file that was taken away."""
    return f"{path}.before"


def settle_aside(paths: Iterable[str], *, back: bool) -> None:
    """Bring files back that a program had taken away when it was killed, or delete them."""
    for path in paths:
        if not os.path.exists(away(path)):
            continue
        if back and not os.path.exists(path):
            os.replace(away(path), path)
        else:
            os.unlink(away(path))
