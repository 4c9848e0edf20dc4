"""The record of a job: times, codes, memory, processor time, host, and why."""

from __future__ import annotations

import json
import platform
import re
import time
from pathlib import Path

import pytest
from jobs_to_run import allocate, spin
from scientist import DEADLINE_S, Cli

import cluster

pytestmark = pytest.mark.slow


def test_times_are_in_order_and_of_today(here: Path) -> None:
    before = time.time()
    job = cluster.submit(["sleep", "0.2"])
    job.wait(timeout=DEADLINE_S)
    after = time.time()

    use = job.usage
    assert before <= use.submitted <= use.eligible <= use.started <= use.ended <= after
    assert 0.2 <= use.wall_s <= after - before
    assert abs(use.wall_s - (use.ended - use.started)) < 1e-6


def test_a_job_is_eligible_when_its_dependency_has_ended(here: Path) -> None:
    first = cluster.submit("until [ -e go ]; do sleep 0.02; done")
    second = cluster.submit(["true"], dependencies=first)
    (here / "go").touch()
    second.wait(timeout=DEADLINE_S)

    assert second.usage.submitted < first.usage.ended
    assert first.usage.ended <= second.usage.eligible <= second.usage.started


def test_a_job_that_never_ran_has_no_start_and_no_host(here: Path) -> None:
    job = cluster.submit(["true"], hold=True)
    job.cancel()

    use = job.usage
    assert (use.started, use.wall_s, use.host, use.exitcode, use.attempt) == (
        None, None, "", None, 0,
    )  # fmt: skip
    assert use.ended >= use.submitted


def test_code_signal_and_host(here: Path) -> None:
    jobs = [cluster.submit("exit 3"), cluster.submit("kill -9 $$")]
    cluster.wait(jobs, timeout=DEADLINE_S)

    found = [(job.usage.exitcode, job.usage.signal, job.usage.host) for job in jobs]
    host = platform.node()
    assert found == [(3, None, host), (None, 9, host)]


@pytest.mark.parametrize("kind", ["function", "command"])
def test_peak_memory_is_what_the_job_took(here: Path, kind: str) -> None:
    eat = "b=bytearray(200<<20); b[::4096]=b'x'*len(b[::4096])"
    if kind == "function":
        job = cluster.submit(allocate, (200, 0.1))
    else:
        job = cluster.submit(["python3", "-c", eat])
    job.wait(timeout=DEADLINE_S)

    assert 200 <= job.usage.peak_memory_mib < 300


@pytest.mark.parametrize("limit", [None, "1G"])
def test_a_small_job_after_a_big_one_has_a_small_peak(here: Path, limit: str | None) -> None:
    cluster.submit(allocate, (200,), mem=limit).wait(timeout=DEADLINE_S)
    job = cluster.submit(["true"], mem=limit)
    job.wait(timeout=DEADLINE_S)

    assert job.usage.peak_memory_mib < 60


def test_processor_time_is_what_the_job_took(here: Path) -> None:
    spins, rests = cluster.submit(spin, 0.5), cluster.submit(["sleep", "0.5"])
    cluster.wait([spins, rests], timeout=DEADLINE_S)

    assert 0.45 <= spins.usage.cpu_s < 1.5
    assert rests.usage.cpu_s < 0.2


def test_processor_time_of_children_counts(here: Path) -> None:
    text = "import time\nwhile time.process_time() < 0.4: pass"
    job = cluster.submit(f"python3 -c '{text}'; true")
    job.wait(timeout=DEADLINE_S)

    assert 0.35 <= job.usage.cpu_s < 1.5


def test_show_says_why_a_job_waits_and_why_it_was_cancelled(here: Path, cli: Cli) -> None:
    first = cluster.submit("while [ ! -e go ]; do sleep 0.02; done; exit 3", cores=2)
    wide = cluster.submit(["true"], cores=2)
    child = cluster.submit(["true"], dependencies=first)

    waits, follows = cli("show", str(wide.id)).stdout, cli("show", str(child.id)).stdout
    (here / "go").touch()
    cluster.wait([wide, child], timeout=DEADLINE_S)

    assert re.search(r"needs 2 cores, 0 free; expected start .*\d\d:\d\d", waits)
    assert f"waits for {first.id}" in follows
    assert f"Dependency {first.id} failed with exit code 3" in cli("show", str(child.id)).stdout


def test_show_as_json_has_all_of_it(here: Path, cli: Cli) -> None:
    id = cli.id("-n", "rec", "-c", "2", "-m", "1G", "-t", "1h", "--bash", "exit 3")
    cluster.wait(id, timeout=DEADLINE_S)

    (row,) = json.loads(cli("show", id, "--json").stdout)

    assert {k: row[k] for k in ("id", "name", "state", "exitcode", "cores", "memory_mib",
                                "walltime_s")} == {
        "id": id, "name": "rec", "state": "FAILED", "exitcode": 3, "cores": 2,
        "memory_mib": 1024, "walltime_s": 3600.0,
    }  # fmt: skip
    assert row["submitted"] <= row["eligible"] <= row["started"] <= row["ended"]


def test_a_cancelled_job_says_by_whom(here: Path) -> None:
    job = cluster.submit(["sleep", "60"])
    job.cancel()

    assert job.reason == "cancelled by its owner"


def test_a_job_whose_directory_vanished_says_so(here: Path) -> None:
    (here / "place").mkdir()
    job = cluster.submit(["true"], dir="place", hold=True)
    other = cluster.submit(allocate, 1, dir="place", hold=True)
    (here / "place").rmdir()
    job.release()
    other.release()
    cluster.wait([job, other], timeout=DEADLINE_S)

    assert [each.state for each in (job, other)] == ["FAILED", "FAILED"]
    assert all(f"{here}/place" in each.reason for each in (job, other)), (job.reason, other.reason)


def test_a_directory_removed_while_the_job_runs_is_its_own_business(here: Path) -> None:
    (here / "place").mkdir()
    job = cluster.submit("rmdir ../place; echo fine", dir="place")

    assert job.get(timeout=DEADLINE_S)[:2] == (0, "fine\n")
    assert cluster.submit(["true"]).wait(timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("make", "code", "word"),
    [
        (lambda path: path.unlink(), 127, "program"),
        (lambda path: path.chmod(0o644), 126, "ermission denied"),
        (lambda path: path.write_text("#!/no/such/sh\n"), 126, "/no/such/sh"),
        (lambda path: path.write_bytes(b"\x7fELF not at all"), 126, "neither a program"),
    ],
    ids=["gone", "not executable", "no interpreter", "not a program"],
)
def test_a_program_that_went_bad_while_the_job_waited(
    here: Path, make: object, code: int, word: str
) -> None:
    program = here / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    job = cluster.submit(["./program"], hold=True)
    make(program)  # type: ignore[operator]
    job.release()

    job.wait(timeout=DEADLINE_S)

    assert (job.state, job.exitcode) == ("FAILED", code)
    assert word in job.reason
    assert job.usage.ended is not None
