"""`cluster.map` and `Executor(reuse=True)` beside `ProcessPoolExecutor`, in the same minute.

    python benchmarks/map.py [--quick] [--json]

The pool is there before the clock starts, as the queue is, and gets the best of
several chunk sizes; ratios are of measurements side by side.  Goal: 1.0 of its rate.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

from report import Figure, print_columns  # noqa: E402 (after the path to it)

import cluster  # noqa: E402
from cluster.local import lifecycle  # noqa: E402

ITEMS, CALLS, ALONE = 100_000, 5_000, 500
CHUNKS = (500, 1_000, 2_000, 5_000, 12_500, 25_000, 50_000)
CORES = os.cpu_count() or 1


def tiny(x: int) -> int:
    """Do next to nothing."""
    return x + 1


def seconds(work: Callable[[], Iterable[Any]]) -> float:
    """Give how long it takes to have all values."""
    began = time.perf_counter()
    values = list(work())
    took = time.perf_counter() - began
    assert values[:2] == [1, 2]
    return took


def measure_map(pool: ProcessPoolExecutor, items: Any, rounds: int) -> tuple[list[float], str]:
    """Give the ratios of the pool at its best chunk size, round by round, and what was what."""
    theirs: dict[int, list[float]] = {chunk: [] for chunk in CHUNKS}
    ours = []
    for _ in range(rounds):
        for chunk, times in theirs.items():
            times.append(seconds(lambda c=chunk: pool.map(tiny, items, chunksize=c)))  # type: ignore[misc]
            ours.append(seconds(lambda: cluster.map(tiny, items)))
    best = min(CHUNKS, key=lambda chunk: median(theirs[chunk]))
    mine = ours[CHUNKS.index(best) :: len(CHUNKS)]  # measured right after
    ratios = [b / a for a, b in zip(mine, theirs[best], strict=True)]
    told = (
        f"{median(ours) * 1e3:.0f} ms, pool {median(theirs[best]) * 1e3:.0f} ms, chunks of {best}"
    )
    return ratios, told


def measure_executor(
    pool: ProcessPoolExecutor, executor: cluster.Executor, rounds: int
) -> tuple[list[float], list[float]]:
    """Give the ratios for many calls at once, and for one after the other."""
    together, alone = [], []
    for _ in range(rounds):
        theirs = seconds(lambda: pool.map(tiny, range(CALLS)))
        together.append(theirs / seconds(lambda: executor.map(tiny, range(CALLS))))
        theirs = seconds(lambda: (pool.submit(tiny, x).result() for x in range(ALONE)))
        mine = seconds(lambda: (executor.submit(tiny, x).result() for x in range(ALONE)))
        alone.append(theirs / mine)
    return together, alone


def figure(what: str, ratios: list[float], note: str = "") -> Figure:
    """Make a line of the table."""
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    note = f"{spread}; {note}" if note else spread
    return Figure(what, median(ratios), "x", 1.0, 1.0, at_least=True, note=note)


def measure(rounds: int) -> list[Figure]:
    """Measure all of it in a queue of its own."""
    numbers = list(range(ITEMS))
    with ProcessPoolExecutor(CORES) as pool, cluster.Executor(reuse=True) as executor:
        for made in (pool.map(tiny, range(100)), executor.map(tiny, range(100))):
            list(made)
        together, alone = measure_executor(pool, executor, rounds)
        executor.shutdown()
        list(cluster.map(tiny, range(100)))
        of_range, told = measure_map(pool, range(ITEMS), rounds)
        of_list, told_of_list = measure_map(pool, numbers, rounds)
    return [
        figure(f"map over range({ITEMS})", of_range, told),
        figure(f"map over a list of {ITEMS} ints", of_list, told_of_list),
        figure(f"Executor(reuse=True), {CALLS} calls", together),
        figure(f"Executor(reuse=True), {ALONE} calls one by one", alone),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cl-", dir="/tmp") as folder:
        os.environ |= {"CLUSTER_STATE_DIR": folder, "CLUSTER_QTYPE": "local"}
        try:
            figures = measure(3 if given.quick else 9)
        finally:
            lifecycle.stop_everything(folder)
    if given.json:
        print(json.dumps([each.as_dict() for each in figures]))
        return
    rows = [
        (each.what, f"{each.value:.2f} x", each.limit(each.goal), each.verdict, each.note)
        for each in figures
    ]
    print_columns(rows, right=(1, 2))


if __name__ == "__main__":
    main()
