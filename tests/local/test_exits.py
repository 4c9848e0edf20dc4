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


def with_second_attempt() -> tuple[QueueState, Job]:
    """A job that was queued again on request and runs once more."""
    queue, job = with_running_job()
    queue.handle(ev.Act(("peer", 2), "requeue", ("1",)), 2.0)
    queue.handle(ev.Exited(1, 1, 15, why="requeue"), 2.0)
    queue.schedule(2.0)
    queue.take()
    assert (job.state, job.attempt) == (states.RUNNING, 2)
    return queue, job


def test_the_exit_of_an_attempt_that_is_over_is_not_that_of_the_next_one() -> None:
    queue, job = with_second_attempt()

    queue.handle(ev.Exited(1, 1, 0), 3.0)

    changes, effects = queue.take()
    assert (job.state, job.attempt, job.allocation is None) == (states.RUNNING, 2, False)
    assert queue.pool.free[0] == 1
    assert effects == [ev.Acknowledge(1, 1)]
    assert not changes


def test_the_start_of_an_attempt_that_is_over_is_not_that_of_the_next_one() -> None:
    queue, job = with_second_attempt()

    queue.handle(ev.Started(1, 1, 4711, b"/out", b"/err"), 3.0)

    assert (job.pid, job.stdout, job.stderr) == (0, b"", b"")


def test_an_attempt_that_is_over_and_runs_on_some_node_is_ended_and_the_next_one_runs() -> None:
    queue, job = with_second_attempt()

    queue.handle(ev.Attached(((1, 2, 4712), (1, 1, 4711)), ()), 3.0)

    assert queue.take()[1] == [ev.EndProcesses(1, 1, "unknown")]
    assert (job.state, job.attempt, job.pid) == (states.RUNNING, 2, 4712)


def test_an_attempt_that_is_over_takes_the_place_of_no_job() -> None:
    queue, job = with_second_attempt()
    queue.handle(ev.Submit(("peer", 3), b"other", (JobSpec(name="other"),)), 3.0)
    queue.schedule(3.0)
    queue.take()

    queue.handle(ev.Exited(2, 1, 0, next=(1, 1)), 4.0)

    assert ev.EndProcesses(1, 1, "unknown") in queue.take()[1]
    assert (job.state, queue.pool.free[0]) == (states.RUNNING, 1)


def test_a_node_that_knows_only_an_attempt_that_is_over_is_told_to_start_the_next_one() -> None:
    queue, job = with_second_attempt()

    queue.handle(ev.Attached(((1, 1, 4711),), ()), 3.0)
    queue.schedule(3.0)

    effects = queue.take()[1]
    assert effects == [ev.EndProcesses(1, 1, "unknown"), ev.StartProcess(job)]
    assert (job.state, job.attempt, job.pid) == (states.RUNNING, 2, 0)


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
