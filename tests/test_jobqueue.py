"""Functions through the local queue: private, shared, and behind a multiprocessing queue."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

import cluster
from cluster import jobqueue
from cluster.errors import JobCancelled, OptionsError, PayloadError, QueueError, Unsatisfiable
from cluster.jobqueue import Job, JobQueue, job_runner


def add(a: int, b: int = 1) -> int:
    return a + b


def fail() -> None:
    raise KeyError("lost")


@pytest.mark.parametrize("cores", [0, -1, True, "2", 1.5])
def test_a_queue_has_one_core_or_more(cores: object) -> None:
    with pytest.raises(OptionsError, match="cores"):
        JobQueue(cores=cores)  # type: ignore[arg-type]


def test_a_job_notes_what_to_call() -> None:
    job = Job(add, (1,), {"b": 2}, depends=[1], cores=2)

    assert (job.function, job.args, job.kwargs, job.depends, job.cores) == (
        add, (1,), {"b": 2}, [1], 2,
    )  # fmt: skip
    assert job.state is None


@pytest.mark.slow
def test_a_private_queue_runs_functions_in_order_of_dependencies(tmp_path: Path) -> None:
    with JobQueue(cores=3) as queue:
        first = queue.add(add, (1,), {"b": 2}, cores=3)
        second = queue.add(add, 5, dependencies=[first])
        child = queue.add(add, 5, dependencies=queue.add(fail))

        assert (queue.get(first), queue.get(second)) == (3, 6)
        with pytest.raises(JobCancelled, match="Dependency"):
            queue.get(child)
        assert queue.wait([first, second]) is True
        assert queue.wait() is False
        states = [info.state for info in queue.update().values() if info]
        assert sorted(states) == ["CANCELLED", "COMPLETED", "COMPLETED", "FAILED"]


@pytest.mark.slow
def test_a_private_queue_goes_with_its_directory_and_is_not_the_shared_one() -> None:
    with JobQueue(cores=1) as queue:
        id = queue.add(add, 1)
        assert queue.get(id) == 2
        folder = queue._scheduler.client.state_dir
        assert folder != os.environ["CLUSTER_STATE_DIR"]
        assert not os.path.exists(os.environ["CLUSTER_STATE_DIR"])

    assert not os.path.exists(folder)


@pytest.mark.slow
def test_bad_jobs_are_refused_and_not_queued() -> None:
    with JobQueue(cores=1) as queue:
        with pytest.raises(Unsatisfiable):
            queue.add(add, 1, cores=2)
        with pytest.raises(PayloadError, match="generator"):
            queue.add(add, ((n for n in range(3)),))
        with pytest.raises(OptionsError, match="cores"):
            queue.add(add, 1, cores=0)
        with pytest.raises(OptionsError, match=r"run\.cmd"):
            queue.add("ls")  # type: ignore[arg-type]

        assert queue.jobs == {}


@pytest.mark.slow
def test_restart_ends_what_runs_only_by_force() -> None:
    with JobQueue(cores=1) as queue:
        queue.add(cluster.run.cmd, (["sleep", "60"],))

        with pytest.raises(QueueError, match="force"):
            queue.restart()
        queue.restart(force=True)

        assert queue.jobs == {}
        assert queue.get(queue.add(add, 1)) == 2


@pytest.mark.slow
def test_the_shared_queue_is_the_one_of_submit(state_dir: Path) -> None:
    vars(jobqueue).pop("JQUEUE", None)

    id = jobqueue.JQUEUE.add(add, 1)

    assert cluster.Job.load(id).get(timeout=60) == 2
    assert jobqueue.JQUEUE is jobqueue.JQUEUE


@pytest.mark.slow
def test_a_runner_behind_multiprocessing_queues(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # multiprocessing's own helper stays for good: it is no process of this test's queue.
        patch.delenv("CLUSTER_STATE_DIR")
        resource_tracker.ensure_running()
    context = multiprocessing.get_context("spawn")
    jobs, outputs = context.Queue(), context.Queue()
    runner = context.Process(target=job_runner, args=(jobs, outputs, 2, 5))
    runner.start()
    try:
        for job in [Job(add, (1, 1)), Job(add, 2, depends=[5], cores=2), Job(fail),
                    Job(add, 3, depends=7), Job(add, 3, depends=[99])]:  # fmt: skip
            jobs.put(job)
        jobs.put(None)
        done: dict[int, Job] = {}
        while len(done) < 5:
            done |= outputs.get(timeout=60)
    finally:
        runner.join(30)
        runner.kill()
        jobs.close()
        outputs.close()

    assert {n: (job.state, job.out) for n, job in done.items()} == {
        5: ("COMPLETED", 2), 6: ("COMPLETED", 3), 7: ("FAILED", None),
        8: ("CANCELLED", None), 9: ("FAILED", None),
    }  # fmt: skip
    assert isinstance(done[7].error, KeyError)
    assert "no job 99" in str(done[9].error)
    assert runner.exitcode == 0
