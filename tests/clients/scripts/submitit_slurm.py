"""submitit: a call, an array, a failure, two tasks, a cancelled job, a checkpoint and requeue."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission
from submitit.slurm.slurm import SlurmJob


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise ValueError("this one fails")


def sleep() -> None:
    time.sleep(600)


def place() -> tuple[str, int, int]:
    env = submitit.JobEnvironment()
    return env.job_id, env.num_tasks, env.global_rank


class Resumable:
    """Sleeps, unless it was interrupted before."""

    def __init__(self, attempt: int = 0) -> None:
        self.attempt = attempt

    def __call__(self) -> str:
        if self.attempt == 0:
            print("asleep", flush=True)
            time.sleep(600)
        return f"attempt {self.attempt}"

    def checkpoint(self) -> DelayedSubmission:
        return DelayedSubmission(Resumable(self.attempt + 1))


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def state(job: Any) -> str:
    return str(job.get_info(mode="force").get("State", ""))


SlurmJob.watcher._delay_s = 1  # seconds between two questions to sacct; the default is 60
executor = submitit.AutoExecutor(folder=Path("jobs"), cluster="slurm")
executor.update_parameters(
    timeout_min=5, cpus_per_task=1, slurm_partition="local", mem_gb=1, name="clients"
)

assert executor.submit(add, 1, 2).result() == 3

elements = executor.map_array(add, [1, 2, 3], [10, 20, 30])
assert [element.result() for element in elements] == [11, 22, 33]
assert all("_" in element.job_id for element in elements)

failed = executor.submit(fail)
assert "this one fails" in str(failed.exception())

job_id, tasks, rank = executor.submit(place).result()
assert (tasks, rank) == (1, 0), (job_id, tasks, rank)

executor.update_parameters(tasks_per_node=2)
both = executor.submit(place).results()
assert sorted(each[2] for each in both) == [0, 1], both
assert {each[1] for each in both} == {2}, both
executor.update_parameters(tasks_per_node=1)

asleep = executor.submit(sleep)
until(lambda: state(asleep) == "RUNNING")
asleep.cancel()
until(lambda: state(asleep).startswith("CANCELLED"))

kept = executor.submit(Resumable())
until(lambda: kept.paths.stdout.exists() and "asleep" in kept.paths.stdout.read_text())
kept._interrupt()
assert kept.result() == "attempt 1"
assert os.listdir("jobs")
print("CLIENT-OK")
