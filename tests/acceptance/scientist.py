"""What the tests of this folder share: waiting, running programs, looking into a job."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cluster

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0

# Prints what a process is made of, as a literal of Python; -IS: nothing of the site gets in.
LOOK = """
import os, stat, sys
def target(fd):
    try: return os.readlink("/proc/self/fd/%d" % fd)
    except OSError: return ""
mask = os.umask(0)
listed = [int(fd) for fd in os.listdir("/proc/self/fd")]
fds = []
for fd in listed:
    try: os.fstat(fd); fds.append(fd)
    except OSError: pass
print({"argv": [os.fsencode(word) for word in sys.argv[1:]], "cwd": os.getcwdb(),
       "env": dict(os.environb), "umask": mask, "fds": sorted(fds), "stdin": target(0),
       "pid": os.getpid(), "sid": os.getsid(0), "pgid": os.getpgrp(), "ppid": os.getppid(),
       "cpus": sorted(os.sched_getaffinity(0))})
"""
LOOKER = (sys.executable, "-I", "-S", "-c", LOOK)


def look(*args: Any, **options: Any) -> dict[str, Any]:
    """Run a command job that looks at itself, and give what it saw."""
    result = cluster.submit([*LOOKER, *args], **options).get(timeout=DEADLINE_S)
    assert result.exitcode == 0, result.stderr
    seen = ast.literal_eval(result.stdout)
    assert isinstance(seen, dict)
    return seen


def until(condition: Callable[[], object], timeout_s: float = DEADLINE_S) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def state_of(job: cluster.Job, *states: str) -> cluster.Job:
    """Wait until a job is in one of these states."""
    until(lambda: job.state in states)
    return job


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def number_in(path: Path) -> int:
    """Wait for a file that holds a number, a pid say, and give it."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


class Cli:
    """Runs `cluster` as a user does, in a process of its own."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def __call__(self, *args: str | bytes) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        words = [os.fsencode(word) for word in (sys.executable, "-m", "cluster", *args)]
        return subprocess.run(
            words, cwd=self.cwd, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
            text=True, errors="surrogateescape",
        )  # fmt: skip

    def id(self, *args: str | bytes) -> str:
        """Submit something that is right, and give its id."""
        done = self("submit", *args)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.strip()
