"""What the tests of faults need: a queue whose processes can be killed, and a judge.

Jobs write one line when they begin and one when they end into a counter file;
from these lines, not from what the queue says, is seen what really happened.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from cluster import payload
from cluster.local import lifecycle, processes, wire
from cluster.local.client import Client
from cluster.local.environment import environment
from cluster.spec import JobSpec, Launch

DEADLINE_S = 60.0  # until a test says that something never comes: long, for a machine that is slow
MAKE_A_NOTE = """
import os, sys, time
path, seconds, cores = sys.argv[1:4]
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
token = os.environ["CLUSTER_JOB_TOKEN"].split(".", 1)[1]
def note(what):
    os.write(fd, f"{token} {what} {time.time():.6f} {cores} {os.getpid()}\\n".encode())
note("begin")
time.sleep(max(0.0, float(seconds)))
while float(seconds) < 0 and not os.path.exists(path + ".go"):
    time.sleep(0.01)
note("end")
"""
UNTIL_TOLD = -1.0  # seconds of a counted job that ends when `Queue.tell` is called


def until(check: Callable[[], Any], timeout_s: float = DEADLINE_S, what: str = "it") -> Any:
    """Wait for a condition; its value."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not come to pass in {timeout_s:g} s"
        time.sleep(0.01)
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    process = processes.look(pid)
    return process is not None and process.lives


def kill(*pids: int) -> None:
    """Kill -9, and wait until it has happened."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        until(lambda pid=pid: not lives(pid), what=f"the end of {pid}")


def note_from_function(path: str, seconds: float, cores: int) -> str:
    """What `MAKE_A_NOTE` does, as a function job."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    token = os.environ["CLUSTER_JOB_TOKEN"].split(".", 1)[1]
    for what, pause in (("begin", seconds), ("end", 0.0)):
        os.write(fd, f"{token} {what} {time.time():.6f} {cores} {os.getpid()}\n".encode())
        time.sleep(max(0.0, pause))
        while pause < 0 and not os.path.exists(path + ".go"):
            time.sleep(0.01)
    return token


class Note(NamedTuple):
    """One line of a counter file."""

    job: int
    attempt: int
    what: str
    time: float
    cores: int
    pid: int


def read_notes(path: Path) -> list[Note]:
    """Read a counter file; none is empty."""
    if not path.exists():
        return []
    notes = []
    for line in path.read_text().splitlines():
        token, what, when, cores, pid = line.split()
        job, attempt = token.split(".")
        notes.append(Note(int(job), int(attempt), what, float(when), int(cores), int(pid)))
    return notes


def most_at_once(notes: Iterable[Note]) -> int:
    """The most cores that were in use at one time, by the jobs' own clocks."""
    begun: dict[tuple[int, int], Note] = {}
    changes: list[tuple[float, int]] = []
    for note in sorted(notes, key=lambda note: note.time):
        key = note.job, note.attempt
        if note.what == "begin":
            begun[key] = note
        elif key in begun:
            changes += [(begun.pop(key).time, note.cores), (note.time, -note.cores)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def run_twice(notes: Iterable[Note]) -> list[tuple[int, int]]:
    """Attempts that began more than once."""
    begins = Counter((note.job, note.attempt) for note in notes if note.what == "begin")
    return [key for key, times in begins.items() if times > 1]


def command(*argv: str, **fields: Any) -> tuple[JobSpec, dict[str, wire.Env]]:
    """Make the spec of a command; `launch_` fields are of `Launch`."""
    hash, env = environment()
    launch: dict[str, Any] = {"argv": tuple(map(os.fsencode, argv)), "env": hash}
    launch |= {name[7:]: fields.pop(name) for name in list(fields) if name.startswith("launch_")}
    raw = msgspec.Raw(msgspec.msgpack.encode(Launch(**launch)))
    return JobSpec(launch=raw, **{"name": "job", **fields}), {hash: env}


def call(function: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """Make the spec of a function job."""
    given = {
        "launch_argv": (),
        "launch_payload": payload.dump(function, args).data,
        "launch_python": os.fsencode(sys.executable),
        "launch_python_version": sys.version_info[:2],
        "launch_sys_path": tuple(os.fsencode(path) for path in sys.path if path),
    }
    return command(**given, kind="function", **fields)


class Queue:
    """The queue of one test, seen from outside.

    Args:
        state_dir: its directory.
        counter: the file that counted jobs write to.
    """

    def __init__(
        self, state_dir: Path | str, counter: Path, *, timeout_s: float = DEADLINE_S
    ) -> None:
        self.state_dir = os.path.realpath(state_dir)
        self.counter = counter
        self.client = Client(self.state_dir, request_timeout_s=timeout_s)

    # ------------------------------------------------------------------ jobs

    def submit(self, *argv: str, **fields: Any) -> str:
        """Submit a command."""
        spec, envs = command(*argv, **fields)
        return self.client.submit([spec], envs)[0]

    def counted(self, seconds: float = 0.0, **fields: Any) -> str:
        """Submit a command that makes notes."""
        return self.submit(*self.note_argv(seconds, fields.get("cores", 1)), **fields)

    def note_argv(self, seconds: float, cores: int = 1) -> tuple[str, ...]:
        """The command that makes notes."""
        words = (str(self.counter), str(seconds), str(cores))
        return (sys.executable, "-I", "-S", "-c", MAKE_A_NOTE, *words)

    def told_argv(self, then: str) -> tuple[str, ...]:
        """A command that waits to be told, then runs this line of shell."""
        return (
            "sh",
            "-c",
            f'while ! test -e "$0"; do sleep 0.02; done; {then}',
            f"{self.counter}.go",
        )

    def tell(self) -> None:
        """Let the jobs end that run `UNTIL_TOLD`, those to come too."""
        Path(f"{self.counter}.go").touch()

    def counted_call(self, seconds: float = 0.0, **fields: Any) -> str:
        """Submit a function that makes notes."""
        cores = fields.get("cores", 1)
        spec, envs = call(note_from_function, str(self.counter), seconds, cores, **fields)
        return self.client.submit([spec], envs)[0]

    def info(self, id: str) -> wire.JobInfo:
        """Ask for one job."""
        return self.client.query([id])[0]

    def ended(self, *ids: str, timeout_s: float = DEADLINE_S) -> dict[str, str]:
        """Wait for jobs; their states."""
        found = {e.info.id: e.info.state for e in self.client.wait(ids, timeout=timeout_s)}
        return {id: found[id] for id in ids}

    def stdout(self, id: str) -> bytes:
        """What a finished job wrote."""
        return self.client.fetch(id).stdout.data

    def is_running(self, id: str) -> bool:
        """Whether its process is there."""
        info = self.info(id)
        return info.state == "RUNNING" and info.pid > 0

    def wait_begun(self, *ids: str) -> None:
        """Wait until these jobs have written their first line."""

        def have() -> bool:
            begun = {str(note.job) for note in self.notes()}
            return begun >= set(ids)

        until(have, what=f"the begin of {ids}")

    def notes(self) -> list[Note]:
        """What jobs wrote into the counter file."""
        return read_notes(self.counter)

    def begins(self, id: str) -> int:
        """How often a job began."""
        return sum(note.what == "begin" and str(note.job) == id for note in self.notes())

    # ------------------------------------------------------------------ processes

    def pid_of(self, which: str) -> int:
        """The process that listens as server or node; 0: nobody does."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(2.0)
            try:
                sock.connect(lifecycle.socket_path(self.state_dir, which))
            except OSError:
                return 0
            return lifecycle.peer(sock)[0]

    def server(self) -> int:
        """The server's process, once there is one."""
        return int(until(lambda: self.pid_of("server"), what="a server"))

    def node(self) -> int:
        """The node's process, once there is one."""
        return int(until(lambda: self.pid_of("node"), what="a node"))

    def kill_server(self) -> None:
        """Kill -9 the server."""
        kill(self.server())

    def kill_node(self) -> None:
        """Kill -9 the node."""
        kill(self.node())

    def kill_both(self) -> None:
        """Kill -9 server and node; the server first, or it would start another node."""
        server, node = self.server(), self.node()
        kill(server, node)

    def job_processes(self) -> list[processes.Process]:
        """Every process of any job."""
        found = processes.with_tokens(f"{lifecycle.token(self.state_dir)}.")
        return [each for group in found.values() for each in group]

    def daemons(self, which: str = "") -> list[psutil.Process]:
        """The daemons of this queue by their environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                env = process.environ()
                if env.get("CLUSTER_STATE_DIR") != self.state_dir or not lives(process.pid):
                    continue
                if env.get("CLUSTER_DAEMON", "") in ((which,) if which else ("server", "node")):
                    found.append(process)
        return found

    def status(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.client.control("status")

    def status_started(self) -> dict[str, Any]:
        """The same, from a server that is started if there is none."""
        self.client.query(ids=())
        return self.status()

    def free_cores(self) -> int:
        """Cores that no job holds, as the server sees it."""
        return int(self.status_started()["free"]["cores"])


IS_ROOT = os.getuid() == 0
NEEDS_ROOT = "needs root for namespaces of its own"


def inside(*unshare: str, code: str, words: Iterable[str] = (), before: str = "") -> list[str]:
    """Run Python code in namespaces of its own; the lines it prints.

    Args:
        unshare: flags of that program.
        code: finds this module and its names imported, and `words` as `sys.argv[1:]`.
        before: shell commands for root in the namespace.
    """
    here = str(Path(__file__).parent)
    head = f"import sys; sys.path.insert(0, {here!r})\nfrom fault_driver import *\n"
    script = f'set -e\n{before}\nexec "$@"'
    python = (sys.executable, "-c", head + code, *words)
    argv = ["unshare", *unshare, "sh", "-c", script, "sh", *python]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def resident_mib(pid: int) -> float:
    """How much memory a process has."""
    return float(psutil.Process(pid).memory_info().rss / (1 << 20))
