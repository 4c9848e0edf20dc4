"""How the queue's costs grow with the number of jobs: curves over n.

    python benchmarks/scale.py [--quick] [--json [FILE]]

Everything goes through `import cluster` to a queue of its own, with one server
for each n; nothing runs but the chain, the rest waits or is cancelled.  The growth
column is how much a tenfold n costs: near 10 is linear.  `plot.py` draws the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

import floors  # noqa: E402 (after the path to it)
import local  # noqa: E402
import psutil  # noqa: E402
import schedule  # noqa: E402
from report import print_columns  # noqa: E402

import cluster  # noqa: E402
from cluster.local import lifecycle  # noqa: E402
from cluster.local.client import get_client  # noqa: E402
from cluster.local.connection import connect  # noqa: E402

SIZES = (1_000, 10_000, 100_000)
ARRAYS = (1_000, 10_000, 100_000, 1_000_000)
CHAINS = (50, 500, 5_000)
FANS = (100, 1_000, 10_000)
CLIENTS = (5, 50, 500)
PATIENCE_S = 300.0

# What is drawn, its unit, and the goal at the largest n.
CURVES: dict[str, tuple[str, float | None]] = {
    "submit from a list": ("s", 2.0),
    "server memory": ("MiB", 150.0),
    "one decision": ("us", 100.0),
    "restart": ("s", 2.0),
    "cluster list": ("s", None),
    "cluster list --limit 50": ("s", 0.3),
    "cancel all": ("s", None),
    "array: submit": ("s", None),
    "array: server memory": ("MiB", None),
    "array: cancel": ("s", None),
    "chain: submit": ("s", None),
    "chain: run": ("s", None),
    "chain: cancel the first": ("s", None),
    "fan-out: submit": ("s", None),
    "fan-out: head ends": ("s", None),
    "fan-in: submit": ("s", None),
    "fan-in: heads end": ("s", None),
    "clients: connect": ("s", None),
    "clients: server memory": ("MiB", None),
    "clients: one job": ("ms", None),
    "clients: all told of an end": ("s", None),
}

Points = dict[str, dict[int, float]]


@contextmanager
def queue(folder: Path, number: int) -> Iterator[str]:
    """Give `import cluster` a new queue that starts nothing."""
    os.environ["CLUSTER_STATE_DIR"] = state = str(folder / str(number))
    try:
        cluster.submit(floors.TRUE).wait(PATIENCE_S)
        get_client().control("pause")
        yield state
    finally:
        get_client().close()
        lifecycle.stop_everything(state)


def seconds(call: Callable[[], object]) -> float:
    """Time a call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def server_mib() -> float:
    """Give what the server holds."""
    return floors.rss_mib(int(get_client().control("status")["pid"]))


def cli(*words: str) -> float:
    """Time a command of `cluster`, its output thrown away; its start included."""
    argv = [sys.executable, "-m", "cluster", *words]
    return seconds(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=ROOT))


# ---------------------------------------------------------------- what is measured


def queued(number: int) -> Iterator[tuple[str, float]]:
    """So many commands wait."""
    jobs: list[cluster.Job] = []
    yield (
        "submit from a list",
        seconds(lambda: jobs.extend(cluster.submit_many([[floors.TRUE]] * number))),
    )
    yield "server memory", server_mib()
    yield "one decision", schedule.decision_us(number)
    yield "cluster list", cli("list")
    yield "cluster list --limit 50", median(cli("list", "--limit", "50") for _ in range(3))
    yield "restart", restart()
    assert get_client().control("status")["counts"].get("PENDING") == number
    yield "cancel all", seconds(lambda: cluster.cancel(jobs))


def restart() -> float:
    """Kill the server; time until its successor, with all jobs, has answered."""
    process = psutil.Process(int(get_client().control("status")["pid"]))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return seconds(lambda: get_client().query([]))


def array(number: int) -> Iterator[tuple[str, float]]:
    """An array of so many elements."""
    jobs: list[cluster.Job] = []
    yield (
        "array: submit",
        seconds(lambda: jobs.append(cluster.submit([floors.TRUE], array=f"1-{number}"))),
    )
    yield "array: server memory", server_mib()
    yield "array: cancel", seconds(lambda: cluster.cancel(jobs))


def linked(number: int) -> list[cluster.Job]:
    """Make jobs of which each waits for the one before."""
    jobs = [cluster.Job([floors.TRUE]) for _ in range(number)]
    for before, job in pairwise(jobs):
        job.after(before)
    return jobs


def chain(number: int) -> Iterator[tuple[str, float]]:
    """A chain of so many jobs: submitted, cancelled at its head, and run."""
    jobs = linked(number)
    yield "chain: submit", seconds(lambda: cluster.submit_many(jobs))
    yield "chain: cancel the first", seconds(lambda: _cancel_first(jobs))
    jobs = cluster.submit_many(linked(number))
    get_client().control("resume")
    yield "chain: run", seconds(lambda: jobs[-1].wait(PATIENCE_S))
    assert jobs[-1].exitcode == 0
    get_client().control("pause")


def _cancel_first(jobs: list[cluster.Job]) -> None:
    jobs[0].cancel()
    cluster.wait(jobs[-1:], PATIENCE_S, progress=False)


def fans(number: int) -> Iterator[tuple[str, float]]:
    """So many wait for one, and one waits for so many."""
    head = cluster.Job([floors.TRUE])
    rest = [cluster.Job([floors.TRUE]).after(head) for _ in range(number)]
    yield "fan-out: submit", seconds(lambda: cluster.submit_many([head, *rest]))
    yield "fan-out: head ends", seconds(lambda: _cancel_first([head, *rest]))
    heads = [cluster.Job([floors.TRUE]) for _ in range(number)]
    tail = cluster.Job([floors.TRUE]).after(heads)
    yield "fan-in: submit", seconds(lambda: cluster.submit_many([*heads, tail]))
    begin = time.perf_counter()
    cluster.cancel(heads)
    cluster.wait([tail], PATIENCE_S, progress=False)
    yield "fan-in: heads end", time.perf_counter() - begin


def clients(number: int, state: str) -> Iterator[tuple[str, float]]:
    """So many programs are connected."""
    from cluster.local import wire

    others: list[Any] = []
    yield (
        "clients: connect",
        seconds(lambda: others.extend(connect(state) for _ in range(number))),
    )
    get_client().control("resume")
    yield "clients: one job", median(_one_ms() for _ in range(20))
    get_client().control("pause")
    job = cluster.submit([floors.TRUE])
    for each in others:
        each.send(wire.Watch(1, (str(job.id),)), None)
        assert isinstance(each.next(None), wire.Answer)
    yield "clients: server memory", server_mib()
    begin = time.perf_counter()
    job.cancel()
    assert all(isinstance(each.next(None), wire.Ended) for each in others)
    yield "clients: all told of an end", time.perf_counter() - begin
    for each in others:
        each.close()


def _one_ms() -> float:
    time.sleep(local.PAUSE_S)
    return seconds(lambda: cluster.submit([floors.TRUE]).wait(PATIENCE_S)) * 1e3


# ---------------------------------------------------------------- all of it


def measure(folder: Path, *, quick: bool) -> Points:
    """Measure every curve."""
    points: Points = {}

    def keep(number: int, rows: Iterator[tuple[str, float]]) -> None:
        for what, value in rows:
            points.setdefault(what, {})[number] = value
            print(f"  {what}, n={number:,}: {value:.3f}", file=sys.stderr, flush=True)

    less = slice(0, -1) if quick else slice(None)
    for number in SIZES[less]:
        with queue(folder, number):
            keep(number, queued(number))
    with queue(folder, 1):
        for number in ARRAYS[less]:
            keep(number, array(number))
        for number in CHAINS[less]:
            keep(number, chain(number))
        for number in FANS[less]:
            keep(number, fans(number))
    with queue(folder, 2) as state:
        for number in CLIENTS[less]:
            keep(number, clients(number, state))
    return points


def print_points(points: Points) -> None:
    """Print a line for each curve: its values, its growth, its goal."""
    rows: list[tuple[str, ...]] = [("", "n", "", "", "", "growth", "goal at the last")]
    for what, found in points.items():
        unit, goal = CURVES[what]
        values = [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in found.values()]
        last, before = list(found.values())[-1], list(found.values())[-2]
        told = "" if goal is None else f"<= {goal:g} {'kept' if last <= goal else 'MISSED'}"
        cells = [*values, *[""] * (4 - len(values))]
        rows.append(
            (f"{what}, {unit}", f"{max(found):,}", *cells[:4], f"{last / before:.1f}", told)
        )
        rows[0] = rows[0]
    print_columns([row if len(row) == 8 else (*row[:5], "", *row[5:]) for row in rows],
                  right=range(1, 7))  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="without the largest n")
    parser.add_argument("--json", nargs="?", const="-", help="write one JSON object there")
    chosen = parser.parse_args()
    os.environ["CLUSTER_QTYPE"] = "local"
    os.environ["CLUSTER_CFG_LOCAL_REQUEST_TIMEOUT_S"] = str(PATIENCE_S)
    with tempfile.TemporaryDirectory(prefix="cluster-scale-") as name:
        folder = Path(os.path.realpath(name))
        os.environ["CLUSTER_CONFIG"] = str(folder / "none.cfg")
        where = local.machine(folder) | {"command": " ".join(["python", *sys.argv])}
        points = measure(folder, quick=chosen.quick)
    units = {what: CURVES[what][0] for what in points}
    if chosen.json:
        text = json.dumps({"machine": where, "units": units, "points": points}, indent=1)
        print(text) if chosen.json == "-" else Path(chosen.json).write_text(text)
    if chosen.json != "-":
        print_points(points)


if __name__ == "__main__":
    main()
