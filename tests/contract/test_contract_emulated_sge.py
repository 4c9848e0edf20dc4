"""The contract, kept by the emulated Grid Engine through our own dialect of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster
from cluster import schedulers
from cluster.testing.contract import *  # noqa: F403
from cluster.testing.contract import Site


@pytest.fixture(scope="module")
def site(module_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A private cluster."""
    saved = dict(os.environ)
    try:
        with cluster.emulate("sge", private=True, cores=8) as env:
            os.environ.update(env)
            for cached in (schedulers.probe, schedulers.words_of, schedulers.get):
                cached.cache_clear()  # another one's
            found = schedulers.probe("sge")
            assert found.version == "8.1.9", found.problem
            missing = schedulers.words_of("sge").missing
            folder = tmp_path_factory.mktemp("jobs")
            yield Site("sge", folder, missing=missing, walltime_s=2.0)
    finally:
        os.environ.clear()
        os.environ.update(saved)
