"""What a node that comes, or comes again, makes the queue believe."""

from __future__ import annotations

from cluster import states
from cluster.local import events as ev
from cluster.local.events import Job
from cluster.local.queue_state import QueueState
from cluster.local.resources import names, vector
from cluster.spec import JobSpec

NAMES = names({})


def with_running_job() -> tuple[QueueState, Job]:
    queue = QueueState(NAMES, vector(NAMES, {"cores": 2, "memory_mib": 1000}))
    queue.handle(ev.Attached((), ()), 1.0)
    queue.handle(ev.Submit(("peer", 1), b"key", (JobSpec(name="job"),)), 1.0)
    queue.schedule(1.0)
    queue.take()
    return queue, queue.jobs[1]


def test_a_job_given_back_by_a_node_that_never_had_it_runs_on() -> None:
    queue, job = with_running_job()

    queue.handle(ev.Exited(1, 1, 0, why="recall"), 2.0)

    assert job.state == states.RUNNING
    assert queue.pool.free[0] == 1


def test_a_suspended_job_is_stopped_again_by_whoever_attaches() -> None:
    queue, _ = with_running_job()
    queue.handle(ev.Act(("peer", 2), "suspend", ("1",)), 2.0)
    queue.take()

    queue.handle(ev.Attached(((1, 1, 4711),), ()), 3.0)

    assert queue.take()[1] == [ev.SendSignal(1, 1, 19)]


def test_ids_that_a_node_still_knows_are_not_given_again_by_an_empty_store() -> None:
    queue = QueueState(NAMES, vector(NAMES, {"cores": 2, "memory_mib": 1000}))

    queue.handle(ev.Attached(((40, 1, 4711),), ((41, 2),)), 1.0)

    assert queue.next_id == 42
    assert queue.take()[1] == [ev.EndProcesses(40, 1, "unknown")]
