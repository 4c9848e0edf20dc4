"""Many jobs at once, and jobs seen from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import cluster
from cluster.testing import work
from cluster.testing.contract.site import Gate, Site

__all__ = [
    "test_a_job_submits_a_job_and_waits_for_it",
    "test_another_process_ends_a_job",
    "test_another_process_finds_jobs_by_the_beginning_of_their_name",
    "test_another_process_gets_a_job_s_value_by_its_id",
    "test_jobs_are_given_as_they_end",
    "test_many_jobs_at_once_all_give_their_own_result",
    "test_the_queue_lists_what_runs",
    "test_the_same_script_prints_the_same_everywhere",
    "test_zz_a_job_that_takes_too_long_is_ended",
]


# Nothing in it says which scheduler it is for.
SCRIPT = """
squares = [cluster.submit(lambda x: x * x, (n,), name=f"square {n}") for n in range(3)]
last = cluster.submit("echo done; exit 3", dependencies=squares)
never = cluster.submit(["true"], dependencies={"afterok": last})
print([job.get(60) for job in squares], tuple(last.get(60)))
try:
    never.get(60)
except cluster.JobCancelled as error:
    print(error.state, error.exitcode)
print([job.state for job in (*squares, last, never)])
"""
PRINTS = """\
[0, 1, 4] (3, 'done\\n', '')
CANCELLED None
['COMPLETED', 'COMPLETED', 'COMPLETED', 'FAILED', 'CANCELLED']
"""


def elsewhere(text: str, folder: str | os.PathLike[str] = ".") -> str:
    """Run Python in another process; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import cluster\n{text}"],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_many_jobs_at_once_all_give_their_own_result(site: Site) -> None:
    jobs = [site.job(["echo", number], name="many") for number in range(site.many)]

    cluster.submit_many(jobs)

    assert cluster.wait(jobs, site.patience_s * 4)
    assert [job.get().stdout for job in jobs] == [f"{number}\n" for number in range(site.many)]
    assert len({job.id for job in jobs}) == site.many


def test_a_job_submits_a_job_and_waits_for_it(site: Site) -> None:
    job = site.submit(work.submit_inside, (site.qtype, str(site.folder)))

    own, inner, value = job.get(site.patience_s)

    assert (own, value) == (job.id, 5)
    assert inner != own
    assert cluster.Job.load(inner, site.qtype).state == "COMPLETED"


def test_the_same_script_prints_the_same_everywhere(site: Site) -> None:
    assert elsewhere(SCRIPT, site.folder) == PRINTS


def test_another_process_gets_a_job_s_value_by_its_id(site: Site) -> None:
    value, failing = site.submit(work.add, (20, 3)), site.submit("echo out; exit 3")

    told = elsewhere(
        f"print(cluster.Job.load({value.id!r}, {site.qtype!r}).get(60))\n"
        f"print(tuple(cluster.Job.load({failing.id!r}, {site.qtype!r}).get(60)))"
    )

    assert told == "23\n(3, 'out\\n', '')\n"


def test_another_process_finds_jobs_by_the_beginning_of_their_name(site: Site) -> None:
    prefix = f"sweep-{os.urandom(3).hex()} [x]*"
    jobs = [site.submit(["echo", number], name=f"{prefix} {number}") for number in range(3)]
    other = site.submit(["true"], name="sweep-other")

    told = elsewhere(
        f"jobs = cluster.Queue.reconnect({prefix!r}, {site.qtype!r})\n"
        "print([job.id for job in jobs], [job.get(60)[0:2] for job in jobs])"
    )

    results = [(0, f"{number}\n") for number in range(3)]
    assert told == f"{[job.id for job in jobs]} {results}\n"
    site.end(other)


def test_another_process_ends_a_job(site: Site, gate: Gate) -> None:
    job = gate.running()

    elsewhere(f"cluster.cancel([{job.id!r}])")

    assert site.end(job) == ["CANCELLED"]


def test_jobs_are_given_as_they_end(site: Site, gate: Gate) -> None:
    last, first = gate.running(), site.submit(["true"])
    order = []

    for job in cluster.as_completed([last, first], site.patience_s):
        order.append(job.id)
        gate.open()

    assert order == [first.id, last.id]


def test_the_queue_lists_what_runs(site: Site, gate: Gate) -> None:
    job = gate.running()

    row = cluster.Queue(qtype=site.qtype)[job]

    assert (row.id, row.name, row.state) == (job.id, "gate", "RUNNING")


def test_zz_a_job_that_takes_too_long_is_ended(site: Site, over_time: cluster.Job | None) -> None:
    if over_time is None:
        assert site.missing["walltime"]
        return

    with pytest.raises(cluster.JobTimeout):
        over_time.get(site.over_time_s)
    assert over_time.state == "TIMEOUT"
