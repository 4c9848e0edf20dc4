"""Too few processes, too few descriptors, too many servers at once."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil
import pytest
from fault_driver import IS_ROOT, NEEDS_ROOT, Queue, inside, kill, until

from cluster.local.lifecycle import Election

pytestmark = [pytest.mark.faults, pytest.mark.slow]

# Root has no such limit, so another user's number is used, which may read all the same.
NO_PROCESSES = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_NPROC)
def allow(pids, number):
    for pid in pids: resource.prlimit(pid, resource.RLIMIT_NPROC, (number, most))
queue = Queue(sys.argv[1], Path(sys.argv[2]))
warm = queue.counted_call()
print(*queue.ended(warm).values())
node = queue.node()
family = [node, *[child.pid for child in psutil.Process(node).children(recursive=True)]]
allow(family, 1)
command = queue.submit("true")
until(lambda: queue.info(command).state == "RUNNING")
time.sleep(0.3)  # tried, in vain: there is nothing to be seen of it
print(queue.info(command).state, queue.info(command).pid)
allow(family, 1000)
print(*queue.ended(command).values())
allow(family, 1)
never = queue.submit("true")
print(*queue.ended(never).values(), queue.info(never).reason)
allow(family, 1000)
print(queue.free_cores())
lifecycle.stop_everything(queue.state_dir)
"""


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)
def test_row_58_a_start_for_which_there_is_no_process_is_tried_again_then_given_up() -> None:
    user = "exec setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps +dac_read_search "
    user += '--ambient-caps +dac_read_search "$@"'
    home = "mount -t tmpfs -o mode=0700,uid=54321 none /mnt\n"

    said = inside("--mount", code=NO_PROCESSES, words=["/mnt", "/mnt/notes"], before=home + user)

    assert said[0] == "COMPLETED"
    assert said[1] == "RUNNING 0"
    assert said[2] == "COMPLETED"
    assert said[3].startswith("FAILED no process could be made: Resource temporarily unavailable")
    assert said[4] == "2"


def test_row_57_a_server_without_descriptors_finds_its_node_again_when_it_has_some(
    queue: Queue,
) -> None:
    queue.ended(queue.counted())
    server = psutil.Process(queue.server())
    server.rlimit(psutil.RLIMIT_NOFILE, (3, 1024))
    job = queue.counted()
    queue.ended(job)
    kill(queue.node())
    waiting = queue.counted()
    log = Path(queue.state_dir, "server.log")
    until(lambda: log.read_text().count("Too many open files") >= 2)

    assert queue.info(waiting).state == "PENDING"
    server.rlimit(psutil.RLIMIT_NOFILE, (1024, 1024))

    assert queue.ended(waiting) == {waiting: "COMPLETED"}
    assert queue.server() == server.pid


def test_row_57_a_client_without_descriptors_says_so_and_works_when_it_has_some(
    queue: Queue,
) -> None:
    queue.ended(queue.counted())
    queue.client.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            queue.client.query()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert len(queue.client.query()) == 1


def test_row_43_of_forty_that_want_the_office_one_has_it_each_time(state_dir: Path) -> None:
    for _ in range(10):
        go, may_go = os.pipe()
        tell, told = os.pipe()
        children = [_candidate(state_dir, go, may_go, told) for _ in range(40)]
        os.close(go)
        os.close(told)
        os.close(may_go)  # all of them at once
        with open(tell, "rb") as file:
            said = file.read(40)
            winners = said.count(b"w")
            for pid in children:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        assert (len(said), winners) == (40, 1)


def _candidate(state_dir: Path, go: int, may_go: int, told: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(may_go)
        os.read(go, 1)
        os.write(told, b"w" if Election(str(state_dir)).won() else b"l")
        until(lambda: False, timeout_s=60.0)
    finally:
        os._exit(0)
