"""A scheduler behind its client programs: nothing submitted twice, nothing ended by a guess."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cluster import Site, Words, finish, record_of, write_record

from cluster.errors import JobCancelled, OptionsError, QueueError, UnknownJob, WaitTimeout
from cluster.job import Job, make_job, submit_many
from cluster.schedulers.base import Content
from cluster.schedulers.command import CommandScheduler

# Long enough for the slowest machine, and only waited for when a test fails.
LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# ---------------------------------------------------------------- submitting


def test_a_job_is_submitted_once_and_remembered(site: Site, scheduler: CommandScheduler) -> None:
    job = make_job("ls", name="my job").submit()

    assert (job.id, site.calls_of("submit")) == ("17", 1)
    entry = scheduler.registry.recall("17")
    assert entry is not None
    assert (entry.info.name, entry.mark, entry.words) == ("my job", site.marks["17"], ("ls",))


def test_a_job_that_cannot_be_remembered_is_submitted_all_the_same(
    site: Site,
    scheduler: CommandScheduler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(entry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scheduler.registry, "remember", full)
    job = make_job("ls").submit()
    monkeypatch.undo()

    assert (job.id, [*site.queue]) == ("17", ["17"])
    assert "job 17 is submitted" in caplog.text


def test_a_submission_whose_answer_was_lost_is_found_and_not_repeated(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.faults["submit"] = ["lost"]

    assert make_job("ls").submit().id == "17"
    assert (site.calls_of("submit"), len(site.queue)) == (1, 1)


def test_a_submission_that_did_not_arrive_is_repeated(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.faults["submit"] = ["hang", "down"]

    assert make_job("ls").submit().id == "17"
    assert (site.calls_of("submit"), len(site.queue)) == (3, 1)


def test_a_submission_that_nobody_can_tell_of_is_not_repeated(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.faults["submit"] = ["lost"]
    site.faults["find"] = ["down"] * 9

    with pytest.raises(QueueError, match=r"taken is not known(.|\n)*mark cluster-[0-9a-f]{16}"):
        make_job("ls").submit()
    assert (site.calls_of("submit"), len(site.queue)) == (1, 1)


def test_a_controller_that_stays_down_is_an_error(site: Site, scheduler: CommandScheduler) -> None:
    site.faults["submit"] = ["down"] * 99

    with pytest.raises(QueueError, match="controller is down"):
        make_job("ls").submit()
    assert site.queue == {}


def test_a_refused_job_leaves_no_file(
    site: Site, scheduler: CommandScheduler, tmp_path: Path
) -> None:
    site.faults["submit"] = ["refuse"]

    with pytest.raises(OptionsError, match="no such partition"):
        make_job("ls").submit()
    assert site.calls_of("submit") == 1
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_when_one_of_several_is_refused_those_before_it_are_cancelled(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.faults["submit"] = ["ok", "ok", "refuse"]

    with pytest.raises(OptionsError, match=r"2 jobs submitted before it were cancelled.*17, 18"):
        submit_many(["ls", "ls", "ls"])
    assert site.queue == {}


def test_those_that_cannot_be_cancelled_again_are_named(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.faults["submit"] = ["ok", "refuse"]
    site.faults["act"] = ["down"] * 9

    with pytest.raises(OptionsError, match=r"still queued \(17\)"):
        submit_many(["ls", "ls"])


@pytest.mark.parametrize("when", ["ctrl-c", "taken, ctrl-c"])
def test_ctrl_c_in_the_middle_of_a_submission_leaves_no_job(
    site: Site, scheduler: CommandScheduler, when: str
) -> None:
    site.faults["submit"] = ["ok", when]

    with pytest.raises(KeyboardInterrupt):
        submit_many(["ls", "ls"])
    assert site.queue == {}


def test_jobs_of_one_batch_wait_for_each_other_by_their_ids(
    site: Site, scheduler: CommandScheduler
) -> None:
    first, second = make_job("ls"), make_job("ls")
    second.after(first)

    submit_many([second, first])

    assert (first.id, second.id) == ("17", "18")
    assert "--after afterok:17\n" in site.scripts["18"]
    assert "@" not in site.scripts["18"].split("job()")[0].replace("${@", "").replace('"$@"', "")


def test_a_dependency_that_is_met_is_not_told_to_a_scheduler_that_may_have_forgotten(
    site: Site, scheduler: CommandScheduler
) -> None:
    first = make_job("ls").submit()
    finish(site, first)

    make_job("ls", dependencies={"afterok": first.id}).submit()

    assert "--after" not in site.scripts["18"]


def test_a_job_that_can_never_start_is_cancelled_and_says_why(
    site: Site, scheduler: CommandScheduler
) -> None:
    first = make_job("ls").submit()
    finish(site, first, code=3)
    first.wait(LIMIT_S)

    second = make_job("ls", dependencies={"afterok": first.id}).submit()

    assert (second.state, second.reason) == ("CANCELLED", "Dependency 17 failed with exit code 3")
    assert "18" not in site.queue


def test_a_dependent_that_the_scheduler_removed_names_the_dependency(
    site: Site, scheduler: CommandScheduler
) -> None:
    first, second = make_job("ls"), make_job("ls")
    second.after(first)
    submit_many([first, second])
    finish(site, first, code=3)
    site.leave("18")
    site.book("18", "CANCELLED")

    assert not second.wait(LIMIT_S)
    assert (second.state, second.reason) == ("CANCELLED", "Dependency 17 failed with exit code 3")


def test_a_script_that_refused_to_run_is_a_cancelled_job(
    site: Site, scheduler: CommandScheduler
) -> None:
    first, second = make_job("ls").submit(), make_job("ls").submit()
    finish(site, first, code=3)
    write_record(record_of(second), "18", 1, unmet="afterok:17")
    site.leave("18")

    second.wait(LIMIT_S)

    assert (second.state, "17" in second.reason, second.exitcode) == ("CANCELLED", True, None)


def test_what_a_scheduler_cannot_do_is_told_before_anything_is_submitted(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler(Words(missing={"array": "arrays are not available here", "hold": "no hold"}))

    with pytest.raises(OptionsError, match=r"arrays are not available here(.|\n)*no hold"):
        make_job("ls", array="1-3", hold=True).submit()
    with pytest.raises(OptionsError, match="no hold"):
        make_job("ls").submit().hold()


# ---------------------------------------------------------------- how a job ends


def test_an_exit_record_ends_a_wait_and_nobody_is_asked(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    finish(site, job)

    assert job.get(LIMIT_S) == (0, "out of ls\n", "err of ls\n")
    assert site.calls_of("poll") == site.calls_of("books") == 0


def test_a_record_of_another_job_does_not_count(site: Site, scheduler: CommandScheduler) -> None:
    job = make_job("ls").submit()
    write_record(record_of(job), "16")

    with pytest.raises(WaitTimeout):
        job.wait(0.1)


def test_a_failure_is_what_the_scheduler_says_if_it_ended_the_job_itself(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    finish(site, job, code=137)
    site.book("17", "OUT_OF_MEMORY", reason="too much")

    assert not job.wait(LIMIT_S)
    assert (job.state, job.reason) == ("OUT_OF_MEMORY", "too much")


@pytest.mark.parametrize("books", [True, False])
def test_a_failure_that_nobody_explains_is_the_record_s(
    site: Site, open_scheduler: Callable[..., CommandScheduler], books: bool
) -> None:
    open_scheduler(Words(books=books))
    job = make_job("ls").submit()
    finish(site, job, code=137)

    job.wait(LIMIT_S)

    assert (job.state, job.exitcode, job.ended_by) == ("FAILED", 137, 9)


def test_absence_is_not_an_end_while_the_record_is_late(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    site.leave("17")
    polls = 0

    def after_some_polls() -> None:
        nonlocal polls
        polls += 1
        if polls == 3:
            finish(site, job)

    site.on_poll = after_some_polls
    assert job.wait(LIMIT_S)
    assert job.state == "COMPLETED"


def test_books_that_lag_are_asked_again(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler(grace_s=0.3)
    job = make_job("ls").submit()
    site.leave("17")
    site.book("17", "RUNNING")
    threading.Timer(0.6, site.book, ("17", "TIMEOUT")).start()

    job.wait(LIMIT_S)

    assert job.state == "TIMEOUT"


def test_a_job_that_nobody_knows_is_lost_after_the_grace(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    site.leave("17")
    began = time.monotonic()

    job.wait(LIMIT_S)

    assert (job.state, "neither the queue" in job.reason) == ("LOST", True)
    assert time.monotonic() - began >= 0.4
    assert site.calls_of("books") >= 1


def test_while_the_controller_is_down_no_job_ends_and_no_grace_passes(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    site.leave("17")
    site.down = True

    with pytest.raises(WaitTimeout):
        job.wait(1.0)
    known = job.update()
    assert (known.stale, known.queue_info) == (True, None)

    site.down = False
    site.say("17", "RUNNING")
    assert (job.state, job.stale) == ("RUNNING", False)


def test_a_wait_outlives_a_controller_that_is_away(site: Site, scheduler: CommandScheduler) -> None:
    job = make_job("ls").submit()
    site.faults["poll"] = ["down"] * 5
    site.say("17", "RUNNING")
    polls = 0

    def end_it() -> None:
        nonlocal polls
        polls += 1
        if polls == 2:
            finish(site, job)

    site.on_poll = end_it
    assert job.wait(LIMIT_S)
    assert site.faults["poll"] == []


def test_a_wait_gives_up_when_nobody_answers_for_very_long(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    scheduler.poller._give_up_s = 0.2
    site.down = True

    with pytest.raises(QueueError, match=r"could not be asked for(.|\n)*controller is down"):
        job.wait(LIMIT_S)
    assert job.stale


def test_a_question_that_fails_makes_what_is_known_stale(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    site.say("17", "RUNNING")
    assert job.state == "RUNNING"
    scheduler.poller.hurry()
    site.down = True

    assert (job.state, job.stale) == ("RUNNING", True)


def test_a_cancelled_job_that_leaves_no_trace_is_cancelled_and_not_lost(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler(grace_s=1000.0)
    job = make_job("ls").submit()

    assert job.cancel() == "cancelled"
    with pytest.raises(JobCancelled, match="cancelled by its owner"):
        job.get(LIMIT_S)
    assert job.cancel() == "already CANCELLED"


def test_a_job_that_ended_before_its_cancellation_keeps_its_end(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    job.cancel()
    finish(site, job)

    assert job.wait(LIMIT_S)


# ---------------------------------------------------------------- requeue, resubmit


def test_after_a_requeue_the_record_of_the_attempt_before_does_not_count(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    finish(site, job, code=0)
    job.wait(LIMIT_S)

    assert job.requeue() == "requeued"
    site.say("17", "RUNNING")
    with pytest.raises(WaitTimeout):
        job.wait(0.2)
    write_record(record_of(job), "17", 4, attempt=2)
    site.leave("17")

    assert not job.wait(LIMIT_S)
    assert job.exitcode == 4


def test_the_same_scripts_are_submitted_again_under_another_name(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler()
    job = make_job("ls", name="sim").submit()
    finish(site, job)
    job.wait(LIMIT_S)
    open_scheduler()

    again = Job.load("17").resubmit()

    assert (again.id, again.name) == ("18", "sim")
    assert site.marks["18"] not in ("", site.marks["17"])
    assert "sim_2.cluster.exit" in site.scripts["18"]
    assert "sim.cluster" not in site.scripts["18"]
    write_record(str(Path.cwd() / "sim_2.cluster.exit"), "18", 5)
    site.leave("18")
    again.wait(LIMIT_S)
    assert (job.state, again.exitcode) == ("COMPLETED", 5)


# ---------------------------------------------------------------- arrays


def array_job(site: Site) -> Job:
    job = make_job("ls", array="1-3").submit()
    site.leave("17")
    for index in (1, 2, 3):
        site.say(f"17_{index}", "PENDING", index=index)
    return job


def end_element(site: Site, job: Job, index: int, code: int = 0) -> None:
    write_record(f"{record_of(job)}.{index}", "17", code, index=index)
    Path(f"{record_of(job).removesuffix('exit')}out.{index}").write_text(f"element {index}\n")
    Path(f"{record_of(job).removesuffix('exit')}err.{index}").write_text("")
    site.leave(f"17_{index}")


def test_an_array_is_what_its_elements_are(site: Site, scheduler: CommandScheduler) -> None:
    job = array_job(site)
    site.say("17_1", "RUNNING", index=1)

    assert job.state == "RUNNING"
    assert job.queue_info is not None
    assert job.queue_info.counts == {"RUNNING": 1, "PENDING": 2}

    for index, code in ((1, 0), (2, 3), (3, 0)):
        end_element(site, job, index, code)
    assert not job.wait(LIMIT_S)
    assert (job.state, job.queue_info.counts) == ("FAILED", {"COMPLETED": 2, "FAILED": 1})
    assert [each[:2] for each in job.get()] == [
        (0, "element 1\n"), (3, "element 2\n"), (0, "element 3\n"),
    ]  # fmt: skip


def test_one_element_is_waited_for_and_cancelled_by_its_own_id(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = array_job(site)
    end_element(site, job, 2)

    assert [end.info.id for end in scheduler.endings(["17_2"], timeout=LIMIT_S)] == ["17_2"]
    assert scheduler.act("cancel", ["17_3"]) == {"17_3": "cancelled"}
    (ending,) = scheduler.endings(["17_3"], timeout=LIMIT_S)
    assert ending.info.state == "CANCELLED"
    assert job.state == "PENDING"


def test_the_ends_of_elements_are_remembered(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler()
    job = array_job(site)
    for index, code in ((1, 0), (2, 3), (3, 0)):
        end_element(site, job, index, code)
    job.wait(LIMIT_S)
    before = len(site.argvs)
    later = open_scheduler()

    infos = later.query(["17"], elements=True)

    assert [(info.id, info.exitcode) for info in infos] == [("17_1", 0), ("17_2", 3), ("17_3", 0)]
    assert len(site.argvs) == before


# ---------------------------------------------------------------- other processes


def test_another_process_finds_a_job_by_its_id_and_by_its_name(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    from cluster.queue import Queue

    open_scheduler()
    job = make_job("ls", name="sim [1]").submit()
    make_job("ls", name="other").submit()
    finish(site, job)
    open_scheduler()

    assert Job.load(17).get(LIMIT_S)[1] == "out of sim [1]\n"
    (found,) = Queue.reconnect("sim [")
    assert (found.id, found.name, found.state) == ("17", "sim [1]", "COMPLETED")


def test_an_end_is_known_for_good_when_everybody_else_has_forgotten_it(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler()
    job = make_job("ls").submit()
    finish(site, job, code=3)
    job.wait(LIMIT_S)
    Path(record_of(job)).unlink()
    before = len(site.argvs)
    open_scheduler()

    assert (Job.load(17).state, Job.load(17).exitcode) == ("FAILED", 3)
    assert len(site.argvs) == before


def test_short_processes_together_find_out_that_a_job_is_lost(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler(grace_s=0.2)
    make_job("ls").submit()
    site.leave("17")
    assert open_scheduler(grace_s=0.2).query(["17"])[0].state == "PENDING"
    deadline = time.monotonic() + LIMIT_S

    state = "PENDING"
    while state == "PENDING" and time.monotonic() < deadline:
        state = open_scheduler(grace_s=0.2).query(["17"])[0].state

    assert state == "LOST"


def test_another_process_knows_that_a_job_was_cancelled(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    open_scheduler(grace_s=1000.0)
    make_job("ls").submit().cancel()
    open_scheduler(grace_s=1000.0)

    assert Job.load(17).state == "CANCELLED"


def test_a_job_of_another_user_is_what_the_scheduler_says(
    site: Site, scheduler: CommandScheduler
) -> None:
    site.say("99", "RUNNING")
    site.marks["99"] = ""
    job = Job.load("99")
    assert (job.name, job.state) == ("label", "RUNNING")

    site.leave("99")
    site.book("99", "COMPLETED", exitcode=0)

    assert job.wait(LIMIT_S)


def test_a_job_that_nobody_ever_heard_of_is_unknown(
    site: Site, scheduler: CommandScheduler
) -> None:
    assert scheduler.query(["99"]) == []
    with pytest.raises(UnknownJob, match="99"):
        list(scheduler.endings(["99"], timeout=LIMIT_S))
    with pytest.raises(UnknownJob, match="99"):
        Job.load("99")


def test_the_queue_shows_jobs_of_the_scheduler_and_those_that_ended_lately(
    site: Site, scheduler: CommandScheduler
) -> None:
    ended, waits = make_job("ls").submit(), make_job("ls", name="mine").submit()
    finish(site, ended)
    site.say("99", "RUNNING")

    shown = {info.id: (info.name, info.state) for info in scheduler.jobs(user=None, partition=None)}

    assert shown == {
        ended.id: ("ls", "COMPLETED"), waits.id: ("mine", "PENDING"), "99": ("label", "RUNNING"),
    }  # fmt: skip


# ---------------------------------------------------------------- many, together


def test_threads_that_wait_share_one_question(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    scheduler = open_scheduler(shortest_s=0.1, longest_s=0.1)
    jobs = submit_many(["true"] * 20)
    ended: list[str] = []

    def wait(job: Job) -> None:
        assert job.id is not None
        ended.extend(end.info.id for end in scheduler.endings([job.id], timeout=LIMIT_S))

    site.on_poll = lambda: time.sleep(0.02)  # time enough for a second one to come between
    threads = [threading.Thread(target=wait, args=(job,)) for job in jobs]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    until(lambda: site.calls_of("poll") >= 3)
    for job in jobs:
        finish(site, job)
    for thread in threads:
        thread.join(LIMIT_S)

    assert sorted(ended) == sorted(str(job.id) for job in jobs)
    assert site.calls_of("poll") <= (time.monotonic() - began) / 0.08 + 2
    assert site.most_at_once == 1


def test_jobs_are_asked_about_together(site: Site, scheduler: CommandScheduler) -> None:
    jobs = submit_many(["ls", "ls"])
    site.say("17", "RUNNING")
    site.say("18", "HELD")

    assert [info.state for info in scheduler.query(["17", "18"])] == ["RUNNING", "HELD"]
    assert (jobs[0].state, jobs[1].state) == ("RUNNING", "HELD")
    assert [argv for argv in site.argvs if argv[0] == "poll"] == [("poll", "17", "18")]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_thousand_jobs_are_asked_about_at_once(site: Site, scheduler: CommandScheduler) -> None:
    entry = None
    make_job("true").submit()
    entry = scheduler.registry.recall("17")
    assert entry is not None
    import msgspec

    ids = [str(n) for n in range(1000, 2000)]
    for id in ids:
        info = msgspec.structs.replace(entry.info, id=id)
        scheduler.poller.remember(msgspec.structs.replace(entry, info=info, record=""))
        site.book(id, "COMPLETED", exitcode=0)

    ended = list(scheduler.endings(ids, timeout=LIMIT_S))

    assert len(ended) == 1000
    assert site.calls_of("poll") <= 2
    assert site.calls_of("books") <= 4


def test_ctrl_c_ends_a_wait_at_once_and_the_next_one_works(
    site: Site, scheduler: CommandScheduler
) -> None:
    job = make_job("ls").submit()
    site.faults["poll"] = ["ctrl-c"]

    with pytest.raises(KeyboardInterrupt):
        job.wait(LIMIT_S)

    finish(site, job)
    assert job.wait(LIMIT_S)


def test_a_wait_that_was_given_up_is_asked_for_no_more(
    site: Site, scheduler: CommandScheduler
) -> None:
    first, second = submit_many(["ls", "ls"])
    finish(site, second)
    waiting = scheduler.endings([str(first.id), str(second.id)])
    next(waiting)
    waiting.close()
    site.argvs.clear()

    with pytest.raises(WaitTimeout):
        list(scheduler.endings([str(first.id)], timeout=0.3))

    assert {argv for argv in site.argvs if argv[0] == "poll"} == {("poll", "17")}
    assert not scheduler.poller._watched


# ---------------------------------------------------------------- files


def test_a_result_that_a_network_file_system_shows_late_is_waited_for(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    scheduler = open_scheduler(grace_s=LIMIT_S)
    job = make_job(len, ([1],)).submit()
    finish(site, job)
    job.wait(LIMIT_S)
    assert job.function is not None
    path = Path(job.function.outfile)
    threading.Timer(0.3, path.write_bytes, (b"late",)).start()

    content = scheduler.content("17")

    assert (content.result.file, path.read_bytes()) == (str(path).encode(), b"late")


def test_a_failed_function_without_a_result_is_not_waited_for(
    site: Site, open_scheduler: Callable[..., CommandScheduler]
) -> None:
    scheduler = open_scheduler(grace_s=1000.0, settle_s=0.1)
    job = make_job(len, ([1],)).submit()
    finish(site, job, code=9)
    job.wait(LIMIT_S)

    assert scheduler.content("17").result == Content().result


def test_resources_are_the_scheduler_s(site: Site, scheduler: CommandScheduler) -> None:
    assert scheduler.resources().cores == 8
