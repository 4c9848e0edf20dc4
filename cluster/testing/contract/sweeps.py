"""Sweeps: every combination of parameters, once."""

from __future__ import annotations

import os
from typing import Any

import cluster
from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_sweep_explains_itself_to_another_process",
    "test_only_the_runs_of_a_sweep_that_failed_are_run_again",
]


def _sweep(site: Site, command: Any, name: str, **words: Any) -> cluster.Sweep:
    place = site.folder / f"{name}-{os.urandom(4).hex()}.sweep"
    return cluster.Sweep(command, name=name, directory=place, **site.words(**words))


def _submit(site: Site, sweep: cluster.Sweep) -> list[int]:
    """Submit, and give the numbers of what is run."""
    runs = sweep.submit()
    ids = dict.fromkeys(run.job.partition("_")[0] for run in runs)  # of an array, the whole
    site.jobs += [cluster.Job.load(id, site.qtype) for id in ids]
    return [run.number for run in runs]


def test_a_sweep_explains_itself_to_another_process(site: Site) -> None:
    sweep = _sweep(
        site, work.add, "adds", grid={"a": [1, 2]}, defaults={"b": 10}, mode="individual"
    )
    assert _submit(site, sweep) == [1, 2]
    assert sweep.wait(site.patience_s, progress=False)

    found = cluster.Sweep.load(sweep.directory)

    told = [(row["a"], row["b"], row["value"], row["state"]) for row in found.results()]
    assert told == [(1, 10, 11, "COMPLETED"), (2, 10, 12, "COMPLETED")]
    assert found.submit() == []


def test_only_the_runs_of_a_sweep_that_failed_are_run_again(site: Site) -> None:
    go = site.folder / "sweep-goes"
    text = f"n() {{ echo $1; test $1 != n=2 || test -e {go}; }}; n"
    sweep = _sweep(site, text, "commands", grid={"n": [1, 2, 3]})
    with site.can("array"):
        assert _submit(site, sweep) == [1, 2, 3]
        assert not sweep.wait(site.patience_s, progress=False)
        assert [row["n"] for rows in sweep.failures().values() for row in rows] == [2]

        go.touch()
        assert _submit(site, sweep) == [2]

        assert sweep.wait(site.patience_s, progress=False)
        assert [row["value"].stdout for row in sweep.results()] == ["n=1\n", "n=2\n", "n=3\n"]
