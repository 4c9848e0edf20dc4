"""Submissions that could not be written have never been."""

from __future__ import annotations

from cluster.local import events as ev
from cluster.local.queue_state import QueueState
from cluster.local.resources import names, vector
from cluster.local.submission import withdraw
from cluster.spec import ArraySpec, Dependency, JobSpec

NAMES = names({})


def make() -> QueueState:
    queue = QueueState(NAMES, vector(NAMES, {"cores": 2, "memory_mib": 1000}))
    queue.handle(ev.Attached((), ()), 1.0)
    return queue


def submit(queue: QueueState, *specs: JobSpec) -> None:
    queue.handle(ev.Submit(("peer", 1), b"key", specs), 1.0)


def test_nothing_of_them_is_left_and_what_was_there_stays() -> None:
    queue = make()
    submit(queue, JobSpec(name="before"))
    queue.schedule(1.0)
    queue.take()
    submit(
        queue,
        JobSpec(name="runs"),
        JobSpec(name="waits", dependencies=(Dependency("1"), Dependency("@0"))),
        JobSpec(name="array", array=ArraySpec(0, 20)),
        JobSpec(name="held", hold=True),
    )
    queue.schedule(1.0)
    changes, _ = queue.take()
    changes.meta["paused"] = True

    gone = withdraw(queue, changes, 2.0)

    assert 1 not in gone
    assert set(queue.jobs) == {1}
    assert not queue.arrays
    assert not list(queue.waiting)
    assert not queue.assigned
    assert queue.pool.free[0] == 1
    assert (changes.jobs, changes.arrays, changes.requests, changes.keys) == ({}, {}, {}, {})
    assert changes.meta["paused"] is True


def test_their_ids_are_not_given_again_and_the_queue_goes_on() -> None:
    queue = make()
    submit(queue, JobSpec(name="lost"), JobSpec(name="lost", array=ArraySpec(0, 3)))
    queue.schedule(1.0)
    withdraw(queue, queue.take()[0], 2.0)

    submit(queue, JobSpec(name="next", cores=2))
    queue.schedule(3.0)

    assert [(job.name, id) for id, job in ((i, j.spec) for i, j in queue.jobs.items())] == [
        ("next", 6)
    ]
    assert queue.jobs[6].allocation is not None
    ended = ev.Exited(6, 1, 0, started=3.0, ended=4.0)
    queue.handle(ended, 4.0)
    assert queue.pool.free[0] == 2
