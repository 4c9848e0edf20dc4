"""What people do to waiting jobs: hold, order, dependencies, arrays, capacity."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scientist import DEADLINE_S, ROOT, Cli, state_of, until

import cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def blocked(here: Path) -> Iterator[Callable[[], None]]:
    """Fill all cores until the test lets go."""
    cores = cluster.Queue().resources().cores
    job = cluster.submit("while [ ! -e go ]; do sleep 0.02; done", cores=cores)
    state_of(job, "RUNNING")
    yield (here / "go").touch
    (here / "go").touch()


# ---------------------------------------------------------------- when


def test_a_held_job_waits_for_its_release(here: Path) -> None:
    job = cluster.submit(["true"], hold=True)
    other = cluster.submit(["true"])

    assert other.wait(timeout=DEADLINE_S)
    assert (job.state, "cluster release" in job.reason) == ("HELD", True)
    assert job.release() == "released"
    assert job.wait(timeout=DEADLINE_S)


def test_a_waiting_job_can_be_held_and_a_running_one_not(
    here: Path, blocked: Callable[[], None]
) -> None:
    job = cluster.submit(["true"])

    assert (job.hold(), job.state) == ("held", "HELD")
    job.release()
    assert job.state == "PENDING"
    blocked()
    assert job.wait(timeout=DEADLINE_S)
    assert "nothing to hold" in job.hold() or "already" in job.hold()


def test_a_job_does_not_begin_before_its_time(here: Path) -> None:
    before = time.time()
    job = cluster.submit(["true"], begin=timedelta(seconds=1))

    assert (job.state, job.reason.startswith("Begin: not before")) == ("PENDING", True)
    assert job.wait(timeout=DEADLINE_S)
    assert job.usage.started >= before + 1
    assert job.usage.eligible >= before + 1


def test_a_job_of_the_far_future_does_not_disturb_the_others(own_queue: Path) -> None:
    job = cluster.submit(["true"], begin="9999-12-31")

    assert cluster.submit(["true"]).wait(timeout=DEADLINE_S)
    assert job.reason == "Begin: not before 9999-12-31 00:00"


def test_a_higher_priority_starts_earlier(here: Path, blocked: Callable[[], None]) -> None:
    jobs = {
        priority: cluster.submit(f"echo {priority} >> order", cores=2, priority=priority)
        for priority in (1, 5, -3)
    }
    blocked()

    assert cluster.wait(list(jobs.values()), timeout=DEADLINE_S)
    assert (here / "order").read_text().split() == ["5", "1", "-3"]


def test_equal_jobs_start_in_the_order_of_their_submission(
    here: Path, blocked: Callable[[], None]
) -> None:
    jobs = [cluster.submit(f"echo {n} >> order", cores=2) for n in range(6)]
    blocked()

    cluster.wait(jobs, timeout=DEADLINE_S)
    assert (here / "order").read_text().split() == [str(n) for n in range(6)]


# ---------------------------------------------------------------- arrays


def test_an_array_keeps_its_running_limit(here: Path) -> None:
    text = "mkdir busy || echo two at once; sleep 0.05; rmdir busy"
    job = cluster.submit(text, array="1-5%1")

    assert [result[:2] for result in job.get(timeout=DEADLINE_S)] == [(0, "")] * 5


def test_an_array_of_millions_is_one_small_record(here: Path) -> None:
    before = time.monotonic()
    job = cluster.submit(["true"], array="0-9999999%2", hold=True)
    last = cluster.Job.load(f"{job.id}_9999999")

    assert (last.state, last.cancel(), last.state) == ("HELD", "cancelled", "CANCELLED")
    job.cancel()
    assert job.update().queue_info.counts == {"CANCELLED": 10_000_000}
    assert time.monotonic() - before < 60  # counted one by one they would take hours


def test_one_element_is_looked_at_cancelled_and_waited_for(
    here: Path, blocked: Callable[[], None]
) -> None:
    job = cluster.submit("exit $CLUSTER_ARRAY_INDEX", array="0-3")
    one = cluster.Job.load(f"{job.id}_2")

    one.cancel()
    blocked()

    assert not job.wait(timeout=DEADLINE_S)
    states = [cluster.Job.load(f"{job.id}_{n}").state for n in range(4)]
    assert states == ["COMPLETED", "FAILED", "CANCELLED", "FAILED"]
    assert cluster.Job.load(f"{job.id}_3").exitcode == 3
    with pytest.raises(cluster.UnknownJob):
        cluster.Job.load(f"{job.id}_4")


def test_a_whole_array_is_cancelled(here: Path) -> None:
    job = cluster.submit(["sleep", "300"], array="1-100")
    until(lambda: job.queue_info is None or job.update().queue_info.counts.get("RUNNING"))

    job.cancel()

    until(lambda: job.done and not any(j.info.ending for j in cluster.Queue()))
    assert (job.state, job.queue_info.counts) == ("CANCELLED", {"CANCELLED": 100})


# ---------------------------------------------------------------- dependencies

ENDS: dict[str, tuple[str, str]] = {
    "succeeded": ("true", "COMPLETED"),
    "failed": ("exit 3", "FAILED"),
    "cancelled": ("sleep 300", "CANCELLED"),
}
RUNS = {
    ("afterok", "succeeded"), ("afternotok", "failed"), ("afternotok", "cancelled"),
    *(("afterany", end) for end in ENDS), *(("after", end) for end in ENDS),
}  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", ["job", "array", "element"])
def test_every_type_of_dependency_on_every_end(here: Path, what: str, end: str, when: str) -> None:
    """The dependents are submitted before the predecessor ends, or after."""
    text, state = ENDS[end]
    options: dict[str, Any] = {} if what == "job" else {"array": "1-2"}
    first = cluster.submit(f"while [ ! -e go ]; do sleep 0.02; done; {text}", **options)
    target = f"{first.id}_2" if what == "element" else str(first.id)
    ended = cluster.Job.load(target)

    def finish() -> None:
        (here / "go").touch()
        if end == "cancelled":
            first.cancel()
        cluster.wait(ended, timeout=DEADLINE_S)
        assert ended.state == state

    if when == "after":
        finish()
    children = {
        kind: cluster.submit(["true"], dependencies={kind: target})
        for kind in ("afterok", "afterany", "afternotok", "after")
    }
    if when == "before":
        finish()
    cluster.wait(list(children.values()), timeout=DEADLINE_S)

    got = {kind: child.state for kind, child in children.items()}
    wanted = {kind: "COMPLETED" if (kind, end) in RUNS else "CANCELLED" for kind in children}
    assert got == wanted, {kind: child.reason for kind, child in children.items()}
    for kind, child in children.items():
        if wanted[kind] == "CANCELLED":
            assert re.match(rf"Dependency {target}(_[12])? ", child.reason), child.reason
            assert child.usage.started is None


def test_after_lets_go_when_the_other_has_started(here: Path, blocked: Callable[[], None]) -> None:
    first = cluster.submit("while [ ! -e end ]; do sleep 0.02; done")
    child = cluster.submit(["true"], dependencies={"after": first})

    assert child.state == "PENDING"
    blocked()
    assert child.wait(timeout=DEADLINE_S)
    assert first.state == "RUNNING"
    (here / "end").touch()
    assert first.wait(timeout=DEADLINE_S)


def test_a_job_that_is_next_in_line_has_not_started(here: Path) -> None:
    """The queue may have handed it to the process that will start it."""
    cores = cluster.Queue().resources().cores
    text = "while [ ! -e go ]; do sleep 0.02; done"
    running = [state_of(cluster.submit(text), "RUNNING") for _ in range(cores)]
    waiting = [cluster.submit(["true"]) for _ in range(3)]
    after = cluster.submit(["true"], dependencies={"after": waiting[-1]})

    assert (after.state, after.reason) == ("PENDING", f"Dependency: waits for {waiting[-1].id}")
    assert waiting[0].usage.attempt == 0
    assert (waiting[0].usage.host, waiting[0].usage.started) == ("", None)
    assert "expected start" in waiting[0].reason
    (here / "go").touch()
    assert cluster.wait([running, waiting, after], timeout=DEADLINE_S)
    assert after.usage.started >= waiting[-1].usage.started


def test_a_failure_goes_down_the_whole_chain(here: Path) -> None:
    first = cluster.submit("until [ -e go ]; do sleep 0.02; done; exit 3")
    second = cluster.submit(["true"], dependencies=first)
    third = cluster.submit(["true"], dependencies=second)
    last = cluster.submit(["true"], dependencies={"afterany": third})
    (here / "go").touch()

    assert last.wait(timeout=DEADLINE_S)
    assert second.reason == f"Dependency {first.id} failed with exit code 3"
    assert (third.state, third.reason) == (
        "CANCELLED", f"Dependency {second.id} was cancelled",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "state"), [("cancel", "CANCELLED"), ("pend", "PENDING"), ("release", "COMPLETED")]
)
def test_what_becomes_of_a_job_whose_dependency_cannot_hold(
    here: Path, choice: str, state: str
) -> None:
    first = cluster.submit("exit 3")
    early = cluster.submit(["true"], dependencies=first, on_unsatisfiable=choice)
    cluster.wait(first, timeout=DEADLINE_S)
    late = cluster.submit(["true"], dependencies=first, on_unsatisfiable=choice)

    state_of(early, state)
    state_of(late, state)
    if choice == "pend":
        assert "for ever" in early.reason
        assert f"Dependency {first.id} failed with exit code 3" in early.reason
        early.cancel()
        assert early.state == "CANCELLED"


def test_a_fan_in_and_a_diamond(here: Path) -> None:
    root = cluster.submit("echo root >> seen")
    middle = [cluster.submit(f"echo m{n} >> seen", dependencies=root) for n in range(5)]
    last = cluster.submit("echo last >> seen", dependencies=[root, middle])

    assert last.wait(timeout=DEADLINE_S)
    seen = (here / "seen").read_text().split()
    assert (seen[0], sorted(seen[1:-1]), seen[-1]) == ("root", ["m0", "m1", "m2", "m3", "m4"],
                                                       "last")  # fmt: skip


# ---------------------------------------------------------------- reasons


def test_a_waiting_job_says_for_what(here: Path, blocked: Callable[[], None]) -> None:
    waits = cluster.submit(["true"], cores=2)
    follows = cluster.submit(["true"], dependencies=waits)

    assert re.fullmatch(
        r"Resources: needs 2 cores, 0 free; expected start (\d{4}-\d\d-\d\d )?\d\d:\d\d",
        waits.reason,
    )
    assert follows.reason == f"Dependency: waits for {waits.id}"


# ---------------------------------------------------------------- capacity while running


def test_fewer_cores_from_now_on(own_queue: Path, tmp_path: Path, cli: Cli) -> None:
    wide = cluster.submit("while [ ! -e go ]; do sleep 0.02; done", cores=2)
    state_of(wide, "RUNNING")

    done = cli("local", "set", "cores=1")
    assert (done.returncode, "1 core" in done.stdout) == (0, True)
    assert wide.state == "RUNNING"
    later = cluster.submit("mkdir busy || echo two; sleep 0.1; rmdir busy", array="1-4")
    too_wide_now = cluster.submit(["true"], cores=2)
    (tmp_path / "go").touch()

    assert wide.wait(timeout=DEADLINE_S)
    assert [result.stdout for result in later.get(timeout=DEADLINE_S)] == [""] * 4
    assert (too_wide_now.state, "capacity is smaller now" in too_wide_now.reason) == (
        "PENDING", True,
    )  # fmt: skip
    assert cluster.submit(["true"]).wait(timeout=DEADLINE_S)
    assert cli("local", "set", "cores=2").returncode == 0
    assert too_wide_now.wait(timeout=DEADLINE_S)


def test_nothing_starts_while_paused(own_queue: Path, tmp_path: Path, cli: Cli) -> None:
    running = cluster.submit("while [ ! -e go ]; do sleep 0.02; done")
    state_of(running, "RUNNING")

    assert cli("local", "pause").returncode == 0
    waiting = cluster.submit(["true"])
    (tmp_path / "go").touch()
    assert running.wait(timeout=DEADLINE_S)

    assert (waiting.state, waiting.reason) == (
        "PENDING", "Paused: `cluster local resume` lets jobs start",
    )  # fmt: skip
    assert cli("local", "resume").returncode == 0
    assert waiting.wait(timeout=DEADLINE_S)


def test_a_job_that_the_machine_could_never_run_is_refused_even_when_shrunk(
    own_queue: Path, cli: Cli
) -> None:
    cluster.submit(["true"]).wait(timeout=DEADLINE_S)
    cli("local", "set", "cores=1")

    with pytest.raises(cluster.Unsatisfiable):
        cluster.submit(["true"], cores=9999)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_queue_begun_by_a_process_of_one_core_has_one(own_queue: Path) -> None:
    program = (
        "import os, cluster\n"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
        "print(cluster.submit('nproc').get(timeout=30).stdout, end='')\n"
        "try: cluster.submit(['true'], cores=2)\n"
        "except cluster.Unsatisfiable as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip

    assert done.stderr == ""
    assert done.stdout.startswith("1\njob 'true' needs 2 cores; this queue has 1 core,")
