"""Pipelines: values go from step to step, and what is done is not run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster import _pipeline_submit, queue
from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_pipeline_goes_on_where_it_failed",
    "test_a_step_of_a_pipeline_may_be_an_array",
    "test_steps_get_the_values_of_steps_before_and_are_run_once",
    "test_steps_of_a_submitter_that_was_killed_are_not_queued_again",
]


def _place(site: Site) -> Path:
    return site.folder / f"pipeline-{os.urandom(4).hex()}"


def _pipeline(site: Site, place: Path) -> cluster.Pipeline:
    return cluster.Pipeline("contract", directory=place, **site.words())


def _submit(site: Site, pipeline: cluster.Pipeline) -> list[str]:
    """Submit, and give the names of the steps that are run."""
    made = pipeline.submit()
    site.jobs += queue.flatten(made)
    return list(made)


def test_steps_get_the_values_of_steps_before_and_are_run_once(site: Site) -> None:
    def made() -> cluster.Pipeline:
        pipeline = _pipeline(site, place)
        first = pipeline.add(work.add, (2, 3), name="first")
        pipeline.add(work.add, (first.output, 10), name="second")
        pipeline.add("echo $CLUSTER_JOB_NAME", name="last", depends_on="second")
        return pipeline

    place = _place(site)
    pipeline = made()
    assert _submit(site, pipeline) == ["first", "second", "last"]

    found = pipeline.get(site.patience_s)

    assert (found["first"], found["second"]) == (5, 15)
    assert found["last"].stdout == "contract.last\n"
    again = made()
    assert _submit(site, again) == []
    assert again.get(site.patience_s)["second"] == 15


def test_a_pipeline_goes_on_where_it_failed(site: Site) -> None:
    def made() -> cluster.Pipeline:
        pipeline = _pipeline(site, place)
        pipeline.add(f"echo x >> {ran}", name="good")
        pipeline.add(["test", "-e", go], name="bad", depends_on="good")
        pipeline.add(["true"], name="behind", depends_on="bad")
        return pipeline

    place, ran, go = _place(site), site.folder / "good-ran", site.folder / "go"
    pipeline = made()
    _submit(site, pipeline)
    assert not pipeline.wait(site.patience_s)
    assert pipeline.status() == {"good": "COMPLETED", "bad": "FAILED", "behind": "CANCELLED"}

    go.touch()
    pipeline = made()
    assert _submit(site, pipeline) == ["bad", "behind"]

    assert pipeline.wait(site.patience_s)
    assert ran.read_text() == "x\n"


class _Killed(BaseException):
    """In the place of a signal that nobody can handle."""


def test_steps_of_a_submitter_that_was_killed_are_not_queued_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> cluster.Pipeline:
        pipeline = _pipeline(site, place)
        first = pipeline.add(work.add, (2, 3), name="first")
        pipeline.add(f"echo x >> {ran}", name="behind", depends_on=first, comment="my remark")
        return pipeline

    def die(scheduler: Any, *args: Any) -> list[str]:
        queued.extend(real(scheduler, *args))
        raise _Killed

    place = _place(site)
    ran, queued = place.with_suffix(".ran"), list[str]()
    before, scheduler = made(), queue.scheduler_for(site.qtype)
    real = type(scheduler).submit
    with monkeypatch.context() as patch:
        patch.setattr(type(scheduler), "submit", die)
        patch.setattr(_pipeline_submit, "_take_back", lambda *_: False)
        with pytest.raises(_Killed):
            before.submit()
    site.jobs += [cluster.Job.load(id, site.qtype) for id in queued]

    again = made()

    assert _submit(site, again) == []
    assert again.wait(site.patience_s, progress=False)
    assert (again["first"].get(), ran.read_text()) == (5, "x\n")
    assert [str(step.job.id) for step in again.steps.values() if step.job] == queued


def test_a_step_of_a_pipeline_may_be_an_array(site: Site) -> None:
    pipeline = _pipeline(site, _place(site))
    parts = pipeline.add(work.add, items=[5, 7, 9], name="parts")
    pipeline.add(_total, parts.output, name="total")
    with site.can("array"):
        _submit(site, pipeline)

        found = pipeline.get(site.patience_s)

        assert found == {"parts": [5, 7, 9], "total": 21}


def _total(values: list[Any]) -> Any:
    return sum(values)
