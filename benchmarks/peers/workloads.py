"""One workload on one peer, in the peer's own virtual environment; prints one line of JSON.

    python workloads.py PEER WORKLOAD N

`run.py` calls it, and ends it where the peer hangs.  It needs the standard
library and the peer alone (numpy too, for the array).  What each peer is like is
in `pools`, `futures_like`, `commands` and `ours`.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import jobs
from jobs import die, echo, is_polluted, leak, noop

BEGIN = time.perf_counter()  # as good as the start of the program
HERE = Path(__file__).resolve().parent
REPETITIONS, SINGLES, LINKS, PAUSE_S = 3, 15, 20, 0.02
GOODS = 6
PATIENCE_S = 12.0  # for what a bad job left behind; nobody needs that long
SPAWNS = 400
_TICK = os.sysconf("SC_CLK_TCK")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: daemons stay among our descendants, and are counted


# ---------------------------------------------------------------- what the system says


def tree() -> list[int]:
    """Give this process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (row := _stat(int(name))):
            children.setdefault(int(row[1]), []).append(int(name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def tree_cpu_s(meter: int) -> float:
    """Give the processor seconds of the tree, of its dead too, but for the meter's."""
    rows = [_stat(pid) for pid in tree() if pid != meter]
    return sum(sum(map(int, row[11:15])) for row in rows if row) / _TICK


def rss_mib(pid: int, name: str) -> float:
    """Give VmHWM (highest) or VmRSS of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


class Meter:
    """S, measured by a process beside us: a pool may reap its children by itself."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(HERE / "meter.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def spawns_per_s(self) -> float:
        """Measure once more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(SPAWNS, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End it; forked workers hold its pipe, so closing that would not."""
        self._process.kill()
        self._process.communicate()


# ---------------------------------------------------------------- workloads


def many(peer: Any, run: str, number: int) -> dict[str, Any]:
    """W1 and W2: so many jobs, their results collected."""
    meter = Meter()
    peer.start()
    getattr(peer, run)(min(number, 20))
    rows = []
    for _ in range(REPETITIONS if number > 10 else 1):
        before = meter.spawns_per_s()
        cpu_s, begin = tree_cpu_s(meter.pid), time.perf_counter()
        getattr(peer, run)(number)
        took_s = time.perf_counter() - begin
        cpu_s = tree_cpu_s(meter.pid) - cpu_s
        spawn_rate = (before + meter.spawns_per_s()) / 2
        rows.append((number / took_s, number / took_s / spawn_rate, cpu_s / number * 1e3))
    others = [pid for pid in tree() if pid not in (os.getpid(), meter.pid)]
    found = dict(
        zip(("per_s", "of_s", "cpu_ms"), map(median, zip(*rows, strict=True)), strict=True)
    )
    found["rss_mib"] = rss_mib(os.getpid(), "VmHWM")
    found["helpers_mib"] = sum(rss_mib(pid, "VmRSS") for pid in others)
    meter.close()
    return found


def calls(peer: Any, number: int) -> dict[str, Any]:
    return many(peer, "calls", number)


def commands(peer: Any, number: int) -> dict[str, Any]:
    return many(peer, "commands", number)


def latency(peer: Any, number: int) -> dict[str, Any]:
    """W3: one job on an idle system, and a chain; milliseconds."""
    peer.start()
    peer.single()
    singles, slow = [], False
    for _ in range(3 if slow else SINGLES):
        time.sleep(PAUSE_S)
        begin = time.perf_counter()
        peer.single()
        singles.append((time.perf_counter() - begin) * 1e3)
        if singles[-1] > 500 and len(singles) == 3:
            break
    links = LINKS if median(singles) < 300 else 3
    begin = time.perf_counter()
    peer.chain(links)
    return {"one_ms": median(singles), "link_ms": (time.perf_counter() - begin) * 1e3 / links}


def array(peer: Any, number: int) -> dict[str, Any]:
    """W7: an array of `number` MB there and back; seconds."""
    import numpy

    sent = numpy.random.default_rng(1).random(number * 1_000_000 // 8)
    peer.start()
    peer.single()
    took = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        back = peer.value(peer.submit(echo, sent))
        took.append(time.perf_counter() - begin)
        assert (back.shape, back[-1]) == (sent.shape, sent[-1])
        del back
    return {"array_s": median(took), "rss_mib": rss_mib(os.getpid(), "VmHWM")}


def cold(peer: Any, number: int) -> dict[str, Any]:
    """W6: from the start of the program, peer not imported yet, to the first value; seconds."""
    peer.start()
    peer.single()
    return {"cold_s": time.perf_counter() - BEGIN}


def isolation(peer: Any, number: int) -> dict[str, Any]:
    """W4: what a job that is killed, and one that leaks, do to the others."""
    peer.start()
    told: dict[str, Any] = {}
    handles = peer.submit_all([noop, die] + [noop] * GOODS)
    told["killed_job"] = _outcome(peer, handles[1])
    told["others_ok"] = sum(_outcome(peer, one) == "7" for one in handles[:1] + handles[2:])
    told["others"] = GOODS + 1
    try:
        told["usable_after"] = _outcome(peer, peer.submit(noop)) == "7"
    except Exception:
        told["usable_after"] = False
        peer.stop()
        peer.start()
    peer.value(peer.submit(leak))
    seen = [_outcome(peer, one) for one in peer.submit_all([is_polluted] * GOODS)]
    told["polluted"] = seen.count("True")
    return told


def _outcome(peer: Any, handle: Any) -> str:
    begin = time.perf_counter()
    try:
        return str(peer.value(handle, PATIENCE_S))
    except Exception as error:
        waited = time.perf_counter() - begin > PATIENCE_S - 1
        return "no answer" if waited else type(error).__name__


WORKLOADS = {
    each.__name__: each for each in (calls, commands, latency, isolation, cold, array)
}  # fmt: skip
PLACES = ("pools", "futures_like", "commands", "ours")


def find(name: str) -> Any:
    """Make a peer; only its own module is imported here, the peer itself when it starts."""
    place, _, kind = name.partition(".")
    return getattr(importlib.import_module(place), kind)()


def main() -> None:
    """Run one workload and tell what came out."""
    name, workload, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    os.environ["PYTHONPATH"] = str(HERE)
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        peer = find(name)
        try:
            found = WORKLOADS[workload](peer, number)
        except jobs.Cannot as reason:
            found = {"cannot": str(reason)}
        print("RESULT " + json.dumps(found), flush=True)
        peer.stop()
        os.chdir("/")


if __name__ == "__main__":
    main()
