"""Where a queue lives, who is its server, and how its processes come and go."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress

import platformdirs
import psutil
import pytest

from cluster.errors import ServerUnavailable
from cluster.local import election, lifecycle, places
from cluster.local.client import Client
from cluster.local.lifecycle import Election, Host, daemon_environment


def until(check, timeout_s=60.0):
    """Wait for a condition; its value."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)
    return found


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# ------------------------------------------------------------------ the directory


def test_the_state_directory_is_made_for_us_alone_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("CLUSTER_STATE_DIR", str(tmp_path / "a" / "b"))
    before = os.umask(0)

    try:
        path = lifecycle.state_dir()
    finally:
        os.umask(before)

    assert path == str(tmp_path / "a" / "b")
    assert (mode(path), mode(tmp_path / "a")) == (0o700, 0o700)


@pytest.mark.parametrize("home", ["", "/somewhere/state"])
def test_on_linux_the_default_is_what_platformdirs_says(home, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", home)

    assert places._default_dir() == str(
        platformdirs.user_state_path("cluster") / os.uname().nodename
    )


def test_the_environment_wins_over_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("CLUSTER_STATE_DIR", str(tmp_path / "env"))
    assert lifecycle.state_dir(str(tmp_path / "conf")) == str(tmp_path / "env")

    monkeypatch.delenv("CLUSTER_STATE_DIR")
    assert lifecycle.state_dir(str(tmp_path / "conf")) == str(tmp_path / "conf")


def test_our_open_state_directory_is_closed_to_others(state_dir):
    state_dir.chmod(0o777)

    lifecycle.state_dir()

    assert mode(state_dir) == 0o700


def test_an_open_directory_with_other_files_is_refused_and_left_as_it_is(state_dir):
    (state_dir / "thesis.tex").touch()
    state_dir.chmod(0o755)

    with pytest.raises(ServerUnavailable, match="holds other files"):
        lifecycle.state_dir()

    assert mode(state_dir) == 0o755


def test_a_shared_directory_such_as_tmp_is_refused_and_left_as_it_is(state_dir):
    state_dir.chmod(0o1777)

    with pytest.raises(ServerUnavailable, match="open to other users"):
        lifecycle.state_dir()

    assert mode(state_dir) == 0o1777


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ServerUnavailable, match="not a directory"):
        places._own(str(tmp_path / "file"))


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
def test_a_directory_of_somebody_else_is_refused(state_dir):
    os.chown(state_dir, 65534, 65534)

    try:
        with pytest.raises(ServerUnavailable, match="belongs to user 65534"):
            lifecycle.state_dir()
    finally:
        os.chown(state_dir, 0, 0)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
def test_a_link_planted_by_somebody_else_is_refused_and_one_of_ours_is_followed(
    tmp_path, monkeypatch
):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("CLUSTER_STATE_DIR", str(tmp_path / "link"))
    assert lifecycle.state_dir() == str(tmp_path / "real")

    os.lchown(tmp_path / "link", 65534, 65534)
    with pytest.raises(ServerUnavailable, match="symbolic link made by user 65534"):
        lifecycle.state_dir()


def test_a_directory_that_cannot_be_made_is_said_with_advice(monkeypatch):
    monkeypatch.setenv("CLUSTER_STATE_DIR", "/proc/nothing/here")

    with pytest.raises(ServerUnavailable, match="Set CLUSTER_STATE_DIR"):
        lifecycle.state_dir()


# --------------------------------------------------------------------- the sockets


@pytest.fixture
def long_dir(tmp_path, monkeypatch):
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setattr(places, "SOCKET_LIMIT", 5)  # tmp_path may be long enough, or not
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    path = tmp_path / "long"
    path.mkdir(mode=0o700)
    yield path
    with suppress(OSError):  # it may be in use
        os.rmdir(f"/tmp/cluster-{os.getuid()}")


def test_a_short_path_is_in_the_state_directory():
    assert lifecycle.socket_path("/x/y", "server") == "/x/y/server.sock"


def test_a_long_path_is_replaced_by_one_in_a_private_runtime_directory(long_dir, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nothing")

    path = lifecycle.socket_path(str(long_dir), "node")

    folder = os.path.dirname(path)
    try:
        assert len(os.fsencode(path)) <= 100
        assert (mode(folder), mode(os.path.dirname(folder))) == (0o700, 0o700)
    finally:
        os.rmdir(folder)


def test_processes_with_other_environments_agree_on_the_socket(long_dir, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nothing")
    first = lifecycle.socket_path(str(long_dir), "server")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run")

    try:
        assert lifecycle.socket_path(str(long_dir), "server") == first
    finally:
        os.rmdir(os.path.dirname(first))


def test_a_runtime_directory_that_was_removed_is_made_again(long_dir, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nothing")
    first = lifecycle.socket_path(str(long_dir), "server")
    os.rmdir(os.path.dirname(first))

    try:
        assert lifecycle.socket_path(str(long_dir), "server") == first
        assert os.path.isdir(os.path.dirname(first))
    finally:
        os.rmdir(os.path.dirname(first))


def test_a_runtime_directory_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "cluster-0").symlink_to(tmp_path / "theirs")

    with pytest.raises(ServerUnavailable, match="symbolic link"):
        places._private_dir(str(tmp_path / "cluster-0" / "abc"))


def test_the_socket_is_ours_alone_and_replaces_a_stale_one(state_dir):
    lifecycle.listen(str(state_dir), "server").close()

    listener = lifecycle.listen(str(state_dir), "server")

    assert mode(state_dir / "server.sock") == 0o600
    listener.close()


# -------------------------------------------------------------------- the election


def test_one_candidate_wins_and_the_next_only_after_it_resigned(state_dir):
    first, second = Election(str(state_dir)), Election(str(state_dir))

    assert (first.won(), second.won()) == (True, False)
    first.resign()
    assert second.won()
    second.resign()


def test_the_lock_says_who_holds_it(state_dir):
    us = Host("laptop", "boot-7")
    held = Election(str(state_dir), us)

    assert held.won()

    assert lifecycle.holder(str(state_dir)) == ("laptop", "boot-7", os.getpid())
    held.resign()
    assert lifecycle.holder(str(state_dir)) is None


def test_the_holder_notices_that_its_lock_file_was_removed(state_dir):
    held = Election(str(state_dir))
    assert held.won()
    assert held.still_ours()

    (state_dir / "lock").unlink()
    assert not held.still_ours()

    (state_dir / "lock").touch()
    assert not held.still_ours()
    held.resign()


RACER = """
import sys, time
from cluster.local.lifecycle import Election
election = Election(sys.argv[1])
print(election.won(), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_of_many_that_race_one_wins_and_a_stopped_holder_is_not_robbed(state_dir):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    try:
        won = [racer.stdout.readline().strip() == "True" for racer in racers]
        assert sum(won) == 1

        racers[won.index(True)].send_signal(signal.SIGSTOP)
        assert not Election(str(state_dir)).won()
    finally:
        for racer in racers:
            racer.send_signal(signal.SIGCONT)
            racer.communicate()


def test_a_file_system_without_locks_is_said_with_advice(state_dir, monkeypatch):
    def refuse(fd, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)

    with pytest.raises(ServerUnavailable, match=r"cannot be locked.*CLUSTER_STATE_DIR"):
        Election(str(state_dir)).won()


def test_a_queue_left_by_another_machine_on_a_shared_disk_is_refused(state_dir, monkeypatch):
    (state_dir / "lock").write_text("otherhost boot 12\n")
    monkeypatch.setattr(election, "_mounts", lambda: "server:/home / nfs4 rw 0 0\n")

    with pytest.raises(ServerUnavailable, match="process 12 of machine otherhost"):
        Election(str(state_dir)).won()


def test_a_machine_that_was_renamed_keeps_its_queue(state_dir, monkeypatch):
    (state_dir / "lock").write_text("oldname boot 12\n")
    monkeypatch.setattr(election, "_mounts", lambda: "/dev/sda1 / ext4 rw 0 0\n")
    held = Election(str(state_dir))

    assert held.won()
    held.resign()


def test_the_file_system_of_a_path_is_that_of_its_deepest_mount():
    mounts = (
        "/dev/sda1 / ext4 rw 0 0\nfs:/home /home nfs rw 0 0\ntmpfs /home/my\\040x tmpfs rw 0 0\n"
    )

    kinds = [
        election.filesystem_type(path, mounts) for path in ("/homes", "/home/a", "/home/my x/b")
    ]

    assert kinds == ["ext4", "nfs", "tmpfs"]


# --------------------------------------------------------------------- the daemons


def test_a_daemon_gets_only_the_environment_it_needs():
    env = {
        b"PATH": b"/bin",
        b"CLUSTER_CFG_LOCAL_CORES": b"2",
        b"CLUSTER_RAW_ID": b"7",
        b"CLUSTER_JOB_TOKEN": b"abc.7.1",
        b"LD_PRELOAD": b"x.so",
        b"SLURM_JOB_ID": b"3",
        b"SECRET": b"s",
        b"CUDA_VISIBLE_DEVICES": b"1",
    }

    assert daemon_environment(env, "node", "/s", in_job=True) == {
        b"PATH": b"/bin",
        b"CLUSTER_CFG_LOCAL_CORES": b"2",
        b"LD_PRELOAD": b"x.so",
        b"CLUSTER_DAEMON": b"node",
        b"CLUSTER_STATE_DIR": b"/s",
    }


@pytest.fixture
def server(state_dir):
    """The process of a running server, started by this test's process."""
    assert lifecycle.start_daemon("server", str(state_dir)) == "ready"
    return psutil.Process(Client(state_dir).control("status")["pid"])


@pytest.mark.slow
def test_a_daemon_holds_nothing_of_its_starter(state_dir):
    leaked = os.open(state_dir / "mine", os.O_CREAT | os.O_RDWR, 0o600)
    os.set_inheritable(leaked, True)
    os.environ["SECRET"] = "s"

    try:
        assert lifecycle.start_daemon("server", str(state_dir)) == "ready"
    finally:
        os.close(leaked)
        del os.environ["SECRET"]
    server = psutil.Process(lifecycle.holder(str(state_dir)).pid)
    files = {
        os.readlink(f"/proc/{server.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.pid}/fd")
    }

    assert server.cwd() == "/"
    assert str(state_dir / "mine") not in files
    assert os.getsid(server.pid) not in (os.getsid(0), 0)
    assert os.getpgid(server.pid) != os.getpgid(0)
    assert "SECRET" not in server.environ()
    assert server.terminal() is None


@pytest.mark.slow
def test_the_loser_of_the_election_says_so(server, state_dir):
    assert lifecycle.start_daemon("server", str(state_dir)) == "lost"


@pytest.mark.slow
def test_a_daemon_that_cannot_start_says_why(state_dir):
    (state_dir / "lock").mkdir()

    with pytest.raises(ServerUnavailable, match=r"could not start: .*[Dd]irectory"):
        lifecycle.start_daemon("server", str(state_dir))

    # It says so to its starter first: a full disk has no log.
    deadline = time.monotonic() + 10
    while "Traceback" not in (state_dir / "server.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_daemon_that_fails_before_it_can_speak_is_known_by_its_log(state_dir, monkeypatch):
    monkeypatch.setattr(lifecycle, "BOOT", "import nothing_of_that_name")

    with pytest.raises(ServerUnavailable, match=r"nothing_of_that_name"):
        lifecycle.start_daemon("server", str(state_dir))


@pytest.mark.slow
def test_a_log_does_not_grow_for_ever(state_dir):
    (state_dir / "server.log").write_bytes(b"x" * (lifecycle.LOG_LIMIT + 1))

    lifecycle.start_daemon("server", str(state_dir))

    assert (state_dir / "server.log").stat().st_size < lifecycle.LOG_LIMIT


@pytest.mark.slow
def test_stop_everything_ends_a_stopped_server_too(server, state_dir):
    until(lambda: (state_dir / "node.sock").exists())
    server.suspend()

    assert lifecycle.stop_everything(state_dir, timeout_s=2.0)

    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("which", ["server", "node"])
def test_stop_everything_removes_the_socket_of_a_daemon_that_was_killed(state_dir, which):
    os.mkdir(f"{state_dir}/slots")
    places.listen(state_dir, which).close()

    assert lifecycle.stop_everything(state_dir)

    assert not os.path.exists(lifecycle.socket_path(state_dir, which))


def test_stop_everything_leaves_the_socket_of_a_successor(state_dir):
    places.listen(state_dir, "server").close()
    successor = Election(state_dir)
    assert successor.won()

    try:
        lifecycle.stop_everything(state_dir)

        assert os.path.exists(lifecycle.socket_path(state_dir, "server"))
    finally:
        successor.resign()


def test_stopping_where_nothing_runs_is_no_error(state_dir):
    assert lifecycle.stop_everything(state_dir)
