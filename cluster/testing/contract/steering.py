"""What can be done to jobs that are queued or run."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

import cluster
from cluster.testing.contract.site import Gate, Site

__all__ = [
    "test_a_cancelled_job_that_runs_is_gone",
    "test_a_cancelled_job_that_waits_never_starts",
    "test_a_held_job_waits_until_it_is_released",
    "test_a_job_does_not_begin_before_its_time",
    "test_a_job_gets_a_signal",
    "test_a_job_is_queued_again_under_its_id",
    "test_a_job_is_stopped_and_goes_on",
    "test_a_job_that_has_ended_stays_as_it_is",
    "test_a_waiting_job_is_held_and_released",
    "test_jobs_that_nobody_knows_are_told_by_name",
    "test_waiting_ends_at_its_time_and_the_job_goes_on",
]


def test_a_cancelled_job_that_waits_never_starts(site: Site) -> None:
    path = site.folder / "never"
    job = site.submit(["touch", path], hold=True)

    job.cancel()

    with pytest.raises(cluster.JobCancelled):
        job.get(site.patience_s)
    assert (job.state, job.exitcode, path.exists()) == ("CANCELLED", None, False)


def test_a_cancelled_job_that_runs_is_gone(site: Site, gate: Gate) -> None:
    path = site.folder / "pid"
    job = site.submit(f"echo $$ > {path}.new; mv {path}.new {path}; sleep 300; echo no")
    site.until(path.exists, "running")

    job.cancel()

    with pytest.raises(cluster.JobCancelled):
        job.get(site.patience_s)
    site.until(lambda: not _is_alive(int(path.read_text())), "gone")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def test_a_held_job_waits_until_it_is_released(site: Site) -> None:
    job = site.submit(["echo", "ran"], hold=True)
    other = site.submit(["true"])
    site.end(other)
    assert job.state == "HELD"

    job.release()

    assert job.get(site.patience_s).stdout == "ran\n"


def test_a_waiting_job_is_held_and_released(site: Site, gate: Gate) -> None:
    before = gate.running()
    job = site.submit(["echo", "ran"], dependencies={"afterany": before})
    with site.can("hold"):
        job.hold()
        gate.open()
        site.end(before)
        site.until_state(job, "HELD")

        job.release()

        assert job.get(site.patience_s).stdout == "ran\n"


def test_a_job_does_not_begin_before_its_time(site: Site) -> None:
    with site.can("begin"):
        job = site.submit("date +%s.%N", begin=timedelta(seconds=3))
        usage = job.usage
        assert usage is not None
        assert usage.submitted is not None
        assert job.state == "PENDING"

        began = float(job.get(site.patience_s).stdout)

        assert began >= usage.submitted + 2.9


def test_a_job_is_stopped_and_goes_on(site: Site, gate: Gate) -> None:
    job = gate.running()
    with site.can("suspend"):
        job.suspend()
        site.until_state(job, "SUSPENDED")
        gate.open()

        job.resume()

        assert site.end(job) == ["COMPLETED"]


def test_a_job_gets_a_signal(site: Site) -> None:
    path = site.folder / "listens"
    script = f"trap 'echo got it; exit 5' USR1; touch {path}; while :; do sleep 0.05; done"
    job = site.submit(["bash", "-c", script])
    site.until(path.exists, "running")
    with site.can("signal"):
        job.signal("USR1")

        assert job.get(site.patience_s)[:2] == (5, "got it\n")


def test_a_job_is_queued_again_under_its_id(site: Site, gate: Gate) -> None:
    path = site.folder / "attempts"
    job = site.submit(f"echo x >> {path}; {' '.join(_quoted(gate.command()))}")
    site.until(path.exists, "running")
    with site.can("requeue"):
        job.requeue()
        site.until(lambda: path.read_text() == "x\nx\n", "started again", site.requeue_s)
        gate.open()

        assert site.end(job) == ["COMPLETED"]


def _quoted(words: list[str]) -> list[str]:
    import shlex

    return [shlex.quote(word) for word in words]


def test_a_job_that_has_ended_stays_as_it_is(site: Site) -> None:
    job = site.submit(["true"])
    site.end(job)

    job.cancel()

    assert (job.update().state, job.exitcode) == ("COMPLETED", 0)


def test_waiting_ends_at_its_time_and_the_job_goes_on(site: Site, gate: Gate) -> None:
    job = gate.running()

    with pytest.raises(cluster.WaitTimeout):
        job.wait(0.2)

    gate.open()
    assert site.end(job) == ["COMPLETED"]


def test_jobs_that_nobody_knows_are_told_by_name(site: Site) -> None:
    with pytest.raises(cluster.UnknownJob, match="99999999"):
        cluster.Job.load(99999999, site.qtype)
