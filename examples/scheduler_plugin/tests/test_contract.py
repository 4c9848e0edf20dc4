"""The contract of `cluster`, kept by Tiny.  Run it with pytest where both are installed."""

import os

import pytest
from cluster_tiny import Tiny

from cluster.testing.contract import *  # noqa: F403
from cluster.testing.contract import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    os.environ["CLUSTER_QTYPE"] = "tiny"
    os.environ["CLUSTER_STATE_DIR"] = str(folder / "state")  # where cluster remembers jobs
    os.environ["TINY_DIR"] = str(folder / "tiny")
    os.environ["CLUSTER_CFG_SCHEDULER_POLL_S"] = "0.2"
    return Site("tiny", folder, missing=Tiny.missing, walltime_s=2.0, memory_mib=400, many=20)
