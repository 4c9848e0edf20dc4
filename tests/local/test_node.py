"""The node: a real one, driven through its socket as a server would."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from node_driver import NodeProcess, node_in, running_with, slice_ns, start_order, until

from cluster import payload
from cluster.local import journal, memory_limit, processes, wire
from cluster.local.memory_limit import memory_enforcement

WITH_CGROUP = memory_enforcement()[0] != "watching"


@pytest.fixture
def node(state_dir: Path) -> Iterator[NodeProcess]:
    with node_in(state_dir) as node:
        yield node


def is_gone(pid: int) -> bool:
    found = processes.look(pid)
    return found is None or not found.lives


def pid_in(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().strip(), str(path)))


# ---------------------------------------------------------------- start and end


def test_a_command_runs_and_its_output_comes_back(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")

    exited = server.exited(1)
    assert os.waitstatus_to_exitcode(exited.status) == 3
    assert exited.why == ""
    assert exited.content == wire.Content(
        stdout=wire.Output(b"out\n"), stderr=wire.Output(b"err\n")
    )
    assert 0 < exited.started <= exited.ended
    assert exited.cpu_s >= 0


def test_a_signal_that_ends_a_job_is_reported(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, "/bin/sh", "-c", "kill -9 $$")

    assert os.waitstatus_to_exitcode(server.exited(1).status) == -9


def test_started_tells_the_pid_and_where_it_writes(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, "/bin/sh", "-c", "echo $$; exec sleep 100")

    started = server.started(1)
    until(lambda: Path(os.fsdecode(started.stdout)).read_text() == f"{started.pid}\n")
    server.send(wire.End(1, 1, "cancel"))
    assert server.exited(1).why == "cancel"


def test_a_job_is_alone_in_its_session_with_three_descriptors(node: NodeProcess) -> None:
    server = node.attach()
    code = (
        "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0), "
        "sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.read(0, 1), "
        "os.umask(0), os.getcwd())"
    )

    server.start(1, sys.executable, "-I", "-c", code, launch_cwd=b"/usr", launch_umask=0o027)

    assert server.exited(1).content.stdout.data == b"True [0, 1, 2] b'' 23 /usr\n"


def test_a_job_has_default_signals_and_none_blocked(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, "/bin/grep", "-E", "SigIgn|SigBlk", "/proc/self/status")

    blocked, ignored = server.exited(1).content.stdout.data.split()[1::2]
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~(3 << 31) == 0  # 32 and 33 are the C library's own


def test_node_and_server_have_short_turns_and_a_job_the_usual_ones(node: NodeProcess) -> None:
    usual = slice_ns(os.getppid())
    server = node.attach()  # this process

    server.start(1, "/bin/sleep", "100")

    pid = server.started(1).pid
    assert slice_ns(pid) == usual
    assert [slice_ns(node.pid), slice_ns(os.getpid())] == [100_000 if usual else 0] * 2


def test_the_environment_is_the_submitters_then_ours_then_the_jobs(node: NodeProcess) -> None:
    server = node.attach()
    changes = {b"OMP_NUM_THREADS": b"7", b"CLUSTER_JOB_TOKEN": b"mine", b"A": b"\xff b"}

    server.start(
        5,
        "env",
        label="4_2",
        name="näme",
        cores=3,
        memory_mib=0,
        gpus=(1, 3),
        array=4,
        index=2,
        launch_env_set=changes,
        launch_env_unset=(b"LANG",),
    )

    env = dict(line.split(b"=", 1) for line in server.exited(5).content.stdout.data.splitlines())
    assert env[b"CLUSTER_JOB_ID"] == b"4_2"
    assert env[b"CLUSTER_JOB_NAME"] == "näme".encode()
    assert env[b"CLUSTER_RAW_ID"] == b"5"
    assert (env[b"CLUSTER_ARRAY_ID"], env[b"CLUSTER_ARRAY_INDEX"]) == (b"4", b"2")
    assert env[b"CLUSTER_STATE_DIR"] == node.state_dir.encode()
    assert env[b"CUDA_VISIBLE_DEVICES"] == b"1,3"
    assert (env[b"OMP_NUM_THREADS"], env[b"MKL_NUM_THREADS"]) == (b"7", b"3")
    assert env[b"CLUSTER_JOB_TOKEN"].endswith(b".5.1")
    assert env[b"A"] == b"\xff b"
    assert env[b"HOME"] == b"/"
    assert not {b"LANG", b"CLUSTER_DAEMON", b"CLUSTER_MEMORY_MIB"} & env.keys()


def test_arguments_arrive_byte_for_byte(node: NodeProcess) -> None:
    server = node.attach()
    arguments = (b"$(id)", b"a b", b"'\"", b"-n", b"\xff\n", b"")

    server.start(1, "/usr/bin/printf", "[%s]", *arguments)

    expected = b"".join(b"[" + each + b"]" for each in arguments)
    assert server.exited(1).content.stdout.data == expected


def test_affinity_is_the_jobs_and_not_the_nodes(node: NodeProcess) -> None:
    server = node.attach()
    cpu = min(os.sched_getaffinity(0))

    server.start(1, "/bin/grep", "Cpus_allowed_list", "/proc/self/status", cpus=(cpu,))

    assert server.exited(1).content.stdout.data.split() == [b"Cpus_allowed_list:", b"%d" % cpu]
    assert os.sched_getaffinity(node.pid) == os.sched_getaffinity(0)


def test_named_files_are_used_in_place_and_appended_to(node: NodeProcess, tmp_path: Path) -> None:
    server = node.attach()
    both = tmp_path / "both"
    both.write_text("before\n")
    named = {"launch_stdout": os.fsencode(both), "launch_stderr": os.fsencode(both)}

    server.start(1, "/bin/sh", "-c", "echo a; echo b >&2; echo c", launch_append=True, **named)

    assert server.exited(1).content == wire.Content(
        stdout=wire.Output(file=os.fsencode(both)), stderr=wire.Output(file=os.fsencode(both))
    )
    server.ack(1)
    server.start(2, "/bin/true")
    server.exited(2)
    assert both.read_text() == "before\na\nb\nc\n"


def test_a_relative_file_is_relative_to_the_jobs_directory(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach()
    (tmp_path / "out").write_text("old and long")

    server.start(1, "echo", "x", launch_cwd=os.fsencode(tmp_path), launch_stdout=b"out")

    assert server.exited(1).content.stdout.file == os.fsencode(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "x\n"


def test_a_large_output_becomes_a_file_and_the_slot_starts_afresh(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, "head", "-c", str(wire.INLINE_LIMIT + 1), "/dev/zero")

    kept = server.exited(1).content.stdout
    assert kept.data == b""
    assert kept.file == os.fsencode(f"{node.state_dir}/outputs/1.1.out")
    assert os.path.getsize(kept.file) == wire.INLINE_LIMIT + 1
    server.ack(1)
    server.start(2, "echo", "small")
    assert server.exited(2).content.stdout.data == b"small\n"


def test_a_slot_is_used_again_only_after_the_ack(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, "/bin/true")
    server.exited(1)
    server.start(2, "/bin/true")
    server.exited(2)
    server.ack(1)
    server.start(3, "/bin/true")
    server.exited(3)

    places = [server.started(job).stdout for job in (1, 2, 3)]
    assert places[1] != places[0] == places[2]


def test_an_acknowledgement_of_a_job_that_still_runs_lets_go_of_nothing(
    node: NodeProcess, tmp_path: Path
) -> None:
    # a recall may cross the order to start: what answers it is acknowledged, too
    server = node.attach()
    os.mkfifo(tmp_path / "fifo")
    server.start(1, "/bin/sh", "-c", "read x < fifo", launch_cwd=os.fsencode(tmp_path))
    server.started(1)

    server.ack(1)
    server.start(2, "/bin/echo", "other")
    server.exited(2)

    assert server.started(1).stdout != server.started(2).stdout
    assert [entry.begin.job for entry in journal.read(node.state_dir)] == [1, 2]
    (tmp_path / "fifo").write_text("x\n")
    assert server.exited(1).content.stdout == wire.Output()


@pytest.mark.parametrize(
    ("launch", "code", "words"),
    [
        ({"argv": (b"/no/such",)}, 127, "/no/such"),
        ({"argv": (b"nosuchprogram",)}, 127, "nosuchprogram"),
        ({"argv": (b"/etc",)}, 126, "/etc"),
        ({"argv": (b"/etc/passwd",)}, 126, "/etc/passwd"),
        ({"argv": (b"/bin/true",), "cwd": b"/no/dir"}, 126, "working directory /no/dir"),
        ({"argv": (b"/bin/true",), "stdout": b"/no/dir/out"}, 126, "output file /no/dir/out"),
        ({"argv": (b"/bin/true", b"x" * 3_000_000)}, 126, "too long"),
        ({"argv": (b"/bin/true", b"a\0b")}, 126, "null byte"),
        ({"argv": (b"bad.sh",), "cwd": b"HERE", "env_set": {b"PATH": b"."}}, 126, "/no/python"),
        ({"argv": (b"./text",), "cwd": b"HERE"}, 126, "neither"),
        ({"argv": (b"/bin/true",), "env": "unknown"}, 126, "never sent"),
    ],
)
def test_what_cannot_start_is_said_and_harms_nobody(
    node: NodeProcess, tmp_path: Path, launch: dict[str, object], code: int, words: str
) -> None:
    for name, text in (("bad.sh", "#!/no/python -u\n"), ("text", "hello")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    if launch.get("cwd") == b"HERE":
        launch = {**launch, "cwd": os.fsencode(tmp_path)}
    server = node.attach()

    server.start(1, **{f"launch_{name}": value for name, value in launch.items()})
    server.start(2, "pwd")

    exited = server.exited(1)
    assert exited.why == "start"
    assert os.waitstatus_to_exitcode(exited.status) == code
    assert words in exited.reason
    assert exited.content == wire.Content()
    assert server.exited(2).content.stdout.data == b"/\n"


def test_a_named_pipe_that_nobody_reads_does_not_stop_the_node(
    node: NodeProcess, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    server = node.attach()

    server.start(1, "echo", launch_stdout=os.fsencode(tmp_path / "pipe"))

    assert "pipe" in server.exited(1).reason


def test_a_program_is_found_on_the_jobs_path_from_its_directory(
    node: NodeProcess, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "bin" / "tool").chmod(0o755)
    server = node.attach()
    options = {"launch_cwd": os.fsencode(tmp_path), "launch_env_set": {b"PATH": b"bin:/bin"}}

    server.start(1, "tool", **options)

    assert server.exited(1).content.stdout.data == b"found\n"


@pytest.mark.slow
def test_many_quick_jobs_are_all_reported_once(node: NodeProcess) -> None:
    server = node.attach()
    jobs = range(1, 301)

    for job in jobs:
        server.start(job, "/bin/true")
    for job in jobs:
        server.exited(job)
    server.ack(*jobs)

    exits = [each.job for each in server.reports if isinstance(each, wire.Exited)]
    assert sorted(exits) == list(jobs)
    assert len(os.listdir(f"/proc/{node.pid}/fd")) < 24


def test_a_start_that_is_sent_twice_runs_once(node: NodeProcess, tmp_path: Path) -> None:
    server = node.attach()
    order = start_order(1, "/bin/sh", "-c", "echo x >> ran", launch_cwd=os.fsencode(tmp_path))

    server.start(2, "/bin/true")
    server.send(order, order)
    server.exited(1)
    server.send(order)
    server.start(3, "/bin/true")
    server.exited(3)

    assert (tmp_path / "ran").read_text() == "x\n"


def test_without_descriptors_a_start_waits_and_nothing_is_lost(state_dir: Path) -> None:
    with node_in(state_dir) as node:
        server = node.attach()
        server.start(1, "sleep", "100")
        server.started(1)
        psutil.Process(node.pid).rlimit(psutil.RLIMIT_NOFILE, (5, 256))

        server.start(2, "echo", "late", launch_stdout=os.fsencode(state_dir / "late"))
        server.send(wire.End(1, 1, "cancel", 0.5))
        server.exited(1)
        assert not server.has_exited(2)
        psutil.Process(node.pid).rlimit(psutil.RLIMIT_NOFILE, (256, 256))

        assert server.exited(2).why == ""


# ---------------------------------------------------------------- leftovers

LEAVERS = {
    "a child in the background": "sleep 300 & echo $! > pid",
    "a session of its own": "setsid sh -c 'echo $$ > pid; exec sleep 300' & wait_pid",
    "no environment": "env -i setsid sh -c 'echo $$ > pid; exec /bin/sleep 300' & wait_pid",
    "a double fork": (
        "(setsid sh -c '(sh -c \"echo \\$\\$ > pid; exec sleep 300\") &' &) ; wait_pid"
    ),
    "deaf": "setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 300; done' & wait_pid",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEAVERS)
def test_what_a_job_leaves_behind_is_gone_before_its_exit_is_told(
    node: NodeProcess, tmp_path: Path, kind: str
) -> None:
    server = node.attach()
    script = "wait_pid() { while [ ! -s pid ]; do :; done; }; " + LEAVERS[kind]

    server.start(1, "bash", "-c", script, launch_cwd=os.fsencode(tmp_path), grace_s=0.3)

    exited = server.exited(1)
    assert is_gone(pid_in(tmp_path / "pid"))
    assert (exited.status, exited.why) == (0, "")
    assert not running_with(node.state_dir, 1)


@pytest.mark.slow
def test_a_nameless_orphan_lives_as_long_as_a_job_that_may_own_it(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach()
    server.start(1, "/bin/sh", "-c", "read x < fifo", launch_cwd=os.fsencode(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    server.started(1)
    script = (
        "env -i setsid sh -c 'echo $$ > pid; exec /bin/sleep 300' & while [ ! -s pid ]; do :; done"
    )

    server.start(2, "bash", "-c", script, launch_cwd=os.fsencode(tmp_path))

    assert server.exited(2).status == 0
    orphan = pid_in(tmp_path / "pid")
    assert not is_gone(orphan)
    server.send(wire.End(1, 1, "cancel", 0.5))
    server.exited(1)
    assert is_gone(orphan)


@pytest.mark.slow
def test_what_an_orphan_writes_late_is_not_in_the_output_of_another_job(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach()
    for fifo in ("other", "speak", "go"):
        os.mkfifo(tmp_path / fifo)
    here = {"launch_cwd": os.fsencode(tmp_path)}
    server.start(1, "/bin/sh", "-c", "read x < other", **here)
    server.started(1)
    orphan = "echo $$ > pid; read x < speak; echo late; echo > spoken; exec /bin/sleep 300"
    leave = f"env -i setsid sh -c '{orphan}' & while [ ! -s pid ]; do :; done"
    server.start(2, "bash", "-c", leave, **here)
    server.exited(2)
    server.ack(2)

    server.start(3, "/bin/sh", "-c", "read x < go", **here)
    server.started(3)
    (tmp_path / "speak").write_text("x\n")
    until((tmp_path / "spoken").exists)
    (tmp_path / "go").write_text("x\n")

    exited = server.exited(3)
    assert server.started(3).stdout == server.started(2).stdout
    assert exited.content.stdout == wire.Output()


@pytest.mark.slow
def test_a_daemon_of_a_queue_that_a_job_started_is_left_alone(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach()
    script = (
        "env -i CLUSTER_DAEMON=server setsid sh -c 'echo $$ > pid; exec /bin/sleep 300' & "
        "while [ ! -s pid ]; do :; done"
    )

    server.start(1, "bash", "-c", script, launch_cwd=os.fsencode(tmp_path), grace_s=0.2)
    server.exited(1)

    daemon = pid_in(tmp_path / "pid")
    assert not is_gone(daemon)
    os.kill(daemon, signal.SIGKILL)


@pytest.mark.slow
def test_processes_that_keep_forking_are_all_ended(node: NodeProcess, tmp_path: Path) -> None:
    server = node.attach()
    (tmp_path / "again.sh").write_text(
        "#!/bin/sh\ntrap 'setsid ./again.sh & exit' TERM\necho x >> count\n"
        "while :; do /bin/sleep 0.05; done\n"
    )
    (tmp_path / "again.sh").chmod(0o755)
    server.start(
        1,
        "bash",
        "-c",
        "for i in 1 2 3; do setsid ./again.sh & done; wait",
        launch_cwd=os.fsencode(tmp_path),
    )
    until(lambda: (tmp_path / "count").exists() and len((tmp_path / "count").read_text()) >= 6)

    server.send(wire.End(1, 1, "cancel", 0.2))

    assert server.exited(1).why == "cancel"
    assert not running_with(node.state_dir, 1)


# ---------------------------------------------------------------- end and signal


def test_end_says_why_and_the_first_why_counts(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "100")
    server.started(1)

    server.send(wire.End(1, 1, "requeue"), wire.End(1, 1, "cancel"))

    exited = server.exited(1)
    assert exited.why == "requeue"
    assert os.waitstatus_to_exitcode(exited.status) == -signal.SIGTERM


@pytest.mark.slow
def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "bash", "-c", "trap '' TERM; echo ready; while :; do sleep 100; done")
    out = Path(os.fsdecode(server.started(1).stdout))
    until(lambda: out.read_text() == "ready\n")

    server.send(wire.End(1, 1, "cancel", 0.3))

    exited = server.exited(1)
    assert os.waitstatus_to_exitcode(exited.status) == -signal.SIGKILL
    assert exited.ended - exited.started >= 0.3
    assert not running_with(node.state_dir, 1)


def test_a_stopped_job_can_be_ended(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "100")
    pid = server.started(1).pid
    server.send(wire.Signal(1, 1, signal.SIGSTOP))
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)

    server.send(wire.End(1, 1, "cancel", 10.0))

    assert os.waitstatus_to_exitcode(server.exited(1).status) == -signal.SIGTERM


def test_a_signal_reaches_the_whole_tree(node: NodeProcess, tmp_path: Path) -> None:
    server = node.attach()
    script = (
        'setsid bash -c \'trap "echo got > child" USR1; echo > ready; '
        "while :; do sleep 0.02; done' & "
        "trap 'echo got > leader' USR1; while :; do sleep 0.02; done"
    )
    server.start(1, "bash", "-c", script, launch_cwd=os.fsencode(tmp_path))
    until((tmp_path / "ready").exists)

    server.send(wire.Signal(1, 1, signal.SIGUSR1))

    until(lambda: (tmp_path / "child").exists() and (tmp_path / "leader").exists())
    server.send(wire.End(1, 1, "cancel", 0.1))
    server.exited(1)


def test_walltime_ends_a_job_after_a_warning(node: NodeProcess) -> None:
    server = node.attach()
    script = "trap 'echo warned' USR1; while :; do sleep 0.02; done"

    server.start(
        1,
        "bash",
        "-c",
        script,
        walltime_s=0.5,
        launch_warn_signal=signal.SIGUSR1,
        launch_warn_before_s=0.2,
    )

    exited = server.exited(1)
    assert exited.why == "walltime"
    assert "0.5 s" in exited.reason
    assert exited.content.stdout.data == b"warned\n"


EATER = "x = bytearray(300 << 20); import time; time.sleep(60)"


@pytest.mark.slow
def test_memory_is_watched_where_no_cgroup_may_be_made(state_dir: Path) -> None:
    with node_in(state_dir, env={memory_limit.OFF: "1"}) as node:
        server = node.attach()

        server.start(1, sys.executable, "-I", "-S", "-c", EATER, memory_mib=100)

        exited = server.exited(1)
        assert exited.why == "memory"
        assert "its limit is 100 MiB" in exited.reason
        assert exited.peak_memory_mib > 100


@pytest.mark.slow
@pytest.mark.skipif(not WITH_CGROUP, reason="no cgroup can be made here")
def test_memory_is_limited_by_a_cgroup_that_is_removed_after(node: NodeProcess) -> None:
    server = node.attach()

    server.start(1, sys.executable, "-I", "-S", "-c", EATER, memory_mib=100)
    server.start(2, "/bin/sh", "-c", "cat /proc/self/cgroup", memory_mib=100)

    exited = server.exited(1)
    assert exited.why == "memory"
    assert os.waitstatus_to_exitcode(exited.status) == -signal.SIGKILL
    assert exited.peak_memory_mib == pytest.approx(100, abs=1)
    where = server.exited(2).content.stdout.data
    assert b"cluster-" in where
    [name] = {line.rpartition(b"/")[2] for line in where.splitlines() if b"cluster-" in line}
    (parent, _), _ = memory_limit._find_parent("")
    until(lambda: not (parent / os.fsdecode(name)).exists())


@pytest.mark.slow
@pytest.mark.parametrize("env", [{}, {memory_limit.OFF: "1"}])
def test_who_waits_for_a_process_that_took_too_much_memory_is_ended_too(
    state_dir: Path, env: dict[str, str]
) -> None:
    with node_in(state_dir, env=env) as node:
        server = node.attach()

        server.start(1, "/bin/sh", "-c", '"$0" -c "$1"; sleep 60', sys.executable, EATER,
                     memory_mib=100)  # fmt: skip

        assert server.exited(1).why == "memory"


# ---------------------------------------------------------------- functions


def value_of(exited: wire.Exited) -> object:
    return payload.value(payload.load_envelope(exited.content.result.data))


def test_a_function_runs_and_its_value_comes_back(node: NodeProcess) -> None:
    server = node.attach()

    def function(n: int) -> tuple[int, str]:
        print("hello")
        return n + 1, os.environ["CLUSTER_JOB_ID"]

    server.call(1, function, 41)

    exited = server.exited(1)
    assert (exited.status, exited.why) == (0, "")
    assert value_of(exited) == (42, "1")
    assert exited.content.stdout.data == b"hello\n"


def test_functions_that_end_badly_are_told_apart(node: NodeProcess) -> None:
    server = node.attach()

    server.call(1, os._exit, 3)
    server.call(2, lambda: os.kill(os.getpid(), signal.SIGKILL))
    server.call(3, sys.exit, 4)
    server.call(4, lambda: 1 // 0)

    codes = [os.waitstatus_to_exitcode(server.exited(job).status) for job in (1, 2, 3, 4)]
    assert codes == [3, -9, 4, 1]
    assert [server.exited(job).content.result.data[:4] for job in (1, 2, 3, 4)] == [
        b"",
        b"",
        b"CLR1",
        b"CLR1",
    ]


def test_a_function_that_cannot_start_says_why(node: NodeProcess) -> None:
    server = node.attach()

    server.call(1, len, "", launch_python=b"/no/python")
    server.call(2, len, "", launch_cwd=b"/no/dir")

    assert [server.exited(job).why for job in (1, 2)] == ["start", "start"]
    assert "/no/python" in server.exited(1).reason
    assert "/no/dir" in server.exited(2).reason


def test_what_a_function_forks_is_gone_before_its_exit_is_told(node: NodeProcess) -> None:
    server = node.attach()

    def function() -> int:
        pid = os.fork()
        if not pid:
            os.setsid()
            time.sleep(300)
        time.sleep(0.05)
        return pid

    server.call(1, function, grace_s=0.5)

    left = value_of(server.exited(1))
    assert isinstance(left, int)
    assert is_gone(left)


def test_a_function_can_be_ended_at_any_moment(node: NodeProcess) -> None:
    server = node.attach()
    jobs = range(1, 9)
    for job in jobs:
        server.call(job, time.sleep, 300)
        server.send(wire.End(job, 1, "cancel", 0.5))

    assert {server.exited(job).why for job in jobs} == {"cancel"}
    assert not any(running_with(node.state_dir, job) for job in jobs)


@pytest.mark.slow
def test_functions_outlive_their_warm_parent(node: NodeProcess, tmp_path: Path) -> None:
    server = node.attach()
    os.mkfifo(tmp_path / "go")
    server.call(1, (tmp_path / "go").read_text)
    pid = server.started(1).pid
    children = psutil.Process(node.pid).children()
    # a session of its own: the warm parent, and not the children it has waiting
    [parent] = [c for c in children if c.pid != pid and os.getsid(c.pid) == c.pid]

    parent.kill()
    (tmp_path / "go").write_text("on")

    assert value_of(server.exited(1)) == "on"
    server.call(2, len, "four")
    assert value_of(server.exited(2)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("env", [{}, {memory_limit.OFF: "1"}, {"CLUSTER_WARM_FORK": "os"}])
def test_the_memory_of_a_function_is_limited(state_dir: Path, env: dict[str, str]) -> None:
    def eat() -> None:
        held = bytearray(300 << 20)
        time.sleep(60 + len(held[:0]))

    with node_in(state_dir, env=env) as node:
        server = node.attach()
        server.call(1, eat, memory_mib=100)

        assert server.exited(1).why == "memory"


# ---------------------------------------------------------------- servers come and go


def test_exits_are_kept_for_the_next_server(node: NodeProcess, tmp_path: Path) -> None:
    first = node.attach(epoch=1)
    os.mkfifo(tmp_path / "go")
    first.start(1, "/bin/sh", "-c", "read x < go; echo done", launch_cwd=os.fsencode(tmp_path))
    first.start(2, "sleep", "100")
    first.started(2)
    first.close()
    (tmp_path / "go").write_text("x\n")
    until(lambda: processes.look(first.started(1).pid) is None)

    second = node.attach(epoch=2)

    assert second.exited(1).content.stdout.data == b"done\n"
    attached = second.attached()
    assert [each[:2] for each in attached.running] == [(2, 1)]
    assert attached.exited == ((1, 1),)
    assert second.started(2).pid == attached.running[0][2]
    second.ack(1)
    third = node.attach(epoch=2)
    assert third.attached().exited == ()


def test_a_server_of_an_earlier_epoch_is_refused(node: NodeProcess) -> None:
    new = node.attach(epoch=5)
    new.attached()

    old = node.attach(epoch=4)

    old.wait_closed()
    new.start(1, "/bin/true")
    assert new.exited(1).status == 0


def test_a_later_server_replaces_the_earlier(node: NodeProcess) -> None:
    old = node.attach(epoch=1)
    old.attached()

    new = node.attach(epoch=2)

    assert new.attached().pid == node.pid
    old.wait_closed()


def test_a_later_server_finds_nothing_that_the_earlier_one_gave_in_advance(
    node: NodeProcess, tmp_path: Path
) -> None:
    earlier = node.attach(epoch=1)
    os.mkfifo(tmp_path / "fifo")
    here = {"launch_cwd": os.fsencode(tmp_path)}
    earlier.start(1, "/bin/sh", "-c", "read x < fifo", **here)
    earlier.start(2, "/bin/sh", "-c", "echo > begun", queued=True, **here)
    earlier.started(1)
    later = node.attach(epoch=2)
    attached = later.attached()

    (tmp_path / "fifo").write_text("x\n")

    assert [job for job, _, _ in attached.running] == [1]
    assert later.exited(1).next_job == 0
    later.start(3, "/bin/true")
    later.exited(3)
    assert not (tmp_path / "begun").exists()


def test_a_server_with_another_protocol_is_told_ours_and_starts_nothing(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach(protocol=99)
    assert server.attached().protocol == wire.NODE_PROTOCOL
    server.start(1, "/bin/sh", "-c", "echo > ran", launch_cwd=os.fsencode(tmp_path))

    again = node.attach(epoch=2)
    again.start(2, "/bin/true")

    assert again.exited(2).status == 0
    assert not (tmp_path / "ran").exists()


def test_nonsense_on_the_socket_harms_nobody(node: NodeProcess) -> None:
    server = node.attach()
    stranger = node.attach(epoch=0)
    stranger._socket.sendall(b"\xff" * 64)

    stranger.wait_closed()

    server.start(1, "/bin/true")
    assert server.exited(1).status == 0


@pytest.mark.slow
def test_a_server_that_does_not_read_stops_nothing(node: NodeProcess) -> None:
    server = node.attach()
    server.send(server._kept)
    size = str(wire.INLINE_LIMIT)
    jobs = range(1, 13)
    for job in jobs:
        server.send(start_order(job, "head", "-c", size, "/dev/zero", walltime_s=10.0))
    until(lambda: (Path(node.state_dir) / "slots" / "11").exists())
    until(lambda: not any(running_with(node.state_dir, job) for job in jobs))

    sizes = {len(server.exited(job).content.stdout.data) for job in jobs}

    assert sizes == {wire.INLINE_LIMIT}


MISSING_ITS_SERVER = """
import sys
from cluster.local import node
node.SERVER_GRACE_S = 0.02
called = sys.argv[1] + "/called"
node.Node(sys.argv[1], start_server=lambda: open(called, "a").write("x")).run()
"""


def test_a_node_with_jobs_makes_a_server_when_its_own_vanished(
    state_dir: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    with node_in(state_dir, code=MISSING_ITS_SERVER) as node:
        server = node.attach()
        server.start(1, "/bin/sh", "-c", "read x < go", launch_cwd=os.fsencode(tmp_path))
        server.started(1)

        server.close()

        until((state_dir / "called").exists)
        (tmp_path / "go").write_text("x\n")
        assert node.attach(epoch=2).exited(1).status == 0


def test_a_node_that_was_told_to_leave_makes_no_server(state_dir: Path) -> None:
    with node_in(state_dir, code=MISSING_ITS_SERVER) as node:
        server = node.attach()
        server.start(1, "sleep", "0.3")
        server.started(1)

        server.send(wire.Leave())
        server.close()

        until(lambda: not running_with(node.state_dir, 1))
        assert node.attach(epoch=2).exited(1).status == 0
        assert not (state_dir / "called").exists()


def test_leave_waits_for_jobs_and_acks_and_then_cleans_up(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach()
    os.mkfifo(tmp_path / "go")
    server.start(1, "/bin/sh", "-c", "read x < go", launch_cwd=os.fsencode(tmp_path))
    server.started(1)

    server.send(wire.Leave())
    (tmp_path / "go").write_text("x\n")
    server.exited(1)
    assert node.process.poll() is None
    server.ack(1)

    assert node.wait() == 0
    assert sorted(os.listdir(node.state_dir)) == [
        "journal.closed",
        "node.log",
        "outputs",
        "slots",
    ]


def test_leave_now_ends_all_jobs_first(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "100")
    pid = server.started(1).pid

    server.send(wire.Leave(now=True))

    assert server.exited(1).why == "cancel"
    assert is_gone(pid)
    server.ack(1)
    assert node.wait() == 0


def test_the_end_of_the_tether_ends_all(state_dir: Path) -> None:
    read, write = os.pipe()
    with node_in(state_dir, tether_fd=read) as node:
        os.close(read)
        server = node.attach()
        server.start(1, "sleep", "100")
        pid = server.started(1).pid
        until(lambda: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"])
        server.close()

        os.close(write)

        assert node.wait() == 0
        assert is_gone(pid)


def test_without_a_server_an_idle_node_leaves(state_dir: Path) -> None:
    with node_in(state_dir, node_idle_s=0.1) as node:
        assert node.wait() == 0
        assert not os.path.exists(node.path)


def test_a_second_node_of_a_queue_leaves_at_once(node: NodeProcess) -> None:
    server = node.attach()
    server.attached()

    with node_in(Path(node.state_dir)) as second:
        assert second.wait() == 0

    server.start(1, "/bin/true")
    assert server.exited(1).status == 0
