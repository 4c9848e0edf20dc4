"""py-cluster-api: a job, one that fails, an array, a cancelled job."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import Any

from cluster_api import JobMonitor, ResourceSpec, create_executor


def needs() -> Any:
    return ResourceSpec(cpus=1, memory="100 MB", walltime="00:05", work_dir=os.getcwd())


async def main() -> None:
    executor = create_executor(executor="lsf", job_name_prefix="clients", poll_interval=1.0)
    monitor = JobMonitor(executor)
    await monitor.start()
    ended: list[str] = []

    def note(job: Any) -> None:
        ended.append(job.name)

    good = await executor.submit(command="echo hello", name="good", resources=needs())
    bad = await executor.submit(command="exit 4", name="bad", resources=needs())
    many = await executor.submit_array(
        command="echo index $LSB_JOBINDEX", name="many", array_range=(1, 3), resources=needs()
    )
    for job in (good, bad, many):
        job.on_exit(note)
    await monitor.wait_for(good, bad, many, timeout=60)
    assert (good.exit_code, bad.exit_code) == (0, 4), (good, bad)
    assert len(ended) == 3, ended

    asleep = await executor.submit(command="sleep 300", name="asleep", resources=needs())
    await asyncio.sleep(1)
    await executor.cancel(asleep.job_id)
    await monitor.stop()
    words = ["bjobs", "-a", "-noheader", "-o", "stat", str(asleep.job_id)]
    end = time.monotonic() + 30
    while subprocess.check_output(words, text=True).strip() != "EXIT":
        assert time.monotonic() < end, "the cancelled job goes on"
        time.sleep(0.2)


asyncio.run(main())
print("CLIENT-OK")
