"""Exit codes that mean something: run it again, or run it again once it is released."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster import states
from cluster.local import events as ev
from cluster.local import scratch, spawn
from cluster.local.events import Job
from cluster.local.queue_state import QueueState
from cluster.local.resources import names, vector
from cluster.spec import JobSpec

NAMES = names({})
CODES = {99: "requeue", 100: "hold", -1: "hold"}


def with_running_job() -> tuple[QueueState, Job]:
    queue = QueueState(NAMES, vector(NAMES, {"cores": 2, "memory_mib": 1000}))
    queue.handle(ev.Attached((), ()), 1.0)
    queue.handle(ev.Submit(("peer", 1), b"key", (JobSpec(name="job", codes=CODES),)), 1.0)
    queue.schedule(1.0)
    queue.take()
    return queue, queue.jobs[1]


def test_a_code_can_mean_to_run_again() -> None:
    queue, job = with_running_job()

    queue.handle(ev.Exited(1, 1, 99 << 8), 2.0)

    assert job.state == states.PENDING
    assert queue.pool.free[0] == 2


@pytest.mark.parametrize(("status", "why"), [(100 << 8, ""), (126 << 8, "start")])
def test_a_code_or_a_start_that_failed_can_mean_to_wait_for_a_release(
    status: int, why: str
) -> None:
    queue, job = with_running_job()

    queue.handle(ev.Exited(1, 1, status, why=why, reason="no such place" if why else ""), 2.0)

    assert job.state == states.HELD
    assert job.reason == ("Error: no such place" if why else "Error: exit code 100")
    queue.handle(ev.Act(("peer", 2), "release", ("1",)), 3.0)
    queue.schedule(3.0)
    assert job.state == states.RUNNING


@pytest.mark.parametrize(("status", "why"), [(9, ""), (99 << 8, "cancel"), (0, "walltime")])
def test_signals_and_ends_from_outside_keep_their_meaning(status: int, why: str) -> None:
    queue, job = with_running_job()

    queue.handle(ev.Exited(1, 1, status, why=why), 2.0)

    assert job.state in states.FINAL


def test_a_scratch_directory_is_the_jobs_alone_and_goes_with_all_that_is_in_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scratch"

    scratch.make(os.fsencode(path))
    scratch.make(os.fsencode(path))  # of a start before this one

    assert path.stat().st_mode & 0o777 == 0o700
    scratch.remove(os.fsencode(path))
    scratch.remove(os.fsencode(path))
    assert not path.exists()


def test_a_scratch_directory_is_never_a_link_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "file").write_text("")

    for name in ("link", "file", "no/such"):
        with pytest.raises(spawn.StartFailed, match="temporary directory"):
            scratch.make(os.fsencode(tmp_path / name))
