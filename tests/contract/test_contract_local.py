"""The contract, kept by the queue of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.testing.contract import *  # noqa: F403
from cluster.testing.contract import Site


@pytest.fixture(scope="module")
def site(module_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four cores at most: the suite's jobs mostly wait."""
    os.environ["CLUSTER_QTYPE"] = "local"
    os.environ["CLUSTER_CFG_LOCAL_CORES"] = "4"
    return Site("local", tmp_path_factory.mktemp("jobs"), patience_s=20.0)
