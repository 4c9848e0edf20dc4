"""A real Grid Engine that cannot start a job, and what a user sees of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import cluster
from cluster import schedulers

pytestmark = [pytest.mark.clusters]

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def sge(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_QTYPE", "sge")
    monkeypatch.chdir(tmp_path)
    found = schedulers.probe("sge")
    assert found.version, f"no Grid Engine answers: {found.problem or 'qsub is not on PATH'}"


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        ("-o /nonexistent/x", "could not start it: can't open output file"),
        ("-wd /nonexistent/x", "could not start it: can't chdir to /nonexistent/x"),
    ],
)
def test_a_job_in_error_ends_the_wait_with_grid_engine_s_reason(
    directive: str, reason: str
) -> None:
    job = cluster.submit("true", extra_directives=directive)
    after = cluster.submit("true", dependencies=[job])

    with pytest.raises(cluster.JobStuck, match=reason):
        job.get(PATIENCE_S)
    with pytest.raises(cluster.JobStuck, match=f"waits for job {job.id}.*{reason}"):
        after.wait(PATIENCE_S)

    assert (job.state, job.done) == ("HELD", False)
    cluster.cancel([after, job])
    assert not cluster.wait([job, after], PATIENCE_S)
    assert (job.state, after.state) == ("CANCELLED", "CANCELLED")


def test_a_job_in_error_runs_when_the_cause_is_gone_and_it_is_released(tmp_path: Path) -> None:
    missing = tmp_path / "later"
    job = cluster.submit("true", extra_directives=f"-o {missing}/x")
    with pytest.raises(cluster.JobStuck):
        job.wait(PATIENCE_S)

    missing.mkdir()
    job.release()

    assert job.wait(PATIENCE_S)


def test_an_array_goes_on_until_only_elements_in_error_are_left(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    job = cluster.submit(
        "true", array="1-3", extra_directives=f"-wd {tmp_path}/$TASK_ID -o {tmp_path}/$TASK_ID/x"
    )

    with pytest.raises(cluster.JobStuck):
        job.wait(PATIENCE_S)

    cluster.cancel(job)
    assert not cluster.wait(job, PATIENCE_S)
    assert job.queue_info is not None
    assert job.queue_info.counts == {"CANCELLED": 2, "COMPLETED": 1}
