"""Histories of the queue in memory: whatever the order of events and faults, the promises hold.

More of them, or one again: see `simulate.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sim_world import FAULTS, World

from cluster.local import crash, journal, serving

SEEDS = int(os.environ.get("CLUSTER_TEST_SEEDS", "200"))
SHARES = 8
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_no_history_breaks_a_promise(share: int) -> None:
    found = []
    counts: Counter[str] = Counter()

    for seed in range(share, SEEDS, SHARES):
        world = World(seed)
        again = f"{sys.executable} {HERE / 'simulate.py'} --trace --seed {seed}"
        found += [f"{text}\n    {again}" for text in world.run()]
        counts += world.counts

    assert not found, "\n".join(found)
    assert counts["acknowledged"] > SEEDS / SHARES
    assert counts["server killed"] + counts["node killed"] > 0


def is_odd(line: str) -> bool:
    """Whether it shows this process, not what happens: its id, an address in memory."""
    return "pid=" in line or "0x" in line or line.startswith("{")


@pytest.mark.slow
def test_a_seed_gives_the_same_history_in_every_process() -> None:
    argv = [sys.executable, str(HERE / "simulate.py"), "--seed", "6", "--steps", "400", "--trace"]

    said = [
        subprocess.run(
            argv,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    first, second = ([line for line in each.splitlines() if not is_odd(line)] for each in said)
    assert len(first) > 400
    assert first == second


@pytest.mark.slow
def test_each_fault_happens_and_each_point_is_passed() -> None:
    counts: Counter[str] = Counter()

    for seed in range(1000, 1024):
        world = World(seed)
        assert world.run() == []
        counts += world.counts

    happened = {"disk full or not" if name == "disk full" else name for name in FAULTS}
    happened = {name for name in happened if not name.endswith("at a point")}
    assert {name for name in happened if not counts[name]} == set()
    points = {name for name in counts if name.startswith("killed at server.")}
    assert len(points) >= 8


def test_after_a_simulation_the_world_is_the_real_one_again() -> None:
    time, files, armed = serving.time, journal.os, crash.armed

    World(1).run(steps=5)

    assert (serving.time, journal.os, crash.armed) == (time, files, armed)
