"""Jobs as a user has them in hand, over a scheduler of dicts and over the real local queue."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_scheduler import FakeScheduler, replace_info

import cluster
from cluster import outcome, schedulers
from cluster.errors import (
    JobCancelled,
    JobFailed,
    JobNodeFail,
    JobOutOfMemory,
    JobTimeout,
    OptionsError,
    PayloadError,
    QueueError,
    UnknownDependency,
    UnknownJob,
    WaitTimeout,
)
from cluster.job import Job, clean, clean_dir, make_job, make_job_file, submit, submit_many
from cluster.schedulers.base import Call, Command, Content, Output
from cluster.spec import Dependency


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    scheduler = FakeScheduler()
    monkeypatch.setattr(schedulers, "get", lambda qtype: scheduler)
    return scheduler


def until(ask: Callable[[], str], timeout_s: float = 10.0) -> str:
    """Ask until there is an answer: news of a start comes a moment after it."""
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer


def add(a: int, b: int = 1) -> int:
    return a + b


# ---------------------------------------------------------------- what is asked of the scheduler


def test_a_function_is_called_with_a_tuple_s_items(fake: FakeScheduler) -> None:
    submit(add, (1, 2))

    assert fake.requests[0].program == Call(add, (1, 2), {})


@pytest.mark.parametrize("args", [[1, 2], 5, "text", {"a": 1}])
def test_whatever_is_no_tuple_is_one_argument(fake: FakeScheduler, args: object) -> None:
    submit(print, args)

    assert fake.requests[0].program == Call(print, (args,), {})


def test_a_function_takes_keywords(fake: FakeScheduler) -> None:
    submit(add, 1, kwargs={"b": 3})

    assert fake.requests[0].program == Call(add, (1,), {"b": 3})


def test_a_list_is_an_argv_and_stays_verbatim(fake: FakeScheduler) -> None:
    submit(["ls", "$(id)", "a b", b"\xff", Path("-x"), 3])

    assert fake.requests[0].program == Command((b"ls", b"$(id)", b"a b", b"\xff", b"-x", b"3"))


def test_a_text_without_shell_syntax_is_split_into_words(fake: FakeScheduler) -> None:
    submit("sort -k 2 'my file'")

    assert fake.requests[0].program == Command((b"sort", b"-k", b"2", b"my file"))


def test_a_text_with_shell_syntax_is_left_to_the_shell(fake: FakeScheduler) -> None:
    submit("sort < in | uniq")

    assert fake.requests[0].program == Command((), "sort < in | uniq")


def test_arguments_of_a_command_stand_apart_behind_it(fake: FakeScheduler) -> None:
    submit("echo", ("hi", "there $(id)"))

    assert fake.requests[0].program == Command((b"echo", b"hi", b"there $(id)"))


def test_the_name_is_that_of_the_function_or_the_program(fake: FakeScheduler) -> None:
    names = [make_job(add).name, make_job("/bin/ls -l").name, make_job(add, name="mine").name]

    assert names == ["add", "ls", "mine"]


def test_run_times_are_learned_under_the_function_or_the_name(fake: FakeScheduler) -> None:
    submit_many([Job(add, name="x"), Job("ls -l", name="x"), Job("ls -l")])

    assert [r.key for r in fake.requests] == [f"{__name__}.add", "x", "ls"]


def test_outputs_are_named_from_the_job_s_directory(fake: FakeScheduler, tmp_path: Path) -> None:
    submit("ls", dir=tmp_path, outfile="a b.out", errfile="/dev/null")

    request = fake.requests[0]
    assert request.stdout == os.fsencode(tmp_path / "a b.out")
    assert (request.stderr, request.cwd) == (b"/dev/null", os.fsencode(tmp_path))


def test_a_path_through_a_link_is_not_shortened(fake: FakeScheduler, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")

    submit("ls", dir=f"{tmp_path}/link/..", outfile="link/../x")

    assert fake.requests[0].cwd == os.fsencode(f"{tmp_path}/link/..")
    assert fake.requests[0].stdout == os.fsencode(f"{tmp_path}/link/../link/../x")


def test_words_of_the_profile_give_way_to_those_of_the_call(fake: FakeScheduler) -> None:
    cluster.config_file.set_profile("big", {"cores": 8, "mem": "2G"})

    submit("ls", profile="big", cpus=3)

    assert fake.requests[0].options == {"mem": 2048, "cores": 3}


def test_a_profile_s_word_can_be_taken_away(fake: FakeScheduler) -> None:
    cluster.config_file.set_profile("big", {"mem": "2G"})

    submit("ls", profile="big", memory=None)

    assert fake.requests[0].options == {}


# ---------------------------------------------------------------- dependencies


def test_dependencies_are_jobs_ids_elements_types_and_lists(fake: FakeScheduler) -> None:
    first = submit("true")

    submit("true", dependencies=[first, 17, "17_3", ("afternotok", first), {"after": [5, first]}])

    assert set(fake.requests[1].dependencies) == {
        Dependency("1"), Dependency("17"), Dependency("17_3"), Dependency("1", "afternotok"),
        Dependency("5", "after"), Dependency("1", "after"),
    }  # fmt: skip


def test_after_adds_a_dependency(fake: FakeScheduler) -> None:
    first = submit("true")

    make_job("true").after(first, type="afterany").submit()

    assert fake.requests[1].dependencies == (Dependency("1", "afterany"),)


def test_a_dependency_that_was_not_submitted_is_an_error_with_advice(fake: FakeScheduler) -> None:
    job = make_job("true", dependencies=make_job("ls", name="first"))

    with pytest.raises(UnknownDependency, match=r"'first'.*Submit 'first' first"):
        job.submit()
    assert (fake.requests, job.id) == ([], None)


def test_a_job_may_be_submitted_after_the_one_it_was_made_to_wait_for(fake: FakeScheduler) -> None:
    first = make_job("ls")
    second = make_job("true", dependencies=first)

    first.submit()
    second.submit()

    assert fake.requests[1].dependencies == (Dependency("1"),)


def test_a_job_cannot_wait_for_itself(fake: FakeScheduler) -> None:
    job = make_job("true")

    with pytest.raises(OptionsError, match="cycle"):
        job.after(job)


def test_jobs_cannot_wait_for_each_other(fake: FakeScheduler) -> None:
    a, b = make_job("true", name="a"), make_job("true", name="b")
    a.after(b)

    with pytest.raises(OptionsError, match="cycle"):
        b.after([a])


def test_many_jobs_are_one_submission_in_the_order_of_their_dependencies(
    fake: FakeScheduler,
) -> None:
    last = make_job("true", name="last")
    first = make_job("true", name="first")
    last.after(first, type="afterany")

    submit_many([last, first, "ls", {"command": "ls", "name": "fourth"}])

    assert fake.batches == [4]
    by_name = {r.name: (n, r.dependencies) for n, r in enumerate(fake.requests)}
    place = by_name["first"][0]
    assert by_name["last"] == (by_name["last"][0], (Dependency(f"@{place}", "afterany"),))
    assert place < by_name["last"][0]
    assert (first.id, last.id) == (str(place + 1), str(by_name["last"][0] + 1))


# ---------------------------------------------------------------- refusals


def test_all_mistakes_are_in_one_error_and_nothing_is_queued(fake: FakeScheduler) -> None:
    fake.problems = ["outfile '/no/x' cannot be written."]

    with pytest.raises(OptionsError) as caught:
        submit(print, (threading.Lock(),), name="a\nb", coers=3, time="90")

    told = str(caught.value)
    for part in ("did you mean cores", "'90'", "newline", "/no/x", "lock"):
        assert part in told
    assert fake.requests == []


def test_what_is_wrong_in_files_is_told_with_what_is_wrong_in_words(state_dir: Path) -> None:
    with pytest.raises(OptionsError) as caught:
        submit("nonesuch-program", outfile="/no/such/dir/x", mem="lots", time="90")

    told = str(caught.value).splitlines()
    assert [line[:2] for line in told[1:]] == ["- ", "- ", "- ", "- "]
    assert list(state_dir.iterdir()) == []


def test_one_mistake_is_told_alone_and_as_what_it_is(fake: FakeScheduler) -> None:
    with pytest.raises(PayloadError, match="lock"):
        submit(print, (threading.Lock(),))


@pytest.mark.parametrize("command", ["", "  ", [], [""], None, 3, ["a\0b"], "a\0b"])
def test_what_cannot_be_run_is_refused(fake: FakeScheduler, command: object) -> None:
    with pytest.raises(OptionsError):
        submit(command)


@pytest.mark.parametrize("args", [{"a": 1}, [None], [object()], ["a\0b"], {1, 2}])
def test_what_cannot_be_an_argument_is_refused(fake: FakeScheduler, args: object) -> None:
    with pytest.raises(OptionsError):
        submit(["ls"], args)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0b", "\udcff"])
def test_what_cannot_be_a_name_is_refused(fake: FakeScheduler, name: str) -> None:
    with pytest.raises(OptionsError, match="name"):
        submit("ls", name=name)


@pytest.mark.parametrize("name", ["a b", "$(id)", "-x", 'it\'s "q"', "é", "a/b", "..", "#$ x"])
def test_other_names_are_kept_verbatim(fake: FakeScheduler, name: str) -> None:
    assert submit("ls", name=name).name == name
    assert fake.requests[0].name == name


def test_a_job_is_submitted_once(fake: FakeScheduler) -> None:
    job = submit("ls")

    with pytest.raises(OptionsError, match="resubmit"):
        job.submit()


def test_arguments_behind_a_text_that_would_swallow_them_are_refused(fake: FakeScheduler) -> None:
    with pytest.raises(OptionsError, match="list"):
        submit("sleep 1 &", ("x",))


@pytest.mark.parametrize("qtype", ["slurm", "torque", "sge", "lsf"])
def test_a_cluster_that_is_not_here_is_an_error(
    qtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(QueueError, match=f"qtype '{qtype}' is not available: .* not on PATH"):
        submit("ls", qtype=qtype)


def test_an_unknown_scheduler_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(OptionsError, match="local, slurm"):
        submit("ls", qtype="clurm")


# ---------------------------------------------------------------- what a job says


def test_a_job_says_nothing_before_it_is_submitted(fake: FakeScheduler) -> None:
    job = make_job("ls")

    said = (job.id, job.state, job.done, job.exitcode, job.usage, job.reason, job.stdout)
    assert said == (None, None, False, None, None, "", "")
    assert repr(job) == "<Job 'ls', not submitted>"


def test_a_job_asks_until_it_has_ended_and_no_more(fake: FakeScheduler) -> None:
    job = submit("ls")

    pending = job.state
    fake.end("1")
    ended = [job.state, job.state, job.done]

    assert (pending, ended, fake.queries) == ("PENDING", ["COMPLETED", "COMPLETED", True], 2)


def test_a_question_that_fails_makes_a_job_stale_and_never_finished(fake: FakeScheduler) -> None:
    job = submit("ls")
    before = (job.state, job.stale)

    fake.gone = True

    assert before == ("PENDING", False)
    assert (job.state, job.stale, job.done) == ("PENDING", True, False)


def test_a_job_that_the_scheduler_does_not_know_is_stale(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.infos.clear()

    assert (job.done, job.stale) == (False, True)


def test_a_wait_that_fails_makes_a_job_stale(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.gone = True

    with pytest.raises(QueueError):
        job.wait()
    assert job.stale


def test_a_job_that_ended_stays_as_it_is_when_nobody_can_be_asked(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.end("1")
    job.wait()
    fake.gone = True

    assert (job.wait(), job.state, job.stale) == (True, "COMPLETED", False)


def test_the_record_of_a_job_has_times_and_means(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.end("1", cpu_s=0.5, peak_memory_mib=12.0, host="here", signal=9, exitcode=None)

    usage = job.usage

    assert usage is not None
    assert (usage.wall_s, usage.cpu_s, usage.peak_memory_mib, usage.host) == (2.5, 0.5, 12, "here")
    assert (job.exitcode, job.ended_by, usage.signal) == (137, 9, 9)


@pytest.mark.parametrize("sig", [10, "USR1", "SIGUSR1", "usr1", signal.SIGUSR1])
def test_a_signal_is_named_or_numbered(fake: FakeScheduler, sig: object) -> None:
    submit("ls").signal(sig)  # type: ignore[arg-type]

    assert fake.acts == [("signal", ("1",), 10)]


def test_a_signal_that_does_not_exist_is_refused(fake: FakeScheduler) -> None:
    with pytest.raises(OptionsError, match="USR7"):
        submit("ls").signal("USR7")


def test_verbs_are_passed_on_and_say_what_happened(fake: FakeScheduler) -> None:
    job = submit("ls")

    said = [job.hold(), job.release(), job.requeue(), job.cancel()]

    assert said == ["hold done", "release done", "requeue done", "cancel done"]
    assert [verb for verb, _, _ in fake.acts] == ["hold", "release", "requeue", "cancel"]


# ---------------------------------------------------------------- what get() gives


def test_a_command_gives_code_and_outputs_whatever_the_code(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.end("1", "FAILED", exitcode=3)
    fake.contents["1"] = Content(stdout=Output(b"\xffout"), stderr=Output(b"err"))

    result = job.get()

    assert result == (3, "\udcffout", "err")
    assert (result.exitcode, result.signal) == (3, None)


def test_a_signal_is_128_and_n_and_kept_apart(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.end("1", "FAILED", exitcode=None, signal=15)

    result = job.get()

    assert (result.exitcode, result.signal) == (143, 15)
    assert pickle.loads(pickle.dumps(result)).signal == 15


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("CANCELLED", JobCancelled),
        ("TIMEOUT", JobTimeout),
        ("OUT_OF_MEMORY", JobOutOfMemory),
        ("NODE_FAIL", JobNodeFail),
    ],
)
def test_a_job_that_others_ended_raises_with_reason_and_last_words(
    fake: FakeScheduler, state: str, kind: type[JobFailed]
) -> None:
    job = submit("ls")
    fake.end("1", state, exitcode=None, signal=9, reason="because")
    fake.contents["1"] = Content(stderr=Output(b"x\n" * 500 + b"last words\n"))

    with pytest.raises(kind) as caught:
        job.get()

    error = caught.value
    assert (error.id, error.state, error.reason, error.signal) == ("1", state, "because", 9)
    assert error.stderr_tail.endswith("last words")
    assert len(error.stderr_tail.splitlines()) == 20


def test_a_function_that_left_nothing_raises_with_its_code(fake: FakeScheduler) -> None:
    job = submit(add, 1)
    fake.end("1", "FAILED", kind="function", exitcode=3)

    with pytest.raises(JobFailed, match="exit code 3 and left no result"):
        job.get()


def test_output_of_a_running_job_is_not_that_of_the_job_that_got_its_file_next(
    fake: FakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = tmp_path / "slot"
    slot.write_text("mine")
    job = submit("x")
    fake.infos["1"] = replace_info(fake.infos["1"], state="RUNNING")
    fake.contents["1"] = Content(stdout=Output(file=os.fsencode(slot)))
    read = outcome.read_bytes

    def read_late(output: Output) -> bytes:
        if output.file:  # between the answer and the reading it ends, and the file is lent again
            fake.end("1")
            fake.contents["1"] = Content(stdout=Output(b"mine, whole"))
            slot.write_text("of another job")
        return read(output)

    monkeypatch.setattr(outcome, "read_bytes", read_late)

    assert job.stdout == "mine, whole"


def test_large_outputs_are_read_from_their_files(fake: FakeScheduler, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"big")
    job = submit("ls")
    fake.end("1")
    fake.contents["1"] = Content(stdout=Output(file=os.fsencode(tmp_path / "out")))

    assert job.get().stdout == "big"


def test_what_is_no_plain_file_is_not_read_back(fake: FakeScheduler, tmp_path: Path) -> None:
    job = submit("ls", outfile="/dev/zero")
    fake.end("1")
    # A directory stands for the device: reading that by mistake would never end.
    fake.contents["1"] = Content(stdout=Output(file=os.fsencode(tmp_path)))

    assert job.get().stdout == ""


def test_past_the_timeout_the_job_goes_on(fake: FakeScheduler) -> None:
    with pytest.raises(TimeoutError) as caught:
        submit("ls").get(timeout=0)

    assert isinstance(caught.value, WaitTimeout)


# ---------------------------------------------------------------- from elsewhere


def test_a_pickled_job_is_its_id(fake: FakeScheduler) -> None:
    job = submit(lambda: threading.Lock())

    again = pickle.loads(pickle.dumps(job))

    assert (again.id, again.state, again.name) == ("1", "PENDING", "<lambda>")
    assert len({job, again}) == 2


def test_a_job_that_was_not_submitted_has_no_pickle(fake: FakeScheduler) -> None:
    with pytest.raises(OptionsError, match="not submitted"):
        pickle.dumps(make_job("ls", name="j"))


def test_a_job_is_loaded_by_id(fake: FakeScheduler) -> None:
    submit("ls")

    assert Job.load(1).name == "ls"


def test_an_id_that_does_not_exist_cannot_be_loaded(fake: FakeScheduler) -> None:
    with pytest.raises(UnknownJob, match="17"):
        Job.load("17")


def test_a_job_is_submitted_again_as_another(fake: FakeScheduler) -> None:
    job = submit("ls", name="n", cores=2)

    again = job.resubmit()

    assert (job.id, again.id, again.state) == ("1", "2", "PENDING")
    assert fake.requests[0] == fake.requests[1]


def test_a_loaded_job_is_submitted_again_from_the_queue_s_record(fake: FakeScheduler) -> None:
    submit("ls")

    assert Job.load(1).resubmit().id == "99"


# ---------------------------------------------------------------- files


def test_submitting_writes_no_file(
    fake: FakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    submit_many(["ls", add])

    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_needs_files_gets_them_written(
    fake: FakeScheduler, tmp_path: Path
) -> None:
    fake.needs_files = True

    job = submit("ls", path=tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == ["ls.cluster.sbatch"]
    assert job.submission.written


def test_a_second_job_of_the_same_name_leaves_the_files_of_the_first(
    fake: FakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "qtype", "slurm")
    first = make_job("ls", name="n", path=tmp_path).write()

    second = make_job("ls", name="n", path=tmp_path).write().write()

    assert first.submission.file_name == str(tmp_path / "n.cluster.sbatch")
    assert second.submission.file_name == str(tmp_path / "n_2.cluster.sbatch")
    assert len(list(tmp_path.iterdir())) == 2


def test_cleaning_deletes_what_the_job_wrote_and_no_more(
    fake: FakeScheduler, tmp_path: Path
) -> None:
    (tmp_path / "mine").touch()
    job = make_job("ls", path=tmp_path).write()

    clean([job])

    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_outputs_are_deleted_only_when_asked_and_read_before(
    fake: FakeScheduler, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.write_text("kept")
    job = submit("ls", outfile=out)
    fake.end("1")
    fake.contents["1"] = Content(stdout=Output(file=os.fsencode(out)))

    job.clean()
    there = out.exists()
    job.clean(delete_outputs=True)

    assert (there, out.exists(), job.get_stdout()) == (True, False, "kept")


def test_a_device_or_pipe_that_the_user_named_is_never_deleted(
    fake: FakeScheduler, tmp_path: Path
) -> None:
    # A pipe of our own: were this to fail with /dev/null, root would lose it.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    job = submit("ls", outfile=pipe)
    fake.end("1")
    fake.contents["1"] = Content(stdout=Output(file=os.fsencode(pipe)))

    job.clean(delete_outputs=True)

    assert pipe.exists()


def test_clean_dir_deletes_only_names_that_jobs_have(tmp_path: Path) -> None:
    ours = ["a.cluster", "a.cluster.sbatch", "a.cluster.script", "a.cluster.qsub", "a.cluster.out",
            "a.cluster.err", "a_func.cluster.py", "a_func.cluster.py.pickle.in",
            "a_func.cluster.py.pickle.out"]  # fmt: skip
    theirs = ["a.py", "cluster", ".cluster", "a.cluster.txt", "acluster", "a.clusters"]
    for name in ours + theirs:
        (tmp_path / name).touch()
    (tmp_path / "d.cluster").mkdir()
    (tmp_path / "link.cluster").symlink_to("a.py")

    deleted = clean_dir(tmp_path)

    assert deleted == {str(tmp_path / name) for name in ours}
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {*theirs, "d.cluster", "link.cluster"}


def test_clean_dir_of_one_scheduler_leaves_the_scripts_of_others(tmp_path: Path) -> None:
    for name in ["a.cluster.sbatch", "a.cluster.qsub", "a.cluster"]:
        (tmp_path / name).touch()

    assert clean_dir(tmp_path, qtype="slurm") == {str(tmp_path / "a.cluster.sbatch")}


def test_clean_dir_asks_first_and_takes_no_answer_for_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cluster").touch()
    with open(os.devnull) as nobody:
        monkeypatch.setattr("sys.stdin", nobody)

        assert clean_dir(tmp_path, confirm=True) == set()
    assert "a.cluster" in capsys.readouterr().out


def test_an_empty_suffix_would_be_everything_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="suffix"):
        clean_dir(tmp_path, suffix="")


# ---------------------------------------------------------------- the real queue


@pytest.mark.slow
def test_functions_and_commands_come_back_and_leave_no_file(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    base = 10
    jobs = [submit(lambda n: base + n, n) for n in range(6)]
    jobs += submit_many([["echo", "a b", "$(id)"], "echo hi; exit 3", "kill -9 $$"])
    assert cluster.wait(jobs, timeout=60) is False

    assert [job.get() for job in jobs[:6]] == [10, 11, 12, 13, 14, 15]
    assert jobs[6].get() == (0, "a b $(id)\n", "")
    assert jobs[7].get() == (3, "hi\n", "")
    killed = jobs[8].get()
    assert (killed.exitcode, killed.signal, jobs[8].state) == (137, 9, "FAILED")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_exception_comes_back_with_its_remote_traceback(state_dir: Path) -> None:
    def fails() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost") as caught:
        submit(fails).get(timeout=60)

    assert "in fails" in str(caught.value.__cause__)


@pytest.mark.slow
def test_ends_of_functions_without_a_value(state_dir: Path) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    gone, four, zero = submit_many(
        [Job(os._exit, 3), Job(leave, 4), Job(leave, 0)],
    )

    with pytest.raises(JobFailed) as by_exit:
        gone.get(timeout=60)
    with pytest.raises(JobFailed) as by_code:
        four.get(timeout=60)
    assert (by_exit.value.exitcode, by_code.value.exitcode) == (3, 4)
    assert (zero.get(timeout=60), zero.state) == (None, "COMPLETED")


@pytest.mark.slow
def test_large_arguments_and_results_go_there_and_back(state_dir: Path) -> None:
    data = os.urandom(1 << 20)

    assert submit(bytes.upper, data).get(timeout=60) == data.upper()


@pytest.mark.slow
def test_a_dependent_of_a_failed_job_is_cancelled_with_the_reason(state_dir: Path) -> None:
    bad = submit("exit 3", name="bad")
    child = submit("true", dependencies=bad)
    other = submit("true", dependencies=("afternotok", bad))

    with pytest.raises(JobCancelled, match=f"Dependency {bad.id}"):
        child.get(timeout=60)
    assert other.wait(timeout=60) is True
    with pytest.raises(UnknownDependency):
        submit("true", dependencies=9999)


@pytest.mark.slow
def test_prologue_environment_and_files_of_a_command(state_dir: Path, tmp_path: Path) -> None:
    job = submit(
        "echo $A $B; exit 5",
        dir=tmp_path,
        outfile="out $x",
        env={"A": "it's"},
        env_append={"B": "2"},
        prologue="export B=$B-p",
        epilogue="echo code $CLUSTER_EXITCODE",
    )

    assert job.wait(timeout=60) is False
    assert job.exitcode == 5
    assert (tmp_path / "out $x").read_text() == "it's 2-p\ncode 5\n"


@pytest.mark.slow
def test_a_running_job_shows_what_it_wrote_and_takes_signals(
    state_dir: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    job = submit(f"trap 'exit 7' USR1; echo started; echo > {fifo}; while :; do sleep 0.05; done")
    fifo.read_text()

    seen, state = until(job.get_stdout), job.state
    job.signal("USR1")

    assert (seen, state) == ("started\n", "RUNNING")
    assert job.get(timeout=60).exitcode == 7


@pytest.mark.slow
def test_another_process_s_job_is_cancelled_by_id(state_dir: Path) -> None:
    job = Job.load(submit("sleep 60").id or "")

    cluster.cancel(job)

    with pytest.raises(JobCancelled):
        job.get(timeout=60)
    again = job.resubmit()
    again.cancel()
    assert again.id != job.id


@pytest.mark.slow
def test_a_script_file_is_run_by_its_first_line_or_by_bash(state_dir: Path, tmp_path: Path) -> None:
    by_line, by_bash = tmp_path / "a b", tmp_path / "b"
    by_line.write_text("#!/bin/cat\nshown\n")
    by_bash.write_text("echo $((1 + 2))\n")

    first = cluster.submit_file(by_line)
    second = cluster.submit_file(by_bash, dependencies=[first], threads=1)

    assert Job.load(first).get(timeout=60).stdout == "#!/bin/cat\nshown\n"
    assert Job.load(second).get(timeout=60).stdout == "3\n"


@pytest.mark.slow
def test_written_scripts_do_what_the_queue_would_do(state_dir: Path, tmp_path: Path) -> None:
    command = make_job_file(["printf", "%s", "a 'b' $(id)"], path=tmp_path, name="c")
    job = make_job(lambda n: print("called", n), 4, path=tmp_path, name="f").write()

    done = Job.load(cluster.submit_file(command)).get(timeout=60)
    called = Job.load(cluster.submit_file(job.submission.file_name)).get(timeout=60)

    assert done == (0, "a 'b' $(id)", "")
    assert called == (0, "called 4\n", "")
    clean(job)
    assert {p.name for p in tmp_path.iterdir()} == {"c.cluster"}


@pytest.mark.slow
def test_a_decorated_function_submits_itself(state_dir: Path) -> None:
    @cluster.function(cores=1, name="double")
    def double(n: int) -> int:
        return 2 * n

    job = double(4)

    assert (job.name, job.get(timeout=60), double.__wrapped__(1)) == ("double", 8, 2)
