"""psij: a job that prints, one that fails, one that is cancelled while it runs."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, ResourceSpecV1

NAME = sys.argv[1]  # slurm, pbs
OUT = Path("psij.out").resolve()
executor = JobExecutor.get_instance(NAME)
executor.config.queue_polling_interval = 2
executor.config.initial_queue_polling_delay = 1


def submit(*argv: str) -> Any:
    spec = JobSpec(
        executable=argv[0],
        arguments=list(argv[1:]),
        stdout_path=OUT,
        resources=ResourceSpecV1(process_count=1, cpu_cores_per_process=1),
        attributes=JobAttributes(duration=timedelta(minutes=5)),
        launcher="single",
    )
    job = Job(spec)
    executor.submit(job)
    return job


def ended(job: Any) -> Any:
    return job.wait(timeout=timedelta(seconds=60))


status = ended(submit("/bin/echo", "hello"))
assert (status.state, status.exit_code) == (JobState.COMPLETED, 0), status
assert OUT.read_text().strip() == "hello"

status = ended(submit("/bin/sh", "-c", "exit 7"))
assert (status.state, status.exit_code) == (JobState.FAILED, 7), status

job = submit("/bin/sleep", "300")
job.wait(timeout=timedelta(seconds=40), target_states=[JobState.ACTIVE])
assert job.status.state == JobState.ACTIVE, job.status
job.cancel()
status = ended(job)
# psij knows one number for a cancelled PBS job, 265; a PBS that sends TERM first says 271.
allowed = {JobState.CANCELED} | ({JobState.FAILED} if NAME.startswith("pbs") else set())
assert status.state in allowed, status
print("CLIENT-OK", flush=True)
os._exit(0)  # its polling thread would go on
