"""What a user asks while no node listens, and limits of jobs whose node has died."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from fault_driver import Queue, kill, lives, until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

HOARD = "import time; hoard = b'x' * (200 << 20); print('has it', flush=True); time.sleep(300)"
COUNT_SIGNALS = """
import signal, sys, time
def note(*_): open(sys.argv[1], "a").write("x")
signal.signal(signal.SIGUSR1, note)
open(sys.argv[1], "w").close()
while True: time.sleep(0.05)
"""


def without_node(queue: Queue) -> None:
    """Kill the node, and let no other start until `with_node`."""
    os.rename(f"{queue.state_dir}/slots", f"{queue.state_dir}/away")
    Path(queue.state_dir, "slots").write_text("in the way")
    queue.kill_node()
    until(lambda: queue.status()["node_pid"] == 0)


def with_node(queue: Queue) -> None:
    """Let one start again."""
    os.unlink(f"{queue.state_dir}/slots")
    os.rename(f"{queue.state_dir}/away", f"{queue.state_dir}/slots")


def test_a_requeue_given_while_there_is_no_node_happens_when_there_is_one(queue: Queue) -> None:
    job = queue.counted(300.0)
    queue.wait_begun(job)
    without_node(queue)

    said = queue.client.act("requeue", [job])
    with_node(queue)

    assert said == {job: "being ended and queued again"}
    until(lambda: queue.begins(job) == 2, what="the second attempt")
    assert queue.info(job).attempt == 2


def test_a_requeue_that_died_with_its_node_is_given_to_the_next(queue: Queue) -> None:
    job = queue.counted(300.0)
    queue.wait_begun(job)
    node = queue.node()
    os.kill(node, signal.SIGSTOP)
    queue.client.act("requeue", [job])
    kill(node)

    until(lambda: queue.begins(job) == 2, what="the second attempt")


def test_a_signal_given_while_there_is_no_node_is_sent_once_when_there_is_one(
    queue: Queue, tmp_path: Path
) -> None:
    file = tmp_path / "signals"
    job = queue.submit(sys.executable, "-c", COUNT_SIGNALS, str(file))
    until(file.exists)
    without_node(queue)

    said = queue.client.act("signal", [job], signal.SIGUSR1)
    with_node(queue)

    assert said == {job: "signal 10 is sent as soon as the node is back"}
    until(lambda: file.read_text() == "x", what="the signal")
    queue.client.act("signal", [job], signal.SIGUSR1)
    until(lambda: file.read_text() == "xx", what="the second signal")


def test_a_job_that_was_resumed_while_there_was_no_node_goes_on(queue: Queue) -> None:
    job = queue.submit("sleep", "300")
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    queue.client.act("suspend", [job])
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    without_node(queue)

    queue.client.act("resume", [job])
    with_node(queue)

    until(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING, what="going on")
    assert queue.info(job).state == "RUNNING"


def test_the_walltime_of_a_job_goes_on_counting_when_its_node_dies(queue: Queue) -> None:
    command = queue.submit("sleep", "300", walltime_s=5.0)
    function = queue.counted_call(300.0, walltime_s=5.0)
    queue.wait_begun(function)
    until(lambda: queue.is_running(command))
    queue.kill_both()

    states = queue.ended(command, function)

    assert states == {command: "TIMEOUT", function: "TIMEOUT"}
    assert queue.info(command).reason == "it ran longer than its walltime of 5 s"
    assert not queue.job_processes()


def test_the_memory_of_a_job_is_limited_also_when_its_node_has_died(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLUSTER_NO_CGROUP", "1")
    go = tmp_path / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    job = queue.submit(sys.executable, "-c", wait + HOARD, memory_mib=2000)
    until(lambda: queue.is_running(job))
    other = queue.submit(sys.executable, "-c", wait + HOARD, memory_mib=100)
    until(lambda: queue.is_running(other))
    queue.kill_both()
    queue.status_started()
    go.touch()

    assert queue.ended(other) == {other: "OUT_OF_MEMORY"}
    assert "its limit is 100 MiB" in queue.info(other).reason
    assert lives(queue.info(job).pid)
