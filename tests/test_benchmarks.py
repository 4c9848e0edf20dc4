"""The benchmarks that claim something: they run, and what they claim of a rule holds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
TRACE = ROOT / "tests" / "data" / "KTH-SP2-1996-first5000.swf.gz"
sys.path[:0] = [str(ROOT / "benchmarks"), str(PEERS)]

import laptop  # noqa: E402 (after the path to it)
import run as peers  # noqa: E402
import swf  # noqa: E402


@pytest.fixture(scope="module")
def trace() -> list[swf.Recorded]:
    return swf.read(TRACE)


def test_the_model_of_a_small_machine_is_the_same_for_the_same_seed() -> None:
    first, again, other = laptop.workload(1), laptop.workload(1), laptop.workload(2)

    assert first == again
    assert first != other


def test_the_model_asks_for_no_more_than_the_small_machine_has() -> None:
    jobs = laptop.workload(3)

    assert len(jobs) == laptop.JOBS
    assert max(job.cores for job in jobs) == laptop.CORES
    assert max(job.memory_mib for job in jobs) <= laptop.MEMORY_MIB
    assert all(a.submit <= b.submit for a, b in pairwise(jobs))


@pytest.mark.slow
def test_overtaking_beats_shortest_first_where_the_users_give_walltimes(
    trace: list[swf.Recorded],
) -> None:
    shortest = swf.simulate(trace, 100, swf.walltimes)
    overtaking = swf.simulate(trace, 100, swf.walltimes, overtake=4.0)

    assert swf.figures(trace, overtaking)[1] < 0.9 * swf.figures(trace, shortest)[1]
    assert swf.wide(trace, overtaking, 64)[0] <= swf.wide(trace, shortest, 64)[0]


@pytest.mark.slow
def test_overtaking_beats_shortest_first_on_a_small_machine_that_learns() -> None:
    jobs = laptop.workload(0)
    options = {"memory_mib": laptop.MEMORY_MIB}
    shortest = swf.learned(jobs, laptop.CORES, trusted=True, **options)
    overtaking = swf.learned(jobs, laptop.CORES, overtake=4.0, **options)

    assert swf.figures(jobs, overtaking)[1] < swf.figures(jobs, shortest)[1]
    wide = [swf.wide(jobs, starts, laptop.WIDE)[0] for starts in (overtaking, shortest)]
    assert wide[0] <= wide[1]


def play(kind: str, workload: str, number: int) -> dict[str, object]:
    argv = [sys.executable, PEERS / "workloads.py", kind, workload, str(number)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return dict(json.loads(done.stdout.split("RESULT ")[1]))


@pytest.mark.slow
def test_a_killed_job_harms_no_other_of_ours() -> None:
    found = play("ours.Cluster", "isolation", 1)

    assert found["killed_job"] == "JobFailed"
    assert (found["others_ok"], found["usable_after"], found["polluted"]) == (7, True, 0)


@pytest.mark.slow
def test_rates_of_a_peer_come_with_its_processor_time_and_its_part_of_s() -> None:
    found = play("pools.ProcessPoolExecutor", "calls", 20)

    assert {"per_s", "of_s", "cpu_ms", "rss_mib", "helpers_mib"} <= found.keys()
    assert all(isinstance(value, float) and value >= 0 for value in found.values())


@pytest.mark.slow
def test_a_peer_that_hangs_is_ended_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "TIMEOUT_S", 0.3)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    python.chmod(0o700)
    begin = time.monotonic()

    found = peers.play(python, peers.PEERS[0], "calls", 1)

    assert found == {"failed": "did not end within 0.3 s"}
    assert time.monotonic() - begin < 30


def test_what_is_not_installed_is_left_out() -> None:
    absent = peers.Peer("none", "commands.Xargs", program="no-such-program-anywhere")

    assert peers.python_of(absent, fresh=False) is None
