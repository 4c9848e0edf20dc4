"""What the queue forgets, and when: outputs, records, large arguments, all its own.

It never touches a file that a user named, and an id's final state stays for ever.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Any

from cluster.local.store import Store

__all__ = ["forget_old"]

DAY_S = 86400.0
_ROWS = 1000  # at a time, so that no client waits long


def forget_old(
    store: Store,
    state_dir: str,
    settings: Mapping[str, Any],
    now: float,
    run_times: Container[str] | None = None,
) -> bool:
    """Drop what is older than its retention, some of it.

    Args:
        store, state_dir, settings, now: of the queue.
        run_times: the learned ones that still count; None while clients are
            connected, who rely on environments that they have sent.

    Returns:
        Whether there is more to drop: come back soon.

    Raises:
        sqlite3.Error: the store cannot be written; nothing was dropped.
    """
    outputs_before = now - float(settings.get("outputs_days", 30.0)) * DAY_S
    records_before = now - float(settings.get("records_days", 90.0)) * DAY_S
    files, is_more = store.forget(
        contents_before=outputs_before, records_before=records_before, limit=_ROWS
    )
    own = os.path.join(os.fsencode(state_dir), b"outputs", b"")
    for file in files:
        if file.startswith(own):  # never a file that the user named
            _remove(file)
    if not is_more:
        _forget_payloads(store, state_dir, outputs_before)
        _forget_attempts(store, state_dir, outputs_before)
        if run_times is not None:
            store.forget_unused(run_times=run_times)
    return is_more


def _forget_payloads(store: Store, state_dir: str, before: float) -> None:
    """Remove the large arguments of jobs that ended as long ago as outputs are kept.

    A job that is submitted again shares the file of the first: it counts as used.
    """
    folder = os.path.join(os.fsencode(state_dir), b"payloads")
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        old = {entry.path for entry in found if entry.stat().st_mtime < before}
        for path in old - store.payload_files(ended_after=before) if old else ():
            _remove(path)


def _forget_attempts(store: Store, state_dir: str, before: float) -> None:
    """Remove large outputs that no record names: of attempts that were not the last."""
    folder = os.path.join(os.fsencode(state_dir), b"outputs")
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        old = [entry for entry in found if entry.stat().st_mtime < before]
        for entry in old:
            id = entry.name.partition(b".")[0]
            if id.isdigit() and not store.needs_output(int(id), entry.path):
                _remove(entry.path)


def _remove(path: bytes) -> None:
    with suppress(OSError):
        os.unlink(path)
