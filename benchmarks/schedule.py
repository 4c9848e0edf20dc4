"""Scheduling quality and cost, on a year of a real machine.

    python benchmarks/schedule.py [--json]

Plays the KTH-SP2 log (28,489 jobs, 100 processors; see examples/data/README.md)
through the policy objects that the server uses and prints mean wait, mean
bounded slowdown and CPU seconds beside the published or independently computed
numbers; then the cost of one decision with 100,000 jobs waiting.

The first four rows must match to the last digit.  The learned ones are to be
compared only: the reference treats jobs that outlive what was learned otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

import laptop  # noqa: E402 (after the path to it)
import swf  # noqa: E402

from cluster.local.policy import Entry, Running, Waiting, decide  # noqa: E402

TRACE = ROOT / "examples" / "data" / "KTH-SP2-1996-2.swf.gz"
PROCESSORS = 100
WAITING = 100_000
SEEDS = 5
OVERTAKE = 4.0  # `local.overtake`; chosen on these very data, see docs/benchmarks.md
WIDE = 64  # processors: the widest jobs of the log need more
GOAL_CPU_S, GOAL_DECISION_US = 5.0, 100.0

Play = Callable[[list[swf.Recorded]], dict[int, int]]


def with_judge(judge: swf.Judge, **options: Any) -> Play:
    return lambda jobs: swf.simulate(jobs, PROCESSORS, judge, **options)


# What is played, and the reference: mean wait in seconds, mean bounded slowdown.
CASES: list[tuple[str, Play, tuple[float, float] | None]] = [
    ("EASY, users' estimates as hints", with_judge(swf.user_estimates), (6840.87, 92.8472)),
    ("EASY-SJBF, as walltimes", with_judge(swf.walltimes), (5901.36, 69.1706)),
    ("EASY, exact run times", with_judge(lambda job: (job.run, False)), (6329.19, 72.0309)),
    ("EASY-SJBF, exact run times", with_judge(lambda job: (job.run, True)), (5436.69, 50.0737)),
    ("EASY, 50 candidates at most", with_judge(swf.user_estimates, depth=50), None),
    ("learned, median of 5", lambda jobs: swf.learned(jobs, PROCESSORS), (7106.07, 78.46)),
    (
        "learned, shortest first",
        lambda jobs: swf.learned(jobs, PROCESSORS, trusted=True),
        (6322.77, 65.03),
    ),
    ("EASY-SJBF, walltimes, overtake 4", with_judge(swf.walltimes, overtake=OVERTAKE), None),
    ("learned, overtake 4", lambda jobs: swf.learned(jobs, PROCESSORS, overtake=OVERTAKE), None),
    (
        "learned, shortest first, overtake 4",
        lambda jobs: swf.learned(jobs, PROCESSORS, trusted=True, overtake=OVERTAKE),
        None,
    ),
]
# On the small machine, where nobody gives a walltime.
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("FCFS", {"depth": 0}),
    ("learned, median of 5", {}),
    ("learned, shortest first", {"trusted": True}),
    ("learned, overtake 2", {"overtake": 2.0}),
    ("learned, overtake 4", {"overtake": OVERTAKE}),
    ("learned, overtake 8", {"overtake": 8.0}),
    ("learned, shortest first, overtake 4", {"trusted": True, "overtake": OVERTAKE}),
]


def quality() -> list[dict[str, Any]]:
    """Play every case over the whole log."""
    jobs = swf.read(TRACE)
    rows = []
    for label, play, reference in CASES:
        begin = time.process_time()
        starts = play(jobs)
        cpu_s = time.process_time() - begin
        wait, slowdown = swf.figures(jobs, starts)
        row = {"policy": label, "jobs": len(jobs), "mean_wait_s": round(wait, 2)}
        row |= {"bounded_slowdown": round(slowdown, 4), "cpu_s": round(cpu_s, 2)}
        row["wide_wait_h"] = swf.wide(jobs, starts, WIDE)
        rows.append(row | {"reference": reference})
    return rows


def small() -> list[dict[str, Any]]:
    """Play what makes sense without walltimes on the model of a small machine."""
    rows = []
    workloads = [laptop.workload(seed) for seed in range(SEEDS)]
    for label, options in SMALL:
        found = []
        for jobs in workloads:
            starts = swf.learned(jobs, laptop.CORES, memory_mib=laptop.MEMORY_MIB, **options)
            found.append((*swf.figures(jobs, starts), *swf.wide(jobs, starts, laptop.WIDE)))
        wait, slowdown, wide, widest = (mean(column) for column in zip(*found, strict=True))
        rows.append({"policy": label, "mean_wait_s": wait, "bounded_slowdown": slowdown,
                     "wide_wait_h": (wide, widest)})  # fmt: skip
    return rows


def cost() -> list[dict[str, Any]]:
    """Time one decision with 100,000 jobs of sixty shapes waiting, in microseconds."""
    waiting, running = Waiting(), Running()
    entries = [
        Entry(id, (1 + id % 4, 512 * (id % 3)), 60.0 * (1 + id % 5), id % 2 == 0, 0, id)
        for id in range(WAITING)
    ]
    begin = time.perf_counter()
    for entry in entries:
        waiting.add(entry)
    add_us = (time.perf_counter() - begin) / WAITING * 1e6
    for id in range(4):
        running.add(id, (1, 0), 0.0, 60.0 * (id + 1))
    capacity = (4, 2048)

    def with_free(*free: int) -> float:
        return _best_us(lambda: waiting.decide(1.0, capacity, free, running.ends(1.0)))

    def plainly() -> float:
        held = [(id, (1, 0), 60.0 * (id + 1)) for id in range(3)]
        return _best_us(lambda: decide(1.0, capacity, held, entries), times=2)

    return [
        {"what": "add one to the queue", "us": add_us, "goal_us": None},
        {"what": "decide, machine full", "us": with_free(0, 2048), "goal_us": GOAL_DECISION_US},
        {"what": "decide, one core free", "us": with_free(1, 2048), "goal_us": GOAL_DECISION_US},
        {"what": "start and replace one", "us": _turnover(waiting), "goal_us": GOAL_DECISION_US},
        {"what": "the plain rules, each job looked at", "us": plainly(), "goal_us": None},
    ]


def decision_us(number: int) -> float:
    """Time what a queue does when a core comes free: one starts, another is submitted."""
    waiting = Waiting()
    for id in range(number):
        need, expect = (1 + id % 4, 512 * (id % 3)), 60.0 * (1 + id % 5)
        waiting.add(Entry(id, need, expect, id % 2 == 0, 0, id))
    return _turnover(waiting, number)


def _turnover(waiting: Waiting, number: int = WAITING) -> float:
    """One core comes free, a job starts there and another is submitted."""
    times, seq = 500, number
    begin = time.perf_counter()
    for _ in range(times):
        (id, *_) = waiting.decide(1.0, (4, 2048), (1, 2048), iter([(math.inf, (3, 0))])).start
        entry = waiting[id]
        waiting.remove(id)
        waiting.add(Entry(seq, entry.need, entry.expect, entry.trusted, 0, seq))
        seq += 1
    return (time.perf_counter() - begin) / times * 1e6


def _best_us(call: Callable[[], object], *, times: int = 200) -> float:
    best = math.inf
    for _ in range(times):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best * 1e6


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    rows, few, costs = quality(), small(), cost()
    if chosen.json:
        print(json.dumps({"quality": rows, "small": few, "cost": costs}, indent=1))
        return
    print(
        f"{'KTH-SP2, whole log':<36}{'mean wait s':>12}{'slowdown':>10}{'wide h':>8}{'max':>5}"
        f"{'CPU s':>7}   reference"
    )
    for row in rows:
        wait, slowdown = row["reference"] or ("", "")
        wide, widest = row["wide_wait_h"]
        print(
            f"{row['policy']:<36}{row['mean_wait_s']:>12}{row['bounded_slowdown']:>10}"
            f"{wide:>8.1f}{widest:>5.0f}{row['cpu_s']:>7}   {wait:>8} {slowdown}"
        )
    print(
        f"(goal: less than {GOAL_CPU_S:.0f} CPU s for the whole log; wide: over {WIDE} processors)"
    )
    print(
        f"\n{'8 cores, 16 GiB: a model, 5 seeds':<36}{'mean wait s':>12}{'slowdown':>10}"
        f"{'wide h':>8}"
    )
    for row in few:
        print(
            f"{row['policy']:<36}{row['mean_wait_s']:>12.0f}{row['bounded_slowdown']:>10.1f}"
            f"{row['wide_wait_h'][0]:>8.2f}"
        )
    print()
    print(f"{WAITING} jobs waiting")
    for line in costs:
        goal = f"   goal <= {line['goal_us']:.0f}" if line["goal_us"] else ""
        print(f"{line['what']:<40}{line['us']:>10.1f} us{goal}")


if __name__ == "__main__":
    main()
