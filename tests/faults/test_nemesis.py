"""Random harm to a queue that eight programs use, and a judge who knows the promises.

The seed is that of the day's second; a verdict shows it.  Longer, by hand:
`.venv/bin/python tests/faults/nemesis.py --seconds 600 --seed 7`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fault_driver import Note
from judge import most_in_use

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def verdict(seconds: float) -> dict[str, Any]:
    """Let the nemesis do harm for so long."""
    script = str(Path(__file__).with_name("nemesis.py"))
    argv = [sys.executable, script, "--seconds", str(seconds), "--seed", str(int(time.time()))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 180)
    assert done.stdout, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_row_5_the_nemesis_finds_nothing(state_dir: Path) -> None:
    found = verdict(8)

    assert found["faults"] == [], found
    assert found["begun"] > 0


@pytest.mark.root
def test_rows_1_to_7_14_39_44_the_nemesis_finds_nothing_in_a_minute(state_dir: Path) -> None:
    """Root is needed for the full disk; without it the rest is done."""
    found = verdict(60)

    assert found["faults"] == [], found
    assert found["begun"] > 10  # 150 and more where the machine is its own
    assert sum(found["harm"].values()) > 10


def test_the_judge_counts_a_killed_job_to_its_last_sign_of_life_and_a_waiting_one_by_parts() -> (
    None
):
    def note(job: int, attempt: int, what: str, time: float) -> Note:
        return Note(job, attempt, what, time, 1, 99)

    killed = [note(1, 1, "begin", 1.0), note(1, 1, "beat", 3.0)]
    parts = [note(2, 1000, "begin", 1.5), note(2, 1000, "end", 2.0)]
    parts += [note(2, 1001, "begin", 4.0), note(2, 1001, "end", 5.0)]
    other = [note(3, 1, "begin", 2.5), note(3, 1, "end", 2.8)]

    assert most_in_use([*killed, *parts, *other])[0] == 2
    assert most_in_use([*killed, *other, note(4, 1, "begin", 2.6), note(4, 1, "end", 2.7)])[0] == 3
