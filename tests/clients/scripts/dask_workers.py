"""dask-jobqueue: two workers through the scheduler, some sums, one worker fewer, close."""

from __future__ import annotations

import sys
import time

import dask_jobqueue
from distributed import Client

KIND = sys.argv[1]  # SLURM, PBS, SGE, LSF
WORDS = {
    "cores": 1, "memory": "500MB", "processes": 1, "walltime": "00:10:00",
    "log_directory": "logs", "interface": "lo", "death_timeout": 60,
}  # fmt: skip
OWN = {
    "SGE": {"queue": "all.q"},
    "LSF": {"walltime": "00:10", "lsf_units": "mb", "use_stdin": True},
}


def square(number: int) -> int:
    return number * number


def main() -> None:
    make = getattr(dask_jobqueue, f"{KIND}Cluster")
    with make(**WORDS | OWN.get(KIND, {})) as cluster, Client(cluster) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=90)
        assert client.submit(sum, [1, 2, 3]).result(timeout=60) == 6
        numbers = list(range(20))
        assert client.gather(client.map(square, numbers)) == [square(n) for n in numbers]
        cluster.scale(jobs=1)
        end = time.monotonic() + 60
        while len(client.scheduler_info()["workers"]) > 1:
            assert time.monotonic() < end, "the second worker stays"
            time.sleep(0.2)
    print("CLIENT-OK")


if __name__ == "__main__":
    main()
