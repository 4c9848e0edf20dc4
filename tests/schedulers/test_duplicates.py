"""A request that arrives after it was repeated: the copy is ended, and the user is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cluster import Site, finish

from cluster.errors import WaitTimeout
from cluster.job import Job, make_job
from cluster.local.wire import JobInfo
from cluster.schedulers import _duplicates
from cluster.schedulers._duplicates import LOOK_FOR_S, copies
from cluster.schedulers.command import CommandScheduler
from cluster.schedulers.dialect import Seen

LIMIT_S = 60.0
MARK = "cluster-0123456789abcdef"


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_duplicates, "_OFTEN_S", 0.02)
    monkeypatch.setattr(_duplicates, "_SELDOM_S", 0.05)


def submitted_twice(site: Site) -> tuple[Job, str]:
    """Submit a job whose first request arrives late: the job, and the copy's id."""
    site.faults["submit"] = ["late"]
    job = make_job("ls").submit()
    (copy,) = site.arrive()
    assert (job.id, copy, len(site.queue)) == ("17", "18", 2)
    return job, copy


def wait_a_little(job: Job) -> None:
    with pytest.raises(WaitTimeout):
        job.wait(0.5)


@pytest.mark.parametrize(("state", "words"), [
    ("PENDING", "It was cancelled."), ("RUNNING", "It was cancelled though it had started."),
])  # fmt: skip
def test_a_copy_is_cancelled_and_told_once(
    site: Site,
    scheduler: CommandScheduler,
    caplog: pytest.LogCaptureFixture,
    state: str,
    words: str,
) -> None:
    job, copy = submitted_twice(site)
    site.say(copy, state)

    wait_a_little(job)

    assert list(site.queue) == ["17"]
    assert [argv for argv in site.argvs if argv[0] == "act"] == [("act", "cancel", "18")]
    assert caplog.text.count("job 18 is a second copy of job 17") == 1
    assert words in caplog.text
    finish(site, job)
    assert job.wait(LIMIT_S)


def test_a_copy_that_is_there_when_the_repetition_is_answered_is_cancelled_at_once(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.faults["submit"] = ["late"]
    arrive = site._submit

    def both(words: list[str]) -> str:
        site._submit = arrive  # type: ignore[method-assign]
        own = arrive(words)
        for _, *late in site.late:
            arrive(late)
        return own

    site._submit = both  # type: ignore[method-assign]

    assert make_job("ls").submit().id == "17"
    assert (list(site.queue), len(site.scripts)) == (["17"], 2)


def test_another_process_ends_the_copy_too(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler()
    submitted_twice(site)
    open_scheduler()

    wait_a_little(Job.load("17"))

    assert list(site.queue) == ["17"]


def test_a_copy_that_has_run_is_told_and_nothing_is_cancelled(
    site: Site, scheduler: CommandScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    job, copy = submitted_twice(site)
    site.say(copy, "COMPLETED", started=100.0)

    wait_a_little(job)

    assert "what the job does was done twice" in caplog.text
    assert site.calls_of("act") == 0


def test_nobody_looks_for_copies_of_what_was_taken_at_once(
    site: Site, scheduler: CommandScheduler
) -> None:
    wait_a_little(make_job("ls").submit())

    assert site.calls_of("find") == 0


def test_nobody_looks_for_copies_for_ever(site: Site, scheduler: CommandScheduler) -> None:
    job, _ = submitted_twice(site)
    entry = scheduler.registry.recall("17")
    assert entry is not None
    assert time.time() - entry.repeated < 60
    now = entry.repeated + LOOK_FOR_S + 1
    looks = site.calls_of("find")
    scheduler.poller._duplicates._clock = lambda: now

    wait_a_little(job)

    assert (site.calls_of("find"), len(site.queue)) == (looks, 2)


def test_a_question_for_copies_that_fails_does_no_harm_and_is_repeated(
    site: Site, scheduler: CommandScheduler
) -> None:
    job, _ = submitted_twice(site)
    site.faults["find"] = ["down", "hang"]
    site.faults["act"] = ["down"]

    wait_a_little(job)

    assert list(site.queue) == ["17"]
    assert not job.stale


def test_a_copy_is_another_job_with_a_mark_of_ours_that_ran_or_may() -> None:
    def seen(id: str, state: str, mark: str = MARK, **fields: float) -> Seen:
        return Seen(info=JobInfo(id=id, name="", state=state, **fields), mark=mark)

    shown = [
        seen("17", "RUNNING"), seen("18", "PENDING"), seen("19_1", "PENDING"),
        seen("19_2", "PENDING"), seen("20", "PENDING", mark=""), seen("21", "CANCELLED"),
        seen("22", "PENDING", mark="cluster-fedcba9876543210"), seen("23", "FAILED", started=1.0),
    ]  # fmt: skip

    assert list(copies(shown, {MARK: "17"})) == ["18", "19", "23"]
