"""Arrays as they are remembered, so that another process, or tomorrow's, can go on with them.

    <folder>/<id>.work    what its elements run, for a retry; written once
    <folder>/<id>.array   which jobs it consists of; written again at a retry

They are pickles of plain values, read only if nobody else can have written
them.  What users send stays pickled inside.
"""

from __future__ import annotations

import os
import pickle
import time
from contextlib import suppress
from typing import Any

from cluster import config_file, files, registry, runner
from cluster.errors import UnknownJob

__all__ = ["folder_of", "keep", "keep_layout", "layout", "work"]

DAY_S = 86400.0
_PRUNED = ".pruned"  # its time is that of the last pruning


def folder_of(scheduler: Any) -> str:
    """Give the directory for the arrays of a scheduler; it is made when it is missing."""
    if scheduler.qtype == "local":
        base = scheduler.client.state_dir
    else:
        known = getattr(scheduler, "registry", None) or registry.Registry(scheduler.qtype)
        base = known.directory
    path = os.path.join(base, "arrays")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def keep(folder: str, id: str, work: dict[str, Any], layout: dict[str, Any]) -> None:
    """Write a new array, and drop those that are as old as records may be."""
    _write(folder, f"{id}.work", work)
    keep_layout(folder, id, layout)
    _prune(folder, config_file.get("retention", "records_days"), time.time())


def keep_layout(folder: str, id: str, layout: dict[str, Any]) -> None:
    """Write which jobs an array consists of."""
    _write(folder, f"{id}.array", layout)


def layout(folder: str, id: str) -> dict[str, Any] | None:
    """Read which jobs an array consists of; None if it is not known here."""
    return _read(folder, f"{id}.array")


def work(folder: str, id: str) -> dict[str, Any]:
    """Read what the elements of an array run.

    Raises:
        UnknownJob: it is not known any more.
    """
    found = _read(folder, f"{id}.work")
    if found is None:
        raise UnknownJob(
            f"what array {id} runs is not known any more: it cannot be retried. Submit it anew; "
            "`retention.records_days` says how long arrays are kept."
        )
    return found


def _write(folder: str, name: str, content: dict[str, Any]) -> None:
    data = pickle.dumps(content, 5)
    files.write_atomic(os.path.join(folder, files.safe_stem(name)), data, mode=0o600)


def _read(folder: str, name: str) -> dict[str, Any] | None:
    path = os.path.join(folder, files.safe_stem(name))
    if not os.path.exists(path):
        return None
    try:
        found: dict[str, Any] = pickle.loads(runner.read_owned(path))
    except runner.Refused as refusal:
        raise UnknownJob(str(refusal)) from None
    return found


def _prune(folder: str, days: float, now: float) -> None:
    mark = os.path.join(folder, _PRUNED)
    with suppress(FileNotFoundError):
        if now - os.stat(mark).st_mtime < DAY_S:
            return
    with open(mark, "w"):
        os.utime(mark, (now, now))
    with os.scandir(folder) as found:
        for entry in found:
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < now - days * DAY_S:
                    os.unlink(entry.path)
