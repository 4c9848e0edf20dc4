"""Waiting for jobs, and the view over them."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from fake_scheduler import FakeScheduler

import cluster
from cluster import queue, schedulers
from cluster.cli import app
from cluster.errors import OptionsError, QueueError, UnknownJob, WaitTimeout
from cluster.job import submit, submit_many
from cluster.queue import Queue


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    scheduler = FakeScheduler()
    monkeypatch.setattr(schedulers, "get", lambda qtype: scheduler)
    return scheduler


class Terminal(io.StringIO):
    """A standard error that somebody looks at."""

    def isatty(self) -> bool:
        return True


# ---------------------------------------------------------------- waiting


def test_wait_is_true_only_if_all_are_completed(fake: FakeScheduler) -> None:
    good, bad = submit_many(["ls", "ls"])
    fake.end("1")
    fake.end("2", "FAILED", exitcode=1)

    assert (queue.wait(good), queue.wait([good, bad]), queue.wait([])) == (True, False, True)


@pytest.mark.parametrize("form", [1, "1", ["1", [2]], {"a": 1}, (i for i in (1, 2))])
def test_jobs_are_told_by_ids_and_lists_of_lists(fake: FakeScheduler, form: object) -> None:
    submit_many(["ls", "ls"])
    fake.end("1")
    fake.end("2")

    assert queue.wait(form) is True


def test_what_is_no_job_is_refused(fake: FakeScheduler) -> None:
    with pytest.raises(OptionsError, match=r"3\.5 is no job"):
        queue.wait([3.5])


def test_a_job_that_was_not_submitted_cannot_be_waited_for(fake: FakeScheduler) -> None:
    with pytest.raises(OptionsError, match="'j' was not submitted"):
        queue.wait(cluster.make_job("ls", name="j"))


def test_a_wait_that_ends_too_early_is_a_timeout_error(fake: FakeScheduler) -> None:
    with pytest.raises(TimeoutError) as caught:
        queue.wait(submit("ls"), timeout=0)

    assert isinstance(caught.value, WaitTimeout)


@pytest.mark.parametrize(
    "wait",
    [
        lambda job, limit: job.wait(limit),
        lambda job, limit: job.get(limit),
        lambda job, limit: job.result(limit),
        lambda job, limit: queue.wait([job], limit),
        lambda job, limit: list(queue.as_completed([job], limit)),
        lambda job, limit: Queue().wait(job, limit),
        lambda job, limit: Queue().wait_to_submit(1, limit),
        lambda job, limit: asyncio.run(cluster.aio.wait(job, limit)),
    ],
)
def test_a_timeout_may_be_a_text_and_is_refused_by_its_name(
    fake: FakeScheduler, wait: Callable[[cluster.Job, object], object]
) -> None:
    job = submit("ls")

    with pytest.raises(WaitTimeout):
        wait(job, "0s")
    with pytest.raises(OptionsError, match=r"^timeout: .*'soon'"):
        wait(job, "soon")


def test_a_bad_timeout_is_told_of_also_when_nothing_is_left_to_wait_for(
    fake: FakeScheduler,
) -> None:
    job = submit("ls")
    fake.end("1")
    job.wait()

    with pytest.raises(OptionsError, match="timeout"):
        job.wait("soon")


def test_a_waited_job_needs_no_further_question(fake: FakeScheduler) -> None:
    job = submit("ls")
    fake.end("1")

    queue.wait(job)

    assert (job.state, fake.queries) == ("COMPLETED", 0)


def test_as_completed_gives_back_what_was_given_in_order_of_ends(fake: FakeScheduler) -> None:
    first, second = submit_many(["ls", "ls"])
    fake.end("2")
    fake.end("1")
    fake.infos = dict(reversed(fake.infos.items()))

    assert list(queue.as_completed([first, second, "1"])) == [second, first, "1"]


def test_ctrl_c_says_on_a_terminal_how_to_get_back(
    fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    jobs = submit_many(["ls", "ls"])

    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "endings", interrupted)

    with redirect_stderr(terminal), pytest.raises(KeyboardInterrupt):
        queue.wait(jobs)
    assert "2 jobs go on" in terminal.getvalue()
    assert "cluster wait 1 2" in terminal.getvalue()
    assert fake.acts == []


def test_ctrl_c_says_nothing_where_nobody_reads(
    fake: FakeScheduler, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("ls")

    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "endings", interrupted)

    with pytest.raises(KeyboardInterrupt):
        job.wait()
    assert capsys.readouterr().err == ""


def test_progress_counts_on_a_terminal(fake: FakeScheduler) -> None:
    terminal = Terminal()
    jobs = submit_many(["ls", "ls"])
    fake.end("1")
    fake.end("2", "FAILED")

    with redirect_stderr(terminal):
        queue.wait(jobs)

    assert "2 of 2 jobs ended, 1 not completed" in terminal.getvalue()


def test_cancel_tells_what_happened_to_each(fake: FakeScheduler) -> None:
    jobs = submit_many(["ls", "ls"])

    assert queue.cancel(jobs) == {"1": "cancel done", "2": "cancel done"}
    assert fake.acts == [("cancel", ("1", "2"), 0)]


# ---------------------------------------------------------------- the view


def view(fake: FakeScheduler) -> Queue:
    submit_many(["ls", "ls", "ls", "ls"])
    fake.end("2", "RUNNING")
    fake.end("3", "COMPLETED")
    fake.end("4", "HELD")
    return Queue()


def test_the_view_sorts_jobs_by_what_they_do(fake: FakeScheduler) -> None:
    seen = view(fake)

    assert [job.id for job in seen] == ["1", "2", "3", "4"]
    assert [job.id for job in seen.queued] == ["1", "4"]
    assert [job.id for job in seen.running] == ["2"]
    assert [job.id for job in seen.completed] == ["3"]
    assert (len(seen), len(seen.jobs), seen.queue[0].name) == (4, 4, "ls")


def test_a_job_is_found_by_id_text_or_job(fake: FakeScheduler) -> None:
    seen = view(fake)

    assert {seen[2].id, seen["2"].id, seen[seen["2"]].id} == {"2"}
    assert 2 in seen
    assert "17" not in seen
    with pytest.raises(UnknownJob, match="17"):
        seen[17]


def test_an_update_that_fails_is_stale_and_finishes_nothing(fake: FakeScheduler) -> None:
    seen = view(fake)
    fake.gone = True

    seen.update()

    assert (seen.stale, len(seen.running), len(seen.completed)) == (True, 1, 1)
    assert "stale" in repr(seen)


def test_an_update_sees_what_changed(fake: FakeScheduler) -> None:
    seen = view(fake)
    fake.end("1")

    assert [job.id for job in seen.update().completed] == ["1", "3"]


def test_there_is_room_while_fewer_jobs_wait_or_run(fake: FakeScheduler) -> None:
    seen = view(fake)

    assert [seen.can_submit(n) for n in (3, 4, 0, None)] == [False, True, True, True]


def test_the_setting_says_how_many_jobs_may_be_queued(fake: FakeScheduler) -> None:
    seen = view(fake)
    cluster.config_file.set("queue", "max_jobs", 2)

    assert seen.can_submit() is False


def test_waiting_for_room_ends_when_a_job_ends(
    fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = view(fake)
    waits = fake.endings

    def ends_first(*args: object, **kwargs: object) -> object:
        fake.end("1")
        return waits(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fake, "endings", ends_first)

    seen.wait_to_submit(3)

    assert len(seen.queued) + len(seen.running) == 2


def test_a_full_queue_holds_a_submission_back(fake: FakeScheduler) -> None:
    view(fake)
    job = cluster.make_job("ls")

    with pytest.raises(WaitTimeout):
        job.submit(max_queue_len=1)
    assert (job.id, len(fake.requests)) == (None, 4)


def test_the_names_of_the_seed_are_there() -> None:
    assert Queue.QueueError is QueueError
    assert Queue.QueueJob is queue.QueueJob


# ---------------------------------------------------------------- which scheduler


def forget_mode() -> None:
    vars(queue).pop("MODE", None)
    queue._look_for_scheduler.cache_clear()


@pytest.mark.parametrize(("said", "mode"), [("normal", "local"), ("local", "local")])
def test_the_variable_decides(said: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_QTYPE", said)
    forget_mode()

    assert (queue.MODE, queue.get_cluster_environment()) == (mode, mode)


def test_the_variable_wins_over_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_QTYPE", "local")
    cluster.config_file.set("queue", "qtype", "slurm")

    assert queue.get_cluster_environment() == "local"


def test_the_setting_decides_without_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CLUSTER_QTYPE")
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster.config_file.set("queue", "qtype", "slurm")

    assert queue.get_cluster_environment() == "slurm"
    with pytest.raises(QueueError, match="'slurm' is not available: sbatch is not on PATH"):
        queue.check_queue()


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Puts programs on a PATH that has nothing else of a cluster, and lets them be looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "grep", "sleep"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CLUSTER_QTYPE")
    forget_mode()

    def put(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    return put


PING = "echo 'Slurmctld(primary) at n1 is UP'"
Put = Callable[[str, str], None]


def test_a_scheduler_that_answers_gets_the_jobs(programs: Put) -> None:
    programs("sbatch", "exit 1")
    programs("scontrol", PING)

    assert queue.MODE == "slurm"
    assert queue.scheduler_for().qtype == "slurm"


def test_without_any_scheduler_jobs_run_here_and_nothing_is_said(
    programs: Put, caplog: pytest.LogCaptureFixture
) -> None:
    assert queue.MODE == "local"
    assert caplog.text == ""


def test_a_program_whose_controller_is_down_is_no_scheduler_and_is_told_of_once(
    programs: Put, caplog: pytest.LogCaptureFixture
) -> None:
    programs("sbatch", "exit 1")
    programs("scontrol", "echo 'slurm_load_ctl_conf error: connection refused' >&2; exit 1")

    assert (queue.get_cluster_environment(), queue.get_cluster_environment()) == ("local", "local")
    assert "nobody answers" in caplog.text
    assert "slurm: slurm_load_ctl_conf error: connection refused" in caplog.text
    assert caplog.text.count("nobody answers") == 1


def test_a_program_that_hangs_is_no_scheduler(
    programs: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_SCHEDULER_PROBE_S", "0.3")
    programs("sbatch", "exit 1")
    programs("scontrol", "sleep 100")

    assert queue.MODE == "local"
    assert "did not answer within 0.3 s" in schedulers.probe("slurm").problem


def test_the_first_of_several_schedulers_gets_the_jobs(programs: Put) -> None:
    for name in ("sbatch", "bsub"):
        programs(name, "exit 1")
    programs("scontrol", PING)
    programs("lsid", "echo 'IBM Spectrum LSF Standard 10.1.0.12'")
    programs("bqueues", "exit 0")

    assert schedulers.probe("lsf").version
    assert queue.MODE == "slurm"


GRID_ENGINE = "echo SGE 8.1.9; echo 'usage: qstat [options]'"  # it takes --version for no option


@pytest.mark.parametrize("said", [GRID_ENGINE, "echo 'error: SGE_ROOT directory' >&2; exit 1"])
def test_a_qsub_of_grid_engine_is_not_asked_for_pbs(
    programs: Put, said: str, tmp_path: Path
) -> None:
    programs("qsub", "touch asked")
    programs("qstat", said)

    with pytest.raises(QueueError, match=r"/bin/qsub is Grid Engine's, not Torque/PBS's.*'sge'"):
        submit("true", qtype="torque", filedir=str(tmp_path))

    assert [file.name for file in tmp_path.iterdir()] == ["bin"]


def test_a_qsub_of_pbs_is_not_asked_for_grid_engine(programs: Put) -> None:
    programs("qsub", "exit 1")
    programs("qstat", "printf 'Version: 6.1.2\\nServer x\\n'")

    with pytest.raises(QueueError, match=r"/bin/qsub is Torque/PBS's, not Grid Engine's"):
        queue.check_queue("sge")


def test_a_pbs_that_is_down_is_still_asked(programs: Put) -> None:
    programs("qsub", "exit 1")
    programs("qstat", "echo 'Version: 6.1.2'; echo 'qstat: cannot connect to server' >&2; exit 1")

    assert queue.scheduler_for("torque").qtype == "torque"


@pytest.mark.parametrize(
    ("said", "words", "left"),
    [
        ("Unable to contact slurm controller (connect failure)", "is not known", ["sbatch"]),
        ("fatal: Could not establish a configuration source", "no configuration", []),
    ],
)
def test_a_controller_that_nobody_reaches_refuses_nothing_and_the_exit_code_is_1(
    programs: Put, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, said: str, words: str, left: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("cluster.schedulers._programs._FIRST_PAUSE_S", 0.01)
    monkeypatch.chdir(tmp_path)
    for name in ("sbatch", "squeue", "scontrol"):
        programs(name, f"echo '{name}: error: {said}' >&2; exit 1")

    assert app.run(["submit", "--qtype", "slurm", "--", "sh"]) == 1

    told = capsys.readouterr().err
    assert words in told
    assert "refused" not in told
    assert [file.suffix[1:] for file in tmp_path.glob("*.sbatch")] == left


def test_it_is_looked_for_once(programs: Put, tmp_path: Path) -> None:
    programs("sbatch", "exit 1")
    programs("scontrol", f"echo >>{tmp_path}/asked; {PING}")

    queue.get_cluster_environment()
    queue.get_cluster_environment()

    assert (tmp_path / "asked").read_text() == "\n"


def test_the_import_looks_for_nothing(programs: Put, tmp_path: Path) -> None:
    programs("sbatch", "exit 1")
    programs("scontrol", f"echo >>{tmp_path}/asked; {PING}")

    subprocess.run([sys.executable, "-c", "import cluster, cluster.queue, cluster.job"], check=True)

    assert not (tmp_path / "asked").exists()


def test_an_unknown_scheduler_is_told_by_check_queue() -> None:
    with pytest.raises(OptionsError, match="clurm"):
        queue.check_queue("clurm")
    queue.check_queue("normal")


# ---------------------------------------------------------------- the real queue


@pytest.mark.slow
def test_the_view_over_the_real_queue(state_dir: Path) -> None:
    held = submit("true", hold=True)
    done = submit("true")
    done.wait(timeout=60)

    seen = Queue()

    assert (seen[held].state, seen[done].state) == ("HELD", "COMPLETED")
    assert seen.resources().cores >= 1
    assert list(Queue(user="nobody-else")) == []
    held.cancel()


@pytest.mark.slow
def test_jobs_come_as_they_end(state_dir: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    late = submit(["cat", gate])
    early = submit("true")

    order = queue.as_completed([late, early], timeout=60)
    first = next(order)
    gate.write_text("go")

    assert (first, next(order)) == (early, late)
    assert late.get().stdout == "go"
