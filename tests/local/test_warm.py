"""Warm parents and the jobs they fork, with a small node of this file around them."""

from __future__ import annotations

import contextlib
import os
import random
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import payload, runner
from cluster.errors import JobFailed, PayloadError
from cluster.local import warm, warm_parent, warm_pool, warm_system
from cluster.local.warm_pool import Usage, WarmPool
from cluster.spec import Launch

DEADLINE_S = 60.0
SLOT = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EXIT = os.waitstatus_to_exitcode


class Node:
    """As much of a node as a pool needs: a loop, and a reaper."""

    def __init__(self, folder: Path, idle_s: float = 60.0) -> None:
        self.folder = folder
        self.selector = selectors.DefaultSelector()
        self.spawned: dict[int, int] = {}  # pid -> job
        self.starts: list[int] = []
        self.ends: dict[int, int] = {}  # job -> wait status
        self.usage: dict[int, Any] = {}
        self.failures: dict[int, str] = {}
        self.count = 0
        self.pool = WarmPool(
            on_spawned=self._on_spawned,
            on_start_failed=lambda job, attempt, reason: self.failures.update({job: reason}),
            on_reaped=self._on_reaped,
            watch=lambda fd, call: self.selector.register(fd, selectors.EVENT_READ, call) and None,
            unwatch=lambda fd: self.selector.unregister(fd) and None,
            idle_s=idle_s,
        )

    def _on_spawned(self, job: int, attempt: int, pid: int) -> None:
        self.spawned[pid] = job
        self.starts.append(job)

    def _on_reaped(self, pid: int, status: int, usage: Usage) -> None:
        self.pool.drain_of(pid)
        job = self.spawned.pop(pid, None)
        if job is not None:
            self.ends[job], self.usage[job] = status, usage

    def submit(self, function: Callable[..., Any], *args: Any, **changes: Any) -> int:
        """Start a job; `changes` are fields of Launch or arguments of start."""
        self.count += 1
        job = self.count
        call = payload.dump(function, args)
        environment = {**os.environb, **changes.pop("environment", {})}
        environment[b"CLUSTER_JOB_TOKEN"] = b"0123456789abcdef.%d.1" % job
        places = {
            "stdout": (self.path(job, "out"), SLOT),
            "stderr": (self.path(job, "err"), SLOT),
            "result": self.path(job, "res"),
        }
        for name in ("stdout", "stderr", "result", "cpus"):
            if name in changes:
                places[name] = changes.pop(name)
        fields: dict[str, Any] = {
            "payload": call.data,
            "python": os.fsencode(sys.executable),
            "sys_path": tuple(os.fsencode(path) for path in sys.path if path),
            "cwd": os.fsencode(self.folder),
            **changes,
        }
        Path(os.fsdecode(self.path(job, "res"))).touch()  # as a slot has it
        whole = changes.pop("whole_environment", None)
        fields.pop("whole_environment", None)
        self.pool.start(
            job,
            1,
            Launch(**fields),
            environment=environment if whole is None else whole,
            **places,  # type: ignore[arg-type]
        )
        return job

    def path(self, job: int, kind: str) -> bytes:
        return os.fsencode(self.folder / f"{job}.{kind}")

    def text(self, job: int, kind: str = "out") -> str:
        return Path(os.fsdecode(self.path(job, kind))).read_text()

    def turn(self) -> None:
        for key, _ in self.selector.select(0.005):
            key.data()
        self.reap()

    def reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid not in self.spawned:
                self.pool.drain()
            self.pool.drain_of(pid)
            if pid in self.spawned:
                job = self.spawned.pop(pid)
                self.ends[job], self.usage[job] = status, usage
            else:
                self.pool.reaped(pid, status, usage)

    def until(self, condition: Callable[[], Any], turn: Callable[[], None] | None = None) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, (self.spawned, self.ends, self.failures)
            (turn or self.turn)()

    def end_of(self, job: int) -> int:
        """Wait for the end of a job; its exit code, or minus its signal."""
        self.until(lambda: job in self.ends)
        return EXIT(self.ends[job])

    def failure_of(self, job: int) -> str:
        self.until(lambda: job in self.failures)
        return self.failures[job]

    def waiting(self) -> list[int]:
        """Give the children that wait for a request."""
        found = [each.pid for each in psutil.Process().children() if self.pool.owns(each.pid)]
        return [pid for pid in found if pid not in self.pool.pids()]

    def run(self, function: Callable[..., Any], *args: Any, **changes: Any) -> Any:
        job = self.submit(function, *args, **changes)
        self.end_of(job)
        return self.value(job)

    def value(self, job: int) -> Any:
        return payload.value(payload.load_envelope(os.fsdecode(self.path(job, "res"))))

    def close(self) -> None:
        for pid in [*self.spawned]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.until(lambda: not self.spawned)
        self.pool.close()  # warm parents and the children that wait in them leave
        deadline = time.monotonic() + DEADLINE_S
        while psutil.Process().children():
            assert time.monotonic() < deadline, psutil.Process().children()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
        self.selector.close()


@pytest.fixture(params=["clone", "os"])
def node(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Node]:
    """A node whose jobs are forked by raw clone, then one with os.fork."""
    monkeypatch.setenv("CLUSTER_WARM_FORK", request.param)
    yield from _node(tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Node]:
    """A node that forks as it does by default."""
    yield from _node(tmp_path)


@pytest.fixture
def busy(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node for which a second function in a row on one core makes that a busy one."""
    monkeypatch.setattr(warm_parent, "BUSY_STARTS", 2)
    return node


def _node(folder: Path) -> Iterator[Node]:
    node = Node(folder)
    yield node
    node.close()


# ---------------------------------------------------------------- where modules are


@pytest.mark.parametrize(
    ("minor", "path"),
    [
        (sys.version_info[1], ["/mine", "/x/lib/python3.{}/site-packages", "/both"]),
        (sys.version_info[1] + 1, ["/mine", "/both", "/own"]),
    ],
)
def test_of_another_python_s_libraries_its_own_take_the_place(
    minor: int, path: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "own_path", ["/both", "/own"])
    monkeypatch.setattr(sys, "path", [])

    warm._set_path([b"/mine", b"/x/lib/python3.%d/site-packages" % minor, b"/both"])

    assert sys.path == [place.format(minor) for place in path]


# ---------------------------------------------------------------- how a job ends


def test_a_value_comes_back(node: Node) -> None:
    assert node.run(lambda a, b: {"sum": a + b}, 2, 3) == {"sum": 5}


def test_the_node_learns_pid_exit_and_usage(node: Node) -> None:
    job = node.submit(os.getpid)

    assert node.end_of(job) == 0
    assert node.usage[job].ru_utime + node.usage[job].ru_stime >= 0
    assert node.usage[job].ru_maxrss > 0
    assert node.starts == [job]


def test_twenty_jobs_are_twenty_processes_of_one_warm_parent(node: Node) -> None:
    jobs = [node.submit(os.getpid) for _ in range(20)]

    codes = [node.end_of(job) for job in jobs]

    assert codes == [0] * 20
    assert len({node.value(job) for job in jobs}) == 20
    assert len(node.pool.pids()) == 1


def test_an_exception_comes_back_with_its_remote_traceback(node: Node) -> None:
    def fail() -> None:
        raise KeyError("no such thing")

    job = node.submit(fail)

    assert node.end_of(job) == 1
    with pytest.raises(KeyError, match="no such thing") as raised:
        node.value(job)
    assert "in fail" in str(raised.value.__cause__)
    assert "KeyError: 'no such thing'" in node.text(job, "err")


def test_sys_exit_gives_its_code(node: Node) -> None:
    job = node.submit(lambda: sys.exit(4))

    assert node.end_of(job) == 4
    with pytest.raises(JobFailed, match=r"sys\.exit\(4\)") as raised:
        node.value(job)
    assert raised.value.exitcode == 4


def test_sys_exit_with_a_text_writes_it_and_gives_1(node: Node) -> None:
    job = node.submit(lambda: sys.exit("no licence"))

    assert node.end_of(job) == 1
    assert node.text(job, "err") == "no licence\n"


def test_sys_exit_with_nothing_is_the_value_none(node: Node) -> None:
    assert node.run(lambda: sys.exit()) is None


def test_os_exit_ends_it_without_an_envelope(node: Node) -> None:
    job = node.submit(lambda: os._exit(3))

    assert node.end_of(job) == 3
    with pytest.raises(PayloadError, match="not a whole result"):
        node.value(job)


def test_a_segfault_is_its_signal(node: Node) -> None:
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    assert node.end_of(node.submit(crash)) == -signal.SIGSEGV


def test_a_job_that_kills_itself_is_its_signal_and_harms_no_other(node: Node) -> None:
    bad = node.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    good = node.submit(lambda: "fine")

    assert node.end_of(bad) == -signal.SIGKILL
    assert node.end_of(good) == 0
    assert node.value(good) == "fine"


def test_a_result_that_cannot_be_pickled_names_its_type(one: Node) -> None:
    def give() -> Any:
        import threading

        return threading.Lock()

    job = one.submit(give)

    assert one.end_of(job) == 1
    with pytest.raises(JobFailed, match=r"type _thread\.lock, cannot be pickled"):
        one.value(job)


def test_a_result_that_explodes_harms_only_who_reads_it(one: Node) -> None:
    def give() -> Any:
        class Bomb:
            def __reduce__(self) -> Any:
                return (int, ("boom",))

        return Bomb()

    job = one.submit(give)

    assert one.end_of(job) == 0
    with pytest.raises(PayloadError, match="ValueError"):
        one.value(job)


def test_a_large_array_goes_there_and_back_through_files(one: Node) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(500_000, dtype="f8")
    call = payload.dump(lambda a: a * 2, (array,))
    file = one.folder / "call"
    call.write(str(file))

    doubled = one.run(len, "", payload=b"", payload_file=os.fsencode(file))

    assert (doubled == array * 2).all()


def test_a_request_larger_than_a_datagram_arrives(node: Node) -> None:
    assert node.run(len, "x" * 250_000) == 250_000


def test_a_copy_that_the_function_forked_does_not_speak_for_it(one: Node) -> None:
    def fork() -> tuple[str, int]:
        import time

        parent = os.getpid()
        child = os.fork()
        if child:
            return "parent", child
        while os.getppid() == parent:
            time.sleep(0.001)
        return "child", 0  # after the parent wrote its envelope and ended

    job = one.submit(fork)
    one.end_of(job)
    _, child = one.value(job)
    one.until(lambda: not _is_running(child))

    assert one.value(job) == ("parent", child)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---------------------------------------------------------------- what a job finds


def test_the_environment_is_exactly_as_asked(node: Node) -> None:
    def look() -> Any:
        import subprocess

        child = subprocess.run(["/usr/bin/env", "-0"], stdout=-1, check=True).stdout
        return dict(os.environb), child

    wanted = {
        b"PATH": b"/usr/bin:/bin",
        b"ODD": b"\xff\xfe caf\xe9",
        b"EMPTY": b"",
        b"CLUSTER_JOB_TOKEN": b"0123456789abcdef.2.1",
    }
    node.run(look, whole_environment={**wanted, b"ONLY_THE_FIRST": b"1"})

    environ, child = node.run(look, whole_environment=wanted)

    assert environ == wanted
    assert set(child.split(b"\0")) - {b""} == {b"=".join(pair) for pair in wanted.items()}
    assert len(node.pool.pids()) == 1


@pytest.mark.parametrize("name", [b"", b"fit", b"n" * 63, b"n" * 64, b"n" * 5000, b"\xff $(a)"])
def test_what_each_job_has_of_its_own_is_as_asked_however_long(node: Node, name: bytes) -> None:
    def look() -> Any:
        import subprocess

        child = subprocess.run(["/usr/bin/env", "-0"], stdout=-1, check=True).stdout
        return dict(os.environb), child

    ours = {b"CLUSTER_JOB_NAME": name, b"CLUSTER_JOB_ID": b"17_4", b"CLUSTER_RAW_ID": b"17"}
    token = {b"CLUSTER_JOB_TOKEN": b"0123456789abcdef.3.1"}
    for without in (None, b"CLUSTER_JOB_NAME", b"CLUSTER_JOB_ID"):
        wanted = {each: ours[each] for each in ours if each != without} | token
        environ, child = node.run(look, whole_environment=wanted)

        assert environ == wanted
        assert set(child.split(b"\0")) - {b""} == {b"=".join(pair) for pair in wanted.items()}


def test_a_job_is_recognised_by_the_token_the_kernel_shows(node: Node) -> None:
    def look() -> Any:
        with open("/proc/self/environ", "rb") as file:
            return file.read().split(b"\0")

    job = node.submit(look)
    node.end_of(job)

    assert b"CLUSTER_JOB_TOKEN=0123456789abcdef.%d.1" % job in node.value(job)
    warm = Path(f"/proc/{node.pool.pids()[0]}/environ").read_bytes().split(b"\0")
    assert b"CLUSTER_JOB_TOKEN=" + b"-" * 64 in warm


def test_a_job_has_no_descriptor_but_the_three(node: Node) -> None:
    def look() -> list[int]:
        found = []
        for fd in range(256):
            try:
                os.fstat(fd)
            except OSError:
                continue
            found.append(fd)
        return found

    assert node.run(look) == [0, 1, 2]


def test_stdin_is_empty(node: Node) -> None:
    assert node.run(lambda: sys.stdin.read()) == ""


def test_a_job_leads_its_session_in_its_directory_with_its_umask(node: Node) -> None:
    def look() -> Any:
        umask = os.umask(0)
        return os.getsid(0) == os.getpgid(0) == os.getpid(), os.getcwd(), umask, sys.argv

    answer = node.run(look, umask=0o027)

    assert answer == (True, os.path.realpath(node.folder), 0o027, [""])


def test_signals_are_as_in_a_fresh_interpreter(node: Node) -> None:
    def look() -> Any:
        import signal

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)
        return [str(signal.getsignal(n)) for n in numbers], signal.pthread_sigmask(0, [])

    handlers, mask = node.run(look)

    assert "default_int_handler" in handlers[0]
    assert handlers[1:] == [str(signal.SIG_DFL), str(signal.SIG_DFL), str(signal.SIG_IGN)]
    assert mask == set()


def test_the_import_path_is_the_submitters(node: Node) -> None:
    (node.folder / "mine").mkdir()
    (node.folder / "mine" / "only_here.py").write_text("ANSWER = 42\n")
    path = (os.fsencode(node.folder / "mine"), *map(os.fsencode, filter(None, sys.path)))

    def look() -> Any:
        import only_here  # type: ignore[import-not-found]

        return only_here.ANSWER, sys.path[0]

    node.run(lambda: None)

    assert node.run(look, sys_path=path) == (42, str(node.folder / "mine"))
    assert len(node.pool.pids()) == 1


def test_random_numbers_differ_between_jobs(node: Node) -> None:
    def draw() -> float:
        import random

        return random.random()

    (node.folder / "sitecustomize.py").write_text("import random\n")  # in the warm parent already
    site = {b"PYTHONPATH": os.fsencode(node.folder)}

    assert node.run(draw, environment=site) != node.run(draw, environment=site)


def test_a_job_keeps_to_its_cores(node: Node) -> None:
    cpu = min(os.sched_getaffinity(0))

    assert node.run(lambda: os.sched_getaffinity(0), cpus=(cpu,)) == {cpu}


def test_another_start_variable_means_another_warm_parent(one: Node) -> None:
    def look() -> Any:
        return sys.flags.hash_randomization, hash("a")

    first = one.run(look, environment={b"PYTHONHASHSEED": b"0"})
    second = one.run(look, environment={b"PYTHONHASHSEED": b"7"})

    assert first[0] == 0
    assert first != second
    assert len(one.pool.pids()) == 2


# ---------------------------------------------------------------- its files


def test_equal_paths_share_one_file(node: Node) -> None:
    def write() -> None:
        print("one", flush=True)
        print("two", file=sys.stderr, flush=True)
        print("three", flush=True)

    both = (os.fsencode(node.folder / "log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    node.run(write, stdout=both, stderr=both)

    assert (node.folder / "log").read_text() == "one\ntwo\nthree\n"


def test_append_keeps_what_is_there(node: Node) -> None:
    log = node.folder / "log"
    log.write_text("before\n")

    node.run(lambda: print("after"), stdout=(os.fsencode(log), os.O_WRONLY | os.O_APPEND))

    assert log.read_text() == "before\nafter\n"


def test_what_a_result_file_held_before_is_not_mixed_with_the_result(one: Node) -> None:
    slot = one.folder / "slot"
    slot.write_bytes(b"".join(runner.envelope(runner.VALUE, 1, 99, "", [b"N." * 500])))
    job = one.submit(lambda: 7, result=os.fsencode(slot))

    assert one.end_of(job) == 0
    assert payload.load_envelope(str(slot)).header.job == job


# ---------------------------------------------------------------- starts that fail


def test_a_directory_that_is_gone_is_a_start_failure(node: Node) -> None:
    job = node.submit(os.getpid, cwd=b"/nowhere/at all")

    reason = node.failure_of(job)

    assert reason == (
        "the working directory /nowhere/at all cannot be entered: No such file or directory"
    )
    assert node.end_of(job) == 1


def test_an_unwritable_outfile_is_a_start_failure(node: Node) -> None:
    reason = node.failure_of(node.submit(os.getpid, stdout=(b"/dev", os.O_WRONLY)))

    assert reason.startswith("/dev cannot be opened for writing: ")


def test_a_payload_file_that_is_gone_is_a_start_failure(node: Node) -> None:
    reason = node.failure_of(node.submit(os.getpid, payload=b"", payload_file=b"/nowhere/call"))

    assert reason == "/nowhere/call: No such file or directory"


def test_a_missing_interpreter_is_a_start_failure(one: Node) -> None:
    reason = one.failure_of(one.submit(os.getpid, python=b"/nowhere/python3"))

    assert reason == (
        "the interpreter /nowhere/python3 cannot be started: No such file or directory"
    )


def test_an_interpreter_that_does_not_start_says_its_last_words(one: Node) -> None:
    broken = one.folder / "python"
    broken.write_text("#!/bin/sh\necho 'no encodings' >&2\nexit 7\n")
    broken.chmod(0o755)

    reason = one.failure_of(one.submit(os.getpid, python=os.fsencode(broken)))

    assert reason == (
        f"the interpreter {broken} ended with exit code 7 while it started: no encodings"
    )


def test_an_interpreter_without_cloudpickle_is_told_to_install_it(one: Node) -> None:
    stdlib = tuple(os.fsencode(path) for path in sys.path if path and "site-packages" not in path)

    reason = one.failure_of(one.submit(os.getpid, sys_path=stdlib))

    assert reason == (
        f"cloudpickle is missing for {sys.executable}: install it there (pip install cloudpickle)"
    )


# ---------------------------------------------------------------- warm parents that die


def test_jobs_go_on_when_their_warm_parent_is_killed(one: Node) -> None:
    gate = one.folder / "gate"
    os.mkfifo(gate)

    def wait() -> str:
        with open(gate) as file:
            return file.read()

    job = one.submit(wait)
    one.until(lambda: one.starts)
    (warm,) = one.pool.pids()
    os.kill(warm, signal.SIGKILL)
    one.until(lambda: not one.pool.owns(warm))
    gate.write_text("on")

    assert one.end_of(job) == 0
    assert one.value(job) == "on"


def test_requests_that_a_dead_warm_parent_had_not_begun_go_to_a_new_one(node: Node) -> None:
    node.run(os.getpid)
    (warm,) = node.pool.pids()
    os.kill(warm, signal.SIGSTOP)
    jobs = [node.submit(os.getpid) for _ in range(5)]
    os.kill(warm, signal.SIGKILL)

    codes = [node.end_of(job) for job in jobs]

    assert codes == [0] * 5
    assert sorted(node.starts) == [1, *jobs]
    assert node.pool.pids() != [warm]


def test_a_job_that_began_is_not_begun_again_when_requests_behind_it_are_lost(one: Node) -> None:
    log = os.fsencode(one.folder / "log")

    def note() -> None:
        with open(log, "a") as file:
            file.write("once\n")

    one.run(os.getpid)
    (parent,) = one.pool.pids()
    first = one.submit(note)
    deadline = time.monotonic() + DEADLINE_S
    while not os.path.exists(log) or not os.path.getsize(log):  # nothing is read meanwhile
        assert time.monotonic() < deadline
    os.kill(parent, signal.SIGSTOP)
    second = one.submit(os.getpid)  # lies in the channel, unread
    os.kill(parent, signal.SIGKILL)

    assert one.end_of(first) == 0
    assert one.end_of(second) == 0
    assert one.starts.count(first) == 1
    assert Path(os.fsdecode(log)).read_text() == "once\n"


def test_a_request_that_kills_every_warm_parent_is_given_up(one: Node) -> None:
    job = one.submit(os.getpid)

    def kill_the_next() -> bool:
        for pid in one.pool.pids():
            parent = one.pool._by_pid[pid]
            if not parent.ready and select.select([parent.channel], [], [], 0)[0]:
                os.killpg(pid, signal.SIGSTOP)  # it has said that it is ready
                one.pool.drain()  # so the request is handed over, and never read
                os.killpg(pid, signal.SIGKILL)
        return job in one.failures

    one.until(kill_the_next, turn=one.reap)

    assert one.failures[job] == "its warm parents died 3 times before it began"
    assert one.starts == []


def test_a_request_that_dies_with_each_child_that_takes_it_is_given_up(
    one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(warm.__file__).read_text()
    first_word = '    _send(("spawned", job, attempt, getpid()))\n    if taken'
    assert first_word in source
    changed = one.folder / "warm.py"
    changed.write_text(source.replace(first_word, "    os.kill(os.getpid(), 9)\n    if taken"))
    monkeypatch.setattr(warm_parent, "_WARM_FILE", str(changed))

    job = one.submit(os.getpid)

    assert one.failure_of(job) == "its warm parents died 3 times before it began"
    assert one.starts == []


def test_two_children_wait_and_belong_to_the_pool(one: Node) -> None:
    one.run(os.getpid)
    one.until(lambda: len(one.waiting()) == warm.SEATS)

    first = one.waiting()
    one.run(os.getpid)
    one.until(lambda: len(one.waiting()) == warm.SEATS)

    assert len(one.pool.pids()) == 1
    assert one.waiting() != first


def test_jobs_go_on_when_a_child_that_waits_is_killed(one: Node) -> None:
    one.run(os.getpid)
    one.until(lambda: len(one.waiting()) == warm.SEATS)
    (parent,) = one.pool.pids()

    os.kill(one.waiting()[0], signal.SIGKILL)
    one.until(lambda: not one.pool.owns(parent))

    assert one.run(lambda: "on") == "on"
    assert one.waiting() == [] or one.pool.pids() != [parent]


def test_a_request_lost_with_the_child_that_read_it_is_run_by_another(
    one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(warm.__file__).read_text()
    read = "        request = _receive()\n        if request is None:\n            _exit(0)\n"
    assert read in source
    mark = os.fspath(one.folder / "died")
    die = f"        if request and not os.path.exists({mark!r}):\n            os.mkdir({mark!r})\n"
    changed = one.folder / "warm.py"
    changed.write_text(source.replace(read, f"{read}{die}            os.kill(os.getpid(), 9)\n"))
    monkeypatch.setattr(warm_parent, "_WARM_FILE", str(changed))

    jobs = [one.submit(os.getpid) for _ in range(4)]

    assert [one.end_of(job) for job in jobs] == [0] * 4
    assert sorted(one.starts) == jobs
    assert os.path.exists(mark)


@pytest.mark.parametrize("seed", range(3))
def test_no_job_is_run_twice_or_lost_whoever_is_killed(one: Node, seed: int) -> None:
    dice = random.Random(seed)
    log = one.folder / "log"
    log.touch()
    name = os.fsencode(log)

    def note(number: int) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"%d\n" % number)
        os.close(fd)

    jobs = []
    for number in range(1, 61):
        jobs.append(one.submit(note, number))
        for _ in range(dice.randrange(3)):
            one.turn()
        children = psutil.Process().children()
        if children and dice.random() < 0.3:
            with contextlib.suppress(psutil.NoSuchProcess):
                dice.choice(children).kill()
    one.until(lambda: all(job in one.ends or job in one.failures for job in jobs))

    noted = log.read_text().split()
    assert len(noted) == len(set(noted))
    assert len(one.starts) == len(set(one.starts))
    unharmed = [job for job in jobs if one.ends.get(job) == 0]
    assert {str(job) for job in unharmed} <= set(noted)
    assert {int(job) for job in noted} <= set(one.starts)


def test_a_warm_parent_leaves_when_nobody_wants_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.pool._idle_s = 0.05
    node.run(os.getpid)

    node.until(lambda: not node.pool.pids())

    assert node.run(lambda: "again") == "again"
    node.close()


def test_a_request_that_waits_for_a_start_can_be_withdrawn(one: Node) -> None:
    job = one.submit(os.getpid)

    assert one.pool.withdraw(job, 1)
    assert one.run(lambda: 1) == 1
    assert job not in one.starts


# ---------------------------------------------------------------- what people do in jobs


def _threads() -> Any:
    import threading
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        idents = list(pool.map(lambda _: threading.get_native_id() > 0, range(4)))
    main = threading.main_thread()
    return idents, threading.current_thread() is main, main.native_id == os.getpid()


def _pools() -> Any:
    import multiprocessing

    answers = []
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            answers.append(pool.map(abs, [-1, -2]))
    return answers


def _asyncio() -> Any:
    import asyncio

    async def main() -> bytes:
        process = await asyncio.create_subprocess_exec("echo", "hi", stdout=-1)
        out, _ = await process.communicate()
        return out

    return asyncio.run(main())


def _thread_at_the_end() -> None:
    import atexit
    import threading

    atexit.register(print, "exit function")
    threading.Timer(0.05, print, ["thread"]).start()


def _here(function: Callable[[], Any]) -> Callable[[], Any]:
    """Have a function of this module travel by value, or the job would import pytest."""
    import types

    copy = types.FunctionType(function.__code__, {"os": os, "__name__": "__main__"})
    copy.__module__ = "__main__"
    return copy


def test_threads_work_in_a_job(node: Node) -> None:
    assert node.run(_here(_threads)) == ([True] * 4, True, True)


def test_multiprocessing_works_in_a_job(node: Node) -> None:
    assert node.run(_here(_pools)) == [[1, 2], [1, 2]]


def test_asyncio_and_subprocesses_work_in_a_job(node: Node) -> None:
    assert node.run(_here(_asyncio)) == b"hi\n"


def test_threads_are_joined_and_exit_functions_run(node: Node) -> None:
    job = node.submit(_here(_thread_at_the_end))

    assert node.end_of(job) == 0
    assert node.text(job) == "thread\nexit function\n"


def test_blas_threads_work_in_a_job(node: Node) -> None:
    pytest.importorskip("numpy")

    def multiply() -> float:
        import numpy

        a = numpy.ones((300, 300))
        return float((a @ a).sum())

    assert node.run(multiply, environment={b"OPENBLAS_NUM_THREADS": b"2"}) == 300.0**3


# ---------------------------------------------------------------- one core after the other

CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def on_one_core(node: Node, number: int) -> list[Any]:
    """Run functions one after the other on one core; what cores each might use."""
    return [node.run(lambda: os.sched_getaffinity(0), cpus=(CORE,)) for _ in range(number)]


def until_it_has_its_own(node: Node) -> tuple[int, int]:
    """Have a busy core; give the pids of the warm parent for all, and of its own."""
    shared = warm_parents(node)[0]
    on_one_core(node, 2)
    node.until(lambda: len(warm_parents(node)) == 2)
    own = next(parent for parent in warm_parents(node) if parent is not shared)
    node.until(lambda: own.ready)
    return shared.pid, own.pid


def warm_parents(node: Node) -> list[warm_parent.Parent]:
    if not node.pool.pids():
        node.run(int)
    return list(node.pool._by_pid.values())


def test_a_busy_core_has_a_warm_parent_of_its_own(busy: Node) -> None:
    shared, own = until_it_has_its_own(busy)
    assert os.sched_getaffinity(own) == {CORE}
    assert os.sched_getaffinity(shared) == os.sched_getaffinity(0)

    os.kill(shared, signal.SIGSTOP)  # it makes none any more
    try:
        assert on_one_core(busy, 6) == [{CORE}] * 6
    finally:
        os.kill(shared, signal.SIGCONT)
    assert busy.run(lambda: os.sched_getaffinity(0)) == os.sched_getaffinity(0)


def test_when_the_warm_parent_of_one_core_dies_its_jobs_go_on(busy: Node) -> None:
    _, own = until_it_has_its_own(busy)
    os.kill(own, signal.SIGSTOP)
    waiting = [
        pid for pid in busy.waiting() if os.getsid(pid) == own and not os.kill(pid, signal.SIGSTOP)
    ]
    jobs = [busy.submit(os.getpid, cpus=(CORE,)) for _ in range(8)]

    for pid in (own, *waiting):
        os.kill(pid, signal.SIGKILL)

    assert [busy.end_of(job) for job in jobs] == [0] * 8
    assert len({busy.value(job) for job in jobs}) == 8
    assert sorted(busy.starts)[-8:] == jobs


def test_a_slow_core_has_none(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_parent, "BUSY_STARTS", 2)
    monkeypatch.setattr(warm_parent, "BUSY_S", 0.0)

    on_one_core(node, 6)

    assert len(node.pool.pids()) == 1


def test_where_a_warm_parent_cannot_have_its_core_the_other_does_its_work(
    busy: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores: list[int] = []

    def spawn(*args: Any, core: int, **others: Any) -> warm_parent.Parent:
        cores.append(core)
        return warm_parent.spawn(*args, core=core if core < 0 else 1023, **others)

    monkeypatch.setattr(warm_pool, "spawn", spawn)
    on_one_core(busy, 2)
    busy.until(lambda: len(busy.pool.pids()) == 1)

    assert on_one_core(busy, 6) == [{CORE}] * 6
    assert cores == [warm.ANY_CORE, CORE]  # it was tried once


def test_the_warm_parent_for_all_stays_while_a_core_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_parent, "BUSY_STARTS", 2)
    node = Node(tmp_path, idle_s=1.0)
    shared, own = until_it_has_its_own(node)

    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        on_one_core(node, 1)

    assert node.pool.pids() == [shared, own]
    node.close()


def test_nothing_is_kept_of_jobs_that_ended(node: Node) -> None:
    jobs = [node.submit(os.getpid) for _ in range(20)]
    for job in jobs:
        node.end_of(job)

    assert not node.pool._of_job
    assert set(node.pool._waiting) <= set(node.waiting())


# ---------------------------------------------------------------- few pages


def with_system(code: str, **env: str) -> str:
    """Run code in an interpreter that knows only what a warm parent asks of the system."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, warm_system as w\n{code}"],
        env={"PYTHONPATH": os.path.dirname(warm_system.__file__), **env},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_what_is_made_once_the_holes_are_filled_stands_side_by_side() -> None:
    code = "blocks = [bytes(67) for _ in range(900)]; del blocks[::3]\n{}\n"
    code += "made = [bytes(67) for _ in range(100)]\n"
    code += "print(len({{id(each) // w.POOL_SIZE for each in made}}))"

    assert with_system(code.format("w.fill_pools()")) == "1\n"
    assert int(with_system(code.format(""))) > 1


def test_an_allocator_without_pools_is_asked_for_little() -> None:
    code = "w.fill_pools(); print(sum(map(sys.getsizeof, w.filling)))"

    assert int(with_system(code, PYTHONMALLOC="malloc")) < 6 << 20


def test_where_cores_cannot_be_chosen_none_are_rehearsed() -> None:
    code = "import os\n{}\nprint(len(w.affinity()))"
    refuse = "def refuse(*_): raise PermissionError\nos.sched_setaffinity = refuse"

    assert int(with_system(code.format(""))) == len(os.sched_getaffinity(0))
    assert int(with_system(code.format(refuse))) == 0
