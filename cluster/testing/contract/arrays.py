"""Many jobs from one."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

import cluster
from cluster.testing import work
from cluster.testing.contract.site import Gate, Site

__all__ = [
    "test_a_failing_element_fails_the_array_and_no_other_element",
    "test_a_job_may_wait_for_one_element",
    "test_a_job_waits_for_a_whole_array",
    "test_an_array_of_a_function_gives_a_list_of_values",
    "test_an_array_of_commands_gives_a_list_in_order_of_index",
    "test_an_element_that_raised_raises_in_get",
    "test_no_more_elements_run_at_once_than_asked",
    "test_one_element_is_cancelled_and_the_others_go_on",
]


def test_an_array_of_commands_gives_a_list_in_order_of_index(site: Site) -> None:
    with site.can("array"):
        job = site.submit("echo $CLUSTER_ARRAY_INDEX $CLUSTER_JOB_ID", array="2-8:3")

        results = job.get(site.patience_s)

        assert [result.stdout for result in results] == [
            f"2 {job.id}_2\n", f"5 {job.id}_5\n", f"8 {job.id}_8\n",
        ]  # fmt: skip
        assert job.state == "COMPLETED"


def test_an_array_of_a_function_gives_a_list_of_values(site: Site) -> None:
    with site.can("array"):
        assert site.submit(work.index_of_this, array="1-4").get(site.patience_s) == [1, 2, 3, 4]


def test_a_failing_element_fails_the_array_and_no_other_element(site: Site) -> None:
    with site.can("array"):
        job = site.submit("exit $((CLUSTER_ARRAY_INDEX == 2 ? 3 : 0))", array="1-3")

        results = job.get(site.patience_s)

        assert [result.exitcode for result in results] == [0, 3, 0]
        assert job.state == "FAILED"
        element = cluster.Job.load(f"{job.id}_2", site.qtype)
        assert (element.state, element.exitcode) == ("FAILED", 3)


def test_an_element_that_raised_raises_in_get(site: Site) -> None:
    with site.can("array"):
        job = site.submit(work.index_of_this, (3,), array="1-3")

        with pytest.raises(ValueError, match="element 3"):
            job.get(site.patience_s)


def test_no_more_elements_run_at_once_than_asked(site: Site) -> None:
    with site.can("max_running"):
        job = site.submit(work.sleep_through, (0.4,), array="1-3%1")

        times = sorted(job.get(site.patience_s))

        assert all(end <= begin for (_, end), (begin, _) in pairwise(times))


def test_a_job_waits_for_a_whole_array(site: Site) -> None:
    with site.can("array"):
        good = site.submit(["true"], array="1-3")
        bad = site.submit("exit $((CLUSTER_ARRAY_INDEX == 2 ? 3 : 0))", array="1-3")
        after_good = site.submit(["true"], dependencies=good)
        after_bad = site.submit(["true"], dependencies=bad)
        anyhow = site.submit(["true"], dependencies={"afterany": bad})

        assert site.end(after_good, after_bad, anyhow) == ["COMPLETED", "CANCELLED", "COMPLETED"]
        assert re.search(rf"\b{bad.id}(_2)?\b", after_bad.reason)


def test_a_job_may_wait_for_one_element(site: Site) -> None:
    with site.can("array"):
        array = site.submit("exit $((CLUSTER_ARRAY_INDEX == 2 ? 3 : 0))", array="1-2")
        with site.can("elements"):
            good = site.submit(["true"], dependencies=f"afterok:{array.id}_1")
            bad = site.submit(["true"], dependencies=f"afterok:{array.id}_2")

            assert site.end(good, bad) == ["COMPLETED", "CANCELLED"]


def test_one_element_is_cancelled_and_the_others_go_on(site: Site, gate: Gate) -> None:
    with site.can("array"):
        array = gate.submit(array="1-2")
        element = cluster.Job.load(f"{array.id}_2", site.qtype)
        site.until_state(element, "RUNNING")

        element.cancel()
        assert site.end(element) == ["CANCELLED"]  # before the gate lets it end by itself
        gate.open()

        other = cluster.Job.load(f"{array.id}_1", site.qtype)
        assert site.end(array, element, other) == ["CANCELLED", "CANCELLED", "COMPLETED"]
