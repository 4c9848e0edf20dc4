"""Run a command on a machine that stutters: it and all it starts stand still now and then.

A virtual machine whose host is busy does that, for tenths of a second, and tests
that count on a job of half a second being there still do not survive it.

    python tests/stutter.py [--still 0.4] [--goes 0.6] [--seed 1] -- .venv/bin/python -m pytest ...

Wants root and a freezer: cgroups v1's, or the unified hierarchy with `cgroup.freeze`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Group:
    """A control group that can be frozen as a whole."""

    def __init__(self) -> None:
        is_old = (ROOT / "freezer").is_dir()
        self._path = (ROOT / "freezer" if is_old else ROOT) / f"stutter-{os.getpid()}"
        self._path.mkdir()
        self._file = self._path / ("freezer.state" if is_old else "cgroup.freeze")
        self._words = ("THAWED", "FROZEN") if is_old else ("0", "1")

    def freeze(self, is_frozen: bool) -> None:
        self._file.write_text(self._words[is_frozen])

    def enter(self) -> None:
        (self._path / "cgroup.procs").write_text("0")

    def remove(self) -> None:
        """Leave no group behind; what still runs in it goes back to the root."""
        self.freeze(False)
        for pid in (self._path / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (self._path.parent / "cgroup.procs").write_text(pid)
        self._path.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--still", type=float, default=0.4, help="seconds at most (0.4)")
    parser.add_argument("--goes", type=float, default=0.6, help="seconds at most (0.6)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("command", nargs="+")
    told = parser.parse_args()
    dice = random.Random(told.seed)
    group = Group()
    stills = 0
    try:
        process = subprocess.Popen(told.command, preexec_fn=group.enter)
        while process.poll() is None:
            time.sleep(dice.uniform(0.01, told.goes))
            group.freeze(True)
            time.sleep(dice.uniform(0.01, told.still))
            group.freeze(False)
            stills += 1
    finally:
        group.remove()
    print(f"stood still {stills} times", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
