"""Programs of several ranks: with the launcher that there is here, and with one's own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster import launchers
from cluster.errors import OptionsError
from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_function_is_refused_a_launcher_and_nothing_is_queued",
    "test_a_launcher_of_ones_own_starts_the_ranks",
    "test_an_unknown_launcher_is_told_with_those_there_are",
    "test_each_rank_of_a_command_knows_its_place",
]

# Open MPI's before Slurm's: a rank of it is in a job of Slurm as well, as the place 0.
_RANK = "echo rank ${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-$SLURM_PROCID}}"
_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

_OWN = '''
class Sequential:
    """Starts the ranks one after the other."""

    programs = ("sh",)

    def argv(self, parts, ranks):
        (part,) = parts
        loop = 'n=$1; shift; i=0; while [ $i -lt $n ]; do RANK=$i "$@" || exit; i=$((i+1)); done'
        return ["sh", "-c", loop, "sequential", str(part.tasks), *part.argv]
'''


def test_each_rank_of_a_command_knows_its_place(site: Site) -> None:
    launcher = "srun" if site.qtype == "slurm" else "mpi"
    programs = launchers.get(launcher).programs
    options = {"launcher": launcher, "tasks": 2, "env": _AS_ROOT}
    if not any(map(shutil.which, programs)):
        _check_that_it_is_missed(site, options, programs)
        return

    result = site.submit(["sh", "-c", _RANK], **options).get(site.patience_s)

    assert result.exitcode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["rank 0", "rank 1"]


def _check_that_it_is_missed(
    site: Site, options: dict[str, object], programs: Sequence[str]
) -> None:
    """Where jobs run elsewhere, only they can say what there is."""
    try:
        told = site.submit(["sh", "-c", _RANK], **options).get(site.patience_s).stderr
    except OptionsError as error:
        told = str(error)
    assert programs[0] in told
    assert "PATH" in told or "not found" in told


def test_a_launcher_of_ones_own_starts_the_ranks(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "contract_launcher-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: contract-launcher\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        f"[{launchers.GROUP}]\ncontract = contract_launcher:Sequential\n"
    )
    (tmp_path / "contract_launcher.py").write_text(_OWN)
    monkeypatch.syspath_prepend(str(tmp_path))

    job = site.submit(
        ["sh", "-c", 'echo $RANK "$1"; test $RANK != 1', "sh", "it's"], launcher="contract", tasks=2
    )

    assert job.get(site.patience_s) == (1, "0 it's\n1 it's\n", "")


def test_a_function_is_refused_a_launcher_and_nothing_is_queued(site: Site) -> None:
    before = len(site.jobs)

    with pytest.raises(OptionsError, match=r"needs a command, and .*work\.add is.*Submit a script"):
        site.submit(work.add, (2, 3), launcher="mpi", tasks=2)

    assert [job.id for job in site.jobs[before:]] == [None]


def test_an_unknown_launcher_is_told_with_those_there_are(site: Site) -> None:
    with pytest.raises(OptionsError, match=r"launcher 'mpirum' is unknown.*mpirun, srun"):
        site.submit(["true"], launcher="mpirum", tasks=2)
