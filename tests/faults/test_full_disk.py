"""No room for the store: nothing is promised, nothing lost, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_driver import Queue, until

from cluster.errors import ClusterError, QueueError, ServerTimeout

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
    from cluster.local import lifecycle

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
    running = queue.submit("sh", "-c", "sleep 0.5; exit 3")
    until(lambda: queue.is_running(running))
    ballast = fill(small)
    server = queue.server()

    big = "x" * 60_000  # as much as no page of the store has room for
    for name in (big, "job", "job"):
        with pytest.raises(QueueError, match=r"nothing was queued: .*cannot be written.*full"):
            queue.submit("true", name="refused", comment=name)
    assert [info.id for info in queue.client.query(name="refused")] == []
    until(lambda: queue.info(running).pid == 0 or not _lives(queue, running))
    ballast.unlink()

    assert queue.ended(running) == {running: "FAILED"}
    assert queue.info(running).exitcode == 3
    again = until(lambda: _try(queue))
    assert queue.ended(again) == {again: "COMPLETED"}
    assert queue.status()["trouble"] == ""
    assert queue.server() == server
    assert queue.free_cores() == 2
    assert len(queue.client.query()) == 3


def _lives(queue: Queue, id: str) -> bool:
    from fault_driver import lives

    return lives(queue.info(id).pid)


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
