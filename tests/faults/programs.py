"""One of the programs that the nemesis lets use the queue, and the record it keeps.

    program ──submit, cancel, hold, release, wait──> queue
       └──── what it was told, one line each ───────> history

A line is written only after the queue answered, so what stands there was
promised.  Jobs write their own lines into the counter file, see `fault_driver`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fault_driver import Queue, call, command

from cluster.errors import ClusterError, WaitTimeout
from cluster.spec import ArraySpec, Dependency
from cluster.states import FINAL

OUTSTANDING = 6  # jobs of one program that have not ended: the queue must come to its end
LIMIT_S = 0.4  # the walltime of jobs that would run for much longer
PARTS = 1000  # a job that waits for others notes its parts apart: attempt * PARTS + part
# As in `fault_driver`, but on the clock that does not jump, and with a sign of life
# between, so that also of a job that was killed it is known how long it ran at least.
NOTE = """
import os, sys, time
path, seconds, cores = sys.argv[1:4]
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
token = os.environ["CLUSTER_JOB_TOKEN"].split(".", 1)[1]
def note(what):
    os.write(fd, f"{token} {what} {time.monotonic():.6f} {cores} {os.getpid()}\\n".encode())
note("begin")
end = time.monotonic() + float(seconds)
while (left := end - time.monotonic()) > 0:
    time.sleep(min(left, 0.05))
    note("beat")
note("end")
"""
# A job that submits another and waits: it notes only when it does not wait.
PARENT = f"""
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from programs import Program
path = sys.argv[2]
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
job, attempt = os.environ["CLUSTER_JOB_TOKEN"].split(".")[1:]
def note(part, what):
    token = f"{{job}}.{{int(attempt) * {PARTS} + part}}"
    os.write(fd, f"{{token}} {{what}} {{time.monotonic():.6f}} 1 {{os.getpid()}}\\n".encode())
note(0, "begin")
program = Program(os.environ["CLUSTER_STATE_DIR"], Path(sys.argv[3]), sys.argv[4], 0)
child = program.submit("sub", program.note_argv(0.1))
note(0, "end")
assert program.wait([child], 60.0) == {{child: "COMPLETED"}}
note(1, "begin")
note(1, "end")
"""


def note_from_function(path: str, seconds: float, cores: int) -> str:
    """What `NOTE` does, as a function job."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    token = os.environ["CLUSTER_JOB_TOKEN"].split(".", 1)[1]

    def note(what: str) -> None:
        os.write(fd, f"{token} {what} {time.monotonic():.6f} {cores} {os.getpid()}\n".encode())

    note("begin")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        note("beat")
    note("end")
    return token


class Program:
    """A user of the queue who writes down what was said.

    Args:
        state_dir: the queue's directory.
        files: where the history and the counter file are.
        name: part of the name of each of its jobs, used by nobody else.
        seed: of what it does.
    """

    def __init__(self, state_dir: str, files: Path, name: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._queue = Queue(state_dir, files / "notes", timeout_s=10.0)
        self._files, self._name, self._number = files, name, 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._history = os.open(files / "history", flags, 0o600)
        self._mine: list[str] = []
        self._held: list[str] = []

    def note_argv(self, seconds: float, cores: int = 1) -> tuple[str, ...]:
        """The command that makes notes."""
        words = (str(self._queue.counter), str(seconds), str(cores))
        return (sys.executable, "-I", "-S", "-c", NOTE, *words)

    def say(self, what: str, **more: Any) -> None:
        """Write a line of the history."""
        line = {"t": time.monotonic(), "who": self._name, "what": what, **more}
        os.write(self._history, json.dumps(line).encode() + b"\n")

    # ------------------------------------------------------------ what it can do

    def submit(
        self, kind: str, argv: tuple[str, ...], function: bool = False, **fields: Any
    ) -> str:
        """Submit a job under a name of its own; what was promised is written down."""
        self._number += 1
        name = f"{kind}-{self._name}-{self._number}"
        make = call if function else command
        words = (note_from_function, *argv) if function else argv
        spec, envs = make(*words, name=name, **fields)
        [id] = self._queue.client.submit([spec], envs)
        self.say("submitted", id=id, name=name)
        self._mine.append(id)
        return id

    def wait(self, ids: list[str], timeout_s: float) -> dict[str, str]:
        """Wait for jobs; how they ended is written down."""
        ended = {}
        with suppress(WaitTimeout):
            for each in self._queue.client.wait(ids, timeout=timeout_s):
                self.say("ended", id=each.info.id, state=each.info.state)
                ended[each.info.id] = each.info.state
        self._mine = [id for id in self._mine if id not in ended]
        return ended

    def _job(self) -> None:
        seconds = self._random.choice((0.0, 0.05, 0.1, 0.3))
        cores = 2 if self._random.random() < 0.15 else 1
        fields: dict[str, Any] = {"cores": cores, "requeue": self._random.random() < 0.2}
        kind = "again" if fields["requeue"] else "job"
        if self._mine and self._random.random() < 0.25:
            how = self._random.choice(("afterok", "afterany", "after"))
            fields["dependencies"] = (Dependency(self._random.choice(self._mine), how),)
        if self._random.random() < 0.4:
            self.submit(kind, (str(self._queue.counter), seconds, cores), function=True, **fields)
        else:
            self.submit(kind, self.note_argv(seconds, cores), **fields)

    def _array(self) -> None:
        limit = self._random.choice((0, 1))
        self.submit("array", self.note_argv(0.05), array=ArraySpec(0, 3, 1, limit))

    def _parent(self) -> None:
        words = (str(Path(__file__).parent), str(self._queue.counter), str(self._files))
        own = f"{self._name}.{self._number}"
        self.submit("parent", (sys.executable, "-c", PARENT, *words, own))

    def _limited(self) -> None:
        self.submit("limited", self.note_argv(30.0), walltime_s=LIMIT_S)

    def _cancel(self) -> None:
        if self._mine:
            id = self._random.choice(self._mine)
            said = self._queue.client.act("cancel", [id])[id]
            self.say("cancelled", id=id, said=said)

    def _hold(self) -> None:
        if self._mine:
            id = self._random.choice(self._mine)
            said = self._queue.client.act("hold", [id])[id]
            self.say("held", id=id, said=said)
            self._held.append(id)

    def _release(self) -> None:
        if self._held:
            id = self._held.pop()
            self.say("releasing", id=id)
            self._queue.client.act("release", [id])

    def _some(self) -> None:
        self.wait(list(self._mine), self._random.choice((0.0, 0.3, 1.0)))

    def _forget_ended(self) -> None:
        infos = self._queue.client.query(self._mine)
        self._mine = [info.id for info in infos if info.state not in FINAL]

    def run(self) -> None:
        """Use the queue until the nemesis ends this process."""
        choices = [
            (self._job, 12), (self._array, 2), (self._parent, 1), (self._limited, 1),
            (self._cancel, 2), (self._hold, 2), (self._release, 3), (self._some, 4),
        ]  # fmt: skip
        acts, weights = zip(*choices, strict=True)
        parent = os.getppid()
        while os.getppid() == parent:
            act = self._random.choices(acts, weights)[0]
            if len(self._mine) >= OUTSTANDING:
                act = self._release if self._held else self._forget_ended
            try:
                act()
            except ClusterError as error:
                self.say("error", kind=type(error).__name__, text=str(error)[:300])
            time.sleep(self._random.uniform(0.02, 0.3))


if __name__ == "__main__":
    Program(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])).run()
