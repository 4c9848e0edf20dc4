"""parsl: one block of workers through the scheduler, some calls in it, its state."""

from __future__ import annotations

import os
import sys
from typing import Any

import parsl
from parsl import providers, python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SingleNodeLauncher

KIND = sys.argv[1]  # Slurm, GridEngine, Torque, PBSPro, LSF
WORDS: dict[str, Any] = {"partition": "local"} if KIND == "Slurm" else {}


@python_app
def twice(number: int) -> int:
    return number * 2


@python_app
def job_id() -> str | None:
    import os

    names = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID", "LSB_JOBID")
    return next((os.environ[name] for name in names if name in os.environ), None)


def main() -> None:
    provider = getattr(providers, f"{KIND}Provider")(
        init_blocks=1,
        max_blocks=1,
        walltime="00:10:00",
        launcher=SingleNodeLauncher(),
        worker_init=f"export PATH={os.path.dirname(sys.executable)}:$PATH",
        **WORDS,
    )
    executor = HighThroughputExecutor(
        label="block", provider=provider, address="127.0.0.1",
        max_workers_per_node=1, cores_per_worker=1,
    )  # fmt: skip
    with parsl.load(Config(executors=[executor], strategy="none", usage_tracking=0)):
        calls = [twice(number) for number in range(5)]
        assert [call.result(timeout=120) for call in calls] == [0, 2, 4, 6, 8]
        assert job_id().result(timeout=60), "the worker is in no job"
        states = [str(each.state) for each in provider.status(list(provider.resources))]
        assert states == ["JobState.RUNNING"], states
    print("CLIENT-OK")


if __name__ == "__main__":
    main()
