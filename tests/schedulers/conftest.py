"""Schedulers of plain dicts for the tests of this folder; see `fake_cluster`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fake_cluster import Site, Words

import cluster
from cluster import schedulers
from cluster.registry import Registry
from cluster.schedulers._endings import Policy
from cluster.schedulers.command import CommandScheduler


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def open_scheduler(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CommandScheduler]:
    """Makes schedulers as several processes would: each knows only what is on disk."""

    def make(words: Words | None = None, **patience: float) -> CommandScheduler:
        patient = {"shortest_s": 0.02, "longest_s": 0.1, "grace_s": 0.4, "settle_s": 0.2}
        scheduler = CommandScheduler(
            words or Words(),
            registry=Registry("slurm", str(tmp_path / "registry")),
            policy=Policy(**{**patient, **patience}),
            programs=site,
        )
        scheduler._submitter._sleep = lambda seconds: None
        monkeypatch.setattr(schedulers, "get", lambda qtype: scheduler)
        return scheduler

    return make


@pytest.fixture
def scheduler(open_scheduler: Callable[..., CommandScheduler]) -> CommandScheduler:
    return open_scheduler()


@pytest.fixture
def emulated(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has this process submit to an emulated scheduler, until the test is over."""
    with ExitStack() as stack:

        def start(family: str) -> None:
            env = stack.enter_context(cluster.emulate(family, private=True, cores=2))
            for name, value in env.items():
                monkeypatch.setenv(name, value)
            for cached in (schedulers.probe, schedulers.words_of, schedulers.get):
                cached.cache_clear()

        yield start
