"""The contract, kept by the emulated OpenPBS and Torque through our own dialect of them."""

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


@pytest.fixture(scope="module", params=["pbs", "torque"])
def site(
    request: pytest.FixtureRequest, module_state: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A private cluster of each flavour."""
    saved = dict(os.environ)
    try:
        with cluster.emulate(request.param, private=True, cores=8) as env:
            os.environ.update(env)
            for cached in (schedulers.probe, schedulers.words_of, schedulers.get):
                cached.cache_clear()  # the other flavour's
            found = schedulers.probe("torque")
            assert found.version, found.problem
            missing = schedulers.words_of("torque").missing
            folder = tmp_path_factory.mktemp("jobs")
            yield Site("torque", folder, missing=missing, walltime_s=2.0)
    finally:
        os.environ.clear()
        os.environ.update(saved)
