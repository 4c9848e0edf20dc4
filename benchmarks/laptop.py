"""A workload as a small machine sees it: made by a seed, without any walltime.

Eight cores and 16 GiB.  People send bursts of jobs of the same kind (a sweep, a
test run); a kind has its own cores, memory and typical run time, from seconds to
hours.  Nine tenths of the core seconds are used.  A model, no recording: it tells
whether a rule that wins on a recorded large machine does harm on a small one.
"""

from __future__ import annotations

import random
from math import exp, log

from swf import Recorded

CORES, MEMORY_MIB = 8, 16 << 10
WIDE = 7  # more cores than this: the whole machine
JOBS, KINDS, LOAD = 4000, 60, 0.7
_TYPICAL_S, _SPREAD = log(240.0), 1.0  # of the kinds' medians
_NOISE = 0.6  # of runs of one kind
_BURST = 2


def workload(seed: int) -> list[Recorded]:
    """Make the jobs of one seed, in order of submission."""
    chance = random.Random(seed)
    kinds = [
        (
            chance.choices([1, 2, 4, 8], [50, 20, 15, 15])[0],
            chance.choices([1, 2, 4, 8, 12], [40, 30, 15, 10, 5])[0] << 10,
            chance.gauss(_TYPICAL_S, _SPREAD),
        )
        for _ in range(KINDS)
    ]
    drawn: list[tuple[int, int, int, int, int]] = []
    while len(drawn) < JOBS:
        kind = chance.randrange(KINDS)
        cores, memory, typical = kinds[kind]
        for _ in range(min(int(chance.expovariate(1 / _BURST)) + 1, JOBS - len(drawn))):
            run = max(1, min(int(exp(chance.gauss(typical, _NOISE))), 86_400))
            drawn.append((kind, cores, memory, run, len(drawn)))
    work_s = sum(run * cores / CORES for _, cores, _, run, _ in drawn)
    starts = set(_burst_starts(drawn))
    between_s = work_s / LOAD / len(starts)
    at, jobs = 0.0, []
    for kind, cores, memory, run, number in drawn:
        if number in starts and number:
            at += chance.expovariate(1 / between_s)
        jobs.append(Recorded(number + 1, int(at), run, cores, run, kind, memory))
    return jobs


def _burst_starts(drawn: list[tuple[int, int, int, int, int]]) -> list[int]:
    """Give the numbers at which another kind begins."""
    return [n for n in range(len(drawn)) if not n or drawn[n][0] != drawn[n - 1][0]]
