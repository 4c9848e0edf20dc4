"""Limits hold, and nothing of a job outlives it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from jobs_to_run import allocate, kill_self, sleep, succeed_at_attempt
from scientist import DEADLINE_S, lives, number_in, state_of, until

import cluster

pytestmark = pytest.mark.slow

STUBBORN = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
ESCAPED = "setsid sh -c 'trap \"\" TERM; echo $$ > escaped; exec sleep 300' & "


# ---------------------------------------------------------------- walltime


def test_a_command_that_reaches_its_walltime_is_told_and_then_ended(here: Path) -> None:
    text = "trap 'echo told; exit 5' TERM; echo begun; while :; do sleep 0.05; done"
    job = cluster.submit(text, time=1.5)

    assert not job.wait(timeout=DEADLINE_S)
    assert (job.state, job.stdout) == ("TIMEOUT", "begun\ntold\n")
    assert job.reason == "it ran longer than its walltime of 1.5 s"
    assert job.usage.wall_s >= 1.5
    with pytest.raises(cluster.JobTimeout, match="walltime"):
        job.get()


def test_one_that_does_not_listen_is_killed_after_the_grace_with_its_escaped_children(
    here: Path,
) -> None:
    job = cluster.submit(ESCAPED + STUBBORN, time=1.5, grace=0.5)
    pids = [number_in(here / "pid"), number_in(here / "escaped")]

    assert not job.wait(timeout=DEADLINE_S)
    assert (job.state, [pid for pid in pids if lives(pid)]) == ("TIMEOUT", [])
    assert job.usage.wall_s >= 2.0


def test_a_function_is_ended_at_its_walltime(here: Path) -> None:
    job = cluster.submit(sleep, 60, time=0.4)

    with pytest.raises(cluster.JobTimeout):
        job.get(timeout=DEADLINE_S)
    assert job.state == "TIMEOUT"


@pytest.mark.parametrize("time", ["30-00:00:00", 1e9, 1e300])
def test_a_limit_far_away_harms_nobody(own_queue: Path, time: object) -> None:
    """The kernel counts waits in milliseconds of an int: 24 days."""
    job = cluster.submit(["sleep", "0.2"], time=time, grace=1e9, expect=1e300)

    assert job.wait(timeout=float("inf"))
    assert job.state == "COMPLETED"


def test_a_job_that_ends_at_its_limit_has_one_outcome(here: Path) -> None:
    jobs = [cluster.submit(["sleep", "0.2"], time=0.2) for _ in range(6)]
    cluster.wait(jobs, timeout=DEADLINE_S)

    first = [job.state for job in jobs]
    assert set(first) <= {"COMPLETED", "TIMEOUT"}
    assert [cluster.Job.load(str(job.id)).state for job in jobs] == first


def test_a_job_is_warned_before_its_limit(here: Path) -> None:
    text = "trap 'echo warned' USR1; echo ready; while :; do sleep 0.05; done"
    job = cluster.submit(text, time=3, signal="USR1@1.5s", grace=0.1)

    cluster.wait(job, timeout=DEADLINE_S)

    assert (job.state, job.stdout) == ("TIMEOUT", "ready\nwarned\n")


# ---------------------------------------------------------------- memory


@pytest.fixture(params=["as this machine does it", "by watching"])
def enforced(
    request: pytest.FixtureRequest, own_queue: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Let memory be limited by a cgroup, where one can be made, and by watching."""
    if request.param == "by watching":
        monkeypatch.setenv("CLUSTER_NO_CGROUP", "1")
    return str(request.param)


def test_a_function_that_takes_too_much_memory_is_out_of_memory(enforced: str) -> None:
    job = cluster.submit(allocate, (400, 20.0), mem="100M")

    with pytest.raises(cluster.JobOutOfMemory, match="memory"):
        job.get(timeout=DEADLINE_S)
    assert job.state == "OUT_OF_MEMORY"


def test_so_is_a_command_and_what_it_started(enforced: str, tmp_path: Path) -> None:
    eat = "b=bytearray(400<<20);b[::4096]=b'x'*len(b[::4096]);import time;time.sleep(20)"
    text = f'setsid {shlex.quote(sys.executable)} -c "{eat}" & echo $! > eater; wait'
    job = cluster.submit(text, mem="100M", grace=0.2)

    assert not job.wait(timeout=DEADLINE_S)
    assert job.state == "OUT_OF_MEMORY", (job.state, job.reason)
    assert not lives(number_in(tmp_path / "eater"))


def test_one_that_stays_below_its_limit_is_left_alone(enforced: str) -> None:
    assert cluster.submit(allocate, (60, 1.2), mem="300M").get(timeout=DEADLINE_S) == 60 << 20


# ---------------------------------------------------------------- leftovers


def test_what_a_job_leaves_behind_is_ended_before_its_cores_are_free(here: Path) -> None:
    leaver = cluster.submit(ESCAPED + "while [ ! -s escaped ]; do sleep 0.02; done", cores=2,
                            grace=0.3)  # fmt: skip
    look = "kill -0 $(cat escaped) 2>/dev/null && echo alive; true"
    follower = cluster.submit(look, cores=2)

    assert leaver.get(timeout=DEADLINE_S).exitcode == 0
    assert follower.get(timeout=DEADLINE_S).stdout == ""
    assert not lives(number_in(here / "escaped"))


HIDDEN = (
    "setsid env -i sh -c 'echo $$ > hidden; exec sleep 300' & "
    "while [ ! -s hidden ]; do sleep 0.02; done; "
)


@pytest.mark.parametrize("then", ["", "exit 3", "kill -9 $$", "kill -STOP $(cat hidden)"])
def test_one_that_left_session_and_environment_is_found(here: Path, then: str) -> None:
    job = cluster.submit(HIDDEN + then, grace=0.3)

    job.wait(timeout=DEADLINE_S)

    until(lambda: not lives(number_in(here / "hidden")))


def test_cancel_finds_it_too(here: Path) -> None:
    job = cluster.submit(HIDDEN + "sleep 300", grace=0.3)
    pid = number_in(here / "hidden")

    job.cancel()

    until(lambda: not job.ending)
    assert not lives(pid)


def test_a_daemon_of_a_function_is_ended_too(here: Path) -> None:
    assert cluster.submit(_leave_a_daemon, str(here / "pid")).get(timeout=DEADLINE_S) == "done"
    until(lambda: not lives(number_in(here / "pid")))


def _leave_a_daemon(path: str) -> str:
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path, "w") as file:
                file.write(f"{os.getpid()}\n")
            os.environ.clear()
            time.sleep(300)
        os._exit(0)
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


def test_many_children_that_start_themselves_again_are_all_ended(here: Path) -> None:
    bomb = "f() { sh -c 'sleep 0.05; true' & }; for i in $(seq 40); do (while :; do f; " \
           "wait; done) & done; echo $$ > pid; trap '' TERM; wait"  # fmt: skip
    job = cluster.submit(bomb, time=1.5, grace=0.3)

    cluster.wait(job, timeout=DEADLINE_S)

    group = number_in(here / "pid")
    assert job.state == "TIMEOUT"
    until(lambda: not job.ending)
    assert [pid for pid in _group(group) if lives(pid)] == []


def _group(pgid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getpgid(int(name)) == pgid:
                    found.append(int(name))
            except ProcessLookupError:
                continue
    return found


def test_cancel_ends_a_stubborn_job_with_all_of_it_after_its_own_grace(
    own_queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_GRACE_S", "300")  # the queue's
    job = cluster.submit(ESCAPED + STUBBORN, grace=0.3)
    pids = [number_in(tmp_path / "pid"), number_in(tmp_path / "escaped")]

    assert job.cancel() == "cancelled"
    assert job.state == "CANCELLED"
    until(lambda: not job.ending)
    assert [pid for pid in pids if lives(pid)] == []
    assert job.cancel() == "already CANCELLED"
    with pytest.raises(cluster.JobCancelled, match="owner"):
        job.get()


# ---------------------------------------------------------------- again


def test_retries_run_a_failed_job_again(here: Path) -> None:
    job = cluster.submit(succeed_at_attempt, (str(here / "tries"), 3), retries=2)

    assert job.get(timeout=DEADLINE_S) == 3
    assert (job.state, job.usage.attempt) == ("COMPLETED", 3)


def test_a_job_out_of_retries_is_failed_and_its_dependent_hears_of_it_once(here: Path) -> None:
    job = cluster.submit("echo x >> tries; exit 4", retries=2)
    child = cluster.submit(["true"], dependencies=job)

    assert job.get(timeout=DEADLINE_S).exitcode == 4
    assert (here / "tries").read_text() == "x\n" * 3
    cluster.wait(child, timeout=DEADLINE_S)
    assert (child.state, child.reason) == (
        "CANCELLED", f"Dependency {job.id} failed with exit code 4",
    )  # fmt: skip


def test_requeue_runs_a_running_job_again_under_its_id(here: Path) -> None:
    job = cluster.submit("echo $$ >> pids; [ $(wc -l < pids) = 2 ] || sleep 60")
    until(lambda: (here / "pids").exists() and (here / "pids").read_text())
    id = job.id

    job.requeue()

    assert job.get(timeout=DEADLINE_S).exitcode == 0
    assert (job.id, len((here / "pids").read_text().split())) == (id, 2)


# ---------------------------------------------------------------- signals


def test_a_signal_reaches_the_job_and_its_children(here: Path) -> None:
    text = "trap 'echo got >> got' USR1; (trap 'echo got >> got; exit' USR1; echo > ready; " \
           "while :; do sleep 0.05; done) & wait; wait"  # fmt: skip
    job = cluster.submit(text)
    until((here / "ready").exists)

    job.signal("USR1")

    assert job.get(timeout=DEADLINE_S).exitcode == 0
    assert (here / "got").read_text() == "got\ngot\n"


def test_suspend_stops_a_job_and_resume_lets_it_go_on(here: Path) -> None:
    job = cluster.submit("while :; do echo x >> ticks; [ -e stop ] && exit 0; sleep 0.02; done")
    until(lambda: (here / "ticks").exists())

    job.suspend()
    state_of(job, "SUSPENDED")
    until(lambda: _stands_still(here / "ticks"))
    job.resume()
    state_of(job, "RUNNING")
    (here / "stop").touch()

    assert job.get(timeout=DEADLINE_S).exitcode == 0


def _stands_still(path: Path) -> bool:
    before = path.stat().st_size
    time.sleep(0.15)
    return path.stat().st_size == before


def test_a_suspended_job_can_be_cancelled(here: Path) -> None:
    job = cluster.submit("echo $$ > pid; exec sleep 300")
    pid = number_in(here / "pid")
    job.suspend()

    job.cancel()

    until(lambda: not job.ending)
    assert (job.state, lives(pid)) == ("CANCELLED", False)


def test_a_job_killed_from_outside_is_failed_with_its_signal(here: Path) -> None:
    job = cluster.submit("echo $$ > pid; exec sleep 300")
    os.kill(number_in(here / "pid"), signal.SIGKILL)

    result = job.get(timeout=DEADLINE_S)

    assert (result.exitcode, result.signal, job.state) == (137, 9, "FAILED")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_a_function_ended_by_a_signal_names_it(here: Path, number: int) -> None:
    job = cluster.submit(kill_self, int(number))

    with pytest.raises(cluster.JobFailed, match=f"signal {int(number)}") as caught:
        job.get(timeout=DEADLINE_S)
    assert (caught.value.signal, job.state) == (int(number), "FAILED")
