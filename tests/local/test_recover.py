"""What is found out after the node was killed."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from node_driver import NodeProcess, Server, node_in, running_with, until

from cluster.local import journal, lifecycle, memory_limit, processes, recover, wire
from cluster.local.memory_limit import memory_enforcement
from cluster.local.recover import Finding, Survivors, examine

pytestmark = pytest.mark.slow


@pytest.fixture
def node(state_dir: Path) -> Iterator[NodeProcess]:
    with node_in(state_dir) as node:
        yield node


def found(node: NodeProcess) -> dict[int, Finding]:
    return {finding.key[0]: finding for finding in examine(node.state_dir)}


def turns(survivors: Survivors) -> list[wire.Exited]:
    """Let the survivors turn until something is over."""
    return list(until(survivors.turn, "the end of a survivor"))


def wait_reaped(server: Server, job: int) -> None:
    """Wait until the node wrote down the exit, without reading its report."""
    until(lambda: processes.look(server.started(job).pid) is None)


def kill(pid: int) -> None:
    """Kill a process and wait until it is a zombie, or nothing."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not ((process := processes.look(pid)) and process.lives))


def test_exited_alive_and_gone_are_told_apart(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "/bin/sh", "-c", "echo out; exit 5")
    server.start(2, "sleep", "300")
    server.start(3, "sleep", "300")
    exited, alive, gone = server.exited(1), server.started(2), server.started(3)
    node.kill()
    kill(gone.pid)

    findings = found(node)

    assert {job: finding.state for job, finding in findings.items()} == {
        1: "exited",
        2: "alive",
        3: "gone",
    }
    assert findings[1].exited == exited
    assert findings[2].exited is None
    assert [process.pid for process in findings[2].processes] == [alive.pid]
    lost = findings[3].exited
    assert lost is not None
    assert (lost.why, lost.reason) == ("node", recover.REASON_LOST)


def test_a_survivor_is_reported_when_it_ends(node: NodeProcess, tmp_path: Path) -> None:
    server = node.attach()
    os.mkfifo(tmp_path / "go")
    script = "echo begun; read x < go; echo over"
    server.start(1, "/bin/sh", "-c", script, launch_cwd=os.fsencode(tmp_path))
    server.started(1)
    node.kill()
    survivors = Survivors(node.state_dir, examine(node.state_dir))
    assert len(survivors.fds()) == 1
    assert survivors.timeout_s() is None
    assert survivors.turn() == []

    (tmp_path / "go").write_text("x\n")

    [exited] = turns(survivors)
    assert (exited.job, exited.why) == (1, "node")
    assert exited.content.stdout.data == b"begun\nover\n"
    assert survivors.keys == []
    assert survivors.fds() == []


def test_what_a_survivor_leaves_is_ended_before_it_is_reported(
    node: NodeProcess, tmp_path: Path
) -> None:
    server = node.attach()
    os.mkfifo(tmp_path / "go")
    script = "setsid sleep 300 & read x < go"
    server.start(1, "bash", "-c", script, launch_cwd=os.fsencode(tmp_path))
    server.started(1)
    until(lambda: len(running_with(node.state_dir, 1)) == 2)
    node.kill()
    survivors = Survivors(node.state_dir, examine(node.state_dir))

    (tmp_path / "go").write_text("x\n")

    assert [exited.job for exited in turns(survivors)] == [1]
    assert not running_with(node.state_dir, 1)


def test_a_survivor_can_be_ended(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "bash", "-c", "trap '' TERM; echo ready; while :; do sleep 300; done")
    out = Path(os.fsdecode(server.started(1).stdout))
    until(lambda: out.read_text() == "ready\n")
    node.kill()
    survivors = Survivors(node.state_dir, examine(node.state_dir))

    survivors.end((1, 1), "cancel", grace_s=0.2)

    [exited] = turns(survivors)
    assert exited.why == "cancel"
    assert not running_with(node.state_dir, 1)


def test_the_walltime_of_a_survivor_counts_from_its_start(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "300")
    pid = server.started(1).pid
    node.kill()
    [process] = running_with(node.state_dir, 1)
    until(lambda: processes.age_s(process) > 0.3)
    survivors = Survivors(node.state_dir, examine(node.state_dir))

    survivors.limit((1, 1), walltime_s=60.0, memory_mib=0, grace_s=1.0)

    left = survivors.timeout_s()
    survivors.close()
    assert process.pid == pid
    assert left is not None
    assert 50.0 < left < 59.7


def test_leftovers_of_an_exit_that_was_not_told_are_ended(node: NodeProcess) -> None:
    server = node.attach()
    script = "setsid bash -c 'trap \"\" TERM; while :; do sleep 300; done' & sleep 0.1"
    server.start(1, "bash", "-c", script, grace_s=60.0)
    wait_reaped(server, 1)
    until(lambda: journal.read(node.state_dir)[0].ended)
    node.kill()
    findings = examine(node.state_dir)
    assert findings[0].state == "exited"
    assert findings[0].processes

    survivors = Survivors(node.state_dir, findings)
    survivors.end((1, 1), "", grace_s=0.1)

    [exited] = turns(survivors)
    assert (exited.status, exited.why) == (0, "")
    assert not running_with(node.state_dir, 1)


def test_a_job_whose_pid_was_not_written_is_found_by_its_token(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "300")
    pid = server.started(1).pid
    node.kill()
    [entry] = journal.read(node.state_dir)
    book = journal.Journal(node.state_dir, entry.node)
    book.acked((1, 1))
    book.begin(entry.begin)

    [finding] = examine(node.state_dir)

    assert (finding.state, finding.processes[0].pid) == ("alive", pid)


def wait_written(state_dir: str) -> None:
    """Wait until the journal says which process the job is."""
    until(lambda: journal.read(state_dir)[0].spawned is not None, "its pid in the journal")


def rewrite(state_dir: str, **changes: object) -> None:
    """Change what the journal says about the one job in it."""
    [entry] = journal.read(state_dir)
    node = msgspec.structs.replace(
        entry.node, **{name: changes.pop(name) for name in ("boot_id",) if name in changes}
    )
    os.unlink(f"{state_dir}/journal")
    book = journal.Journal(state_dir, node)
    book.begin(entry.begin)
    assert entry.spawned is not None
    book.spawned(msgspec.structs.replace(entry.spawned, **changes))
    book.flush()


def test_another_process_with_the_pid_is_not_the_job(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "300")
    pid = server.started(1).pid
    wait_written(node.state_dir)
    node.kill()
    kill(pid)
    innocent = processes.look(os.getpid())
    assert innocent is not None
    rewrite(node.state_dir, pid=innocent.pid, ticks=innocent.ticks - 2, until=innocent.ticks - 1)

    [finding] = examine(node.state_dir)

    assert finding.state == "gone"
    assert finding.processes == ()


def test_after_a_reboot_nothing_is_alive_and_the_reason_says_so(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "sleep", "300")
    server.started(1)
    wait_written(node.state_dir)
    node.kill()
    rewrite(node.state_dir, boot_id="another")

    [finding] = examine(node.state_dir)

    assert finding.state == "gone"
    assert finding.exited is not None
    assert finding.exited.reason == recover.REASON_REBOOT


def test_the_next_node_keeps_slots_until_the_ack_and_its_own_jobs_are_not_findings(
    node: NodeProcess,
) -> None:
    server = node.attach()
    server.start(1, "echo", "precious")
    server.exited(1)
    node.kill()
    with node_in(Path(node.state_dir)) as successor:
        later = successor.attach(epoch=2)
        later.start(2, "echo", "other")
        later.exited(2)

        [finding] = examine(node.state_dir, living_node=successor.pid)

        assert finding.key == (1, 1)
        assert finding.exited is not None
        assert finding.exited.content.stdout.data == b"precious\n"
        later.ack(1, 2)
        until(lambda: examine(node.state_dir, living_node=successor.pid) == [])
        until(lambda: journal.read(node.state_dir) == [])


@pytest.mark.skipif(memory_enforcement()[0] == "watching", reason="no cgroup can be made here")
def test_the_cgroup_of_a_dead_node_is_removed_with_the_ack(node: NodeProcess) -> None:
    server = node.attach()
    server.start(1, "/bin/sh", "-c", "exec sleep 300", memory_mib=100)
    pid = server.started(1).pid
    until(lambda: b"cluster-" in Path(f"/proc/{pid}/cgroup").read_bytes())
    (parent, _), _ = memory_limit._find_parent("")
    [group] = parent.glob(f"cluster-{lifecycle.token(node.state_dir)}.*")
    node.kill()
    kill(pid)
    with node_in(Path(node.state_dir)) as successor:
        later = successor.attach(epoch=2)
        later.attached()

        later.ack(1)

        until(lambda: not group.exists())


def envelope(status: int, body: bytes, *, job: int = 1, cut: int = 0) -> bytes:
    data = struct.pack("<4sBIQIQ", b"CLR1", status, 1, job, 0, len(body)) + body
    return data[: len(data) - cut]


@pytest.mark.parametrize(
    ("data", "status", "why"),
    [
        (envelope(0, b"value"), 0, ""),
        (envelope(1, b"rows"), 1 << 8, ""),
        (envelope(2, b"4"), 4 << 8, ""),
        (envelope(0, b"value", cut=1), 0, "node"),
        (envelope(0, b"value", job=9), 0, "node"),
        (b"", 0, "node"),
    ],
)
def test_a_function_that_is_gone_ends_by_its_result(
    state_dir: Path, data: bytes, status: int, why: str
) -> None:
    book = journal.Journal(str(state_dir), journal.Node(processes.boot_id(), 2**22, 1))
    book.begin(journal.Begin(1, 1, 0, "function", time.time()))
    book.spawned(journal.Spawned(1, 1, 2**22 + 1, 5, 5, time.time()))
    book.flush()
    (state_dir / "slots" / "0").mkdir(parents=True)
    (state_dir / "slots" / "0" / "res").write_bytes(data)

    [finding] = examine(str(state_dir))

    assert finding.state == "gone"
    assert finding.exited is not None
    assert (finding.exited.status, finding.exited.why) == (status, why)
    assert finding.exited.content.result.data == data
