"""ipyparallel: its controller and two engines as jobs of Slurm, calls on both, all stopped."""

from __future__ import annotations

import os
import subprocess
import time

os.environ["IPYTHONDIR"] = os.path.abspath("ipython")

import ipyparallel


def job() -> int:
    import os  # on an engine

    return int(os.environ["SLURM_JOB_ID"])


def square(number: int) -> int:
    return number * number


def queued() -> list[str]:
    return subprocess.check_output(["squeue", "-h", "-o", "%j %T"], text=True).splitlines()


with ipyparallel.Cluster(
    n=2, controller="slurm", engines="slurm", controller_ip="127.0.0.1",
    profile_dir=os.path.abspath("profile"),
) as client:  # fmt: skip
    everybody = client[:]
    first, second = everybody.apply_sync(job)
    assert first == second  # one job, two tasks
    assert everybody.map_sync(square, range(5)) == [0, 1, 4, 9, 16]
    assert len(queued()) == 2

end = time.monotonic() + 30
while queued():
    assert time.monotonic() < end, queued()
    time.sleep(0.1)
print("CLIENT-OK")
