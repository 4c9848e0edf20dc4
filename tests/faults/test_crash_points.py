"""A daemon dies between two writes: what it had said holds, what it had not is done once."""

from __future__ import annotations

import os
import signal

import pytest
from fault_driver import Queue, kill, run_twice, until

from cluster.local import processes
from cluster.spec import ArraySpec, Dependency

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SERVER = ("server.before_commit", "server.after_commit", "server.after_effects")
NODE = ("node.after_begin", "node.after_spawn", "node.before_ended", "node.after_ended")


def has_crashed(queue: Queue, point: str) -> bool:
    """Whether a daemon died there."""
    return (queue.counter.parent / queue.state_dir / f"crashed.{point}").exists()


@pytest.mark.parametrize("passing", [1, 2, 3, 4])
@pytest.mark.parametrize("point", SERVER)
def test_rows_1_2_4_10_a_server_that_dies_at_any_write_loses_and_doubles_nothing(
    point: str, passing: int, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CRASH_POINT", f"{point}@{passing}")

    first = queue.counted(0.1, name="first")
    second = queue.counted_call(0.0, name="second")
    after = queue.counted(name="after", dependencies=(Dependency(first), Dependency(second)))
    array = queue.counted(name="array", array=ArraySpec(0, 3))
    states = queue.ended(first, second, after, array)

    assert set(states.values()) == {"COMPLETED"}
    assert has_crashed(queue, point)
    assert run_twice(queue.notes()) == []
    assert sum(note.what == "end" for note in queue.notes()) == 6
    names = [info.name for info in queue.client.query()]
    assert sorted(names) == ["after", "array", "first", "second"]
    assert until(lambda: queue.free_cores() == 2)


@pytest.mark.parametrize("kind", ["command", "function"])
@pytest.mark.parametrize("point", NODE)
def test_rows_2_3_4_a_node_that_dies_at_any_write_runs_no_job_twice(
    point: str, kind: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CRASH_POINT", point)

    make = queue.counted if kind == "command" else queue.counted_call
    hit = make(0.2)
    later = make(0.0, dependencies=(Dependency(hit, "afterany"),))
    states = queue.ended(hit, later)

    assert has_crashed(queue, point)
    assert states[later] == "COMPLETED"
    assert run_twice(queue.notes()) == []
    # A function's own result tells how it ended, whatever the node had time for.
    known = point == "node.after_ended" or (kind == "function" and point != "node.after_begin")
    assert states[hit] == ("COMPLETED" if known else "NODE_FAIL")
    assert queue.begins(hit) == (0 if point == "node.after_begin" else 1)
    assert queue.job_processes() == []


def test_row_6_what_a_dead_node_lost_runs_again_if_asked(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CRASH_POINT", "node.after_begin")

    job = queue.counted(requeue=True)

    assert queue.ended(job) == {job: "COMPLETED"}
    assert [(note.attempt, note.what) for note in queue.notes()] == [(2, "begin"), (2, "end")]


def test_row_4_an_exit_is_known_when_server_and_node_die_right_after_it(queue: Queue) -> None:
    job = queue.submit("sh", "-c", "echo said; sleep 0.3; exit 7")
    until(lambda: queue.is_running(job))
    pid, server = queue.info(job).pid, queue.server()
    os.kill(server, signal.SIGSTOP)  # the node reports, and nothing is stored
    until(lambda: processes.look(pid) is None, what="the end of the job")
    kill(server, queue.node())

    states = queue.ended(job)

    assert states == {job: "FAILED"}
    assert queue.info(job).exitcode == 7
    assert queue.stdout(job) == b"said\n"
