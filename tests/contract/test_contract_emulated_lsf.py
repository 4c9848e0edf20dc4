"""The contract, kept by the emulated LSF through our own dialect of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster
from cluster import schedulers
from cluster.testing.contract import *  # noqa: F403
from cluster.testing.contract import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(module_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A private cluster."""
    saved = dict(os.environ)
    try:
        with cluster.emulate("lsf", private=True, cores=8) as env:
            os.environ.update(env)
            for cached in (schedulers.probe, schedulers.words_of, schedulers.get):
                cached.cache_clear()
            found = schedulers.probe("lsf")
            assert found.version, found.problem
            folder = tmp_path_factory.mktemp("jobs")
            # tests/emulation/lsf has a queue whose limit is a second.
            missing = {"walltime": "a limit in LSF is whole minutes, too long to wait for here"}
            assert not schedulers.words_of("lsf").missing
            yield Site("lsf", folder, missing=missing)
    finally:
        os.environ.clear()
        os.environ.update(saved)
