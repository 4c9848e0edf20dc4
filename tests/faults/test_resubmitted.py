"""A job with large arguments, submitted again long after."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fault_driver import Queue

import cluster
from cluster.errors import UnknownJob

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def length(data: bytes) -> int:
    """A function job."""
    return len(data)


def old_job(queue: Queue) -> tuple[str, Path]:
    """A job that has ended, and the file of its argument, which is old."""
    job = cluster.submit(length, bytes(1 << 20))
    assert job.get(timeout=60) == 1 << 20
    [file] = Path(queue.state_dir, "payloads").iterdir()
    os.utime(file, (0, 0))
    return str(job.id), file


def test_its_arguments_are_kept_as_if_they_were_new(queue: Queue) -> None:
    from cluster.schedulers.local import LocalScheduler

    id, file = old_job(queue)

    again = LocalScheduler().resubmit(id)

    assert time.time() - file.stat().st_mtime < 60
    assert cluster.Job.load(again).get(timeout=60) == 1 << 20


def test_if_they_are_gone_that_is_said_and_nothing_is_queued(queue: Queue) -> None:
    from cluster.schedulers.local import LocalScheduler

    id, file = old_job(queue)
    file.unlink()

    with pytest.raises(UnknownJob, match=f"the arguments of job {id} were large and are cleared"):
        LocalScheduler().resubmit(id)

    assert len(queue.client.query()) == 1
