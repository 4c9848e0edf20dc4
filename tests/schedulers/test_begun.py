"""Jobs whose submitter was killed between the scheduler's yes and our own record of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cluster import Site, finish, record_of, write_record

from cluster.errors import OptionsError, QueueError
from cluster.job import Job
from cluster.queue import Queue
from cluster.schedulers import _begun
from cluster.schedulers.command import CommandScheduler


class Killed(BaseException):
    """In the place of a signal that nobody can handle."""


def begun(scheduler: CommandScheduler) -> list[Path]:
    return sorted(Path(scheduler.registry.directory).glob("*.begun"))


@pytest.fixture
def gone() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def kill(
    scheduler: CommandScheduler, monkeypatch: pytest.MonkeyPatch, gone: int
) -> Callable[[Job], None]:
    """Submits a job, and is killed before it is written down that the scheduler has it."""

    def submit(job: Job) -> None:
        def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(scheduler, "_remember", die)
            patch.setattr(os, "getpid", lambda: gone)
            with pytest.raises(Killed):
                job.submit()

    return submit


def make(name: str, folder: Path) -> Job:
    return Job("ls", name=name, qtype="slurm", filedir=folder)


def test_the_job_is_found_by_its_mark(
    scheduler: CommandScheduler,
    open_scheduler: Callable[..., CommandScheduler],
    kill: Callable[[Job], None],
    site: Site,
    tmp_path: Path,
) -> None:
    kill(make("sweep 1", tmp_path))
    other = open_scheduler()

    (found,) = Queue.reconnect("sweep", "slurm")

    assert (found.id, found.name, found.state) == ("17", "sweep 1", "PENDING")
    assert other.registry.recall("17").mark == site.marks["17"]  # type: ignore[union-attr]
    assert begun(scheduler) == []
    assert site.calls_of("find") == 1
    assert [job.id for job in Queue.reconnect("sweep", "slurm")] == ["17"]
    assert site.calls_of("find") == 1


@pytest.mark.parametrize("index", ["", "3"])
def test_one_that_has_ended_is_found_by_the_record_that_it_left(
    index: str,
    scheduler: CommandScheduler,
    kill: Callable[[Job], None],
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make("ended", tmp_path)
    kill(job)
    now = int(time.time())
    record = record_of(job) + (f".{index}" if index else "")
    write_record(record, "17", start=now, end=now, index=index or "-")
    site.leave("17")

    (found,) = Queue.reconnect("ended", "slurm")

    assert found.id == "17"
    assert begun(scheduler) == []


def test_one_that_was_never_taken_is_forgotten_once_it_cannot_arrive_any_more(
    scheduler: CommandScheduler,
    kill: Callable[[Job], None],
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill(make("gone", tmp_path))
    site.leave("17")
    waited: list[float] = []
    monkeypatch.setattr(_begun.time, "sleep", waited.append)

    assert Queue.reconnect("gone", "slurm") == []

    assert _begun.ARRIVES_S / 2 <= sum(waited) <= _begun.ARRIVES_S
    assert (begun(scheduler), site.calls_of("find")) == ([], 1 + len(waited))


def test_one_that_arrives_while_we_wait_is_found(
    kill: Callable[[Job], None],
    scheduler: CommandScheduler,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill(make("late", tmp_path))
    late = site.queue.pop("17")
    monkeypatch.setattr(_begun.time, "sleep", lambda _: site.queue.update({"17": late}))

    assert [job.id for job in Queue.reconnect("late", "slurm")] == ["17"]


def test_a_submitter_that_lives_is_left_alone(
    scheduler: CommandScheduler, site: Site, tmp_path: Path
) -> None:
    site.faults["submit"] = ["hang"] * 9
    site.faults["find"] = ["down"] * 9
    with pytest.raises(QueueError, match="is not known"):
        make("mine", tmp_path).submit()
    asked = site.calls_of("find")

    assert Queue.reconnect("mine", "slurm") == []

    assert len(begun(scheduler)) == 1
    assert site.calls_of("find") == asked


def test_a_submitter_elsewhere_is_waited_for_a_day(
    kill: Callable[[Job], None],
    scheduler: CommandScheduler,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_begun.platform, "node", lambda: "login2")
        kill(make("there", tmp_path))
    site.leave("17")

    assert Queue.reconnect("there", "slurm") == []
    assert len(begun(scheduler)) == 1

    _begun.settle(scheduler.registry, lambda mark: "", now=lambda: time.time() + 90000.0)
    assert begun(scheduler) == []


def test_who_cannot_ask_says_so_and_forgets_nothing(
    kill: Callable[[Job], None], scheduler: CommandScheduler, site: Site, tmp_path: Path
) -> None:
    kill(make("silent", tmp_path))
    site.down = True

    with pytest.raises(QueueError):
        Queue.reconnect("silent", "slurm")

    assert len(begun(scheduler)) == 1


def test_what_is_submitted_or_refused_leaves_nothing_behind(
    scheduler: CommandScheduler, site: Site, tmp_path: Path
) -> None:
    job = make("good", tmp_path).submit()
    site.faults["submit"] = ["refuse"]
    with pytest.raises(OptionsError):
        make("bad", tmp_path).submit()

    assert begun(scheduler) == []
    finish(site, job)
