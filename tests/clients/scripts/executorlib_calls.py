"""executorlib: calls as jobs of their own (through pysqa), and as steps of one allocation."""

from __future__ import annotations

import os
import subprocess
import sys

from executorlib import SlurmClusterExecutor, SlurmJobExecutor


def square(number: int) -> tuple[int, str]:
    import os

    return number * number, os.environ["SLURM_JOB_ID"]


def plus(pair: tuple[int, str], other: tuple[int, str]) -> int:
    return pair[0] + other[0]


def main() -> None:
    with SlurmClusterExecutor(resource_dict={"cores": 1}, cache_directory="cache") as executor:
        futures = [executor.submit(square, number) for number in range(1, 4)]
        total = executor.submit(plus, futures[1], futures[2])
        assert total.result(60) == 13
        assert len({future.result(60)[1] for future in futures}) == 3
    subprocess.run(["salloc", "-n", "3", sys.executable, __file__, "within"], check=True)
    print("CLIENT-OK")


def within() -> None:
    with SlurmJobExecutor(max_workers=2) as executor:
        results = [future.result(60) for future in map(executor.submit, [square] * 3, range(3))]
    assert results == [(number * number, os.environ["SLURM_JOB_ID"]) for number in range(3)]


if __name__ == "__main__":
    within() if len(sys.argv) > 1 else main()
