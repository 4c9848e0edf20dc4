"""The contract, kept by a real Grid Engine (`make test-clusters` brings one up)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster import schedulers
from cluster.testing.contract import *  # noqa: F403
from cluster.testing.contract import Site

pytestmark = [pytest.mark.clusters]


@pytest.fixture(scope="module")
def site(module_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Grid Engine looks at limits every few seconds."""
    os.environ["CLUSTER_QTYPE"] = "sge"
    found = schedulers.probe("sge")
    assert found.version, f"no Grid Engine answers: {found.problem or 'qsub is not on PATH'}"
    missing = schedulers.words_of("sge").missing
    folder = tmp_path_factory.mktemp("jobs")
    return Site("sge", folder, missing=missing, walltime_s=5.0, over_time_s=120.0)
