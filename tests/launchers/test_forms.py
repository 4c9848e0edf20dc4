"""What each launcher is told: numbers in, words out; and who answers `--version`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cluster.errors import OptionsError
from cluster.launchers import argv, get, names, programs_of
from cluster.launchers.base import Part, Ranks, read_parts
from cluster.launchers.mpi import Mpi, flavour, words
from cluster.launchers.srun import Srun

OPEN_MPI_4 = "mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n"
OPEN_MPI_5 = "mpirun (Open MPI) 5.0.3\n\nReport bugs to https://www.open-mpi.org/community/help/\n"
MPICH = "HYDRA build details:\n    Version:      4.0.2\n    Release Date: Thu Apr  7 2022\n"
INTEL = "Intel(R) MPI Library for Linux* OS, Version 2021.11 Build 20231005\n"


@pytest.mark.parametrize(
    ("version", "kind"),
    [(OPEN_MPI_4, "openmpi"), (OPEN_MPI_5, "openmpi"), (MPICH, "hydra"), (INTEL, "hydra")],
)
def test_who_answers_is_known_by_what_it_says(version: str, kind: str) -> None:
    assert flavour(version) == kind


# ---------------------------------------------------------------- words


def test_ranks_of_a_cluster_get_their_cores_from_open_mpi() -> None:
    ranks = Ranks(tasks=8, cores=2, env=("X", "Y"))

    assert words("openmpi", ranks) == ["--map-by", "slot:PE=2", "-x", "X", "-x", "Y"]


def test_open_mpi_is_told_how_many_ranks_a_machine_gets() -> None:
    assert words("openmpi", Ranks(per_node=4)) == ["--map-by", "ppr:4:node"]
    assert words("openmpi", Ranks(per_node=4, cores=2)) == ["--map-by", "ppr:4:node:PE=2"]


def test_on_a_shared_machine_open_mpi_binds_no_rank_and_counts_no_core() -> None:
    shared = Ranks(tasks=2, cores=2, shared=True)

    assert words("openmpi", shared) == ["--oversubscribe", "--bind-to", "none"]


def test_mpich_is_told_the_same_in_its_own_words() -> None:
    ranks = Ranks(tasks=8, per_node=4, cores=2, env=("X",), more=("-l",))

    assert words("hydra", ranks) == ["-ppn", "4", "-bind-to", "core:2", "-l"]
    assert words("hydra", Ranks(tasks=2, cores=2, shared=True)) == []


def test_srun_is_told_all_that_a_step_does_not_inherit() -> None:
    ranks = Ranks(tasks=8, per_node=4, cores=2, more=("--mpi=pmix",))

    assert Srun().argv([Part(8, ("a", "b c"))], ranks) == [
        "srun", "--ntasks=8", "--kill-on-bad-exit=1", "--cpus-per-task=2", "--ntasks-per-node=4",
        "--mpi=pmix", "a", "b c",
    ]  # fmt: skip


def test_srun_is_no_launcher_of_this_machine() -> None:
    with pytest.raises(OptionsError, match="Use launcher='mpi'"):
        Srun().argv([Part(1, ("a",))], Ranks(shared=True))


@pytest.mark.parametrize(("rank", "said"), [(0, "server it's 'a b'"), (1, "two *"), (2, "two *")])
def test_with_srun_each_rank_becomes_its_own_program(rank: int, said: str) -> None:
    parts = [Part(1, ("echo", "server", "it's", "'a b'")), Part(2, ("echo", "two", "*"))]
    made = Srun().argv(parts, Ranks(tasks=3))

    shell = made[made.index("/bin/sh") :]
    done = subprocess.run(
        shell, env={**os.environ, "SLURM_PROCID": str(rank)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert done.stdout == f"{said}\n"


# ---------------------------------------------------------------- parts


def test_one_program_has_all_ranks() -> None:
    assert read_parts(["a", "-n", "b"], 4) == ([Part(4, ("a", "-n", "b"))], 4)
    assert read_parts(["a"], None) == ([Part(1, ("a",))], 1)


def test_programs_have_the_ranks_that_stand_before_them() -> None:
    parts = [Part(1, ("server",)), Part(3, ("worker", "-n", "9"))]

    assert read_parts(["-n", "1", "server", ":", "-np", "3", "worker", "-n", "9"], None) == (
        parts,
        4,
    )
    assert read_parts(["server", ":", "-n", "3", "worker", "-n", "9"], 4) == (parts, 4)


@pytest.mark.parametrize(
    ("line", "tasks", "message"),
    [
        ("a : b", 4, "2 of 2 programs have no -n"),
        ("a : -n 3 b", 3, "3 ranks with -n, and tasks is 3"),
        ("-n 2 a : -n 3 b", 4, "5 ranks with -n, and tasks is 4"),
        ("-n 2 a : -n 3 b", 6, "5 ranks with -n, and tasks is 6"),
        ("a : ", 2, "a program is missing beside ':'"),
        ("-n 0 a", 1, "'0' is no number of ranks"),
        ("-n x a", 1, "'x' is no number of ranks"),
    ],
)
def test_numbers_that_do_not_fit_are_told(line: str, tasks: int, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        read_parts(line.split(), tasks)


# ---------------------------------------------------------------- names


def test_the_launchers_are_known_by_name() -> None:
    assert names()[:4] == ["mpi", "mpiexec", "mpirun", "srun"]
    assert programs_of("mpi --verbose") == ("mpiexec", "mpirun")
    assert programs_of("/opt/mpich/bin/mpiexec.hydra -l") == ("/opt/mpich/bin/mpiexec.hydra",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mpirum", "launcher 'mpirum' is unknown. There are: mpi, mpiexec, mpirun, srun"),
        ("mpi 'x", "cannot be read"),
        ("  ", "launcher is empty"),
    ],
)
def test_a_launcher_that_is_none_is_told(line: str, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        argv(["a"], line, Ranks())


# ---------------------------------------------------------------- asking the program


def fake(folder: Path, name: str, version: str) -> None:
    """A program that says who it is, and with which words it was called."""
    (folder / "version").write_text(version)
    text = f"""#!/bin/sh
[ "$1" = --version ] && exec cat {folder}/version
printf '<%s>' "$0" "$@"; echo; exit 5
"""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def call(launcher: Mpi, folder: Path, ranks: Ranks) -> subprocess.CompletedProcess[str]:
    made = launcher.argv([Part(2, ("prog", "a b", "$X")), Part(1, ("other",))], ranks)
    environ = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(made, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("version", "own"),
    [(OPEN_MPI_4, "<--map-by><slot:PE=2><-x><X>"), (MPICH, "<-bind-to><core:2>")],
)
def test_the_program_is_asked_who_it_is_where_it_runs(
    version: str, own: str, tmp_path: Path
) -> None:
    fake(tmp_path, "mpiexec", version)

    done = call(Mpi("mpiexec", "mpirun"), tmp_path, Ranks(tasks=3, cores=2, env=("X",)))

    programs = "<-n><2><prog><a b><$X><:><-n><1><other>"
    assert (done.stdout, done.returncode) == (f"<{tmp_path}/mpiexec>{own}{programs}\n", 5)


def test_the_second_name_serves_where_the_first_is_missing(tmp_path: Path) -> None:
    fake(tmp_path, "my-mpirun", MPICH)

    done = call(Mpi("my-mpiexec", "my-mpirun"), tmp_path, Ranks(tasks=3))

    assert done.stdout.startswith(f"<{tmp_path}/my-mpirun><-n><2>")


def test_a_machine_without_mpi_says_what_to_install(tmp_path: Path) -> None:
    done = call(Mpi("my-mpiexec", "my-mpirun"), tmp_path, Ranks(tasks=3))

    assert done.returncode == 127
    assert "my-mpiexec or my-mpirun is not on PATH. Install Open MPI or MPICH" in done.stderr


def test_a_launcher_is_got_by_name() -> None:
    assert isinstance(get("srun"), Srun)
    assert get("mpi").programs == ("mpiexec", "mpirun")
