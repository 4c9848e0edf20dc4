"""Cancelling just as a job starts, ends, or has ended already: one end, nothing left."""

from __future__ import annotations

import random
import time

import pytest
from fault_driver import Queue, run_twice, until

from cluster.states import FINAL

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize("kind", ["command", "function"])
def test_row_64_a_cancel_at_any_moment_leaves_one_final_state_and_no_process(
    kind: str, queue: Queue
) -> None:
    random_ = random.Random(64)
    queue.ended(queue.counted_call())
    make = queue.counted if kind == "command" else queue.counted_call
    ids = []
    for _ in range(60):
        ids.append(make(0.01))
        time.sleep(random_.uniform(0.0, 0.06))  # the moment is the experiment
        queue.client.act("cancel", [ids[-1]])

    states = queue.ended(*ids)

    assert set(states.values()) <= {"CANCELLED", "COMPLETED"}
    until(lambda: not any(info.ending for info in queue.client.query()))
    assert {info.id: info.state for info in queue.client.query(ids)} == states
    assert queue.job_processes() == []
    assert queue.free_cores() == 2
    assert run_twice(queue.notes()) == []
    done = {str(note.job) for note in queue.notes() if note.what == "end"}
    assert {id for id, state in states.items() if state == "COMPLETED"} <= done


def test_row_64_a_cancel_is_kept_when_the_server_is_killed_right_after_it(queue: Queue) -> None:
    job = queue.submit("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", cores=2)
    until(lambda: queue.is_running(job))
    queue.client.act("cancel", [job])
    queue.kill_server()
    waiting = queue.counted()

    assert queue.info(job).state == "CANCELLED"
    assert queue.info(job).ending
    assert queue.info(waiting).state == "PENDING"  # its cores are taken until it is gone
    assert queue.ended(job, waiting) == {job: "CANCELLED", waiting: "COMPLETED"}
    assert queue.job_processes() == []


def test_row_65_cancelling_again_or_too_late_changes_nothing_and_says_so(queue: Queue) -> None:
    done = queue.submit("true")
    queue.ended(done)
    held = queue.submit("true", hold=True)

    assert queue.client.act("cancel", [done]) == {done: "already COMPLETED"}
    assert queue.client.act("cancel", [held, "77"]) == {held: "cancelled", "77": "no such job"}
    assert queue.client.act("cancel", [held]) == {held: "already CANCELLED"}
    assert {info.state for info in queue.client.query()} == FINAL & {"COMPLETED", "CANCELLED"}
