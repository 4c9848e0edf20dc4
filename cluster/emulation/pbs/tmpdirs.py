"""The temporary directories of jobs: each job makes its own, we remove those of jobs that ended."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress

from cluster.emulation.machine import Machine

__all__ = ["folder", "sweep"]

SWEEP_S = 10.0
_last: dict[str, float] = {}


def folder(machine: Machine) -> str:
    """Give the directory that holds those of one family."""
    return os.path.join(machine.state_dir, "emulation", machine.family, "tmp")


def sweep(machine: Machine) -> None:
    """Remove those of jobs that are over, unless somebody looked just now."""
    now = time.monotonic()
    home = folder(machine)
    if now - _last.get(home, -SWEEP_S) < SWEEP_S:
        return
    _last[home] = now
    os.makedirs(home, mode=0o700, exist_ok=True)
    numbers: dict[str, list[str]] = {}
    with suppress(OSError):
        for name in os.listdir(home):
            if match := re.match(r"pbs\.(\d+)(?:\[\d*\])?\.", name):
                numbers.setdefault(match[1], []).append(os.path.join(home, name))
    if not numbers:
        return
    alive = {str(row.array) for row in machine.rows(sorted(numbers)) if not row.done}
    for number, paths in numbers.items():
        for path in paths if number not in alive else ():
            shutil.rmtree(path, ignore_errors=True)
