"""Files in memory, for the node's journal: what was not synced may be lost or torn."""

from __future__ import annotations

import os
import random
from itertools import count


class File:
    """What a file holds, and how much of it a power cut leaves alone."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = 0


class Files:
    """Stands for the module `os` where only files are touched."""

    O_CREAT, O_WRONLY, O_APPEND = os.O_CREAT, os.O_WRONLY, os.O_APPEND
    O_TRUNC, O_CLOEXEC = os.O_TRUNC, os.O_CLOEXEC
    O_RDONLY, O_DIRECTORY = os.O_RDONLY, os.O_DIRECTORY

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._named: dict[str, File] = {}
        self._before: dict[str, File | None] = {}  # what a name meant before it was replaced
        self._open: dict[int, File] = {}
        self._numbers = count(3)

    def contents(self, path: str) -> bytes:
        """Read a file; none is empty."""
        return bytes(self._named[path].data) if path in self._named else b""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        number = next(self._numbers)
        if flags & os.O_DIRECTORY:
            return number
        self._named[path] = self._open[number] = File()  # truncated: no other way is asked for
        return number

    def write(self, fd: int, data: bytes) -> int:
        self._open[fd].data += data
        return len(data)

    def fsync(self, fd: int) -> None:
        if fd not in self._open:  # the directory: what was renamed or removed stays so
            self._before.clear()
            return
        self._open[fd].synced = len(self._open[fd].data)

    def ftruncate(self, fd: int, size: int) -> None:
        del self._open[fd].data[size:]

    def replace(self, source: str, target: str) -> None:
        self._before[target] = self._named.get(target)
        self._named[target] = self._named.pop(source)

    def unlink(self, path: str) -> None:
        self._before[path] = self._named.pop(path)

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)

    def not_yet_sure(self) -> dict[str, bytes]:
        """Give the files as a power cut may leave them that undoes each rename and removal."""
        return {path: bytes(file.data) for path, file in self._before.items() if file is not None}

    def put(self, contents: dict[str, bytes]) -> None:
        """Have these files, and no others."""
        self._named = {path: File() for path in contents}
        for path, data in contents.items():
            self._named[path].data += data

    def cut_power(self) -> None:
        """Lose or tear what was not synced; a file may not be renamed or removed yet."""
        for path, file in self._before.items():
            if self._rng.random() < 0.3:
                self._named.pop(path, None)
                if file is not None:
                    self._named[path] = file
        for file in self._named.values():
            end = self._rng.randint(file.synced, len(file.data))
            del file.data[end:]
            if end > file.synced and self._rng.random() < 0.5:  # a block that never got there
                at = self._rng.randint(file.synced, end - 1)
                size = min(self._rng.randint(1, 64), end - at)
                file.data[at : at + size] = bytes(size)
        self._before.clear()
        self._open.clear()
