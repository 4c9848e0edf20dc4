"""The machine goes down, numbers of processes come again, a user logs out."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest
from fault_driver import IS_ROOT, NEEDS_ROOT, Queue, inside, kill, read_notes, until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

# It is process 1 of its namespace: with its end everything in there is gone.
UP = """
queue = Queue(sys.argv[1], Path(sys.argv[2]))
runs, function = queue.counted(300.0), queue.counted_call(300.0)
waits = queue.counted(cores=2)
queue.wait_begun(runs, function)
print(runs, function, waits)
sys.stdout.flush()
os._exit(0)
"""
# The numbers of the first life are used again here, by processes that must be let alone.
UP_AGAIN = """
others = [subprocess.Popen(["sleep", "300"]) for _ in range(60)]
queue = Queue(sys.argv[1], Path(sys.argv[2]))
print(*queue.ended(*sys.argv[3:]).values())
print(queue.info(sys.argv[3]).reason)
print(sum(each.poll() is None for each in others))
lifecycle.stop_everything(queue.state_dir)
for each in others: each.kill()
"""
SAME_NUMBER = """
queue = Queue(sys.argv[1], Path(sys.argv[2]))
job = queue.submit("sleep", "300")
until(lambda: queue.is_running(job))
pid = queue.info(job).pid
kill(queue.server(), queue.node(), pid)
def gone():  # we are process 1: the orphans are ours to reap
    with suppress(ChildProcessError): os.waitpid(-1, os.WNOHANG)
    return not os.path.exists(f"/proc/{pid}")
until(gone)
for _ in range(50):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    other = subprocess.Popen(["sleep", "300"])
    if other.pid == pid: break
    other.kill(); other.wait()
print(other.pid == pid)
print(queue.ended(job)[job])
print(queue.client.act("cancel", [job])[job])
print(queue.free_cores())
lifecycle.stop_everything(queue.state_dir)
print(other.poll() is None)
other.kill()
"""


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_8_after_a_restart_what_ran_is_node_fail_what_waited_runs_nobody_is_signalled(
    queue: Queue, tmp_path: Path
) -> None:
    words = [queue.state_dir, str(queue.counter)]
    new = ("--pid", "--fork", "--mount-proc", "--mount", "--kill-child")
    [line] = inside(*new, code=UP, words=words)
    runs, function, waits = line.split()
    (tmp_path / "boot_id").write_text("5bd8bd1c-1111-4222-8333-944444444444\n")
    mount = f"mount --bind {tmp_path}/boot_id /proc/sys/kernel/random/boot_id"

    said = inside(*new, code=UP_AGAIN, words=[*words, runs, function, waits], before=mount)

    assert said[0] == "NODE_FAIL NODE_FAIL COMPLETED"
    assert said[1] == "the machine was restarted while it ran"
    assert said[2] == "60"
    begun = [str(note.job) for note in read_notes(queue.counter) if note.what == "begin"]
    assert sorted(begun) == sorted([runs, function, waits])


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_9_who_has_the_number_of_a_job_that_is_gone_is_not_taken_for_it(queue: Queue) -> None:
    new = ("--pid", "--fork", "--mount-proc", "--mount", "--kill-child")

    said = inside(*new, code=SAME_NUMBER, words=[queue.state_dir, str(queue.counter)])

    assert said == ["True", "NODE_FAIL", "already NODE_FAIL", "2", "True"]


def test_row_70_when_everything_of_a_user_is_killed_a_wait_ends_and_what_waits_runs_later(
    queue: Queue,
) -> None:
    command, function = queue.counted(300.0), queue.counted_call(300.0)
    waiting = queue.counted()
    queue.wait_begun(command, function)
    states: dict[str, str] = {}
    other = Queue(queue.state_dir, queue.counter)
    waiter = threading.Thread(target=lambda: states.update(other.ended(command, function, waiting)))
    waiter.start()
    server, node = queue.server(), queue.node()
    theirs = [child.pid for child in psutil.Process(node).children(recursive=True)]
    kill(server, node, *theirs)
    waiter.join()

    assert states == {command: "NODE_FAIL", function: "NODE_FAIL", waiting: "COMPLETED"}
    assert until(lambda: queue.free_cores() == 2)
