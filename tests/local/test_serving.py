"""When the server's loop wakes by itself."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.local import events as ev
from cluster.local import serving
from cluster.local.queue_state import QueueState
from cluster.local.resources import names, vector
from cluster.local.serving import Server
from cluster.spec import JobSpec

NAMES = names({})


@pytest.fixture
def server(state_dir: Path) -> Server:
    """A server that was not opened: its loop, with a queue and a node that wants nothing."""
    office: Any = SimpleNamespace(still_ours=lambda: True)
    server = Server(str(state_dir), office, private=True, settings={}, tether_fd=None)
    server.selector.close()
    server.settings = server.given
    server.queue = QueueState(NAMES, vector(NAMES, {"cores": 2}))
    node: Any = SimpleNamespace(timeout=lambda: 60.0)
    server.node = node
    return server


def test_with_nothing_to_do_it_only_looks_whether_it_is_still_in_office(server: Server) -> None:
    assert server._timeout() == serving.LOOK_S


def test_it_sleeps_no_longer_than_its_node_wants(server: Server) -> None:
    server.node.timeout = lambda: 0.125  # type: ignore[method-assign]

    assert server._timeout() == 0.125


def test_it_wakes_for_the_begin_time_of_a_job(server: Server) -> None:
    server.event(ev.Submit(None, b"key", (JobSpec(name="late", begin=time.time() + 0.5),)))

    assert server._timeout() <= 0.5


def test_it_tries_again_soon_to_write_what_the_disk_refused(server: Server) -> None:
    server._unwritten = ev.Changes(), []

    assert server._timeout() == serving.RETRY_S
