"""A recorded workload, and what the scheduling policy would have made of it.

It reads the Standard Workload Format of the Parallel Workloads Archive and
drives the very objects that the server uses (`Waiting`, `Running`,
`Expectations`) over it, all events of one instant in one turn, as a server
does.  No clock is read and nothing is started: the same numbers each time.
"""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster.local.beliefs import Expectations, Running
from cluster.local.policy import Entry, Waiting, place
from cluster.local.resources import Vector, add, subtract

SHORT_S = 10  # the usual bound of the bounded slowdown: shorter jobs count as this long


class Recorded(NamedTuple):
    """One job of the trace; times in seconds since its beginning.

    A job that outlived what its user asked for is cut there, as a walltime
    does, while planning expects the longer time; one of no duration runs and
    asks for 1 s.  Few jobs are meant (70 of the first 5,000), but published
    means can only be met to the last digit by reading them in the same way.
    """

    id: int
    submit: int
    run: int
    cores: int
    asked: int
    user: int
    memory_mib: int = 0


Judge = Callable[[Recorded], tuple[float, bool]]


def read(path: str | Path) -> list[Recorded]:
    """Read the jobs that ran, in the order of the file."""
    with gzip.open(path, "rt", encoding="ascii") as lines:
        return list(_parse(lines))


def _parse(lines: Iterable[str]) -> Iterator[Recorded]:
    for line in lines:
        if line.startswith(";") or not line.strip():
            continue
        number, submit, _, run, used, _, _, wanted, asked, _, _, user, *_ = map(int, line.split())
        cores = wanted if wanted > 0 else used
        if cores > 0 and run >= 0:
            limit = asked if asked > 0 and run > 0 else max(run, 1)
            yield Recorded(number, submit, min(max(run, 1), limit), cores, max(run, limit), user)


def user_estimates(job: Recorded) -> tuple[float, bool]:
    """Take the user's word as a mere hint: plain EASY, backfilling in queue order."""
    return job.asked, False


def walltimes(job: Recorded) -> tuple[float, bool]:
    """Take the user's word as a walltime: EASY-SJBF, the shortest first."""
    return job.asked, True


def simulate(
    jobs: Sequence[Recorded],
    cores: int,
    judge: Judge,
    *,
    depth: int = 1000,
    ended: Callable[[Recorded], object] = lambda job: None,
    memory_mib: int = 0,
    overtake: float = 0.0,
    knows: Callable[[Recorded], bool] = lambda job: True,
) -> dict[int, int]:
    """Give the start time of each job.

    Args:
        jobs: in order of submission.
        cores: the size of the machine.
        judge: gives `(expected run time, trusted)` of a job when it is submitted.
        depth: as of the policy; 0 lets nobody pass the head, which is FCFS.
        ended: called with each job that ended.
        memory_mib: of the machine; 0: no job asks for any.
        overtake: as of `policy.place`.
        knows: whether the expectation of a job is more than the default.
    """

    def placed(job: Recorded, expect: float) -> float:
        return place(job.submit, expect if knows(job) else 0.0, overtake)

    return _Machine(jobs, (cores, memory_mib), depth, placed).play(judge, ended)


class _Machine:
    def __init__(
        self,
        jobs: Sequence[Recorded],
        capacity: Vector,
        depth: int,
        placed: Callable[[Recorded, float], float],
    ) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.capacity = self.free = capacity
        self.placed = placed
        self.waiting, self.running = Waiting(depth=depth), Running()
        self.exits: list[tuple[int, int]] = []
        self.starts: dict[int, int] = {}

    def play(self, judge: Judge, ended: Callable[[Recorded], object]) -> dict[int, int]:
        coming = sorted(self.jobs.values(), key=lambda job: job.submit)
        at = 0
        while at < len(coming) or self.exits:
            due = [end for end, _ in self.exits[:1]] + [job.submit for job in coming[at : at + 1]]
            now = min(due)
            while self.exits and self.exits[0][0] == now:
                ended(self._end(heapq.heappop(self.exits)[1]))
            while at < len(coming) and coming[at].submit == now:
                self._submit(coming[at], judge, at)
                at += 1
            self._turn(now)
        return self.starts

    def _submit(self, job: Recorded, judge: Judge, seq: int) -> None:
        expect, trusted = judge(job)
        need, at = (job.cores, job.memory_mib), self.placed(job, expect)
        self.waiting.add(Entry(job.id, need, expect, trusted, seq=seq, place=at))

    def _end(self, id: int) -> Recorded:
        job = self.jobs[id]
        self.running.remove(id)
        self.free = add(self.free, (job.cores, job.memory_mib))
        return job

    def _turn(self, now: int) -> None:
        ends = self.running.ends(now)
        for id in self.waiting.decide(now, self.capacity, self.free, ends).start:
            job, entry = self.jobs[id], self.waiting[id]
            self.running.add(id, entry.need, now, entry.expect)
            self.waiting.remove(id)
            self.free = subtract(self.free, entry.need)
            self.starts[id] = now
            heapq.heappush(self.exits, (now + job.run, id))


def learned(
    jobs: Sequence[Recorded], cores: int, *, trusted: bool = False, **options: Any
) -> dict[int, int]:
    """Simulate without any word of the users: run times learned per user and cores."""
    memory = Expectations()
    return simulate(
        jobs,
        cores,
        lambda job: (memory.expect(str(job.user), job.cores), trusted),
        ended=lambda job: memory.learn(str(job.user), job.cores, job.run),
        knows=lambda job: memory.knows(str(job.user), job.cores),
        **options,
    )


def wide(jobs: Sequence[Recorded], starts: dict[int, int], cores: int) -> tuple[float, float]:
    """Give mean and longest wait in hours of the jobs with more than so many cores."""
    waits = [(starts[job.id] - job.submit) / 3600 for job in jobs if job.cores > cores]
    return sum(waits) / len(waits), max(waits)


def figures(jobs: Sequence[Recorded], starts: dict[int, int]) -> tuple[float, float]:
    """Give mean wait in seconds and mean bounded slowdown."""
    waits = [starts[job.id] - job.submit for job in jobs]
    slowdowns = [
        max(1.0, (wait + job.run) / max(job.run, SHORT_S))
        for wait, job in zip(waits, jobs, strict=True)
    ]
    return sum(waits) / len(jobs), sum(slowdowns) / len(jobs)
