"""Programs that submit and wait are killed, interrupted, forked, or do not listen."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
from fault_driver import UNTIL_TOLD, Queue, command, kill, lives, until

from cluster.local import lifecycle, wire
from cluster.local.client import get_client

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SUBMIT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fault_driver import Queue
queue = Queue(sys.argv[2], Path(sys.argv[3]))
print(queue.counted(float(sys.argv[4])), flush=True)
sys.stdin.read() if sys.argv[5] == "stay" else list(queue.client.wait(["1"]))
"""


def program(queue: Queue, then: str = "stay") -> list[str]:
    """A program that submits one job, to end when told, and stays or waits for it."""
    here = str(Path(__file__).parent)
    words = [here, queue.state_dir, str(queue.counter), str(UNTIL_TOLD), then]
    return [sys.executable, "-c", SUBMIT, *words]


def open_raw(queue: Queue) -> socket.socket:
    """A connection that says what it is told to, from a client that greeted."""
    queue.client.query(ids=())
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(lifecycle.socket_path(queue.state_dir, "server"))
    sock.settimeout(10.0)
    sock.sendall(wire.frame([wire.Hello(wire.PROTOCOL, "test", os.getpid())]))
    return sock


def read_one(sock: socket.socket, seq: int) -> wire.Answer | wire.Failure:
    """Read until the answer to a request comes."""
    reader = wire.Reader(wire.Reply)
    while True:
        for message in reader.feed(sock.recv(1 << 16)):
            if getattr(message, "seq", None) == seq:
                return message


def test_row_10_a_client_killed_before_its_answer_has_its_job_queued_once(queue: Queue) -> None:
    spec, envs = command(*queue.note_argv(0.0))
    submit = wire.Submit(1, b"a key of 16 byte", (spec,), envs)
    with open_raw(queue) as gone:
        gone.sendall(wire.frame([submit]))  # and leaves without reading
    until(lambda: len(queue.client.query()) == 1)

    with open_raw(queue) as again:
        again.sendall(wire.frame([submit]))
        answer = read_one(again, 1)

    assert isinstance(answer, wire.Answer)
    [info] = queue.client.query()
    assert bytes(answer.value) == wire.encode_value([info.id])
    assert queue.ended(info.id) == {info.id: "COMPLETED"}
    assert queue.begins(info.id) == 1


def test_row_10_half_a_message_of_a_client_that_died_queues_nothing(queue: Queue) -> None:
    spec, envs = command("true")
    data = wire.frame([wire.Submit(1, b"a key of 16 byte", (spec,), envs)])
    with open_raw(queue) as gone:
        gone.sendall(data[: len(data) // 2])

    assert queue.client.query() == []


def test_row_11_a_job_runs_to_its_end_when_its_submitter_is_killed(queue: Queue) -> None:
    submitter = subprocess.Popen(
        program(queue), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with submitter:
        assert submitter.stdout
        id = submitter.stdout.readline().strip()
        submitter.kill()
    queue.tell()

    assert queue.ended(id) == {id: "COMPLETED"}
    parents = psutil.Process(queue.server()).parents()
    assert submitter.pid not in [each.pid for each in parents]


def test_rows_11_13_neither_hangup_nor_interrupt_of_a_terminal_reaches_daemons_or_jobs(
    queue: Queue,
) -> None:
    pid, terminal = pty.fork()
    if not pid:  # the session leader of a terminal of its own
        os.execv(sys.executable, program(queue, "wait"))
    until(lambda: queue.counter.exists() and queue.begins("1"))
    daemons = [queue.server(), queue.node()]
    os.write(terminal, b"\x03")  # Ctrl-C for everything in its foreground
    _, status = os.waitpid(pid, 0)
    os.close(terminal)  # and SIGHUP for its session
    queue.tell()

    assert os.waitstatus_to_exitcode(status) != 0
    assert queue.ended("1") == {"1": "COMPLETED"}
    assert [queue.server(), queue.node()] == daemons


def test_row_12_ctrl_c_ends_a_wait_at_once_and_the_job_goes_on(queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    queue.wait_begun(job)
    pressed: list[float] = []

    def press() -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.2, press).start()
    with pytest.raises(KeyboardInterrupt):
        queue.ended(job)

    assert time.monotonic() - pressed[0] < 3
    assert queue.is_running(job)
    queue.tell()
    assert queue.ended(job) == {job: "COMPLETED"}
    assert queue.begins(job) == 1


def _submit_in_child(state_dir: str, counter: str) -> str:
    queue = Queue(state_dir, Path(counter))
    queue.client = get_client(state_dir)
    id = queue.counted()
    assert queue.ended(id) == {id: "COMPLETED"}
    return id


def test_row_71_forked_children_of_a_program_with_threads_submit_on_their_own(
    queue: Queue,
) -> None:
    ours = get_client(queue.state_dir)
    ours.query()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with get_context("fork").Pool(4) as pool:
            args = [(queue.state_dir, str(queue.counter))] * 8
            ids = pool.starmap(_submit_in_child, args)
    finally:
        stop.set()
        thread.join()

    assert len(set(ids)) == 8
    assert len(ours.query()) == 8


def test_row_72_fifty_threads_that_wait_for_one_job_are_all_woken(queue: Queue) -> None:
    job = queue.counted(UNTIL_TOLD)
    states: list[str] = []

    def wait() -> None:
        [ended] = get_client(queue.state_dir).wait([job], timeout=60)
        states.append(ended.info.state)

    threads = [threading.Thread(target=wait) for _ in range(50)]
    for each in threads:
        each.start()
    queue.tell()
    for each in threads:
        each.join()

    assert states == ["COMPLETED"] * 50


def test_a_client_that_never_reads_delays_nobody_and_is_not_listened_to(queue: Queue) -> None:
    jobs = [queue.submit("sh", "-c", "head -c 200000 /dev/zero") for _ in range(20)]
    queue.ended(*jobs)
    server = psutil.Process(queue.server())
    before = server.memory_info().rss
    with open_raw(queue) as deaf:
        deaf.settimeout(0.5)
        watch = wire.Watch(1, tuple(jobs), content=True)
        with pytest.raises(TimeoutError):
            deaf.sendall(wire.frame([watch] * 20) * 10_000)

        assert queue.ended(queue.counted())
        assert server.memory_info().rss - before < 100 << 20
    assert queue.server() == server.pid


def test_who_reads_late_gets_every_output_all_the_same(queue: Queue) -> None:
    jobs = [queue.submit("sh", "-c", "head -c 200000 /dev/zero") for _ in range(60)]
    queue.ended(*jobs)

    got = [each.content for each in queue.client.wait(jobs, timeout=60, content=True)]

    assert [len(content.stdout.data) for content in got if content] == [200_000] * 60


def test_row_59_no_descriptor_of_client_or_daemon_reaches_a_job(queue: Queue) -> None:
    read, write = os.pipe()
    for fd in (read, write):
        os.set_inheritable(fd, True)
    try:
        job = queue.submit("sh", "-c", "exec ls /proc/self/fd")
        lock = queue.submit("sh", "-c", f"flock -n {queue.state_dir}/lock true; echo $?")
        queue.ended(job, lock)
    finally:
        os.close(read)
        os.close(write)

    assert queue.stdout(job).split() == [b"0", b"1", b"2", b"3"]  # 3 is what ls itself opened
    assert queue.stdout(lock) == b"1\n"


def test_row_59_daemons_hold_no_descriptor_of_their_starter(queue: Queue, tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        queue.ended(queue.submit("true"), queue.counted_call())

    daemons = [*queue.daemons(), *psutil.Process(queue.node()).children()]
    names = {f.path for each in daemons for f in each.open_files()}
    assert str(tmp_path / "held") not in names


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("which", ["server", "node"])
def test_row_51_nobody_else_can_connect_even_where_files_would_let_them(
    which: str, queue: Queue
) -> None:
    queue.ended(queue.submit("true"))
    address = lifecycle.socket_path(queue.state_dir, which)
    knock = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({address!r}); "
    knock += "s.settimeout(5); print(repr(s.recv(10)))"
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv += ["/usr/bin/python3", "-c", knock]
    closed = subprocess.run(argv, capture_output=True, text=True)
    os.chmod(queue.state_dir, 0o755)
    os.chmod(os.path.dirname(queue.state_dir), 0o755)
    os.chmod(address, 0o666)
    opened = subprocess.run(argv, capture_output=True, text=True)
    os.chmod(queue.state_dir, 0o700)

    assert "PermissionError" in closed.stderr
    assert opened.stdout == "b''\n", opened.stderr  # the kernel says who it is: hung up on
    assert queue.ended(queue.submit("true"))


def test_a_submitter_killed_while_it_waits_harms_no_server(queue: Queue) -> None:
    waiter = subprocess.Popen(
        program(queue, "wait"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with waiter:
        until(lambda: queue.begins("1"))
        server = queue.server()
        kill(waiter.pid)
    queue.tell()

    assert queue.ended("1") == {"1": "COMPLETED"}
    assert queue.server() == server
    assert lives(server)
