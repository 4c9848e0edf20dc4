"""Jobs that wait for jobs."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

import cluster
from cluster.testing.contract.site import Gate, Site

__all__ = [
    "test_a_chain_of_jobs_runs_in_order",
    "test_a_job_may_run_though_what_it_waited_for_failed",
    "test_a_job_may_wait_for_the_start_of_another",
    "test_a_job_that_can_never_run_says_which_dependency_it_was",
    "test_a_job_waits_for_several",
    "test_after_a_job_that_was_cancelled_before_it_began",
    "test_after_a_predecessor",
    "test_one_that_has_ended_already_counts",
]

RUNS, NEVER = "COMPLETED", "CANCELLED"


@pytest.mark.parametrize(
    ("type", "how", "becomes"),
    [
        ("afterok", "succeeds", RUNS), ("afterok", "fails", NEVER),
        ("afterok", "is cancelled", NEVER), ("afterany", "succeeds", RUNS),
        ("afterany", "fails", RUNS), ("afterany", "is cancelled", RUNS),
        ("afternotok", "succeeds", NEVER), ("afternotok", "fails", RUNS),
        ("afternotok", "is cancelled", RUNS),
    ],
)  # fmt: skip
def test_after_a_predecessor(site: Site, gate: Gate, type: str, how: str, becomes: str) -> None:
    before = gate.running(3 if how == "fails" else 0)
    with site.can(type):
        job = site.submit(["echo", "ran"], dependencies={type: before})
        assert job.state == "PENDING"

        _end(before, gate, how)

        assert site.end(job) == [becomes]
        assert job.stdout == ("ran\n" if becomes == RUNS else "")


def _end(job: cluster.Job, gate: Gate, how: str) -> None:
    if how == "is cancelled":
        job.cancel()
    else:
        gate.open()


@pytest.mark.parametrize(("type", "becomes"), [("afterok", NEVER), ("afterany", RUNS)])
def test_after_a_job_that_was_cancelled_before_it_began(
    site: Site, type: str, becomes: str
) -> None:
    before = site.submit(["true"], hold=True)
    job = site.submit(["echo", "ran"], dependencies={type: before})

    before.cancel()

    assert site.end(before, job) == ["CANCELLED", becomes]


def test_a_job_that_can_never_run_says_which_dependency_it_was(site: Site, gate: Gate) -> None:
    before = gate.running(3)
    job = site.submit(["true"], dependencies=before)
    last = site.submit(["true"], dependencies=job)

    gate.open()

    with pytest.raises(cluster.JobCancelled) as caught:
        job.get(site.patience_s)
    assert re.search(rf"\b{before.id}\b", caught.value.reason)
    assert site.end(last) == ["CANCELLED"]
    assert re.search(rf"\b{job.id}\b", last.reason)


def test_a_job_may_run_though_what_it_waited_for_failed(site: Site, gate: Gate) -> None:
    before = gate.running(3)
    job = site.submit(["echo", "ran"], dependencies=before, on_unsatisfiable="release")
    assert job.state == "PENDING"

    gate.open()

    assert site.end(before, job) == ["FAILED", RUNS]
    assert job.stdout == "ran\n"


def test_a_job_may_wait_for_the_start_of_another(site: Site, gate: Gate) -> None:
    before = gate.submit(hold=True)
    with site.can("after"):
        job = site.submit(["echo", "ran"], dependencies={"after": before})
        assert job.state == "PENDING"

        before.release()

        assert site.end(job) == ["COMPLETED"]
        site.until_state(before, "RUNNING")  # a cluster is asked now and then only


def test_a_job_waits_for_several(site: Site, gate: Gate) -> None:
    first, second = gate.running(), gate.submit(4)
    job = site.submit(["echo", "ran"], dependencies={"afterok": first, "afternotok": second})
    assert job.state == "PENDING"

    gate.open()

    assert site.end(job) == ["COMPLETED"]


def test_one_that_has_ended_already_counts(site: Site) -> None:
    good, bad = site.submit(["true"]), site.submit(["false"])
    site.end(good, bad)

    after_good = site.submit(["echo", "ran"], dependencies=good)
    after_bad = site.submit(["echo", "ran"], dependencies={"afterok": bad})
    after_all = site.submit(["echo", "ran"], dependencies={"afterany": [good, bad]})

    found = site.end(after_good, after_bad, after_all)
    assert found == ["COMPLETED", "CANCELLED", "COMPLETED"]


def test_a_chain_of_jobs_runs_in_order(site: Site) -> None:
    path = site.folder / "chain"
    jobs = [site.job(f"echo {number} >> {path}") for number in range(4)]
    for before, job in pairwise(jobs):
        job.after(before)

    cluster.submit_many(jobs)

    assert site.end(*jobs) == ["COMPLETED"] * 4
    assert path.read_text() == "0\n1\n2\n3\n"
