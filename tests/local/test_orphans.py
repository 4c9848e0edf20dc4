"""Whose a child is that the node did not start."""

import os
import signal
import subprocess
import sys

import pytest
from node_driver import until

from cluster.local import processes
from cluster.local.orphans import Orphans

MARK = "0123456789abcdef"


@pytest.fixture
def child():
    """A child in a session of its own that ends when it is told to."""
    environment = {**os.environ, "CLUSTER_JOB_TOKEN": f"{MARK}.7.1"}
    process = subprocess.Popen(["sleep", "300"], env=environment, start_new_session=True)
    yield process
    if process.returncode is None:
        process.kill()
        process.wait()


def is_zombie(pid: int) -> bool:
    found = processes.look(pid)
    return found is not None and not found.lives


def test_a_child_is_known_by_its_token(child):
    orphans = Orphans(MARK)
    until(lambda: orphans.adopt([child.pid], leaders={(7, 1): 99}, ours=lambda s: False) == []
          and child.pid in orphans, "the child's environment")  # fmt: skip

    assert orphans.left_by((7, 1)) == [child.pid]


@pytest.mark.skipif(sys.platform != "linux", reason="zombies are told by /proc")
def test_a_zombie_is_nobodys_leftover_even_if_nobody_has_named_it_yet(child):
    orphans = Orphans(MARK)
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: is_zombie(child.pid), "the child's end")

    strays = orphans.adopt([child.pid], leaders={(7, 1): 0, (8, 1): 99}, ours=lambda s: False)

    assert strays == []
    assert child.pid not in orphans
    assert orphans.left_by((8, 1)) == []
