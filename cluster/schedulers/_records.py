"""Finding the exit records of jobs on disk, for the price of looking at their directories.

It knows which files to expect, and reads each once.  A directory is listed when
its time has changed, or when a fresh listing is asked for: opening a directory
makes a network file system forget what it remembered of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from cluster.schedulers import exit_record
from cluster.schedulers.dialect import split_id
from cluster.schedulers.exit_record import ExitRecord

__all__ = ["Records", "refresh"]

_YOUNG_S = 2.0  # a younger time stamp may hide a second change within its resolution


@dataclass(slots=True)
class _Folder:
    expected: dict[str, str] = field(default_factory=dict)  # name of a record: id of its part
    changed: int = -1
    listed: float = 0.0


class Records:
    """The exit records that are waited for."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        self._places: dict[str, tuple[str, str]] = {}

    def expect(self, id: str, path: str) -> None:
        """Wait for the record of a part."""
        folder, name = os.path.split(path)
        self._folders.setdefault(folder, _Folder()).expected[name] = id
        self._places[id] = (folder, name)
        self._folders[folder].changed = -1

    def ignore(self, id: str) -> None:
        """Wait for it no more."""
        folder, name = self._places.pop(id, ("", ""))
        found = self._folders.get(folder)
        if found is not None and found.expected.get(name) == id:
            del found.expected[name]
            if not found.expected:
                del self._folders[folder]

    def look(
        self, ids: Iterable[str] | None = None, *, fresh: bool = False
    ) -> dict[str, ExitRecord]:
        """Read the records that have come.

        Args:
            ids: only where these are expected; None is everywhere.
            fresh: list directories even if they seem unchanged.
        """
        if ids is None:
            folders = list(self._folders)
        else:
            folders = list({self._places[id][0]: None for id in ids if id in self._places})
        found: dict[str, ExitRecord] = {}
        for path in folders:
            found.update(self._look_into(path, self._folders[path], fresh))
        return found

    def _look_into(self, path: str, folder: _Folder, fresh: bool) -> dict[str, ExitRecord]:
        try:
            changed = os.stat(path).st_mtime_ns
            old = changed == folder.changed and folder.listed - changed / 1e9 > _YOUNG_S
            if old and not fresh:
                return {}
            names = os.listdir(path)
        except OSError:  # gone, or the file system does not answer: the books may
            return {}
        folder.changed, folder.listed = changed, time.time()
        found = {}
        for name in folder.expected.keys() & names:
            id = folder.expected[name]
            job, index = split_id(id)
            record = exit_record.read(
                os.path.join(path, name), job=job, index=int(index) if index else None
            )
            if record is not None:
                found[id] = record
        return found


def refresh(path: str) -> bool:
    """List the directory of a file anew; tell whether the file is there."""
    folder, name = os.path.split(path)
    with suppress(OSError):
        return name in os.listdir(folder)
    return False
