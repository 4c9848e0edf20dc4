"""The contract, kept by a real Slurm (`make test-clusters` brings one up)."""

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
    """Slurm counts walltime in minutes, looks at it every half a minute, and lets who is
    queued again wait for two.
    """
    os.environ["CLUSTER_QTYPE"] = "slurm"
    found = schedulers.probe("slurm")
    assert found.version, f"no Slurm answers: {found.problem or 'sbatch is not on PATH'}"
    missing = schedulers.words_of("slurm").missing
    folder = tmp_path_factory.mktemp("jobs")
    return Site(
        "slurm", folder, missing=missing, walltime_s=60.0, over_time_s=180.0, requeue_s=200.0
    )
