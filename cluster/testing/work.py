"""What the jobs of the contract suite run.  It is imported in jobs: only the standard library."""

from __future__ import annotations

import os
import time

__all__ = ["add", "fail", "fill", "index_of_this", "sleep_through", "submit_inside", "surroundings"]


def add(a: int, b: int = 0) -> int:
    """Give the sum."""
    return a + b


def fail(text: str) -> None:
    """Raise an error of the standard library, with a cause."""
    try:
        raise OSError(5, "the disk is tired")
    except OSError as error:
        raise KeyError(text) from error


def fill(mib: int) -> int:
    """Hold so much memory for a while, every page of it used."""
    data = bytearray(mib << 20)
    for at in range(0, len(data), 4096):
        data[at] = 1
    time.sleep(5.0)  # longer than any scheduler takes to see it
    return len(data)


def index_of_this(failing: int = -1) -> int:
    """Give this element's index; one element fails."""
    index = int(os.environ["CLUSTER_ARRAY_INDEX"])
    if index == failing:
        raise ValueError(f"element {index}")
    return index


def sleep_through(seconds: float) -> tuple[float, float]:
    """Give when it began and ended."""
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def submit_inside(qtype: str, filedir: str) -> tuple[str, str, int]:
    """Submit a job and wait for it; give this job's id, the other's, and its value."""
    import cluster

    inner = cluster.submit(add, (2, 3), qtype=qtype, filedir=filedir)
    return os.environ["CLUSTER_JOB_ID"], str(inner.id), inner.get(120)


def surroundings(*names: str) -> dict[str, str | None]:
    """Give variables of this job, and where it is as "cwd"."""
    return {"cwd": os.getcwd(), **{name: os.environ.get(name) for name in names}}
