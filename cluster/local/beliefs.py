"""How long jobs are believed to run: those that wait, and those that run.

Pure, and advice only: `policy` plans with these numbers, nothing is ever ended
because of them.  `Expectations` learns from runs that ended; `Running` keeps
the believed ends of those that go on, in order.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence

from cluster.local.resources import Vector

__all__ = ["DEFAULT_EXPECT_S", "Expectations", "Row", "Running", "believed_end"]

DEFAULT_EXPECT_S = 3600.0  # 1 minute to 1 hour did about the same on the KTH trace, a day far worse
KEEP = 5  # run times of a key
LIMIT = 10_000  # keys

Row = tuple[str, int, tuple[float, ...]]


def believed_end(start: float, expect: float, now: float) -> float:
    """When a running job is believed to end; never in the past.

    A job that outlived its expectation is believed to run as long again as it
    has already run.
    """
    planned = start + expect
    return planned if planned > now else now + max(now - start, 0.0)


class Running:
    """What runs, in the order of its planned ends."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[float, float, Vector]] = {}  # start, expect, need
        self._planned: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, id: object) -> bool:
        return id in self._jobs

    def add(self, id: int, need: Vector, start: float, expect: float) -> None:
        """Count in a job that started.

        Raises:
            ValueError: one with this id runs already.
        """
        if id in self._jobs:
            raise ValueError(f"job {id} runs already")
        self._jobs[id] = (start, expect, need)
        insort(self._planned, (start + expect, id))

    def remove(self, id: int) -> None:
        """Forget a job that is gone; KeyError when it does not run."""
        start, expect, _ = self._jobs.pop(id)
        del self._planned[bisect_left(self._planned, (start + expect, id))]

    def set_need(self, id: int, need: Vector) -> None:
        """Change what a job holds; KeyError when it does not run."""
        start, expect, _ = self._jobs[id]
        self._jobs[id] = (start, expect, need)

    def ends(self, now: float) -> Iterator[tuple[float, Vector]]:
        """Give `(believed end, need)` in order, the later ones only if asked for."""
        due = bisect_right(self._planned, (now, math.inf))
        late = sorted(self._end(id, now) for _, id in self._planned[:due])
        yield from heapq.merge(late, (self._end(id, now) for _, id in self._planned[due:]))

    def _end(self, id: int, now: float) -> tuple[float, Vector]:
        start, expect, need = self._jobs[id]
        return believed_end(start, expect, now), need


class Expectations:
    """How long jobs of a key are believed to run, learned from those that ended.

    The median of the last few run times of the same key and cores.  A median is
    not moved by one run that went astray; on a real trace it gave the smallest
    mean wait, though wide jobs wait less with the longest of the last five.

    Args:
        default: seconds for a key that never ran.
        keep: how many run times of a key count.
        limit: how many keys are remembered; who ran least recently goes first.
    """

    def __init__(
        self, default: float = DEFAULT_EXPECT_S, *, keep: int = KEEP, limit: int = LIMIT
    ) -> None:
        self.default, self._keep, self._limit = default, keep, limit
        self._times: dict[tuple[str, int], tuple[float, ...]] = {}

    def learn(self, key: str, cores: int, seconds: float) -> Row:
        """Remember a run time; return the row that changed, for the store."""
        times = (*self._times.pop((key, cores), ()), seconds)[-self._keep :]
        self._times[key, cores] = times
        while len(self._times) > self._limit:
            del self._times[next(iter(self._times))]
        return key, cores, times

    def knows(self, key: str, cores: int) -> bool:
        """Tell whether a run of this kind has ended."""
        return (key, cores) in self._times

    def expect(self, key: str, cores: int) -> float:
        """Give the believed run time in seconds."""
        times = sorted(self._times.get((key, cores), ()))
        if not times:
            return self.default
        middle = len(times) // 2
        return times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2

    def of(
        self, key: str, cores: int, *, expect_s: float = 0.0, walltime_s: float = 0.0
    ) -> tuple[float, bool]:
        """Give `(expect, trusted)` of a job: what its user said, else what was learned.

        Args:
            key, cores: of the job.
            expect_s: the run time its user expects; 0 not given.
            walltime_s: its enforced limit, believed when there is no `expect_s`;
                0 not given.
        """
        if expect_s > 0 or walltime_s > 0:
            return expect_s if expect_s > 0 else walltime_s, True
        return self.expect(key, cores), False

    def keys(self) -> set[str]:
        """Give the keys of all that was learned, as the store has them."""
        return {f"{cores} {key}" for key, cores in self._times}

    def export(self) -> list[Row]:
        """Give all that was learned, least recently learned first."""
        return [(key, cores, times) for (key, cores), times in self._times.items()]

    @classmethod
    def load(
        cls,
        rows: Iterable[tuple[str, int, Sequence[float]]],
        default: float = DEFAULT_EXPECT_S,
        *,
        keep: int = KEEP,
        limit: int = LIMIT,
    ) -> Expectations:
        """Make them again from what `export` or `learn` gave."""
        made = cls(default, keep=keep, limit=limit)
        for key, cores, times in rows:
            for seconds in times:
                made.learn(key, cores, seconds)
        return made
