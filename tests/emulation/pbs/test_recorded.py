"""The emulation beside a real OpenPBS 23.06.06: the same command lines, what both said.

`openpbs-23.06.06.txt` is what the real one said.  Three of its answers came out
of order and were put behind their commands; those of two jobs that were looked
at too early are the later ones.  Jobs wait for the test where the real ones
slept, so that each command meets them in the state they were in.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from transcript import Block, Normal, difference, read

import cluster
from cluster.emulation.machine import Machine

RECORDED = read(Path(__file__).with_name("openpbs-23.06.06.txt"))
LIMIT_S = 30.0

# Why the emulation says something else, and exactly what; see docs/emulation_pbs.md.
DIFFERENCES: dict[str, tuple[str, tuple[str, ...]]] = {}

# No line of the real one is compared with these in it.
LEFT_OUT = (
    r"PBS_O_INTERACTIVE_(AUTH|ENCRYPT)_METHOD=[^,\n]*,?\n?",
    r'\t*"PBS_O_INTERACTIVE_(AUTH|ENCRYPT)_METHOD":.*\n',
)

GATED = "one arr arr2 any oldstyle wt ja long wt2"
SCRIPTS = {
    "j.sh": """\
#!/bin/bash
#PBS -N myjob
#PBS -j oe
#PBS -l select=1:ncpus=2
names='ENVIRONMENT|HOME|NCPUS|OMP_NUM_THREADS|PBS_.*|PWD|TMPDIR'
env | grep -E "^($names)=" | LC_ALL=C sort
hostname -s; echo "arg0 $0 args $*"; ulimit -t
""",
    "s.sh": """\
#!/bin/bash
case " {gated} " in
  *" $PBS_JOBNAME "*) until [ -e "{gates}/$PBS_JOBNAME" ]; do sleep 0.02; done ;;
esac
echo "ok $PBS_ARRAY_INDEX"
exit ${{RC:-0}}
""",
    "../e.sh": """\
env | grep '^PBS_' | LC_ALL=C sort
until [ -e "{gates}/ja" ]; do sleep 0.02; done
""",
    "../kill.sh": "kill -9 $$\n",
}
# What has happened before a command is typed: gates opened, jobs over.
BEFORE = {
    "qstat": ([], ["0", "2", "3", "4", "5", "11", "19"]),
    "qstat -n1": (["arr2"], ["7"]),
    "qstat -f -F json 1.vm": (["one", "arr", "oldstyle"], ["1", "6", "8", "9", "14", "15"]),
    "qdel 13.vm": (["any"], ["10", "12"]),
    "qstat -t '20[].vm'": (["ja"], ["20", "21"]),
    "qstat -xf 22.vm | grep -E 'Job_Name|job_state|Exit|substate|comment'": (
        [],
        ["22", "23", "24"],
    ),
}


class Replay:
    """A cluster of our own, and the numbers of its jobs beside the recorded ones."""

    def __init__(self, place: Path, env: dict[str, str]) -> None:
        self.cwd, self.home, self.gates = place / "pw", place / "home", place / "gates"
        for path in (self.cwd, self.home, self.gates, self.cwd / "out"):
            path.mkdir()
        for name, text in SCRIPTS.items():
            filled = text.replace("{gated}", GATED).replace("{gates}", str(self.gates))
            (self.cwd / name).write_text(filled.replace("{{", "{").replace("}}", "}"))
        kept = {k: v for k, v in env.items() if not k.startswith("LC_") and k not in ("LANG", "TZ")}
        self.env = kept | {
            "HOME": str(self.home), "SHELL": "/bin/bash", "LC_ALL": "C", "PWD": str(self.cwd),
        }  # fmt: skip
        self.machine = Machine(env["CLUSTER_STATE_DIR"], "pbs")
        self.env["LOGNAME"] = self.machine.user
        self.ours: dict[str, str] = {}
        self.background: subprocess.Popen[str] | None = None
        number = {}
        self._theirs_of = number
        self.theirs = Normal(
            host="vm", user="sgeuser", home="/home/sgeuser", cwd="/home/sgeuser/pw",
            number=lambda text: text,
        )  # fmt: skip
        self.own = Normal(
            host=self.machine.host, user=self.machine.user, home=str(self.home),
            cwd=str(self.cwd), number=lambda text: number.get(text, text),
        )  # fmt: skip

    def learn(self, theirs: str, ours: str) -> None:
        mine, yours = (re.match(r"\d+", text) for text in (ours, theirs))
        assert mine and yours, f"{ours!r} is no id"
        self.ours[yours[0]] = mine[0]
        self._theirs_of[mine[0]] = yours[0]

    def typed(self, command: str) -> str:
        """Write a recorded command with our ids."""
        host = self.machine.host
        text = re.sub(
            r"\b(\d+)((?:\[\d*\])?)\.vm\b",
            lambda m: f"{self.ours.get(m[1], m[1])}{m[2]}.{host}",
            command,
        )
        # The real one enforces a walltime some ten seconds late; nothing shows the amount.
        text = text.replace(" e.sh", " ../e.sh").replace(" kill.sh", " ../kill.sh")
        text = text.replace("walltime=2 -N wt ", "walltime=50 -N wt ")
        return re.sub(r"^(tracejob) (\d+)", lambda m: f"{m[1]} {self.ours[m[2]]}", text)

    def run(self, block: Block) -> Block:
        command = self.typed(block.command)
        if command.endswith(" &"):
            return self._start(block, command.removesuffix(" &"))
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.cwd, env=self.env, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        if block.command.startswith(("qsub", "echo")) and block.code in (0, 5) and block.out:
            self.learn(block.out, done.stdout)
        if "-zz" in command:
            self.learn("19", subprocess.check_output(["qselect", "-x"], env=self.env, text=True).split()[-1])
        return Block(block.command, done.stdout, done.stderr, done.returncode)

    def _start(self, block: Block, command: str) -> Block:
        self.background = subprocess.Popen(
            ["bash", "-c", command], cwd=self.cwd, env=self.env, stdout=subprocess.PIPE, text=True
        )
        assert self.background.stdout
        line = self.background.stdout.readline()
        self.learn(block.out, line)
        return Block(block.command, line, "", 0)

    def reach(self, gates: list[str], over: list[str]) -> None:
        for gate in gates:
            (self.gates / gate).touch()
        ids = [self.ours[one] for one in over]
        self.machine.wait(ids, timeout=LIMIT_S)
        end = time.monotonic() + LIMIT_S
        while not all(row.done for row in self.machine.rows(ids)):
            assert time.monotonic() < end

    def compared(self, block: Block) -> tuple[str, ...]:
        """Run a command, give what differs."""
        before = BEFORE.get(block.command)
        if before:
            self.reach(*before)
        said = self.run(block)
        theirs = f"{block.out}{block.err}rc={block.code}\n"
        for pattern in LEFT_OUT:
            theirs = re.sub(pattern, "", theirs.replace("\n\t", "") if "{\n" not in theirs else theirs)
        return difference(
            self.theirs.text(theirs), self.own.text(f"{said.out}{said.err}rc={said.code}\n")
        )

    @property
    def opened(self) -> set[str]:
        return set(os.listdir(self.gates))


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="pbs-", dir="/tmp")))
    try:
        with cluster.emulate("pbs", private=True, cores=12, strict=True) as env:
            yield Replay(place, env)
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def found(replay: Replay) -> list[tuple[str, tuple[str, ...]]]:
    """What differs, of each command in its order."""
    return [(block.command, replay.compared(block)) for block in RECORDED]


def test_show(found) -> None:
    for command, lines in found:
        if lines:
            print("$", command)
            for l in lines: print("   ", l)
    print(sum(not l for c, l in found), len(found))
