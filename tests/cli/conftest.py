"""The command line as users run it: a process of its own, in a directory of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


class Cli:
    """Runs `cluster` against the queue of one test.

    Attributes:
        argv: what stands before the verb.
        cwd: where it runs.
    """

    argv = (sys.executable, "-m", "cluster")

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return self.program(*self.argv, *args)

    def program(self, *argv: str, text: bool = True) -> subprocess.CompletedProcess[Any]:
        """Run any program to its end."""
        return subprocess.run(
            argv, cwd=self.cwd, capture_output=True, text=text, timeout=30,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start it, to be looked at while it runs."""
        return self.start_program(*self.argv, *args)

    def start_program(self, *argv: str) -> subprocess.Popen[str]:
        """Start any program."""
        return subprocess.Popen(argv, cwd=self.cwd, stdout=subprocess.PIPE, text=True)

    def state_of(self, id: str) -> str:
        """Ask for the state of a job."""
        return str(json.loads(self("show", id, "--json").stdout)[0]["state"])

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.02)


@pytest.fixture
def cli(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `cluster` against this test's own queue."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Cli(tmp_path)
