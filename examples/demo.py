"""A small pipeline on a real log, and the queue's own record of it: `make demo`.

    the log ──split_file──> piece 1..4 ──months_of──┐
       ├──────spread_of, several cores──────────────┼──merge──> the table
       └──────grep counts the jobs──────────────────┘
    a job that fails on purpose ──> a job that waits for it, and is cancelled

It uses nothing but `import cluster`.  Its queue is its own, in a temporary
directory, and is stopped at the end; with --shared it is yours.  Whatever comes
out is compared with the same computation done here, without any queue; if
something differs, the exit code is 1.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # comes with cluster
from kth import Line, begin_of, merge, months_of, spread_of, table_of

import cluster

LOG = str(Path(__file__).resolve().parent / "data" / "KTH-SP2-1996-2.swf.gz")
PIECES = 4
PATIENCE_S = 60.0  # for everything together; it takes a few seconds
GONE_S = 10.0  # for the queue's processes, once they were told to go


def main() -> int:
    """Run the pipeline in a temporary directory; give the exit code."""
    parser = argparse.ArgumentParser(description="Run a small pipeline on a real log.")
    parser.add_argument("--shared", action="store_true", help="use your own queue")
    shared = parser.parse_args().shared
    os.environ["CLUSTER_QTYPE"] = "local"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cluster-demo-") as folder:
        if shared:
            wrong = run(folder)
        else:
            with private_queue(folder):
                wrong = run(folder)
    for sentence in wrong:
        print(f"WRONG: {sentence}", file=sys.stderr)
    if not wrong:
        print(f"\nAll of it is right. It took {time.monotonic() - began:.1f} s.")
    return 1 if wrong else 0


@contextmanager
def private_queue(folder: str) -> Iterator[None]:
    """Let `import cluster` use a queue in this folder; leave nothing of it behind."""
    os.environ["CLUSTER_STATE_DIR"] = state = os.path.join(folder, "queue")
    try:
        yield
    finally:
        stop = [sys.executable, "-m", "cluster", "local", "stop", "--now", "--yes"]
        status, _, errors = cluster.run.cmd(stop)
        _, alive = psutil.wait_procs(processes_of(state), timeout=GONE_S)
        if status or alive:
            raise SystemExit(f"the demo's queue did not stop: {errors or alive}")
        shutil.rmtree(state, ignore_errors=True)


def processes_of(state: str) -> list[psutil.Process]:
    """Find the processes of the queue in this directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CLUSTER_STATE_DIR") == os.path.realpath(state):
                found.append(process)
        except psutil.Error:
            continue  # gone, or not ours
    return found


def run(folder: str) -> list[str]:
    """Run all jobs, print what they made, and say what is wrong with it."""
    jobs: dict[str, cluster.Job] = {}
    try:
        submit_all(jobs, folder)
        cluster.wait(list(jobs.values()), timeout=PATIENCE_S, progress=False)
        say(f"All {len(jobs)} jobs have ended.")
        wrong = check(jobs)
        if not wrong:
            table, (low, high) = jobs["merge"].get(), jobs["spread"].get()
            show_table(table, low, high)
        show_record(jobs)
        return wrong
    except BaseException:  # Ctrl-C, too: in a shared queue nobody else would end them
        cluster.cancel(list(jobs.values()))
        raise


def submit_all(jobs: dict[str, cluster.Job], folder: str) -> None:
    """Submit the pipeline; each job is in `jobs` as soon as it is queued."""
    cores = cluster.Queue().resources().cores
    wide, begin = min(2, cores), begin_of(LOG)
    say(f"The queue may use {cores} cores of this machine.")

    pieces = cluster.run.split_file(LOG, PIECES, outpath=folder, keep_header=False)
    say(f"Split the log of a year on a real machine into {len(pieces)} pieces.")
    for number, piece in enumerate(pieces, 1):
        jobs[f"piece-{number}"] = cluster.submit(
            months_of, (piece, begin), name=f"piece-{number}", cores=1, time="1m"
        )
    parts = list(jobs.values())
    say(f"Submitted {len(parts)} function jobs: each sums up the months of its piece.")

    jobs["spread"] = cluster.submit(spread_of, (LOG, wide), name="spread", cores=wide, time="1m")
    say(f"Submitted a function job that takes {wide} cores: how far is the mean chance? It draws")
    say("200 other years from the log.")

    jobs["count"] = cluster.submit(["grep", "-hvc", "^;", *pieces], name="count", time="1m")
    say("Submitted a command job: grep counts the lines that are no comment.")

    before = list(jobs.values())
    jobs["merge"] = cluster.submit(merge, (parts,), name="merge", dependencies=before)
    say(f"Submitted a function job that waits for these {len(before)}: it merges the pieces.")

    jobs["fails"] = cluster.submit("echo 'no such month' >&2; exit 3", name="fails")
    jobs["never"] = cluster.submit(["echo", "never"], name="never", dependencies=jobs["fails"])
    say("Submitted a command that fails on purpose, and one that waits for it.")


# ---------------------------------------------------------------- what is right


def check(jobs: Mapping[str, cluster.Job]) -> list[str]:
    """Compare all jobs with what they should have left, computed here."""
    wrong = [
        f"{name} is {job.state}: {job.reason}"
        for name, job in jobs.items()
        if name not in ("fails", "never") and job.state != "COMPLETED"
    ]
    if wrong:
        return wrong
    say("Computing the same here, without the queue, to compare.")
    expected = table_of([months_of(LOG, begin_of(LOG))])
    wrong += table_differences(jobs["merge"].get(), expected)
    code, out, err = jobs["count"].get()
    if (code, sum(map(int, out.split())), err) != (0, expected[-1].jobs, ""):
        wrong.append(f"grep counted {out.split()} with code {code}, not {expected[-1].jobs} in all")
    if jobs["spread"].get() != spread_of(LOG, 1):
        wrong.append(f"the spread is {jobs['spread'].get()}, not {spread_of(LOG, 1)}")
    return wrong + check_failures(jobs["fails"], jobs["never"])


def table_differences(found: Sequence[Line], expected: Sequence[Line]) -> list[str]:
    """Name the lines that differ by more than the order of adding explains."""
    if [line[:2] for line in found] != [line[:2] for line in expected]:
        return [f"the months or their numbers of jobs are {found}, not {expected}"]
    return [
        f"{mine.month} is {mine}, not {its}"
        for mine, its in zip(found, expected, strict=True)
        if not all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(mine[2:], its[2:], strict=True))
    ]


def check_failures(fails: cluster.Job, never: cluster.Job) -> list[str]:
    """See that the one failed as it should, and the other was cancelled and says why."""
    wrong = []
    if (fails.state, fails.exitcode, fails.stderr) != ("FAILED", 3, "no such month\n"):
        wrong.append(f"the job that fails is {fails.state} with exit code {fails.exitcode}")
    told = fails.id is not None and fails.id in never.reason and "exit code 3" in never.reason
    if never.state != "CANCELLED" or not told:
        wrong.append(f"the job that waits for it is {never.state}: {never.reason!r}")
    return wrong


# ---------------------------------------------------------------- what is printed


def say(sentence: str) -> None:
    """Print one step."""
    print(sentence, flush=True)


def show_table(lines: Sequence[Line], low: float, high: float) -> None:
    """Print the result."""
    print("\nThe 100-node SP2 of KTH, Stockholm, from September 1996 to August 1997.")
    print("Mean wait in the queue, and mean bounded slowdown (10 s):\n")
    print_columns(
        ["month", "jobs", "mean wait", "slowdown"],
        [
            [line.month, f"{line.jobs:,}", hours(line.mean_wait_s), f"{line.mean_slowdown:.1f}"]
            for line in lines
        ],
    )
    print("\nHow far is the slowdown of the year chance? Of 200 years drawn from its jobs, 90 %")
    print(f"have a mean between {low:.1f} and {high:.1f}.")


def show_record(jobs: Mapping[str, cluster.Job]) -> None:
    """Print what the queue itself wrote down about each job."""
    print("\nWhat the queue recorded of this run:\n")
    heads = ["id", "name", "state", "cores", "waited", "ran", "peak", "exit", "reason"]
    rows = []
    listed = cluster.Queue()
    for job in jobs.values():
        entry, usage = listed[job], job.usage
        assert usage is not None
        ran = usage.wall_s is not None
        rows.append(
            [
                entry.id,
                entry.name,
                entry.state,
                str(entry.cores),
                seconds(usage.submitted, usage.started) if ran else "-",
                seconds(usage.started, usage.ended) if ran else "-",
                f"{usage.peak_memory_mib:.0f} MiB" if ran else "-",
                "-" if entry.exitcode is None else str(entry.exitcode),
                entry.reason or "-",
            ]
        )
    print_columns(heads, rows, left=(1, 2, 8))


def seconds(begin: float | None, end: float | None) -> str:
    return "-" if begin is None or end is None else f"{end - begin:.3f} s"


def hours(duration_s: float) -> str:
    minutes = round(duration_s / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def print_columns(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)
) -> None:
    """Print a table; numbers end, and words begin, in line with each other."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = [
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
