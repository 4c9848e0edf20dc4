"""The local queue beside what its users would else take, on the same machine in the same minutes.

    python benchmarks/peers/run.py [--quick] [--only NAME ...] [--workload W1 ...] [--json]

Each peer from PyPI gets a virtual environment of its own under benchmarks/.venvs,
made once (`--fresh` makes them again); task-spooler, GNU parallel and xargs are
the system's.  What is not there is named and left out.

    W1 Python calls, values collected       W4 what a killed and a leaking job do to others
    W2 commands, exit codes collected       W6 from the start of a program to the first value
    W3 one job on an idle system; a chain   W7 an array of 100 MB there and back

S is the rate of starting and reaping `/bin/true`, two at a time, measured before
and after each repetition.  Medians of three repetitions (W3: of 15 single jobs;
W6: of 3 programs; slow peers get few jobs).  A peer that hangs is ended.
Processor time counts all processes of a peer.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VENVS = HERE.parent / ".venvs"
sys.path.insert(0, str(HERE.parent))

from report import print_columns  # noqa: E402 (after the path to it)

_SUBREAPER = 36
TIMEOUT_S = 60.0
ARRAY_MB = 100
STARTS = 3
WORKLOADS = {"W1": "calls", "W2": "commands", "W3": "latency", "W4": "isolation",
             "W6": "cold", "W7": "array"}  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """One peer and what is asked of it.

    Attributes:
        title: for people.
        kind: module and class that play it.
        needs: what pip installs; "" is the standard library's.
        program: what the system must have instead.
        calls, commands: how many in one repetition; 0: it has no such thing.
        array: whether it can send one.
        fresh: whether each call has a process of its own.
    """

    title: str
    kind: str
    needs: str = ""
    program: str = ""
    calls: int = 0
    commands: int = 0
    array: bool = False
    fresh: bool = False


PEERS = [
    Peer("cluster", "ours.Cluster", calls=1000, commands=1000, array=True, fresh=True),
    Peer("cluster, one by one", "ours.OneByOne", calls=1000, commands=1000, fresh=True),
    Peer("ProcessPoolExecutor", "pools.ProcessPoolExecutor", calls=1000, commands=1000, array=True),
    Peer("Pool(maxtasksperchild=1)", "pools.FreshPool", calls=1000, commands=1000, array=True,
         fresh=True),
    Peer("joblib", "pools.Joblib", "joblib", calls=1000, commands=1000, array=True),
    Peer("submitit", "futures_like.Submitit", "submitit", calls=8, commands=8, array=True,
         fresh=True),
    Peer("parsl", "futures_like.Parsl", "parsl", calls=1000, commands=300, array=True),
    Peer("dask", "futures_like.Dask", "distributed", calls=1000, array=True),
    Peer("executorlib", "futures_like.Executorlib", "executorlib", calls=40, array=True,
         fresh=True),
    Peer("executorlib, block", "futures_like.ExecutorlibBlock", "executorlib", calls=1000,
         array=True),
    Peer("psij-python", "commands.Psij", "psij-python", commands=100, fresh=True),
    Peer("py-cluster-api", "commands.PyClusterApi", "py-cluster-api", commands=300, fresh=True),
    Peer("HyperQueue", "commands.HyperQueue", "hyperqueue", commands=1000, fresh=True),
    Peer("task-spooler", "commands.TaskSpooler", program="tsp", commands=1000, fresh=True),
    Peer("GNU parallel", "commands.Parallel", program="parallel", commands=1000, fresh=True),
    Peer("xargs", "commands.Xargs", program="xargs", commands=1000, fresh=True),
]  # fmt: skip


def python_of(peer: Peer, *, fresh: bool) -> Path | None:
    """Give the interpreter that plays a peer; None: it is not to be had.

    Args:
        peer: its environment is made if there is none yet.
        fresh: make it anew.
    """
    if peer.program and shutil.which(peer.program) is None:
        return None
    if not peer.needs:
        return Path(sys.executable)
    folder = VENVS / peer.needs
    done = folder / ".ready"
    if fresh or not done.exists():
        _tell(f"making {folder}")
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq"]
            subprocess.run(
                [*pip, "--disable-pip-version-check", peer.needs, "numpy"], check=True, stdout=2
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        done.touch()
    return folder / "bin" / "python"


def play(python: Path, peer: Peer, workload: str, number: int) -> dict[str, Any]:
    """Run one workload of one peer, and give what it found; "failed" says why it did not."""
    env = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    others = set(_children())
    argv = [python, HERE / "workloads.py", peer.kind, workload, str(number)]
    process = subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    said, errors, why = "", "", ""
    try:
        said, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode() if isinstance(late.stdout, bytes) else ""
        why = f"did not end within {TIMEOUT_S:g} s"
    finally:
        _end_all(process, others)
    for line in said.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    return {"failed": why or last[:100]}


def _end_all(process: subprocess.Popen[str], others: set[int]) -> None:
    """Kill what this run started: we adopt its orphans, so they are our descendants."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while left := set(_children()) - others:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _children() -> list[int]:
    return [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def measure(peer: Peer, python: Path, wanted: list[str], quick: bool) -> dict[str, Any]:
    """Play all wanted workloads of one peer."""
    share = 4 if quick else 1
    sizes = {"W1": peer.calls, "W2": peer.commands, "W3": 1, "W4": peer.calls,
             "W6": 1, "W7": ARRAY_MB if peer.array else 0}  # fmt: skip
    found: dict[str, Any] = {}
    for short in wanted:
        number = sizes[short]
        if not number:
            continue
        if short in ("W1", "W2"):
            number = number // share if number > 100 else number
        _tell(f"{peer.title}: {short} {WORKLOADS[short]}")
        runs = STARTS if short == "W6" and not quick else 1
        rows = [play(python, peer, WORKLOADS[short], number) for _ in range(runs)]
        found[short] = rows[0] | {"number": number}
        if short == "W6" and all("cold_s" in row for row in rows):
            found[short]["cold_s"] = median(row["cold_s"] for row in rows)
    return found


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- tables


def rates(results: dict[str, dict[str, Any]], short: str) -> list[tuple[str, ...]]:
    """W1 or W2."""
    rows = [("", "jobs/s", "of S", "CPU ms", "n", "own MB", "helpers MB", "own process each")]
    for peer in PEERS:
        found = results.get(peer.title, {}).get(short)
        if not found:
            continue
        fresh = "yes" if peer.fresh or short == "W2" else "no"
        if "per_s" not in found:
            rows.append((peer.title, *[""] * 6, _why(found)))
            continue
        rows.append((
            peer.title, f"{found['per_s']:,.1f}" if found["per_s"] < 100 else
            f"{found['per_s']:,.0f}", _short(found["of_s"]), f"{found['cpu_ms']:.2f}",
            str(found["number"]), f"{found['rss_mib']:.0f}", f"{found['helpers_mib']:.0f}", fresh,
        ))  # fmt: skip
    return rows


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.4f}"


def _why(found: dict[str, Any]) -> str:
    return str(found.get("cannot") or found.get("failed") or "")


def times(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """W3, W6, W7."""
    rows = [("", "one job ms", "link ms", "cold s", "100 MB s", "own peak MB")]
    for peer in PEERS:
        found = results.get(peer.title, {})
        w3, w6, w7 = (found.get(short, {}) for short in ("W3", "W6", "W7"))
        cells = (
            _number(w3, "one_ms", 1), _number(w3, "link_ms", 1), _number(w6, "cold_s", 2),
            _number(w7, "array_s", 2), _number(w7, "rss_mib", 0),
        )  # fmt: skip
        if any(cells):
            rows.append((peer.title, *cells))
    return rows


def _number(found: dict[str, Any], key: str, digits: int) -> str:
    if key not in found:
        return "failed" if _why(found) else ""
    return f"{found[key]:,.{digits}f}"


def harms(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """W4."""
    rows = [("", "the killed job", "others right", "usable after", "later jobs polluted")]
    for peer in PEERS:
        found = results.get(peer.title, {}).get("W4")
        if not found:
            continue
        if "killed_job" not in found:
            rows.append((peer.title, _why(found), "", "", ""))
            continue
        rows.append((
            peer.title, found["killed_job"], f"{found['others_ok']} of {found['others']}",
            "yes" if found["usable_after"] else "NO", f"{found['polluted']} of 6",
        ))  # fmt: skip
    return rows


def print_all(where: dict[str, Any], results: dict[str, dict[str, Any]], absent: list[str]) -> None:
    """Print every table that has a line."""
    print(", ".join(f"{value}" for value in where.values()))
    for title, rows in (
        ("W1: Python calls, values collected", rates(results, "W1")),
        ("W2: commands, exit codes collected", rates(results, "W2")),
        ("W3, W6, W7", times(results)),
        ("W4: a job that is killed, a job that leaks", harms(results)),
    ):
        if len(rows) > 1:
            print(f"\n{title}")
            print_columns(rows, right=range(1, 7) if title[1] in "12" else range(1, len(rows[0])))
    for name in absent:
        print(f"\n{name}: not there, left out")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a quarter of the jobs")
    parser.add_argument("--only", nargs="+", help="peers whose name has one of these words")
    parser.add_argument("--workload", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--fresh", action="store_true", help="make the environments again")
    parser.add_argument("--json", nargs="?", const="-", help="write one JSON object there")
    chosen = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: dict[str, dict[str, Any]] = {}
    absent: list[str] = []
    with suppress(KeyboardInterrupt):  # then what was measured is printed
        for peer in PEERS:
            if chosen.only and not any(word.lower() in peer.title.lower() for word in chosen.only):
                continue
            python = python_of(peer, fresh=chosen.fresh)
            if python is None:
                absent.append(peer.title)
            else:
                results[peer.title] = measure(peer, python, chosen.workload, chosen.quick)
    where = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": "python benchmarks/peers/run.py " + " ".join(sys.argv[1:]),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
        "load": f"load {os.getloadavg()[0]:.2f}",
    }
    if chosen.json:
        text = json.dumps({"where": where, "results": results, "absent": absent}, indent=1)
        print(text) if chosen.json == "-" else Path(chosen.json).write_text(text)
    if chosen.json != "-":
        print_all(where, results, absent)


if __name__ == "__main__":
    main()
