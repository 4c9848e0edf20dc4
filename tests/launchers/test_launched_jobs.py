"""Jobs with a launcher: here, in the scripts of a cluster, and by `cluster launch`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster import launchers
from cluster.errors import OptionsError
from cluster.schedulers import cluster_scripts
from cluster.schedulers._launching import problems, with_launcher
from cluster.schedulers.base import Call, Command, Request
from cluster.schedulers.slurm import Slurm

# Starts the ranks one after the other: no communication, but the forms of MPICH.
MPIEXEC = """#!/bin/sh
[ "$1" = --version ] && { echo "HYDRA build details:"; exit; }
n=$2; shift 2
i=0
while [ $i -lt "$n" ]; do RANK=$i "$@" || exit; i=$((i+1)); done
"""


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "mpiexec").write_text(MPIEXEC)
    (folder / "mpiexec").chmod(0o755)
    return folder


@pytest.mark.slow
def test_a_command_is_started_as_so_many_ranks(state_dir: Path, bin: Path) -> None:
    job = cluster.submit(
        ["sh", "-c", "echo $RANK $OMP_NUM_THREADS \"$0\"", "a  b"],
        launcher="mpi", tasks=2, env_prepend={"PATH": bin},
    )  # fmt: skip

    assert job.get() == (0, "0 1 a  b\n1 1 a  b\n", "")


@pytest.mark.slow
def test_shell_text_is_run_by_each_rank(state_dir: Path, bin: Path) -> None:
    job = cluster.submit(
        "echo $RANK | tr 01 ab; exit 3", launcher="mpi", tasks=2, env_prepend={"PATH": bin}
    )

    assert job.get() == (3, "a\n", "")


@pytest.mark.slow
def test_the_written_script_starts_the_ranks_too(
    state_dir: Path, bin: Path, tmp_path: Path
) -> None:
    job = cluster.make_job(
        "echo $RANK; :", launcher="mpi", tasks=2, env_prepend={"PATH": bin}, filedir=tmp_path / "s"
    )
    (tmp_path / "s").mkdir()

    done = subprocess.run(
        ["bash", job.write().submission.file_name], capture_output=True, text=True, check=True
    )

    assert done.stdout == "0\n1\n"


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("true", {"launcher": "mpirum"}, "launcher 'mpirum' is unknown"),
        ("true", {"launcher": "srun"}, "Use launcher='mpi'"),
        (print, {"launcher": "mpi"}, r"needs a command, and builtins\.print is .* Submit a script"),
        (["true", ":", "true"], {"launcher": "mpi", "tasks": 2}, "2 of 2 programs have no -n"),
        ("no-such-program", {"launcher": "mpi"}, "'no-such-program' is not on the job's PATH"),
        ("true", {"launcher": "/no/mpiexec"}, "needs /no/mpiexec, which is not on the job's PATH"),
    ],
)
def test_what_cannot_be_launched_here_is_told_before_it_is_queued(
    command: Any, options: dict[str, Any], message: str, bin: Path
) -> None:
    job = cluster.Job(command, env_prepend={"PATH": bin}, **options)

    with pytest.raises(OptionsError, match=message):
        job.preview()


def request(program: Command | Call, **options: Any) -> Request:
    return Request(name="job", program=program, cwd=b"/tmp", options=options)


def test_the_script_of_a_cluster_holds_the_launcher(tmp_path: Path) -> None:
    made = cluster_scripts.make(
        Slurm(),
        with_launcher(request(Command((b"prog", b"a b")), launcher="srun", tasks=4, cores=2)),
        directory=str(tmp_path), stem="job", suffix="cluster", mark="cluster-0123456789abcdef",
    )  # fmt: skip

    assert made.exec_script is not None
    assert "srun --ntasks=4 --kill-on-bad-exit=1 --cpus-per-task=2 prog 'a b'" in str(
        made.exec_script
    )
    assert "#SBATCH --ntasks=4" in str(made.submission)


def test_ranks_are_spread_evenly_over_machines() -> None:
    launched = with_launcher(request(Command((b"prog",)), launcher="srun", tasks=7, nodes=2))

    assert isinstance(launched.program, Command)
    assert b"--ntasks-per-node=4" in launched.program.argv


def test_without_a_launcher_nothing_changes() -> None:
    plain = request(Command((b"prog",)), tasks=4)

    assert with_launcher(plain) == plain
    assert problems(plain) == []


# ---------------------------------------------------------------- a launcher of one's own


class Sequential:
    """Starts the ranks one after the other."""

    programs = ("sh",)

    def argv(self, parts: Any, ranks: Any) -> list[str]:
        (part,) = parts
        loop = 'n=$1; shift; while [ "$n" -gt 0 ]; do "$@"; n=$((n-1)); done'
        return ["sh", "-c", loop, "sequential", str(part.tasks), *part.argv, *ranks.more]


class Broken:
    def __init__(self) -> None:
        raise ZeroDivisionError("my mistake")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        name: EntryPoint(name, f"{__name__}:{value}", launchers.GROUP)
        for name, value in {"one": "Sequential", "bad": "Broken", "gone": "Nothing"}.items()
    }
    monkeypatch.setattr(launchers, "_theirs", lambda: points)


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_launcher_of_ones_own_is_an_entry_point(state_dir: Path) -> None:
    job = cluster.submit(["echo", "hi"], launcher="one there", tasks=2)

    assert job.get() == (0, "hi there\nhi there\n", "")
    assert launchers.names() == ["mpi", "mpiexec", "mpirun", "srun", "bad", "gone", "one"]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["bad", "gone"])
def test_a_launcher_that_cannot_be_loaded_is_told(name: str) -> None:
    with pytest.raises(OptionsError, match=rf"launcher '{name}' \(.*\) cannot be loaded"):
        launchers.get(name)


# ---------------------------------------------------------------- cluster launch


def launch(*words: str, bin: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{bin}:/usr/bin:/bin", **environ}
    return subprocess.run(
        [sys.executable, "-m", "cluster", "launch", *words], env=env, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_launch_becomes_the_launcher(bin: Path) -> None:
    done = launch("-n", "2", "-c", "3", "-e", "X=it's", "--", "sh", "-c",
                  'echo $RANK $OMP_NUM_THREADS "$X"; [ $RANK = 0 ] || exit 4', bin=bin)  # fmt: skip

    assert (done.returncode, done.stdout) == (4, "0 3 it's\n1 3 it's\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "environ", "count"),
    [
        ([], {}, 1),
        ([], {"CLUSTER_CORES": "4"}, 4),
        (["-c", "2"], {"CLUSTER_CORES": "4"}, 2),
        ([], {"SLURM_NTASKS": "3", "CLUSTER_CORES": "12"}, 3),
        (["-n", "2"], {"SLURM_NTASKS": "3"}, 2),
    ],
)
def test_launch_takes_what_the_job_has(
    words: list[str], environ: dict[str, str], count: int, bin: Path
) -> None:
    done = launch(*words, "--", "echo", "x", bin=bin, **environ)

    assert done.stdout == "x\n" * count, done.stderr


@pytest.mark.slow
def test_launch_shows_what_it_would_run(bin: Path) -> None:
    (bin / "srun").symlink_to("/bin/true")

    done = launch(
        "--dry-run", "-l", "srun -v", "-n", "1", "a", ":", "-n", "2", "b c", bin=bin,
        SLURM_JOB_ID="7",
    )  # fmt: skip

    start = "srun --ntasks=3 --kill-on-bad-exit=1 --cpus-per-task=1 -v /bin/sh -c"
    assert done.stdout.startswith(start), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-l", "nope", "true"], "launcher 'nope' is unknown"),
        (["-l", "/no/mpirun", "true"], "needs /no/mpirun, which is not on PATH"),
        ([], "No command was given"),
        (["-n", "0", "true"], "0 is not in the range"),
        (["-e", "X", "true"], "X"),
    ],
)
def test_launch_refuses_what_it_cannot_do(words: list[str], message: str, bin: Path) -> None:
    done = launch(*words, bin=bin)

    assert done.returncode == 2
    assert message in done.stderr
