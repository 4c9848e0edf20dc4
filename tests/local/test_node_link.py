"""What wakes the server for jobs that outlived their node."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from node_driver import until

from cluster.local import events as ev
from cluster.local import journal, lifecycle, processes, recover, stopping, wire
from cluster.local.node_link import NodeLink
from cluster.local.queue_state import QueueState
from cluster.local.resources import names, vector

DEADLINE_S = 60.0
NAMES = names({})


class Survivor:
    """A job whose node died: a process that ends when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)

    def seen(self) -> processes.Process:
        found = processes.look(self.process.pid)
        assert found is not None
        return found

    def end(self) -> None:
        """Let it end; its parent is no node and takes its exit code away."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)


@pytest.fixture
def survivor() -> Iterator[Survivor]:
    survivor = Survivor()
    yield survivor
    survivor.end()


@pytest.fixture
def server(state_dir: Path) -> Iterator[Any]:
    """Stand for the server, as far as the link to its node asks it."""
    heard: list[ev.Event] = []
    with selectors.DefaultSelector() as selector:
        yield SimpleNamespace(
            state_dir=str(state_dir),
            selector=selector,
            queue=QueueState(NAMES, vector(NAMES, {"cores": 2})),
            rebooted=False,
            boot_before=processes.boot_id(),
            settings={},
            forget_orders=lambda: None,
            event=heard.append,
            heard=heard,
        )


def attached(server: Any, survivor: Survivor) -> NodeLink:
    """Have a node come after one that died while this job ran."""
    died = journal.Node(processes.boot_id(), 2**22, 1)
    seen = survivor.seen()
    book = journal.Journal(server.state_dir, died)
    book.begin(journal.Begin(1, 1, 0, "command", time.time()))
    book.spawned(journal.Spawned(1, 1, seen.pid, seen.ticks, seen.ticks, time.time()))
    book.close()
    link = NodeLink(server)
    link.handle([wire.Attached(wire.NODE_PROTOCOL, os.getpid(), died.boot_id, (), ())])
    link.look_after_survivors()
    return link


def exits(server: Any) -> list[tuple[int, int]]:
    return [(each.job, each.attempt) for each in server.heard if isinstance(each, ev.Exited)]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfds")
def test_the_end_of_what_outlived_its_node_wakes_the_server(
    server: Any, survivor: Survivor
) -> None:
    link = attached(server, survivor)
    assert server.selector.select(0) == []

    survivor.end()

    assert [key.data for key, _ in server.selector.select(DEADLINE_S)] == ["survivor"]
    link.on_ready()
    link.look_after_survivors()
    assert exits(server) == [(1, 1)]


def test_when_all_that_outlived_their_node_have_ended_nothing_wakes_for_them(
    server: Any, survivor: Survivor
) -> None:
    link = attached(server, survivor)
    survivor.end()

    link.look_after_survivors()

    assert exits(server) == [(1, 1)]
    assert not server.selector.get_map()
    assert link.timeout() == 60.0


def test_what_outlived_its_node_and_cannot_wake_the_server_is_looked_at_often(
    server: Any, survivor: Survivor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "_open_pidfd", lambda process: -1)

    link = attached(server, survivor)

    assert not server.selector.get_map()
    assert link.timeout() <= recover.POLL_S


def test_a_node_that_is_only_being_started_is_told_to_leave_too(server: Any) -> None:
    server.given, server.private, server.tether_fd, server.epoch = {}, False, None, 1
    link = NodeLink(server)
    is_node = stopping._is_daemon(server.state_dir, "node")

    try:
        assert not link.connect()
        link.close(leave=True)

        until(lambda: not list(stopping._marked(is_node)), "the end of the node")
        assert "Traceback" not in Path(server.state_dir, "node.log").read_text()
    finally:
        lifecycle.stop_everything(server.state_dir)
