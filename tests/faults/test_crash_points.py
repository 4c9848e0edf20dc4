"""A daemon dies between two writes: what it had said holds, what it had not is done once.

The places are found in the source (`crash_points`): a new one is tested here by itself.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest
from crash_points import declared, unguarded
from fault_driver import Queue, kill, run_twice, until

from cluster.errors import ClusterError, ServerUnavailable
from cluster.local import processes
from cluster.spec import ArraySpec, Dependency

pytestmark = [pytest.mark.faults, pytest.mark.slow]

POINTS = declared()
# The first passing is in the begin of a server's life, the next ones come with jobs; the
# later ones of a commit are of their ends.
SERVER = [
    (name, passing)
    for name in POINTS
    if name.startswith("server.")
    for passing in ((1, 3, 5, 7, 9) if name == "server.before_commit" else (1, 3))
]
NODE = [name for name in POINTS if name.startswith("node.")]
ONCE_A_LIFE = (
    "server.before_listen",
    "server.after_node_begun",
    "server.before_attached",
    "server.before_close",
    "server.after_env",
)


def has_crashed(queue: Queue, point: str) -> bool:
    """Whether a daemon died there."""
    return (queue.counter.parent / queue.state_dir / f"crashed.{point}").exists()


def start(queue: Queue) -> None:
    """Have a server; one that dies before it serves is told of, and another one asked for."""

    def serves() -> bool:
        with suppress(ServerUnavailable):
            queue.client.query(ids=())
            return True
        return False

    until(serves)


def use(queue: Queue) -> dict[str, str]:
    """Have a queue do one thing of each kind; its jobs' names and ids."""
    long = queue.counted(0.3, name="long")
    call = queue.counted_call(0.2, name="call")
    after = queue.counted(
        name="after", dependencies=(Dependency(long, "afterany"), Dependency(call, "afterany"))
    )
    array = queue.counted(name="array", array=ArraySpec(0, 5))
    queue.ended(long, call, after, array)
    return {"long": long, "call": call, "after": after, "array": array}


def stop(queue: Queue) -> None:
    """Have the server leave; where it dies instead, that will do."""
    with suppress(ClusterError):
        queue.client.control("stop")


def test_each_place_has_one_name_and_costs_a_look_at_one_attribute() -> None:
    assert {name.partition(".")[0] for name in POINTS} == {"server", "node"}
    assert unguarded() == []


@pytest.mark.parametrize(
    ("point", "passing"),
    [each for each in SERVER if each[1] == 1 or each[0] not in ONCE_A_LIFE],
)
def test_rows_1_2_4_10_a_server_that_dies_at_any_write_loses_and_doubles_nothing(
    point: str, passing: int, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CRASH_POINT", f"{point}@{passing}")

    start(queue)
    ids = use(queue)
    queue.kill_node()  # so that the server starts another one
    ids["later"] = queue.counted(name="later")
    queue.ended(ids["later"])
    stop(queue)

    assert until(lambda: has_crashed(queue, point))
    shown = {info.id: info for info in queue.client.query(elements=True)}
    assert {info.state for info in shown.values()} == {"COMPLETED"}
    names = sorted(info.name for info in queue.client.query())
    assert names == sorted(ids)
    assert run_twice(queue.notes()) == []
    assert sum(note.what == "end" for note in queue.notes()) == 9
    assert until(lambda: queue.free_cores() == 2)


@pytest.mark.parametrize("point", NODE)
def test_rows_2_3_4_a_node_that_dies_at_any_write_runs_no_job_twice(
    point: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_CRASH_POINT", point)

    start(queue)
    use(queue)
    stop(queue)

    assert until(lambda: has_crashed(queue, point))
    infos = queue.client.query(elements=True)
    done = {str(note.job) for note in queue.notes() if note.what == "end"}
    jobs = {info.id: info for info in infos if not info.counts}
    assert {info.state for info in jobs.values()} <= {"COMPLETED", "NODE_FAIL"}
    lost = [info for info in jobs.values() if info.state == "NODE_FAIL"]
    assert len(lost) <= 2  # the cores it had
    assert all(info.reason for info in lost)
    assert sum(info.state == "COMPLETED" for info in jobs.values()) <= len(done)
    assert run_twice(queue.notes()) == []
    assert queue.job_processes() == []
    assert until(lambda: queue.free_cores() == 2)


@pytest.mark.parametrize("kind", ["command", "function"])
@pytest.mark.parametrize(
    "point", ["node.after_begin", "node.after_spawn", "node.before_ended", "node.after_ended"]
)
def test_rows_2_3_4_of_a_job_that_its_node_left_is_known_what_can_be(
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
    job = queue.submit(*queue.told_argv("echo said; exit 7"))
    until(lambda: queue.is_running(job))
    pid, server = queue.info(job).pid, queue.server()
    os.kill(server, signal.SIGSTOP)  # the node reports, and nothing is stored
    queue.tell()
    until(lambda: processes.look(pid) is None, what="the end of the job")
    kill(server, queue.node())

    states = queue.ended(job)

    assert states == {job: "FAILED"}
    assert queue.info(job).exitcode == 7
    assert queue.stdout(job) == b"said\n"
