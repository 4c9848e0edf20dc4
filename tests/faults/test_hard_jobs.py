"""Jobs that cannot be killed, that flood, that read what is not theirs: nobody else feels it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fault_driver import IS_ROOT, Queue, call, lives, resident_mib, until

from cluster.errors import WaitTimeout

pytestmark = [pytest.mark.faults, pytest.mark.slow]

FREEZER = Path("/sys/fs/cgroup/freezer")


class Freezer:
    """A group of the old freezer: what is frozen in it does not even die by SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir()

    def freeze(self, pid: int) -> None:
        (self._path / "cgroup.procs").write_text(str(pid))
        self._say("FROZEN")

    def thaw(self) -> None:
        self._say("THAWED")

    def _say(self, state: str) -> None:
        file = self._path / "freezer.state"
        file.write_text(state)
        until(lambda: file.read_text().strip() == state)


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    found = Freezer(FREEZER / f"cluster-test-{os.getpid()}")
    yield found
    found.thaw()
    until(lambda: not (found._path / "cgroup.procs").read_text())
    found._path.rmdir()


@pytest.mark.root
@pytest.mark.skipif(
    not (IS_ROOT and FREEZER.is_dir()), reason="needs root and the freezer of cgroups v1"
)
def test_row_33_a_job_that_cannot_be_killed_keeps_its_cores_and_is_shown_as_ending(
    queue: Queue, freezer: Freezer
) -> None:
    job = queue.submit("sleep", "300", launch_grace_s=0.1)
    until(lambda: queue.is_running(job))
    pid = queue.info(job).pid
    freezer.freeze(pid)
    queue.client.act("cancel", [job])
    until(lambda: _is_killed(pid), what="the signal")

    info = queue.info(job)
    assert (info.state, info.ending, lives(pid)) == ("CANCELLED", True, True)
    assert queue.free_cores() == 1
    with pytest.raises(WaitTimeout):
        list(queue.client.wait([job], timeout=0.2))
    other = queue.counted()
    assert queue.ended(other) == {other: "COMPLETED"}
    freezer.thaw()

    assert queue.ended(job) == {job: "CANCELLED"}
    assert until(lambda: queue.free_cores() == 2)
    assert not lives(pid)


def _is_killed(pid: int) -> bool:
    """Whether SIGKILL waits for it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = {line.partition(":")[0]: line.split()[-1] for line in lines}
    masks = int(pending["SigPnd"], 16) | int(pending["ShdPnd"], 16)
    return bool(masks >> (signal.SIGKILL - 1) & 1)


def test_row_34_when_memory_runs_out_the_kernel_takes_a_job_and_not_the_daemons(
    queue: Queue,
) -> None:
    spec, envs = call(oom_score)
    [function] = queue.client.submit([spec], envs)
    command = queue.submit("cat", "/proc/self/oom_score_adj")
    own = int(Path("/proc/self/oom_score_adj").read_text())

    queue.ended(function, command)

    assert int(queue.stdout(command)) >= 500
    assert int(queue.stdout(function)) >= 500
    for daemon in (queue.server(), queue.node()):
        assert until(lambda daemon=daemon: _score(daemon) == own)


def oom_score() -> None:
    """A function job that prints how likely the kernel is to take it."""
    print(Path("/proc/self/oom_score_adj").read_text())


def _score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_row_34_a_job_that_the_kernel_took_is_failed_by_signal_9_and_the_next_one_runs(
    queue: Queue,
) -> None:
    job = queue.submit("sh", "-c", "kill -9 $$")

    assert queue.ended(job) == {job: "FAILED"}
    assert queue.info(job).signal == 9
    other = queue.counted_call()
    assert queue.ended(other) == {other: "COMPLETED"}


def test_row_36_a_gigabyte_of_output_goes_through_no_daemon(queue: Queue) -> None:
    queue.ended(queue.counted())
    daemons = queue.server(), queue.node()
    before = [resident_mib(pid) for pid in daemons]
    job = queue.submit("head", "-c", "1G", "/dev/zero")

    assert queue.ended(job, timeout_s=60) == {job: "COMPLETED"}

    content = queue.client.fetch(job)
    assert (content.stdout.data, os.path.getsize(content.stdout.file)) == (b"", 1 << 30)
    os.unlink(content.stdout.file)
    grown = [resident_mib(pid) - mib for pid, mib in zip(daemons, before, strict=True)]
    assert max(grown) < 8


def test_row_37_who_closes_its_output_or_has_nobody_who_reads_it_harms_itself_alone(
    queue: Queue,
) -> None:
    closed = queue.submit("sh", "-c", "exec >&- 2>&-; echo lost; exit 4")
    unread = queue.submit("bash", "-c", "set -o pipefail; yes | head -1")
    beside = queue.counted(0.2)

    states = queue.ended(closed, unread, beside)

    assert states == {closed: "FAILED", unread: "FAILED", beside: "COMPLETED"}
    assert (queue.info(closed).exitcode, queue.info(unread).exitcode) == (4, 128 + 13)


def test_row_38_a_job_that_reads_its_input_finds_the_end_of_it(queue: Queue) -> None:
    job = queue.submit("sh", "-c", "cat; readlink /proc/self/fd/0")

    assert queue.ended(job) == {job: "COMPLETED"}
    assert queue.stdout(job) == b"/dev/null\n"


def test_row_30_what_two_jobs_left_at_once_is_gone_before_their_cores_are_free(
    queue: Queue,
) -> None:
    jobs = [queue.submit("sh", "-c", "setsid sleep 300 & setsid sleep 300 &") for _ in range(2)]

    queue.ended(*jobs)

    assert not queue.job_processes()
    until(lambda: queue.free_cores() == 2)
    assert not [p for p in psutil.Process(queue.node()).children() if p.name() == "sleep"]
