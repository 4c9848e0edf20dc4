"""Builds `shim.c`, and moves its clock: faults that no ordinary program can make."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc") or shutil.which("gcc")
WHY_NOT = "" if COMPILER and os.uname().sysname == "Linux" else "needs Linux and a C compiler"
_SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """One build of it, with its own clock.

    Args:
        directory: where the library and its control file are put.
    """

    def __init__(self, directory: Path) -> None:
        self.library, control = directory / "shim.so", directory / "shim.control"
        control.write_bytes(bytes(4096))
        assert COMPILER
        argv = [COMPILER, "-shared", "-fPIC", "-O1", f'-DCONTROL="{control}"']
        subprocess.run([*argv, "-o", self.library, _SOURCE, "-ldl"], check=True)
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 4096)

    def jump(self, seconds: float) -> None:
        """Set the wall clock so much off the true time, for all that have the shim."""
        self._control[0:8] = struct.pack("q", int(seconds * 1e9))

    def break_locks(self, error: int) -> None:
        """Make `flock` fail with this errno; 0: it works again."""
        self._control[8:16] = struct.pack("q", error)
