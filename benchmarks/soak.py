"""Mixed jobs for a long time: does anything of the queue grow that should not?

    .venv/bin/python benchmarks/soak.py --minutes 30

Four threads keep a queue of their own busy: commands, functions, failures,
arrays, dependencies, large arguments and results, cancels, walltimes, changing
environments, connections that come and go.  Outputs and records are kept for a
minute, and what is older is looked for every ten seconds.  Memory, descriptors
and children of server and node, the size of the store and the number of files
are sampled; the verdict is the slope of each over the second half of the time,
against what it may grow in a million jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

import cluster
from cluster.errors import ClusterError, JobFailed
from cluster.local import lifecycle
from cluster.local.client import Client, get_client

THREADS, OUTSTANDING = 4, 12
KEPT_S, CHORES_S = 60.0, 10.0
DAY_S = 86400.0
# What may be added by a million jobs: of each, the queue keeps its final state for
# ever, which is some 20 bytes; the rest is the noise of an allocator.
LIMITS = {
    "server MiB": 60.0, "server fds": 1.0, "node MiB": 30.0, "node fds": 1.0,
    "node children": 1.0, "warm MiB": 30.0, "store MiB": 60.0, "files": 5.0,
}  # fmt: skip
# Nothing smaller than this is called growth, however short the run was.
NOISE = {
    "server MiB": 3.0, "server fds": 3.0, "node MiB": 2.0, "node fds": 4.0,
    "node children": 4.0, "warm MiB": 4.0, "store MiB": 6.0, "files": 30.0,
}  # fmt: skip


def nothing() -> None:
    """A function job."""


def value_of(size: int) -> bytes:
    """A function job with a result of this size."""
    return bytes(size)


def length_of(data: bytes) -> int:
    """A function job with an argument."""
    return len(data)


def failing() -> None:
    """A function job that raises."""
    raise ValueError("as asked")


class User:
    """One thread that uses the queue, until told to stop."""

    def __init__(self, seed: int, stop: threading.Event) -> None:
        self._random, self._stop = random.Random(seed), stop
        self._jobs: list[cluster.Job] = []
        self.done = 0

    def run(self) -> None:
        """Submit and wait."""
        choices: list[tuple[Callable[[], Any], int]] = [
            (lambda: cluster.submit(["true"]), 20),
            (lambda: cluster.submit(["sh", "-c", "echo some text; exit 3"]), 5),
            (lambda: cluster.submit(nothing), 20),
            (lambda: cluster.submit(failing), 3),
            (lambda: cluster.submit(value_of, 3000), 5),
            (lambda: cluster.submit(value_of, 600_000), 1),
            (lambda: cluster.submit(length_of, bytes(600_000)), 1),
            (lambda: cluster.submit(["head", "-c", "400000", "/dev/zero"]), 1),
            (lambda: cluster.submit(["sleep", "60"], time=0.3, grace=0.2), 1),
            (lambda: cluster.submit(["true"], env={"CHANGING": str(self._random.random())}), 1),
            (lambda: cluster.submit(["sh", "-c", "setsid sleep 60 & true"]), 1),
            (self._after, 4),
            (self._cancelled, 2),
            (self._connect_anew, 1),
        ]
        acts, weights = zip(*choices, strict=True)
        while not self._stop.is_set():
            with suppress(ClusterError):
                job = self._random.choices(acts, weights)[0]()
                if job is not None:
                    self._jobs.append(job)
            if len(self._jobs) >= OUTSTANDING:
                self._collect()
        self._collect()

    def _after(self) -> cluster.Job | None:
        if not self._jobs:
            return None
        return cluster.submit(["true"], after_any=self._jobs[-1])

    def _cancelled(self) -> cluster.Job:
        job = cluster.submit(["sleep", "60"])
        job.cancel()
        return job

    def _connect_anew(self) -> None:
        """Let go of our connection, and ask something by one that is not kept."""
        other = Client()
        other.query(limit=10)
        other.close()
        get_client().close()

    def _collect(self) -> None:
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            with suppress(JobFailed, ValueError):
                job.get(timeout=120)
            self.done += 1


def sample(state_dir: str, jobs: int, since: float) -> dict[str, float]:
    """Look at everything once."""
    status = get_client().control("status")
    server, node = psutil.Process(status["pid"]), psutil.Process(status["node_pid"])
    warm = [child for child in node.children() if "cluster" in _words(child)]
    return {
        "s": time.monotonic() - since,
        "jobs": jobs,
        "server MiB": _mib(server),
        "server fds": server.num_fds(),
        "node MiB": _mib(node),
        "node fds": node.num_fds(),
        "node children": len(node.children()),
        "warm MiB": max((_mib(each) for each in warm), default=0.0),
        "store MiB": status["store_bytes"] / (1 << 20),
        "files": sum(1 for path in Path(state_dir).rglob("*") if path.is_file()),
    }


def _mib(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.memory_info().rss) / (1 << 20)
    return 0.0


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def slope(samples: list[dict[str, float]], name: str) -> float:
    """Least squares: what `name` grows by in one job."""
    xs, ys = [s["jobs"] for s in samples], [s[name] for s in samples]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((each - x) ** 2 for each in xs)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread if spread else 0.0


def judge(samples: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Say of each figure whether it is flat over the second half."""
    half = samples[len(samples) // 2 :]
    jobs = half[-1]["jobs"] - half[0]["jobs"]
    verdict = {}
    for name, limit in LIMITS.items():
        per_job = slope(half, name)
        grown = per_job * jobs
        mean = sum(each[name] for each in half) / len(half)
        # Outputs and old records go every ten seconds: these figures are a saw.
        noise = max(NOISE[name], 0.3 * mean) if name == "files" else NOISE[name]
        is_flat = grown <= noise or per_job * 1e6 <= limit
        verdict[name] = {
            "first": round(half[0][name], 1), "last": round(half[-1][name], 1),
            "per million jobs": round(per_job * 1e6, 1), "flat": is_flat,
        }  # fmt: skip
    return verdict


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    state_dir = os.path.realpath(tempfile.mkdtemp(prefix="soak-"))
    os.environ["CLUSTER_STATE_DIR"], os.environ["CLUSTER_QTYPE"] = state_dir, "local"
    os.environ["CLUSTER_CONFIG"] = f"{state_dir}/none.cfg"
    days = KEPT_S / DAY_S
    settings = {"housekeeping_s": CHORES_S, "outputs_days": days, "records_days": days}
    Client(settings=settings).query(ids=())
    stop, since = threading.Event(), time.monotonic()
    users = [User(seed, stop) for seed in range(THREADS)]
    threads = [threading.Thread(target=user.run) for user in users]
    samples: list[dict[str, float]] = []
    try:
        for thread in threads:
            thread.start()
        end, every_s = since + args.minutes * 60, max(1.0, args.minutes * 60 / 120)
        while time.monotonic() < end:
            stop.wait(every_s)
            samples.append(sample(state_dir, sum(user.done for user in users), since))
            if not args.json:
                print("  ".join(f"{k} {v:.1f}" for k, v in samples[-1].items()), flush=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        lifecycle.stop_everything(state_dir)
        for path in sorted(Path(state_dir).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        os.rmdir(state_dir)
    verdict = judge(samples)
    if args.json:
        print(json.dumps({"verdict": verdict, "samples": samples}, indent=1))
    else:
        for name, found in verdict.items():
            print(f"{name:14}", *(f"{key} {value}" for key, value in found.items()), sep="  ")
        print("flat" if all(found["flat"] for found in verdict.values()) else "NOT FLAT")
    return 0 if all(found["flat"] for found in verdict.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
