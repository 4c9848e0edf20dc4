"""Kill the queue's processes at random while programs submit, then judge the history.

By hand:  .venv/bin/python tests/faults/nemesis.py --rounds 50 --seed 1

    submitters ──> queue ──> jobs ──> counter file ─┐
        │             ^                             ├──> judge
        └── acks ─────┼─────── kill -9 ─────────────┘

The victims are drawn by the seed; the moments are as random as the machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fault_driver import Queue, kill, most_at_once, read_notes, run_twice, until

from cluster.errors import ClusterError
from cluster.local import lifecycle
from cluster.spec import Dependency
from cluster.states import FINAL

VICTIMS = ("server", "node", "submitter", "all")
SUBMITTERS = 2
CORES = 2


@dataclass
class Verdict:
    """What the judge found."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    states: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    most_cores: int = 0
    faults: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- the programs that submit


def submit_for_ever(state_dir: str, files: Path, name: str, seed: int) -> None:
    """Submit, note what was acknowledged, cancel some; until killed."""
    random_ = random.Random(seed)
    queue = Queue(state_dir, files / "notes")
    last = ""
    with (files / "acks").open("ab", buffering=0) as acks:
        number = 0
        while os.getppid() != 1:
            number += 1
            cores = 2 if random_.random() < 0.15 else 1
            fields = {"name": f"{name}-{number}", "cores": cores}
            if last and random_.random() < 0.2:
                fields["dependencies"] = (Dependency(last, "afterany"),)
            make = queue.counted_call if random_.random() < 0.4 else queue.counted
            with suppress(ClusterError):
                last = make(random_.choice((0.0, 0.05, 0.1, 0.3)), **fields)
                acks.write(f"{fields['name']} {last}\n".encode())
                if random_.random() < 0.1:
                    queue.client.act("cancel", [last])
            if random_.random() < 0.4:  # else another one at once, so that some have to wait
                time.sleep(random_.uniform(0.1, 0.7))


# ---------------------------------------------------------------- the nemesis


class Nemesis:
    """Rounds of submitting and killing on one queue."""

    def __init__(self, state_dir: Path, files: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.files, self.seed = files, seed
        self.queue = Queue(state_dir, files / "notes", timeout_s=30.0)
        self.submitters: list[subprocess.Popen[bytes]] = []
        self.generation = 0
        self.final: dict[str, str] = {}
        self.verdict = Verdict()

    def run(self, rounds: int) -> Verdict:
        """Do so many rounds, let the queue end its work, and judge."""
        try:
            for _ in range(rounds):
                self._replace_submitters()
                time.sleep(self.random.uniform(0.1, 0.7))  # the moment is the experiment
                self._strike(self.random.choice(VICTIMS))
                if self.random.random() < 0.3:
                    self._look()
                self.verdict.rounds += 1
        finally:
            for each in self.submitters:
                each.kill()
                each.wait()
        self._drain()
        self._judge()
        return self.verdict

    def _replace_submitters(self) -> None:
        self.submitters = [each for each in self.submitters if each.poll() is None]
        while len(self.submitters) < SUBMITTERS:
            self.generation += 1
            words = ["--submit", f"g{self.generation}", self.queue.state_dir, str(self.files)]
            seed = str(self.seed * 1000 + self.generation)
            argv = [sys.executable, __file__, "--seed", seed, *words]
            self.submitters.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))

    def _strike(self, victim: str) -> None:
        pids = {which: self.queue.pid_of(which) for which in ("server", "node")}
        pids["submitter"] = self.random.choice(self.submitters).pid
        chosen = list(pids) if victim == "all" else [victim]
        self.random.shuffle(chosen)
        self.verdict.kills[victim] += 1
        kill(*(pids[each] for each in chosen if pids[each]))

    def _look(self) -> None:
        """Remember what is final, and notice when that changes."""
        with suppress(ClusterError):
            for info in self.queue.client.query():
                before = self.final.setdefault(info.id, info.state)
                if before not in FINAL:
                    self.final[info.id] = info.state
                elif before != info.state:
                    self.verdict.faults.append(f"job {info.id} was {before}, is {info.state}")

    def _drain(self) -> None:
        def is_empty() -> bool:
            self._look()
            infos = self.queue.client.query()
            return all(info.state in FINAL and not info.ending for info in infos)

        try:
            until(is_empty, 120.0, "the end of all jobs")
        except AssertionError as error:
            self.verdict.faults.append(str(error))

    # ------------------------------------------------------------ the judge

    def _judge(self) -> None:
        say = self.verdict.faults.append
        infos = {info.id: info for info in self.queue.client.query()}
        path = self.files / "acks"
        acks = dict(line.split() for line in path.read_text().splitlines() if " " in line)
        for name, id in acks.items():
            if id not in infos:
                say(f"job {id} ({name}) was acknowledged and is gone")
            elif infos[id].name != name:
                say(f"job {id} is {infos[id].name}, acknowledged as {name}")
        for name, times in Counter(info.name for info in infos.values()).items():
            if times > 1:
                say(f"{name} was queued {times} times")
        for info in infos.values():
            if info.state not in FINAL:
                say(f"job {info.id} is still {info.state}: {info.reason}")
        self._judge_notes(infos)
        for process in self.queue.job_processes():
            say(f"process {process.pid} of a job is left")
        free = self.queue.free_cores()
        if free != CORES:
            say(f"{free} cores are free at the end")
        self.verdict.acknowledged = len(acks)
        self.verdict.states = Counter(info.state for info in infos.values())

    def _judge_notes(self, infos: dict[str, object]) -> None:
        say = self.verdict.faults.append
        notes = read_notes(self.files / "notes")
        for job, attempt in run_twice(notes):
            say(f"job {job} attempt {attempt} ran twice")
        begun = {str(note.job) for note in notes if note.what == "begin"}
        done = {str(note.job) for note in notes if note.what == "end"}
        for id, info in infos.items():
            state = info.state  # type: ignore[attr-defined]
            if state == "COMPLETED" and id not in done:
                say(f"job {id} is COMPLETED and never ended")
            if state not in ("COMPLETED", "CANCELLED", "NODE_FAIL"):
                say(f"job {id} is {state}: {info.reason}")  # type: ignore[attr-defined]
            if state == "NODE_FAIL" and id in begun and id not in done:
                say(f"job {id} was ended: {info.reason}")  # type: ignore[attr-defined]
        self.verdict.begun = len(begun)
        self.verdict.most_cores = most_at_once(notes)
        if self.verdict.most_cores > CORES:
            say(f"{self.verdict.most_cores} cores were in use at once")


def main() -> int:
    """Run by hand, or be one of the submitters."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--submit", nargs=3, metavar=("NAME", "STATE_DIR", "FILES"))
    parser.add_argument("--keep", action="store_true", help="leave the files for a look")
    args = parser.parse_args()
    if args.submit:
        name, state_dir, files = args.submit
        submit_for_ever(state_dir, Path(files), name, args.seed)
        return 0
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="nemesis-", dir="/tmp")))
    os.environ["CLUSTER_CFG_LOCAL_CORES"] = str(CORES)
    os.environ["CLUSTER_CONFIG"] = str(root / "none.cfg")
    (root / "q").mkdir(mode=0o700)
    began = time.monotonic()
    try:
        verdict = Nemesis(root / "q", root, args.seed).run(args.rounds)
    finally:
        lifecycle.stop_everything(root / "q")
        if not args.keep:
            shutil.rmtree(root)
    found = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
    print(json.dumps({**found, "seconds": round(time.monotonic() - began, 1)}, indent=1))
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
