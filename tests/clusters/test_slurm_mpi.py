"""A real MPI program (mpi4py, Open MPI), started here and in jobs of a real Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cluster
from cluster import schedulers

pytestmark = [pytest.mark.clusters]

PATIENCE_S = 120.0
# The tests run as root, which Open MPI takes for a mistake.
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
PROGRAM = """
import os, sys
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
lines = world.gather(f"{world.rank}/{world.size} {sys.argv[1]} {os.environ.get('X')}")
if world.rank == 0:
    print(f"sum {total}", *lines, sep="; ")
if sys.argv[1] == "abort":
    world.Abort(6)
"""


@pytest.fixture(scope="module")
def mpi(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """An MPI program, as a command that lacks one argument."""
    folder = tmp_path_factory.mktemp("mpi")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "mpi4py"], check=True)
    (folder / "program.py").write_text(PROGRAM)
    return [str(python), str(folder / "program.py")]


@pytest.fixture(params=["local", "slurm"])
def qtype(request: pytest.FixtureRequest, state_dir: Path, tmp_path: Path) -> str:
    os.environ["CLUSTER_QTYPE"] = request.param
    assert request.param == "local" or schedulers.probe("slurm").version
    return str(request.param)


def submit(command: list[str], folder: Path, **options: object) -> cluster.Job:
    env = {**ROOT, "X": "a b"}
    return cluster.submit(command, env=env, filedir=folder, tasks=2, time="5m", **options)


@pytest.mark.parametrize("launcher", ["mpi", "mpirun", "mpiexec.openmpi"])
def test_ranks_know_each_other(launcher: str, qtype: str, mpi: list[str], tmp_path: Path) -> None:
    job = submit([*mpi, "it's"], tmp_path, launcher=launcher)

    code, stdout, stderr = job.get(PATIENCE_S)

    assert (code, stdout) == (0, "sum 3; 0/2 it's a b; 1/2 it's a b\n"), stderr


def test_two_programs_are_one_mpi_program(qtype: str, mpi: list[str], tmp_path: Path) -> None:
    job = submit([*mpi, "first", ":", "-n", "1", *mpi, "second"], tmp_path, launcher="mpi")

    assert job.get(PATIENCE_S)[:2] == (0, "sum 3; 0/2 first a b; 1/2 second a b\n")


def test_a_rank_that_aborts_ends_all_with_its_code(
    qtype: str, mpi: list[str], tmp_path: Path
) -> None:
    job = submit([*mpi, "abort"], tmp_path, launcher="mpi")

    assert job.get(PATIENCE_S)[0] == 6
    assert job.state == "FAILED"


def test_mpich_is_told_in_its_own_words(qtype: str, tmp_path: Path) -> None:
    text = "echo $PMI_RANK of $PMI_SIZE, $X"

    job = submit(["sh", "-c", text], tmp_path, launcher="mpiexec.mpich -l")

    lines = sorted(job.get(PATIENCE_S).stdout.splitlines())
    assert lines == ["[0] 0 of 2, a b", "[1] 1 of 2, a b"]


def test_srun_starts_the_ranks_as_tasks_of_slurm(state_dir: Path, tmp_path: Path) -> None:
    os.environ["CLUSTER_QTYPE"] = "slurm"
    text = 'echo $SLURM_PROCID of $SLURM_NTASKS "$0"'

    one = submit(["sh", "-c", text, "it's %t"], tmp_path, launcher="srun")
    two = submit(["echo", "'a' \"b\"", ":", "-n", "1", "sh", "-c", text], tmp_path, launcher="srun")

    assert sorted(one.get(PATIENCE_S).stdout.splitlines()) == ["0 of 2 it's %t", "1 of 2 it's %t"]
    assert sorted(two.get(PATIENCE_S).stdout.splitlines()) == ["'a' \"b\"", "1 of 2 sh"]


def test_launch_in_a_job_of_slurm_takes_what_the_job_has(
    state_dir: Path, mpi: list[str], tmp_path: Path
) -> None:
    os.environ["CLUSTER_QTYPE"] = "slurm"
    words = [sys.executable, "-m", "cluster", "launch", "--", *mpi, "x"]

    job = submit(words, tmp_path)

    assert re.fullmatch("sum 3; 0/2 x a b; 1/2 x a b\n", job.get(PATIENCE_S).stdout)
