"""Jobs that a scheduler could not start and keeps: no wait for them goes on without a word."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_cluster import Site, finish

import cluster
from cluster.errors import JobStuck
from cluster.job import Job, make_job, submit_many
from cluster.schedulers.command import CommandScheduler
from cluster.schedulers.dialect import Answer
from cluster.schedulers.slurm import Slurm
from cluster.schedulers.slurm_text import _QUEUE_FIELDS
from cluster.schedulers.torque import Torque

# Long enough for the slowest machine, and only waited for when a test fails.
LIMIT_S = 60.0
pytestmark = pytest.mark.usefixtures("scheduler")


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stuck_job(site: Site) -> Job:
    job = make_job("ls").submit()
    site.keep(str(job.id))
    return job


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---------------------------------------------------------------- a wait


@pytest.mark.parametrize("wait", [lambda job: job.wait(LIMIT_S), lambda job: job.get(LIMIT_S)])
def test_a_wait_for_a_job_that_will_not_start_ends_with_the_reason_and_the_next_step(
    site: Site, wait: Callable[[Job], object]
) -> None:
    job = stuck_job(site)

    with pytest.raises(cluster.JobStuck, match="no such directory") as caught:
        wait(job)

    assert "`cluster release 17`" in str(caught.value)
    assert "`cluster cancel 17`" in str(caught.value)
    assert list(caught.value.reasons) == ["17"]
    assert (job.state, job.done) == ("HELD", False)


def test_a_job_that_was_released_is_waited_for_again(site: Site) -> None:
    job = stuck_job(site)
    with pytest.raises(JobStuck):
        job.wait(LIMIT_S)

    job.release()
    site.say("17", "PENDING")
    threading.Timer(0.1, finish, (site, job)).start()

    assert job.wait(LIMIT_S)


def test_a_job_that_somebody_else_has_released_is_not_given_up(site: Site) -> None:
    job = stuck_job(site)
    polls = 0

    def release_before_the_second() -> None:
        nonlocal polls
        polls += 1
        if polls == 2:
            site.stuck.clear()
            site.say("17", "RUNNING")
            threading.Timer(0.1, finish, (site, job)).start()

    site.on_poll = release_before_the_second

    assert job.wait(LIMIT_S)


def test_of_several_that_will_not_start_the_one_that_was_released_is_waited_for(site: Site) -> None:
    first, second = stuck_job(site), stuck_job(site)
    polls = 0

    def release_one_before_the_second() -> None:
        nonlocal polls
        polls += 1
        if polls == 2:
            site.stuck.discard("18")
            site.say("18", "RUNNING")
            threading.Timer(0.2, finish, (site, second)).start()

    site.on_poll = release_one_before_the_second

    with pytest.raises(JobStuck) as caught:
        cluster.wait([first, second], LIMIT_S)

    assert list(caught.value.reasons) == ["17"]
    assert second.state == "COMPLETED"


def test_a_job_that_will_not_start_is_not_asked_about_more_often_than_others(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler(shortest_s=5.0, longest_s=5.0)
    jobs = [stuck_job(site), make_job("ls").submit()]
    site.say("18", "RUNNING")
    assert [job.state for job in jobs] == ["HELD", "RUNNING"]
    before = site.calls_of("poll")

    with pytest.raises(cluster.WaitTimeout):
        cluster.wait(jobs, 0.5)

    assert site.calls_of("poll") <= before + 1


def test_a_wait_for_several_goes_on_with_a_warning_while_others_do(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, other = stuck_job(site), make_job("ls").submit()
    site.say(str(other.id), "RUNNING")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cluster.wait, [stuck, other], LIMIT_S)
        until(lambda: "job 17 will not start by itself" in caplog.text)
        polls = site.calls_of("poll")
        until(lambda: site.calls_of("poll") > polls + 1)
        assert not waiting.done()
        finish(site, other)
        with pytest.raises(JobStuck) as caught:
            waiting.result(LIMIT_S)

    assert list(caught.value.reasons) == ["17"]
    assert other.state == "COMPLETED"
    assert caplog.text.count("will not start by itself") == 1


def test_a_job_that_waits_for_one_that_will_not_start_is_not_waited_for_either(site: Site) -> None:
    stuck = stuck_job(site)
    between = make_job("ls", dependencies=[stuck]).submit()
    last = make_job("ls", dependencies=[between]).submit()

    with pytest.raises(JobStuck, match=r"job 19 .* waits for job 17\. Held: .* no such dir"):
        last.wait(LIMIT_S)


def test_what_is_to_be_released_is_the_job_that_could_not_be_started(site: Site) -> None:
    last = make_job("ls", dependencies=[stuck_job(site)]).submit()

    with pytest.raises(JobStuck, match=r"`cluster release 17` .* `cluster cancel 18`") as caught:
        last.wait(LIMIT_S)

    assert (list(caught.value.reasons), caught.value.held) == (["18"], ("17",))


def test_jobs_that_somebody_holds_are_waited_for_and_said_to_be_held_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job("ls", hold=True).submit()
    site.say("17", "HELD", reason="Held by the administrator")

    with pytest.raises(cluster.WaitTimeout):
        job.wait(0.3)

    assert caplog.text.count("waiting until somebody releases it: `cluster release 17`") == 1
    assert "Held by the administrator" in caplog.text


def test_a_job_that_was_just_released_is_not_called_held(
    site: Site,
    open_scheduler: Callable[..., CommandScheduler],
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_scheduler(shortest_s=0.5, longest_s=0.5)
    job = make_job("ls", hold=True).submit()
    site.say("17", "HELD")
    assert job.state == "HELD"

    job.release()
    site.say("17", "PENDING")
    with pytest.raises(cluster.WaitTimeout):
        job.wait(0.2)

    assert "is HELD" not in caplog.text


def test_a_held_job_is_not_spoken_of_while_others_run(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = submit_many(["ls"] * 2)
    site.say("17", "HELD")
    site.say("18", "RUNNING")

    with pytest.raises(cluster.WaitTimeout):
        cluster.wait(jobs, 0.3)

    assert "releases" not in caplog.text


def test_an_array_is_waited_for_while_one_of_its_elements_can_go_on(site: Site) -> None:
    job = make_job("ls", array="1-2").submit()
    site.leave("17")
    site.keep("17_1")
    site.say("17_2", "PENDING", index=2)
    with pytest.raises(cluster.WaitTimeout):
        job.wait(0.3)

    site.keep("17_2")

    with pytest.raises(JobStuck):
        job.wait(LIMIT_S)


def test_whoever_awaits_one_of_several_is_told_while_the_others_go_on(site: Site) -> None:
    stuck, other = stuck_job(site), make_job("ls").submit()
    site.say(str(other.id), "RUNNING")

    async def both() -> list[object]:
        first = asyncio.ensure_future(_value(stuck))
        second = asyncio.ensure_future(_value(other))
        with pytest.raises(JobStuck) as caught:
            await asyncio.wait_for(first, LIMIT_S)
        assert not second.done()
        finish(site, other)
        return [*caught.value.reasons, (await asyncio.wait_for(second, LIMIT_S))[0]]

    assert asyncio.run(both()) == ["17", 0]


async def _value(job: Job) -> tuple[int, str, str]:
    value: tuple[int, str, str] = await job
    return value


def test_a_scheduler_that_does_not_answer_keeps_nobody_from_waiting(site: Site) -> None:
    job = stuck_job(site)
    polls = 0

    def fail_after_the_first() -> None:
        nonlocal polls
        polls += 1
        site.faults["poll"] = ["down"] if polls == 1 else []

    site.on_poll = fail_after_the_first

    with pytest.raises(JobStuck):
        job.wait(LIMIT_S)
    assert polls >= 3


def test_many_are_told_in_one_sentence_that_survives_a_pickle(
    site: Site, scheduler: CommandScheduler
) -> None:
    jobs = submit_many(["ls"] * 3)
    for job in jobs:
        site.keep(str(job.id))

    with pytest.raises(JobStuck) as caught:
        cluster.wait(jobs, LIMIT_S)

    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reasons) == (str(caught.value), caught.value.reasons)
    assert "2 more are kept like it" in str(copy)
    assert "`cluster release 17 18 19`" in str(copy)


# ---------------------------------------------------------------- which jobs these are
# Those of Grid Engine are in `test_sge.py`.


@pytest.mark.parametrize(
    ("reason", "words", "is_stuck"),
    [
        ("launch_failed_requeued_held", "Slurm could not start it: the launch failed", True),
        ("(launch failed requeued held)", "Slurm could not start it: the launch failed", True),
        ("JobHoldMaxRequeue", "Slurm could not start it: it was put back as often", True),
        ("JobHeldUser", "Held: `cluster release`", False),
        ("JobHeldAdmin", "Held by the administrator", False),
        ("job_requeued_in_held_state", "Slurm says job_requeued_in_held_state", False),
    ],
)
def test_slurm_s_holds_after_a_failed_start_are(reason: str, words: str, is_stuck: bool) -> None:
    values = dict.fromkeys(_QUEUE_FIELDS, "") | {
        "JobArrayID": "17", "State": "PENDING", "Reason": reason, "BatchHost": "n/a",
    }  # fmt: skip
    line = "\x1f".join(values[name] for name in _QUEUE_FIELDS) + "\x1e\n"

    (one,) = Slurm().parse_poll(Answer(("squeue",), 0, line, ""))

    assert (one.info.state, one.stuck) == ("HELD", is_stuck)
    assert words in one.info.reason


@pytest.mark.parametrize(
    ("holds", "comment", "depends", "state", "is_stuck"),
    [
        ("s", "job held, too many failed attempts to run", "", "HELD", True),
        ("s", "job held, too many failed attempts to run", "afterok:3.vm@vm", "HELD", True),
        ("p", "job held, bad password", "", "HELD", True),
        ("s", "", "", "HELD", False),
        ("s", "Job held by root", "afterok:3.vm@vm", "PENDING", False),
        ("u", "Job held by ann", "", "HELD", False),
    ],
)
def test_pbs_s_hold_after_too_many_starts_is(
    holds: str, comment: str, depends: str, state: str, is_stuck: bool
) -> None:
    text = (
        f"Job Id: 17.vm\n    Job_Name = sim\n    job_state = H\n    Hold_Types = {holds}\n"
        f"    comment = {comment}\n" + (f"    depend = {depends}\n" if depends else "")
    )

    (one,) = Torque().parse_poll(Answer(("qstat",), 0, text, ""))

    assert (one.info.state, one.stuck) == (state, is_stuck)
    assert ("PBS could not start it" in one.info.reason) == is_stuck
    assert ("qrls -h s" in one.info.reason) == is_stuck
