"""Where a job runs: directory, environment, names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_command_runs_between_prologue_and_epilogue",
    "test_a_job_has_the_directory_it_was_given",
    "test_a_job_has_the_submitter_s_directory",
    "test_a_job_has_the_submitter_s_umask",
    "test_a_job_inherits_the_submitter_s_environment",
    "test_a_job_knows_what_it_is",
    "test_a_machine_without_modules_runs_a_job_that_asks_for_some",
    "test_a_name_may_be_what_people_write",
    "test_several_jobs_of_one_name_do_not_meet",
    "test_the_environment_is_changed_as_asked",
]


def test_a_job_has_the_submitter_s_directory(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = site.folder / 'it\'s a "dir"'
    folder.mkdir()
    monkeypatch.chdir(folder)

    assert site.submit(["pwd"]).get(site.patience_s).stdout == f"{folder}\n"


def test_a_job_has_the_directory_it_was_given(site: Site) -> None:
    folder = site.folder / "given $HOME"
    folder.mkdir()

    assert site.submit(work.surroundings, dir=folder).get(site.patience_s)["cwd"] == str(folder)


def test_a_job_inherits_the_submitter_s_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = 'it\'s "here" $HOME, é and 100% \\'
    monkeypatch.setenv("CONTRACT_HERE", value)

    found = site.submit(work.surroundings, ("CONTRACT_HERE", "PATH")).get(site.patience_s)

    assert found["CONTRACT_HERE"] == value
    assert os.environ["PATH"] in found["PATH"]


def test_the_environment_is_changed_as_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_OLD", "old")
    monkeypatch.setenv("CONTRACT_GONE", "here")
    names = ("CONTRACT_SET", "CONTRACT_OLD", "CONTRACT_NEW", "CONTRACT_GONE", "OMP_NUM_THREADS")

    job = site.submit(
        work.surroundings, names,
        env={"CONTRACT_SET": "$(id) 'two'\nlines", "OMP_NUM_THREADS": "7"},
        env_prepend={"CONTRACT_OLD": "front"}, env_append={"CONTRACT_NEW": "new"},
        env_unset=["CONTRACT_GONE"],
    )  # fmt: skip

    found = job.get(site.patience_s)
    assert [found[name] for name in names] == [
        "$(id) 'two'\nlines", "front:old", "new", None, "7",
    ]  # fmt: skip


def test_a_job_knows_what_it_is(site: Site) -> None:
    names = ("CLUSTER_JOB_ID", "CLUSTER_JOB_NAME", "CLUSTER_CORES", "CLUSTER_MEMORY_MIB",
             "OMP_NUM_THREADS", "CLUSTER_ARRAY_INDEX")  # fmt: skip

    job = site.submit(work.surroundings, names, name="who am I?", cores=2, mem=300)

    found = job.get(site.patience_s)
    assert [found[name] for name in names] == [job.id, "who am I?", "2", "300", "2", None]


def test_a_job_has_the_submitter_s_umask(site: Site) -> None:
    before = os.umask(0o027)
    try:
        own, given = site.submit("umask"), site.submit("umask", umask="0077")
    finally:
        os.umask(before)

    found = [job.get(site.patience_s).stdout for job in (own, given)]
    assert found == ["0027\n", "0077\n"]


def test_a_command_runs_between_prologue_and_epilogue(site: Site) -> None:
    job = site.submit(
        "greet; exit 3", prologue="greet() { echo hello; }", epilogue="echo $CLUSTER_EXITCODE"
    )

    assert job.get(site.patience_s) == (3, "hello\n3\n", "")


def test_a_machine_without_modules_runs_a_job_that_asks_for_some(site: Site) -> None:
    result = site.submit(["echo", "ran"], modules=["contract-none/1.0"]).get(site.patience_s)

    assert result.stdout == "ran\n"


@pytest.mark.parametrize(
    "name", ["a b", "it's", '"quoted"', "$(id)", "-n", "1st", "a/b", "100%j", "é", "#$ -x", "a,b;c"]
)
def test_a_name_may_be_what_people_write(site: Site, name: str) -> None:
    job = site.submit(["printenv", "CLUSTER_JOB_NAME"], name=name)

    assert (job.get(site.patience_s).stdout, job.name) == (f"{name}\n", name)


def test_several_jobs_of_one_name_do_not_meet(site: Site) -> None:
    jobs = [site.submit(["echo", number], name="twin") for number in range(4)]

    assert [job.get(site.patience_s).stdout for job in jobs] == ["0\n", "1\n", "2\n", "3\n"]
