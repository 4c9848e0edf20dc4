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
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pbs_transcript import Block, Normal, difference, read

import cluster
from cluster.emulation.machine import Machine

RECORDED = read(Path(__file__).with_name("openpbs-23.06.06.txt"))
LIMIT_S = 60.0

# Why the emulation says something else, and what all lines that differ are like;
# docs/emulation_pbs.md tells it, too.
EARLY = "the real one had just started the job, and knew nothing of its run yet"
SOON = "the emulation starts at once what fits, the real one at the next turn of its scheduler"
FILES = "output files are there from the start, and not only at the end"
JOB = (
    r'[-+] \t*"(resources_used|cpupercent|cput|mem|ncpus|vmem|walltime)".*'
    r'|[-+] \t*"(session_id|jobdir|substate)".*|\+ \t*},'
)
DIFFERENCES: dict[str, tuple[str, str]] = {
    "qstat": (f"{SOON}; a deleted job is gone sooner", r"[-+] (1[56]\.HOST|Job id|-{6}) .*"),
    "qstat -a": (SOON, r"[-+] 15\.HOST .*"),
    "qstat -n1": (EARLY, r"[-+] 15\.HOST .*"),
    "qstat -t": (EARLY, r"[-+] 15\.HOST .*"),
    "qstat -xf 1.vm": (
        "the queue forgets the session of a job that is over",
        "-     session_id = N",
    ),
    "ls": (FILES, r"\+ wt\.[eo]16"),
    "cat arr.o*.1 wt.e*": (FILES, r"- cat: .*|[-+] rc=[01]"),
    "tracejob 1 | tail -5": (
        "there is one log, of the server, and it is short",
        r"[-+] (DATE  [MS] .*|Job: .*|)",
    ),
    "qstat -f -F json 21.vm": (EARLY, JOB),
    "qstat -t -f -F json '20[].vm'": (EARLY, JOB),
    "qstat -Q": ("the recorded one had run more by then", r"[-+] workq .*"),
}

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
case " GATED " in
  *" $PBS_JOBNAME "*) until [ -e "GATES/$PBS_JOBNAME" ]; do sleep 0.02; done ;;
esac
echo "ok $PBS_ARRAY_INDEX"
exit ${RC:-0}
""",
    "e.sh": """\
env | grep '^PBS_' | LC_ALL=C sort
until [ -e "GATES/ja" ]; do sleep 0.02; done
""",
    "kill.sh": "kill -9 $$\n",
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
        self._write("j.sh", "s.sh")
        kept = {k: v for k, v in env.items() if not k.startswith("LC_") and k not in ("LANG", "TZ")}
        self.env = kept | {
            "HOME": str(self.home), "SHELL": "/bin/bash", "LC_ALL": "C", "PWD": str(self.cwd),
        }  # fmt: skip
        self.machine = Machine(env["CLUSTER_STATE_DIR"], "pbs")
        self.env["LOGNAME"] = self.machine.user
        self.ours: dict[str, str] = {}
        self.background: subprocess.Popen[str] | None = None
        self._number: dict[str, str] = {}
        self.theirs = Normal(
            host="vm", user="sgeuser", home="/home/sgeuser", cwd="/home/sgeuser/pw",
            number=lambda text: text,
        )  # fmt: skip
        self.own = Normal(
            host=self.machine.host, user=self.machine.user, home=str(self.home),
            cwd=str(self.cwd), number=lambda text: self._number.get(text, text),
        )  # fmt: skip

    def _write(self, *names: str) -> None:
        for name in names:
            text = SCRIPTS[name].replace("GATED", GATED).replace("GATES", str(self.gates))
            (self.cwd / name).write_text(text)

    def learn(self, theirs: str, ours: str) -> None:
        mine, yours = (re.match(r"\d+", text) for text in (ours, theirs))
        assert yours
        assert mine, f"{ours!r} is no id"
        self.ours[yours[0]] = mine[0]
        self._number[mine[0]] = yours[0]

    def typed(self, command: str) -> str:
        """Write a recorded command with our ids."""
        host = self.machine.host
        text = re.sub(
            r"\b(\d+)((?:\[\d*\])?)\.vm\b",
            lambda m: f"{self.ours.get(m[1], m[1])}{m[2]}.{host}",
            command,
        )
        # The real one enforces a walltime some ten seconds late; nothing shows the amount.
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
        if "-zz" in command:  # says nothing
            self.learn("19", self.machine.rows()[-1].id)
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
        if " e.sh" in block.command:
            self._write("e.sh", "kill.sh")
        said = self.run(block)
        theirs = f"{block.out}{block.err}rc={block.code}\n"
        if "{\n" not in theirs:
            theirs = theirs.replace("\n\t", "")
        for pattern in LEFT_OUT:
            theirs = re.sub(pattern, "", theirs)
        return difference(
            self.theirs.text(theirs), self.own.text(f"{said.out}{said.err}rc={said.code}\n")
        )

    def blocking_ended(self) -> int:
        """Wait for the `qsub` in the background; give its exit code."""
        assert self.background
        with self.background:
            return self.background.wait(LIMIT_S)


@pytest.fixture(scope="module")
def found() -> Iterator[list[tuple[str, ...]]]:
    """What differs, of each command in its order; of the one behind them, its exit code."""
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="pbs-", dir="/tmp")))
    try:
        with cluster.emulate("pbs", private=True, cores=12, strict=True) as env:
            replay = Replay(place, env)
            lines = [replay.compared(block) for block in RECORDED]
            yield [*lines, (str(replay.blocking_ended()),)]
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("at", range(len(RECORDED)), ids=[block.command for block in RECORDED])
def test_a_command_says_what_the_real_one_said(found: list[tuple[str, ...]], at: int) -> None:
    reason, pattern = DIFFERENCES.get(RECORDED[at].command, ("", "(?!)"))

    unexplained = [line for line in found[at] if not re.fullmatch(pattern, line)]

    assert unexplained == [], reason


def test_each_difference_that_is_listed_is_there(found: list[tuple[str, ...]]) -> None:
    differ = {block.command for block, lines in zip(RECORDED, found, strict=False) if lines}

    assert differ == DIFFERENCES.keys()


def test_the_documentation_tells_each_difference(found: list[tuple[str, ...]]) -> None:
    page = Path(__file__).parents[3] / "docs" / "emulation_pbs.md"
    told = " ".join(page.read_text().split())

    differ = sum(bool(lines) for lines in found[:-1])
    counts = (
        f"{len(found) - 1} command lines, {len(found) - 1 - differ} the same, {differ} explained"
    )
    missing = [reason for reason, _ in DIFFERENCES.values() if reason not in told]

    assert missing == []
    assert counts in told


def test_a_blocking_qsub_ended_with_the_code_of_its_job(found: list[tuple[str, ...]]) -> None:
    assert found[-1] == ("5",)
