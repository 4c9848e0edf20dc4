"""kill -9 of the server, the node, a warm parent: jobs go on, and nothing runs twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import psutil
import pytest
from fault_driver import UNTIL_TOLD, Queue, kill, lives, run_twice, until

from cluster.spec import Dependency

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_row_1_jobs_go_on_when_the_server_is_killed_and_their_exits_are_stored(
    queue: Queue,
) -> None:
    good, bad = queue.counted(UNTIL_TOLD), queue.submit(*queue.told_argv("exit 3"))
    queue.wait_begun(good)
    until(lambda: queue.is_running(bad))
    pids = {queue.info(id).pid for id in (good, bad)}
    queue.kill_server()

    assert all(lives(pid) for pid in pids)
    queue.tell()
    assert queue.ended(good, bad) == {good: "COMPLETED", bad: "FAILED"}
    assert queue.info(bad).exitcode == 3
    assert run_twice(queue.notes()) == []


def test_row_1_without_any_client_the_node_finds_itself_a_server(queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    queue.client.close()
    queue.kill_server()
    queue.tell()

    until(lambda: queue.pid_of("server"), what="a server made by the node")

    assert queue.ended(job) == {job: "COMPLETED"}


def test_row_1_a_job_that_ends_while_no_server_runs_starts_its_dependents_later(
    queue: Queue,
) -> None:
    job = queue.submit(*queue.told_argv("exit 4"))
    after = queue.counted(dependencies=(Dependency(job, "afternotok"),))
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    queue.kill_server()
    queue.tell()
    until(lambda: not lives(pid))

    assert queue.ended(job, after) == {job: "FAILED", after: "COMPLETED"}


def test_row_6_a_killed_node_costs_a_command_its_exit_code_but_not_its_life(
    queue: Queue,
) -> None:
    command, function = queue.counted(UNTIL_TOLD), queue.counted_call(UNTIL_TOLD)
    queue.wait_begun(command, function)
    queue.kill_node()
    queue.tell()

    states = queue.ended(command, function)

    assert states == {command: "NODE_FAIL", function: "COMPLETED"}
    assert queue.info(command).reason == "exit status lost with the node"
    assert sum(note.what == "end" for note in queue.notes()) == 2
    assert run_twice(queue.notes()) == []


def test_row_6_cores_of_survivors_stay_taken_until_they_end(queue: Queue) -> None:
    survivor = queue.submit("sleep", "300", cores=2)
    until(lambda: queue.is_running(survivor))
    pid = queue.info(survivor).pid
    waiting = queue.counted()
    queue.kill_both()

    assert queue.info(survivor).state == "RUNNING"
    assert queue.info(waiting).state == "PENDING"
    kill(pid)

    assert queue.ended(survivor, waiting) == {survivor: "NODE_FAIL", waiting: "COMPLETED"}


def test_row_6_server_node_and_job_killed_ends_the_job_and_tells_its_dependents(
    queue: Queue,
) -> None:
    job = queue.submit("sleep", "300")
    ok = queue.counted(dependencies=(Dependency(job),))
    anyway = queue.counted(dependencies=(Dependency(job, "afterany"),))
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    kill(queue.server(), queue.node(), pid)

    states = queue.ended(job, ok, anyway)

    assert states == {job: "NODE_FAIL", ok: "CANCELLED", anyway: "COMPLETED"}
    assert queue.info(ok).reason == f"Dependency {job} ended as NODE_FAIL"


def test_row_6_a_survivor_can_be_cancelled(queue: Queue) -> None:
    job = queue.submit("sleep", "300")
    until(lambda: queue.is_running(job))
    queue.kill_both()

    queue.client.act("cancel", [job])

    assert queue.ended(job) == {job: "CANCELLED"}
    until(lambda: not queue.job_processes())
    until(lambda: queue.free_cores() == 2)


def test_row_7_functions_outlive_their_warm_parent_and_the_next_one_gets_another(
    queue: Queue,
) -> None:
    first = queue.counted_call(UNTIL_TOLD)
    queue.wait_begun(first)
    [note] = queue.notes()
    parents = [
        child.pid
        for child in psutil.Process(queue.node()).children()
        if note.pid in [each.pid for each in child.children()] or child.pid != note.pid
    ]
    kill(*[pid for pid in parents if pid != note.pid])

    second = queue.counted_call()
    queue.tell()

    assert queue.ended(first, second) == {first: "COMPLETED", second: "COMPLETED"}
    assert run_twice(queue.notes()) == []


@pytest.mark.parametrize("kind", ["command", "function"])
@pytest.mark.parametrize("victims", [("server",), ("node",), ("server", "node")])
def test_jobs_that_the_node_was_given_in_advance_run_once_whoever_is_killed(
    victims: tuple[str, ...], kind: str, queue: Queue
) -> None:
    make = queue.counted if kind == "command" else queue.counted_call
    jobs = [make(0.1) for _ in range(16)]
    queue.wait_begun(*jobs[:5])
    kill(*[queue.pid_of(which) for which in victims])

    states = queue.ended(*jobs)

    assert run_twice(queue.notes()) == []
    assert set(states.values()) <= {"COMPLETED", "NODE_FAIL"}
    done = {str(note.job) for note in queue.notes() if note.what == "end"}
    lost = {id for id, state in states.items() if state == "NODE_FAIL"}
    slots = 2 if "node" in victims else 0
    # An order to start that was under way when the node died may have been carried
    # out or not, so that job counts as started: lost, and not run again.
    assert set(states) - done <= lost
    assert len(set(states) - done) <= slots
    # What ran while its node died has lost its exit status, unless it left a result.
    assert len(lost & done) <= (slots if kind == "command" else 0)
    assert until(lambda: queue.free_cores() == 2)


def test_row_8_a_restart_of_the_machine_is_known_even_if_the_first_server_after_it_dies(
    queue: Queue, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of another size than what runs, or the node would have it in advance: then it may have begun
    ran, waits = queue.counted(0.1, cores=2), queue.counted()
    queue.wait_begun(ran)
    queue.kill_both()
    until(lambda: not queue.job_processes())
    # Power was lost: the journal, never synced, is gone, and the boot id is another.
    (state_dir / "journal").unlink()
    with sqlite3.connect(state_dir / "queue.db") as db:
        db.execute("UPDATE meta SET value=X'a3616263' WHERE name='boot_id'")
    db.close()
    monkeypatch.setenv("CLUSTER_CRASH_POINT", "server.before_commit@2")

    states = queue.ended(ran, waits)

    assert states == {ran: "NODE_FAIL", waits: "COMPLETED"}
    assert queue.begins(ran) == 1
    assert queue.info(ran).reason == "the machine was restarted while it ran"


def test_a_capacity_that_was_set_outlives_the_server(queue: Queue) -> None:
    queue.client.control("set", cores=1)
    queue.kill_server()

    assert queue.status_started()["capacity"]["cores"] == 1


def test_a_suspended_job_stays_stopped_when_the_server_dies(queue: Queue) -> None:
    job = queue.submit("sleep", "300")
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    queue.client.act("suspend", [job])
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    os.kill(pid, signal.SIGCONT)  # as if the order had been lost on the way
    queue.kill_server()

    assert queue.info(job).state == "SUSPENDED"
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
