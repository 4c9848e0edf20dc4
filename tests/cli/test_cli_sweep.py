"""`cluster sweep`: from a file to results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

SWEEP = """
[sweep]
command = sh -c 'test -e gate -o $1 != a=2 && echo got $1' x
[grid]
a = 1, 2
"""


@pytest.fixture
def file(cli: Cli) -> Path:
    path = cli.cwd / "s.ini"
    path.write_text(SWEEP)
    return path


def test_a_preview_queues_nothing(cli: Cli, file: Path) -> None:
    seen = cli("sweep", "s.ini", "--preview")

    assert seen.returncode == 0
    assert seen.stdout.splitlines() == [
        "sweep s: 2 runs",
        "  sh -c 'test -e gate -o $1 != a=2 && echo got $1' x a=1",
        "  sh -c 'test -e gate -o $1 != a=2 && echo got $1' x a=2",
    ]
    assert os.listdir(cli.cwd) == ["s.ini"]


@pytest.mark.slow
def test_a_sweep_is_run_looked_at_and_resumed(cli: Cli, file: Path) -> None:
    first = cli("sweep", "s.ini", "--wait")
    assert (first.returncode, first.stderr) == (1, "cluster: 1 runs ended with exit code 1: 2\n")
    assert first.stdout.splitlines() == [
        f"2 of 2 runs queued; results in {cli.cwd}/s.sweep",
        "sweep s: 2 runs",
        "      1 COMPLETED",
        "      1 FAILED",
    ]
    assert "--resume" in cli("sweep", "s.ini").stderr
    (cli.cwd / "gate").touch()

    again = cli("sweep", "s.ini", "--resume", "--wait")

    assert again.returncode == 0
    assert again.stdout.startswith("1 of 2 runs queued")
    results = cli("sweep", "s.ini", "--results").stdout.splitlines()
    assert [line.split() for line in results] == [
        ["RUN", "A", "STATE", "ERROR", "VALUE"],
        ["1", "1", "COMPLETED", "got", "a=1"],
        ["2", "2", "COMPLETED", "got", "a=2"],
    ]
    told = json.loads(cli("sweep", "s.ini", "--results", "--json").stdout)
    assert told[1]["value"] == {"exitcode": 0, "stdout": "got a=2\n", "stderr": ""}
    status = json.loads(cli("sweep", "s.ini", "--status", "--json").stdout)
    assert status == {"states": {"COMPLETED": 2}, "failures": {}}


def test_what_does_not_go_together_is_refused(cli: Cli, file: Path) -> None:
    seen = cli("sweep", "s.ini", "--preview", "--status")

    assert seen.returncode == 2
    assert "--preview and --status do not go together" in seen.stderr


def test_a_file_that_is_not_there_is_told(cli: Cli) -> None:
    seen = cli("sweep", "none.ini")

    assert seen.returncode == 1
    assert seen.stderr.startswith("cluster: none.ini cannot be read")
