"""The wall clock jumps, the machine sleeps: only what people see moves."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from fault_driver import IS_ROOT, NEEDS_ROOT, UNTIL_TOLD, Queue, inside, read_notes, until
from shim import WHY_NOT, Shim

pytestmark = [pytest.mark.faults, pytest.mark.slow]

DAY_S = 86400.0
SLEPT = """
queue = Queue(sys.argv[1], Path(sys.argv[2]))
apart = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
survivor = queue.counted(UNTIL_TOLD, walltime_s=600.0)
late = queue.submit("sleep", "300", walltime_s=5.0)
queue.wait_begun(survivor)
until(lambda: queue.is_running(late))
pids = queue.info(survivor).pid, queue.info(late).pid
kill(queue.server(), queue.node())
until(lambda: queue.status_started()["node_pid"])
print(apart > 1e6, all(lives(pid) for pid in pids))
print(queue.info(survivor).state)
queue.tell()
print(*queue.ended(survivor, late).values())
print(round(queue.info(late).ended - queue.info(late).started))
lifecycle.stop_everything(queue.state_dir)
"""


@pytest.fixture
def shim(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shim:
    """The clock of the daemons of this queue."""
    found = Shim(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(found.library))
    return found


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
def test_row_39_a_jump_of_a_day_times_nothing_out_and_changes_no_order(
    jump_s: float, queue: Queue, shim: Shim
) -> None:
    first = queue.counted(UNTIL_TOLD, cores=2, walltime_s=600.0)
    queue.wait_begun(first)
    second = queue.counted(cores=2)
    shim.jump(jump_s)
    third = queue.counted(cores=2)
    queue.tell()

    states = queue.ended(first, second, third)

    assert set(states.values()) == {"COMPLETED"}
    order = [note.job for note in read_notes(queue.counter) if note.what == "begin"]
    assert order == [int(id) for id in (first, second, third)]
    assert abs(queue.info(third).submitted - time.time() - jump_s) < 60  # what people see
    queue.kill_server()
    later = queue.counted()
    assert queue.ended(later) == {later: "COMPLETED"}


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_row_39_a_limit_is_reached_when_it_is_reached_whatever_the_clock_says(
    queue: Queue, shim: Shim
) -> None:
    job = queue.submit("sleep", "300", walltime_s=0.5)
    until(lambda: queue.is_running(job))
    shim.jump(-DAY_S)
    before = time.monotonic()

    assert queue.ended(job) == {job: "TIMEOUT"}
    assert time.monotonic() - before < 60.0  # not a day


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_row_39_a_wait_takes_as_long_as_it_was_told(queue: Queue, shim: Shim) -> None:
    job = queue.submit("sleep", "300")
    until(lambda: queue.is_running(job))
    jumps = threading.Timer(0.1, lambda: shim.jump(DAY_S))
    jumps.start()
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        list(queue.client.wait([job], timeout=0.5))
    jumps.join()

    assert 0.4 < time.monotonic() - before < 60.0


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_40_on_a_machine_that_has_slept_jobs_are_found_again_and_limits_are_kept(
    queue: Queue,
) -> None:
    words = [queue.state_dir, str(queue.counter)]

    said = inside("--time", "--boottime", "5000000", "--fork", code=SLEPT, words=words)

    assert said[0] == "True True"
    assert said[1:3] == ["RUNNING", "NODE_FAIL TIMEOUT"]
    assert int(said[3]) <= 60
