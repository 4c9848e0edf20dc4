"""A Grid Engine, emulated, that cannot start jobs: what its user sees, from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cluster

pytestmark = [pytest.mark.emulation]

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def sge(emulated: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    emulated("sge")


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        ("-o {}/later/x", "could not start it: can't open output file"),
        ("-wd {}/later", "could not start it: can't chdir to"),
    ],
)
def test_a_job_in_error_ends_the_wait_and_runs_once_it_is_released(
    tmp_path: Path, directive: str, reason: str
) -> None:
    job = cluster.submit("true", extra_directives=directive.format(tmp_path))
    after = cluster.submit("true", dependencies=[job])
    with pytest.raises(cluster.JobStuck, match=reason):
        job.wait(PATIENCE_S)
    with pytest.raises(cluster.JobStuck, match=f"waits for job {job.id}"):
        after.wait(PATIENCE_S)
    assert job.state == "HELD"

    (tmp_path / "later").mkdir()
    job.release()

    assert cluster.wait([job, after], PATIENCE_S)


def test_a_job_in_error_is_cancelled() -> None:
    job = cluster.submit("true", extra_directives="-wd /nonexistent/x")
    with pytest.raises(cluster.JobStuck):
        job.get(PATIENCE_S)

    job.cancel()

    assert not job.wait(PATIENCE_S)
    assert job.state == "CANCELLED"
