"""toil: three jobs and one that adds up what they gave."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["TMPDIR"] = os.getcwd()  # its logs, and scripts for Torque

from toil.common import Toil
from toil.job import Job

SMALL = {"memory": "100M", "cores": 1, "disk": "10M"}


def square(job: Any, number: int) -> int:
    return number * number


def add(job: Any, numbers: list[int]) -> int:
    return sum(numbers)


def begin(job: Any) -> Any:
    parts = [job.addChildJobFn(square, number, **SMALL).rv() for number in range(3)]
    return job.addFollowOnJobFn(add, parts, **SMALL).rv()


def main() -> None:
    words = ["file:store", "--batchSystem", sys.argv[1], "--disableCaching"]
    words += ["--retryCount", "0", "--statePollingWait", "1", "--clean", "always"]
    options = Job.Runner.getDefaultArgumentParser().parse_args(words)
    with Toil(options) as toil:
        assert toil.start(Job.wrapJobFn(begin, **SMALL)) == 5
    print("CLIENT-OK")


if __name__ == "__main__":
    main()
