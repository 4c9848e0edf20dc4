"""The emulation beside a real OpenLava 2.2: the same command lines, what both said.

`openlava-2.2.txt` is what the real one said.  A `sleep` of the test's own stands
on PATH: it ends when the test opens its gate, so that each command meets the
jobs in the state they were in.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import cluster
from cluster.emulation.machine import Machine

pytestmark = pytest.mark.slow
LIMIT_S = 60.0
SCRIPT = """\
#!/bin/bash
#BSUB -J myjob
#BSUB -o out/%J.out
#BSUB -e out/%J.err
#BSUB -n 2
#BSUB -R "rusage[mem=100]"
env | grep -E "^(LS|JOB|BSUB|HOSTNAME|PWD|HOME|SHELL|EXEC)" | sort
echo "arg0 $0 args $@"
"""
SLEEP = """\
#!/bin/sh
until [ -e "$GATES/$LSB_JOBNAME" ]; do /bin/sleep 0.02; done
"""

# Why the emulation says something else, and what all lines that differ are like;
# docs/emulation_lsf.md tells it, too.
NEWER = "LSF has this since 9.1, OpenLava has not"
SOON = "the emulation starts at once what may start, the real one at its next turn"
EMPTY = "LSF says that there is no job, and ends with 0, unless its site chose otherwise"
VARIABLES = "LSF 10 sets more variables, and those of OpenLava's own security are not set"
DIFFERENCES: dict[str, tuple[str, str]] = {
    "bjobs -o 'jobid stat' -noheader": (NEWER, r".*"),
    "bjobs -J nosuch": (EMPTY, r"[-+] rc=(254|0)"),
    "bjobs": (EMPTY, r"[-+] rc=(254|0)"),
    "bjobs -u nosuchuser": (EMPTY, r"[-+] rc=(254|0)"),
    "bjobs -u root": (EMPTY, r"[-+] rc=(254|0)"),
    "bjobs -p": ("OpenLava gave no words for a full array", r"[-+]  ?(The job array .*)?: 1 host;"),
    "bjobs -l -J slow": (
        "how much memory, which processes",
        r"[-+] (MEM:.*|PGID:.*)",
    ),
    "bjobs -a -w": (SOON, r"[-+] \d+ USER \w+ normal .*\bdep WHEN"),
    "bkill 0": (SOON, r"- Job <10> is being terminated"),
    "head -70 out/1*.out out/lim.out out/dep.out": (
        f"{VARIABLES}; {SOON}, so that dep has its output",
        r"[-+] (LS\w+=.*|\[stderr\] head: .*|rc=\d|==> out/dep.out <==|HOSTNAME=.*|Read file .*|"
        r"Sender: .*|Subject: Job 10: .*|Job <dep> .*|Job was exec.*|<.*|Started at.*|Results.*|"
        r"Your job .*|-+|# LSBATCH.*|echo dep|Succ.*|Resource.*|CPU.*|Max.*|The output.*|dep|PS:|)",
    ),
    "ls out": (SOON, r"\+ dep.out"),
}


@dataclass
class Block:
    """A command, and what it said."""

    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def read(path: Path) -> list[Block]:
    found: list[Block] = []
    for line in path.read_text().splitlines():
        if line.startswith("$ "):
            found.append(Block(line[2:]))
        elif match := re.fullmatch(r"\[rc=(\d+)\]", line):
            found[-1].code = int(match[1])
        elif line.startswith("[stderr] "):
            found[-1].err.append(line[9:])
        elif found:
            found[-1].out.append(line)
    for block in found:
        while block.out and not block.out[-1]:
            block.out.pop()
    return found


RECORDED = read(Path(__file__).with_name("openlava-2.2.txt"))


class Replay:
    def __init__(self, place: Path, env: dict[str, str]) -> None:
        self.home, self.gates = place / "home", place / "gates"
        self.cwd, bin = self.home / "lw", place / "bin"
        for path in (self.home, self.gates, self.cwd, self.cwd / "out", bin):
            path.mkdir()
        for path, text in ((self.cwd / "j.sh", SCRIPT), (bin / "sleep", SLEEP)):
            path.write_text(text)
            path.chmod(0o755)
        shims, _, rest = env["PATH"].partition(":")
        kept = {k: v for k, v in env.items() if not k.startswith("LC_") and k != "TZ"}
        self.env = kept | {
            "PATH": f"{shims}:{bin}:{rest}", "HOME": str(self.home), "SHELL": "/bin/bash",
            "LC_ALL": "C", "GATES": str(self.gates), "PWD": str(self.cwd),
        }  # fmt: skip
        self.machine = Machine(env["CLUSTER_STATE_DIR"], "lsf")
        self.theirs: dict[str, str] = {}
        self.open("step[1]", "step[4]", "step[7]", "sleep 1")

    def open(self, *names: str) -> None:
        for name in names:
            (self.gates / name).touch()

    def run(self, block: Block) -> Block:
        self.prepare(block.command)
        # There are more variables than lines in the recorded head.
        command = block.command.replace("head -70", "head -200")
        done = subprocess.run(
            ["/bin/bash", "-c", command], cwd=self.cwd, env=self.env, capture_output=True,
            text=True, timeout=LIMIT_S,
        )  # fmt: skip
        out = done.stdout.splitlines()
        while out and not out[-1]:
            out.pop()
        said = Block(block.command, out, done.stderr.splitlines(), done.returncode)
        mine, real = (re.match(r"Job <(\d+)> is submitted", "".join(b.out)) for b in (said, block))
        if mine and real:
            self.theirs[mine[1]] = real[1]
        return said

    def prepare(self, command: str) -> None:
        """Have the jobs be as they were when the command was typed."""
        if command == "bjobs" and not (self.gates / "arr[1]").exists():
            self.open("arr[1]")
            self.until({"arr[2]": "RUNNING", "arr[3]": "RUNNING", "lim": "FAILED"})
        if command == "bjobs -a -w":
            self.open("slow", "arr[2]", "arr[3]", "arr[4]")
            self.until({"arr[4]": "COMPLETED", "slow": "COMPLETED", "dep": "COMPLETED"})

    def until(self, wanted: dict[str, str]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while True:
            rows = self.machine.rows(elements=True)
            states = {
                row.info.name + (f"[{row.index}]" if row.index is not None else ""): row.info.state
                for row in rows
            }
            if all(states.get(name) == state for name, state in wanted.items()):
                return
            assert time.monotonic() < deadline, states
            time.sleep(0.02)

    # ------------------------------------------------------------ the same words

    def normal(self, block: Block, *, ours: bool) -> list[str]:
        user, home = (self.machine.user, str(self.home)) if ours else ("sgeuser", "/home/sgeuser")
        host = self.machine.host if ours else "vm"
        text = re.sub(r"\n {21}(?! *(MEM|PGID))", "", "\n".join(block.out))
        lines = [*text.splitlines(), *(f"[stderr] {line}" for line in block.err)]
        found = [self._line(line, user, host, home, ours=ours) for line in lines]
        if "-l" in block.command:  # where a line is broken depends on the names in it
            found = [line.replace(" ", "") for line in found]
        if "bjobs" in block.command and "-l" not in block.command and "-p" not in block.command:
            found.sort()
        return [*found, f"rc={block.code}"]

    def _line(self, line: str, user: str, host: str, home: str, *, ours: bool) -> str:
        line = line.replace(home, "HOME")
        line = re.sub(rf"\b{re.escape(user)}\b", "USER", line)
        line = re.sub(rf"(?<![\w/]){re.escape(host)}\b", "HOST", line)
        line = re.sub(r"(\w{3} )?\w{3} +\d+ \d\d:\d\d(:\d\d)?( \d{4})?", "WHEN", line)
        line = re.sub(r"\S+\.shell\b", "SCRIPT", line)
        line = re.sub(r"(CPU time   :|Max \w+ *:) +[\d.]+", r"\1 N", line)
        line = re.sub(r"(^\d+(?:\[\d+\])? +USER +.{9})((?: +\d+){7}) *$", r"\1 N", line)
        line = re.sub(r"(\*?\S* ?\S*) +(?:\d+ +){7}$", r"\1 N", line)
        if ours:
            line = re.sub(r"^(\[stderr\] )?(Job <|Subject: Job |)(\d+)\b", self._id, line)
        return " ".join(line.split())

    def _id(self, match: re.Match[str]) -> str:
        return (match[1] or "") + match[2] + self.theirs.get(match[3], match[3])


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, list[str]]]:
    """What differs, by number of the block."""
    place = tmp_path_factory.mktemp("lsf")
    with cluster.emulate("lsf", private=True, cores=8, strict=True) as env:
        replay = Replay(place, env)
        differing = {}
        for number, block in enumerate(RECORDED):
            said = replay.run(block)
            lines = difflib.ndiff(replay.normal(block, ours=False), replay.normal(said, ours=True))
            differing[number] = [line for line in lines if line[0] in "+-"]
        yield differing


@pytest.mark.parametrize("number", range(len(RECORDED)), ids=[b.command for b in RECORDED])
def test_a_command_says_what_the_real_one_said(replayed: dict[int, list[str]], number: int) -> None:
    _, allowed = DIFFERENCES.get(RECORDED[number].command, ("", r"(?!)"))

    unexplained = [line for line in replayed[number] if not re.fullmatch(allowed, line)]

    assert unexplained == []


def test_each_difference_that_is_explained_is_there(replayed: dict[int, list[str]]) -> None:
    differing = {RECORDED[number].command for number, lines in replayed.items() if lines}

    assert differing == set(DIFFERENCES)
