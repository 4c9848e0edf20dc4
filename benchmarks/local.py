"""What the local queue costs, each figure beside what this machine can do at best.

    python benchmarks/local.py [--quick] [--json] [--dir FOLDER]

S is the rate at which this machine starts and reaps `/bin/true`, two at a time;
it is measured before and after each repetition, for it changes with whatever
else the machine does.  A ratio is that of one repetition to its own S (or to its
own bare SQLite commits); medians of at least three.  Goals and floors: README.md
here.  Everything goes through `import cluster`, as a user's program would, to a
queue of its own in a temporary directory; all of it is stopped at the end.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

import floors  # noqa: E402 (after the path to it)
import psutil  # noqa: E402
from report import Cost, Figure, print_report, span  # noqa: E402

import cluster  # noqa: E402
from cluster.local import lifecycle  # noqa: E402
from cluster.local.client import get_client  # noqa: E402

CORES = 2  # S has two in flight, so the queue may run two jobs at once
LINKS = 20
PAUSE_S = 0.02  # before each single job, so that nothing is still going on
LATENCIES = 30
PATIENCE_S = 120.0  # a job that is not over by then is a fault to be seen, not waited for
_FIRST_VALUE = """
import time
begin = time.perf_counter()
import cluster
assert cluster.submit(pow, (2, 5)).get() == 32
print(time.perf_counter() - begin)
"""
_IMPORT = """
import time
begin = time.perf_counter()
import cluster
{}
print(time.perf_counter() - begin)
"""
_ALL_NAMES = "for name in cluster.__all__: getattr(cluster, name)"


def noop() -> int:
    """Do nothing; defined here, so it travels by value like a user's own."""
    return 7


class Sizes:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.repetitions = 3 if quick else 5
        self.jobs = 300 if quick else 1000
        self.spawns = 400 if quick else 1000
        self.submits = 200 if quick else 500
        self.listed = 1000 if quick else 5000
        self.chains = 3 if quick else 7
        self.starts = 3 if quick else 7


# ---------------------------------------------------------------- the queue that is measured


@contextmanager
def own_queue(folder: Path) -> Iterator[None]:
    """Point `import cluster` at a new queue with two cores; end it afterwards."""
    os.environ["CLUSTER_STATE_DIR"] = state = str(folder / "queue")
    os.environ["CLUSTER_CONFIG"] = str(folder / "none.cfg")
    os.environ["CLUSTER_QTYPE"] = "local"
    os.environ["PYTHONPATH"] = str(ROOT)  # for the fresh interpreters
    # They shall find what an installed package has: installers compile it.
    compileall.compile_dir(ROOT / "cluster", quiet=1)
    try:
        for _ in range(CORES):
            cluster.submit(noop).get(PATIENCE_S)
        if cluster.Queue().resources().cores > CORES:
            get_client().control("set", cores=CORES)
        yield
    finally:
        get_client().close()
        lifecycle.stop_everything(state)


class Processes:
    """The processes of the queue, and what they used since the last look."""

    def __init__(self) -> None:
        status = get_client().control("status")
        self.server, self.node = int(status["pid"]), int(status["node_pid"])
        self._before = self._now()

    def _warm(self) -> list[int]:
        """Give the warm parents; they lead a session, their forks that wait for a job do not."""
        children = [each.pid for each in psutil.Process(self.node).children()]
        return [pid for pid in children if os.getsid(pid) == pid]

    def _now(self) -> list[float]:
        warm = sum(map(floors.cpu_s, self._warm()))
        return [floors.cpu_s(self.server), floors.cpu_s(self.node), warm, time.process_time()]

    def used_s(self) -> dict[str, float]:
        """Give processor seconds since the last look; the client is this process."""
        before, self._before = self._before, self._now()
        spent = [now - then for now, then in zip(self._before, before, strict=True)]
        return dict(zip(("server", "node", "warm parents", "client"), spent, strict=True))

    def rss(self) -> dict[str, float]:
        """Give MiB of each."""
        pids = {"server": self.server, "node": self.node, "warm parent": self._warm()[0]}
        return {name: floors.rss_mib(pid) for name, pid in pids.items()}


# ---------------------------------------------------------------- what is measured


def run_commands(number: int) -> list[cluster.Job]:
    """Submit commands at once, wait for all, see every exit code."""
    jobs = cluster.submit_many([[floors.TRUE]] * number)
    assert cluster.wait(jobs, PATIENCE_S, progress=False)
    assert not any(job.exitcode for job in jobs)
    return jobs


def run_functions(number: int) -> list[cluster.Job]:
    """Submit functions at once, and get every value."""
    jobs = cluster.submit_many([noop] * number)
    assert [job.get(PATIENCE_S) for job in jobs] == [7] * number
    return jobs


def throughput(
    what: str, run: Callable[[int], list[cluster.Job]], sizes: Sizes, *, goal: float, floor: float
) -> tuple[list[Figure], Cost]:
    """Give S, the rate as a ratio to it and to bare forks, and the processor time per job."""
    run(sizes.jobs // 10)
    processes, s_rates, rates, ratios, costs = Processes(), [], [], [], []
    forks: list[float] = []
    for _ in range(sizes.repetitions):
        before = floors.spawns_per_s(sizes.spawns)
        processes.used_s()
        begin = time.perf_counter()
        jobs = run(sizes.jobs)
        rates.append(sizes.jobs / (time.perf_counter() - begin))
        used = processes.used_s()
        used["children"] = sum(job.usage.cpu_s for job in jobs if job.usage)
        around = [before, floors.spawns_per_s(sizes.spawns)]
        if run is run_functions:
            forks.append(rates[-1] / floors.forks_per_s(sizes.spawns))
        ratios.append(rates[-1] / mean(around))
        s_rates += around
        costs.append({name: seconds * 1e3 / sizes.jobs for name, seconds in used.items()})
    ms = {name: median([cost[name] for cost in costs]) for name in costs[0]}
    figures = [
        Figure(
            f"S, beside the {what}", median(s_rates), "/s", note=span(s_rates) + _unsteady(s_rates)
        ),
        Figure(
            f"{what}, as a part of S",
            median(ratios),
            "S",
            goal=goal,
            floor=floor,
            at_least=True,
            note=f"{median(rates):,.0f}/s {span(ratios, 2)}",
        ),
    ]
    if forks:
        name = f"{what}, as a part of bare forks of Python"
        figures.append(Figure(name, median(forks), "F", note=span(forks, 2)))
    return figures, Cost(what, ms)


def _unsteady(rates: Sequence[float]) -> str:
    """Warn where the machine did something else: that slows S more than it slows the queue."""
    return " UNSTEADY: the ratios are not to be trusted" if max(rates) > 1.2 * min(rates) else ""


def latency(sizes: Sizes) -> Iterator[Figure]:
    """Time one job on an idle queue, and a chain of jobs."""
    single = []
    for _ in range(LATENCIES):
        time.sleep(PAUSE_S)
        begin = time.perf_counter()
        assert cluster.submit(noop).get(PATIENCE_S) == 7
        single.append((time.perf_counter() - begin) * 1e3)
    yield Figure(
        "one no-op function, submit to value",
        median(single),
        "ms",
        goal=3.0,
        floor=5.0,
        note=span(single, 1),
    )
    links = [chain() * 1e3 for _ in range(sizes.chains)]
    yield Figure(
        f"chain of {LINKS} functions, per link", median(links), "ms", goal=2.0, note=span(links, 1)
    )


def chain() -> float:
    """Time jobs that each wait for the one before; seconds per link."""
    time.sleep(PAUSE_S)
    begin = time.perf_counter()
    jobs = [cluster.Job(noop) for _ in range(LINKS)]
    for before, job in pairwise(jobs):
        job.after(before)
    cluster.submit_many(jobs)
    assert jobs[-1].get(PATIENCE_S) == 7
    return (time.perf_counter() - begin) / LINKS


def starts(folder: Path, sizes: Sizes) -> Iterator[Figure]:
    """Time fresh programs: from nothing to the first value, with a queue, and the import."""
    cold = []
    for number in range(sizes.starts):
        state = str(folder / f"cold-{number}")
        try:
            cold.append(floors.fresh_python(_FIRST_VALUE, CLUSTER_STATE_DIR=state))
        finally:
            lifecycle.stop_everything(state)
    yield Figure(
        "nothing running, to the first value",
        median(cold),
        "s",
        goal=0.25,
        floor=0.3,
        note=span(cold, 3),
    )
    floors.fresh_python(_FIRST_VALUE)  # its environment gets a warm parent
    warm = [floors.fresh_python(_FIRST_VALUE) for _ in range(sizes.starts)]
    yield Figure(
        "queue running, to the first value", median(warm), "s", goal=0.05, note=span(warm, 3)
    )
    for what, more, goal in (
        ("import cluster", "", 40.0),
        ("import cluster, and use every name", _ALL_NAMES, None),
    ):
        code = _IMPORT.format(more)
        took = [floors.fresh_python(code) * 1e3 for _ in range(sizes.starts)]
        yield Figure(what, median(took), "ms", goal=goal, note=span(took, 1))


def submits(folder: Path, sizes: Sizes) -> tuple[list[Figure], Cost]:
    """Time submits alone: the queue is paused, nothing runs."""
    processes, bare, ratios, costs = Processes(), [], [], []
    get_client().control("pause")
    try:
        for _ in range(sizes.repetitions):
            before = floors.commits_per_s(folder, sizes.submits)
            processes.used_s()
            begin = time.perf_counter()
            jobs = [cluster.submit(noop) for _ in range(sizes.submits)]
            rate = sizes.submits / (time.perf_counter() - begin)
            costs.append(processes.used_s())
            bare.append(mean([before, floors.commits_per_s(folder, sizes.submits)]))
            ratios.append((rate / bare[-1], rate))
            cluster.cancel(jobs)
        parts = [part for part, _ in ratios]
        figures = [
            Figure("bare SQLite commits, synchronous=FULL", median(bare), "/s", note=span(bare)),
            Figure(
                "submits one by one, as a part of these",
                median(parts),
                "x",
                goal=0.45,
                at_least=True,
                note=f"{median([rate for _, rate in ratios]):,.0f}/s {span(parts, 2)}",
            ),
            *_together(sizes),
        ]
    finally:
        get_client().control("resume")
    ms = {
        name: median([cost[name] for cost in costs]) * 1e3 / sizes.submits
        for name in ("server", "client")
    }
    return figures, Cost("submits one by one", ms)


def _together(sizes: Sizes) -> Iterator[Figure]:
    def from_list() -> Sequence[cluster.Job]:
        return cluster.submit_many([noop] * sizes.listed)

    def as_array() -> Sequence[cluster.Job]:
        return [cluster.submit([floors.TRUE], array=f"1-{sizes.listed}")]

    for what, submit in (("submits from a list", from_list), ("submits as one array", as_array)):
        rates = []
        for _ in range(sizes.repetitions):
            begin = time.perf_counter()
            jobs = submit()
            rates.append(sizes.listed / (time.perf_counter() - begin))
            cluster.cancel(jobs)
        yield Figure(what, median(rates), "/s", goal=50_000.0, at_least=True, note=span(rates))


# ---------------------------------------------------------------- all of it


def measure(folder: Path, sizes: Sizes) -> tuple[list[Figure], list[Cost], dict[str, float]]:
    """Measure everything once; give figures, processor times, and MiB of memory."""
    figures: list[Figure] = []
    costs: list[Cost] = []
    with own_queue(folder):
        for what, run, goal, floor in (
            ("commands", run_commands, 0.6, 0.4),
            ("functions", run_functions, 0.35, 0.22),
        ):
            _tell(what)
            rates, cost = throughput(what, run, sizes, goal=goal, floor=floor)
            figures += rates
            costs.append(cost)
        _tell("latency")
        figures += latency(sizes)
        _tell("submits")
        more, cost = submits(folder, sizes)
        figures += more
        costs.append(cost)
        rss = Processes().rss()
        _tell("starts")
        figures += starts(folder, sizes)
    return figures, costs, rss


def _tell(what: str) -> None:
    print(f"measuring {what} ...", file=sys.stderr, flush=True)


def machine(folder: Path) -> dict[str, Any]:
    """Say where and when this was measured."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": " ".join(["python", "benchmarks/local.py", *sys.argv[1:]]),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "file_system": floors.file_system(folder),
        "load_1m": round(os.getloadavg()[0], 2),
        "version": cluster.__version__,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, three repetitions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--dir", help="where the temporary queue lives: its disk is measured")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cluster-bench-", dir=chosen.dir) as name:
        folder = Path(os.path.realpath(name))
        where = machine(folder)
        figures, costs, rss = measure(folder, Sizes(chosen.quick))
    if chosen.json:
        rows = [figure.as_dict() for figure in figures]
        cpu = {cost.what: cost.ms for cost in costs}
        print(
            json.dumps({"machine": where, "figures": rows, "cpu_ms": cpu, "rss_mib": rss}, indent=1)
        )
    else:
        print_report(where, figures, costs, rss)


if __name__ == "__main__":
    main()
