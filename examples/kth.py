"""What the demo computes: how long the users of a real machine waited, month by month.

It reads the Standard Workload Format and knows nothing of where it runs: the
jobs of the demo call it, and so does the check of their result.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import get_context
from typing import NamedTuple

import cluster

BOUND_S = 10  # a shorter job counts as this long, else the shortest ones decide the mean
ROUNDS, SHARES = 200, 8  # of the resampling; the same shares on every number of cores


class Recorded(NamedTuple):
    """One job of the log; seconds, `submit` since its beginning."""

    submit: int
    wait: int
    run: int

    @property
    def slowdown(self) -> float:
        """How much longer the user waited for the result than the job ran; at least 1."""
        return max(1.0, (self.wait + self.run) / max(self.run, BOUND_S))


class Totals(NamedTuple):
    """Sums over the jobs of one month, so that pieces can be added up."""

    jobs: int = 0
    wait_s: int = 0
    slowdown: float = 0.0

    def plus(self, other: Totals) -> Totals:
        """Add another piece of the same month."""
        return Totals(
            self.jobs + other.jobs, self.wait_s + other.wait_s, self.slowdown + other.slowdown
        )


class Line(NamedTuple):
    """One line of the resulting table."""

    month: str
    jobs: int
    mean_wait_s: float
    mean_slowdown: float


def begin_of(path: str) -> int:
    """Give the second since the epoch at which the log begins."""
    with cluster.run.open_zipped(path) as lines:
        for line in lines:
            if line.startswith("; UnixStartTime:"):
                return int(line.split(":")[1])
    raise ValueError(f"{path} does not say when it begins: it has no line '; UnixStartTime:'.")


def recorded(path: str) -> Iterator[Recorded]:
    """Read the jobs of a log or of a piece of one."""
    with cluster.run.open_zipped(path) as lines:
        for line in lines:
            if not line.startswith(";"):
                _, submit, wait, run, *_ = line.split()
                yield Recorded(int(submit), int(wait), int(run))


def months_of(path: str, begin: int) -> dict[str, Totals]:
    """Sum up a piece of the log by the month (UTC) of the submission."""
    months: dict[str, Totals] = {}
    for job in recorded(path):
        month = time.strftime("%Y-%m", time.gmtime(begin + job.submit))
        one = Totals(1, job.wait, job.slowdown)
        months[month] = months.get(month, Totals()).plus(one)
    return months


def table_of(pieces: Iterable[dict[str, Totals]]) -> list[Line]:
    """Add pieces up; the last line is for all of them together."""
    months: dict[str, Totals] = {}
    for piece in pieces:
        for month, totals in piece.items():
            months[month] = months.get(month, Totals()).plus(totals)
    whole = Totals()
    for totals in months.values():
        whole = whole.plus(totals)
    return [_line(month, months[month]) for month in sorted(months)] + [_line("all", whole)]


def _line(month: str, totals: Totals) -> Line:
    jobs = totals.jobs
    return Line(month, jobs, totals.wait_s / jobs, totals.slowdown / jobs)


def merge(pieces: Sequence[cluster.Job]) -> list[Line]:
    """Fetch what the jobs of the pieces computed, and make the table of it."""
    return table_of(job.get() for job in pieces)


def spread_of(path: str, cores: int) -> tuple[float, float]:
    """Tell how far the mean slowdown of the year is chance: 90 % of resampled years lie within.

    Args:
        path: the whole log.
        cores: processes to use; the answer is the same for every number.
    """
    slowdowns = [job.slowdown for job in recorded(path)]
    shares = [(slowdowns, seed, ROUNDS // SHARES) for seed in range(SHARES)]
    if cores == 1:
        found = [_resampled(*share) for share in shares]
    else:
        # spawn: a fork of a program that has threads may hang
        with get_context("spawn").Pool(cores) as pool:
            found = pool.starmap(_resampled, shares)
    means = sorted(mean for share in found for mean in share)
    cut = len(means) // 20
    return means[cut], means[-1 - cut]


def _resampled(values: list[float], seed: int, rounds: int) -> list[float]:
    chance = random.Random(seed)
    return [sum(chance.choices(values, k=len(values))) / len(values) for _ in range(rounds)]
