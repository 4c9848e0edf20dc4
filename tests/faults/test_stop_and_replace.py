"""A server that is asked to leave: what waits runs under the next, what runs goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fault_driver import UNTIL_TOLD, Queue, lives, run_twice, until

from cluster.errors import ServerUnavailable
from cluster.local import connection, lifecycle, wire

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SUBMIT_MANY = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fault_driver import Queue
queue = Queue(sys.argv[2], Path(sys.argv[3]))
for _ in range(40):
    print(queue.counted(name="many"), flush=True)
"""


def stop(queue: Queue, **how: int) -> int:
    """Ask the server to leave and wait until it has; which it was."""
    server = queue.server()
    queue.client.control("stop", **how)
    until(lambda: not lives(server), what="the leave of the server")
    return server


def test_after_a_stop_the_next_client_has_the_waiting_jobs_run(queue: Queue) -> None:
    running = queue.counted(UNTIL_TOLD, cores=2)
    waiting = [queue.counted() for _ in range(3)]
    queue.wait_begun(running)
    pid = queue.info(running).pid
    stop(queue)

    assert lives(pid)
    queue.tell()
    states = queue.ended(running, *waiting)

    assert set(states.values()) == {"COMPLETED"}
    assert run_twice(queue.notes()) == []


def test_a_job_that_ends_after_a_stop_is_known_to_the_next_server(queue: Queue) -> None:
    job = queue.submit(*queue.told_argv("echo late; exit 5"))
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    stop(queue)
    queue.tell()
    until(lambda: not lives(pid))

    assert queue.pid_of("server") == 0  # it was stopped on purpose: the node makes no other
    assert queue.ended(job) == {job: "FAILED"}
    assert queue.info(job).exitcode == 5
    assert queue.stdout(job) == b"late\n"


def test_a_newer_client_replaces_the_server_under_running_jobs(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, waiting = queue.counted(UNTIL_TOLD, cores=2), queue.counted()
    queue.wait_begun(running)
    server, node = queue.server(), queue.node()
    queue.client.close()
    # The running server's number stays; to this program it is now an older one.
    with monkeypatch.context() as patched:
        patched.setattr(wire, "PROTOCOL", wire.PROTOCOL + 1)
        with pytest.raises(ServerUnavailable, match="no server runs"):
            connection.connect(queue.state_dir, start=False)
    until(lambda: not lives(server))
    queue.tell()

    assert queue.ended(running, waiting) == {running: "COMPLETED", waiting: "COMPLETED"}
    assert queue.node() == node
    assert run_twice(queue.notes()) == []


def test_submissions_under_way_while_servers_are_stopped_are_queued_once(queue: Queue) -> None:
    argv = [sys.executable, "-c", SUBMIT_MANY, str(Path(__file__).parent)]
    argv += [queue.state_dir, str(queue.counter)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        ids = []
        for line in program.stdout:
            ids.append(line.strip())
            if len(ids) % 10 == 0:
                stop(queue)
                queue.client.query(ids=())

    assert program.returncode == 0
    assert len(set(ids)) == 40
    assert set(queue.ended(*ids).values()) == {"COMPLETED"}
    assert len(queue.client.query(name="many")) == 40
    assert run_twice(queue.notes()) == []


def test_a_drain_ends_what_runs_and_keeps_what_waits(queue: Queue) -> None:
    running, waiting = queue.counted(0.3, cores=2), queue.counted()
    queue.wait_begun(running)
    stop(queue, drain=1)

    assert queue.pid_of("server") == 0
    assert [note.job for note in queue.notes()] == [int(running)] * 2
    assert queue.ended(running, waiting) == {running: "COMPLETED", waiting: "COMPLETED"}


def test_sigterm_is_a_stop(queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    server = queue.server()
    psutil.Process(server).terminate()
    until(lambda: not lives(server))
    queue.tell()

    assert queue.ended(job) == {job: "COMPLETED"}
    assert queue.begins(job) == 1


def test_a_wait_that_is_under_way_outlives_a_stop(queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    other = Queue(queue.state_dir, queue.counter)
    states: dict[str, str] = {}
    waiter = threading.Thread(target=lambda: states.update(other.ended(job)))
    waiter.start()
    stop(queue)
    queue.tell()
    waiter.join()

    assert states == {job: "COMPLETED"}


@pytest.mark.parametrize("begun", ["server", "node"])
def test_a_stop_right_after_the_start_takes_the_node_along(queue: Queue, begun: str) -> None:
    queue.client.query(ids=())
    until(lambda: queue.pid_of(begun))
    before = time.monotonic()

    assert lifecycle.stop_everything(queue.state_dir, timeout_s=200.0)

    assert time.monotonic() - before < 40.0  # a node that nobody tells is sent a signal after 50 s
    assert queue.daemons() == []
