"""Another user of the machine gets nothing out of a queue and nothing into it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from fault_driver import Queue, call, command, inside, lives, until

import cluster
from cluster import payload
from cluster.errors import ClusterError, PayloadError, QueueError, ServerUnavailable
from cluster.local import lifecycle, wire
from cluster.local.client import Client

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else"),
]

OTHER = 65533
Other = Callable[..., subprocess.CompletedProcess[str]]

PRY = """
import os, socket, sys
def attempt(what, *args):
    try: what(*args)
    except OSError as error: return error.strerror
    return "done"
def connect(path): socket.socket(socket.AF_UNIX).connect(path)
state = sys.argv[1]
print({
    attempt(os.listdir, state), attempt(os.chdir, state), attempt(open, state + "/queue.db"),
    attempt(open, state + "/server.log"), attempt(open, state + "/journal"),
    attempt(os.listdir, state + "/outputs"), attempt(connect, state + "/server.sock"),
    attempt(connect, state + "/node.sock"), attempt(os.mkdir, state + "/mine"),
    attempt(os.symlink, "/etc/passwd", state + "/link"), attempt(os.unlink, state + "/lock"),
    attempt(os.rename, state, state + "2"),
})
"""
SEND = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
try: s.sendall(bytes.fromhex(sys.argv[2]))
except OSError: pass
try: print(s.recv(1000))
except OSError: print(b"")
"""
SERVE = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
os.umask(0)
s.bind(sys.argv[1])
s.listen()
print("listens", flush=True)
c, _ = s.accept()
print(len(c.recv(100)), flush=True)
"""


def test_row_51_another_user_can_neither_look_nor_connect_nor_write(
    theirs: Queue, other: Other
) -> None:
    said = other(PRY, theirs.state_dir)

    assert said.stdout == "{'Permission denied'}\n", said.stderr


def test_nothing_that_others_can_read_is_made_whatever_the_umask(
    theirs: Queue, place: Path
) -> None:
    function = theirs.counted_call()
    large = theirs.submit("head", "-c", "400000", "/dev/zero")
    theirs.ended(function, large)

    found = [Path(theirs.state_dir), *Path(theirs.state_dir).rglob("*")]
    assert len(found) > 10
    assert [path for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


@contextmanager
def opened(theirs: Queue, address: str) -> Iterator[None]:
    """Let everybody at a socket, as a mistake of its owner would."""
    os.chmod(theirs.state_dir, 0o777)
    os.chmod(address, 0o777)
    yield
    os.chmod(theirs.state_dir, 0o700)


def test_row_51_what_another_user_says_to_the_server_is_not_heard_though_files_allow_it(
    theirs: Queue, other: Other, place: Path
) -> None:
    spec, envs = command("touch", str(place / "pwned"))
    hello = wire.Hello(wire.PROTOCOL, "x", os.getpid(), 0)
    frame = wire.frame([hello, wire.Submit(1, b"k" * 16, (spec,), envs)])
    address = lifecycle.socket_path(theirs.state_dir, "server")

    with opened(theirs, address):
        said = other(SEND, address, frame.hex())

    assert said.stdout == "b''\n", said.stderr
    assert len(theirs.client.query()) == 1


def test_row_51_nor_what_they_say_to_the_node(theirs: Queue, other: Other, place: Path) -> None:
    spec, _ = command("touch", str(place / "pwned"))
    orders = [
        wire.Attach(wire.NODE_PROTOCOL, 1 << 40),
        wire.Start(job=99, attempt=1, label="99", name="x", launch=msgspec.Raw(spec.launch),
                   cores=1, memory_mib=0, cpus=(), gpus=(), walltime_s=0.0, grace_s=1.0,
                   array=0, index=None, queued=False),
        wire.Leave(now=True),
    ]  # fmt: skip
    node, address = theirs.node(), lifecycle.socket_path(theirs.state_dir, "node")

    with opened(theirs, address):
        said = other(SEND, address, wire.frame(orders).hex())

    assert said.stdout == "b''\n", said.stderr
    later = theirs.counted()
    assert theirs.ended(later) == {later: "COMPLETED"}
    assert theirs.node() == node
    assert not (place / "pwned").exists()


def test_not_even_root_may_use_the_queue_of_somebody_else(place: Path) -> None:
    code = "queue = Queue(lifecycle.state_dir(), Path(sys.argv[1]) / 'notes')\n"
    code += "print(queue.ended(queue.submit('true')).popitem()[1])\n"
    place.chmod(0o777)
    as_other = f"exec setpriv --reuid {OTHER} --regid {OTHER} --clear-groups "
    as_other += '--inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"'

    said = inside("--mount", code=code, words=[str(place)], before=as_other)

    state = str(place / "q")
    try:
        assert said == ["COMPLETED"]
        with pytest.raises(ServerUnavailable, match=f"belongs to user {OTHER}, not to us"):
            lifecycle.state_dir()
        with pytest.raises(ClusterError, match=f"belongs to user {OTHER}"):
            Client(state, request_timeout_s=3.0).query()
    finally:
        for which in ("server", "node"):
            pid = Queue(state, place / "notes").pid_of(which)
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not lives(pid))


def test_a_client_tells_nothing_to_a_server_of_another_user(place: Path) -> None:
    state = place / "q"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    user = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
    argv = [*user, "/usr/bin/python3", "-I", "-c", SERVE, str(state / "server.sock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout
        assert served.stdout.readline() == "listens\n"

        with pytest.raises(QueueError, match=f"socket belongs to user {OTHER}, not to us"):
            Client(state, request_timeout_s=3.0).query()

        assert served.stdout.readline() == "0\n"  # not a byte


# ---------------------------------------------------------------- what they put in the way

PLANT = """
import os, sys
os.umask(0)
path, how = sys.argv[1:3]
if how == "directory": os.mkdir(path)
elif how == "link": os.symlink("/root", path)
elif how == "file": open(path, "w").close()
elif how == "pipe": os.mkfifo(path)
"""
LONG = """
state = lifecycle.state_dir()
try: print(Queue(state, Path("/dev/null")).submit("true"))
except Exception as error: print(type(error).__name__, str(error).replace("\\n", " "))
print(os.path.realpath("/tmp/cluster-0"), os.stat("/tmp/cluster-0").st_uid)
print(sorted(os.listdir("/tmp/cluster-0")) if os.path.isdir("/tmp/cluster-0") else "")
"""


@pytest.mark.parametrize("how", ["directory", "link", "file", "pipe"])
def test_row_52_what_another_user_put_where_the_queue_would_be_is_refused(
    how: str, place: Path, other: Other
) -> None:
    place.chmod(0o1777)
    assert other(PLANT, str(place / "q"), how).returncode == 0

    with pytest.raises(ServerUnavailable) as caught:
        lifecycle.state_dir()

    assert str(place / "q") in str(caught.value)
    assert "CLUSTER_STATE_DIR" in str(caught.value)
    os.rmdir(place / "q") if how == "directory" else os.unlink(place / "q")


@pytest.mark.parametrize("how", ["directory", "link"])
def test_row_52_nor_is_a_prepared_directory_for_sockets_used(how: str, place: Path) -> None:
    """In a mount namespace, so that the true /tmp is not touched."""
    state = place / ("long" * 30)
    plant = f"mount -t tmpfs -o mode=1777 none /tmp && setpriv --reuid={OTHER} --clear-groups "
    plant += f"/usr/bin/python3 -I -c '{PLANT}' /tmp/cluster-0 {how}\n"
    plant += f"export XDG_RUNTIME_DIR= CLUSTER_STATE_DIR=/tmp/{'long' * 30}"
    assert len(os.fsencode(state)) > 100

    refused, target, inside_of_it = inside("--mount", code=LONG, before=plant)

    assert refused.startswith("ServerUnavailable")
    assert "/tmp/cluster-0" in refused
    assert target.startswith("/root" if how == "link" else "/tmp/cluster-0")
    assert "sock" not in inside_of_it


@pytest.mark.parametrize("name", ["lock", "server.log", "starting"])
def test_a_link_in_the_place_of_a_file_of_the_queue_is_not_followed(name: str, place: Path) -> None:
    """Nobody else can put one there; if somebody could, it would not be written through."""
    state, target = place / "q", place / "target"
    state.mkdir(mode=0o700)
    target.write_text("precious\n")
    (state / name).symlink_to(target)

    with pytest.raises(ClusterError):
        Queue(state, place / "notes", timeout_s=3.0).submit("true")

    assert target.read_text() == "precious\n"


# ---------------------------------------------------------------- pickles


def big_call(path: str, ballast: bytes) -> None:
    """A function job whose call travels as a file."""
    Path(path).touch()


def spoil(path: Path, how: str) -> None:
    if how == "of another user":
        os.chown(path, OTHER, OTHER)
    elif how == "writable by others":
        path.chmod(0o666)
    else:
        path.rename(path.with_name("moved"))
        path.symlink_to("moved")


@pytest.mark.parametrize("how", ["of another user", "writable by others", "a link"])
def test_row_53_a_call_that_others_could_have_written_is_not_loaded(
    how: str, theirs: Queue, place: Path
) -> None:
    job = cluster.submit(big_call, (str(place / "ran"), bytes(1 << 20)), hold=True)
    [file] = (Path(theirs.state_dir) / "payloads").iterdir()
    spoil(file, how)
    job.release()

    cluster.wait(job, timeout=60)

    assert job.state == "FAILED"
    assert str(file) in job.reason
    assert not (place / "ran").exists()


def big_value(size: int) -> bytes:
    return bytes(size)


@pytest.mark.parametrize("how", ["of another user", "writable by others", "a link"])
def test_row_53_a_result_that_others_could_have_written_is_not_loaded(
    how: str, theirs: Queue
) -> None:
    job = cluster.submit(big_value, 1 << 20)
    cluster.wait(job, timeout=60)
    [file] = (Path(theirs.state_dir) / "outputs").iterdir()
    spoil(file, how)

    with pytest.raises(PayloadError, match=r"nothing of it was loaded|cannot be read"):
        job.get()


def test_row_53_no_daemon_opens_a_pickle(theirs: Queue) -> None:
    """A value that ends whoever unpickles it ends nobody but its reader."""
    server, node = theirs.server(), theirs.node()
    spec, envs = call(bomb)
    [job] = theirs.client.submit([spec], envs)

    assert theirs.ended(job) == {job: "COMPLETED"}

    content = theirs.client.fetch(job)
    reader = "import sys; from cluster import payload; "
    reader += "payload.value(payload.load_envelope(sys.stdin.buffer.read()))"
    done = subprocess.run([sys.executable, "-c", reader], input=content.result.data)
    assert done.returncode == 42
    assert (theirs.server(), theirs.node()) == (server, node)
    assert payload.read_header(content.result.data) is not None


class Bomb:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (42,)


def bomb() -> Bomb:
    return Bomb()


# ---------------------------------------------------------------- settings


def test_a_configuration_that_another_user_left_in_a_shared_directory_is_not_read(
    theirs: Queue, place: Path, other: Other
) -> None:
    place.chmod(0o1777)
    text = "[jobs]\nprologue = touch pwned\n"
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    assert other(code, str(place / "cluster.cfg"), text).returncode == 0

    argv = [sys.executable, "-m", "cluster", "run", "--", "/bin/echo", "hello"]
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True)

    assert done.stdout == "hello\n", done.stderr
    assert "cluster.cfg" in done.stderr
    assert not (place / "pwned").exists()
    (place / "cluster.cfg").unlink()
