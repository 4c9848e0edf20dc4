"""The policy over a real trace gives published numbers, to the last digit.

The reference: two independent simulators that agree on the start time of every
job, one of them published.  The objects driven here are those the server uses.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest

from cluster.local.policy import Entry, Waiting

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "tests" / "data" / "KTH-SP2-1996-first5000.swf.gz"
PROCESSORS = 100


def _load_swf():
    spec = importlib.util.spec_from_file_location("swf", ROOT / "benchmarks" / "swf.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["swf"] = module
    spec.loader.exec_module(module)
    return module


swf = _load_swf()


@pytest.fixture(scope="module")
def trace():
    return swf.read(TRACE)


def rounded(trace, starts):
    wait, slowdown = swf.figures(trace, starts)
    return round(wait, 2), round(slowdown, 4)


def test_the_trace_is_whole(trace):
    assert len(trace) == 5000
    assert max(job.cores for job in trace) <= PROCESSORS


@pytest.mark.slow
def test_without_backfilling_the_numbers_are_those_of_first_come_first_served(trace):
    starts = swf.simulate(trace, PROCESSORS, swf.user_estimates, depth=0)

    assert rounded(trace, starts) == (199184.16, 4987.1162)


def test_hints_give_the_numbers_of_easy_backfilling(trace):
    starts = swf.simulate(trace, PROCESSORS, swf.user_estimates)

    assert rounded(trace, starts) == (9464.10, 138.4952)


def test_walltimes_give_the_numbers_of_shortest_job_backfilled_first(trace):
    starts = swf.simulate(trace, PROCESSORS, swf.walltimes)

    assert rounded(trace, starts) == (8252.38, 112.6163)


def test_run_times_known_exactly_give_the_numbers_of_perfect_estimates(trace):
    starts = swf.simulate(trace, PROCESSORS, lambda job: (job.run, False))

    assert rounded(trace, starts) == (8317.98, 99.6091)


def test_shortest_first_with_exact_run_times_is_best_of_all(trace):
    starts = swf.simulate(trace, PROCESSORS, lambda job: (job.run, True))

    assert rounded(trace, starts) == (7324.99, 75.0783)


def test_learned_run_times_do_about_as_well_as_the_users_own(trace):
    wait, slowdown = swf.figures(trace, swf.learned(trace, PROCESSORS))

    assert wait < 9464.10 * 1.1
    assert slowdown < 138.4952


def test_a_pass_does_not_look_at_every_waiting_job():
    waiting = Waiting()
    for id in range(30_000):
        waiting.add(Entry(id, (2 + id % 4,), 60.0 * (1 + id % 3), seq=id))
    waiting.add(Entry(-1, (1,), 60.0, seq=-1))
    ends = [(100.0, (1,)), (200.0, (2,))]

    def seconds():
        begin = time.perf_counter()
        waiting.decide(0.0, (4,), (1,), iter(ends))
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(20)) < 0.002  # about 0.05 ms; looking at each: 20 ms
