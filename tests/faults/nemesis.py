"""Do harm to a queue that eight programs use, at random, then judge its history.

    programs ──> queue ──> jobs ──> counter file ─┐
        │          ^                              ├──> judge
        └──────────┼──────> history ──────────────┘
             kill, stop, full disk, clock

By hand:  .venv/bin/python tests/faults/nemesis.py --seconds 300 --seed 7

The harm is drawn by the seed; the moments are as random as the machine is.
Root gives it a disk of its own to fill, a C compiler a clock to turn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from fault_driver import Queue, kill, until
from judge import Judge
from shim import WHY_NOT, Shim

from cluster.errors import ClusterError
from cluster.local import lifecycle, processes
from cluster.states import FINAL

PROGRAMS = 8
CORES = 2
DISK = "size=24m"
DRAIN_S = 120.0
MOUNTED = "--mounted"  # given to itself, once it has a mount namespace of its own


@dataclass
class Verdict:
    """What was done and what the judge found."""

    seed: int = 0
    seconds: float = 0.0
    harm: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    most_cores: int = 0
    faults: list[str] = field(default_factory=list)


class Nemesis:
    """Programs that use one queue, and what befalls them.

    Args:
        root: a directory of its own; the queue is in `q`, the rest beside it.
        seed: draws the harm.
        disk: `q` is on a small disk that may be filled.
        shim: the clock that may be turned; None: it is left alone.
    """

    def __init__(self, root: Path, seed: int, *, disk: bool, shim: Shim | None) -> None:
        self._random, self._seed = random.Random(seed), seed
        self._root, self._disk, self._shim = root, root / "q" if disk else None, shim
        self._queue = Queue(root / "q", root / "notes", timeout_s=30.0)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._generation = 0
        self._final: dict[str, str] = {}
        self._verdict = Verdict(seed)
        self._stopped: dict[int, float] = {}  # process -> when it may go on
        self._full_until = 0.0
        harm = {
            "kill server": 4, "kill node": 3, "kill warm": 3, "kill program": 3, "kill all": 2,
            "stop server": 3, "stop node": 3, "stop warm": 2, "stop program": 3,
        }  # fmt: skip
        harm |= {"fill": 3} if disk else {}
        harm |= {"turn clock": 3} if shim else {}
        self._harm = harm

    def run(self, seconds: float) -> Verdict:
        """Do harm for so long, let the queue end its work, and judge."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self._replace_programs()
                time.sleep(self._random.uniform(0.1, 0.7))  # the moment is the experiment
                self._mend()
                kind = self._random.choices(list(self._harm), list(self._harm.values()))[0]
                self._verdict.harm[kind] += 1
                self._do(*kind.split())
                if self._random.random() < 0.2:
                    self._look()
        finally:
            self._mend(at_once=True)
            for each in self._programs:
                each.kill()
                each.wait()
        if self._drain():
            self._judge()
        self._verdict.seconds = round(time.monotonic() - end + seconds, 1)
        return self._verdict

    def _replace_programs(self) -> None:
        self._programs = [each for each in self._programs if each.poll() is None]
        while len(self._programs) < PROGRAMS:
            self._generation += 1
            words = [self._queue.state_dir, str(self._root), f"p{self._generation}"]
            seed = str(self._seed * 1000 + self._generation)
            argv = [sys.executable, str(Path(__file__).with_name("programs.py")), *words, seed]
            self._programs.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))

    # ------------------------------------------------------------ harm

    def _do(self, what: str, whom: str = "") -> None:
        if what == "kill":
            kill(*self._victims(whom))
        elif what == "stop":
            for pid in self._victims(whom):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    self._stopped[pid] = time.monotonic() + self._random.uniform(0.1, 1.5)
        elif what == "fill":
            self._fill()
        elif self._shim is not None:
            self._shim.jump(self._random.choice((0.0, 86400.0, -86400.0, 5.0, -5.0, 3600.0)))

    def _victims(self, whom: str) -> list[int]:
        server, node = self._queue.pid_of("server"), self._queue.pid_of("node")
        program = self._random.choice(self._programs).pid
        warm = [pid for pid in _warm_parents(node)]
        found = {
            "server": [server], "node": [node], "program": [program],
            "warm": self._random.sample(warm, min(len(warm), 1)),
            "all": [server, node, program, *warm],
        }[whom]  # fmt: skip
        self._random.shuffle(found)
        return [pid for pid in found if pid]

    def _fill(self) -> None:
        assert self._disk is not None
        self._full_until = time.monotonic() + self._random.uniform(0.2, 1.5)
        with suppress(OSError), open(self._disk / "ballast", "ab", buffering=0) as file:
            for size in (1 << 16, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def _mend(self, at_once: bool = False) -> None:
        now = time.monotonic()
        for pid in [pid for pid, when in self._stopped.items() if at_once or when <= now]:
            del self._stopped[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self._disk is not None and (at_once or self._full_until <= now):
            (self._disk / "ballast").unlink(missing_ok=True)
        if at_once and self._shim is not None:
            self._shim.jump(0.0)

    def _look(self) -> None:
        """Remember what is final, and notice when that changes."""
        impatient = Queue(self._queue.state_dir, self._queue.counter, timeout_s=3.0)
        with suppress(ClusterError):
            for info in impatient.client.query(elements=True):
                before = self._final.setdefault(info.id, info.state)
                if before not in FINAL:
                    self._final[info.id] = info.state
                elif before != info.state:
                    self._verdict.faults.append(f"job {info.id} was {before}, is {info.state}")
        impatient.client.close()

    # ------------------------------------------------------------ the end

    def _drain(self) -> bool:
        def is_empty() -> bool:
            self._look()
            client = self._queue.client
            infos = client.query(elements=True)
            held = [info.id for info in infos if info.state == "HELD"]
            if held:
                line = {"t": time.monotonic(), "what": "releasing all"}
                with (self._root / "history").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                client.act("release", held)
            return all(info.state in FINAL and not info.ending for info in infos)

        try:
            until(is_empty, DRAIN_S, "the end of all jobs")
        except (AssertionError, ClusterError) as error:
            left = self._queue.client.query(states=["PENDING", "RUNNING", "HELD", "SUSPENDED"])
            shown = [(info.id, info.name, info.state, info.reason) for info in left[:5]]
            self._verdict.faults.append(f"{error}; left: {shown}")
            return False
        return True

    def _judge(self) -> None:
        with suppress(AssertionError):
            until(lambda: self._queue.free_cores() == CORES, 10.0)
        client = self._queue.client  # who asks for elements sees no array as a whole
        infos = client.query(elements=True) + [i for i in client.query() if i.counts]
        judge = Judge(infos, self._root / "history", self._root / "notes", self._final, cores=CORES)
        say = judge.faults.append
        if (free := self._queue.free_cores()) != CORES:
            say(f"{free} cores are free at the end")
        for process in self._queue.job_processes():
            say(f"process {process.pid} of a job is left")
        lifecycle.stop_everything(self._queue.state_dir)
        judge.look_at_files(Path(self._queue.state_dir))
        for process in self._queue.daemons():
            say(f"daemon {process.pid} is left")
        verdict = self._verdict
        verdict.faults += judge.faults
        verdict.operations = judge.operations
        verdict.states = Counter(info.state for info in infos if not info.counts)
        verdict.begun, verdict.most_cores = judge.begun, judge.most_cores


def _warm_parents(node: int) -> list[int]:
    """The children of the node that are no job's."""
    if not node:
        return []
    with suppress(psutil.Error):
        children = [child.pid for child in psutil.Process(node).children()]
        return [pid for pid in children if processes.TOKEN not in processes.environment(pid)]
    return []


@contextmanager
def nemesis(seed: int, *, disk: bool, keep: bool = False) -> Iterator[Nemesis]:
    """A nemesis with a queue of its own, of which nothing is left after."""
    saved = dict(os.environ)
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="nem-", dir="/tmp")))
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, root, ignore_errors=True)
        (root / "q").mkdir(mode=0o700)
        if disk:
            options = ["-t", "tmpfs", "-o", f"{DISK},mode=0700", "none", str(root / "q")]
            subprocess.run(["mount", *options], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(root / "q")], check=True)
        if keep and disk:
            stack.callback(
                shutil.copytree, root / "q", root / "kept", ignore=shutil.ignore_patterns("*.sock")
            )
        stack.callback(lifecycle.stop_everything, root / "q")
        os.environ["CLUSTER_CFG_LOCAL_CORES"] = str(CORES)
        os.environ["CLUSTER_STATE_DIR"] = str(root / "q")
        os.environ["CLUSTER_CONFIG"] = str(root / "none.cfg")
        shim = None if WHY_NOT else Shim(root)
        if shim is not None:
            os.environ["LD_PRELOAD"] = str(shim.library)
        try:
            yield Nemesis(root, seed, disk=disk, shim=shim)
        finally:
            os.environ.clear()
            os.environ.update(saved)


def main() -> int:
    """Run by hand; with root, in a mount namespace of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the files for a look")
    parser.add_argument(MOUNTED, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if os.getuid() == 0 and not args.mounted:
        words = ["unshare", "--mount", sys.executable, *sys.argv, MOUNTED]
        return subprocess.run(words).returncode
    with nemesis(args.seed, disk=args.mounted, keep=args.keep) as found:
        verdict = found.run(args.seconds)
    print(json.dumps(vars(verdict), indent=1))
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
