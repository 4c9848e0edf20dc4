"""What a job may take: cores, memory, time."""

from __future__ import annotations

from itertools import pairwise

import pytest

import cluster
from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_job_that_takes_too_much_memory_is_ended",
    "test_a_job_within_its_limits_is_not_ended",
    "test_jobs_of_all_cores_do_not_run_at_once",
    "test_what_a_job_asked_for_is_shown",
]


def test_a_job_that_takes_too_much_memory_is_ended(site: Site) -> None:
    job = site.submit(work.fill, (site.memory_mib * 3,), mem=site.memory_mib)
    error = (
        (cluster.JobFailed, MemoryError)
        if "memory_limit" in site.missing
        else cluster.JobOutOfMemory
    )

    with pytest.raises(error):
        job.get(site.patience_s)


def test_a_job_within_its_limits_is_not_ended(site: Site) -> None:
    job = site.submit(work.add, (1, 2), mem=site.memory_mib, time="5m")

    assert job.get(site.patience_s) == 3


def test_jobs_of_all_cores_do_not_run_at_once(site: Site) -> None:
    cores = cluster.Queue(qtype=site.qtype).resources().cores

    jobs = [site.submit(work.sleep_through, (0.3,), cores=cores) for _ in range(3)]

    times = sorted(job.get(site.patience_s) for job in jobs)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(times))


def test_what_a_job_asked_for_is_shown(site: Site) -> None:
    job = site.submit(["sleep", "0.2"], cores=2, mem=300, time="10m", name="asks")
    site.end(job)

    info = cluster.Job.load(str(job.id), site.qtype).queue_info
    assert info is not None
    assert (info.name, info.cores, info.memory_mib, info.walltime_s) == ("asks", 2, 300, 600.0)
    usage = job.usage
    assert usage is not None
    assert usage.submitted
    assert usage.started
    assert usage.ended
    assert usage.submitted - 1 <= usage.started <= usage.ended
    assert usage.host
