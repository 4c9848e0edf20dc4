"""A node in a process of its own, and a server's side of the socket to drive it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from cluster import payload
from cluster.local import lifecycle, processes, wire
from cluster.spec import Launch

DEADLINE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]
ENV = {b"PATH": b"/usr/local/bin:/usr/bin:/bin", b"HOME": b"/", b"LANG": b"C.UTF-8"}
_MAIN = """
import json, sys
from cluster.local import node
node.main(sys.argv[1], **json.loads(sys.argv[2]))
"""
_encode = msgspec.msgpack.encode


def until(condition: Callable[[], Any], what: str = "it", timeout_s: float = DEADLINE_S) -> Any:
    """Wait until a condition holds and give its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.005)
    return value


def slice_ns(pid: int) -> int:
    """Ask the kernel for how long a process runs at a time; 0 where it does not say."""
    import ctypes

    attributes = ctypes.create_string_buffer(48)
    call = {"x86_64": 315, "aarch64": 275}[os.uname().machine]  # sched_getattr
    assert ctypes.CDLL(None).syscall(call, pid, attributes, 48, 0) == 0
    return int.from_bytes(attributes.raw[24:32], sys.byteorder)


class NodeProcess:
    """A node of a state directory."""

    def __init__(self, state_dir: Path, *, env: dict[str, str] | None = None, **settings: Any):
        self.state_dir = str(state_dir)
        tether_fd = settings.pop("tether_fd", None)
        code = settings.pop("code", _MAIN)
        given = {"settings": {"alone": True, "memory_interval_s": 0.05, **settings}}
        if tether_fd is not None:
            given["tether_fd"] = tether_fd
        self.log = Path(state_dir, "node.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, self.state_dir, json.dumps(given)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "CLUSTER_DAEMON": "node", **(env or {})},
                pass_fds=() if tether_fd is None else (tether_fd,),
                start_new_session=True,
            )
        self.path = lifecycle.socket_path(self.state_dir, "node")
        self.servers: list[Server] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def attach(self, epoch: int = 1, protocol: int = wire.NODE_PROTOCOL) -> Server:
        """Connect as a server."""
        server = Server(until(self._connect, "a connection to the node"))
        self.servers.append(server)
        server.send(wire.Attach(protocol, epoch))
        return server

    def _connect(self) -> socket.socket | None:
        assert self.process.poll() is None, self.log.read_text()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            return None
        return connection

    def kill(self) -> None:
        """Kill -9 the node alone."""
        self.process.kill()
        self.process.wait()

    def wait(self) -> int:
        """Wait until the node left by itself."""
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """Kill the node and everything of its jobs."""
        for server in self.servers:
            server.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            family = psutil.Process(self.pid).children(recursive=True)
            self.kill()
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        for found in processes.with_tokens(lifecycle.token(self.state_dir)).values():
            for process in found:
                processes.send(process, signal.SIGKILL)


class Server:
    """The server's end: sends orders, collects reports."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = wire.Reader(wire.Report)
        self.reports: list[Any] = []
        self.is_closed = False
        self._send_env()

    def _send_env(self) -> None:
        self._kept = wire.Keep("e", ENV)

    def send(self, *orders: Any) -> None:
        """Send orders as one frame."""
        self._socket.sendall(wire.frame(orders))

    def start(self, job: int, *argv: str | bytes, **options: Any) -> None:
        """Order a command; `options` are of `Start`, or with `launch_` of `Launch`."""
        self.send(self._kept, start_order(job, *argv, **options))

    def call(self, job: int, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Order a function."""
        launch = {
            "argv": (),
            "payload": payload.dump(function, args).data,
            "python": os.fsencode(sys.executable),
            "sys_path": tuple(os.fsencode(path) for path in sys.path if path),
            **{name[7:]: options.pop(name) for name in list(options) if name.startswith("launch_")},
        }
        given = {f"launch_{name}": value for name, value in launch.items()}
        self.send(self._kept, start_order(job, **given, **options))

    def _receive(self, timeout_s: float) -> None:
        if self.is_closed or not select.select([self._socket], [], [], timeout_s)[0]:
            return
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            self.is_closed = True
        self.reports += self._reader.feed(data)

    def find(self, kind: type, job: int = 0, timeout_s: float = DEADLINE_S) -> Any:
        """Wait for a report of this kind about this job."""
        deadline = time.monotonic() + timeout_s
        while True:
            for report in self.reports:
                if isinstance(report, kind) and job in (0, getattr(report, "job", 0)):
                    return report
            assert not self.is_closed, f"the node hung up before {kind.__name__} {job}"
            left = deadline - time.monotonic()
            assert left > 0, f"no {kind.__name__} of job {job}: {self.reports}"
            self._receive(left)

    def attached(self) -> wire.Attached:
        return self.find(wire.Attached)

    def started(self, job: int) -> wire.Started:
        return self.find(wire.Started, job)

    def exited(self, job: int) -> wire.Exited:
        return self.find(wire.Exited, job)

    def has_exited(self, job: int) -> bool:
        """Tell whether the exit was reported by now."""
        self._receive(0.0)
        return any(isinstance(each, wire.Exited) and each.job == job for each in self.reports)

    def wait_closed(self) -> None:
        """Wait until the node hung up."""
        until(lambda: self._receive(0.05) or self.is_closed, "the end of the connection")

    def ack(self, *jobs: int) -> None:
        self.send(*(wire.Ack(job, 1) for job in jobs))

    def close(self) -> None:
        self._socket.close()


def start_order(job: int, *argv: str | bytes, **options: Any) -> wire.Start:
    """Make an order to start a command."""
    launch = {name[7:]: options.pop(name) for name in list(options) if name.startswith("launch_")}
    given = {"argv": tuple(map(os.fsencode, argv)), "env": "e", **launch}
    options = {"attempt": 1, "label": str(job), "name": "job", "grace_s": 2.0, **options}
    return wire.Start(job=job, launch=msgspec.Raw(_encode(Launch(**given))), **options)


def running_with(state_dir: Path | str, job: int) -> list[processes.Process]:
    """Give the running processes that carry the token of this job."""
    token = f"{lifecycle.token(str(state_dir))}.{job}.1"
    return processes.with_tokens(token).get(token, [])


@contextlib.contextmanager
def node_in(state_dir: Path, **settings: Any) -> Iterator[NodeProcess]:
    """Run a node for the length of a block."""
    node = NodeProcess(state_dir, **settings)
    try:
        yield node
    finally:
        node.close()
