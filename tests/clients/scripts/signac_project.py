"""signac-flow: two operations on three places, submitted to LSF, and their status."""

from __future__ import annotations

import os
import sys
import time

import signac
from flow import FlowProject
from flow.environment import DefaultLSFEnvironment
from flow.scheduling.base import Scheduler

LIMIT_S = 60.0
Scheduler._dos_timeout = 0.0  # ask as often as it likes
os.environ["LSB_BJOBS_FORMAT"] = "jobid stat job_name"  # it asks for JSON without -o


class Project(FlowProject):
    pass


@Project.post.isfile("one.txt")
@Project.operation(directives={"walltime": 0.1})
def one(job):
    with open(job.fn("one.txt"), "w") as file:
        file.write(f"number {job.sp.number}\n")


@Project.pre.after(one)
@Project.post.isfile("two.txt")
@Project.operation(directives={"walltime": 0.1})
def two(job):
    with open(job.fn("one.txt")) as source, open(job.fn("two.txt"), "w") as file:
        file.write(source.read().upper())


def main() -> None:
    places = signac.init_project()
    for number in range(3):
        places.open_job({"number": number}).init()
    project = Project(environment=DefaultLSFEnvironment)
    for name in ("one", "two"):
        project.submit(names=[name])
        project.print_status(detailed=True)
        deadline = time.monotonic() + LIMIT_S
        while not all(job.isfile(f"{name}.txt") for job in places):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    for job in places:
        with open(job.fn("two.txt")) as file:
            assert file.read() == f"NUMBER {job.sp.number}\n"
    print("CLIENT-OK")


if __name__ == "__main__":
    if len(sys.argv) > 1:  # in a job
        Project().main()
    else:
        main()
