"""A real Slurm with many jobs, and one whose controller is not there for a while."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import cluster
from cluster import schedulers

pytestmark = [pytest.mark.clusters]

SINGLE, ELEMENTS, AWAY_S = 300, 1000, 20.0
BAD = (7, 500, 999)


def work(number: int) -> int:
    return number * number


@pytest.fixture(autouse=True)
def slurm(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_QTYPE", "slurm")
    monkeypatch.chdir(tmp_path)
    found = schedulers.probe("slurm")
    assert found.version, f"no Slurm answers: {found.problem or 'sbatch is not on PATH'}"


def calls() -> int:
    return schedulers.get("slurm").programs.calls  # type: ignore[attr-defined,no-any-return]


def test_many_single_jobs_are_all_right_and_polled_together() -> None:
    before, began = calls(), time.monotonic()

    jobs = [cluster.submit(work, number, qtype="slurm") for number in range(SINGLE)]
    submitted = time.monotonic() - began

    assert [job.get(timeout=240) for job in jobs] == [n * n for n in range(SINGLE)]
    asked = calls() - before - SINGLE
    print(f"{SINGLE} jobs: {submitted:.1f} s to submit, {time.monotonic() - began:.1f} s in all, ")
    print(f"{asked} other calls of client programs")
    assert asked <= time.monotonic() - began  # at most one a second, whatever the number of jobs


def test_an_array_is_one_submission() -> None:
    before, began = calls(), time.monotonic()

    array = cluster.submit(
        ["sh", "-c", "test $CLUSTER_ARRAY_INDEX -ne 500"], array=f"1-{ELEMENTS}", qtype="slurm"
    )

    assert not cluster.wait(array, timeout=240)
    assert array.queue_info is not None
    assert array.queue_info.counts == {"COMPLETED": ELEMENTS - 1, "FAILED": 1}
    print(f"{ELEMENTS} elements: {time.monotonic() - began:.1f} s, {calls() - before} calls")
    assert calls() - before <= 2 + time.monotonic() - began


def once_bad(number: int, folder: str) -> int:
    """Fail the first time, for three of all numbers."""
    seen = Path(folder, str(number))
    if number in BAD and not seen.exists():
        seen.touch()
        raise ValueError(f"{number} the first time")
    return number * number


def test_of_a_thousand_functions_those_that_failed_run_again(tmp_path: Path) -> None:
    began, folder = time.monotonic(), tmp_path / "seen"
    folder.mkdir()
    array = cluster.submit_array(
        functools.partial(once_bad, folder=str(folder)), range(ELEMENTS), qtype="slurm"
    )

    assert not array.wait(240)
    assert [element.index for element in array.failed] == list(BAD)
    assert sorted(os.listdir(folder)) == sorted(map(str, BAD))
    for element in array.failed:
        with pytest.raises(ValueError, match=f"{element.index} the first time"):
            element.get()
    array.retry_failed()
    assert array.wait(240)

    assert array.get() == [number * number for number in range(ELEMENTS)]
    assert array.states() == {"COMPLETED": ELEMENTS}
    assert len(array.parts) == 2
    print(f"{ELEMENTS} functions, {len(BAD)} of them twice: {time.monotonic() - began:.1f} s")


def test_a_controller_that_is_away_for_a_while_loses_no_job_and_tells_no_wrong_state() -> None:
    pid = int((Path(os.environ["SLURM_CONF"]).parents[1] / "run/slurmctld.pid").read_text())
    jobs = [cluster.submit(["sh", "-c", f"sleep {3 + n}; exit {n}"], qtype="slurm") for n in (0, 3)]
    doomed = cluster.submit(["sleep", "300"], qtype="slurm")
    while doomed.update().queue_info.state != "RUNNING":  # type: ignore[union-attr]
        time.sleep(0.2)
    seen: list[str | None] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            seen.append(doomed.state)

    watching = threading.Thread(target=look)
    os.kill(pid, signal.SIGSTOP)
    try:
        watching.start()
        with pytest.raises(TimeoutError):
            cluster.wait(doomed, timeout=AWAY_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    subprocess.run(["scancel", str(doomed.id)], check=True)

    assert [job.get(timeout=120)[0] for job in jobs] == [0, 3]
    assert not cluster.wait(doomed, timeout=120)
    stop.set()
    watching.join()
    assert doomed.state == "CANCELLED"
    assert set(seen) <= {"RUNNING", "CANCELLED"}
