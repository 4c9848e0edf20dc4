"""What this machine can do at best, and what processes cost: the yardsticks of the benchmarks.

Nothing here knows the queue.  Everything is measured when it is called, for the
rates of a shared machine change from minute to minute.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil

TRUE = "/bin/true" if os.path.exists("/bin/true") else "/usr/bin/true"
_ROW_BYTES = 600  # about what the queue writes for a submitted function


def spawns_per_s(number: int, in_flight: int = 2) -> float:
    """S: start and reap `/bin/true`, two at a time, as fast as the system does it."""
    left, running = number, 0
    begin = time.perf_counter()
    while left or running:
        while left and running < in_flight:
            os.posix_spawn(TRUE, [TRUE], os.environ)
            left, running = left - 1, running + 1
        os.wait()
        running -= 1
    return number / (time.perf_counter() - begin)


_FORKS = """
import gc, os, sys, time, types
import cloudpickle
function = types.FunctionType((lambda: 7).__code__, {"__name__": "__main__"})
call = cloudpickle.dumps((function, (), {}), 5)
number, in_flight = int(sys.argv[1]), int(sys.argv[2])
gc.freeze()
left, running = number, 0
begin = time.perf_counter()
while left or running:
    while left and running < in_flight:
        if not os.fork():
            function, args, kwargs = cloudpickle.loads(call)
            cloudpickle.dumps(function(*args, **kwargs))
            os._exit(0)
        left, running = left - 1, running + 1
    os.wait()
    running -= 1
print(number / (time.perf_counter() - begin))
"""


def forks_per_s(number: int, in_flight: int = 2) -> float:
    """F: fork an interpreter that has cloudpickle, make one call there, reap it, two at a time.

    What S is to programs: nothing of a queue, and the least that a fresh
    process for each call can cost in Python.
    """
    return fresh_python(_FORKS, str(number), str(in_flight))


def commits_per_s(folder: Path, number: int) -> float:
    """Insert and commit one row at a time, in the way the queue's store is durable.

    Args:
        folder: on the disk that is to be measured.
        number: of commits.
    """
    path = folder / f"floor-{os.getpid()}.db"
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, spec BLOB)")
        row = os.urandom(_ROW_BYTES)
        begin = time.perf_counter()
        for _ in range(number):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO job (spec) VALUES (?)", (row,))
            db.execute("COMMIT")
        return number / (time.perf_counter() - begin)
    finally:
        db.close()
        for end in ("", "-wal", "-shm"):
            Path(f"{path}{end}").unlink(missing_ok=True)


def fresh_python(code: str, *args: str, **env: str) -> float:
    """Run code in a fresh interpreter; give the number that it prints last.

    Args:
        code: a program.
        args: its arguments.
        env: variables, beside those of this process.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd="/",
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a fresh interpreter failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def cpu_s(pid: int) -> float:
    """Give the processor seconds that a process used, without its children."""
    try:
        # to the nanosecond; what psutil reads counts in hundredths
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system


def rss_mib(pid: int) -> float:
    """Give the memory that a process holds, shared pages included."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def file_system(folder: Path) -> str:
    """Name the kind of file system that a folder is on."""
    best = max(
        (part for part in psutil.disk_partitions(all=True) if _holds(part.mountpoint, folder)),
        key=lambda part: len(part.mountpoint),
        default=None,
    )
    return best.fstype if best else "unknown"


def _holds(mountpoint: str, folder: Path) -> bool:
    return Path(mountpoint) in (folder, *folder.parents)
