"""Processes: found, told apart, and never mistaken for another with the same pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_driver import slice_ns, until

from cluster.local import processes
from cluster.local.orphans import Orphans

Run = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run() -> Iterator[Run]:
    started = []

    def run(*argv: str, **options: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, start_new_session=True, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield run
    for process in started:
        for each in processes.trees([process.pid]):  # those in a session of their own, too
            os.kill(each.pid, signal.SIGKILL)
        if process.poll() is None:  # a daemon is in no tree
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def look(pid: int) -> processes.Process:
    found = processes.look(pid)
    assert found is not None
    return found


def test_a_process_is_described(run: Run) -> None:
    pid = run("sleep", "100").pid

    found = look(pid)

    assert found[:4] == (pid, os.getpid(), pid, pid)
    assert found.lives
    assert processes.is_same(pid, found.ticks)
    assert not processes.is_same(pid, found.ticks + 1)


def test_a_process_started_between_two_ticks_has_ticks_between_them(run: Run) -> None:
    before = processes.ticks_now()
    pid = run("sleep", "100").pid
    after = processes.ticks_now()

    assert before <= look(pid).ticks <= after


def test_a_name_full_of_parentheses_is_no_trouble(run: Run, tmp_path: Path) -> None:
    program = tmp_path / ") R 1 ("
    os.symlink("/bin/sleep", program)

    assert look(run(str(program), "100").pid).parent == os.getpid()


def test_a_zombie_counts_as_ended(run: Run) -> None:
    process = run("true")
    until(lambda: not look(process.pid).lives)

    assert not processes.is_same(process.pid, look(process.pid).ticks)


def test_nobody_is_none() -> None:
    assert processes.look(2**22 + 1) is None


def test_psutil_tells_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = run("sleep", "100", env={"A": "1"}).pid
    found = look(pid)
    until(lambda: processes.environment(pid) == {b"A": b"1"})

    monkeypatch.setattr(processes, "HAS_PROC", False)

    assert look(pid)[:4] == found[:4]
    assert processes.environment(pid) == {b"A": b"1"}
    assert pid in processes.children(os.getpid())
    assert pid in processes.Children().read()
    assert processes.memory_mib([found]) > 0


def test_a_tree_is_found_with_what_left_the_session(run: Run, tmp_path: Path) -> None:
    script = f"setsid sh -c 'sleep 100 & echo > {tmp_path}/ready; wait' & wait"
    pid = run("bash", "-c", script).pid
    until((tmp_path / "ready").exists)
    until(lambda: len(processes.trees([pid])) == 3)

    tree = processes.trees([pid])

    assert tree[0].pid == pid
    assert len({process.session for process in tree}) == 2


def test_a_daemon_below_a_job_is_not_of_its_tree(run: Run, tmp_path: Path) -> None:
    script = f"CLUSTER_DAEMON=node sh -c 'echo > {tmp_path}/ready; sleep 100' & wait"
    pid = run("bash", "-c", script).pid
    until((tmp_path / "ready").exists)

    assert [process.pid for process in processes.trees([pid])] == [pid]


def test_processes_are_found_by_token(run: Run) -> None:
    pids = {
        run(
            "sleep", "100", env={"CLUSTER_JOB_TOKEN": f"test-token.{job}.1"}
        ).pid: f"test-token.{job}.1"
        for job in (1, 10)
    }
    until(lambda: len(processes.with_tokens("test-token.")) == 2)

    found = processes.with_tokens("test-token.")

    assert {each[0].pid: token for token, each in found.items()} == pids


def test_a_signal_goes_to_the_very_process_or_to_nobody(run: Run) -> None:
    process = run("sleep", "100")
    found = look(process.pid)

    assert not processes.send(found._replace(ticks=found.ticks - 1), signal.SIGKILL)
    assert process.poll() is None
    assert processes.send(found, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not processes.send(found, signal.SIGKILL)


def test_shared_memory_is_counted_once(run: Run, tmp_path: Path) -> None:
    code = (
        "import os, time; x = bytearray(60 << 20); os.fork(); os.fork();"
        f"open('{tmp_path}/' + str(os.getpid()), 'w'); time.sleep(100)"
    )
    pid = run(sys.executable, "-I", "-S", "-c", code).pid
    until(lambda: len(os.listdir(tmp_path)) == 4)
    tree = processes.trees([pid])

    together = processes.memory_mib(tree)
    plain = processes.memory_mib(tree, limit_mib=10_000)

    assert len(tree) == 4
    assert 60 < together < 110
    assert plain > 240


def test_orphans_are_told_by_token_then_session_then_exclusion(run: Run) -> None:
    orphans = Orphans("mark")
    by_token = run("sleep", "100", env={"CLUSTER_JOB_TOKEN": "mark.1.1"}).pid
    by_session = run("sleep", "100", env={}).pid
    unknown = run("sleep", "100", env={}).pid
    elsewhere = run("sleep", "100", env={"CLUSTER_JOB_TOKEN": "other.1.1"}).pid
    daemon = run("sleep", "100", env={"CLUSTER_DAEMON": "server"}).pid
    stray = run("sleep", "100", env={"CLUSTER_JOB_TOKEN": "mark.77.1"}).pid
    pids = [by_token, by_session, unknown, elsewhere, daemon, stray]
    for pid in (by_token, stray):
        until(lambda pid=pid: processes.TOKEN in processes.environment(pid))
    until(lambda: processes.DAEMON in processes.environment(daemon))
    until(lambda: processes.TOKEN in processes.environment(elsewhere))
    leaders = {(1, 1): 2**22 + 1, (2, 1): by_session}

    strays = orphans.adopt(pids, leaders=leaders, ours=lambda session: False)

    assert [each.pid for each in strays] == [stray]
    assert orphans.left_by((1, 1)) == [by_token]
    assert orphans.left_by((2, 1)) == [by_session]
    assert orphans.may_be_left_by((1, 1))
    orphans.forget((1, 1))
    assert orphans.left_by((2, 1)) == [by_session, unknown]
    assert orphans.reaped(unknown) == (2, 1)
    assert unknown not in orphans


def test_children_of_warm_parents_are_no_orphans(run: Run) -> None:
    orphans = Orphans("mark")
    pid = run("sleep", "100", env={}).pid

    orphans.adopt([pid], leaders={(1, 1): 1}, ours=lambda session: session == pid)

    assert pid not in orphans


# ---------------------------------------------------------------- turns


def test_a_process_has_short_turns_and_what_it_starts_has_not(run: Run) -> None:
    shell = run("sh", "-c", "read line; sleep 100 & wait", stdin=subprocess.PIPE)
    usual = slice_ns(shell.pid)

    processes.ask_for_short_turns(shell.pid)

    assert shell.stdin is not None
    shell.stdin.close()
    child = until(lambda: processes.children(shell.pid), "a child")[0]
    # a kernel that says how long it is takes the wish, too (6.12)
    assert slice_ns(shell.pid) == (100_000 if usual else 0)
    assert slice_ns(child) == usual


def test_a_process_of_another_rank_keeps_it(run: Run) -> None:
    sleeper = run("sleep", "100")
    os.sched_setscheduler(sleeper.pid, os.SCHED_BATCH, os.sched_param(0))
    usual = slice_ns(sleeper.pid)

    processes.ask_for_short_turns(sleeper.pid)

    assert os.sched_getscheduler(sleeper.pid) == os.SCHED_BATCH
    assert slice_ns(sleeper.pid) == usual


def test_one_that_is_gone_is_asked_nothing(run: Run) -> None:
    ended = run("true")
    ended.wait()

    processes.ask_for_short_turns(ended.pid)
