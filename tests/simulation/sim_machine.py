"""A machine in memory: processes, a boot, files, and what really ran.

It stands for the module `processes`, as far as `recover` asks it.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from sim_files import Files

from cluster.local.journal import Key
from cluster.local.processes import Process

MARK = "sim"


@dataclass
class Running:
    """A process of a job."""

    key: Key
    pid: int
    ticks: int
    cores: int
    ends: float  # on the monotonic clock
    status: int  # as waitpid will give it
    parent: int
    is_stopped: bool = False
    state: str = "S"

    def seen(self) -> Process:
        return Process(self.pid, self.parent, self.pid, self.pid, self.ticks, self.state)


@dataclass
class Machine:
    """What has processes, whoever counts them.

    Attributes:
        cores: how many there are.
        begun, ended: each attempt that ran, and its wait status once it is over.
        fault: tells of what must never be.
    """

    rng: random.Random
    cores: int
    now: Callable[[], float]
    fault: Callable[[str], None]
    tell: Callable[[str], None]
    boot: int = 1
    processes: dict[int, Running] = field(default_factory=dict)
    begun: set[Key] = field(default_factory=set)
    ended: dict[Key, int] = field(default_factory=dict)
    outcomes: list[tuple[int, int]] = field(default_factory=list)  # job, wait status
    most: int = 0
    seconds: tuple[float, ...] = (0.0, 0.01, 0.05, 0.3, 2.0)  # that a job may take
    statuses: tuple[int, ...] = (0, 0, 0, 0, 3 << 8, 9)

    def __post_init__(self) -> None:
        self.files = Files(self.rng)
        self._pids = count(100)
        self._ticks = count(1)

    def new_pid(self) -> int:
        return next(self._pids)

    # ------------------------------------------------------------ jobs

    def spawn(self, key: Key, cores: int, parent: int) -> int:
        """Start the process of a job."""
        self.tell(f"  process of {key}")
        if key in self.begun:
            self.fault(f"job {key[0]} attempt {key[1]} was started twice")
        self.begun.add(key)
        seconds = self.rng.choice(self.seconds)
        status = self.rng.choice(self.statuses)
        pid = self.new_pid()
        self.processes[pid] = Running(
            key, pid, next(self._ticks), cores, self.now() + seconds, status, parent
        )
        used = sum(each.cores for each in self.living())
        self.most = max(self.most, used)
        if used > self.cores:
            self.fault(f"{used} of {self.cores} cores are in use, since job {key[0]} began")
        return pid

    def living(self) -> list[Running]:
        return [each for each in self.processes.values() if each.state != "Z"]

    def end_due(self) -> None:
        """Let those end whose time has come."""
        for each in self.living():
            if each.ends <= self.now() and not each.is_stopped:
                self._end(each)

    def _end(self, process: Running) -> None:
        process.state = "Z"
        self.ended[process.key] = process.status
        self.outcomes.append((process.key[0], process.status))
        self.tell(f"  process {process.pid} of {process.key} ended: {process.status}")
        if process.parent == 1:  # nobody waits for it
            del self.processes[process.pid]

    def reap(self, pid: int) -> Running:
        """Take a process that ended off the table."""
        return self.processes.pop(pid)

    def orphan(self, parent: int) -> None:
        """Their parent was killed: nobody will know how they end."""
        for each in list(self.processes.values()):
            if each.parent == parent:
                each.parent = 1
                if each.state == "Z":
                    del self.processes[each.pid]

    def kill(self, process: Running, number: int) -> None:
        """Deliver a signal."""
        if process.state == "Z":
            return
        if number == signal.SIGSTOP:
            process.is_stopped = True
        elif number == signal.SIGCONT:
            process.is_stopped = False
        elif number == signal.SIGKILL:
            process.status, process.is_stopped = 9, False
            self._end(process)
        elif number == signal.SIGTERM and self.rng.random() < 0.8:  # others ignore it
            process.status = 15
            process.ends = min(process.ends, self.now() + self.rng.choice((0.0, 0.01, 0.5)))

    def next_end(self) -> float | None:
        due = [each.ends for each in self.living() if not each.is_stopped]
        return min(due, default=None)

    def cut_power(self) -> None:
        """Nothing runs any more; of the files only what was synced is sure."""
        self.processes.clear()
        self.files.cut_power()
        self.boot += 1

    # ------------------------------------------------------------ as the module `processes`

    def boot_id(self) -> str:
        return f"boot{self.boot}"

    def look(self, pid: int) -> Process | None:
        found = self.processes.get(pid)
        return None if found is None else found.seen()

    def trees(self, roots: Iterable[int]) -> list[Process]:
        return [self.processes[pid].seen() for pid in roots if pid in self.processes]

    def is_same(self, pid: int, ticks: int) -> bool:
        found = self.processes.get(pid)
        return found is not None and found.ticks == ticks and found.state != "Z"

    def with_tokens(self, prefix: str) -> dict[str, list[Process]]:
        marked: dict[str, list[Process]] = {}
        for each in self.living():
            token = f"{MARK}.{each.key[0]}.{each.key[1]}"
            if token.startswith(prefix):
                marked.setdefault(token, []).append(each.seen())
        return marked

    def send(self, process: Process, number: int) -> None:
        if self.is_same(process.pid, process.ticks):
            self.kill(self.processes[process.pid], number)
