"""Exactly one server, whatever happens to its lock, its socket and its directory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fault_driver import UNTIL_TOLD, Queue, kill, lives, until

from cluster.errors import ClusterError, ServerTimeout
from cluster.local import lifecycle
from cluster.local.client import Client

pytestmark = [pytest.mark.faults, pytest.mark.slow]

START = """
import sys
from cluster.local import lifecycle
print(lifecycle.start_daemon("server", sys.argv[1]), flush=True)
"""


def test_row_43_of_servers_that_start_at_once_one_serves_and_the_others_leave(
    queue: Queue,
) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", START, queue.state_dir], stdout=subprocess.PIPE)
        for _ in range(8)
    ]
    said = [racer.communicate()[0].strip() for racer in racers]

    assert sorted(said) == [b"lost"] * 7 + [b"ready"]
    assert [racer.returncode for racer in racers] == [0] * 8
    until(lambda: len(queue.daemons("server")) == 1)


def test_rows_43_44_a_stopped_server_is_not_robbed_and_goes_on_where_it_was(
    queue: Queue,
) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    server = queue.server()
    os.kill(server, signal.SIGSTOP)
    try:
        impatient = Client(queue.state_dir, request_timeout_s=1.0)
        with pytest.raises(ServerTimeout, match=f"kill -CONT {server}"):
            impatient.query()
        assert lifecycle.start_daemon("server", queue.state_dir) == "lost"
        assert lifecycle.holder(queue.state_dir).pid == server  # type: ignore[union-attr]
    finally:
        os.kill(server, signal.SIGCONT)
        queue.tell()

    assert queue.ended(job, queue.counted())
    assert queue.server() == server
    until(lambda: len(queue.daemons("server")) == 1, what="the leave of those who lost")


def test_row_45_a_socket_that_a_killed_server_left_is_replaced(queue: Queue) -> None:
    queue.client.query()
    first = queue.server()
    kill(first)
    path = lifecycle.socket_path(queue.state_dir, "server")
    assert os.path.exists(path)
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(path)

    assert queue.ended(queue.counted())
    assert queue.server() != first


def test_row_46_a_server_whose_lock_was_removed_leaves_for_the_next(queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    first = queue.server()
    os.unlink(os.path.join(queue.state_dir, "lock"))

    until(lambda: not lives(first), what="the first server's leave")
    queue.tell()

    assert queue.ended(job, queue.counted())
    until(lambda: len(queue.daemons("server")) == 1, what="the leave of those who lost")
    assert queue.begins(job) == 1


@pytest.mark.parametrize("which", ["server", "node"])
def test_row_47_a_socket_that_was_removed_is_made_again(which: str, queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    daemon = queue.pid_of(which)
    os.unlink(lifecycle.socket_path(queue.state_dir, which))
    if which == "node":
        queue.kill_server()  # only now somebody looks for the node

    late = Queue(queue.state_dir, queue.counter)
    late.client.query(ids=())
    queue.tell()

    assert late.ended(job, late.counted())
    assert late.pid_of(which) == daemon
    assert queue.begins(job) == 1
    late.client.close()


def test_row_47_daemons_of_a_directory_that_was_removed_leave(queue: Queue) -> None:
    queue.ended(queue.counted())
    daemons = queue.daemons()
    assert len(daemons) == 2
    shutil.rmtree(queue.state_dir, ignore_errors=True)  # they may write at the same time
    shutil.rmtree(queue.state_dir, ignore_errors=True)

    psutil.wait_procs(daemons, timeout=60)

    assert not [each for each in daemons if lives(each.pid)]


def test_a_node_that_hangs_up_on_every_server_is_not_asked_without_a_pause(
    queue: Queue,
) -> None:
    impostor = socket.socket(socket.AF_UNIX)
    impostor.bind(lifecycle.socket_path(queue.state_dir, "node"))
    impostor.listen()
    impostor.settimeout(0.0)
    queue.client.query()
    calls, until_s = 0, time.monotonic() + 1.0
    while time.monotonic() < until_s:
        try:
            impostor.accept()[0].close()
            calls += 1
        except BlockingIOError:
            time.sleep(0.005)
    impostor.close()

    assert calls < 8
    os.unlink(lifecycle.socket_path(queue.state_dir, "node"))
    assert queue.ended(queue.counted())


def test_a_store_that_was_moved_away_begins_empty_and_works_with_the_old_node(
    queue: Queue,
) -> None:
    job = queue.submit("sleep", "300")
    until(lambda: queue.is_running(job))
    queue.kill_server()
    os.rename(f"{queue.state_dir}/queue.db", f"{queue.state_dir}/broken.db")
    Path(f"{queue.state_dir}/queue.db-wal").unlink(missing_ok=True)

    assert queue.ended(queue.counted(), queue.counted())
    until(lambda: not queue.job_processes(), what="the end of a job that nobody knows")


def test_a_server_without_descriptors_goes_on_when_there_are_some_again(queue: Queue) -> None:
    queue.ended(queue.counted())
    server = psutil.Process(queue.server())
    limit = server.num_fds() + 3
    server.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
    crowd = []
    for _ in range(8):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(lifecycle.socket_path(queue.state_dir, "server"))
        crowd.append(sock)
    with pytest.raises(ClusterError):
        Client(queue.state_dir, request_timeout_s=1.0).query()
    for sock in crowd:
        sock.close()

    other = Queue(queue.state_dir, queue.counter)
    assert other.ended(other.counted())
    assert other.server() == server.pid
    other.client.close()
