"""Two cores for everybody: never more in use, nobody starved, none lost while it is lent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fault_driver import Queue, kill, most_at_once, until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

HERE = str(Path(__file__).parent)
SUBMIT_TWENTY = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fault_driver import Queue
queue = Queue(sys.argv[2], Path(sys.argv[3]))
ids = []
for _ in range(20):
    ids.append(queue.counted(0.2, name="narrow"))
    time.sleep(0.05)  # so that some come after the wide one
print(set(queue.ended(*ids, timeout_s=60).values()))
"""
# A job that notes, between its begin and its end, only the time in which it does not wait.
PARENT = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fault_driver import Queue
path, children, seconds, threads = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
token = os.environ["CLUSTER_JOB_TOKEN"].split(".", 1)[1]
part = 0
def note(what):
    os.write(fd, f"{token}{part:03d} {what} {time.time():.6f} 1 {os.getpid()}\\n".encode())
def work(number):
    queue = Queue(os.environ["CLUSTER_STATE_DIR"], path)
    ids = [queue.counted(float(seconds), name="child") for _ in range(number)]
    assert set(queue.ended(*ids, timeout_s=100).values()) == {"COMPLETED"}
note("begin")
if threads == "threads":
    note("end")
    each = [threading.Thread(target=work, args=(1,)) for _ in range(children)]
    for thread in each: thread.start()
    for thread in each: thread.join()
else:
    from cluster.local.client import Client
    queue = Queue(os.environ["CLUSTER_STATE_DIR"], path)
    ids = [queue.counted(float(seconds), name="child") for _ in range(children)]
    note("end")
    assert set(queue.ended(*ids, timeout_s=100).values()) == {"COMPLETED"}
    part += 1
    note("begin")
    time.sleep(0.1)
    note("end")
"""


def parent(queue: Queue, children: int, seconds: float, how: str = "", **fields: object) -> str:
    """Submit a job that submits and waits."""
    words = (HERE, str(queue.counter), str(children), str(seconds), how)
    return queue.submit(sys.executable, "-c", PARENT, *words, name="parent", **fields)


def test_forty_jobs_of_two_programs_never_take_a_third_core_and_a_wide_one_gets_its_turn(
    queue: Queue,
) -> None:
    argv = [sys.executable, "-c", SUBMIT_TWENTY, HERE, queue.state_dir, str(queue.counter)]
    programs = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    until(lambda: len(queue.notes()) >= 4)
    wide = queue.counted(0.2, cores=2)

    queue.ended(wide, timeout_s=60)
    waiting = queue.client.query(states=["PENDING"])
    said = [program.communicate(timeout=60)[0].strip() for program in programs]

    assert said == ["{'COMPLETED'}"] * 2
    assert most_at_once(queue.notes()) == 2
    assert sum(note.what == "end" for note in queue.notes()) == 41
    assert waiting, "the wide job came last"


def test_two_jobs_that_wait_for_four_each_end_on_two_cores(queue: Queue) -> None:
    parents = [parent(queue, 4, 0.2) for _ in range(2)]

    states = queue.ended(*parents, timeout_s=60)

    assert set(states.values()) == {"COMPLETED"}
    assert most_at_once(queue.notes()) <= 2
    assert queue.free_cores() == 2


def test_jobs_whose_threads_wait_each_for_itself_do_not_block_each_other_for_ever(
    queue: Queue,
) -> None:
    parents = [parent(queue, 3, 0.3, "threads") for _ in range(2)]

    states = queue.ended(*parents, timeout_s=90)

    assert set(states.values()) == {"COMPLETED"}
    until(lambda: queue.free_cores() == 2)


def test_a_lender_that_is_killed_gives_back_what_it_held_once(queue: Queue) -> None:
    lender = parent(queue, 1, 1.0, cores=2)
    until(lambda: queue.info(lender).lent)
    kill(queue.info(lender).pid)

    assert queue.ended(lender) == {lender: "FAILED"}
    [child] = [info.id for info in queue.client.query(name="child")]
    assert queue.ended(child) == {child: "COMPLETED"}
    assert until(lambda: queue.free_cores() == 2)


def test_a_loan_goes_on_over_the_death_of_the_server_and_ends_with_the_wait(
    queue: Queue,
) -> None:
    lender = parent(queue, 4, 0.6)
    until(lambda: queue.info(lender).lent)
    queue.kill_server()

    until(lambda: queue.info(lender).lent)
    states = queue.ended(lender, timeout_s=60)

    assert states == {lender: "COMPLETED"}
    assert most_at_once(queue.notes()) <= 2
    assert until(lambda: queue.free_cores() == 2)


def test_a_loan_of_which_the_next_server_hears_nothing_is_taken_back(queue: Queue) -> None:
    # The waiting part of the job dies with the server; the job itself goes on.
    code = "import subprocess, sys, time; subprocess.run([sys.executable, *sys.argv[1:]]); "
    code += "time.sleep(300)"
    words = ("-c", PARENT, HERE, str(queue.counter), "1", "300", "")
    lender = queue.submit(sys.executable, "-c", code, *words, name="parent")
    until(lambda: queue.info(lender).lent)
    until(lambda: len(queue.client.query(states=["RUNNING"])) == 2)
    [waiting] = [
        process.pid
        for process in queue.job_processes()
        if process.pid != queue.info(lender).pid and process.session == queue.info(lender).pid
    ]
    server = queue.server()
    kill(server, waiting)

    until(lambda: not queue.info(lender).lent, what="the end of the loan")

    assert queue.free_cores() == 0


def test_a_job_that_lent_its_cores_goes_on_while_the_queue_is_paused(queue: Queue) -> None:
    lender = parent(queue, 1, 0.5)
    until(lambda: queue.info(lender).lent)
    [child] = until(lambda: [i.id for i in queue.client.query(name="child", states=["RUNNING"])])
    queue.client.control("pause")

    assert queue.ended(child, lender) == {child: "COMPLETED", lender: "COMPLETED"}
