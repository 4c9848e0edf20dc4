"""Published programs that drive a scheduler, run against the emulation of theirs.

    python tests/clients/run.py [--write] [WORD...]

runs those whose line in the table has every WORD, each in a directory and a private cluster of
its own, and prints the table; `--write` puts it into docs/emulation.md.  A client's environment
is made once, under tests/clients/.venvs, from the file with its name in `requirements`.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
DOCUMENT = TREE / "docs" / "emulation.md"
BEGIN, END = "<!-- clients: begin -->", "<!-- clients: end -->"
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Client:
    """One program, and one scheduler that it speaks to.

    Attributes:
        venv: which of the environments.
        packages: whose versions are told, the client itself first.
        family: of the emulation.
        argv: a script in `scripts`, and its arguments.
        what: is done, for people.
    """

    venv: str
    packages: tuple[str, ...]
    family: str
    argv: tuple[str, ...]
    what: str

    @property
    def line(self) -> str:
        """Give what tells it from others."""
        return " ".join([self.venv, self.family, *self.argv])


def _snakemake(family: str, way: str, what: str) -> Client:
    plugin = "cluster-generic" if way.startswith("generic") else family
    packages = "snakemake", f"snakemake-executor-plugin-{plugin}"
    return Client("snakemake", packages, family, ("snakemake_workflow", way), what)


def _parsl(family: str, kind: str) -> Client:
    what = f"{kind}Provider: a block of workers, calls, its state"
    return Client("parsl", ("parsl",), family, ("parsl_block.py", kind), what)


def _dask(family: str, kind: str) -> Client:
    what = f"{kind}Cluster: two workers, sums, scaled down"
    return Client("dask", ("dask-jobqueue",), family, ("dask_workers.py", kind), what)


def _psij(family: str, name: str) -> Client:
    what = f"executor {name}: output, exit code, cancel"
    return Client("psij", ("psij-python",), family, ("psij_jobs.py", name), what)


def _nipype(family: str, plugin: str) -> Client:
    what = f"plug-in {plugin}: a workflow of two nodes"
    return Client("nipype", ("nipype",), family, ("nipype_workflow.py", plugin), what)


def _reframe(scheduler: str) -> Client:
    what = f"scheduler {scheduler}: two tasks, all nodes, a time limit"
    return Client("reframe", ("reframe-hpc",), "slurm", ("reframe_slurm.py", scheduler), what)


def _aiida(family: str, plugin: str) -> Client:
    what = f"scheduler core.{plugin}: two jobs, states, details, killed"
    return Client("aiida", ("aiida-core",), family, ("aiida_plugins.py", plugin), what)


def _fireworks(family: str, kind: str) -> Client:
    what = f"queue adapter {kind}: two jobs, counted"
    return Client("fireworks", ("fireworks",), family, ("fireworks_queue.py", kind), what)


def _dpdispatcher(family: str, kind: str) -> Client:
    what = f"batch type {kind}: two tasks with files"
    return Client("dpdispatcher", ("dpdispatcher",), family, ("dpdispatcher_tasks.py", kind), what)


def _checks(family: str) -> Client:
    what = f"scheduler {family}: three checks, one with an exit code"
    return Client("reframe", ("reframe-hpc",), family, ("reframe_checks.py", family), what)


def _toil(family: str, system: str) -> Client:
    what = f"batch system {system}: three jobs and one after them"
    # 9.6.0 gives prepareSubmission of these one argument too many, and submits nothing.
    return Client("toil-8", ("toil",), family, ("toil_workflow.py", system), what)


CLIENTS = (
    Client("submitit", ("submitit",), "slurm", ("submitit_slurm.py",),
           "call, array, failure, two tasks, cancel, checkpoint and requeue"),
    _snakemake("slurm", "slurm", "executor slurm: four jobs, sacct"),
    _snakemake("slurm", "array", "executor slurm, with job arrays"),
    _snakemake("slurm", "squeue", "executor slurm, asking squeue"),
    _snakemake("lsf", "lsf", "executor lsf: four jobs"),
    _snakemake("sge", "sge", "executor sge: an array of three, and one job"),
    _snakemake("slurm", "generic-slurm", "executor cluster-generic: sbatch --parsable"),
    _snakemake("sge", "generic-sge", "executor cluster-generic: qsub -terse"),
    _snakemake("torque", "generic-pbs", "executor cluster-generic: qsub -d"),
    _parsl("slurm", "Slurm"),
    _parsl("sge", "GridEngine"),
    _parsl("torque", "Torque"),
    _parsl("pbs", "PBSPro"),
    _parsl("lsf", "LSF"),
    _dask("slurm", "SLURM"),
    _dask("pbs", "PBS"),
    _dask("sge", "SGE"),
    _dask("lsf", "LSF"),
    _psij("slurm", "slurm"),
    _psij("pbs", "pbs"),
    Client("cluster-api", ("py-cluster-api",), "lsf", ("cluster_api_lsf.py",),
           "job, failure, array, cancel"),
    _nipype("slurm", "SLURM"),
    Client("nipype", ("nipype",), "slurm", ("nipype_graph.py",),
           "plug-in SLURMGraph: two nodes, submitted at once"),
    _nipype("pbs", "PBS"),
    _nipype("torque", "PBS"),
    _nipype("sge", "SGE"),
    _nipype("lsf", "LSF"),
    Client("toil", ("toil",), "slurm", ("toil_workflow.py", "slurm"),
           "batch system slurm: three jobs and one after them"),
    Client("simple-slurm", ("simple-slurm",), "slurm", ("simple_slurm_jobs.py",),
           "array, dependency, srun"),
    Client("clusterfutures", ("clusterfutures",), "slurm", ("clusterfutures_calls.py",),
           "calls through its executor"),
    _reframe("slurm"),
    _reframe("squeue"),
    Client("ipyparallel", ("ipyparallel",), "slurm", ("ipyparallel_engines.py",),
           "controller and two engines as jobs, calls, stopped"),
    Client("hydra", ("hydra-submitit-launcher", "submitit"), "slurm", ("hydra_sweep.py",),
           "launcher submitit_slurm: a sweep over three values"),
    Client("executorlib", ("executorlib", "pysqa"), "slurm", ("executorlib_calls.py",),
           "calls as jobs that depend on each other, calls in one allocation"),
    Client("cylc", ("cylc-flow",), "slurm", ("cylc_workflow",),
           "job runner slurm: four tasks, polled"),
    Client("slurm2sql", ("slurm2sql",), "slurm", ("slurm2sql_books.py",),
           "what sacct says of jobs, arrays and steps, in a database"),
    _aiida("torque", "torque"),
    _aiida("pbs", "pbspro"),
    _aiida("sge", "sge"),
    _aiida("lsf", "lsf"),
    _dpdispatcher("pbs", "PBS"),
    _dpdispatcher("torque", "Torque"),
    _dpdispatcher("sge", "SGE"),
    _dpdispatcher("lsf", "LSF"),
    _fireworks("torque", "PBS"),
    _fireworks("pbs", "PBS"),
    _fireworks("sge", "SGE"),
    _fireworks("lsf", "LoadSharingFacility"),
    _checks("pbs"),
    _checks("torque"),
    _checks("sge"),
    _checks("lsf"),
    _toil("torque", "torque"),
    _toil("sge", "grid_engine"),
    _toil("lsf", "lsf"),
    Client("ipyparallel", ("ipyparallel",), "torque", ("ipyparallel_set.py", "pbs", "qstat"),
           "two engines as a job array, calls, stopped"),
    Client("ipyparallel", ("ipyparallel",), "sge", ("ipyparallel_set.py", "sge", "qstat"),
           "two engines as a job array, calls, stopped"),
    Client("signac", ("signac-flow",), "lsf", ("signac_project.py",),
           "three jobs, and three after them, their status"),
)  # fmt: skip


# ---------------------------------------------------------------- environments


def prepare(venv: str) -> Path:
    """Have an environment ready, and give its `bin`."""
    wanted = HERE / "requirements" / f"{venv}.txt"
    place = HERE / ".venvs" / venv
    ready = place / ".ready"
    if not ready.exists() or ready.stat().st_mtime < wanted.stat().st_mtime:
        print(f"setting up {venv} (once)", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, "--disable-pip-version-check", "-r", wanted], check=True)
        ready.touch()
    return place / "bin"


def versions(bin: Path, packages: Sequence[str]) -> str:
    """Give what is installed, as a table shows it."""
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    said = subprocess.check_output([bin / "python", "-c", code, *packages], text=True).split()
    first, *others = zip(packages, said, strict=True)
    more = [f"{name.removeprefix(first[0] + '-')} {version}" for name, version in others]
    return ", ".join([f"{first[0]} {first[1]}", *more])


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class Result:
    client: Client
    version: str
    ok: bool
    seconds: float
    output: str


def run(client: Client) -> Result:
    """Run one client to its end, in a private cluster."""
    bin = HERE / ".venvs" / client.venv / "bin"
    script = HERE / "scripts" / client.argv[0]
    words = [str(bin / "python"), str(script)] if script.suffix == ".py" else [str(script)]
    argv = [
        sys.executable, "-m", "cluster", "emulate", client.family, "--cores", "4", "--",
        *words, *client.argv[1:],
    ]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if not name.startswith("CLUSTER_")}
    env |= {"PATH": f"{bin}{os.pathsep}{env['PATH']}", "PYTHONPATH": ""}
    folder = tempfile.mkdtemp(prefix="client-")
    began = time.monotonic()
    with open(os.path.join(folder, ".said"), "w+", errors="replace") as said:
        process = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
            code = -1
        seconds = time.monotonic() - began
        said.seek(0)
        output = said.read()
    ok = code == 0 and output.rstrip().endswith("CLIENT-OK")
    if ok:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        output += f"\n(exit code {code}; its directory is {folder})"
    return Result(client, versions(bin, client.packages), ok, seconds, output)


def table(results: Sequence[Result]) -> str:
    """Write the matrix."""
    rows = ["| client | scheduler | what was run | result |", "|---|---|---|---|"]
    for result in results:
        client = result.client
        outcome = "passed" if result.ok else "**failed**"
        rows.append(f"| {result.version} | {client.family} | {client.what} | {outcome} |")
    passed = sum(result.ok for result in results)
    python = platform.python_version()
    return "\n".join([*rows, "", f"{passed} of {len(results)} passed, with Python {python}."])


def write(text: str) -> None:
    """Put the matrix between its marks in the documentation."""
    page = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run published clients against the emulation.")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    chosen = [client for client in CLIENTS if all(word in client.line for word in asked.words)]
    for venv in dict.fromkeys(client.venv for client in chosen):
        prepare(venv)
    results = []
    with ThreadPoolExecutor(asked.at_once) as pool:
        for result in pool.map(run, chosen):
            results.append(result)
            verdict = "passed" if result.ok else "FAILED"
            print(f"{verdict} {result.seconds:5.1f} s  {result.client.family:7}"
                  f"{' '.join(result.client.argv)}", flush=True)  # fmt: skip
            if not result.ok:
                print("\n".join(f"    {line}" for line in result.output.splitlines()[-40:]))
    text = table(results)
    print(f"\n{text}")
    if asked.write:
        write(text)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
