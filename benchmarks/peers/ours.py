"""`cluster` itself, as a user's program has it: the durable queue of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs import by_value, noop
from peer import CORES, TRUE, Peer


class Cluster(Peer):
    """A queue of its own with two cores, in the temporary directory."""

    def start(self) -> None:
        here = Path(__file__).resolve()
        sys.path.insert(0, str(here.parents[2]))
        os.environ["PYTHONPATH"] = os.pathsep.join((str(here.parents[2]), str(here.parent)))
        os.environ["CLUSTER_STATE_DIR"] = os.path.abspath("queue")
        os.environ["CLUSTER_CONFIG"] = os.path.abspath("none.cfg")
        os.environ["CLUSTER_QTYPE"] = "local"
        if os.cpu_count() != CORES:
            os.environ["CLUSTER_CFG_LOCAL_CORES"] = str(CORES)
        import cluster

        self.cluster = cluster
        by_value()

    def stop(self) -> None:
        from cluster.local import lifecycle

        lifecycle.stop_everything(os.environ["CLUSTER_STATE_DIR"])

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.cluster.submit(function, args)

    def submit_all(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        return self.cluster.submit_many(functions)

    def value(self, handle: Any, timeout_s: float | None = None) -> Any:
        return handle.get(timeout_s)

    def calls(self, number: int) -> None:
        jobs = self.cluster.submit_many([noop] * number)
        assert [job.get() for job in jobs] == [7] * number

    def commands(self, number: int) -> None:
        jobs = self.cluster.submit_many([[TRUE]] * number)
        self.cluster.wait(jobs, progress=False)
        assert not any(job.exitcode for job in jobs)

    def chain(self, links: int) -> None:
        jobs = [self.cluster.Job(noop) for _ in range(links)]
        for before, job in pairwise(jobs):
            job.after(before)
        self.cluster.submit_many(jobs)
        assert jobs[-1].get() == 7


class OneByOne(Cluster):
    """The same, each call submitted by itself: each is durable when `submit` returns."""

    def calls(self, number: int) -> None:
        jobs = [self.cluster.submit(noop) for _ in range(number)]
        assert [job.get() for job in jobs] == [7] * number

    def commands(self, number: int) -> None:
        jobs = [self.cluster.submit([TRUE]) for _ in range(number)]
        self.cluster.wait(jobs, progress=False)
        assert not any(job.exitcode for job in jobs)
