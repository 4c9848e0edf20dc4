"""No room: nothing is promised, nothing lost, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_driver import Queue, call, lives, until

from cluster.errors import ClusterError, QueueError, ServerTimeout
from cluster.local import lifecycle

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount a small disk"),
]


@pytest.fixture
def small(state_dir: Path) -> Iterator[Path]:
    """Put the queue's directory on a disk of 1 MiB."""
    options = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(state_dir)]
    subprocess.run(["mount", *options], check=True)
    yield state_dir
    lifecycle.stop_everything(state_dir)
    subprocess.run(["umount", "--lazy", str(state_dir)], check=True)


def fill(directory: Path) -> Path:
    """Take all the room there is."""
    path = directory / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            return path


def test_row_14_a_submit_is_refused_while_the_disk_is_full_and_works_when_it_is_not(
    small: Path, queue: Queue
) -> None:
    queue.ended(queue.submit("true"))
    running = queue.submit(*queue.told_argv("exit 3"))
    until(lambda: queue.is_running(running))
    ballast = fill(small)
    server = queue.server()

    big = "x" * 60_000  # as much as no page of the store has room for
    for name in (big, "job", "job"):
        with pytest.raises(QueueError, match=r"nothing was queued: .*cannot be written.*full"):
            queue.submit("true", name="refused", comment=name)
    assert [info.id for info in queue.client.query(name="refused")] == []
    pid = queue.info(running).pid
    queue.tell()
    until(lambda: not lives(pid))
    ballast.unlink()

    assert queue.ended(running) == {running: "FAILED"}
    assert queue.info(running).exitcode == 3
    again = until(lambda: _try(queue))
    assert queue.ended(again) == {again: "COMPLETED"}
    assert queue.status()["trouble"] == ""
    assert queue.server() == server
    assert queue.free_cores() == 2
    assert len(queue.client.query()) == 3


def _try(queue: Queue) -> str | None:
    try:
        return queue.submit("true")
    except ClusterError:
        return None


def test_a_job_can_be_ended_while_the_disk_is_full(small: Path, queue: Queue) -> None:
    job = queue.submit("sleep", "300")
    until(lambda: queue.is_running(job))
    ballast = fill(small)
    impatient = Queue(queue.state_dir, queue.counter, timeout_s=1.0)
    with pytest.raises(ClusterError):
        impatient.submit("true", comment="x" * 60_000)
    # Its answer, the final state, cannot be written yet.
    with pytest.raises(ServerTimeout):
        until(lambda: impatient.client.act("cancel", [job]) is None)

    until(lambda: not queue.job_processes(), what="the end of the process")
    ballast.unlink()

    assert queue.ended(job) == {job: "CANCELLED"}


def make_bytes(size: int, go: str) -> bytes:
    """A function job that waits for a file, then returns so many bytes."""
    while not os.path.exists(go):
        time.sleep(0.01)
    return bytes(size)


def submit_call(queue: Queue, size: int, go: Path) -> str:
    spec, envs = call(make_bytes, size, str(go))
    return queue.client.submit([spec], envs)[0]


def test_row_15_a_result_that_has_no_room_fails_its_job_with_the_reason(
    small: Path, queue: Queue, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job = submit_call(queue, 2 << 20, go)
    go.touch()

    assert queue.ended(job) == {job: "FAILED"}

    info = queue.info(job)
    assert info.exitcode == 1
    assert "could not be written" in info.reason
    assert "No space left on device" in info.reason
    assert not list(small.rglob("*.tmp"))
    again = queue.submit("true")
    assert queue.ended(again) == {again: "COMPLETED"}


def test_row_15_where_not_even_a_reason_has_room_the_exit_code_tells_it(
    small: Path, queue: Queue, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job = submit_call(queue, 1000, go)
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    ballast = fill(small)
    go.touch()
    until(lambda: not lives(pid))
    ballast.unlink()

    assert queue.ended(job) == {job: "FAILED"}

    info = queue.info(job)
    assert (info.exitcode, info.reason) == (
        74,
        "its result could not be stored: no room on the disk of the queue",
    )


def test_row_16_a_job_that_fills_the_disk_sees_it_and_the_queue_goes_on_once_there_is_room(
    small: Path, queue: Queue
) -> None:
    job = queue.submit("head", "-c", "3M", "/dev/zero")

    def flood() -> list[Path]:
        return [path for path in small.rglob("*out") if path.stat().st_size > 300_000]

    until(lambda: flood() and not queue.job_processes())
    os.truncate(flood()[0], 1000)  # what its owner would do

    assert queue.ended(job) == {job: "FAILED"}

    assert queue.info(job).exitcode == 1
    again = until(lambda: _try(queue))
    assert queue.ended(again) == {again: "COMPLETED"}
    assert queue.status()["trouble"] == ""


def test_row_17_an_exit_that_no_file_has_room_for_is_kept_by_the_node(
    small: Path, queue: Queue, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job = queue.submit("sh", "-c", f"while ! test -e {go}; do sleep 0.02; done; exit 3")
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    ballast = fill(small)
    queue.kill_server()
    go.touch()
    until(lambda: not lives(pid))
    ballast.unlink()

    assert queue.ended(job) == {job: "FAILED"}

    assert queue.info(job).exitcode == 3


def test_a_server_that_finds_no_room_says_so_and_not_that_its_store_is_broken(
    small: Path, queue: Queue
) -> None:
    queue.ended(queue.submit("true"))
    lifecycle.stop_everything(small)
    (small / "queue.db").unlink()
    ballast = fill(small)
    with pytest.raises(ClusterError, match="Nothing in it is lost; make room"):
        queue.client.query()
    ballast.unlink()

    assert queue.client.query() == []


def test_what_the_queue_holds_can_be_read_where_there_is_no_room(small: Path, queue: Queue) -> None:
    done = queue.submit("true")
    queue.ended(done)
    lifecycle.stop_everything(small)
    fill(small)

    assert queue.info(done).state == "COMPLETED"
