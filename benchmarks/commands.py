"""Time the commands of a scheduler: one call, and trivial jobs a second.

    python benchmarks/commands.py slurm             its emulation, in a queue of its own
    python benchmarks/commands.py slurm --real      the one that the PATH leads to

Jobs run `true` and leave nothing.  Single jobs are submitted one after the
other by one program; the clock stops when the queue's listing is empty, which
is asked every 20 ms (the real ones: every 0.2 s, for they are slow to answer).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

from report import Figure, print_columns  # noqa: E402 (after the path to it)

import cluster  # noqa: E402

CORES = os.cpu_count() or 1
PATIENCE_S = 900.0


@dataclass(frozen=True)
class Commands:
    """How a family says it; `{script}` is a file that runs `true`."""

    submit: str
    array: str
    listing: str
    mine: str  # prints a line for each job that is not over
    history: str


FAMILIES = {
    "slurm": Commands(
        "sbatch -o /dev/null {script}",
        "sbatch -o /dev/null --array=1-{n} {script}",
        "squeue",
        "squeue -h -o %i",
        "sacct -n -X",
    ),
    "pbs": Commands(
        "qsub -o /dev/null -j oe {script}",
        "qsub -o /dev/null -j oe -J 1-{n} {script}",
        "qstat",
        "qselect",
        "qstat -x",
    ),
    "sge": Commands(
        "qsub -o /dev/null -j y {script}",
        "qsub -o /dev/null -j y -t 1-{n} {script}",
        "qstat",
        "qstat",
        "qacct -o",
    ),
    "lsf": Commands(
        "bsub -o /dev/null {script}",
        "bsub -o /dev/null -J a[1-{n}] {script}",
        "bjobs",
        "bjobs -noheader",
        "bjobs -a",
    ),
}


class Scheduler:
    """The commands of one, as a program calls them."""

    def __init__(self, words: Commands, env: Mapping[str, str], folder: Path, pause_s: float):
        self._env, self._folder, self._pause_s, self.words = dict(env), folder, pause_s, words
        self._script = folder / "job.sh"
        self._script.write_text("#!/bin/sh\ntrue\n")
        self._script.chmod(0o755)

    def call(self, text: str, **values: int) -> str:
        """Run a command; give what it printed.  An empty queue is no failure."""
        argv = text.format(script=self._script, **values).split()
        argv[0] = shutil.which(argv[0], path=self._env["PATH"]) or argv[0]
        done = subprocess.run(
            argv, cwd=self._folder, env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode and "No unfinished job" not in done.stderr:
            raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def took_ms(self, text: str, times: int) -> list[float]:
        """Time one command again and again."""
        found = []
        for _ in range(times):
            begin = time.perf_counter()
            self.call(text)
            found.append((time.perf_counter() - begin) * 1e3)
        return found

    def wait(self) -> None:
        """Wait until no job is left."""
        deadline = time.monotonic() + PATIENCE_S
        while self.call(self.words.mine).strip():
            if time.monotonic() > deadline:
                raise SystemExit(f"jobs are not over after {PATIENCE_S:.0f} s")
            time.sleep(self._pause_s)


def measure(scheduler: Scheduler, sizes: Mapping[str, int]) -> list[Figure]:
    """Measure calls and rates."""
    words, figures = scheduler.words, []
    scheduler.call(words.submit)
    scheduler.wait()
    for what, text in (
        ("submit", words.submit),
        ("listing", words.listing),
        ("history", words.history),
    ):
        found = scheduler.took_ms(text, sizes["calls"])
        name = f"{what}: {text.split()[0]}, one call"
        figures.append(Figure(name, median(found), "ms", note=_span(found)))
        scheduler.wait()
    rates = []
    for _ in range(sizes["rounds"]):
        begin = time.perf_counter()
        for _ in range(sizes["jobs"]):
            scheduler.call(words.submit)
        submitted = time.perf_counter() - begin
        scheduler.wait()
        rates.append(sizes["jobs"] / (time.perf_counter() - begin))
    note = f"{sizes['jobs']} jobs, of the last {submitted:.1f} s for the calls alone"
    figures.append(Figure("trivial jobs, a call each", median(rates), "/s", note=note))
    rates = []
    for _ in range(sizes["rounds"]):
        begin = time.perf_counter()
        scheduler.call(words.array, n=sizes["elements"])
        scheduler.wait()
        rates.append(sizes["elements"] / (time.perf_counter() - begin))
    note = f"{sizes['elements']} elements"
    figures.append(Figure("trivial jobs, as one array", median(rates), "/s", note=note))
    return figures


def _span(values: list[float]) -> str:
    return f"[{min(values):.1f}..{max(values):.1f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--real", action="store_true", help="the commands on this PATH, as it is")
    parser.add_argument("--quick", action="store_true", help="fewer jobs, once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    sizes = {"calls": 30, "rounds": 3, "jobs": 200, "elements": 1000}
    if chosen.quick:
        sizes = {"calls": 10, "rounds": 1, "jobs": 50, "elements": 200}
    words = FAMILIES[chosen.family]
    with tempfile.TemporaryDirectory(prefix="cluster-bench-") as name:
        os.chmod(name, 0o755)
        if chosen.real:
            figures = measure(Scheduler(words, os.environ, Path(name), 0.2), sizes)
        else:
            with cluster.emulate(chosen.family, cores=CORES, private=True) as env:
                figures = measure(Scheduler(words, env, Path(name), 0.02), sizes)
    what = f"{chosen.family}, {'real' if chosen.real else 'emulated'}, {CORES} cores"
    if chosen.json:
        print(json.dumps({"what": what, "figures": [each.as_dict() for each in figures]}, indent=1))
        return
    print(f"{time.strftime('%Y-%m-%d %H:%M')}  {what}, load {os.getloadavg()[0]:.1f}")
    rows = [(each.what, f"{each.value:,.1f} {each.unit}", each.note) for each in figures]
    print_columns(rows, right=(1,))


if __name__ == "__main__":
    main()
