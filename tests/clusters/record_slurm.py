"""Record what a real Slurm prints, for the tests of its dialect.

    tests/clusters/slurm up
    eval "$(tests/clusters/slurm env)"
    .venv/bin/python tests/clusters/record_slurm.py [DIRECTORY]

Needs root, and a cluster that is idle; it takes two minutes.  Each file holds a
command as the dialect made it, its exit code and what it printed.  Ids and times
differ from one recording to the next; the tests find jobs by their names.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cluster import options
from cluster.schedulers.base import Command, Request
from cluster.schedulers.dialect import Answer, Outputs, Seen
from cluster.schedulers.slurm import Slurm
from cluster.spec import DEPENDENCY_TYPES, Dependency
from cluster.states import FINAL

GOLDEN = Path(__file__).parent.parent / "schedulers" / "golden" / "slurm-22.05"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
SLURM = Slurm()
HOG = "python3 -c 'bytearray(400 << 20)'"  # more than the 200 MiB it asks for


class Recorder:
    """Runs commands in a scratch directory, and keeps the answers that it is told to."""

    def __init__(self, golden: Path, scratch: Path) -> None:
        self.golden, self.scratch, self.count = golden, scratch, 0

    def ask(self, argv: Sequence[str], **variables: str) -> Answer:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**os.environ, **variables},
            timeout=60,
            check=False,
        )
        return Answer(tuple(argv), done.returncode, done.stdout, done.stderr)

    def keep(self, name: str, argv: Sequence[str], **variables: str) -> Answer:
        answer = self.ask(argv, **variables)
        text = (
            f"$ {shlex.join(answer.argv)}\n--- code {answer.code}\n"
            f"--- stdout\n{answer.stdout}--- stderr\n{answer.stderr}"
        )
        clean = text.replace(str(self.scratch), "/scratch")
        file = self.golden / f"{name}.txt"
        file.write_text(clean, errors="surrogateescape", newline="")
        return answer

    def argv(self, name: str, body: str, after: Sequence[Dependency] = (), **given: Any) -> Any:
        """Write a script as the dialect says, and give the command that submits it."""
        self.count += 1
        asked = options.check_arguments(given)
        request = Request(
            name=name,
            program=Command((b"true",)),
            cwd=os.fsencode(self.scratch),
            options=asked,
            dependencies=tuple(after),
        )
        array = "array" in asked
        out = f"{self.scratch}/{self.count}" + (".{index}" if array else "")
        lines = SLURM.directives(
            request, Outputs(out + ".out", out + ".err", array), mark=f"cluster-{self.count:016x}"
        )
        script = self.scratch / f"{self.count}.sbatch"
        head = "".join(f"{SLURM.prefix} {line}\n" for line in lines)
        script.write_text(f"#!/bin/bash\n{head}{body}\n")
        return SLURM.submit(str(script), asked.get("submit_args", ()))

    def submit(self, name: str, body: str, after: Sequence[Dependency] = (), **given: Any) -> str:
        return SLURM.parse_submit(self.ask(self.argv(name, body, after, **given)))

    def act(self, verb: str, *ids: str) -> None:
        for argv in SLURM.act(verb, ids, 0):
            self.ask(argv)

    def queue(self, *ids: str) -> list[Seen]:
        return SLURM.parse_poll(self.ask(SLURM.poll(ids, "")))

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + 150  # a limit of one minute is noticed late
        while not what():
            if time.monotonic() > end:
                raise SystemExit("Slurm did not do in 150 s what was to be recorded")
            time.sleep(0.1)

    def until_state(self, state: str, *ids: str) -> None:
        self.until(lambda: {seen.info.state for seen in self.queue(*ids)} == {state})

    def until_ended(self, *ids: str) -> None:
        self.until(lambda: all(seen.info.state in FINAL for seen in self.queue(*ids)))


def record_waiting(rec: Recorder) -> None:
    """Everything that a job may wait for."""
    runs = rec.submit("runs", "sleep 60", cores=2, mem="300M", time="1h")
    rec.until_state("RUNNING", runs)
    array = rec.submit("array", "sleep 60", array="1-7:2%1")
    rec.act("hold", f"{array}_5")
    ids = [
        runs,
        array,
        rec.submit("held", "true", hold=True),
        rec.submit("waits", "true", [Dependency(runs, "afterok"), Dependency(array, "afterany")]),
        rec.submit("later", "true", begin="2035-01-02T03:04:05"),
        rec.submit("too-many-nodes", "true", nodes=99),
        rec.submit("too-long", "true", partition="short", time="1h"),
        rec.submit('a "b" | c\td', "true", hold=True, comment="two words | x"),
    ]
    two = rec.argv("name", "true", hold=True, submit_args=["--job-name", "first\nsecond"])
    ids.append(SLURM.parse_submit(rec.ask(two)))
    suspended = rec.submit("suspended", "sleep 60")
    rec.until_state("RUNNING", suspended)
    rec.act("suspend", suspended)
    ids.append(suspended)
    rec.until(lambda: any(seen.info.state == "RUNNING" for seen in rec.queue(array)))
    time.sleep(2)  # a turn of the planner, which writes the reasons
    rec.keep("squeue-waiting", SLURM.poll(ids, ""))
    rec.until(lambda: "[" in rec.ask(SLURM.account([array])[0]).stdout)
    rec.keep("sacct-waiting", SLURM.account(ids)[0])
    rec.act("resume", suspended)
    rec.act("cancel", *ids)
    rec.until_ended(*ids)


def record_ended(rec: Recorder) -> None:
    """Every way in which a job may end within a minute and a half."""
    long = rec.submit("over-time", "sleep 200", time="1m")
    good, bad = rec.submit("good", "sleep 1"), rec.submit("bad", "sleep 1; exit 3")
    ids = [long, good, bad]
    for kind in DEPENDENCY_TYPES:
        for name, job in (("good", good), ("bad", bad)):
            ids.append(rec.submit(f"{kind}-{name}", "true", [Dependency(job, kind)]))
    bodies = {"exit-128": "exit 128", "exit-137": "exit 137", "exit-255": "exit 255",
              "killed": "kill -9 $$", "segfault": "kill -SEGV $$"}  # fmt: skip
    ids += [rec.submit(name, body) for name, body in bodies.items()]
    ids.append(rec.submit("over-memory", HOG, mem="200M"))
    ids.append(rec.submit("array", "exit $SLURM_ARRAY_TASK_ID", array="0-4%2"))
    lost = rec.argv("no-output", "true", submit_args=["--output=/nonexistent/x"])
    ids.append(SLURM.parse_submit(rec.ask(lost)))
    work = "python3 -c 'import time; x = bytearray(150 << 20); [i for i in range(30_000_000)]'"
    ids.append(rec.submit("works", work, cores=2, mem="500M"))
    stopped = rec.submit("cancelled", "sleep 60")
    never = rec.submit("cancelled-pending", "true", hold=True)
    half = rec.submit("half-cancelled", "true", array="1-5", hold=True)
    again = rec.submit("again", "sleep 60")
    rec.until_state("RUNNING", stopped, again)
    rec.act("cancel", stopped, never, f"{half}_2")
    rec.act("requeue", again)
    rec.until_state("PENDING", again)
    rec.keep("squeue-requeued", SLURM.poll([again], ""))
    rec.act("cancel", half, again)
    ids += [stopped, never, half, again]
    rec.until_ended(*ids)
    rec.keep("squeue-ended", SLURM.poll(ids, ""))
    books = SLURM.account(ids)[0]
    rec.until(lambda: len(SLURM.parse_account(rec.ask(books))) >= len(ids) + 4 + 3)
    rec.keep("sacct-ended", books)
    fresh = rec.submit("fresh", "true", array="1-3")
    rec.until(lambda: "allocation" in rec.ask(SLURM.account([fresh])[0]).stdout)
    rec.keep("sacct-fresh", SLURM.account([fresh])[0])


def record_not_started(rec: Recorder) -> None:
    """Jobs whose machine cannot be set up for them: Slurm holds them, or ends them."""
    conf, prolog = Path(os.environ["SLURM_CONF"]), rec.scratch / "prolog"
    before = conf.read_text()
    prolog.write_text("#!/bin/sh\nexit 1\n")
    prolog.chmod(0o755)
    conf.write_text(f"{before}Prolog={prolog}\n")
    rec.ask(("scontrol", "reconfigure"))
    ids = []
    try:
        for name, requeue in (("held", True), ("ended", False)):
            ids.append(rec.submit(name, "true", requeue=requeue))
            rec.until_state("HELD" if requeue else "CANCELLED", ids[-1])
            node = rec.queue(ids[-1])[0].info.host or os.uname().nodename
            rec.ask(("scontrol", "update", f"NodeName={node}", "State=RESUME"))
        rec.keep("squeue-not-started", SLURM.poll(ids, ""))
        rec.until(lambda: "CANCELLED" in rec.ask(SLURM.account(ids)[0]).stdout)
        rec.keep("sacct-not-started", SLURM.account(ids)[0])
    finally:
        rec.act("cancel", *ids)
        conf.write_text(before)
        rec.ask(("scontrol", "reconfigure"))


def record_submissions(rec: Recorder) -> None:
    """What sbatch says."""
    rec.keep("sbatch", rec.argv("taken", "true"))
    refused: dict[str, dict[str, Any]] = {
        "partition": {"partition": "nosuch"},
        "memory": {"mem": "999G"},
        "features": {"features": ["nosuch"]},
        "gpus": {"gpus": 1},
        "array": {"array": "0-20000"},
        "resources": {"resources": {"nosuch": 1}},
        "option": {"extra_directives": ["--nosuch=1"]},
    }
    for name, given in refused.items():
        rec.keep(f"sbatch-bad-{name}", rec.argv("refused", "true", **given))
    bad = [Dependency("abc", "afterok")]
    rec.keep("sbatch-bad-dependency", rec.argv("refused", "true", bad))


def record_acts(rec: Recorder) -> None:
    """What is said about jobs that cannot be acted upon."""
    runs, ended = rec.submit("runs", "sleep 60"), rec.submit("ended", "true")
    rec.until_state("RUNNING", runs)
    rec.until_ended(ended)
    for verb in ("cancel", "hold", "requeue", "suspend"):
        (*_, argv) = SLURM.act(verb, [runs], 0)
        rec.keep(f"{verb}-not-mine", [*NOBODY, *argv])
    for verb in ("cancel", "hold", "release", "suspend"):
        rec.keep(f"{verb}-ended", SLURM.act(verb, [ended], 0)[-1])
        rec.keep(f"{verb}-unknown", SLURM.act(verb, ["999999"], 0)[-1])
    rec.keep("requeue-not-allowed", SLURM.act("requeue", [runs], 0)[-1])
    held = rec.submit("held", "true", hold=True)
    rec.keep("suspend-pending", SLURM.act("suspend", [held], 0)[-1])
    rec.keep("signal-ended", SLURM.act("signal", [ended], 10)[-1])
    rec.keep("squeue-unknown", SLURM.poll(["999999"], ""))
    rec.keep("squeue-none-known", SLURM.poll(["999998", "999999"], ""))
    rec.act("cancel", runs, held)


def record_site(rec: Recorder) -> None:
    """The controller and the machines, and what is said when the controller is down."""
    rec.keep("ping", SLURM.probe())
    rec.keep("sinfo", SLURM.show_resources(None))
    rec.keep("sinfo-partition", SLURM.show_resources("short"))
    rec.keep("sinfo-no-partition", SLURM.show_resources("nosuch"))
    conf = rec.scratch / "slurm.conf"
    lines = Path(os.environ["SLURM_CONF"]).read_text().splitlines()
    lines = ["SlurmctldPort=9" if line.startswith("SlurmctldPort=") else line for line in lines]
    conf.write_text("\n".join(lines) + "\n")
    questions = {
        "ping": SLURM.probe(),
        "squeue": SLURM.poll(["1"], ""),
        "sbatch": rec.argv("down", "true"),
        "sinfo": SLURM.show_resources(None),
        **{verb: SLURM.act(verb, ["1"], 10)[-1] for verb in ("cancel", "hold", "signal")},
    }
    with ThreadPoolExecutor() as pool:  # each of them tries for some seconds
        down = {"SLURM_CONF": str(conf)}
        for name, argv in questions.items():
            pool.submit(rec.keep, f"{name}-down", argv, **down)


def main() -> None:
    """Record everything, into the directory that was named."""
    golden = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    golden.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cl-record-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        rec = Recorder(golden, scratch)
        parts = (
            *(record_site, record_submissions, record_acts, record_waiting, record_ended),
            record_not_started,
        )
        for part in parts:
            print(part.__name__, flush=True)
            part(rec)


if __name__ == "__main__":
    main()
