"""Calls of an executor that are jobs of another scheduler: what they leave in the directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cluster

PATIENCE_S = 60.0

pytestmark = [pytest.mark.emulation]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def scripts(folder: Path) -> set[str]:
    """Give what is there of a call, but for what it printed and how it ended."""
    return {path.name for path in folder.iterdir() if path.suffix not in (".out", ".err", ".exit")}


@pytest.fixture(autouse=True)
def slurm(emulated: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    emulated("slurm")
    return folder


def test_a_cancelled_call_leaves_no_script_once_its_job_is_gone(slurm: Path) -> None:
    with cluster.Executor() as executor:
        future = executor.submit(time.sleep, 1000)
        until(future.running)
        assert scripts(slurm)

        assert future.cancel()

        until(lambda: not scripts(slurm))


def test_a_call_that_is_over_leaves_no_script(slurm: Path) -> None:
    with cluster.Executor() as executor:
        assert executor.submit(abs, -3).result(PATIENCE_S) == 3

    until(lambda: not scripts(slurm))
